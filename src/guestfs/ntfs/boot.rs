//! The boot sector: the sizes of everything, and where the master file table begins.
//!
//! Layout: "NTFS boot sector" of the Linux-NTFS documentation, and the BIOS parameter block of Microsoft's "How NTFS
//! works". Its copy lies in the last sector of the partition, just behind the sectors that the volume counts as its own.

use crate::device::{ReadAt, read_vec};
use crate::{Fields, Result};

const STRUCTURE: &str = "the NTFS boot sector";
/// The largest cluster: Windows 10 formats up to 2 MiB.
const MAX_CLUSTER: u64 = 2 << 20;

/// The sizes of a volume, each checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a sector: 512 to 4096.
    pub sector_size: u32,
    /// Bytes of a cluster, as a power of two: 9 to 21.
    pub cluster_bits: u32,
    /// Bytes of a record of the master file table: 512 to 65536, a power of two.
    pub record_size: usize,
    /// Clusters of the volume.
    pub clusters: u64,
    /// Bytes of the volume.
    pub size: u64,
    /// The cluster at which `$MFT` begins.
    pub mft: u64,
    /// The cluster at which `$MFTMirr` begins.
    pub mirror: u64,
    /// The volume's serial number.
    pub serial: u64,
}

impl Geometry {
    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// The serial number as `blkid` writes it.
    pub fn uuid(&self) -> String {
        format!("{:016X}", self.serial)
    }

    /// From a boot sector.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where it is none, or contradicts itself.
    pub fn parse(sector: &[u8]) -> Result<Self> {
        let boot = Fields::new(STRUCTURE, sector);
        if !is_ntfs(sector) {
            return Err(boot.corrupt("it has no NTFS signature"));
        }
        let sector_size = u32::from(boot.le16(0x0b)?);
        if !(512..=4096).contains(&sector_size) || !sector_size.is_power_of_two() {
            return Err(boot.corrupt(format!("sectors of {sector_size} bytes")));
        }
        // Above 0x80 it is a negative power of two, which Windows 10 writes for clusters over 64 KiB.
        let sectors_per_cluster = match boot.u8(0x0d)? {
            count @ 1..=0x80 if count.is_power_of_two() => u64::from(count),
            shift @ 0xf0..=0xff => 1 << (256 - u32::from(shift)),
            count => return Err(boot.corrupt(format!("clusters of {count} sectors"))),
        };
        let cluster_size = sectors_per_cluster * u64::from(sector_size);
        if cluster_size > MAX_CLUSTER {
            return Err(boot.corrupt(format!("clusters of {cluster_size} bytes")));
        }
        let record_size = record_size(&boot, 0x40, cluster_size)?;
        let sectors = boot.le64(0x28)?;
        let clusters = sectors / sectors_per_cluster;
        let size = sectors.checked_mul(u64::from(sector_size)).filter(|&size| size < 1 << 62);
        let Some(size) = size.filter(|_| clusters > 0) else {
            return Err(boot.corrupt(format!("it counts {sectors} sectors")));
        };
        let (mft, mirror) = (boot.le64(0x30)?, boot.le64(0x38)?);
        if mft == 0 || mft >= clusters {
            return Err(boot.corrupt(format!("$MFT at cluster {mft} of {clusters}")));
        }
        Ok(Geometry {
            sector_size,
            cluster_bits: cluster_size.trailing_zeros(),
            record_size,
            clusters,
            size,
            mft,
            mirror,
            serial: boot.le64(0x48)?,
        })
    }
}

/// A size that is stored as a count of clusters, or as a negative power of two in bytes.
fn record_size(boot: &Fields<'_>, at: usize, cluster_size: u64) -> Result<usize> {
    let size = match boot.u8(at)? as i8 {
        count @ 1.. => cluster_size * count as u64,
        power @ -16..=-9 => 1 << -power,
        other => return Err(boot.corrupt(format!("a record size of {other}"))),
    };
    if !(512..=65536).contains(&size) || !size.is_power_of_two() {
        return Err(boot.corrupt(format!("records of {size} bytes")));
    }
    Ok(size as usize)
}

/// Whether a sector calls itself an NTFS boot sector. BitLocker's has another name there.
pub fn is_ntfs(sector: &[u8]) -> bool {
    sector.get(3..11) == Some(b"NTFS    ") && sector.get(0x1fe..0x200) == Some(&[0x55, 0xaa])
}

/// The copy of the boot sector in the last sector of the device, where there is a good one.
///
/// # Errors
/// Only those of reading.
pub fn backup(device: &dyn ReadAt) -> Result<Option<Geometry>> {
    for sector_size in [512u64, 4096] {
        let Some(last) = (device.size() / sector_size).checked_sub(1) else { continue };
        let sector = read_vec(device, last * sector_size, 512)?;
        if let Ok(geometry) = Geometry::parse(&sector)
            && u64::from(geometry.sector_size) == sector_size
            && geometry.size <= last * sector_size
        {
            return Ok(Some(geometry));
        }
    }
    Ok(None)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{Error, MemoryDevice};

    /// A boot sector of `sectors` sectors with a cluster code and a record code.
    pub fn sector(sector_size: u16, cluster: u8, record: i8, sectors: u64) -> Vec<u8> {
        let mut boot = vec![0; 512];
        boot[3..11].copy_from_slice(b"NTFS    ");
        boot[0x0b..0x0d].copy_from_slice(&sector_size.to_le_bytes());
        boot[0x0d] = cluster;
        boot[0x28..0x30].copy_from_slice(&sectors.to_le_bytes());
        boot[0x30] = 4;
        boot[0x38] = 2;
        boot[0x40] = record as u8;
        boot[0x48..0x50].copy_from_slice(&0x0123_4567_89ab_cdef_u64.to_le_bytes());
        boot[0x1fe..].copy_from_slice(&[0x55, 0xaa]);
        boot
    }

    #[test]
    fn reads_both_ways_of_writing_a_size() {
        let geometry = Geometry::parse(&sector(512, 8, -10, 100_000)).unwrap();
        assert_eq!((geometry.cluster_size(), geometry.record_size), (4096, 1024));
        assert_eq!((geometry.clusters, geometry.size), (12_500, 51_200_000));
        assert_eq!(geometry.uuid(), "0123456789ABCDEF");
        let geometry = Geometry::parse(&sector(4096, 1, 1, 100_000)).unwrap();
        assert_eq!((geometry.cluster_size(), geometry.record_size), (4096, 4096));
        // 2^12 sectors of 512 bytes.
        assert_eq!(Geometry::parse(&sector(512, 0xf4, -10, 1 << 20)).unwrap().cluster_size(), 2 << 20);
    }

    #[test]
    fn refuses_what_contradicts_itself() {
        let bad = [
            sector(513, 8, -10, 100_000),
            sector(512, 3, -10, 100_000),
            sector(512, 0xf0, -10, 100_000),
            sector(512, 8, -31, 100_000),
            sector(512, 0x80, 2, 1_000_000),
            sector(512, 8, -10, u64::MAX),
            sector(512, 8, -10, 8),
            sector(512, 8, -10, 0),
        ];
        for (index, bytes) in bad.iter().enumerate() {
            assert!(matches!(Geometry::parse(bytes), Err(Error::Corrupt { .. })), "{index}");
        }
    }

    #[test]
    fn finds_the_copy_in_the_last_sector() {
        let mut disk = vec![0; 100 * 512];
        assert_eq!(backup(&MemoryDevice(disk.clone())).unwrap(), None);
        disk[99 * 512..].copy_from_slice(&sector(512, 1, -10, 99));
        assert_eq!(backup(&MemoryDevice(disk.clone())).unwrap().unwrap().clusters, 99);
        disk[99 * 512..].copy_from_slice(&sector(512, 1, -10, 100));
        assert_eq!(backup(&MemoryDevice(disk)).unwrap(), None, "it would be inside of what it counts");
        assert_eq!(backup(&MemoryDevice(vec![])).unwrap(), None);
    }
}
