//! A disk of a point as the guest's file systems read it.

use crate::checked::CheckedDisk;
use block::BlockSource;
use guestfs::ReadAt;
use std::io;

/// A checked chain behind [`ReadAt`].
pub(super) struct PointDisk(pub(super) CheckedDisk);

impl ReadAt for PointDisk {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let size = self.size();
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > size) {
            let reason = format!("{} bytes at {offset} are not inside of {size} bytes", buf.len());
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
        // Damage in the chain is no end of the disk, whatever kind of error is inside.
        self.0.read_at(buf, offset).map_err(io::Error::other)
    }
}
