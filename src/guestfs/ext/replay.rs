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
use super::inode::{BLOCK, BLOCK_LENGTH, Inode, ROOT};
use super::volume::Volume;
use crate::{Error, Fields, FileKind, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Extents of all changed files together.
const MAX_EXTENTS: usize = 1 << 20;
const GENERATION: usize = 0x64;
const LINKS: usize = 0x1a;
const FLAGS: usize = 0x20;

/// Puts the records over `volume`.
///
/// # Errors
/// `Untrusted` for everything that can't be replayed with certainty, `Limit` for too much of it.
pub(super) fn replay(volume: &mut Volume, records: &[Record]) -> Result<()> {
    let mut replay = Replay { volume, mappings: HashMap::new(), budget: MAX_EXTENTS };
    for record in records {
        match record {
            Record::Add { inode, extent } => replay.add(*inode, extent)?,
            Record::Remove { inode, first, length } => replay.remove(*inode, *first, *length)?,
            Record::Create(name) => replay.create(name)?,
            Record::Link(name) => replay.link(name)?,
            Record::Unlink(name) => replay.unlink(name)?,
            Record::Inode { inode, raw } => replay.set_inode(*inode, raw)?,
        }
    }
    replay.finish();
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

/// The extents of a file by their first blocks.
type Mapping = BTreeMap<u32, Extent>;

struct Replay<'a> {
    volume: &'a mut Volume,
    /// Files whose extents change; nothing reads them before the end.
    mappings: HashMap<u32, Mapping>,
    /// Extents that may still be held.
    budget: usize,
}

impl Replay<'_> {
    /// The bytes of an inode, as they are by now.
    fn raw(&self, inode: u32) -> Result<Vec<u8>> {
        if inode < self.volume.sb.first_inode && inode != ROOT {
            return Err(untrusted(format!("they change the reserved inode {inode}")));
        }
        match self.volume.changes.inodes.get(&inode) {
            Some(changed) => Ok(changed.raw.clone()),
            None => self.volume.raw_inode(inode).map_err(met),
        }
    }

    /// The inode, or nothing for one that is deleted: the kernel passes over what is said of those.
    fn alive(&self, inode: u32) -> Result<Option<Arc<Inode>>> {
        let raw = self.raw(inode)?;
        if Fields::new("an inode", &raw).le16(LINKS)? == 0 {
            return Ok(None);
        }
        self.volume.inode(inode).map(Some).map_err(met)
    }

    /// The changed form of an inode.
    fn changed(&mut self, inode: &Inode) -> &mut ChangedInode {
        let changed = self.volume.changes.inodes.entry(inode.number);
        changed.or_insert_with(|| ChangedInode { raw: inode.raw.clone(), extents: None })
    }

    fn set_links(&mut self, inode: &Inode, links: u16) {
        self.changed(inode).raw[LINKS..LINKS + 2].copy_from_slice(&links.to_le_bytes());
    }

    /// The folder that a name is in; none where the kernel passes over it.
    fn folder(&self, name: &Name) -> Result<Option<Arc<Inode>>> {
        let folder = self.alive(name.parent)?;
        match &folder {
            Some(folder) if folder.kind != FileKind::Directory || folder.has(inode_flag::ENCRYPT) => {
                Err(untrusted(format!("inode {} is not a folder that can be changed", folder.number)))
            }
            _ => Ok(folder),
        }
    }

    /// Puts a name into a folder; false where there is one already.
    fn enter(&mut self, folder: &Inode, inode: &Inode, name: &Name) -> Result<bool> {
        match self.volume.find(folder, &name.name) {
            Ok(_) => return Ok(false),
            Err(Error::NotFound) => {}
            Err(error) => return Err(met(error)),
        }
        let bytes = &name.name;
        if bytes.iter().any(|&byte| byte == 0 || byte == b'/') || bytes == b"." || bytes == b".." {
            return Err(untrusted("a name that none can have"));
        }
        let changed = self.volume.changes.folders.entry(folder.number).or_default();
        changed.add(bytes.clone(), inode.number, kind_number(inode.kind));
        Ok(true)
    }

    fn link(&mut self, name: &Name) -> Result<()> {
        if let Some(inode) = self.alive(name.inode)?
            && let Some(folder) = self.folder(name)?
            && self.enter(&folder, &inode, name)?
        {
            self.set_links(&inode, inode.links.saturating_add(1));
        }
        Ok(())
    }

    fn create(&mut self, name: &Name) -> Result<()> {
        let Some(inode) = self.alive(name.inode)? else {
            return Err(untrusted(format!("inode {} was created and is not there", name.inode)));
        };
        let Some(folder) = self.folder(name)? else { return Ok(()) };
        if inode.kind == FileKind::Directory {
            self.volume.changes.folders.insert(inode.number, ChangedFolder::empty());
        }
        self.enter(&folder, &inode, name)?;
        self.set_links(&inode, 1);
        Ok(())
    }

    fn unlink(&mut self, name: &Name) -> Result<()> {
        let Some(inode) = self.alive(name.inode)? else { return Ok(()) };
        let Some(folder) = self.folder(name)? else { return Ok(()) };
        match self.volume.find(&folder, &name.name) {
            Ok(found) if found == inode.number => {
                self.volume.changes.folders.entry(folder.number).or_default().remove(&name.name);
            }
            // The name stands for another inode by now; the link is gone all the same.
            Ok(_) => {}
            Err(Error::NotFound) => return Ok(()),
            Err(error) => return Err(met(error)),
        }
        self.set_links(&inode, inode.links.saturating_sub(1));
        Ok(())
    }

    fn set_inode(&mut self, number: u32, record: &[u8]) -> Result<()> {
        let mut raw = self.raw(number)?;
        if record.len() > raw.len() {
            return Err(untrusted(format!(
                "inode {number} was written with {} bytes, and has {}",
                record.len(),
                raw.len()
            )));
        }
        let field = Fields::new("a fast commit", record);
        let was = Fields::new("an inode", &raw);
        let (old, generation, links) = (was.le32(FLAGS)?, was.le32(GENERATION)?, was.le16(LINKS)?);
        let same = generation == field.le32(GENERATION)? && links != 0;
        let flags = field.le32(FLAGS)?;
        if !same {
            // A new file: nothing of what was there before belongs to it.
            raw.fill(0);
            self.mappings.insert(number, Mapping::new());
        } else if (flags ^ old) & (inode_flag::EXTENTS | inode_flag::INLINE_DATA) != 0 {
            return Err(untrusted(format!("inode {number} changes how its content is found")));
        }
        raw[..BLOCK].copy_from_slice(field.bytes(0, BLOCK)?);
        raw[GENERATION..record.len()].copy_from_slice(field.bytes(GENERATION, record.len() - GENERATION)?);
        if flags & inode_flag::EXTENTS == 0 {
            // The target of a short link, the number of a device, the content of an inline file.
            raw[BLOCK..BLOCK + BLOCK_LENGTH].copy_from_slice(field.bytes(BLOCK, BLOCK_LENGTH)?);
            self.mappings.remove(&number);
        }
        self.volume.changes.inodes.insert(number, ChangedInode { raw, extents: None });
        // It must be one that can be read.
        self.alive(number)?;
        Ok(())
    }

    /// The mapping of a file, for changing it; none for a file that is deleted.
    fn mapping(&mut self, number: u32) -> Result<Option<&mut Mapping>> {
        let Some(inode) = self.alive(number)? else { return Ok(None) };
        if !inode.has(inode_flag::EXTENTS)
            || inode.has(inode_flag::INLINE_DATA)
            || inode.kind == FileKind::Directory
        {
            return Err(untrusted(format!("the blocks of inode {number} can't be changed")));
        }
        self.changed(&inode);
        // Every change makes two rows more at most.
        self.budget = self.budget.checked_sub(2).ok_or_else(|| untrusted("they change too much"))?;
        if !self.mappings.contains_key(&number) {
            let extents = self.volume.all_extents(&inode, self.budget).map_err(met)?;
            self.budget -= extents.len();
            self.mappings.insert(number, extents.into_iter().map(|extent| (extent.first, extent)).collect());
        }
        Ok(self.mappings.get_mut(&number))
    }

    fn add(&mut self, number: u32, extent: &Extent) -> Result<()> {
        if extent.length == 0 || extent.end() > 1 << 32 {
            return Err(untrusted(format!("{} blocks of inode {number} were added", extent.length)));
        }
        self.volume.place("a fast commit", extent.physical, extent.length).map_err(met)?;
        if let Some(mapping) = self.mapping(number)? {
            cut(mapping, extent.first, extent.end());
            mapping.insert(extent.first, *extent);
        }
        Ok(())
    }

    fn remove(&mut self, number: u32, first: u32, length: u32) -> Result<()> {
        if let Some(mapping) = self.mapping(number)? {
            cut(mapping, first, u64::from(first) + u64::from(length));
        }
        Ok(())
    }

    /// Gives the files their mappings.
    fn finish(self) {
        for (number, mapping) in self.mappings {
            if let Some(changed) = self.volume.changes.inodes.get_mut(&number) {
                changed.extents = Some(Arc::new(mapping.into_values().collect()));
            }
        }
    }
}

/// Makes a hole of the blocks `first..end`.
fn cut(mapping: &mut Mapping, first: u32, end: u64) {
    let before = mapping.range(..first).next_back().map(|(&at, _)| at);
    let from = before.unwrap_or(first);
    let touched: Vec<u32> = mapping
        .range(from..)
        .take_while(|&(&at, _)| u64::from(at) < end)
        .filter(|(_, extent)| extent.end() > u64::from(first))
        .map(|(&at, _)| at)
        .collect();
    for at in touched {
        let Some(old) = mapping.remove(&at) else { continue };
        if old.first < first {
            mapping.insert(at, Extent { length: u64::from(first - old.first), ..old });
        }
        if old.end() > end
            && let Ok(start) = u32::try_from(end)
        {
            let physical = old.physical + (end - u64::from(old.first));
            mapping.insert(start, Extent { first: start, length: old.end() - end, physical, ..old });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::extent::find;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_cut_is_a_hole_and_the_rest_stays(
            rows in prop::collection::vec((0u32..40, 1u64..20, 1u64..1000, any::<bool>()), 0..20),
            cuts in prop::collection::vec((0u32..60, 0u64..30), 0..6),
        ) {
            let mut model = [None; 128];
            let mut mapping = Mapping::new();
            for (first, length, physical, written) in rows {
                let extent = Extent { first, length, physical: physical * 100, written };
                cut(&mut mapping, first, extent.end());
                mapping.insert(first, extent);
                for block in 0..length {
                    model[(u64::from(first) + block) as usize] = written.then_some(physical * 100 + block);
                }
            }
            for (first, length) in cuts {
                cut(&mut mapping, first, u64::from(first) + length);
                model[first as usize..(u64::from(first) + length) as usize].fill(None);
            }
            let extents: Vec<_> = mapping.into_values().collect();
            for (block, expected) in model.iter().enumerate() {
                let found = find(&extents, block as u64, 128);
                prop_assert_eq!(found.physical, *expected);
                prop_assert!(found.length > 0);
            }
        }
    }
}
