//! btrfs: subvolumes, snapshots, compression, checksums and several devices, as Linux writes it.
//!
//! The model: everything is an item in a B-tree, found by a key of three numbers (`tree`); blocks and data have
//! *logical* addresses, which chunks spread over the devices (`chunk`, `pool`); a tree of trees holds the roots of
//! all others, among them one tree for each subvolume (`root`). A commit writes a new superblock over new trees, so
//! there is no journal; what fsync wrote between two commits is in log trees, which are replayed in memory (`log`).
//!
//! Every block of metadata is checked against its checksum and against what points to it, and every sector of data
//! against the checksum tree, where the file has not turned that off; what is wrong is taken from another copy, and is
//! an error where there is none. A node is a subvolume's number and an inode's; a subvolume in a folder is a folder,
//! the root of its tree.
//!
//! Refused by name: zoned devices, extent tree v2, the RAID stripe tree, the remap tree, seed devices that are missing,
//! metadata dumps, encryption. Not here: quotas, space accounting, and the trees that only writers need.

mod checksum;
mod chunk;
mod compression;
mod data;
mod entry;
mod extent;
mod inode;
mod key;
mod log;
mod node;
mod open;
mod pool;
mod reader;
mod root;
mod subvolume;
mod superblock;
mod tree;
mod volume;

use crate::{Device, GuestFs, OpenOptions, ReadAt, Recognised, Result};
use std::sync::Arc;
use superblock::Superblock;

pub use subvolume::Subvolume;
pub use volume::Btrfs;

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

/// Opens the file system on `devices` read-only, replays its log trees in memory, and shows its default subvolume.
///
/// # Errors
/// As [`Btrfs::open`].
pub fn open(devices: Vec<Device>, options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
    Ok(Btrfs::open(devices, options)?)
}

fn readable(device: &dyn ReadAt) -> Result<Option<Superblock>> {
    match Superblock::read(device) {
        Err(error @ crate::Error::Io { .. }) => Err(error),
        Err(_) => Ok(None),
        Ok(found) => Ok(found),
    }
}
