//! exFAT, as Windows, cameras and phones write sticks and cards.
//!
//! The model (*exFAT file system specification*, Microsoft, August 2019): a boot region with a checksum, and a copy of
//! it; one table that links clusters (two of them under TexFAT, one of which is the active one); folders of 32-byte
//! entries, of which a file has a set: its attributes, its place, its name, and a checksum over them. A file that lies
//! in one piece has no chain in the table. A file has no inode: its node is the place of its set in its folder.
//!
//! - The boot region's checksum is verified; where it does not fit, the copy is used with a warning.
//! - A set whose checksum does not fit, or that has a critical entry that nothing here knows, is an error; entries that
//!   vendors add are passed over.
//! - Names are compared by the volume's own up-case table. Where its checksum does not fit, names are only found as
//!   they are written, with a warning. The hash that every entry has of its name is only a hint for a search: the
//!   set's checksum already covers the name.
//! - Bytes of a file behind its valid length are zeros: they were never written.
//! - Times with a zone are moments; those without are shown as if they were UTC.
//!
//! There is no journal: a volume that was in use when it was captured has a warning. The allocation bitmap only matters
//! to writers, and is not read.

mod boot;
mod entry;
mod folder;
mod reader;
mod upcase;

use crate::{Device, Error, GuestFs, OpenOptions, ReadAt, Recognised, Result};
use std::sync::Arc;

/// What the first sectors say; `None` where it is something else.
///
/// # Errors
/// [`Error::Io`].
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    if !boot::has_name(device)? {
        return Ok(None);
    }
    // One that is damaged is one all the same: `open` says what is wrong.
    let boot = match boot::read(device) {
        Ok((boot, _)) => boot,
        Err(error @ Error::Io { .. }) => return Err(error),
        Err(_) => {
            return Ok(Some(Recognised { kind: "exfat", label: None, uuid: None, size: device.size() }));
        }
    };
    Ok(Some(recognised(device, &boot)))
}

/// The same of the copy of the boot region, where the first sector calls itself nothing. To be asked last: where something
/// else was written over the volume, the copy may still be there.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn recognise_copy(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    Ok(boot::copy(device)?.map(|boot| recognised(device, &boot)))
}

fn recognised(device: &dyn ReadAt, boot: &boot::Boot) -> Recognised {
    let mut root = vec![0; boot.cluster.min(1 << 16) as usize];
    let label = match device.read_at(&mut root, boot.cluster_start(boot.root_cluster)) {
        Ok(()) => root.as_chunks().0.iter().take_while(|slot| slot[0] != 0).find_map(entry::label),
        Err(_) => None,
    };
    Recognised { kind: "exfat", label, uuid: boot.uuid(), size: boot.size }
}

/// Opens a volume read-only.
///
/// # Errors
/// [`Error::Corrupt`] where both boot regions are damaged or the root folder can't be reached;
/// [`Error::Unsupported`] for another version than 1; [`Error::Io`].
pub fn open(device: Device, options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
    Ok(Arc::new(reader::ExFat::open(device, options)?))
}
