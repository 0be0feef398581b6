//! md RAID of Linux: members told by their superblocks, and arrays of RAID 0, RAID 1 and linear put together from them.
//!
//! A mirror is read from the first leg that is up to date; the kernel resynchronises from that one too. A member that is
//! behind is never read. Not here: RAID 4, 5, 6 and 10, which are refused by name, and reshapes.

mod array;
mod external;
mod mirror;
mod superblock;

use crate::Result;
use crate::device::{Device, ReadAt};
use superblock::Superblock;

pub use array::{Array, arrays};

/// The identity of an array.
pub type Identity = [u8; 16];

/// What stands on a device.
pub struct Found {
    /// The first byte of it.
    pub offset: u64,
    /// Whether its place depends on the size of the device, so that it may be that of its last partition.
    pub at_end: bool,
    /// What it is.
    pub kind: Kind,
}

/// What kind of member a device is.
pub enum Kind {
    /// One of md's own formats.
    Native(Box<Superblock>),
    /// A firmware's format, by name.
    Foreign(&'static str),
    /// A superblock that can't be used.
    Damaged(String),
}

/// A member of an array.
pub struct Member {
    /// The id of its volume.
    pub id: String,
    /// Its bytes.
    pub device: Device,
    /// How many layers it lies on.
    pub depth: usize,
    /// The disk that it lies on.
    pub disk: u32,
    /// What it says.
    pub superblock: Superblock,
}

/// Looks for metadata of an array on a device.
///
/// # Errors
/// Those of the reader below.
pub fn find(device: &dyn ReadAt) -> Result<Option<Found>> {
    if let Some(place) = superblock::find(device)? {
        let kind = match place.superblock {
            Ok(superblock) => Kind::Native(Box::new(superblock)),
            Err(reason) => Kind::Damaged(reason),
        };
        return Ok(Some(Found { offset: place.offset, at_end: place.at_end, kind }));
    }
    let external = external::recognise(device)?;
    Ok(external.map(|name| Found {
        offset: device.size().saturating_sub(1024),
        // These describe whole disks, and their arrays end before them.
        at_end: false,
        kind: Kind::Foreign(name),
    }))
}
