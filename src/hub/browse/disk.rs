//! A disk of a point as the guest's file systems read it.

use crate::checked::CheckedDisk;
use block::BlockSource;
use guestfs::ReadAt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A checked chain behind [`ReadAt`].
pub(super) struct PointDisk {
    disk: CheckedDisk,
    /// Counts the bytes that were read.
    read: Arc<AtomicU64>,
}

impl PointDisk {
    pub(super) fn new(disk: CheckedDisk, read: Arc<AtomicU64>) -> Self {
        PointDisk { disk, read }
    }
}

impl ReadAt for PointDisk {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let size = self.size();
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > size) {
            let reason = format!("{} bytes at {offset} are not inside of {size} bytes", buf.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        // Damage in the chain is no end of the disk, whatever kind of error is inside.
        self.disk.read_at(buf, offset).map_err(io::Error::other)
    }
}
