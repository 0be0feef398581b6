//! An opened volume: its device with the journal over it, its superblock, and what is kept of its metadata.

use super::changes::Changes;
use super::extent::Node;
use super::inode::Inode;
use super::superblock::Superblock;
use crate::device::{Device, read_exact, read_vec};
use crate::{Cache, Error, Overlay, Result};
use std::sync::Arc;

/// What all structures are read through.
pub(super) struct Volume {
    /// The device as it would be after the journal was replayed.
    pub device: Device,
    /// The same, where something was replayed: to tell what does not lie on the disk below.
    pub overlay: Option<Arc<Overlay>>,
    pub sb: Superblock,
    /// What fast commits changed.
    pub changes: Changes,
    /// Pieces of inode tables, by their first byte.
    pub(super) tables: Cache<u64, Arc<[u8]>>,
    pub(super) inodes: Cache<u32, Arc<Inode>>,
    /// Blocks of pointers, group descriptors and extended attributes, by block.
    pub(super) blocks: Cache<u64, Arc<[u8]>>,
    /// Blocks of extent trees, by inode and block.
    pub(super) extents: Cache<(u32, u64), Arc<Node>>,
    /// Blocks of folders that names were looked up in, by inode and position.
    pub(super) folders: Cache<(u32, u64), Arc<[u8]>>,
}

impl Volume {
    /// Nothing cached yet; all caches together hold at most `cache_bytes`.
    pub fn new(device: Device, sb: Superblock, cache_bytes: usize) -> Self {
        Volume {
            device,
            overlay: None,
            sb,
            changes: Changes::default(),
            tables: Cache::new(cache_bytes / 4),
            inodes: Cache::new(cache_bytes / 8),
            blocks: Cache::new(cache_bytes / 8),
            extents: Cache::new(cache_bytes / 4),
            folders: Cache::new(cache_bytes / 4),
        }
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        self.sb.block_size()
    }

    /// Checks that `count` blocks from `first` on can hold something, and gives their place in bytes. `structure` is
    /// what points there.
    ///
    /// # Errors
    /// `Corrupt` where they are outside of the volume.
    pub fn place(&self, structure: &str, first: u64, count: u64) -> Result<u64> {
        match first.checked_add(count) {
            Some(end) if first >= u64::from(self.sb.first_data_block) && end <= self.sb.blocks => {
                Ok(first << self.sb.block_bits)
            }
            _ => Err(Error::corrupt(structure, format!("it points to block {first}, outside of the volume"))),
        }
    }

    /// Reads one block of metadata that many structures share.
    ///
    /// # Errors
    /// As [`place`](Self::place), and of the device.
    pub fn block(&self, structure: &str, block: u64) -> Result<Arc<[u8]>> {
        let offset = self.place(structure, block, 1)?;
        self.blocks.get_or(block, || {
            let bytes: Arc<[u8]> = read_vec(&*self.device, offset, self.block_size())?.into();
            Ok((bytes, self.block_size() + 64))
        })
    }

    /// Fills `buf` from byte `offset` of the volume.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        read_exact(&*self.device, buf, offset)
    }
}
