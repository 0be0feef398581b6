//! ext2, ext3 and ext4, after the kernel's `Documentation/filesystems/ext4` (sections of it are named in quotes).
//!
//! A superblock names the sizes; group descriptors tell where inodes lie; an inode tells where its bytes lie; folders
//! are files of entries. All metadata that has checksums is checked against them.
//!
//! A journal that was not empty is replayed in memory, fast commits included, and everything is read through it. A
//! copy of the superblock is used where the first one is damaged.
//!
//! Not here: content of encrypted files and folders (refused, by name), external journals that are not empty, writing,
//! quota and project numbers. Orphans need nothing: those without a name can't be reached, and a truncation that was
//! under way is already in the size.

mod acl;
mod changes;
mod checksum;
mod content;
mod entry;
mod extent;
mod fast_commit;
mod feature;
mod filesystem;
mod fold;
mod folder;
mod group;
mod hash;
mod htree;
mod indirect;
mod inline;
mod inode;
mod journal;
mod recovery;
mod replay;
mod superblock;
mod volume;
mod xattr;

use crate::device::{Device, ReadAt, check_range, read_vec};
use crate::{Error, GuestFs, OpenOptions, Recognised, Result};
use filesystem::FileSystem;
use journal::Journal;
use std::sync::Arc;
use superblock::Superblock;
use volume::Volume;

/// What the first sectors say; none where it is something else. A volume whose first superblock is gone is not
/// recognised: its copies may belong to a file system that was here before. [`open`] looks for them.
///
/// # Errors
/// Those of the reader below.
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    if check_range(superblock::OFFSET, superblock::LENGTH, device.size()).is_err() {
        return Ok(None);
    }
    let bytes = read_vec(device, superblock::OFFSET, superblock::LENGTH)?;
    let Ok(sb) = Superblock::decode(&bytes) else { return Ok(None) };
    let size = sb.blocks.saturating_mul(sb.block_size() as u64);
    Ok(Some(Recognised { kind: feature::kind(&sb), label: sb.label(), uuid: sb.uuid(), size }))
}

/// Opens it read-only, and replays its journal in memory.
///
/// # Errors
/// [`Error::Unsupported`] for features that nothing here decodes, [`Error::Untrusted`] for a journal that can't be
/// replayed (unless it is to be ignored), [`Error::Corrupt`] where there is no good superblock.
pub fn open(device: Device, options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
    let (sb, damage) = superblock::read(&*device)?;
    let mut warnings = Vec::new();
    let from_copy = damage.is_some();
    if let Some(damage) = damage {
        warnings.push(format!("the first superblock is damaged, and a copy of it was used: {damage}"));
    }
    if sb.has_errors {
        warnings.push("the guest found errors in this file system before the capture".into());
    }
    // A copy does not tell whether the journal is empty: it is written when the file system is made.
    let dirty = sb.needs_recovery() || (from_copy && sb.has_journal());
    let mut volume = Volume::new(device, sb, options.cache_bytes);
    if dirty {
        volume = match recover(volume, from_copy, options)? {
            Recovery::Whole(volume) => volume,
            Recovery::Without(volume, why) => {
                if !options.ignore_journal {
                    return Err(why);
                }
                warnings.push(format!("the journal was not replayed, so that contents may be wrong: {why}"));
                volume
            }
        };
    }
    Ok(Arc::new(FileSystem::new(volume, warnings)))
}

/// What became of a journal.
enum Recovery {
    /// All of it is over the volume.
    Whole(Volume),
    /// Not all of it, and why.
    Without(Volume, Error),
}

/// Replays the journal over `volume`.
///
/// # Errors
/// Only those of the reader below.
fn recover(volume: Volume, from_copy: bool, options: &OpenOptions) -> Result<Recovery> {
    let device = volume.device.clone();
    match replayed(&volume, from_copy, options) {
        Err(error @ Error::Io { .. }) => Err(error),
        Err(error) => {
            let error = match error {
                Error::Corrupt { .. } => Error::Untrusted(format!("the journal can't be replayed: {error}")),
                other => other,
            };
            Ok(Recovery::Without(Volume::new(device, volume.sb, options.cache_bytes), error))
        }
        Ok(None) => Ok(Recovery::Whole(Volume::new(device, volume.sb, options.cache_bytes))),
        Ok(Some((mut volume, records))) => match replay::replay(&mut volume, &records) {
            Ok(()) => Ok(Recovery::Whole(volume)),
            Err(error @ Error::Io { .. }) => Err(error),
            Err(error) => {
                volume.changes = changes::Changes::default();
                Ok(Recovery::Without(volume, error))
            }
        },
    }
}

/// The volume with the log of its journal over it, and the fast commits after that; none for an empty journal.
fn replayed(
    volume: &Volume,
    from_copy: bool,
    options: &OpenOptions,
) -> Result<Option<(Volume, Vec<fast_commit::Record>)>> {
    let sb = &volume.sb;
    if !sb.has_journal() {
        return Err(Error::Untrusted("the journal is said to be dirty, and there is none".into()));
    }
    if sb.journal_inode == 0 {
        if sb.journal_device != 0 {
            return Err(Error::unsupported("a dirty journal on another device"));
        }
        return Err(Error::Untrusted("the journal is dirty and can't be found".into()));
    }
    let inode = volume.inode(sb.journal_inode)?;
    let mut journal = Journal::open(volume, &inode)?;
    let recovered = recovery::recover(&mut journal, volume.device.clone(), options.journal_bytes)?;
    let Some(recovered) = recovered else { return Ok(None) };
    let records = if journal.fast_commit {
        fast_commit::read(&mut journal, recovered.end, sb.inode_size)?
    } else {
        Vec::new()
    };
    let overlay = Arc::new(recovered.overlay);
    let device: Device = overlay.clone();
    let mut sb = volume.sb.clone();
    if !from_copy {
        sb = Superblock::parse(&read_vec(&*device, superblock::OFFSET, superblock::LENGTH)?)?;
    }
    let mut replayed = Volume::new(device, sb, options.cache_bytes);
    replayed.overlay = Some(overlay);
    Ok(Some((replayed, records)))
}
