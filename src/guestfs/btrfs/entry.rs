//! Entries of folders and extended attributes: several may share an item where their hashes are the same.
//!
//! Layout: `struct btrfs_dir_item` of the kernel's `btrfs_tree.h`.

use super::key::Key;
use crate::{Error, Fields, FileKind, Result};

/// The bytes of an entry before its name.
const HEAD: usize = 30;

/// The type bit of a name that is encrypted.
const ENCRYPTED: u8 = 0x80;

/// An entry.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The inode's key, or a subvolume's.
    pub location: Key,
    /// The type as it is stored.
    pub kind: u8,
    pub name: &'a [u8],
    /// An extended attribute's value.
    pub value: &'a [u8],
    /// All of the entry's bytes.
    pub bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// All entries of an item.
    ///
    /// # Errors
    /// Each: [`Error::Corrupt`].
    pub fn all(item: &'a [u8]) -> impl Iterator<Item = Result<Entry<'a>>> {
        let mut rest = item;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let entry = Entry::read(rest);
            rest = match &entry {
                Ok(entry) => &rest[entry.bytes.len()..],
                Err(_) => &[],
            };
            Some(entry)
        })
    }

    fn read(item: &'a [u8]) -> Result<Self> {
        let fields = Fields::new("an entry of a folder", item);
        let value = usize::from(fields.le16(25)?);
        let name = usize::from(fields.le16(27)?);
        Ok(Entry {
            location: Key::read(&fields, 0)?,
            kind: fields.u8(29)?,
            name: fields.bytes(HEAD, name)?,
            value: fields.bytes(HEAD + name, value)?,
            bytes: fields.bytes(0, HEAD + name + value)?,
        })
    }

    /// The entry of this name in an item.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn named(item: &'a [u8], name: &[u8]) -> Result<Option<Entry<'a>>> {
        for entry in Entry::all(item) {
            let entry = entry?;
            if entry.name == name {
                return Ok(Some(entry));
            }
        }
        Ok(None)
    }

    /// An entry's bytes.
    pub fn build(location: Key, transaction: u64, kind: u8, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + name.len());
        bytes.extend_from_slice(&location.object.to_le_bytes());
        bytes.push(location.kind);
        bytes.extend_from_slice(&location.offset.to_le_bytes());
        bytes.extend_from_slice(&transaction.to_le_bytes());
        bytes.extend_from_slice(&0u16.to_le_bytes());
        bytes.extend_from_slice(&(name.len() as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend_from_slice(name);
        bytes
    }

    /// Whether the name is one that a folder may hold.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Encrypted`].
    pub fn check_name(&self, dir: u64) -> Result<()> {
        if self.kind & ENCRYPTED != 0 {
            return Err(Error::Encrypted(format!("a name in the folder of inode {dir}")));
        }
        let bad = self.name.is_empty()
            || self.name.len() > 255
            || self.name == b"."
            || self.name == b".."
            || self.name.iter().any(|byte| matches!(byte, b'/' | 0));
        if bad {
            return Err(Error::corrupt(
                format!("the folder of inode {dir}"),
                format!("an entry is called {:?}", String::from_utf8_lossy(self.name)),
            ));
        }
        Ok(())
    }
}

/// What an entry's type says.
pub fn kind(stored: u8) -> Option<FileKind> {
    Some(match stored {
        1 => FileKind::File,
        2 => FileKind::Directory,
        3 => FileKind::CharDevice,
        4 => FileKind::BlockDevice,
        5 => FileKind::Fifo,
        6 => FileKind::Socket,
        7 => FileKind::Symlink,
        _ => return None,
    })
}

/// How an entry's type is stored.
pub fn stored_kind(kind: FileKind) -> u8 {
    match kind {
        FileKind::File => 1,
        FileKind::Directory => 2,
        FileKind::CharDevice => 3,
        FileKind::BlockDevice => 4,
        FileKind::Fifo => 5,
        FileKind::Socket => 6,
        FileKind::Symlink => 7,
    }
}
