//! Names of folders and of extended attributes: what was deleted, and what was added.

use super::{Replay, broken};
use crate::btrfs::checksum::name_hash;
use crate::btrfs::entry::{Entry, stored_kind};
use crate::btrfs::inode::kind_of_item;
use crate::btrfs::key::{DIR_INDEX, DIR_ITEM, DIR_LOG_INDEX, INODE_ITEM, Key, XATTR_ITEM};
use crate::{Fields, FileKind, Result};

/// A name of a folder, and what it names.
struct Named {
    location: Key,
    kind: u8,
    name: Vec<u8>,
}

impl Named {
    fn of(entry: &Entry<'_>) -> Self {
        Named { location: entry.location, kind: entry.kind, name: entry.name.to_vec() }
    }

    /// The inode that it names; a subvolume's name never changes by a log.
    fn inode(&self) -> Result<u64> {
        if self.location.kind == INODE_ITEM {
            Ok(self.location.object)
        } else {
            Err(broken("it changes the name of a subvolume"))
        }
    }
}

/// `item` without one of its entries.
fn without(item: &[u8], name: &[u8]) -> Result<Vec<u8>> {
    let mut left = Vec::with_capacity(item.len());
    for entry in Entry::all(item) {
        let entry = entry?;
        if entry.name != name {
            left.extend_from_slice(entry.bytes);
        }
    }
    Ok(left)
}

impl Replay<'_> {
    /// The entry of a name, by its hash.
    fn by_name(&self, dir: u64, name: &[u8]) -> Result<Option<Named>> {
        let item = self.tree().get(Key::new(dir, DIR_ITEM, name_hash(name)))?;
        let Some(item) = item else { return Ok(None) };
        Ok(Entry::named(&item, name)?.as_ref().map(Named::of))
    }

    /// The entry of a name, by its position.
    fn by_index(&self, dir: u64, index: u64, name: &[u8]) -> Result<Option<Named>> {
        let item = self.tree().get(Key::new(dir, DIR_INDEX, index))?;
        let Some(item) = item else { return Ok(None) };
        Ok(Entry::named(&item, name)?.as_ref().map(Named::of))
    }

    /// Whether the folder has this name at this position, both for this inode.
    pub fn is_in_folder(&self, dir: u64, inode: u64, index: u64, name: &[u8]) -> Result<bool> {
        let names = |found: Option<Named>| found.is_some_and(|found| found.location.object == inode);
        Ok(names(self.by_index(dir, index, name)?) && names(self.by_name(dir, name)?))
    }

    /// Takes a name away, from the folder and from the inode.
    pub fn unlink(&mut self, dir: u64, inode: u64, name: &[u8]) -> Result<()> {
        let key = Key::new(dir, DIR_ITEM, name_hash(name));
        let item = self.tree().get(key)?.unwrap_or_default();
        if Entry::named(&item, name)?.is_none() {
            return Err(broken(format!("a name that it deletes is not in folder {dir}")));
        }
        self.put_or_remove(key, without(&item, name)?)?;
        let index = self.remove_reference(inode, dir, name)?;
        self.remove(Key::new(dir, DIR_INDEX, index))?;
        let size = self.size(dir)?;
        self.set_size(dir, size.saturating_sub(2 * name.len() as u64))
    }

    /// Gives an inode a name, in the folder; in the inode too, where `referred` is set.
    pub fn link(&mut self, dir: u64, inode: u64, name: &[u8], index: u64, referred: bool) -> Result<()> {
        let kind = kind_of_item(&self.inode_item(inode)?)?.ok_or_else(|| broken("an inode of no kind"))?;
        if referred {
            self.add_reference(inode, dir, name, index)?;
        }
        let entry = Entry::build(Key::new(inode, INODE_ITEM, 0), self.transaction, stored_kind(kind), name);
        let key = Key::new(dir, DIR_ITEM, name_hash(name));
        let mut item = self.tree().get(key)?.unwrap_or_default();
        let at = Key::new(dir, DIR_INDEX, index);
        if Entry::named(&item, name)?.is_some() || self.tree().get(at)?.is_some() {
            return Err(broken(format!("a name that it adds is in folder {dir} already")));
        }
        item.extend_from_slice(&entry);
        self.put(key, item)?;
        self.put(at, entry)?;
        let size = self.size(dir)?;
        self.set_size(dir, size.saturating_add(2 * name.len() as u64))
    }

    /// Takes away a name that another one replaces.
    fn drop_name(&mut self, dir: u64, found: &Named) -> Result<()> {
        let inode = found.inode()?;
        self.fix_later(inode)?;
        self.unlink(dir, inode, &found.name)
    }

    /// Takes away whatever has this name, or this name at this position.
    pub fn drop_conflicts(&mut self, dir: u64, index: u64, name: &[u8]) -> Result<()> {
        if let Some(found) = self.by_index(dir, index, name)? {
            self.drop_name(dir, &found)?;
        }
        if let Some(found) = self.by_name(dir, name)? {
            self.drop_name(dir, &found)?;
        }
        Ok(())
    }

    /// A name that the log has for a folder.
    pub fn name(&mut self, key: Key, item: &[u8]) -> Result<()> {
        let entry = Entry::all(item).next().transpose()?.ok_or_else(|| broken("an entry without bytes"))?;
        let logged = Named::of(&entry);
        let (dir, index) = (key.object, key.offset);
        self.inode_item(dir)?;
        let exists = self.exists(logged.inode()?)?;
        let mut matches = [false, false];
        for (matched, by_index) in matches.iter_mut().zip([false, true]) {
            let found = if by_index {
                self.by_index(dir, index, &logged.name)?
            } else {
                self.by_name(dir, &logged.name)?
            };
            let Some(found) = found else { continue };
            if found.location == logged.location && found.kind == logged.kind {
                *matched = true;
            } else if exists {
                self.drop_name(dir, &found)?;
            }
        }
        // Whatever the inode's own references in the log say is added with them.
        let inode = logged.location.object;
        if matches == [true, true] || self.is_reference_logged(inode, dir, &logged.name)? || !exists {
            return Ok(());
        }
        if self.by_name(dir, &logged.name)?.is_some() || self.has_reference(inode, dir, &logged.name)? {
            return Ok(());
        }
        self.link(dir, inode, &logged.name, index, true)?;
        if entry.kind != stored_kind(FileKind::Directory) {
            self.fix_later(inode)?;
        }
        Ok(())
    }

    /// Takes away every name of a folder that the log says nothing of, in the ranges that it is complete for; or all.
    pub fn delete_names(&mut self, dir: u64, all: bool) -> Result<()> {
        if !self.exists(dir)? {
            // It is in the log only: nothing was deleted from it.
            return Ok(());
        }
        let mut ranges = Vec::new();
        if all {
            ranges.push((0, u64::MAX));
        } else {
            let log = self.log;
            let key = |offset| Key::new(dir, DIR_LOG_INDEX, offset);
            for (key, item) in log.range(key(0)..=key(u64::MAX)) {
                ranges.push((key.offset, Fields::new("a range of a folder", item).le64(0)?));
            }
        }
        for (start, end) in ranges {
            let entries = self.items(Key::new(dir, DIR_INDEX, start), Key::new(dir, DIR_INDEX, end))?;
            for (key, item) in entries {
                let Some(entry) = Entry::all(&item).next().transpose()? else { continue };
                let logged = match self.log.get(&key) {
                    Some(item) if !all => Entry::named(item, entry.name)?.is_some(),
                    _ => false,
                };
                if !logged {
                    self.drop_name(dir, &Named::of(&entry))?;
                }
            }
        }
        Ok(())
    }

    /// Takes away every extended attribute that the log does not have: it has all of an inode's, or the inode is not in
    /// it.
    pub fn delete_xattrs(&mut self, inode: u64) -> Result<()> {
        let key = |hash| Key::new(inode, XATTR_ITEM, hash);
        for (key, item) in self.items(key(0), key(u64::MAX))? {
            let logged = self.log.get(&key).map_or(&[][..], Vec::as_slice);
            let mut left = Vec::with_capacity(item.len());
            for entry in Entry::all(&item) {
                let entry = entry?;
                if Entry::named(logged, entry.name)?.is_some() {
                    left.extend_from_slice(entry.bytes);
                }
            }
            if left.len() < item.len() {
                self.put_or_remove(key, left)?;
            }
        }
        Ok(())
    }
}
