//! The bytes an image lies in: a file, a device, or memory.
//!
//! A [`Storage`] has a fixed size and is read at any position by several threads. It is the only thing the
//! reader knows of the outside, so that hostile images can be tried in memory. Opening by name is the
//! business of [`Gate`](crate::Gate); writing that of the writer alone.

use crate::error::{io_at, open};
use block::Result;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

/// Positioned, concurrent, read-only bytes of a fixed size.
pub trait Storage: Send + Sync {
    /// What a person calls it.
    fn name(&self) -> &str;

    /// Its length in bytes, as it was when opened.
    fn size(&self) -> u64;

    /// Fills all of `buf` from byte `offset`.
    ///
    /// # Errors
    /// Where not every byte could be read, the end of the storage included.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// What makes it the same as another opened storage (device and inode), by which loops are found. `None`
    /// where it can't be the same as any other.
    fn identity(&self) -> Option<(u64, u64)>;

    /// The first range at or behind `offset` that may hold anything but zeros, cut at `limit`;
    /// `limit..limit` where there is none before it.
    ///
    /// # Errors
    /// Where the system fails to tell.
    fn next_data(&self, offset: u64, limit: u64) -> Result<Range<u64>>;
}

/// A regular file or a block device.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    name: String,
    size: u64,
    identity: (u64, u64),
}

impl FileStorage {
    /// Opens `path` read-only.
    ///
    /// # Errors
    /// Where it can't be opened, or is neither a regular file nor a block device.
    pub fn open(path: &Path) -> Result<FileStorage> {
        let name = path.display().to_string();
        // Without O_NONBLOCK the open of a FIFO would wait for its writer; files and devices don't mind it.
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
        let fd = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
            .map_err(|e| open("open", &name, e.into()))?;
        FileStorage::from_file(File::from(fd), name)
    }

    /// Takes an open file; `name` is for messages.
    ///
    /// # Errors
    /// Where it can't be inspected, or is neither a regular file nor a block device.
    pub fn from_file(mut file: File, name: String) -> Result<FileStorage> {
        let meta = file.metadata().map_err(|e| open("stat", &name, e))?;
        let kind = meta.file_type();
        let (size, identity) = if kind.is_file() {
            (meta.len(), (meta.dev(), meta.ino()))
        } else if kind.is_block_device() {
            let size = file.seek(SeekFrom::End(0)).map_err(|e| open("measure", &name, e))?;
            (size, (u64::MAX, meta.rdev()))
        } else {
            let what = if kind.is_dir() { "it is a directory" } else { "it is not a file or block device" };
            return Err(open("open", &name, io::Error::other(what)));
        };
        Ok(FileStorage { file, name, size, identity })
    }
}

impl Storage for FileStorage {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buf, offset).map_err(|e| io_at("read", &self.name, offset, e))
    }

    fn identity(&self) -> Option<(u64, u64)> {
        Some(self.identity)
    }

    fn next_data(&self, offset: u64, limit: u64) -> Result<Range<u64>> {
        use rustix::fs::{SeekFrom as At, seek};
        use rustix::io::Errno;
        let limit = limit.min(self.size);
        if offset >= limit {
            return Ok(limit..limit);
        }
        let start = match seek(&self.file, At::Data(offset)) {
            Ok(start) => start.max(offset),
            // No data behind `offset`.
            Err(Errno::NXIO) => return Ok(limit..limit),
            // File systems and devices that know nothing of holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY) => return Ok(offset..limit),
            Err(e) => return Err(io_at("look for data in", &self.name, offset, e.into())),
        };
        if start >= limit {
            return Ok(limit..limit);
        }
        let end = match seek(&self.file, At::Hole(start)) {
            Ok(end) => end.clamp(start + 1, limit),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY | Errno::NXIO) => limit,
            Err(e) => return Err(io_at("look for data in", &self.name, start, e.into())),
        };
        Ok(start..end)
    }
}

/// Bytes in memory: what fuzzers and tests of hostile images open.
#[derive(Debug)]
pub struct MemoryStorage {
    bytes: Vec<u8>,
    name: String,
}

impl MemoryStorage {
    /// An image of `bytes`, called `name`.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> MemoryStorage {
        MemoryStorage { bytes, name: name.into() }
    }
}

impl Storage for MemoryStorage {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let start = usize::try_from(offset).ok();
        let found = start.and_then(|s| self.bytes.get(s..s.checked_add(buf.len())?));
        match found {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => return Err(io_at("read", &self.name, offset, io::ErrorKind::UnexpectedEof.into())),
        }
        Ok(())
    }

    fn identity(&self) -> Option<(u64, u64)> {
        None
    }

    fn next_data(&self, offset: u64, limit: u64) -> Result<Range<u64>> {
        let limit = limit.min(self.size());
        Ok(offset.min(limit)..limit)
    }
}
