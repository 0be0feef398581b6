//! Targets of symbolic links: in the inode, or in blocks of their own.

use crate::xfs::checksum::Header;
use crate::xfs::core::Core;
use crate::xfs::inode::{Format, Inode, Which};
use crate::{Fields, Result};

/// The longest target, `XFS_SYMLINK_MAXLEN`.
const MAX_TARGET: u64 = 1024;
/// `XSLM`.
const MAGIC: u32 = 0x5853_4c4d;
/// The header of version 5 in each run of blocks.
const HEADER: usize = 56;

impl Core {
    /// The target of the symbolic link `inode`.
    pub fn link_target(&self, inode: &Inode) -> Result<Vec<u8>> {
        if inode.stat.size == 0 || inode.stat.size > MAX_TARGET {
            return Err(inode.corrupt(format!("a link of {} bytes", inode.stat.size)));
        }
        let size = inode.stat.size as usize;
        if inode.data().format == Format::Local {
            let target = inode.data().bytes.get(..size);
            return target.map(<[u8]>::to_vec).ok_or_else(|| inode.corrupt("a link longer than its inode"));
        }
        let mut target = Vec::with_capacity(size);
        let mut block = 0;
        while target.len() < size {
            let extent = self
                .extent(inode, Which::Data, block)?
                .filter(|extent| extent.file == block && !extent.unwritten)
                .ok_or_else(|| inode.corrupt("a part of a link is missing"))?;
            let offset = self.superblock.block_offset(extent.block, extent.count)?;
            // No run is longer than the longest target needs: three blocks of 512 bytes.
            let room =
                (extent.count << self.superblock.block_log).min(2048.max(self.superblock.block_size.into()));
            let bytes = self.read(offset, room as usize)?;
            block = extent.end();
            let left = size - target.len();
            if !self.superblock.v5 {
                target.extend_from_slice(&bytes[..left.min(bytes.len())]);
                continue;
            }
            let f = Fields::new("a part of a link", &bytes);
            if f.be32(0)? != MAGIC {
                return Err(inode.corrupt("a part of a link does not begin with XSLM"));
            }
            let whole = extent.count << self.superblock.block_log;
            if whole != room {
                return Err(inode.corrupt("a part of a link is too long"));
            }
            Header::REMOTE.verify(&self.superblock, "a link", &bytes, offset, inode.number)?;
            let (at, length) = (f.be32(4)? as usize, f.be32(8)? as usize);
            if at != target.len() || length == 0 || length > left {
                return Err(inode.corrupt("a part of a link is of another place"));
            }
            target.extend_from_slice(f.bytes(HEADER, length)?);
        }
        if target.contains(&0) {
            return Err(inode.corrupt("a link with NUL in its target"));
        }
        Ok(target)
    }
}
