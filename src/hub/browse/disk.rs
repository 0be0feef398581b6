//! A disk of a point as the guest's file systems read it.

use block::BlockSource;
use guestfs::ReadAt;
use qcow2::Chain;
use std::io;

/// A chain behind [`ReadAt`]. Its files are open; what happens to their names does not matter.
pub(super) struct PointDisk(pub(super) Chain);

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
