//! References: an inode's own list of its names, in `INODE_REF` items by folder and in `INODE_EXTREF` items by hash.
//!
//! Layout: `struct btrfs_inode_ref` and `btrfs_inode_extref` of the kernel's `btrfs_tree.h`.

use super::{Replay, broken};
use crate::btrfs::checksum::extref_hash;
use crate::btrfs::key::{INODE_EXTREF, INODE_REF, Key};
use crate::{Fields, Result};

/// One name of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub dir: u64,
    pub index: u64,
    pub name: Vec<u8>,
    /// All of its bytes in the item.
    bytes: Vec<u8>,
}

/// All references of an item of either kind.
fn references(key: Key, item: &[u8]) -> Result<Vec<Reference>> {
    let fields = Fields::new("an inode reference", item);
    let mut found = Vec::new();
    let mut at = 0;
    while at < item.len() {
        let (dir, head) = match key.kind {
            INODE_REF => (key.offset, 10),
            _ => (fields.le64(at)?, 18),
        };
        let index = fields.le64(at + head - 10)?;
        let length = usize::from(fields.le16(at + head - 2)?);
        let name = fields.bytes(at + head, length)?.to_vec();
        found.push(Reference { dir, index, name, bytes: fields.bytes(at, head + length)?.to_vec() });
        at += head + length;
    }
    Ok(found)
}

/// The two items that a name of `inode` in `dir` may be in.
fn keys(inode: u64, dir: u64, name: &[u8]) -> [Key; 2] {
    [Key::new(inode, INODE_REF, dir), Key::new(inode, INODE_EXTREF, extref_hash(dir, name))]
}

impl Replay<'_> {
    /// All names of an inode.
    pub fn references(&self, inode: u64) -> Result<Vec<Reference>> {
        let mut all = Vec::new();
        let to = Key::new(inode, INODE_EXTREF, u64::MAX);
        for (key, item) in self.items(Key::new(inode, INODE_REF, 0), to)? {
            all.extend(references(key, &item)?);
        }
        Ok(all)
    }

    /// Whether an inode has this name for itself.
    pub fn has_reference(&self, inode: u64, dir: u64, name: &[u8]) -> Result<bool> {
        for key in keys(inode, dir, name) {
            let item = self.tree().get(key)?.unwrap_or_default();
            if references(key, &item)?.iter().any(|found| found.dir == dir && found.name == name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the log has this name of an inode.
    pub fn is_reference_logged(&self, inode: u64, dir: u64, name: &[u8]) -> Result<bool> {
        for key in keys(inode, dir, name) {
            let Some(item) = self.log.get(&key) else { continue };
            if references(key, item)?.iter().any(|found| found.dir == dir && found.name == name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a name from an inode, and tells its position in the folder.
    pub fn remove_reference(&mut self, inode: u64, dir: u64, name: &[u8]) -> Result<u64> {
        for key in keys(inode, dir, name) {
            let Some(item) = self.tree().get(key)? else { continue };
            let mut index = None;
            let mut left = Vec::with_capacity(item.len());
            for found in references(key, &item)? {
                if index.is_none() && found.dir == dir && found.name == name {
                    index = Some(found.index);
                } else {
                    left.extend_from_slice(&found.bytes);
                }
            }
            if let Some(index) = index {
                self.put_or_remove(key, left)?;
                return Ok(index);
            }
        }
        Err(broken(format!("inode {inode} does not know a name that it deletes")))
    }

    /// Gives an inode a name.
    pub fn add_reference(&mut self, inode: u64, dir: u64, name: &[u8], index: u64) -> Result<()> {
        // The kernel would begin an extended one where the item is full; readers find both.
        let key = Key::new(inode, INODE_REF, dir);
        let mut item = self.tree().get(key)?.unwrap_or_default();
        let length = u16::try_from(name.len()).map_err(|_| broken("a name that is too long"))?;
        item.extend_from_slice(&index.to_le_bytes());
        item.extend_from_slice(&length.to_le_bytes());
        item.extend_from_slice(name);
        self.put(key, item)
    }

    /// A reference item of the log: every name in it is to be in its folder, and no other one that the item had.
    pub fn inode_ref(&mut self, key: Key, item: &[u8]) -> Result<()> {
        let inode = key.object;
        let logged = references(key, item)?;
        if key.kind == INODE_REF && !self.exists(key.offset)? {
            // The folder was not logged: its own log, or nothing, brings the name.
            return Ok(());
        }
        if key.kind == INODE_EXTREF
            && let Some(first) = logged.first()
            && !self.exists(first.dir)?
        {
            return Ok(());
        }
        self.inode_item(inode)?;
        for found in &logged {
            if !self.exists(found.dir)? || self.is_in_folder(found.dir, inode, found.index, &found.name)? {
                continue;
            }
            if !self.make_room(inode, found)? {
                return Ok(());
            }
            self.link(found.dir, inode, &found.name, found.index, false)?;
        }
        // Names that the subvolume's item has and the log's has not.
        let old = self.tree().get(key)?.unwrap_or_default();
        for old in references(key, &old)? {
            if !logged.iter().any(|new| new.dir == old.dir && new.name == old.name) {
                self.unlink(old.dir, inode, &old.name)?;
            }
        }
        self.put(key, item.to_vec())
    }

    /// Takes away what is in the way of a name: other names of the inode in that folder which the log does not have,
    /// and other inodes of that name. Tells whether the name is to be added: a root folder's is not.
    fn make_room(&mut self, inode: u64, wanted: &Reference) -> Result<bool> {
        let dir = wanted.dir;
        let key = Key::new(inode, INODE_REF, dir);
        if let Some(item) = self.tree().get(key)? {
            if inode == dir {
                return Ok(false);
            }
            self.unlink_unlogged(key, dir, &item)?;
        }
        let key = Key::new(inode, INODE_EXTREF, extref_hash(dir, &wanted.name));
        if let Some(item) = self.tree().get(key)? {
            let found = references(key, &item)?;
            if found.iter().any(|found| found.dir == dir && found.name == wanted.name) {
                self.unlink_unlogged(key, dir, &item)?;
            }
        }
        self.drop_conflicts(dir, wanted.index, &wanted.name)?;
        Ok(true)
    }

    /// Takes away all names in `dir` of a reference item that the log's item of the same key does not have.
    fn unlink_unlogged(&mut self, key: Key, dir: u64, item: &[u8]) -> Result<()> {
        for victim in references(key, item)?.into_iter().filter(|victim| victim.dir == dir) {
            let key = match key.kind {
                INODE_REF => key,
                _ => Key::new(key.object, INODE_EXTREF, extref_hash(dir, &victim.name)),
            };
            let logged = match self.log.get(&key) {
                Some(item) => references(key, item)?
                    .iter()
                    .any(|logged| logged.dir == dir && logged.name == victim.name),
                None => false,
            };
            if !logged {
                self.unlink(dir, key.object, &victim.name)?;
            }
        }
        Ok(())
    }
}
