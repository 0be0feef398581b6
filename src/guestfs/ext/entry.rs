//! Entries of folders in one block or one inode ("Linear Directories").

use crate::{Error, Fields, FileKind, Result};

/// `file_type` of the entry that holds a block's checksum.
const TAIL_KIND: u8 = 0xde;
/// Its length in bytes.
pub(super) const TAIL: usize = 12;

/// An entry, and where the next one begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub inode: u32,
    pub kind: u8,
    pub name: &'a [u8],
    /// Bytes from the beginning of the list.
    pub next: usize,
}

impl Entry<'_> {
    /// What it names, where the folder tells.
    pub fn file_kind(&self) -> Option<FileKind> {
        kind_of(self.kind)
    }
}

/// `file_type` of an entry.
pub(super) fn kind_of(kind: u8) -> Option<FileKind> {
    Some(match kind {
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

/// The opposite of [`kind_of`].
pub(super) fn kind_number(kind: FileKind) -> u8 {
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

/// The length of an entry that ends at the end of a block of 64 KiB does not fit into 16 bits.
pub(super) fn record_length(stored: u16, block_size: usize) -> usize {
    let stored = usize::from(stored);
    if block_size < 65536 {
        stored
    } else if stored == 0xffff || stored == 0 {
        block_size
    } else {
        (stored & 0xfffc) | (stored & 3) << 16
    }
}

/// A list of entries, up to its end. Deleted entries, `.` and `..` and the checksum are left out.
pub(super) struct Entries<'a> {
    field: Fields<'a>,
    at: usize,
    /// The largest inode number that there is.
    inodes: u32,
}

impl<'a> Entries<'a> {
    /// The entries of `bytes`: a block, or one of the two lists in an inode.
    pub fn new(bytes: &'a [u8], inodes: u32) -> Self {
        Entries { field: Fields::new("a folder", bytes), at: 0, inodes }
    }

    /// The next entry.
    ///
    /// # Errors
    /// `Corrupt` for one that does not fit, or is named as nothing may be.
    pub fn step(&mut self) -> Result<Option<Entry<'a>>> {
        while self.at < self.field.len() {
            let length = record_length(self.field.le16(self.at + 4)?, self.field.len());
            let name_length = usize::from(self.field.u8(self.at + 6)?);
            if length < 8 + name_length || length < 12 || !length.is_multiple_of(4) {
                return Err(self.wrong(format!("an entry of {length} bytes for a name of {name_length}")));
            }
            let record = self.field.part(self.at, length)?;
            self.at += length;
            let (inode, kind) = (record.le32(0)?, record.u8(7)?);
            if inode == 0 || (kind == TAIL_KIND && name_length == 0) {
                continue;
            }
            let name = record.bytes(8, name_length)?;
            if name == b"." || name == b".." {
                continue;
            }
            if name.is_empty() || name.iter().any(|&byte| byte == 0 || byte == b'/') {
                return Err(self.wrong("a name that is empty, or has a slash or a zero byte".into()));
            }
            if inode > self.inodes {
                return Err(self.wrong(format!("an entry of inode {inode}, which there is not")));
            }
            return Ok(Some(Entry { inode, kind, name, next: self.at }));
        }
        Ok(None)
    }

    fn wrong(&self, reason: String) -> Error {
        self.field.corrupt(reason)
    }
}
