//! From devices to the pool: which superblock counts, and which chunks there are.

use super::chunk::Chunk;
use super::key::{CHUNK_ITEM, CHUNK_TREE, FIRST_CHUNK_TREE, Key};
use super::node::Owner;
use super::pool::{Pool, PoolDevice};
use super::superblock::Superblock;
use super::tree::{Blocks, Tree};
use crate::{Device, Error, Fields, Result};
use std::ops::ControlFlow;

/// Devices whose superblocks were read.
pub struct Opened {
    pub superblock: Superblock,
    pub pool: Pool,
    pub warnings: Vec<String>,
}

impl Opened {
    /// The newest superblock of the devices, and a pool with the system chunks.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where a device has no superblock, or one of another file system; [`Error::Unsupported`].
    pub fn new(devices: Vec<Device>) -> Result<Self> {
        let mut all: Vec<(Superblock, Device)> = Vec::new();
        for (index, device) in devices.into_iter().enumerate() {
            let found = Superblock::read(device.as_ref())?.ok_or_else(|| {
                Error::corrupt(format!("device {} of the btrfs", index + 1), "it has no superblock")
            })?;
            if all.first().is_some_and(|(first, _)| first.fsid != found.fsid) {
                return Err(Error::corrupt("the btrfs", "its devices belong to different file systems"));
            }
            all.push((found, device));
        }
        let mut read: Vec<(Superblock, Device)> = Vec::new();
        for (found, device) in all {
            match read.iter_mut().find(|(other, _)| other.device_id == found.device_id) {
                // The same device twice: the newer one counts.
                Some(other) if other.0.generation < found.generation => *other = (found, device),
                Some(_) => {}
                None => read.push((found, device)),
            }
        }
        let newest = read.iter().map(|(found, _)| found.generation).max();
        let superblock = read
            .iter()
            .filter(|(found, _)| Some(found.generation) == newest)
            .min_by_key(|(found, _)| (found.copy, found.device_id))
            .map(|(found, _)| found.clone())
            .ok_or_else(|| Error::corrupt("the btrfs", "there is no device"))?;
        superblock.check_features()?;
        let mut warnings = Vec::new();
        let mut members = Vec::new();
        for (found, device) in read {
            if found.copy != 0 {
                warnings.push(format!(
                    "the first superblock of device {} is damaged and a copy was used: what fsync wrote last may be missing",
                    found.device_id
                ));
            }
            // One commit apart is what a capture between the writes to two devices leaves.
            let stale = found.generation.saturating_add(1) < superblock.generation;
            if stale {
                warnings.push(format!("device {} missed commits", found.device_id));
            }
            members.push(PoolDevice { id: found.device_id, uuid: found.device_uuid, device, stale });
        }
        let mut pool = Pool::new(members, &superblock);
        for chunk in system_chunks(&superblock)? {
            pool.add(chunk)?;
        }
        Ok(Opened { superblock, pool, warnings })
    }
}

fn system_chunks(superblock: &Superblock) -> Result<Vec<Chunk>> {
    let mut rest = superblock.system_chunks.as_slice();
    let mut chunks = Vec::new();
    while !rest.is_empty() {
        let fields = Fields::new("the system chunks", rest);
        let key = Key::read(&fields, 0)?;
        if key.kind != CHUNK_ITEM {
            return Err(fields.corrupt(format!("an item of kind {}", key.kind)));
        }
        let (chunk, length) = Chunk::read(key, &rest[Key::LENGTH..])?;
        rest = &rest[Key::LENGTH + length..];
        chunks.push(chunk);
    }
    Ok(chunks)
}

impl Blocks {
    /// Reads the chunk tree.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn add_chunks(&mut self, superblock: &Superblock) -> Result<()> {
        let mut chunks = Vec::new();
        let tree = Tree::new(self, superblock.chunk_root, Owner::Tree(CHUNK_TREE), None);
        let key = |offset| Key::new(FIRST_CHUNK_TREE, CHUNK_ITEM, offset);
        tree.walk(key(0), key(u64::MAX), &mut |key, item| {
            chunks.push(Chunk::read(key, item)?.0);
            Ok(ControlFlow::Continue(()))
        })?;
        chunks.into_iter().try_for_each(|chunk| self.pool.add(chunk))
    }
}
