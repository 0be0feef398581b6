//! Writing to a file or device past the page cache, where alignment and file system allow it.
//!
//! On a disk the page cache is what costs: buffered writing takes several times the CPU of direct I/O. So
//! every piece is cut into an aligned middle, written directly, and what is left at either end, written
//! through the cache by a second descriptor; the kernel keeps the two coherent. A target that turns out not
//! to take direct writes gets all through the cache.

use crate::{Error, Result};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What direct I/O asks of offsets, lengths and memory on all common devices. Where it asks for more, the
/// first refusal turns it off.
const ALIGNMENT: u64 = 4096;

#[derive(Debug)]
pub(super) struct Writer {
    cached: File,
    direct: Option<File>,
    /// Direct writes were refused.
    refused: AtomicBool,
    name: String,
}

impl Writer {
    /// Writes to `file`, which is open for writing at `path`; errors call it `name`.
    pub(super) fn new(file: File, path: &Path, name: String) -> Self {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::DIRECT;
        let direct = rustix::fs::open(path, flags, Mode::empty()).ok().map(File::from);
        let direct = direct.filter(|direct| same_file(direct, &file));
        Writer { cached: file, direct, refused: AtomicBool::new(false), name }
    }

    pub(super) fn file(&self) -> &File {
        &self.cached
    }

    pub(super) fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let direct = self.direct.as_ref().filter(|_| !self.refused.load(Ordering::Relaxed));
        let (head, middle) = aligned(data, offset);
        let Some(direct) = direct.filter(|_| middle > 0) else { return self.write_cached(data, offset) };
        let (head, rest) = data.split_at(head);
        let (middle, tail) = rest.split_at(middle);
        let middle_at = offset + head.len() as u64;
        self.write_cached(head, offset)?;
        match direct.write_all_at(middle, middle_at) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                self.refused.store(true, Ordering::Relaxed);
                self.write_cached(middle, middle_at)?;
            }
            Err(error) => return Err(self.failed("write", middle_at, error)),
        }
        self.write_cached(tail, middle_at + middle.len() as u64)
    }

    /// Makes what was written durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.cached.sync_all().map_err(|error| self.failed("flush", 0, error))
    }

    pub(super) fn failed(&self, operation: &'static str, offset: u64, source: io::Error) -> Error {
        Error::Io { operation, name: self.name.clone(), offset, source }
    }

    fn write_cached(&self, data: &[u8], offset: u64) -> Result<()> {
        self.cached.write_all_at(data, offset).map_err(|error| self.failed("write", offset, error))
    }
}

/// The lengths of the head that is to be left out and of the middle that is aligned on the disk and in
/// memory; the middle is 0 where there is none.
fn aligned(data: &[u8], offset: u64) -> (usize, usize) {
    let head = (ALIGNMENT - offset % ALIGNMENT) % ALIGNMENT;
    // Below the alignment, so it fits; a head longer than the data leaves nothing.
    let head = head as usize;
    let Some(rest) = data.get(head..) else { return (data.len(), 0) };
    if (rest.as_ptr() as usize).is_multiple_of(ALIGNMENT as usize) {
        (head, rest.len() - rest.len() % ALIGNMENT as usize)
    } else {
        (head, 0)
    }
}

fn same_file(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => {
            one.dev() == other.dev() && one.ino() == other.ino() && one.rdev() == other.rdev()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_alignment_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let memory: Vec<u8> = (0..60_000u32).map(|i| (i % 251) as u8).collect();
        let page = memory.as_ptr().align_offset(4096);
        for (from, length, offset) in [
            (0, 16384, 0),
            (0, 16385, 4096),
            (4096 - 100, 9000, 4096 * 3 - 100),
            (1, 20000, 5),
            (0, 10, 4090),
        ] {
            let file = File::create(&path).unwrap();
            file.set_len(100_000).unwrap();
            let writer = Writer::new(file, &path, "disk".to_owned());
            let data = &memory[page + from..page + from + length];
            writer.write_at(data, offset).unwrap();
            writer.sync().unwrap();
            let mut expected = vec![0; 100_000];
            expected[offset as usize..offset as usize + length].copy_from_slice(data);
            assert!(std::fs::read(&path).unwrap() == expected, "{from} {length} {offset}");
        }
    }
}
