//! A metadata block: a node or leaf of a B-tree, checked as a whole before anything of it is used.
//!
//! Layout: `struct btrfs_header`, `btrfs_item` and `btrfs_key_ptr` of the kernel's `btrfs_tree.h`.

use super::checksum::Checksum;
use super::key::{Key, is_subvolume};
use super::superblock::Pointer;
use crate::{Error, Fields, Result};

/// The bytes of the header.
const HEADER: usize = 101;
/// The bytes of an item's head in a leaf.
const ITEM: usize = 25;
/// The bytes of a pointer in a node.
const POINTER: usize = 33;

/// The highest level that a node may have.
pub const MAX_LEVEL: u8 = 7;

/// Which tree a block must belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// This one.
    Tree(u64),
    /// Any subvolume: snapshots share blocks.
    Subvolume,
}

/// What whoever points to a block says of it.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    pub pointer: Pointer,
    pub owner: Owner,
    /// The key of its first item, where a node points to it.
    pub first: Option<Key>,
}

/// A block that holds what its header and its parent say.
pub struct Node {
    bytes: Vec<u8>,
    level: u8,
    count: usize,
    generation: u64,
    owner: u64,
}

impl Node {
    /// Checks a block that was read from `logical`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], with what does not fit.
    pub fn check(
        bytes: Vec<u8>,
        logical: u64,
        checksum: Checksum,
        id: &[u8; 16],
        sector: u32,
    ) -> Result<Self> {
        let broken = |reason: String| Error::corrupt(format!("metadata block {logical}"), reason);
        let length = checksum.length();
        if checksum.of(&bytes[32..])[..length] != bytes[..length] {
            return Err(broken("its checksum does not fit".into()));
        }
        let fields = Fields::new("a metadata block", &bytes);
        if fields.array::<16>(32)? != *id {
            return Err(broken("it belongs to another file system".into()));
        }
        if fields.le64(48)? != logical {
            return Err(broken(format!("it says that it is block {}", fields.le64(48)?)));
        }
        let (generation, owner) = (fields.le64(80)?, fields.le64(88)?);
        let count = fields.le32(96)? as usize;
        let level = fields.u8(100)?;
        let entry = if level == 0 { ITEM } else { POINTER };
        let room = bytes.len() - HEADER;
        if level > MAX_LEVEL || count > room / entry || (level > 0 && count == 0) {
            return Err(broken(format!("{count} items on level {level}")));
        }
        let mut last: Option<Key> = None;
        for index in 0..count {
            let at = HEADER + index * entry;
            let key = Key::read(&fields, at)?;
            if last.is_some_and(|last| last >= key) {
                return Err(broken(format!("its key {index} is not greater than the one before")));
            }
            last = Some(key);
            if level == 0 {
                let (start, size) = (fields.le32(at + 17)? as usize, fields.le32(at + 21)? as usize);
                let end = start.checked_add(size);
                if start < count * ITEM || end.is_none_or(|end| end > room) {
                    return Err(broken(format!("its item {index} has {size} bytes at {start}")));
                }
            } else if !fields.le64(at + 17)?.is_multiple_of(u64::from(sector)) {
                return Err(broken(format!("its pointer {index} is not that of a block")));
            }
        }
        Ok(Node { level, count, generation, owner, bytes })
    }

    /// Whether it is what whoever points to it says.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn fits(&self, expected: &Expected) -> Result<()> {
        let Expected { pointer, owner, first } = expected;
        let broken = |reason: String| Error::corrupt(format!("metadata block {}", pointer.logical), reason);
        if self.level != pointer.level {
            return Err(broken(format!("its level is {}, and {} was expected", self.level, pointer.level)));
        }
        if self.generation != pointer.generation {
            return Err(broken(format!(
                "its generation is {}, and {} was expected",
                self.generation, pointer.generation
            )));
        }
        let owned = match owner {
            Owner::Tree(tree) => self.owner == *tree,
            Owner::Subvolume => is_subvolume(self.owner),
        };
        if !owned {
            return Err(broken(format!("it belongs to tree {}", self.owner)));
        }
        if let Some(first) = first
            && (self.count == 0 || self.key(0) != *first)
        {
            return Err(broken("it does not begin with the key that its parent says".into()));
        }
        Ok(())
    }

    pub fn level(&self) -> u8 {
        self.level
    }

    pub fn count(&self) -> usize {
        self.count
    }

    fn u64_at(&self, at: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.bytes[at..at + 8]);
        u64::from_le_bytes(bytes)
    }

    fn u32_at(&self, at: usize) -> usize {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_le_bytes(bytes) as usize
    }

    fn entry(&self, index: usize) -> usize {
        HEADER + index * if self.level == 0 { ITEM } else { POINTER }
    }

    /// The key at `index`, below [`count`](Self::count).
    pub fn key(&self, index: usize) -> Key {
        let at = self.entry(index);
        Key { object: self.u64_at(at), kind: self.bytes[at + 8], offset: self.u64_at(at + 9) }
    }

    /// The bytes of the item at `index` of a leaf.
    pub fn item(&self, index: usize) -> &[u8] {
        let at = self.entry(index);
        let start = HEADER + self.u32_at(at + 17);
        &self.bytes[start..start + self.u32_at(at + 21)]
    }

    /// The child at `index` of a node.
    pub fn child(&self, index: usize, owner: Owner) -> Expected {
        let at = self.entry(index);
        Expected {
            pointer: Pointer {
                logical: self.u64_at(at + 17),
                level: self.level.saturating_sub(1),
                generation: self.u64_at(at + 25),
            },
            owner,
            first: Some(self.key(index)),
        }
    }

    /// How many keys are below `key`.
    pub fn below(&self, key: Key) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.key(middle) < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}
