//! Fast commits put over the volume, in memory, as the kernel's `ext4_fc_replay` puts them onto the disk.
//!
//! Where the kernel's replay takes what it can't know from the moment of the mount, this keeps what is known: times of
//! folders stay those of the last full commit. Where it keeps what stood in an inode's place before (blocks and
//! attributes of a deleted file), this begins with nothing. Numbers of links are the kernel's.

use super::changes::{ChangedFolder, ChangedInode};
use super::entry::kind_number;
use super::extent::Extent;
use super::fast_commit::{Name, Record};
use super::feature::inode_flag;
use super::inode::{BLOCK, BLOCK_LENGTH, Inode, OLD_SIZE, ROOT};
use super::volume::Volume;
use crate::{Error, Fields, FileKind, Result};
use std::sync::Arc;

/// Extents of all changed files together.
const MAX_EXTENTS: usize = 1 << 20;
const GENERATION: usize = 0x64;
const LINKS: usize = 0x1a;

/// Puts the records over `volume`.
///
/// # Errors
/// `Untrusted` for everything that can't be replayed with certainty.
pub(super) fn replay(volume: &mut Volume, records: &[Record]) -> Result<()> {
    let mut budget = MAX_EXTENTS;
    for record in records {
        match record {
            Record::Add { inode, extent } => add(volume, *inode, extent, &mut budget)?,
            Record::Remove { inode, first, length } => remove(volume, *inode, *first, *length, &mut budget)?,
            Record::Create(name) => create(volume, name)?,
            Record::Link(name) => link(volume, name)?,
            Record::Unlink(name) => unlink(volume, name)?,
            Record::Inode { inode, raw } => set_inode(volume, *inode, raw)?,
        }
    }
    Ok(())
}

fn untrusted(reason: impl std::fmt::Display) -> Error {
    Error::Untrusted(format!("the journal's fast commits can't be replayed with certainty: {reason}"))
}

/// Damage that is met while replaying.
fn met(error: Error) -> Error {
    match error {
        Error::Corrupt { .. } | Error::Encrypted(_) | Error::NotADirectory => untrusted(error),
        other => other,
    }
}

/// The bytes of an inode, as they are by now.
fn raw(volume: &Volume, inode: u32) -> Result<Vec<u8>> {
    if inode < volume.sb.first_inode && inode != ROOT {
        return Err(untrusted(format!("they change the reserved inode {inode}")));
    }
    match volume.changes.inodes.get(&inode) {
        Some(changed) => Ok(changed.raw.clone()),
        None => volume.raw_inode(inode).map_err(met),
    }
}

/// The inode, or nothing for one that is deleted: the kernel passes over what is said of those.
fn alive(volume: &Volume, inode: u32) -> Result<Option<Arc<Inode>>> {
    let raw = raw(volume, inode)?;
    if Fields::new("an inode", &raw).le16(LINKS)? == 0 {
        return Ok(None);
    }
    volume.inode(inode).map(Some).map_err(met)
}

fn set_links(raw: &mut [u8], links: u16) {
    raw[LINKS..LINKS + 2].copy_from_slice(&links.to_le_bytes());
}

/// Changes the number of links of an inode that is alive.
fn change_links(volume: &mut Volume, inode: &Inode, change: impl FnOnce(u16) -> u16) {
    let changed = volume.changes.inodes.entry(inode.number);
    let changed = changed.or_insert_with(|| ChangedInode { raw: inode.raw.clone(), extents: None });
    let links = change(inode.links);
    set_links(&mut changed.raw, links);
}

/// The folder that a name is in; none where the kernel passes over it.
fn folder(volume: &Volume, name: &Name) -> Result<Option<Arc<Inode>>> {
    let folder = alive(volume, name.parent)?;
    match &folder {
        Some(folder) if folder.kind != FileKind::Directory || folder.has(inode_flag::ENCRYPT) => {
            Err(untrusted(format!("inode {} is not a folder that can be changed", folder.number)))
        }
        _ => Ok(folder),
    }
}

fn enter(volume: &mut Volume, folder: &Inode, inode: &Inode, name: &Name) -> Result<bool> {
    match volume.find(folder, &name.name) {
        Ok(_) => return Ok(false),
        Err(Error::NotFound) => {}
        Err(error) => return Err(met(error)),
    }
    if name.name.iter().any(|&byte| byte == 0 || byte == b'/') || name.name == b"." || name.name == b".." {
        return Err(untrusted("a name that none can have"));
    }
    let added = (name.name.clone(), inode.number, kind_number(inode.kind));
    volume.changes.folders.entry(folder.number).or_default().added.push(added);
    Ok(true)
}

fn link(volume: &mut Volume, name: &Name) -> Result<()> {
    if let Some(inode) = alive(volume, name.inode)?
        && let Some(folder) = folder(volume, name)?
        && enter(volume, &folder, &inode, name)?
    {
        change_links(volume, &inode, |links| links.saturating_add(1));
    }
    Ok(())
}

fn create(volume: &mut Volume, name: &Name) -> Result<()> {
    let Some(inode) = alive(volume, name.inode)? else {
        return Err(untrusted(format!("inode {} was created and is not there", name.inode)));
    };
    let Some(folder) = folder(volume, name)? else { return Ok(()) };
    if inode.kind == FileKind::Directory {
        let fresh = ChangedFolder { fresh: true, ..ChangedFolder::default() };
        volume.changes.folders.insert(inode.number, fresh);
    }
    enter(volume, &folder, &inode, name)?;
    change_links(volume, &inode, |_| 1);
    Ok(())
}

fn unlink(volume: &mut Volume, name: &Name) -> Result<()> {
    let Some(inode) = alive(volume, name.inode)? else { return Ok(()) };
    let Some(folder) = folder(volume, name)? else { return Ok(()) };
    match volume.find(&folder, &name.name) {
        Ok(found) if found == inode.number => {
            let changed = volume.changes.folders.entry(folder.number).or_default();
            let before = changed.added.len();
            changed.added.retain(|added| added.0 != name.name);
            if changed.added.len() == before {
                changed.removed.insert(name.name.clone());
            }
        }
        // The name stands for another inode by now; the link is gone all the same.
        Ok(_) => {}
        Err(Error::NotFound) => return Ok(()),
        Err(error) => return Err(met(error)),
    }
    change_links(volume, &inode, |links| links.saturating_sub(1));
    Ok(())
}

fn set_inode(volume: &mut Volume, number: u32, record: &[u8]) -> Result<()> {
    let mut raw = raw(volume, number)?;
    let field = Fields::new("a fast commit", record);
    let was = Fields::new("an inode", &raw);
    let (old_flags, generation, links) = (was.le32(0x20)?, was.le32(GENERATION)?, was.le16(LINKS)?);
    let same = generation == field.le32(GENERATION)? && links != 0;
    let flags = field.le32(0x20)?;
    let mut extents = volume.changes.inodes.get(&number).and_then(|changed| changed.extents.clone());
    if !same {
        // A new file: nothing of what was there before belongs to it.
        raw.fill(0);
        extents = None;
    } else if flags & inode_flag::EXTENTS != old_flags & inode_flag::EXTENTS {
        return Err(untrusted(format!("inode {number} changes how its blocks are found")));
    }
    if flags & inode_flag::INLINE_DATA == 0 && old_flags & inode_flag::INLINE_DATA != 0 && same {
        return Err(untrusted(format!("the content of inode {number} moves out of it")));
    }
    raw[..BLOCK].copy_from_slice(field.bytes(0, BLOCK)?);
    raw[GENERATION..record.len()].copy_from_slice(field.bytes(GENERATION, record.len() - GENERATION)?);
    if flags & inode_flag::EXTENTS == 0 {
        // The target of a short link, the number of a device, the content of an inline file.
        raw[BLOCK..BLOCK + BLOCK_LENGTH].copy_from_slice(field.bytes(BLOCK, BLOCK_LENGTH)?);
    } else if !same {
        extents = Some(Arc::default());
    }
    volume.changes.inodes.insert(number, ChangedInode { raw, extents });
    // It must be one that can be read.
    alive(volume, number)?;
    Ok(())
}

/// The whole mapping of a file, for changing it.
fn mapping(volume: &Volume, number: u32, budget: &mut usize) -> Result<Option<(Arc<Inode>, Vec<Extent>)>> {
    let Some(inode) = alive(volume, number)? else { return Ok(None) };
    if !inode.has(inode_flag::EXTENTS) || inode.has(inode_flag::INLINE_DATA) {
        return Err(untrusted(format!("inode {number} has no extents")));
    }
    let extents = match &inode.extents {
        Some(extents) => extents.as_ref().clone(),
        None => {
            let extents = volume.all_extents(&inode, *budget).map_err(met)?;
            *budget -= extents.len();
            extents
        }
    };
    Ok(Some((inode, extents)))
}

fn keep(volume: &mut Volume, inode: &Inode, extents: Vec<Extent>) {
    let changed = volume.changes.inodes.entry(inode.number);
    let changed = changed.or_insert_with(|| ChangedInode { raw: inode.raw.clone(), extents: None });
    changed.extents = Some(Arc::new(extents));
}

/// Makes a hole of the blocks `first..end`.
fn cut(extents: &mut Vec<Extent>, first: u64, end: u64) {
    let from = extents.partition_point(|extent| extent.end() <= first);
    let to = extents.partition_point(|extent| u64::from(extent.first) < end);
    if from >= to {
        return;
    }
    let (head, tail) = (extents[from], extents[to - 1]);
    let mut kept = Vec::new();
    if u64::from(head.first) < first {
        kept.push(Extent { length: first - u64::from(head.first), ..head });
    }
    if let Some(beyond) = tail.end().checked_sub(end).filter(|&beyond| beyond > 0)
        && let Ok(start) = u32::try_from(end)
    {
        let physical = tail.physical + (end - u64::from(tail.first));
        kept.push(Extent { first: start, length: beyond, physical, ..tail });
    }
    extents.splice(from..to, kept);
}

fn add(volume: &mut Volume, number: u32, extent: &Extent, budget: &mut usize) -> Result<()> {
    let Some((inode, mut extents)) = mapping(volume, number, budget)? else { return Ok(()) };
    if extent.length == 0 || extent.end() > 1 << 32 {
        return Err(untrusted(format!("{} blocks of inode {number} were added", extent.length)));
    }
    volume.place("a fast commit", extent.physical, extent.length).map_err(met)?;
    *budget = budget.checked_sub(2).ok_or_else(|| untrusted("they change too much"))?;
    cut(&mut extents, extent.first.into(), extent.end());
    let at = extents.partition_point(|other| other.first < extent.first);
    extents.insert(at, *extent);
    keep(volume, &inode, extents);
    Ok(())
}

fn remove(volume: &mut Volume, number: u32, first: u32, length: u32, budget: &mut usize) -> Result<()> {
    let Some((inode, mut extents)) = mapping(volume, number, budget)? else { return Ok(()) };
    *budget = budget.checked_sub(2).ok_or_else(|| untrusted("they change too much"))?;
    cut(&mut extents, first.into(), u64::from(first) + u64::from(length));
    keep(volume, &inode, extents);
    Ok(())
}

const _: () = assert!(GENERATION < OLD_SIZE);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::extent::find;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_cut_is_a_hole_and_the_rest_stays(
            rows in prop::collection::vec((0u32..40, 1u64..20, 1u64..1000, any::<bool>()), 0..20),
            cuts in prop::collection::vec((0u64..60, 0u64..30), 0..6),
        ) {
            let mut model = [None; 128];
            let mut extents = Vec::new();
            for (first, length, physical, written) in rows {
                let extent = Extent { first, length, physical: physical * 100, written };
                cut(&mut extents, first.into(), extent.end());
                let at = extents.partition_point(|other| other.first < first);
                extents.insert(at, extent);
                for block in 0..length {
                    model[(u64::from(first) + block) as usize] = written.then_some(physical * 100 + block);
                }
            }
            for (first, length) in cuts {
                cut(&mut extents, first, first + length);
                model[first as usize..(first + length) as usize].fill(None);
            }
            for (block, expected) in model.iter().enumerate() {
                let found = find(&extents, block as u64, 128);
                prop_assert_eq!(found.physical, *expected);
                prop_assert!(found.length > 0);
            }
        }
    }
}
