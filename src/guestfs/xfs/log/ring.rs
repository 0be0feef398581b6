//! The log as a ring of blocks of 512 bytes.

use crate::xfs::superblock::Superblock;
use crate::{Device, Error, Result, read_exact};

/// Bytes of a block of the log, whatever the sector size is.
pub(super) const BLOCK: usize = 512;
/// `FEEDBABE`: the first word of a record, which no other block begins with.
pub(super) const MAGIC: u32 = 0xfeed_babe;

/// The log of a file system.
pub(super) struct Ring {
    device: Device,
    start: u64,
    /// How many blocks there are, at least 2.
    pub blocks: u64,
    pub v2: bool,
    pub uuid: [u8; 16],
}

impl Ring {
    /// The log inside of the file system.
    ///
    /// # Errors
    /// [`Error::Untrusted`] where it is on a device of its own.
    pub fn new(device: &Device, superblock: &Superblock) -> Result<Self> {
        let Some(start) = superblock.log_start else {
            return Err(Error::Untrusted(
                "the log is on a device of its own: nothing tells whether it was finished".into(),
            ));
        };
        let count = u64::from(superblock.log_blocks);
        let start = superblock
            .block_offset(start, count)
            .map_err(|_| Error::corrupt("the superblock", "the log is outside of an allocation group"))?;
        let blocks = (count << superblock.block_log) / BLOCK as u64;
        if blocks < 64 {
            return Err(Error::corrupt("the superblock", format!("a log of {blocks} sectors")));
        }
        Ok(Ring { device: device.clone(), start, blocks, v2: superblock.log_v2, uuid: superblock.uuid })
    }

    /// `count` blocks from block `at` on, around the end. A bounded number, at most all.
    pub fn read(&self, at: u64, count: u64) -> Result<Vec<u8>> {
        if count > self.blocks {
            return Err(Error::corrupt("the log", format!("a record of {count} sectors")));
        }
        let at = at % self.blocks;
        let mut bytes = vec![0; count as usize * BLOCK];
        let (head, rest) = bytes.split_at_mut((self.blocks - at).min(count) as usize * BLOCK);
        read_exact(&*self.device, head, self.start + at * BLOCK as u64)?;
        read_exact(&*self.device, rest, self.start)?;
        Ok(bytes)
    }

    /// The number of the round in which block `at` was written.
    pub fn cycle(&self, at: u64) -> Result<u32> {
        Ok(cycle(&self.read(at, 1)?))
    }

    /// How far it is from `from` forwards to `to`.
    pub fn distance(&self, from: u64, to: u64) -> u64 {
        if to >= from { to - from } else { to + self.blocks - from }
    }

    /// The block `by` blocks after `at`.
    pub fn after(&self, at: u64, by: u64) -> u64 {
        (at + by) % self.blocks
    }

    /// The last record that begins in the `within` blocks before `at`.
    pub fn record_before(&self, at: u64, within: u64) -> Result<Option<u64>> {
        const STEP: u64 = 64;
        let mut done = 0;
        while done < within {
            let count = STEP.min(within - done);
            done += count;
            let first = self.after(at + self.blocks, self.blocks - done);
            let bytes = self.read(first, count)?;
            if let Some(index) = bytes.as_chunks::<BLOCK>().0.iter().rposition(is_record) {
                return Ok(Some(self.after(first, index as u64)));
            }
        }
        Ok(None)
    }

    /// The first record that begins in the `within` blocks from `at` on.
    pub fn record_from(&self, at: u64, within: u64) -> Result<Option<u64>> {
        const STEP: u64 = 64;
        let mut done = 0;
        while done < within {
            let count = STEP.min(within - done);
            let bytes = self.read(at + done, count)?;
            if let Some(index) = bytes.as_chunks::<BLOCK>().0.iter().position(is_record) {
                return Ok(Some(self.after(at, done + index as u64)));
            }
            done += count;
        }
        Ok(None)
    }

    /// The first of `count` blocks from `at` on, none of them behind the end, that was written in round `wanted`.
    pub fn find_cycle(&self, at: u64, count: u64, wanted: u32) -> Result<Option<u64>> {
        let bytes = self.read(at, count)?;
        let index = bytes.as_chunks::<BLOCK>().0.iter().position(|block| cycle(block) == wanted);
        Ok(index.map(|index| at + index as u64))
    }
}

/// The round of a block: its first word, or the second of a record's first block.
fn cycle(block: &[u8]) -> u32 {
    let word = |at: usize| u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    if word(0) == MAGIC { word(4) } else { word(0) }
}

fn is_record(block: &[u8; BLOCK]) -> bool {
    block[..4] == MAGIC.to_be_bytes()
}
