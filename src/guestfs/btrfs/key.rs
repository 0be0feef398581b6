//! Keys of items, and the numbers of trees and item types that are read here.
//!
//! Source: the kernel's `include/uapi/linux/btrfs_tree.h`.

use crate::{Fields, Result};

/// What an item is found by; items are ordered by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub object: u64,
    pub kind: u8,
    pub offset: u64,
}

pub const INODE_ITEM: u8 = 1;
pub const INODE_REF: u8 = 12;
pub const INODE_EXTREF: u8 = 13;
pub const XATTR_ITEM: u8 = 24;
pub const DIR_LOG_INDEX: u8 = 72;
pub const DIR_ITEM: u8 = 84;
pub const DIR_INDEX: u8 = 96;
pub const EXTENT_DATA: u8 = 108;
pub const EXTENT_CSUM: u8 = 128;
pub const ROOT_ITEM: u8 = 132;
pub const ROOT_BACKREF: u8 = 144;
pub const ROOT_REF: u8 = 156;
pub const CHUNK_ITEM: u8 = 228;

/// The tree of all trees.
pub const ROOT_TREE: u64 = 1;
pub const CHUNK_TREE: u64 = 3;
/// The subvolume that holds all others.
pub const FS_TREE: u64 = 5;
pub const CSUM_TREE: u64 = 7;
/// Owner of log trees, and the object under which the tree of log trees lists them: −6.
pub const TREE_LOG: u64 = u64::MAX - 5;
/// The object of all checksums of data: −10.
pub const EXTENT_CSUM_OBJECT: u64 = u64::MAX - 9;
/// The object of all chunks.
pub const FIRST_CHUNK_TREE: u64 = 256;
/// The first number that a subvolume or an inode may have; the root folder of every subvolume has it.
pub const FIRST_FREE: u64 = 256;
/// The last number that a subvolume may have.
pub const LAST_FREE: u64 = u64::MAX - 255;

impl Key {
    /// Bytes of a key on the disk.
    pub const LENGTH: usize = 17;

    /// The greatest key.
    pub const MAX: Key = Key { object: u64::MAX, kind: u8::MAX, offset: u64::MAX };

    pub fn new(object: u64, kind: u8, offset: u64) -> Self {
        Key { object, kind, offset }
    }

    /// The key at byte `at` of a structure.
    pub fn read(fields: &Fields<'_>, at: usize) -> Result<Self> {
        Ok(Key { object: fields.le64(at)?, kind: fields.u8(at + 8)?, offset: fields.le64(at + 9)? })
    }

    /// The key right before this one; `None` before the first.
    pub fn before(self) -> Option<Self> {
        if self.offset > 0 {
            Some(Key { offset: self.offset - 1, ..self })
        } else if self.kind > 0 {
            Some(Key { object: self.object, kind: self.kind - 1, offset: u64::MAX })
        } else {
            self.object.checked_sub(1).map(|object| Key { object, kind: u8::MAX, offset: u64::MAX })
        }
    }
}

/// Whether `tree` is the number of a subvolume.
pub fn is_subvolume(tree: u64) -> bool {
    tree == FS_TREE || (FIRST_FREE..=LAST_FREE).contains(&tree)
}
