//! A source of whole sectors.
//!
//! Disks are made of sectors; a raw file need not be. QEMU reads such a file as if its last sector were filled up
//! with zeros, and takes the size in a QCOW2 header as whole sectors, dropping the rest: an image of the odd size
//! would lose the file's last bytes there. So the disk is read as QEMU would read the file.

use crate::{BlockSource, ChangeId, Extent, ExtentKind, Result};
use std::ops::Range;

/// Bytes of a sector, for QEMU and for every partition table.
const SECTOR: u64 = 512;

/// A source whose last sector is filled up with zeros.
pub struct WholeSectors<S> {
    inner: S,
    size: u64,
}

impl<S: BlockSource> WholeSectors<S> {
    /// `inner`, its size rounded up to a multiple of 512.
    pub fn new(inner: S) -> Self {
        let size = inner.size().checked_next_multiple_of(SECTOR).unwrap_or(inner.size());
        WholeSectors { inner, size }
    }
}

impl<S: BlockSource> BlockSource for WholeSectors<S> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size) {
            // The source refuses it too, in its own words.
            return self.inner.read_at(buf, offset);
        }
        let there = self.inner.size().saturating_sub(offset).min(buf.len() as u64);
        // At most the buffer's length, which is a usize.
        let (bytes, filler) = buf.split_at_mut(there as usize);
        filler.fill(0);
        if bytes.is_empty() { Ok(()) } else { self.inner.read_at(bytes, offset) }
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        let end = self.inner.size();
        if range.start >= end {
            return Ok(vec![Extent::new(range, ExtentKind::Zero)]);
        }
        let mut found = self.inner.extents(range.start..range.end.min(end), since)?;
        // What fills the last sector belongs to what it fills: zeros behind data are data.
        if let Some(last) = found.last_mut().filter(|last| last.end() == end && range.end > end) {
            last.length = range.end - last.offset;
        }
        Ok(found)
    }

    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}
