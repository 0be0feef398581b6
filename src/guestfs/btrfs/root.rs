//! Root items: where a tree lies, and what a subvolume says of itself.
//!
//! Layout: `struct btrfs_root_item` and `btrfs_root_ref` of the kernel's `btrfs_tree.h`.

use super::inode::timestamp;
use super::key::{Key, ROOT_ITEM};
use super::node::MAX_LEVEL;
use super::superblock::Pointer;
use super::tree::Tree;
use crate::{Fields, Result, Timestamp};
use std::ops::ControlFlow;

const READ_ONLY: u64 = 1;
/// Being deleted: a part of it may be gone.
const DEAD: u64 = 1 << 48;

/// A tree's root item.
#[derive(Debug, Clone)]
pub struct Root {
    pub pointer: Pointer,
    pub read_only: bool,
    pub dead: bool,
    pub uuid: Option<[u8; 16]>,
    pub parent_uuid: Option<[u8; 16]>,
    pub received_uuid: Option<[u8; 16]>,
    pub created: Option<Timestamp>,
    pub received: Option<Timestamp>,
}

impl Root {
    /// The root item of the tree `id`, where there is one.
    ///
    /// # Errors
    /// Why the tree of trees can't be read; [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn find(roots: &Tree<'_>, id: u64) -> Result<Option<Self>> {
        // A snapshot's item has the commit of its creation as its offset.
        let Some(key) = roots.floor(Key::new(id, ROOT_ITEM, u64::MAX))? else { return Ok(None) };
        if key.object != id || key.kind != ROOT_ITEM {
            return Ok(None);
        }
        roots.get(key)?.map(|item| Root::read(&item)).transpose()
    }

    /// What an item says.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn read(item: &[u8]) -> Result<Self> {
        let fields = Fields::new("a root item", item);
        let generation = fields.le64(160)?;
        let level = fields.u8(238)?;
        if level > MAX_LEVEL {
            return Err(fields.corrupt(format!("its level is {level}")));
        }
        let flags = fields.le64(208)?;
        // An older kernel, which does not know the second half, leaves the generations apart.
        let second = item.len() >= 439 && fields.le64(239)? == generation;
        let id = |at: usize| -> Result<Option<[u8; 16]>> {
            Ok(if second { Some(fields.array(at)?).filter(|id| *id != [0; 16]) } else { None })
        };
        let time = |at: usize| -> Result<Option<Timestamp>> {
            Ok(if second { Some(timestamp(&fields, at)?).filter(|time| time.seconds != 0) } else { None })
        };
        Ok(Root {
            pointer: Pointer { logical: fields.le64(176)?, level, generation },
            read_only: flags & READ_ONLY != 0,
            dead: flags & DEAD != 0 || fields.le32(216)? == 0,
            uuid: id(247)?,
            parent_uuid: id(263)?,
            received_uuid: id(279)?,
            created: time(339)?,
            received: time(363)?,
        })
    }
}

/// Where a subvolume hangs: a `ROOT_REF` or `ROOT_BACKREF` item.
#[derive(Debug, Clone)]
pub struct RootRef {
    /// The folder in the parent's tree.
    pub dir: u64,
    pub name: Vec<u8>,
}

impl RootRef {
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn read(item: &[u8]) -> Result<Self> {
        let fields = Fields::new("a root reference", item);
        let length = usize::from(fields.le16(16)?);
        Ok(RootRef { dir: fields.le64(0)?, name: fields.bytes(18, length)?.to_vec() })
    }
}

/// The first item of `tree` from `from` to `to`.
pub fn first(tree: &Tree<'_>, from: Key, to: Key) -> Result<Option<(Key, Vec<u8>)>> {
    let mut found = None;
    tree.walk(from, to, &mut |key, item| {
        found = Some((key, item.to_vec()));
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}
