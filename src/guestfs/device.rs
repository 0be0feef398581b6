//! Positioned readers: what a disk, a partition, a logical volume and an opened LUKS container have in common.

use crate::{Error, Result};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// A range of bytes of fixed size that can be read at any position, by several threads at once.
///
/// The content does not change while it is open. The smallest implementation is [`MemoryDevice`].
pub trait ReadAt: Send + Sync {
    /// The size in bytes.
    fn size(&self) -> u64;

    /// Fills the whole of `buf` from byte `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] where the range does not lie inside of [`size`](Self::size); whatever the
    /// reader below says otherwise. What `buf` then holds is not to be used.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Adds to `found` what decides the `length` bytes at `offset`, which lie inside: ranges of the point's disks and
    /// zeros, always in the same order. True where nothing else does: where two readers add the same, and the ranges hold
    /// the same bytes on their disks, then these bytes are the same too. False where that can't be told; what was added
    /// then means nothing. Nothing is read for it.
    ///
    /// An ability that a reader may have. One that lies on others and does not pass the question on costs a comparison
    /// of two points the reading of its bytes, nothing else.
    fn origins(&self, offset: u64, length: u64, found: &mut Vec<Origin>) -> bool {
        let _ = (offset, length, found);
        false
    }
}

/// What decides bytes of a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Bytes of a disk of the point.
    Disk {
        /// Which disk.
        disk: u32,
        /// The first byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// So many zeros, from nowhere.
    Zeros(u64),
}

/// A reader that several layers and file systems share.
pub type Device = Arc<dyn ReadAt>;

/// The error for a range outside of a device.
pub(crate) fn past_the_end(offset: u64, length: usize, size: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!("{length} bytes at {offset} are not inside of {size} bytes"),
    )
}

/// Checks that `length` bytes at `offset` lie inside of `size` bytes.
pub(crate) fn check_range(offset: u64, length: usize, size: u64) -> io::Result<()> {
    match offset.checked_add(length as u64) {
        Some(end) if end <= size => Ok(()),
        _ => Err(past_the_end(offset, length, size)),
    }
}

/// Fills `buf` from `device`, with the position in the error.
///
/// # Errors
/// [`Error::Corrupt`] where the range is outside of the device, because then a structure pointed there;
/// [`Error::Io`] where the reader below failed.
pub fn read_exact(device: &dyn ReadAt, buf: &mut [u8], offset: u64) -> Result<()> {
    device.read_at(buf, offset).map_err(|source| {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            Error::corrupt("the volume", format!("something points outside of it: {source}"))
        } else {
            Error::Io { offset, source }
        }
    })
}

/// Reads `length` bytes at `offset` into a new buffer. `length` must be a bounded number: never one that an image
/// claims and nobody has checked.
///
/// # Errors
/// As [`read_exact`].
pub fn read_vec(device: &dyn ReadAt, offset: u64, length: usize) -> Result<Vec<u8>> {
    let mut buf = vec![0; length];
    read_exact(device, &mut buf, offset)?;
    Ok(buf)
}

/// Bytes in memory.
#[derive(Debug, Clone)]
pub struct MemoryDevice(pub Vec<u8>);

impl ReadAt for MemoryDevice {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.size())?;
        let start = offset as usize;
        buf.copy_from_slice(&self.0[start..start + buf.len()]);
        Ok(())
    }
}

/// A raw image file, or a block device.
#[derive(Debug)]
pub struct FileDevice {
    file: std::fs::File,
    size: u64,
}

impl FileDevice {
    /// Opens `path` read-only.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(path: &std::path::Path) -> io::Result<Self> {
        use std::io::{Seek, SeekFrom};
        let mut file = std::fs::File::open(path)?;
        let size = file.seek(SeekFrom::End(0))?;
        Ok(FileDevice { file, size })
    }
}

impl ReadAt for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.size)?;
        self.file.read_exact_at(buf, offset)
    }
}

/// A disk of a point: the place where all [`origins`](ReadAt::origins) end.
pub(crate) struct NumberedDisk {
    pub(crate) index: u32,
    pub(crate) device: Device,
}

impl ReadAt for NumberedDisk {
    fn size(&self) -> u64 {
        self.device.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.device.read_at(buf, offset)
    }

    fn origins(&self, offset: u64, length: u64, found: &mut Vec<Origin>) -> bool {
        found.push(Origin::Disk { disk: self.index, offset, length });
        true
    }
}

/// A part of a device, from `offset`, `size` bytes long: a partition.
pub struct Window {
    device: Device,
    offset: u64,
    size: u64,
}

impl Window {
    /// The part of `device` from byte `offset`, at most `size` bytes: what would lie past the device's end is cut off.
    pub fn new(device: Device, offset: u64, size: u64) -> Self {
        let available = device.size().saturating_sub(offset);
        Window { size: size.min(available), device, offset }
    }
}

impl ReadAt for Window {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.size)?;
        self.device.read_at(buf, self.offset + offset)
    }

    fn origins(&self, offset: u64, length: u64, found: &mut Vec<Origin>) -> bool {
        self.device.origins(self.offset + offset, length, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_ends_where_it_ends() {
        let disk: Device = Arc::new(MemoryDevice((0..100).collect()));
        let window = Window::new(disk.clone(), 10, 20);
        let mut buf = [0; 5];
        window.read_at(&mut buf, 15).unwrap();
        assert_eq!(buf, [25, 26, 27, 28, 29]);
        assert_eq!(window.read_at(&mut buf, 16).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(window.read_at(&mut buf, u64::MAX).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(Window::new(disk.clone(), 90, 20).size(), 10);
        assert_eq!(Window::new(disk, 200, 20).size(), 0);
    }

    #[test]
    fn a_disk_of_a_point_is_where_bytes_come_from() {
        let disk: Device = Arc::new(MemoryDevice(vec![0; 100]));
        let mut found = Vec::new();
        assert!(!disk.origins(0, 5, &mut found), "a disk alone does not know its number");
        let numbered: Device = Arc::new(NumberedDisk { index: 3, device: disk });
        assert!(Window::new(numbered, 10, 20).origins(4, 7, &mut found));
        assert_eq!(found, [Origin::Disk { disk: 3, offset: 14, length: 7 }]);
    }
}
