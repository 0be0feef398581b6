//! An existing block device as a target.
//!
//! Opened exclusively: a device that is mounted, or used by another program in this way, is refused by the
//! kernel. What is written is written in place, so a drop in the middle leaves a device with a part of the
//! new content; nothing pretends otherwise. Whether the device is large enough is the caller's question,
//! asked of [`size`](BlockSink::size).

use super::writer::Writer;
use crate::{BlockSink, Error, Result};
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

/// What the device zeroes in: no common device has larger logical blocks.
const BLOCK: u64 = 4096;

/// Zeros to write where the device has no faster way.
static ZEROS: Zeros = Zeros([0; 64 << 10]);

/// On a page boundary, so that direct writes can use them.
#[repr(align(4096))]
struct Zeros([u8; 64 << 10]);

/// A block device that is overwritten.
#[derive(Debug)]
pub struct DeviceSink {
    writer: Writer,
    path: PathBuf,
    size: u64,
    /// Which ways of zeroing have been refused: an index into `WAYS`.
    way: AtomicU8,
}

/// How blocks are made zeros, the best first: give the space back, tell the device, write them.
const WAYS: [FallocateFlags; 2] = [
    FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE),
    FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE),
];

impl DeviceSink {
    /// Opens the block device at `path` for writing, exclusively.
    ///
    /// # Errors
    /// [`Error::Open`] where that is refused (busy: it is mounted or in use), [`Error::Unsupported`] where
    /// it is no block device.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let failed = |operation, source| Error::Open { operation, name: name.clone(), source };
        // A look before the exclusive open, which means something else for files.
        let metadata = std::fs::metadata(path).map_err(|error| failed("open", error))?;
        if !metadata.file_type().is_block_device() {
            return Err(Error::Unsupported { name, reason: "it is no block device".to_owned() });
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
        let file =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed("open", error.into()))?;
        Self::over(File::from(file), path)
    }

    fn over(mut file: File, path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let size = file.seek(io::SeekFrom::End(0)).map_err(|source| Error::Open {
            operation: "find the size of",
            name: name.clone(),
            source,
        })?;
        let writer = Writer::new(file, path, name);
        Ok(DeviceSink { writer, path: path.to_owned(), size, way: AtomicU8::new(0) })
    }

    /// Zeroes whole blocks by the best way that is left.
    fn zero_blocks(&self, offset: u64, length: u64) -> Result<()> {
        loop {
            let way = self.way.load(Ordering::Relaxed);
            let Some(flags) = WAYS.get(usize::from(way)) else { return self.write_zeros(offset, length) };
            match fallocate(self.writer.file(), *flags, offset, length) {
                Ok(()) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV | Errno::PERM) => {
                    // Whoever comes first moves on; the others find the next way too.
                    let _ = self.way.compare_exchange(way, way + 1, Ordering::Relaxed, Ordering::Relaxed);
                }
                Err(error) => return Err(self.writer.failed("zero", offset, error.into())),
            }
        }
    }

    fn write_zeros(&self, offset: u64, length: u64) -> Result<()> {
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let count = (end - at).min(ZEROS.0.len() as u64);
            self.writer.write_at(&ZEROS.0[..count as usize], at)?;
            at += count;
        }
        Ok(())
    }
}

impl BlockSink for DeviceSink {
    fn size(&self) -> u64 {
        self.size
    }

    fn granularity(&self) -> u64 {
        1
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        super::check_range(&self.path, self.size, offset, data.len() as u64)?;
        self.writer.write_at(data, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        super::check_range(&self.path, self.size, offset, length)?;
        let end = offset + length;
        let start = offset.next_multiple_of(BLOCK).min(end);
        let blocks_end = (end - end % BLOCK).max(start);
        self.write_zeros(offset, start - offset)?;
        if blocks_end > start {
            self.zero_blocks(start, blocks_end - start)?;
        }
        self.write_zeros(blocks_end, end - blocks_end)
    }

    fn settled(&self, _offset: u64) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.writer.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// The same code over a file: loop devices need privileges that a test may not have.
    fn over_file(path: &Path, content: &[u8]) -> Box<DeviceSink> {
        fs::write(path, content).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        Box::new(DeviceSink::over(file, path).unwrap())
    }

    #[test]
    fn zeros_and_data_replace_what_was_there_by_every_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        for way in 0..=WAYS.len() {
            let sink = over_file(&path, &[7; 300_000]);
            sink.way.store(way as u8, Ordering::Relaxed);
            sink.zero(100, 200_000).unwrap();
            sink.zero(250_000, 10).unwrap();
            sink.zero(299_990, 10).unwrap();
            sink.zero(5, 0).unwrap();
            sink.write_at(&[8; 5000], 150_001).unwrap();
            sink.finish().unwrap();
            let mut expected = vec![7; 300_000];
            expected[100..200_100].fill(0);
            expected[250_000..250_010].fill(0);
            expected[299_990..].fill(0);
            expected[150_001..155_001].fill(8);
            assert!(fs::read(&path).unwrap() == expected, "way {way}");
        }
    }

    #[test]
    fn only_block_devices_are_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(DeviceSink::open(&path), Err(Error::Unsupported { .. })));
        assert!(matches!(DeviceSink::open(Path::new("/dev/null")), Err(Error::Unsupported { .. })));
        assert!(matches!(DeviceSink::open(&folder.path().join("none")), Err(Error::Open { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
