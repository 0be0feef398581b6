//! XFS, versions 4 and 5, with its log replayed in memory.
//!
//! The format is that of "XFS Algorithms & Data Structures" (3rd edition, XFS project) and of the kernel's
//! `fs/xfs/libxfs/xfs_format.h`. Everything that version 5 has checksums for is checked: checksum, file system, place
//! and owner of each block of metadata.
//!
//! Refused by name: folders of version 1, zoned storage, unknown incompatible features, files on the realtime device,
//! a log on a device of its own (unless the log is to be ignored), file systems that ask for a repair. Quota, free
//! space and reverse maps are never looked at.

mod acl;
mod attribute;
mod checksum;
mod core;
mod directory;
mod extent;
mod inode;
mod log;
mod node;
mod pending;
mod superblock;
mod symlink;

use self::core::Core;
use self::pending::Pending;
use crate::{
    Device, DirEntry, Error, FileKind, FsInfo, GuestFs, NodeId, OpenOptions, Overlay, Place, ReadAt,
    Recognised, Result, Run, Stat, Xattr,
};
use std::ops::ControlFlow;
use std::sync::Arc;

use inode::{Inode, Which};

/// What the first sectors say; `None` where it is something else.
///
/// # Errors
/// Only what the reader below says.
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    superblock::recognise(device)
}

/// Opens it read-only; a log that was not finished is replayed in memory.
///
/// # Errors
/// [`Error::Corrupt`]; [`Error::Unsupported`] with the feature's name; [`Error::Untrusted`] where the log can't be
/// replayed or the file system asks for a repair, unless `options` say to ignore that.
pub fn open(device: Device, options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
    let mut superblock = superblock::open(&device)?;
    let mut warnings = Vec::new();
    if superblock.size() > device.size() {
        return Err(Error::corrupt(
            "the superblock",
            format!("a file system of {} bytes on {} bytes", superblock.size(), device.size()),
        ));
    }
    if superblock.needs_repair {
        let reason = "the file system is marked to be in need of xfs_repair";
        if !options.ignore_journal {
            return Err(Error::Untrusted(reason.into()));
        }
        warnings.push(reason.to_owned());
    }
    let mut overlay = Overlay::new(device.clone(), options.journal_bytes);
    let mut pending = Pending::default();
    let mut replayed = None;
    match log::replay(&device, &superblock, &mut overlay, options.journal_bytes) {
        Ok(found) => {
            pending = found;
            if !overlay.is_empty() {
                let overlay = Arc::new(overlay);
                superblock = superblock::open(&(overlay.clone() as Device))?;
                replayed = Some(overlay);
            }
        }
        Err(error @ Error::Io { .. }) => return Err(error),
        Err(error) if options.ignore_journal => warnings.push(format!("the log was not replayed: {error}")),
        Err(error @ (Error::Untrusted(_) | Error::Limit(_) | Error::Unsupported(_))) => return Err(error),
        Err(error) => return Err(Error::Untrusted(format!("the log can't be replayed: {error}"))),
    }
    let info = FsInfo {
        kind: "xfs",
        label: superblock.label_text(),
        uuid: Some(superblock.uuid_text()),
        size: superblock.size(),
        block_size: superblock.block_size,
        has_owners: true,
        warnings,
    };
    let fs = Xfs { core: Core::new(device, replayed, superblock, pending, options.cache_bytes), info };
    let root = fs.core.inode(fs.core.superblock.root)?;
    if root.stat.kind != FileKind::Directory {
        return Err(root.corrupt("the root is no folder"));
    }
    Ok(Arc::new(fs))
}

/// An open XFS.
struct Xfs {
    core: Core,
    info: FsInfo,
}

/// What a byte of a file belongs to.
enum Piece {
    /// Zeros up to this byte.
    Hole(u64),
    /// Bytes of the device from this one on, up to this byte of the file.
    Data { device: u64, end: u64 },
}

impl Xfs {
    fn directory(&self, node: NodeId) -> Result<Arc<Inode>> {
        let inode = self.inode(node)?;
        if inode.stat.kind != FileKind::Directory {
            return Err(Error::NotADirectory);
        }
        Ok(inode)
    }

    fn inode(&self, node: NodeId) -> Result<Arc<Inode>> {
        if node.tree != 0 {
            return Err(Error::NotFound);
        }
        self.core.inode(node.inode)
    }

    fn file(&self, node: NodeId) -> Result<Arc<Inode>> {
        let inode = self.inode(node)?;
        match inode.stat.kind {
            FileKind::File => {}
            FileKind::Directory => return Err(Error::IsADirectory),
            kind => return Err(Error::unsupported(format!("reading of a node that is no file ({kind:?})"))),
        }
        if inode.realtime {
            return Err(Error::unsupported("an XFS file on the realtime device"));
        }
        Ok(inode)
    }

    /// What byte `offset` of a file belongs to, which lies before its end.
    fn piece(&self, inode: &Inode, offset: u64) -> Result<Piece> {
        let superblock = &self.core.superblock;
        let size = inode.stat.size;
        let byte = |block: u64| block.saturating_mul(superblock.block_size.into()).min(size);
        let Some(extent) = self.core.extent(inode, Which::Data, offset >> superblock.block_log)? else {
            return Ok(Piece::Hole(size));
        };
        let start = byte(extent.file);
        if start > offset {
            return Ok(Piece::Hole(start));
        }
        let end = byte(extent.end());
        if extent.unwritten {
            return Ok(Piece::Hole(end));
        }
        let device = superblock.block_offset(extent.block, extent.count)? + (offset - start);
        Ok(Piece::Data { device, end })
    }
}

impl GuestFs for Xfs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn root(&self) -> NodeId {
        NodeId { tree: 0, inode: self.core.superblock.root }
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let inode = self.core.look_up(&*self.directory(dir)?, name)?;
        Ok(NodeId { tree: 0, inode })
    }

    fn readdir(
        &self,
        dir: NodeId,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.core.read_directory(&*self.directory(dir)?, from, visit)
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        Ok(self.inode(node)?.stat.clone())
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        let inode = self.inode(node)?;
        if inode.stat.kind != FileKind::Symlink {
            return Err(Error::NotASymlink);
        }
        self.core.link_target(&inode)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let inode = self.file(node)?;
        let length = inode.stat.size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let rest = &mut buf[done..length];
            let to = |end: u64| (end - at).min(rest.len() as u64) as usize;
            done += match self.piece(&inode, at)? {
                Piece::Hole(end) => {
                    let count = to(end);
                    rest[..count].fill(0);
                    count
                }
                Piece::Data { device, end } => {
                    let count = to(end);
                    crate::read_exact(&*self.core.device, &mut rest[..count], device)?;
                    count
                }
            };
        }
        Ok(length)
    }

    fn map(&self, node: NodeId, offset: u64) -> Result<Option<Run>> {
        let inode = self.file(node)?;
        if offset >= inode.stat.size {
            return Ok(None);
        }
        Ok(Some(match self.piece(&inode, offset)? {
            Piece::Hole(end) => Run { length: end - offset, place: Place::Hole },
            Piece::Data { device, end } => {
                let length = end - offset;
                // The log holds no content of files; where it claims to, the device alone does not have it.
                let changed = self.core.changed(&(device..device + length));
                Run { length, place: if changed { Place::Inside } else { Place::Device(device) } }
            }
        }))
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        self.core.attributes(&*self.inode(node)?)
    }
}
