//! The boot region and its copy (specification, sections 3 and 4).

use crate::device::{ReadAt, read_exact};
use crate::{Error, Fields, Result};

/// Sectors of a boot region, the last of which holds the checksum.
const SECTORS: u64 = 12;

/// Where the parts of a volume lie, checked against each other. Positions and sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) sector: u64,
    pub(super) cluster: u64,
    pub(super) size: u64,
    pub(super) fat_start: u64,
    /// Bytes of one FAT.
    pub(super) fat_bytes: u64,
    /// 2 under TexFAT.
    pub(super) fats: u8,
    pub(super) heap_start: u64,
    pub(super) clusters: u32,
    pub(super) root_cluster: u32,
    pub(super) serial: u32,
    pub(super) flags: u16,
}

impl Boot {
    /// Where a cluster begins.
    pub(super) fn cluster_start(&self, cluster: u32) -> u64 {
        self.heap_start + u64::from(cluster.saturating_sub(2)) * self.cluster
    }

    /// Where the FAT begins that is in use.
    pub(super) fn active_fat(&self) -> u64 {
        if self.fats == 2 && self.flags & 1 != 0 { self.fat_start + self.fat_bytes } else { self.fat_start }
    }

    /// The identity as `blkid` writes it.
    pub(super) fn uuid(&self) -> Option<String> {
        Some(crate::fat::uuid(self.serial))
    }

    /// Checks a boot sector.
    fn parse(sector: &[u8; 512]) -> Result<Boot> {
        let fields = Fields::new("the exFAT boot sector", sector);
        if fields.bytes(3, 8)? != b"EXFAT   " || fields.bytes(11, 53)?.iter().any(|byte| *byte != 0) {
            return Err(fields.corrupt("it is none of exFAT's"));
        }
        let (minor, major) = (fields.u8(104)?, fields.u8(105)?);
        if major != 1 {
            return Err(Error::unsupported(format!("exFAT {major}.{minor:02}")));
        }
        let shift = u32::from(fields.u8(108)?);
        let per_cluster = u32::from(fields.u8(109)?);
        if !(9..=12).contains(&shift) || per_cluster > 25 - shift {
            return Err(
                fields.corrupt(format!("sectors of 2^{shift} bytes, clusters of 2^{per_cluster} sectors"))
            );
        }
        let fats = fields.u8(110)?;
        if !matches!(fats, 1 | 2) {
            return Err(fields.corrupt(format!("{fats} FATs")));
        }
        let sectors = fields.le64(72)?;
        let fat_start = u64::from(fields.le32(80)?);
        let fat_sectors = u64::from(fields.le32(84)?);
        let heap_start = u64::from(fields.le32(88)?);
        let clusters = fields.le32(92)?;
        let root_cluster = fields.le32(96)?;
        // Sums of numbers of 32 bits, and a shift of one by at most 16: none of them overflows.
        let heap = u64::from(clusters) << per_cluster;
        if fat_start < 2 * SECTORS
            || heap_start < fat_start + fat_sectors * u64::from(fats)
            || sectors < heap_start + heap
            || sectors > u64::MAX >> shift
        {
            return Err(fields.corrupt("its parts overlap, or lie outside of the volume"));
        }
        if clusters == 0
            || clusters > u32::MAX - 10
            || fat_sectors << shift < (u64::from(clusters) + 2) * 4
            || root_cluster < 2
            || root_cluster - 2 >= clusters
        {
            return Err(fields.corrupt(format!(
                "{clusters} clusters, a FAT of {fat_sectors} sectors, the root folder in cluster {root_cluster}"
            )));
        }
        Ok(Boot {
            sector: 1 << shift,
            cluster: 1 << (shift + per_cluster),
            size: sectors << shift,
            fat_start: fat_start << shift,
            fat_bytes: fat_sectors << shift,
            fats,
            heap_start: heap_start << shift,
            clusters,
            root_cluster,
            serial: fields.le32(100)?,
            flags: fields.le16(106)?,
        })
    }
}

/// Whether the first sector calls itself exFAT's.
pub(super) fn has_name(device: &dyn ReadAt) -> Result<bool> {
    if device.size() < 512 {
        return Ok(false);
    }
    let mut sector = [0; 512];
    read_exact(device, &mut sector, 0)?;
    Ok(sector[3..11] == *b"EXFAT   " && sector[510..] == [0x55, 0xAA])
}

/// The boot region at sector `first`, where sectors have 2^`shift` bytes, its checksum verified.
fn region(device: &dyn ReadAt, first: u64, shift: u32) -> Result<Boot> {
    let mut bytes = vec![0; (SECTORS as usize) << shift];
    read_exact(device, &mut bytes, first << shift)?;
    // The checksum comes first: a version that nothing here knows may be damage too.
    let (checked, sums) = bytes.split_at((SECTORS as usize - 1) << shift);
    let sum = checksum(checked);
    if sums.as_chunks().0.iter().any(|stored| u32::from_le_bytes(*stored) != sum) {
        return Err(Error::corrupt("the exFAT boot region", "its checksum does not fit"));
    }
    let mut sector = [0; 512];
    sector.copy_from_slice(&bytes[..512]);
    let boot = Boot::parse(&sector)?;
    if boot.sector != 1 << shift {
        return Err(Error::corrupt("the exFAT boot region", "it is one for other sectors"));
    }
    Ok(boot)
}

/// The checksum of the sectors of a boot region, which leaves out what changes all the time: flags and the percentage
/// in use (section 3.4).
fn checksum(bytes: &[u8]) -> u32 {
    let counted = bytes.iter().enumerate().filter(|(at, _)| !matches!(at, 106 | 107 | 112));
    counted.fold(0u32, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u32::from(*byte)))
}

/// The boot region; where it is damaged the copy of it, with why.
///
/// # Errors
/// [`Error::Corrupt`] where both are damaged; [`Error::Unsupported`]; [`Error::Io`].
pub(super) fn read(device: &dyn ReadAt) -> Result<(Boot, Option<Error>)> {
    let mut sector = [0; 512];
    read_exact(device, &mut sector, 0)?;
    let claimed = u32::from(sector[108]);
    let main = match claimed {
        9..=12 => region(device, 0, claimed),
        _ => Err(Error::corrupt("the exFAT boot sector", format!("sectors of 2^{claimed} bytes"))),
    };
    let error = match main {
        Err(error @ Error::Corrupt { .. }) => error,
        main => return Ok((main?, None)),
    };
    match copy(device)? {
        Some(copy) => Ok((copy, Some(error))),
        None => Err(error),
    }
}

/// The copy of the boot region, where that is whole.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn copy(device: &dyn ReadAt) -> Result<Option<Boot>> {
    // The damage of the first may be in the size of sectors, which says where the copy is.
    for shift in 9..=12 {
        match region(device, SECTORS, shift) {
            Ok(boot) => return Ok(Some(boot)),
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// What the flags say, as warnings.
pub(super) fn state_warnings(boot: &Boot) -> Vec<String> {
    let mut warnings = Vec::new();
    if boot.flags & 2 != 0 {
        warnings.push(
            "the volume was in use when it was captured (exFAT has no journal): files that were being written may be incomplete"
                .to_owned(),
        );
    }
    if boot.flags & 4 != 0 {
        warnings.push("the guest had read or write errors on this volume".to_owned());
    }
    warnings
}
