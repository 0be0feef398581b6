//! Inodes that come into being: a range of blocks becomes free inodes, without their content being in the log.

use crate::xfs::checksum::seal;
use crate::xfs::inode::MAGIC;
use crate::xfs::log::Replay;
use crate::xfs::log::transaction::Item;
use crate::{Error, Result};

/// Inodes of a chunk, the most that come into being at once.
const CHUNK: u32 = 64;
/// The place of the checksum in an inode of version 3.
const CHECKSUM: usize = 100;

impl Replay<'_> {
    /// The item's numbers are big-endian, unlike those of all others.
    pub(super) fn create(&mut self, item: &Item) -> Result<()> {
        let f = item.form()?;
        let (group, block, count) = (f.be32(4)?, f.be32(8)?, f.be32(12)?);
        let (size, length, generation) = (f.be32(16)?, f.be32(20)?, f.be32(24)?);
        let superblock = &self.superblock;
        let whole = u64::from(length) << superblock.block_log;
        if size != superblock.inode_size
            || count == 0
            || count > CHUNK
            || u64::from(count) * u64::from(size) != whole
        {
            return Err(f.corrupt(format!("{count} new inodes of {size} bytes in {length} blocks")));
        }
        let offset = superblock.group_offset(group, block, length.into())?;
        if self.cancelled.any_in(offset >> 9..(offset + whole) >> 9) {
            return Ok(());
        }
        let first = superblock.first_inode(group, block);
        let mut bytes = vec![0; whole as usize];
        for (index, inode) in bytes.chunks_exact_mut(size as usize).enumerate() {
            inode[..2].copy_from_slice(&MAGIC.to_be_bytes());
            inode[4] = if superblock.v5 { 3 } else { 2 };
            inode[92..96].copy_from_slice(&generation.to_be_bytes());
            // In no list of unlinked inodes.
            inode[96..100].copy_from_slice(&[0xff; 4]);
            if superblock.v5 {
                inode[152..160].copy_from_slice(&(first + index as u64).to_be_bytes());
                inode[160..176].copy_from_slice(&superblock.meta_uuid);
                seal(inode, CHECKSUM);
            }
        }
        self.overlay.write(offset, &bytes).map_err(|error| match error {
            Error::Corrupt { reason, .. } => Error::corrupt("new inodes in the log", reason),
            other => other,
        })
    }
}
