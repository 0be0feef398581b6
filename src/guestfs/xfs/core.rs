//! What every part of the reader stands on: the device, the superblock, and the caches of metadata.

use crate::xfs::checksum::Header;
use crate::xfs::extent::{Extent, check_root};
use crate::xfs::inode::{Inode, Which};
use crate::xfs::superblock::Superblock;
use crate::{Cache, Device, Error, Fields, Result, read_vec};
use std::collections::HashMap;
use std::sync::Arc;

/// What a block of metadata is cached under: it is checked for one owner at one place, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BlockKey {
    /// A block of a tree of extents, at a byte.
    Tree { inode: u64, offset: u64 },
    /// A block of a folder or of attributes, by its first block in the fork.
    Fork { inode: u64, which: Which, block: u64 },
}

/// The forks whose content is not certain, and why: a change of them began, and its end is not in the log.
pub(super) type Distrusted = HashMap<(u64, Which), String>;

/// An open file system of this type.
pub(super) struct Core {
    pub device: Device,
    pub superblock: Superblock,
    distrusted: Distrusted,
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
    pub fn new(device: Device, superblock: Superblock, distrusted: Distrusted, cache_bytes: usize) -> Self {
        Core {
            device,
            superblock,
            distrusted,
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

    /// # Errors
    /// [`Error::Untrusted`] where a fork is one of those whose content is not certain.
    pub fn check_trust(&self, inode: u64, which: Which) -> Result<()> {
        match self.distrusted.get(&(inode, which)) {
            Some(reason) => Err(Error::Untrusted(reason.clone())),
            None => Ok(()),
        }
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
            let offset = self.read_fork(inode, which, block, &mut bytes)?;
            let block_type = self.block_type(inode, &bytes)?;
            if self.superblock.v5 {
                let (header, what) = match block_type {
                    BlockType::DirectoryBlock | BlockType::DirectoryData => (Header::DIRECTORY, "entries"),
                    BlockType::DirectoryLeaf => (Header::NODE, "a leaf"),
                    BlockType::Node => (Header::NODE, "a node"),
                    BlockType::AttributeLeaf => (Header::NODE, "attributes"),
                };
                header.verify(&self.superblock, what, &bytes, offset, inode.number)?;
            }
            Ok(bytes)
        })?;
        Ok(Some((self.block_type(inode, &bytes)?, bytes)))
    }

    /// Fills `bytes`, whole blocks, from block `block` of a fork on: all of them have to be there. Tells the byte of
    /// the first.
    pub fn read_fork(&self, inode: &Inode, which: Which, block: u64, bytes: &mut [u8]) -> Result<u64> {
        let block_log = self.superblock.block_log;
        let mut first = None;
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
            first.get_or_insert(start);
            done += length;
        }
        first.ok_or_else(|| inode.corrupt("an empty block"))
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
