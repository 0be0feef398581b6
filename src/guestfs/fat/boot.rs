//! The boot sector and its BIOS parameter block (*FAT32 File System Specification* 1.03, "Boot Sector and BPB").

use super::table::Width;
use crate::device::{ReadAt, check_range, read_exact};
use crate::{Error, Fields, Result};

/// Where the parts of a volume lie, checked against each other. All positions are in bytes of the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot {
    pub(super) width: Width,
    pub(super) sector: u32,
    /// Bytes of a cluster.
    pub(super) cluster: u32,
    /// Bytes of the volume.
    pub(super) size: u64,
    pub(super) media: u8,
    /// The first byte of the first FAT.
    pub(super) fats_start: u64,
    /// Bytes of one FAT.
    pub(super) fat_bytes: u64,
    pub(super) fats: u8,
    /// The FAT that is in use where they are not mirrored (FAT32).
    pub(super) active: Option<u8>,
    /// The fixed root folder: first byte and length. Of length 0 on FAT32.
    pub(super) root: (u64, u64),
    /// The first cluster of the root folder on FAT32, otherwise 0.
    pub(super) root_cluster: u32,
    /// Where cluster 2 begins.
    pub(super) data_start: u64,
    /// How many clusters there are.
    pub(super) clusters: u32,
    /// The volume's number, where the boot sector has one.
    pub(super) serial: Option<u32>,
    /// The label in the boot sector; the one in the root folder counts more.
    pub(super) label: Option<[u8; 11]>,
    /// Bits that Windows and Linux set while the volume is mounted (1) and after errors (2).
    pub(super) state: u8,
}

/// The sector with the copy of FAT32's boot sector: "no value other than 6 is recommended" (`BPB_BkBootSec`).
const COPY: u64 = 6;

/// OEM names of boot sectors that look like one of FAT's, and are not.
const OTHERS: [&[u8; 8]; 3] = [b"NTFS    ", b"EXFAT   ", b"-FVE-FS-"];

/// `4967d63b-2e29-4ad8-8399-f6a339e3d001` as it lies on a disk, at byte 424: what marks the FAT32 boot sector that
/// BitLocker To Go puts before a container.
const BITLOCKER_TO_GO: [u8; 16] =
    [0x3B, 0xD6, 0x67, 0x49, 0x29, 0x2E, 0xD8, 0x4A, 0x83, 0x99, 0xF6, 0xA3, 0x39, 0xE3, 0xD0, 0x01];

impl Boot {
    /// Reads the first sector of `device`. `None` where it is not one of FAT's.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn recognise(device: &dyn ReadAt) -> Result<Option<Boot>> {
        let mut sector = [0; 512];
        if device.size() < 512 {
            return Ok(None);
        }
        read_exact(device, &mut sector, 0)?;
        // Every format puts a jump there. What has none, and what has no signature either, is no boot sector.
        let jump = matches!(sector, [0xEB, _, 0x90, ..] | [0xE9, ..]);
        let signed = sector[510..] == [0x55, 0xAA];
        if is_another(&sector) || !(jump || signed) {
            return Ok(None);
        }
        let Ok(boot) = Boot::parse(&sector) else { return Ok(None) };
        if jump && signed {
            return Ok(Some(boot));
        }
        // One of the two is missing, as on disks of DOS 1 and 2: then the FAT has to begin with the media byte.
        let mut first = [0];
        match device.read_at(&mut first, boot.fats_start) {
            Ok(()) if first[0] == boot.media => Ok(Some(boot)),
            _ => Ok(None),
        }
    }

    /// The copy of FAT32's boot sector, for a volume whose first one is damaged: one that is whole, says itself that the
    /// copy is where it stands, and has a FAT behind it. `None` where there is none, or where another file system has
    /// the first sector.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn copy(device: &dyn ReadAt) -> Result<Option<Boot>> {
        let mut sector = [0; 512];
        if device.size() < 512 {
            return Ok(None);
        }
        read_exact(device, &mut sector, 0)?;
        if is_another(&sector) {
            return Ok(None);
        }
        // The damage may be in the size of sectors.
        for size in [512, 1024, 2048, 4096] {
            if check_range(COPY * size, sector.len(), device.size()).is_err() {
                break;
            }
            read_exact(device, &mut sector, COPY * size)?;
            let Ok(boot) = Boot::parse(&sector) else { continue };
            let place = u64::from(u16::from_le_bytes([sector[50], sector[51]]));
            if boot.width != Width::ThirtyTwo
                || u64::from(boot.sector) != size
                || place != COPY
                || sector[510..] != [0x55, 0xAA]
            {
                continue;
            }
            let mut first = [0; 4];
            if device.read_at(&mut first, boot.fats_start).is_ok()
                && first[0] == boot.media
                && head_is_plausible(boot.width, u32::from_le_bytes(first) & boot.width.mask())
            {
                return Ok(Some(boot));
            }
        }
        Ok(None)
    }

    /// Checks a boot sector.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the field that is impossible.
    pub(super) fn parse(sector: &[u8; 512]) -> Result<Boot> {
        let fields = Fields::new("the FAT boot sector", sector);
        let sector_size = u32::from(fields.le16(11)?);
        if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {
            return Err(fields.corrupt(format!("sectors of {sector_size} bytes")));
        }
        let per_cluster = u32::from(fields.u8(13)?);
        if !per_cluster.is_power_of_two() {
            return Err(fields.corrupt(format!("clusters of {per_cluster} sectors")));
        }
        let reserved = u64::from(fields.le16(14)?);
        let fats = fields.u8(16)?;
        let root_entries = u64::from(fields.le16(17)?);
        let media = fields.u8(21)?;
        if reserved == 0 || fats == 0 || fats > 8 {
            return Err(fields.corrupt(format!("{reserved} reserved sectors, {fats} FATs")));
        }
        if media < 0xF8 && media != 0xF0 {
            return Err(fields.corrupt(format!("media type {media:#04x}")));
        }
        let small = u64::from(fields.le16(22)?);
        let is_32 = small == 0;
        let fat_sectors = if is_32 { u64::from(fields.le32(36)?) } else { small };
        let total = match fields.le16(19)? {
            0 => u64::from(fields.le32(32)?),
            total => u64::from(total),
        };
        // The extended part stands behind what FAT32 adds.
        let extended = if is_32 { 64 } else { 36 };
        let signature = fields.u8(extended + 2)?;
        let bytes = u64::from(sector_size);
        let root_sectors = (root_entries * 32).div_ceil(bytes);
        let data = reserved + u64::from(fats) * fat_sectors + root_sectors;
        if fat_sectors == 0 || total <= data {
            return Err(fields.corrupt(format!("{total} sectors, of which {data} are not for data")));
        }
        let counted = (total - data) / u64::from(per_cluster);
        let width = match counted {
            _ if is_32 => Width::ThirtyTwo,
            ..4085 => Width::Twelve,
            4085..65525 => Width::Sixteen,
            _ => return Err(fields.corrupt(format!("{counted} clusters without the fields of FAT32"))),
        };
        if (root_entries == 0) != is_32 {
            return Err(fields.corrupt(format!("a root folder of {root_entries} entries")));
        }
        // Clusters that the FAT has no entry for can't be in use.
        let described = (fat_sectors * bytes * 8 / u64::from(width.bits())).saturating_sub(2);
        let clusters = counted.min(described);
        if clusters == 0 || clusters > 0x0FFF_FFF5 {
            return Err(fields.corrupt(format!("{clusters} clusters")));
        }
        let mut active = None;
        let mut root_cluster = 0;
        if is_32 {
            let flags = fields.le16(40)?;
            if flags & 0x80 != 0 {
                let number = (flags & 0x0F) as u8;
                if number >= fats {
                    return Err(fields.corrupt(format!("FAT {number} of {fats} is the active one")));
                }
                active = Some(number);
            }
            let version = fields.le16(42)?;
            if version != 0 {
                return Err(fields.corrupt(format!("FAT32 of version {version:#06x}")));
            }
            root_cluster = fields.le32(44)?;
            if root_cluster < 2 || u64::from(root_cluster) >= clusters + 2 {
                return Err(fields.corrupt(format!("the root folder in cluster {root_cluster}")));
            }
        }
        Ok(Boot {
            width,
            sector: sector_size,
            cluster: sector_size * per_cluster,
            size: total * bytes,
            media,
            fats_start: reserved * bytes,
            fat_bytes: fat_sectors * bytes,
            fats,
            active,
            root: ((reserved + u64::from(fats) * fat_sectors) * bytes, root_entries * 32),
            root_cluster,
            data_start: data * bytes,
            clusters: clusters as u32,
            serial: if matches!(signature, 0x28 | 0x29) { Some(fields.le32(extended + 3)?) } else { None },
            label: if signature == 0x29 { Some(fields.array(extended + 7)?) } else { None },
            state: fields.u8(extended + 1)? & 3,
        })
    }

    /// Where a cluster of the volume begins.
    pub(super) fn cluster_start(&self, cluster: u32) -> u64 {
        self.data_start + u64::from(cluster.saturating_sub(2)) * u64::from(self.cluster)
    }

    /// The identity as `blkid` writes it.
    pub(super) fn uuid(&self) -> Option<String> {
        self.serial.filter(|serial| *serial != 0).map(uuid)
    }
}

/// Whether a first sector is that of something that only looks like FAT.
fn is_another(sector: &[u8; 512]) -> bool {
    OTHERS.iter().any(|name| sector[3..11] == name[..]) || sector[424..440] == BITLOCKER_TO_GO
}

/// A volume's number as `blkid` writes it: `1A2B-3C4D`.
pub(crate) fn uuid(serial: u32) -> String {
    format!("{:04X}-{:04X}", serial >> 16, serial & 0xFFFF)
}

/// Whether this is the first entry of a FAT: a media byte, and ones over it.
pub(super) fn head_is_plausible(width: Width, first: u32) -> bool {
    let ones = width.mask() & !0xFF;
    first & ones == ones && first & 0xF0 == 0xF0
}

/// The volume's state, from the boot sector and from the second entry of the FAT, as warnings.
pub(super) fn state_warnings(boot: &Boot, second: u32) -> Vec<String> {
    // Set bits of the FAT's entry say that all is well; FAT12 has no room for them.
    let (clean, sound) = match boot.width {
        Width::Twelve => (true, true),
        Width::Sixteen => (second & 0x8000 != 0, second & 0x4000 != 0),
        Width::ThirtyTwo | Width::ExFat => (second & 0x0800_0000 != 0, second & 0x0400_0000 != 0),
    };
    let mut warnings = Vec::new();
    if !clean || boot.state & 1 != 0 {
        warnings.push(
            "the volume was in use when it was captured (FAT has no journal): files that were being written may be incomplete"
                .to_owned(),
        );
    }
    if !sound || boot.state & 2 != 0 {
        warnings.push("the guest had read or write errors on this volume".to_owned());
    }
    warnings
}

/// Where FAT `number` begins, and whether the device holds it.
pub(super) fn fat_start(boot: &Boot, number: u8) -> Result<u64> {
    u64::from(number)
        .checked_mul(boot.fat_bytes)
        .and_then(|bytes| bytes.checked_add(boot.fats_start))
        .ok_or_else(|| Error::corrupt("the FAT boot sector", "FATs of impossible size"))
}
