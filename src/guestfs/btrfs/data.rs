//! Data of files from logical addresses, every sector checked against its checksum, from the first copy that fits.

use super::checksum::Sum;
use super::compression::Unpacker;
use super::extent::Packed;
use super::key::{EXTENT_CSUM, EXTENT_CSUM_OBJECT, Key};
use super::tree::{Blocks, Tree};
use crate::{Cache, Error, Result};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How many bytes are read and checked at once.
const STEP: usize = 8 << 20;

/// Unpacked extents, and the checksums that the log brought.
pub struct Data {
    unpacked: Cache<(Packed, bool), Arc<Vec<u8>>>,
    unpacker: Unpacker,
    /// By the address of the sector; before those of the checksum tree.
    logged: BTreeMap<u64, Sum>,
}

impl Data {
    /// Keeps at most `cache` bytes of what was unpacked.
    pub fn new(logged: BTreeMap<u64, Sum>, cache: usize) -> Self {
        Data { unpacked: Cache::new(cache), unpacker: Unpacker::default(), logged }
    }

    /// Fills `buf` from a logical address. `sums` is the checksum tree, or `None` for data that has no checksums.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where no copy fits its checksum, there is none, or a device is missing; [`Error::Io`].
    pub fn read(&self, blocks: &Blocks, sums: Option<&Tree<'_>>, logical: u64, buf: &mut [u8]) -> Result<()> {
        let Some(sums) = sums else { return read_unchecked(blocks, logical, buf) };
        let sector = blocks.sector as usize;
        let mut at = logical;
        let mut rest = buf;
        while !rest.is_empty() {
            let within = (at % sector as u64) as usize;
            let length = if within == 0 && rest.len() >= sector {
                let length = (rest.len() - rest.len() % sector).min(STEP - STEP % sector);
                self.read_sectors(blocks, sums, at, &mut rest[..length])?;
                length
            } else {
                let mut whole = vec![0; sector];
                self.read_sectors(blocks, sums, at - within as u64, &mut whole)?;
                let length = rest.len().min(sector - within);
                rest[..length].copy_from_slice(&whole[within..within + length]);
                length
            };
            at = at.checked_add(length as u64).ok_or_else(|| outside(at))?;
            rest = &mut rest[length..];
        }
        Ok(())
    }

    /// Whole sectors.
    fn read_sectors(&self, blocks: &Blocks, tree: &Tree<'_>, logical: u64, buf: &mut [u8]) -> Result<()> {
        let sector = blocks.sector as usize;
        let length = blocks.checksum.length();
        let sums = self.checksums(blocks, tree, logical, buf.len() / sector)?;
        let fits = |index: usize, bytes: &[u8]| {
            blocks.checksum.of(bytes)[..length] == sums[index * length..(index + 1) * length]
        };
        let mirrors = blocks.pool.mirrors(logical)?;
        // A copy is taken as a whole where its devices are there; what of it is wrong is taken from the others.
        let whole = (0..mirrors).find(|&mirror| blocks.pool.read(logical, buf, mirror, false).is_ok());
        for (index, bytes) in buf.chunks_exact_mut(sector).enumerate() {
            if whole.is_some() && fits(index, bytes) {
                continue;
            }
            let at = logical + (index * sector) as u64;
            let mut failure = None;
            let mut found = false;
            for mirror in (0..mirrors).filter(|mirror| Some(*mirror) != whole) {
                match blocks.pool.read(at, bytes, mirror, false) {
                    Ok(()) if fits(index, bytes) => {
                        found = true;
                        break;
                    }
                    Ok(()) => {}
                    Err(error) => failure = failure.or(Some(error)),
                }
            }
            if !found {
                return Err(match (whole, failure) {
                    (None, Some(error)) => error,
                    _ => Error::corrupt(
                        format!("the data at the address {at}"),
                        format!("its checksum fits none of its {mirrors} copies"),
                    ),
                });
            }
        }
        Ok(())
    }

    /// The checksums of `count` sectors from `logical` on, one after the other.
    fn checksums(&self, blocks: &Blocks, tree: &Tree<'_>, logical: u64, count: usize) -> Result<Vec<u8>> {
        let sector = u64::from(blocks.sector);
        let length = blocks.checksum.length();
        let end = (count as u64)
            .checked_mul(sector)
            .and_then(|bytes| logical.checked_add(bytes))
            .ok_or_else(|| outside(logical))?;
        let mut sums = vec![0; count * length];
        let mut known = vec![false; count];
        let key = |offset| Key::new(EXTENT_CSUM_OBJECT, EXTENT_CSUM, offset);
        let floor = tree.floor(key(logical))?;
        let from = floor.filter(|found| found.object == EXTENT_CSUM_OBJECT && found.kind == EXTENT_CSUM);
        tree.walk(from.unwrap_or(key(logical)), key(end - 1), &mut |key, item| {
            let first = key.offset.max(logical);
            if !first.wrapping_sub(key.offset).is_multiple_of(sector)
                || !first.wrapping_sub(logical).is_multiple_of(sector)
            {
                return Err(Error::corrupt("the checksum tree", format!("an item begins at {}", key.offset)));
            }
            let skipped = usize::try_from((first - key.offset) / sector).unwrap_or(usize::MAX);
            let start = usize::try_from((first - logical) / sector).unwrap_or(usize::MAX).min(count);
            let slots = sums[start * length..].chunks_exact_mut(length).zip(&mut known[start..]);
            for ((slot, known), sum) in slots.zip(item.chunks_exact(length).skip(skipped)) {
                slot.copy_from_slice(sum);
                *known = true;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for (&at, sum) in self.logged.range(logical..end) {
            let index = ((at - logical) / sector) as usize;
            sums[index * length..(index + 1) * length].copy_from_slice(&sum[..length]);
            known[index] = true;
        }
        match known.iter().position(|known| !known) {
            None => Ok(sums),
            Some(index) => Err(Error::corrupt(
                format!("the data at the address {}", logical + index as u64 * sector),
                "it has no checksum",
            )),
        }
    }

    /// What a compressed extent holds.
    ///
    /// # Errors
    /// As [`read`](Self::read); [`Error::Corrupt`] where it can't be unpacked.
    pub fn unpack(&self, blocks: &Blocks, sums: Option<&Tree<'_>>, packed: Packed) -> Result<Arc<Vec<u8>>> {
        self.unpacked.get_or((packed, sums.is_some()), || {
            let mut bytes = vec![0; packed.length as usize];
            self.read(blocks, sums, packed.logical, &mut bytes)?;
            let bytes = self.unpack_bytes(blocks, packed, &bytes)?;
            let cost = bytes.len() + 128;
            Ok((Arc::new(bytes), cost))
        })
    }

    /// What `bytes` are when they are not compressed.
    pub fn unpack_bytes(&self, blocks: &Blocks, packed: Packed, bytes: &[u8]) -> Result<Vec<u8>> {
        self.unpacker.unpack(packed.compression, bytes, packed.unpacked as usize, blocks.sector as usize)
    }
}

fn outside(logical: u64) -> Error {
    Error::corrupt("an address", format!("{logical} is impossible"))
}

fn read_unchecked(blocks: &Blocks, logical: u64, buf: &mut [u8]) -> Result<()> {
    let mut failure = None;
    for mirror in 0..blocks.pool.mirrors(logical)? {
        match blocks.pool.read(logical, buf, mirror, true) {
            Ok(()) => return Ok(()),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    Err(failure.unwrap_or_else(|| outside(logical)))
}
