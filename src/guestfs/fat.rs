//! FAT12, FAT16 and FAT32 with long names, as DOS, Windows and every firmware write them: EFI system partitions, boot
//! partitions, floppies and sticks.
//!
//! The model (*Microsoft Extensible Firmware Initiative FAT32 File System Specification* 1.03): a boot sector, two
//! equal tables that link clusters to chains, and folders of 32-byte entries. A file has no inode: its node is the
//! place of its entry. FAT12 and FAT16 differ in the number of clusters, and in nothing else. FAT32 is what has no FAT
//! size of 16 bits, also with fewer clusters than the specification wants of it: so decide Linux and Windows (mtools
//! takes such a volume for FAT12).
//!
//! What a volume does not say, and is taken as Linux takes it by default:
//! - times are the guest's local time without a zone: they are shown as if they were UTC (`tz=UTC`);
//! - short names are in code page 437.
//!
//! The first FAT counts, unless FAT32 names another as the active one, or the first does not begin as a FAT does or
//! can't be read: then the next that does, with a warning. Where the boot sector is damaged, FAT32's copy of it is used,
//! with a warning too. Chains that lead to a free, bad or impossible cluster or
//! into themselves, and chains that are shorter than their file, are damage, and nothing of such a file is served; two
//! files that share clusters can't be told from each other and are served both. There is no journal: a volume that was
//! in use when it was captured has a warning.
//!
//! Not here: extended attributes of OS/2, long names of OS/2 and Windows 95's compressed volumes (DriveSpace).

mod boot;
pub(crate) mod chain;
pub(crate) mod clusters;
mod code_page;
mod entry;
mod folder;
mod reader;
pub(crate) mod table;
pub(crate) mod time;

use crate::{Device, Error, GuestFs, OpenOptions, ReadAt, Recognised, Result};
use std::sync::Arc;

pub(crate) use boot::uuid;

/// What the first sectors say; `None` where it is something else.
///
/// # Errors
/// [`Error::Io`].
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    Ok(boot::Boot::recognise(device)?.map(|boot| recognised(device, boot)))
}

/// The same of FAT32's copy of the boot sector. To be asked last: where something else was written over the volume, the
/// copy may still be there.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn recognise_copy(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    Ok(boot::Boot::copy(device)?.map(|boot| recognised(device, boot)))
}

fn recognised(device: &dyn ReadAt, boot: boot::Boot) -> Recognised {
    // The label in the root folder is the one that Windows changes.
    let (at, length) = match boot.root {
        (_, 0) => (boot.cluster_start(boot.root_cluster), u64::from(boot.cluster)),
        root => root,
    };
    let mut root = vec![0; length.min(1 << 16) as usize];
    let in_root = match device.read_at(&mut root, at) {
        Ok(()) => root
            .as_chunks()
            .0
            .iter()
            .map(entry::Slot::parse)
            .take_while(|slot| *slot != entry::Slot::End)
            .find_map(|slot| match slot {
                entry::Slot::Label(label) => Some(label),
                _ => None,
            }),
        Err(_) => None,
    };
    let label = in_root.or(boot.label).and_then(|label| entry::label(&label));
    Recognised { kind: "vfat", label, uuid: boot.uuid(), size: boot.size }
}

/// Opens a volume read-only.
///
/// # Errors
/// [`Error::Corrupt`] where the boot sector is impossible or no FAT is whole; [`Error::Io`].
pub fn open(device: Device, options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
    let mut warnings = Vec::new();
    let boot = match boot::Boot::recognise(&*device)? {
        Some(boot) => boot,
        None => {
            let copy = boot::Boot::copy(&*device)?;
            warnings.push("the boot sector is damaged, and the copy of it was used".to_owned());
            copy.ok_or_else(|| Error::corrupt("the FAT boot sector", "it is none"))?
        }
    };
    Ok(Arc::new(reader::Fat::open(device, boot, warnings, options)?))
}
