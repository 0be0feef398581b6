//! Trees of hashes, over the leaves of large folders and of many attributes (`xfs_da_btree`).

use crate::xfs::core::{BlockType, Core};
use crate::xfs::inode::{Inode, Which};
use crate::{Fields, Result};
use std::sync::Arc;

/// Levels of the highest tree that the format allows.
const MAX_DEPTH: u32 = 5;

/// The hash of a name, by which folders and attributes are sorted.
pub(super) fn hash(name: &[u8]) -> u32 {
    let (groups, rest) = name.as_chunks::<4>();
    let mut hash = 0u32;
    for &[a, b, c, d] in groups {
        hash = (u32::from(a) << 21)
            ^ (u32::from(b) << 14)
            ^ (u32::from(c) << 7)
            ^ u32::from(d)
            ^ hash.rotate_left(28);
    }
    match *rest {
        [a, b, c] => (u32::from(a) << 14) ^ (u32::from(b) << 7) ^ u32::from(c) ^ hash.rotate_left(21),
        [a, b] => (u32::from(a) << 7) ^ u32::from(b) ^ hash.rotate_left(14),
        [a] => u32::from(a) ^ hash.rotate_left(7),
        _ => hash,
    }
}

/// A leaf, and its number in the fork's tree.
pub(super) struct Leaf {
    pub bytes: Arc<[u8]>,
    /// The number of the leaf after it, 0 for none.
    pub next: u32,
}

impl Core {
    /// The first leaf below block `root` of a fork that may hold `hash`. Blocks are `size` bytes, leaves of type
    /// `leaf`.
    pub fn find_leaf(
        &self,
        inode: &Inode,
        which: Which,
        root: u64,
        size: u32,
        leaf: BlockType,
        hash: u32,
    ) -> Result<Leaf> {
        let mut block = root;
        for _ in 0..=MAX_DEPTH {
            let (found, bytes) = self
                .fork_block(inode, which, block, size)?
                .ok_or_else(|| inode.corrupt(format!("block {block} of its index is missing")))?;
            if found == leaf {
                let next = Fields::new("a leaf", &bytes).be32(0)?;
                return Ok(Leaf { bytes, next });
            }
            if found != BlockType::Node {
                return Err(inode.corrupt(format!("block {block} of its index is of a wrong type")));
            }
            let fields = Fields::new("a node of an index", &bytes);
            let (counted, entries) = if self.superblock.v5 { (56, 64) } else { (12, 16) };
            let count = usize::from(fields.be16(counted)?);
            let entries = fields.bytes(entries, count * 8)?.as_chunks::<8>().0;
            // An entry's hash is the last one of its child, so the first that is not below is the one.
            let below = |entry: &[u8; 8]| u64::from_be_bytes(*entry) >> 32 < u64::from(hash);
            let index = entries.partition_point(below).min(entries.len().saturating_sub(1));
            let entry = entries.get(index).ok_or_else(|| inode.corrupt("a node of its index is empty"))?;
            block = u64::from(u64::from_be_bytes(*entry) as u32);
        }
        Err(inode.corrupt("the tree of its index is too high"))
    }

    /// Leaf number `block` of a fork.
    pub fn leaf(&self, inode: &Inode, which: Which, block: u32, size: u32, leaf: BlockType) -> Result<Leaf> {
        match self.fork_block(inode, which, block.into(), size)? {
            Some((found, bytes)) if found == leaf => {
                let next = Fields::new("a leaf", &bytes).be32(0)?;
                Ok(Leaf { bytes, next })
            }
            _ => Err(inode.corrupt(format!("block {block} of its index is not a leaf"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_format_defines() {
        // What `xfs_db -c "hash NAME"` prints.
        for (name, expected) in [
            (".", 0x2e),
            ("..", 0x172e),
            ("abc", 0x18_7163),
            ("hello", 0x8cbb_3669),
            ("hostname", 0x4d09_c97a),
            ("a-longer-name.txt", 0x068d_19d0),
        ] {
            assert_eq!(hash(name.as_bytes()), expected, "{name}");
        }
    }
}
