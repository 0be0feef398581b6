//! The operations of [`GuestFs`] on a btrfs.

use super::checksum::name_hash;
use super::entry::{self, Entry};
use super::extent::{Content, Extent, Packed};
use super::inode::Inode;
use super::key::{DIR_INDEX, DIR_ITEM, EXTENT_DATA, Key, XATTR_ITEM};
use super::volume::{Btrfs, EMPTY, folder_of_empty};
use crate::{DirEntry, Error, FileKind, FsInfo, GuestFs, MAX_XATTR, NodeId, Place, Result, Run, Stat, Xattr};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The longest target of a symbolic link, in bytes: more than the kernel's `PATH_MAX`.
const MAX_LINK: u64 = 65536;

/// How many extended attributes a node may have: more than fit into what `listxattr` returns.
const MAX_XATTRS: usize = 65536;

/// How many bytes of extended attributes of one node are given at most.
const MAX_XATTR_BYTES: usize = 16 << 20;

impl GuestFs for Btrfs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn root(&self) -> NodeId {
        // Opening checked that there is one; every subvolume's root folder has this number.
        NodeId { tree: self.default_subvolume(), inode: super::key::FIRST_FREE }
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        if self.is_empty_folder(dir)? {
            return Err(Error::NotFound);
        }
        let item = self.tree(dir.tree)?.get(Key::new(dir.inode, DIR_ITEM, name_hash(name)))?;
        let item = item.ok_or(Error::NotFound)?;
        let entry = Entry::named(&item, name)?.ok_or(Error::NotFound)?;
        entry.check_name(dir.inode)?;
        self.target(dir, &entry)
    }

    fn readdir(
        &self,
        dir: NodeId,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        if self.is_empty_folder(dir)? {
            return Ok(());
        }
        let key = |index| Key::new(dir.inode, DIR_INDEX, index);
        self.tree(dir.tree)?.walk(key(from), key(u64::MAX), &mut |key, item| {
            let next = key.offset.checked_add(1).ok_or_else(|| {
                Error::corrupt(format!("the folder of inode {}", dir.inode), "an entry has the last position")
            })?;
            let entry = Entry::all(item).next().transpose()?.ok_or_else(|| {
                Error::corrupt(format!("the folder of inode {}", dir.inode), "an entry without bytes")
            })?;
            entry.check_name(dir.inode)?;
            let node = self.target(dir, &entry)?;
            Ok(visit(DirEntry { name: entry.name, node, kind: entry::kind(entry.kind), next }))
        })
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        if let Some(folder) = folder_of_empty(node) {
            let dir = self.inode(folder)?;
            return Ok(Stat { mode: 0o755, links: 1, size: 0, allocated: 0, ..dir.stat.clone() });
        }
        Ok(self.inode(node)?.stat.clone())
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        let inode = self.real_inode(node)?;
        if inode.stat.kind != FileKind::Symlink {
            return Err(Error::NotASymlink);
        }
        let size = inode.stat.size;
        if size == 0 || size > MAX_LINK {
            return Err(Error::corrupt(format!("inode {}", node.inode), format!("a link of {size} bytes")));
        }
        let mut target = vec![0; size as usize];
        self.read(node, &inode, 0, &mut target)?;
        Ok(target)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let inode = self.file(node)?;
        let left = inode.stat.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        self.read(node, &inode, offset, &mut buf[..length])?;
        Ok(length)
    }

    fn map(&self, node: NodeId, offset: u64) -> Result<Option<Run>> {
        let inode = self.file(node)?;
        let size = inode.stat.size;
        if offset >= size {
            return Ok(None);
        }
        let extent = self.extents(node, offset, size, 1)?.into_iter().next();
        let Some(extent) = extent.filter(|extent| extent.start < size) else {
            return Ok(Some(Run { length: size - offset, place: Place::Hole }));
        };
        if extent.start > offset {
            return Ok(Some(Run { length: extent.start - offset, place: Place::Hole }));
        }
        let left = extent.end.min(size) - offset;
        let (length, place) = match extent.content {
            Content::Hole => (left, Place::Hole),
            Content::Inline { .. } | Content::Compressed { .. } => (left, Place::Inside),
            Content::Plain { logical } => {
                let logical = logical + (offset - extent.start);
                match self.blocks.pool.on_first_device(logical) {
                    Some((physical, length)) => (left.min(length), Place::Device(physical)),
                    None => (left.min(self.blocks.pool.contiguous(logical)?), Place::Inside),
                }
            }
        };
        Ok(Some(Run { length, place }))
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        let mut all: Vec<Xattr> = Vec::new();
        if node.inode & EMPTY != 0 {
            return Ok(all);
        }
        let mut bytes = 0;
        let key = |hash| Key::new(node.inode, XATTR_ITEM, hash);
        self.tree(node.tree)?.walk(key(0), key(u64::MAX), &mut |_, item| {
            for entry in Entry::all(item) {
                let entry = entry?;
                if entry.name.is_empty() || entry.name.contains(&0) {
                    return Err(Error::corrupt(
                        format!("inode {}", node.inode),
                        format!("an attribute is called {:?}", String::from_utf8_lossy(entry.name)),
                    ));
                }
                bytes += entry.bytes.len();
                if all.len() >= MAX_XATTRS || bytes > MAX_XATTR_BYTES {
                    return Err(Error::Limit(format!("inode {} has too many attributes", node.inode)));
                }
                if entry.value.len() <= MAX_XATTR {
                    all.push(Xattr { name: entry.name.to_vec(), value: entry.value.to_vec() });
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }
}

impl Btrfs {
    /// Whether `node` is a folder that has nothing in it whatever its inode says; an error where it is no folder.
    fn is_empty_folder(&self, node: NodeId) -> Result<bool> {
        if node.inode & EMPTY != 0 {
            return Ok(true);
        }
        match self.inode(node)?.stat.kind {
            FileKind::Directory => Ok(false),
            _ => Err(Error::NotADirectory),
        }
    }

    fn real_inode(&self, node: NodeId) -> Result<Arc<Inode>> {
        if node.inode & EMPTY != 0 { Err(Error::NotASymlink) } else { self.inode(node) }
    }

    /// The inode of a node that has content.
    fn file(&self, node: NodeId) -> Result<Arc<Inode>> {
        if node.inode & EMPTY != 0 {
            return Err(Error::IsADirectory);
        }
        let inode = self.inode(node)?;
        match inode.stat.kind {
            FileKind::File => Ok(inode),
            FileKind::Directory => Err(Error::IsADirectory),
            _ => Err(Error::unsupported("reading what is neither a file nor a folder")),
        }
    }

    /// The extents of a file that hold bytes from `from` on and begin before `to`, in their order, `limit` of them at
    /// most. They never overlap.
    fn extents(&self, node: NodeId, from: u64, to: u64, limit: usize) -> Result<Vec<Extent>> {
        let tree = self.tree(node.tree)?;
        let key = |offset| Key::new(node.inode, EXTENT_DATA, offset);
        let floor = tree.floor(key(from))?;
        let first = floor.filter(|floor| floor.object == node.inode && floor.kind == EXTENT_DATA);
        let mut extents: Vec<Extent> = Vec::new();
        let mut end = 0;
        tree.walk(first.unwrap_or(key(from)), key(to.saturating_sub(1)), &mut |key, item| {
            let extent = Extent::read(key.offset, item, self.blocks.sector)?;
            if extent.start < end {
                return Err(Error::corrupt(
                    format!("inode {}", node.inode),
                    format!("two extents hold byte {}", extent.start),
                ));
            }
            end = extent.end;
            if extent.end > from {
                extents.push(extent);
            }
            Ok(if extents.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        Ok(extents)
    }

    /// Fills all of `buf`, which does not reach past the end of the file.
    fn read(&self, node: NodeId, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        let mut at = offset;
        let mut rest = buf;
        // Many small extents are taken in turns, so that a buffer of any size costs no list of any size.
        while !rest.is_empty() {
            let extents = self.extents(node, at, end, 1024)?;
            let last = extents.len() < 1024;
            for extent in extents {
                if extent.start > at {
                    let hole = (extent.start - at).min(rest.len() as u64) as usize;
                    rest[..hole].fill(0);
                    at += hole as u64;
                    rest = &mut rest[hole..];
                }
                let length = (extent.end - at).min(rest.len() as u64) as usize;
                let (part, after) = rest.split_at_mut(length);
                self.read_extent(inode, &extent, at - extent.start, part)?;
                at += length as u64;
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            if last {
                rest.fill(0);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Fills `buf` from byte `within` of an extent, inside of it.
    fn read_extent(&self, inode: &Inode, extent: &Extent, within: u64, buf: &mut [u8]) -> Result<()> {
        match &extent.content {
            Content::Hole => buf.fill(0),
            Content::Plain { logical } => {
                let sums = self.sums(inode.checked)?;
                self.data.read(&self.blocks, sums.as_ref(), logical + within, buf)?;
            }
            Content::Compressed { packed, offset } => {
                let sums = self.sums(inode.checked)?;
                let bytes = self.data.unpack(&self.blocks, sums.as_ref(), *packed)?;
                copy_or_zero(&bytes, offset + within, buf);
            }
            Content::Inline { compression, length, bytes } => {
                let packed = Packed {
                    logical: 0,
                    length: bytes.len() as u64,
                    unpacked: *length,
                    compression: *compression,
                };
                let bytes = self.data.unpack_bytes(&self.blocks, packed, bytes)?;
                copy_or_zero(&bytes, within, buf);
            }
        }
        Ok(())
    }
}

/// Fills `buf` from byte `at` of `bytes`, and with zeros after their end.
fn copy_or_zero(bytes: &[u8], at: u64, buf: &mut [u8]) {
    let from = usize::try_from(at).map_or(&[][..], |at| bytes.get(at..).unwrap_or_default());
    let length = from.len().min(buf.len());
    buf[..length].copy_from_slice(&from[..length]);
    buf[length..].fill(0);
}
