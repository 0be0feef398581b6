//! The volume as a [`GuestFs`].

use super::feature::{self, inode_flag};
use super::folder::node_id;
use super::inode::{BLOCK_LENGTH, Inode, ROOT};
use super::volume::Volume;
use crate::{DirEntry, Error, FileKind, FsInfo, GuestFs, NodeId, Result, Run, Stat, Xattr};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The longest target of a link, as the kernel limits it.
const MAX_TARGET: u64 = 4096;

/// An opened ext2, ext3 or ext4.
pub(super) struct FileSystem {
    volume: Volume,
    info: FsInfo,
}

impl FileSystem {
    /// `volume` with what has to be said of it.
    pub fn new(volume: Volume, warnings: Vec<String>) -> Self {
        let sb = &volume.sb;
        let info = FsInfo {
            kind: feature::kind(sb),
            label: sb.label(),
            uuid: sb.uuid(),
            size: sb.size(),
            block_size: sb.block_size() as u32,
            has_owners: true,
            warnings,
        };
        FileSystem { volume, info }
    }

    fn node(&self, node: NodeId) -> Result<Arc<Inode>> {
        let number = u32::try_from(node.inode).ok().filter(|_| node.tree == 0);
        self.volume.node(number.ok_or(Error::NotFound)?)
    }

    /// The inode of something that has bytes.
    fn file(&self, node: NodeId) -> Result<Option<Arc<Inode>>> {
        let inode = self.node(node)?;
        match inode.kind {
            FileKind::Directory => Err(Error::IsADirectory),
            FileKind::File => inode.check_readable().map(|()| Some(inode)),
            _ => Ok(None),
        }
    }
}

impl GuestFs for FileSystem {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn root(&self) -> NodeId {
        node_id(ROOT)
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let dir = self.node(dir)?;
        Ok(node_id(self.volume.find(&dir, name)?))
    }

    fn readdir(
        &self,
        dir: NodeId,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let dir = self.node(dir)?;
        self.volume.list(&dir, from, visit)
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        self.node(node)?.stat()
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        let inode = self.node(node)?;
        if inode.kind != FileKind::Symlink {
            return Err(Error::NotASymlink);
        }
        inode.check_readable()?;
        if inode.size == 0 || inode.size > MAX_TARGET {
            return Err(inode.corrupt(format!("a link to {} bytes", inode.size)));
        }
        let length = inode.size as usize;
        // What has no blocks has its target where they would be named.
        let sb = &self.volume.sb;
        let own = if inode.attributes == 0 { 0 } else { 1 << (sb.cluster_bits - 9) };
        let short = if inode.has(inode_flag::INLINE_DATA) {
            false
        } else if sb.incompat & feature::incompat::EA_INODE != 0 {
            length < BLOCK_LENGTH
        } else {
            inode.sectors == own
        };
        let mut target = vec![0; length];
        if !short {
            self.volume.read_content(&inode, 0, &mut target)?;
        } else if length < BLOCK_LENGTH {
            target.copy_from_slice(&inode.block()[..length]);
        } else {
            return Err(inode.corrupt(format!("a link to {length} bytes, and no blocks")));
        }
        if target.contains(&0) {
            return Err(inode.corrupt("a target with a zero byte"));
        }
        Ok(target)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        match self.file(node)? {
            Some(inode) => self.volume.read_content(&inode, offset, buf),
            None => Ok(0),
        }
    }

    fn map(&self, node: NodeId, offset: u64) -> Result<Option<Run>> {
        match self.file(node)? {
            Some(inode) => self.volume.map_content(&inode, offset),
            None => Ok(None),
        }
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        let inode = self.node(node)?;
        self.volume.attributes(&inode)
    }
}
