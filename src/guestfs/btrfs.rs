//! btrfs.

mod checksum;
mod superblock;

use crate::{ReadAt, Recognised, Result};
use superblock::Superblock;

/// Which part of which btrfs a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The file system's identity, the same on all of its devices.
    pub fsid: [u8; 16],
    /// The device's number in the file system, from 1.
    pub device_id: u64,
    /// How many devices the file system has.
    pub devices: u64,
    /// The last commit that this device knows of. Of two devices with the same number the one with the higher one is
    /// the file system's.
    pub generation: u64,
}

/// Which part of which btrfs `device` is; `None` where it is none, or its superblock is damaged.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub fn member(device: &dyn ReadAt) -> Result<Option<Member>> {
    Ok(readable(device)?.map(|found| Member {
        fsid: found.fsid,
        device_id: found.device_id,
        devices: found.devices,
        generation: found.generation,
    }))
}

/// What the first sectors say; `None` where it is something else, or no superblock is whole.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    Ok(readable(device)?.map(|found| Recognised {
        kind: "btrfs",
        label: found.label(),
        uuid: Some(found.uuid()),
        size: if found.devices == 1 { found.total_bytes } else { found.device_bytes },
    }))
}

fn readable(device: &dyn ReadAt) -> Result<Option<Superblock>> {
    match Superblock::read(device) {
        Err(error @ crate::Error::Io { .. }) => Err(error),
        Err(_) => Ok(None),
        Ok(found) => Ok(found),
    }
}
