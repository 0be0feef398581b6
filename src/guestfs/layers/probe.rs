//! What a range holds that is no layer: a file system, swap space, something that is refused by name.

use crate::device::{Device, ReadAt};
use crate::foreign::{self, Foreign};
use crate::fs::Recognised;
use crate::layers::bitlocker;
use crate::volume::Content;
use crate::{Error, GuestFs, OpenOptions, Result};
use std::sync::Arc;

/// Opens a file system on its devices.
type Open = fn(Vec<Device>, &OpenOptions) -> Result<Arc<dyn GuestFs>>;

/// A file system's reader.
struct Reader {
    recognise: fn(&dyn ReadAt) -> Result<Option<Recognised>>,
    open: Open,
}

/// The readers, in the order in which they are asked: those whose formatting leaves the signatures of others in place
/// come before those others.
const READERS: &[Reader] = &[
    Reader {
        recognise: crate::ntfs::recognise,
        open: |devices, options| crate::ntfs::open(only(devices)?, options),
    },
    Reader {
        recognise: crate::exfat::recognise,
        open: |devices, options| crate::exfat::open(only(devices)?, options),
    },
    Reader {
        recognise: crate::fat::recognise,
        open: |devices, options| crate::fat::open(only(devices)?, options),
    },
    Reader {
        recognise: crate::xfs::recognise,
        open: |devices, options| crate::xfs::open(only(devices)?, options),
    },
    Reader {
        recognise: crate::ext::recognise,
        open: |devices, options| crate::ext::open(only(devices)?, options),
    },
    Reader { recognise: crate::btrfs::recognise, open: crate::btrfs::open },
    Reader {
        recognise: crate::iso9660::recognise,
        open: |devices, options| crate::iso9660::open(only(devices)?, options),
    },
];

/// The readers of what has a second boot sector, asked where nothing else is known: that one may be left over from a file
/// system that was here before.
const COPIES: &[Reader] = &[
    Reader {
        recognise: crate::fat::recognise_copy,
        open: |devices, options| crate::fat::open(only(devices)?, options),
    },
    Reader {
        recognise: crate::exfat::recognise_copy,
        open: |devices, options| crate::exfat::open(only(devices)?, options),
    },
];

/// The device of a file system that has one.
fn only(devices: Vec<Device>) -> Result<Device> {
    devices.into_iter().next().ok_or_else(|| Error::unsupported("a volume without devices"))
}

/// What `device` holds. What can't be told because it is damaged is [`Content::Damaged`].
///
/// # Errors
/// Those of the reader below.
pub fn content(device: &dyn ReadAt) -> Result<Content> {
    if let Some(locked) = bitlocker::recognise(device)? {
        return Ok(locked);
    }
    if let Some(content) = first_of(READERS, device)? {
        return Ok(content);
    }
    let foreign = match foreign::recognise(device) {
        Err(Error::Io { offset, source }) => return Err(Error::Io { offset, source }),
        // What can't be told has no name.
        found => found.unwrap_or(None),
    };
    Ok(match foreign {
        None => first_of(COPIES, device)?.unwrap_or(Content::Unknown),
        Some(Foreign { is_swap: true, label, uuid, .. }) => Content::Swap { label, uuid },
        Some(Foreign { kind, .. }) => Content::Refused(kind.to_owned()),
    })
}

/// What the first reader that knows the device says of it.
///
/// # Errors
/// Those of the reader below.
fn first_of(readers: &[Reader], device: &dyn ReadAt) -> Result<Option<Content>> {
    for reader in readers {
        match (reader.recognise)(device) {
            Ok(Some(recognised)) => return Ok(Some(Content::FileSystem(recognised))),
            Ok(None) => {}
            Err(Error::Io { offset, source }) => return Err(Error::Io { offset, source }),
            Err(error) => return Ok(Some(Content::Damaged(error.to_string()))),
        }
    }
    Ok(None)
}

/// Opens what [`content`] recognised, with the same reader.
///
/// # Errors
/// [`Error::Unsupported`] where no reader knows it (any more); those of the reader.
pub fn open(devices: &[Device], options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
    let first = devices.first().ok_or_else(|| Error::unsupported("a volume without devices"))?;
    for reader in READERS.iter().chain(COPIES) {
        if (reader.recognise)(first.as_ref())?.is_some() {
            return (reader.open)(devices.to_vec(), options);
        }
    }
    Err(Error::unsupported("this volume's content"))
}
