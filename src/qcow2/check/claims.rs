//! The refcounts that a file claims: refcount table and blocks.

use super::Report;
use super::counts::Counts;
use crate::cache::{SLICE, TableCache};
use crate::header::Header;
use crate::image::read_words;
use crate::storage::Storage;
use block::Result;
use std::sync::Arc;

/// Where a refcount block lies: bits 9 to 63.
const BLOCK_MASK: u64 = !0x1ff;

/// The claimed refcounts of one file.
pub(super) struct Claims<'a> {
    storage: &'a dyn Storage,
    cluster_size: u64,
    order: u32,
    /// Host offset of each block, 0 where there is none: all its refcounts are 0 then.
    blocks: Vec<u64>,
    cache: TableCache,
    /// The slice used last.
    current: Option<(u64, Arc<[u64]>)>,
}

impl<'a> Claims<'a> {
    /// Reads the refcount table. Blocks that can't be are errors in the report, and count as not there.
    pub(super) fn read(storage: &'a dyn Storage, header: &Header, report: &mut Report) -> Result<Claims<'a>> {
        let cluster_size = header.format.cluster_size();
        let entries = header.refcount_table_clusters * cluster_size / 8;
        let mut blocks = read_words(storage, header.refcount_table_offset, entries)?;
        for (index, block) in blocks.iter_mut().enumerate() {
            let offset = *block & BLOCK_MASK;
            let bad = if *block != offset {
                "has reserved bits set"
            } else if !offset.is_multiple_of(cluster_size) {
                "is not on a cluster boundary"
            } else if offset.checked_add(cluster_size).is_none_or(|end| end > storage.size()) {
                "ends behind the file's end"
            } else {
                continue;
            };
            report.error(|| format!("refcount block {index} at byte {offset} {bad}"));
            *block = 0;
        }
        if blocks.iter().all(|block| *block == 0) {
            report.error(|| "it has no refcounts".to_owned());
        }
        let order = header.refcount_order;
        Ok(Claims { storage, cluster_size, order, blocks, cache: TableCache::default(), current: None })
    }

    /// The host offsets of the blocks.
    pub(super) fn blocks(&self) -> impl Iterator<Item = u64> {
        self.blocks.iter().copied().filter(|block| *block != 0)
    }

    /// The refcount of host cluster `cluster`.
    pub(super) fn of(&mut self, cluster: u64) -> Result<u64> {
        let per_block = (self.cluster_size * 8) >> self.order;
        let block = usize::try_from(cluster / per_block).ok().and_then(|index| self.blocks.get(index));
        let Some(&block) = block.filter(|block| **block != 0) else { return Ok(0) };
        let bit = (cluster % per_block) << self.order;
        let slice_bits = SLICE.min(self.cluster_size) * 8;
        let offset = block + bit / slice_bits * (slice_bits / 8);
        let slice = match &self.current {
            Some((at, slice)) if *at == offset => slice,
            _ => {
                let slice = self
                    .cache
                    .get((0, offset), || read_words(self.storage, offset, slice_bits / 64).map(Arc::from))?;
                &self.current.insert((offset, slice)).1
            }
        };
        let bit = bit % slice_bits;
        let word = slice.get((bit / 64) as usize).copied().unwrap_or(0);
        // Words are big-endian; widths below a byte count from the byte's lowest bit.
        Ok(match self.order {
            6 => word,
            3..=5 => {
                let width = 1u32 << self.order;
                (word >> (64 - width - (bit % 64) as u32)) & ((1 << width) - 1)
            }
            _ => {
                let byte = word >> (56 - bit % 64 / 8 * 8);
                (byte >> (bit % 8)) & ((1 << (1u32 << self.order)) - 1)
            }
        })
    }

    /// Compares with what was counted. A file that was not closed cleanly (lazy refcounts) may claim too
    /// little: that is then no damage, because nobody may write to it without repairing it first.
    pub(super) fn compare(&mut self, counts: &Counts, dirty: bool, report: &mut Report) -> Result<()> {
        for cluster in counts.window() {
            let (claimed, counted) = (self.of(cluster)?, counts.of(cluster));
            if claimed == counted {
                continue;
            }
            let text = || {
                let at = cluster * self.cluster_size;
                format!("the cluster at byte {at} has refcount {claimed}, {counted} references were found")
            };
            if counted > claimed && !dirty {
                report.error(text);
            } else {
                report.leak(text);
            }
        }
        Ok(())
    }
}
