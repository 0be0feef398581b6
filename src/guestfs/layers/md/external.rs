//! Metadata of firmware RAID, told by name: Intel Matrix Storage (mdadm `super-intel.c`) and the SNIA Disk Data Format
//! (*Common RAID Disk Data Format*, "DDF header").

use crate::Result;
use crate::device::{self, ReadAt};

/// The name of the firmware's format whose signature stands at the end of a disk.
///
/// # Errors
/// Those of the reader below.
pub fn recognise(device: &dyn ReadAt) -> Result<Option<&'static str>> {
    let Some(start) = (device.size() / 512 * 512).checked_sub(1024) else { return Ok(None) };
    let end = device::read_vec(device, start, 1024)?;
    if end.starts_with(b"Intel Raid ISM Cfg Sig. ") {
        return Ok(Some("a member of an Intel firmware RAID (IMSM)"));
    }
    if end[512..516] == 0xde11_de11_u32.to_be_bytes() {
        return Ok(Some("a member of a firmware RAID (DDF)"));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn tells_both_by_name() {
        let mut disk = vec![0; 8192];
        assert_eq!(recognise(&MemoryDevice(disk.clone())).unwrap(), None);
        assert_eq!(recognise(&MemoryDevice(vec![0; 600])).unwrap(), None);
        disk[7680..7684].copy_from_slice(&[0xde, 0x11, 0xde, 0x11]);
        assert!(recognise(&MemoryDevice(disk.clone())).unwrap().unwrap().contains("DDF"));
        disk[7168..7192].copy_from_slice(b"Intel Raid ISM Cfg Sig. ");
        assert!(recognise(&MemoryDevice(disk)).unwrap().unwrap().contains("IMSM"));
    }
}
