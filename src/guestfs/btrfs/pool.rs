//! The devices of a file system, and reading of logical addresses from them.

use super::chunk::{Chunk, Place};
use super::superblock::{Superblock, hyphenated};
use crate::device::{Device, read_exact};
use crate::{Error, Result};
use std::collections::BTreeMap;

/// How many chunks are taken at most: each is a gibibyte and more on real file systems.
const MAX_CHUNKS: usize = 1 << 20;

/// A device, and what its superblock says of it.
pub struct PoolDevice {
    pub id: u64,
    pub uuid: [u8; 16],
    pub device: Device,
    /// Whether it missed commits: what it holds of data without checksums may be old.
    pub stale: bool,
}

/// All devices that are there, and the chunks over them.
pub struct Pool {
    devices: Vec<PoolDevice>,
    chunks: BTreeMap<u64, Chunk>,
    fsid: [u8; 16],
}

impl Pool {
    /// The devices of `superblock`'s file system, without chunks yet.
    pub fn new(devices: Vec<PoolDevice>, superblock: &Superblock) -> Self {
        Pool { devices, chunks: BTreeMap::new(), fsid: superblock.fsid }
    }

    /// Adds a chunk; one that is known already must be the same.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it overlaps another; [`Error::Limit`].
    pub fn add(&mut self, chunk: Chunk) -> Result<()> {
        if self.chunks.get(&chunk.start).is_some_and(|known| *known == chunk) {
            return Ok(());
        }
        let overlaps =
            self.chunks.range(..chunk.end()).next_back().is_some_and(|(_, last)| last.end() > chunk.start);
        if overlaps {
            return Err(Error::corrupt("the chunk tree", format!("chunks overlap at {}", chunk.start)));
        }
        if self.chunks.len() >= MAX_CHUNKS {
            return Err(Error::Limit(format!("the btrfs has more than {MAX_CHUNKS} chunks")));
        }
        self.chunks.insert(chunk.start, chunk);
        Ok(())
    }

    /// The devices that chunks lie on and that are not there, each once.
    pub fn missing(&self) -> Vec<u64> {
        let mut missing: Vec<u64> = self
            .chunks
            .values()
            .flat_map(|chunk| &chunk.stripes)
            .filter(|stripe| self.device(stripe.device_id, &stripe.device_uuid).is_none())
            .map(|stripe| stripe.device_id)
            .collect();
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    /// The chunk of a logical address.
    pub fn chunk(&self, logical: u64) -> Result<&Chunk> {
        self.chunks
            .range(..=logical)
            .next_back()
            .map(|(_, chunk)| chunk)
            .filter(|chunk| logical < chunk.end())
            .ok_or_else(|| Error::corrupt("the chunk tree", format!("no chunk holds {logical}")))
    }

    fn device(&self, id: u64, uuid: &[u8; 16]) -> Option<(usize, &PoolDevice)> {
        self.devices.iter().enumerate().find(|(_, device)| device.id == id && device.uuid == *uuid)
    }

    /// Where a logical address lies as it is on the first device that was given, and how many bytes from there on;
    /// `None` where it lies only on others, or is computed.
    pub fn on_first_device(&self, logical: u64) -> Option<(u64, u64)> {
        let chunk = self.chunk(logical).ok()?;
        let copies =
            if matches!(chunk.profile, super::chunk::Profile::Parity(_)) { 1 } else { chunk.mirrors() };
        (0..copies).find_map(|mirror| {
            let place = chunk.place(logical - chunk.start, mirror);
            let stripe = chunk.stripes.get(place.stripe)?;
            let (index, _) = self.device(stripe.device_id, &stripe.device_uuid)?;
            (index == 0).then_some((place.physical, place.length))
        })
    }

    /// How many bytes from `logical` on lie together on one device, whichever: for runs that begin elsewhere.
    pub fn contiguous(&self, logical: u64) -> Result<u64> {
        let chunk = self.chunk(logical)?;
        Ok(chunk.place(logical - chunk.start, 0).length)
    }

    /// How many ways there are to read the byte at `logical`.
    pub fn mirrors(&self, logical: u64) -> Result<usize> {
        Ok(self.chunk(logical)?.mirrors())
    }

    /// Fills `buf` from `logical`, everything from the copy `mirror`. Where `current` is set, a device that missed
    /// commits is not read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for an address outside of all chunks, and naming a device that is missing; [`Error::Io`].
    pub fn read(&self, logical: u64, buf: &mut [u8], mirror: usize, current: bool) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let at = logical
                .checked_add(done as u64)
                .ok_or_else(|| Error::corrupt("an address", format!("{logical} is impossible")))?;
            let chunk = self.chunk(at)?;
            let offset = at - chunk.start;
            let mirrors = chunk.mirrors();
            let computed = matches!(chunk.profile, super::chunk::Profile::Parity(_)) && mirror == 1;
            let place = chunk.place(offset, if computed { 0 } else { mirror.min(mirrors - 1) });
            let length = place.length.min((buf.len() - done) as u64) as usize;
            let part = &mut buf[done..done + length];
            if computed {
                self.compute(chunk, offset, part, current)?;
            } else {
                self.read_place(chunk, place, part, current)?;
            }
            done += length;
        }
        Ok(())
    }

    fn read_place(&self, chunk: &Chunk, place: Place, buf: &mut [u8], current: bool) -> Result<()> {
        let stripe = &chunk.stripes[place.stripe];
        let Some((_, device)) = self.device(stripe.device_id, &stripe.device_uuid) else {
            return Err(Error::corrupt(
                format!("btrfs {}", hyphenated(&self.fsid)),
                format!("its device {} is not among the disks", stripe.device_id),
            ));
        };
        if current && device.stale {
            return Err(Error::Untrusted(format!(
                "device {} of btrfs {} missed commits, and there is no checksum that tells old data from new",
                stripe.device_id,
                hyphenated(&self.fsid)
            )));
        }
        read_exact(device.device.as_ref(), buf, place.physical)
    }

    /// What a parity profile's lost stripe held.
    fn compute(&self, chunk: &Chunk, offset: u64, buf: &mut [u8], current: bool) -> Result<()> {
        buf.fill(0);
        let mut other = vec![0; buf.len()];
        for place in chunk.rest_of_row(offset) {
            self.read_place(chunk, place, &mut other, current)?;
            buf.iter_mut().zip(&other).for_each(|(byte, other)| *byte ^= other);
        }
        Ok(())
    }
}
