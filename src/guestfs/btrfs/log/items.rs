//! Items of the subvolume under replay: reading and changing them.

use super::{Replay, broken, set64};
use crate::btrfs::inode::{BYTES_AT, SIZE_AT};
use crate::btrfs::key::{INODE_ITEM, Key};
use crate::btrfs::node::Owner;
use crate::btrfs::tree::Tree;
use crate::{Fields, Result};
use std::ops::ControlFlow;

impl Replay<'_> {
    /// The subvolume, as it is so far.
    pub fn tree(&self) -> Tree<'_> {
        Tree::new(self.blocks, self.root, Owner::Subvolume, Some(&self.changes))
    }

    pub fn put(&mut self, key: Key, item: Vec<u8>) -> Result<()> {
        self.held.add(item.len())?;
        self.changes.insert(key, Some(item));
        Ok(())
    }

    pub fn remove(&mut self, key: Key) -> Result<()> {
        self.held.add(0)?;
        self.changes.insert(key, None);
        Ok(())
    }

    /// Puts what is left of an item of several parts, which is nothing sometimes.
    pub fn put_or_remove(&mut self, key: Key, item: Vec<u8>) -> Result<()> {
        if item.is_empty() { self.remove(key) } else { self.put(key, item) }
    }

    /// All items from `from` to `to`.
    pub fn items(&self, from: Key, to: Key) -> Result<Vec<(Key, Vec<u8>)>> {
        let mut items = Vec::new();
        let mut bytes = 0usize;
        let limit = self.held.limit;
        self.tree().walk(from, to, &mut |key, item| {
            bytes = bytes.saturating_add(item.len()).saturating_add(64);
            if bytes > limit {
                return Err(broken("it touches more items than are held in memory"));
            }
            items.push((key, item.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(items)
    }

    pub fn exists(&self, number: u64) -> Result<bool> {
        Ok(self.tree().get(Key::new(number, INODE_ITEM, 0))?.is_some())
    }

    /// The inode item of a number that must have one.
    pub fn inode_item(&self, number: u64) -> Result<Vec<u8>> {
        let item = self.tree().get(Key::new(number, INODE_ITEM, 0))?;
        item.ok_or_else(|| broken(format!("inode {number} is neither in it nor in the subvolume")))
    }

    pub fn edit_inode(&mut self, number: u64, edit: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
        let mut item = self.inode_item(number)?;
        edit(&mut item)?;
        self.put(Key::new(number, INODE_ITEM, 0), item)
    }

    pub fn size(&self, number: u64) -> Result<u64> {
        Fields::new("an inode item", &self.inode_item(number)?).le64(SIZE_AT)
    }

    pub fn set_size(&mut self, number: u64, size: u64) -> Result<()> {
        self.edit_inode(number, |item| set64(item, SIZE_AT, size))
    }

    /// Bytes that were allocated for an inode, and freed.
    pub fn add_bytes(&mut self, number: u64, added: u64, freed: u64) -> Result<()> {
        if added == freed {
            return Ok(());
        }
        let bytes = Fields::new("an inode item", &self.inode_item(number)?).le64(BYTES_AT)?;
        let bytes = bytes.saturating_add(added).saturating_sub(freed);
        self.edit_inode(number, |item| set64(item, BYTES_AT, bytes))
    }

    /// Marks an inode, which must exist, for the counting of its links.
    pub fn fix_later(&mut self, number: u64) -> Result<()> {
        if self.fix.insert(number) {
            self.held.add(0)?;
            self.inode_item(number)?;
        }
        Ok(())
    }
}
