//! B-trees: items by key, over the blocks on the devices and over what the log changed in memory.

use super::checksum::Checksum;
use super::key::Key;
use super::node::{Expected, Node, Owner};
use super::pool::Pool;
use super::superblock::{Pointer, Superblock};
use crate::{Cache, Error, Result};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What the log changed in a tree: items that are new or others now, and items that are gone.
pub type Changes = BTreeMap<Key, Option<Vec<u8>>>;

/// What is done with each item of a range.
pub type Visit<'a> = dyn FnMut(Key, &[u8]) -> Result<ControlFlow<()>> + 'a;

/// Metadata blocks by their logical address.
pub struct Blocks {
    pub pool: Pool,
    pub checksum: Checksum,
    /// Bytes of a sector.
    pub sector: u32,
    node: usize,
    id: [u8; 16],
    cache: Cache<u64, Arc<Node>>,
}

impl Blocks {
    /// The blocks of `superblock`'s file system, of which `cache` bytes are kept.
    pub fn new(pool: Pool, superblock: &Superblock, cache: usize) -> Self {
        Blocks {
            pool,
            checksum: superblock.checksum,
            sector: superblock.sector,
            node: superblock.node as usize,
            id: superblock.metadata_uuid,
            cache: Cache::new(cache),
        }
    }

    /// The block that `expected` says, from the first copy that is whole and is it.
    fn read(&self, expected: &Expected) -> Result<Arc<Node>> {
        let logical = expected.pointer.logical;
        if let Some(node) = self.cache.get(&logical) {
            node.fits(expected)?;
            return Ok(node);
        }
        let mut first_error = None;
        for mirror in 0..self.pool.mirrors(logical)? {
            match self.read_mirror(expected, mirror) {
                Ok(node) => {
                    let node = Arc::new(node);
                    self.cache.put(logical, node.clone(), self.node + 256);
                    return Ok(node);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| Error::corrupt("the chunk tree", "a chunk without stripes")))
    }

    fn read_mirror(&self, expected: &Expected, mirror: usize) -> Result<Node> {
        let logical = expected.pointer.logical;
        let mut bytes = vec![0; self.node];
        self.pool.read(logical, &mut bytes, mirror, false)?;
        let node = Node::check(bytes, logical, self.checksum, &self.id, self.sector)?;
        node.fits(expected)?;
        Ok(node)
    }
}

/// A tree.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    blocks: &'a Blocks,
    root: Expected,
    changes: Option<&'a Changes>,
}

impl<'a> Tree<'a> {
    /// The tree at `root`, with what the log changed in it.
    pub fn new(blocks: &'a Blocks, root: Pointer, owner: Owner, changes: Option<&'a Changes>) -> Self {
        Tree { blocks, root: Expected { pointer: root, owner, first: None }, changes }
    }

    /// The bytes of the item `key`.
    ///
    /// # Errors
    /// Why a block on the way can't be read.
    pub fn get(&self, key: Key) -> Result<Option<Vec<u8>>> {
        if let Some(changed) = self.changes.and_then(|changes| changes.get(&key)) {
            return Ok(changed.clone());
        }
        let mut found = None;
        let _ = self.walk_blocks(&self.root, key, key, &mut |_, item| {
            found = Some(item.to_vec());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Calls `visit` with every item from the key `from` to the key `to`, both included, in their order, until it
    /// breaks.
    ///
    /// # Errors
    /// Why a block can't be read; those of `visit`.
    pub fn walk(&self, from: Key, to: Key, visit: &mut Visit<'_>) -> Result<()> {
        if from > to {
            return Ok(());
        }
        let Some(changes) = self.changes.filter(|changes| !changes.is_empty()) else {
            return self.walk_blocks(&self.root, from, to, visit).map(|_| ());
        };
        let mut changed = changes.range(from..=to).peekable();
        let mut ended = false;
        let _ = self.walk_blocks(&self.root, from, to, &mut |key, item| {
            while let Some((&new, now)) = changed.next_if(|(new, _)| **new <= key) {
                if let Some(now) = now
                    && visit(new, now)?.is_break()
                {
                    ended = true;
                    return Ok(ControlFlow::Break(()));
                }
                if new == key {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            let flow = visit(key, item)?;
            ended = flow.is_break();
            Ok(flow)
        })?;
        if ended {
            return Ok(());
        }
        for (&key, now) in changed {
            if let Some(now) = now
                && visit(key, now)?.is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn walk_blocks(
        &self,
        expected: &Expected,
        from: Key,
        to: Key,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>> {
        // Each level is one lower than the one above, so this ends.
        let node = self.blocks.read(expected)?;
        let start = node.below(from);
        if node.level() == 0 {
            for index in start..node.count() {
                let key = node.key(index);
                if key > to || visit(key, node.item(index))?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            return Ok(ControlFlow::Continue(()));
        }
        // The child before the first greater key may hold `from`.
        let start =
            if start < node.count() && node.key(start) == from { start } else { start.saturating_sub(1) };
        for index in start..node.count() {
            if node.key(index) > to {
                return Ok(ControlFlow::Break(()));
            }
            if self.walk_blocks(&node.child(index, expected.owner), from, to, visit)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The greatest key that is not above `key`.
    ///
    /// # Errors
    /// Why a block on the way can't be read.
    pub fn floor(&self, key: Key) -> Result<Option<Key>> {
        let mut at = key;
        loop {
            let on_disk = self.floor_in_blocks(at)?;
            let changed = self.changes.and_then(|changes| changes.range(..=at).next_back());
            match changed {
                Some((&changed, now)) if on_disk.is_none_or(|on_disk| changed >= on_disk) => {
                    if now.is_some() {
                        return Ok(Some(changed));
                    }
                    // It is gone: whatever is before it.
                    match changed.before() {
                        Some(before) => at = before,
                        None => return Ok(None),
                    }
                }
                _ => return Ok(on_disk),
            }
        }
    }

    fn floor_in_blocks(&self, key: Key) -> Result<Option<Key>> {
        let mut expected = self.root;
        loop {
            let node = self.blocks.read(&expected)?;
            let below = node.below(key);
            let index = if below < node.count() && node.key(below) == key {
                below
            } else {
                match below.checked_sub(1) {
                    Some(index) => index,
                    None => return Ok(None),
                }
            };
            if node.level() == 0 {
                return Ok(Some(node.key(index)));
            }
            expected = node.child(index, expected.owner);
        }
    }
}
