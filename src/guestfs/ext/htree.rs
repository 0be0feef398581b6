//! Finding a name by its hash ("Hash Tree Directories"), up to three levels.
//!
//! Only a short cut: an index that is strange in any way is not used, and the folder is read from its beginning.

use super::feature::{compat, incompat, inode_flag};
use super::hash::{self, Version};
use super::inode::Inode;
use super::volume::Volume;
use crate::{Fields, Result};
use std::sync::Arc;

/// Leaves with equal hashes that are looked through.
const MAX_LEAVES: usize = 1024;

/// A block of the index, and which of its entries is looked at.
struct Level {
    bytes: Arc<[u8]>,
    /// Where its entries begin.
    start: usize,
    count: usize,
    at: usize,
}

impl Level {
    fn new(bytes: Arc<[u8]>, start: usize) -> Option<Self> {
        let field = Fields::new("a folder's index", &bytes);
        let (limit, count) = (field.le16(start).ok()?, field.le16(start + 2).ok()?);
        let most = bytes.len().saturating_sub(start) / 8;
        if count == 0 || count > limit || usize::from(limit) > most {
            return None;
        }
        Some(Level { start, count: count.into(), at: 0, bytes })
    }

    /// The hash from which on entry `index` stands; the first one's is 0.
    fn hash(&self, index: usize) -> u32 {
        if index == 0 {
            return 0;
        }
        Fields::new("", &self.bytes).le32(self.start + 8 * index).unwrap_or(0)
    }

    /// The block that the entry looked at points to.
    fn block(&self) -> u64 {
        u64::from(Fields::new("", &self.bytes).le32(self.start + 8 * self.at + 4).unwrap_or(0) & 0xfff_ffff)
    }

    /// Goes to the last entry whose hash is not greater.
    fn seek(&mut self, hash: u32) {
        let (mut low, mut high) = (1, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.hash(middle) <= hash {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.at = low - 1;
    }
}

impl Volume {
    /// The inode of the entry `name` by the folder's index; the outer `None` where there is none that can be used.
    ///
    /// # Errors
    /// Those of damaged blocks with entries.
    pub(super) fn find_hashed(&self, dir: &Inode, name: &[u8]) -> Result<Option<Option<u32>>> {
        if !dir.has(inode_flag::INDEX)
            || self.sb.compat & compat::DIR_INDEX == 0
            || dir.has(inode_flag::INLINE_DATA)
            || dir.size <= self.block_size() as u64
        {
            return Ok(None);
        }
        let Some((hash, mut levels)) = self.descend(dir, name) else { return Ok(None) };
        for _ in 0..MAX_LEAVES {
            let Some(leaf) = levels.last() else { return Ok(None) };
            let Ok(bytes) = self.folder_block(dir, leaf.block()) else { return Ok(None) };
            if let Some(found) = self.find_in_block(&bytes, name)? {
                return Ok(Some(Some(found)));
            }
            match self.next_leaf(dir, hash, &mut levels) {
                Some(true) => {}
                Some(false) => return Ok(Some(None)),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The name's hash, and the way from the root to its leaf.
    fn descend(&self, dir: &Inode, name: &[u8]) -> Option<(u32, Vec<Level>)> {
        let root = self.folder_block(dir, 0).ok()?;
        let info = Fields::new("a folder's index", &root).part(24, 8).ok()?;
        let (version, length, depth) = (info.u8(4).ok()?, info.u8(5).ok()?, info.u8(6).ok()?);
        let most = if self.sb.incompat & incompat::LARGEDIR != 0 { 2 } else { 1 };
        if info.le32(0).ok()? != 0 || length != 8 || depth > most {
            return None;
        }
        let version = Version::new(version, self.sb.hash_unsigned)?;
        let hash = hash::hash(version, &self.sb.hash_seed, name);
        let mut levels = vec![Level::new(root, 32)?];
        loop {
            let level = levels.last_mut()?;
            level.seek(hash);
            if levels.len() > usize::from(depth) {
                return Some((hash, levels));
            }
            let block = levels.last()?.block();
            levels.push(Level::new(self.folder_block(dir, block).ok()?, 8)?);
        }
    }

    /// Goes on to the next leaf, where it may have names of the same hash.
    fn next_leaf(&self, dir: &Inode, hash: u32, levels: &mut Vec<Level>) -> Option<bool> {
        let depth = levels.len();
        let next = loop {
            let Some(level) = levels.last_mut() else { return Some(false) };
            if level.at + 1 < level.count {
                level.at += 1;
                break level.hash(level.at);
            }
            levels.pop();
        };
        if next & !1 != hash {
            return Some(false);
        }
        while levels.len() < depth {
            let block = levels.last()?.block();
            levels.push(Level::new(self.folder_block(dir, block).ok()?, 8)?);
        }
        Some(true)
    }
}
