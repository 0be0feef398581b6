//! Folders: their blocks with checksums, listing, and finding a name.

use super::checksum::crc32c;
use super::entry::{Entries, TAIL, kind_of, record_length};
use super::feature::{compat, incompat, inode_flag};
use super::fold;
use super::inode::Inode;
use super::volume::Volume;
use crate::device::read_vec;
use crate::{DirEntry, Error, Fields, FileKind, NodeId, Result};
use std::ops::ControlFlow;
use std::sync::Arc;

/// How much of a folder is read at once, in bytes.
const PIECE: u64 = 128 << 10;
/// Blocks of a folder that are read.
const MAX_BLOCKS: u64 = 1 << 22;
/// Positions of entries that a fast commit added: behind all that a folder can have.
const ADDED: u64 = 1 << 62;

type Visit<'a> = &'a mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>;

/// The inode as the outside knows it.
pub(super) fn node_id(inode: u32) -> NodeId {
    NodeId { tree: 0, inode: inode.into() }
}

impl Volume {
    /// Refuses what is no folder, and what needs a key.
    fn check_folder(&self, dir: &Inode) -> Result<()> {
        if dir.kind != FileKind::Directory {
            return Err(Error::NotADirectory);
        }
        dir.check_readable()
    }

    /// Calls `visit` with every entry from position `from` on. Positions are bytes of the folder.
    ///
    /// # Errors
    /// As [`GuestFs::readdir`](crate::GuestFs::readdir).
    pub(super) fn list(&self, dir: &Inode, from: u64, visit: Visit<'_>) -> Result<()> {
        self.check_folder(dir)?;
        let changed = self.changes.folders.get(&dir.number);
        let kinds = self.sb.tells_kinds();
        if from < ADDED && !changed.is_some_and(|folder| folder.fresh) {
            let mut shown = |entry: DirEntry<'_>| match changed {
                Some(folder) if folder.removed.contains(entry.name) => ControlFlow::Continue(()),
                _ => visit(DirEntry { kind: entry.kind.filter(|_| kinds), ..entry }),
            };
            if self.list_stored(dir, from, &mut shown)?.is_break() {
                return Ok(());
            }
        }
        let Some(folder) = changed else { return Ok(()) };
        for (index, (name, inode, kind)) in folder.added_from(from.saturating_sub(ADDED)) {
            let entry = DirEntry {
                name,
                node: node_id(*inode),
                kind: kind_of(*kind).filter(|_| kinds),
                next: ADDED + index + 1,
            };
            if visit(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The entries on the disk.
    fn list_stored(&self, dir: &Inode, from: u64, visit: Visit<'_>) -> Result<ControlFlow<()>> {
        if dir.has(inode_flag::INLINE_DATA) {
            for (start, bytes) in self.inline_folder(dir)? {
                if self.list_block(bytes, start, from, visit)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        let bits = self.sb.block_bits;
        let end = dir.size >> bits;
        let mut block = from >> bits;
        // No folder has more blocks than the volume: what maps the same ones again and again ends here.
        let mut left = MAX_BLOCKS.min(self.sb.blocks).min(self.device.size() >> bits);
        while block < end {
            let segment = self.segment(dir, block)?;
            let mut length = segment.length.min(end - block);
            if segment.physical.is_some() {
                length = length.min(PIECE >> bits);
            }
            let cost = if segment.physical.is_some() { length } else { 1 };
            left = left.checked_sub(cost).ok_or_else(|| {
                dir.corrupt("a folder of more blocks than the volume has, or than are read")
            })?;
            if let Some(physical) = segment.physical {
                let bytes = read_vec(&*self.device, physical << bits, (length as usize) << bits)?;
                for (index, bytes) in bytes.chunks_exact(1 << bits).enumerate() {
                    let number = block + index as u64;
                    if self.check_block(dir, number, bytes)? {
                        continue;
                    }
                    if self.list_block(bytes, number << bits, from, visit)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            block += length;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The entries of one block, whose first byte has the position `start`.
    fn list_block(&self, bytes: &[u8], start: u64, from: u64, visit: Visit<'_>) -> Result<ControlFlow<()>> {
        let mut entries = Entries::new(bytes, self.sb.inodes);
        while let Some(entry) = entries.step()? {
            let next = start + entry.next as u64;
            if next <= from {
                continue;
            }
            let shown =
                DirEntry { name: entry.name, node: node_id(entry.inode), kind: entry.file_kind(), next };
            if visit(shown).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Checks the sum of a folder's block, and tells whether it holds no entries but a part of the index.
    fn check_block(&self, dir: &Inode, number: u64, bytes: &[u8]) -> Result<bool> {
        let field = Fields::new("a folder", bytes);
        let indexed = dir.has(inode_flag::INDEX) && self.sb.compat & compat::DIR_INDEX != 0;
        let inner = indexed
            && number > 0
            && field.le32(0)? == 0
            && record_length(field.le16(4)?, bytes.len()) == bytes.len();
        if !self.sb.has_checksums() {
            return Ok(inner);
        }
        let wrong = || dir.corrupt(format!("the checksum of block {number} of the folder is wrong"));
        if inner || (indexed && number == 0) {
            let start = if inner { 8 } else { 32 };
            let (limit, count) = (usize::from(field.le16(start)?), usize::from(field.le16(start + 2)?));
            let tail = start + limit * 8;
            if count > limit || tail + 8 > bytes.len() {
                return Err(wrong());
            }
            let sum = crc32c(dir.seed, field.bytes(0, start + count * 8)?);
            let sum = crc32c(crc32c(sum, field.bytes(tail, 4)?), &[0; 4]);
            if field.le32(tail + 4)? != sum {
                return Err(wrong());
            }
            return Ok(inner);
        }
        let end = bytes.len() - TAIL;
        if field.bytes(end, 8)? != [0, 0, 0, 0, TAIL as u8, 0, 0, 0xde]
            || field.le32(end + 8)? != crc32c(dir.seed, field.bytes(0, end)?)
        {
            return Err(wrong());
        }
        Ok(false)
    }

    /// A block of a folder for finding names in, checked.
    pub(super) fn folder_block(&self, dir: &Inode, number: u64) -> Result<Arc<[u8]>> {
        self.folders.get_or((dir.number, number), || {
            let physical = self.segment(dir, number)?.physical;
            let physical =
                physical.ok_or_else(|| dir.corrupt(format!("block {number} of the folder is a hole")))?;
            let bytes = read_vec(&*self.device, physical << self.sb.block_bits, self.block_size())?;
            self.check_block(dir, number, &bytes)?;
            Ok((bytes.into(), self.block_size() + 64))
        })
    }

    /// The inode of the entry `name` of a folder; where it ignores case, an exact match first.
    ///
    /// # Errors
    /// As [`GuestFs::lookup`](crate::GuestFs::lookup).
    pub(super) fn find(&self, dir: &Inode, name: &[u8]) -> Result<u32> {
        self.check_folder(dir)?;
        let changed = self.changes.folders.get(&dir.number);
        let any_case = dir.has(inode_flag::CASEFOLD) && self.sb.incompat & incompat::CASEFOLD != 0;
        if !any_case {
            if let Some(folder) = changed {
                if let Some(inode) = folder.added(name) {
                    return Ok(inode);
                }
                if folder.fresh || folder.removed.contains(name) {
                    return Err(Error::NotFound);
                }
            }
            if let Some(found) = self.find_hashed(dir, name)? {
                return found.ok_or(Error::NotFound);
            }
        }
        let folded = any_case.then(|| fold::fold(name));
        let mut exact = None;
        let mut similar = None;
        self.list(dir, 0, &mut |entry| {
            let inode = entry.node.inode as u32;
            if entry.name == name {
                exact = Some(inode);
                return ControlFlow::Break(());
            }
            if similar.is_none()
                && let Some(Some(folded)) = &folded
                && fold::fold(entry.name).as_ref() == Some(folded)
            {
                similar = Some(inode);
            }
            ControlFlow::Continue(())
        })?;
        exact.or(similar).ok_or(Error::NotFound)
    }

    /// The inode of the entry `name` in one block of a folder.
    pub(super) fn find_in_block(&self, bytes: &[u8], name: &[u8]) -> Result<Option<u32>> {
        let mut entries = Entries::new(bytes, self.sb.inodes);
        while let Some(entry) = entries.step()? {
            if entry.name == name {
                return Ok(Some(entry.inode));
            }
        }
        Ok(None)
    }
}
