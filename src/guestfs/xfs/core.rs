//! What every part of the reader stands on: the device, the superblock, and the caches of metadata.

use crate::xfs::checksum::{Header, seal};
use crate::xfs::extent::{Extent, check_root};
use crate::xfs::inode::{Inode, Which};
use crate::xfs::pending::Pending;
use crate::xfs::superblock::Superblock;
use crate::{Cache, Device, Fields, Overlay, Result, read_vec};
use std::ops::Range;
use std::sync::Arc;

/// What a block of metadata is cached under: it is checked for one owner at one place, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BlockKey {
    /// A block of a tree of extents, at a byte.
    Tree { inode: u64, offset: u64 },
    /// A block of a folder or of attributes, by its first block in the fork.
    Fork { inode: u64, which: Which, block: u64 },
}

/// An open file system of this type.
pub(super) struct Core {
    pub device: Device,
    pub superblock: Superblock,
    /// What the log changed: a part of [`device`](Self::device).
    replayed: Option<Arc<Overlay>>,
    pub pending: Pending,
    /// Those maps that the log still had to change.
    pub maps: Cache<(u64, Which), Arc<[Extent]>>,
    inodes: Cache<u64, Arc<Inode>>,
    blocks: Cache<BlockKey, Arc<[u8]>>,
}

/// The types of blocks in folders and attributes, for both versions of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockType {
    /// A folder of a single block: entries and their hashes.
    DirectoryBlock,
    /// Entries of a folder.
    DirectoryData,
    /// Hashes of the entries of a folder.
    DirectoryLeaf,
    /// A node above leaves.
    Node,
    /// Attributes.
    AttributeLeaf,
}

impl Core {
    /// Of `device`, or of what the log makes of it.
    pub fn new(
        device: Device,
        replayed: Option<Arc<Overlay>>,
        superblock: Superblock,
        pending: Pending,
        cache_bytes: usize,
    ) -> Self {
        Core {
            device: replayed.clone().map_or(device, |overlay| overlay as Device),
            replayed,
            superblock,
            pending,
            maps: Cache::new(cache_bytes),
            inodes: Cache::new(cache_bytes / 4),
            blocks: Cache::new(cache_bytes - cache_bytes / 4),
        }
    }

    /// `length` bytes at `offset`: a bounded number.
    pub fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        read_vec(&*self.device, offset, length)
    }

    /// Inode `number`.
    pub fn inode(&self, number: u64) -> Result<Arc<Inode>> {
        self.inodes.get_or(number, || {
            let offset = self.superblock.inode_offset(number)?;
            let bytes = self.read(offset, self.superblock.inode_size as usize)?;
            let inode = Inode::parse(&self.superblock, number, bytes)?;
            check_root(inode.data(), &inode)?;
            if let Some(fork) = inode.attributes() {
                check_root(fork, &inode)?;
            }
            let cost = inode.cost();
            Ok((Arc::new(inode), cost))
        })
    }

    /// A block of metadata out of the cache, or made by `read` which also checks it.
    pub fn block(&self, key: BlockKey, read: impl FnOnce() -> Result<Vec<u8>>) -> Result<Arc<[u8]>> {
        self.blocks.get_or(key, || {
            let bytes: Arc<[u8]> = read()?.into();
            let cost = bytes.len() + 64;
            Ok((bytes, cost))
        })
    }

    /// The block of `size` bytes that begins at block `block` of a folder's or of the attributes' fork, checked, with
    /// its type. `None` in a hole.
    pub fn fork_block(
        &self,
        inode: &Inode,
        which: Which,
        block: u64,
        size: u32,
    ) -> Result<Option<(BlockType, Arc<[u8]>)>> {
        let key = BlockKey::Fork { inode: inode.number, which, block };
        if let Some(bytes) = self.blocks.get(&key) {
            return Ok(Some((self.block_type(inode, &bytes)?, bytes)));
        }
        let covers = |extent: &Extent| extent.file <= block && !extent.unwritten;
        if !self.extent(inode, which, block)?.is_some_and(|extent| covers(&extent)) {
            return Ok(None);
        }
        let bytes = self.block(key, || {
            let mut bytes = vec![0; size as usize];
            let pieces = self.read_fork(inode, which, block, &mut bytes)?;
            let block_type = self.block_type(inode, &bytes)?;
            if self.superblock.v5 {
                let (header, what) = match block_type {
                    BlockType::DirectoryBlock | BlockType::DirectoryData => (Header::DIRECTORY, "entries"),
                    BlockType::DirectoryLeaf => (Header::NODE, "a leaf"),
                    BlockType::Node => (Header::NODE, "a node"),
                    BlockType::AttributeLeaf => (Header::NODE, "attributes"),
                };
                // The log changes a block in pieces where it lies in pieces, and then nobody computes its checksum.
                if pieces.len() > 1 && pieces.iter().any(|piece| self.changed(piece)) {
                    seal(&mut bytes, header.crc);
                }
                header.verify(&self.superblock, what, &bytes, pieces[0].start, inode.number)?;
            }
            Ok(bytes)
        })?;
        Ok(Some((self.block_type(inode, &bytes)?, bytes)))
    }

    /// Fills `bytes`, whole blocks, from block `block` of a fork on: all of them have to be there. Tells the ranges of
    /// the device that they are, at least one.
    pub fn read_fork(
        &self,
        inode: &Inode,
        which: Which,
        block: u64,
        bytes: &mut [u8],
    ) -> Result<Vec<Range<u64>>> {
        let block_log = self.superblock.block_log;
        let mut pieces: Vec<Range<u64>> = Vec::new();
        let mut done = 0;
        while done < bytes.len() {
            let at = block + (done as u64 >> block_log);
            let extent = self
                .extent(inode, which, at)?
                .filter(|extent| extent.file <= at && !extent.unwritten)
                .ok_or_else(|| inode.corrupt(format!("block {at} of its metadata is missing")))?;
            let start =
                self.superblock.block_offset(extent.block, extent.count)? + ((at - extent.file) << block_log);
            let length = ((extent.end() - at) << block_log).min((bytes.len() - done) as u64) as usize;
            crate::read_exact(&*self.device, &mut bytes[done..done + length], start)?;
            match pieces.last_mut() {
                Some(last) if last.end == start => last.end += length as u64,
                _ => pieces.push(start..start + length as u64),
            }
            done += length;
        }
        if pieces.is_empty() {
            return Err(inode.corrupt("an empty block"));
        }
        Ok(pieces)
    }

    /// Whether the log changed anything in a range of the device.
    pub fn changed(&self, range: &Range<u64>) -> bool {
        self.replayed.as_ref().is_some_and(|overlay| overlay.covers(range.start, range.end - range.start))
    }

    fn block_type(&self, inode: &Inode, bytes: &[u8]) -> Result<BlockType> {
        let fields = Fields::new("a block of metadata", bytes);
        let v5 = self.superblock.v5;
        match (v5, fields.be32(0)?) {
            (true, 0x5844_4233) | (false, 0x5844_3242) => return Ok(BlockType::DirectoryBlock),
            (true, 0x5844_4433) | (false, 0x5844_3244) => return Ok(BlockType::DirectoryData),
            _ => {}
        }
        match (v5, fields.be16(8)?) {
            (true, 0x3df1 | 0x3dff) | (false, 0xd2f1 | 0xd2ff) => Ok(BlockType::DirectoryLeaf),
            (true, 0x3ebe) | (false, 0xfebe) => Ok(BlockType::Node),
            (true, 0x3bee) | (false, 0xfbee) => Ok(BlockType::AttributeLeaf),
            _ => Err(inode.corrupt("a block of its metadata is of no known type")),
        }
    }
}
