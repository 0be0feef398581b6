//! Which granules of the disks of two points may differ, told without reading any of their data.
//!
//! Two things are known of a point: what the image of each layer of its chain stores (its tables), and the hash of what
//! is stored (the manifests). Layers that both chains share, down to the same open file, show the same to both. So only
//! what a layer above them stores can differ; and of that, what has the same hash on both sides does not. Points of
//! different chains, repositories or VMs share no layer and are told apart by their hashes alone.
//!
//! Doubt is a difference: a granule whose hash is not known, a manifest that can't be read, a size that differs. What is
//! said is said of what was captured: damage in a repository since then is found by a verify, not here.
//!
//! Memory: one bit a granule, 2 MiB a TiB.

use crate::points::OpenDisk;
use crate::readers::Stopper;
use block::{Baseline, BlockSource, ExtentKind, GRANULE, Granule};
use guestfs::compare::Unchanged;
use model::DiskIndex;
use qcow2::Chain;
use std::collections::BTreeMap;

/// Disks of more granules than this (128 TiB) are taken for changed.
const MAX_GRANULES: u64 = 1 << 31;
/// How many granules are looked at at once.
const BATCH: u64 = 4096;

/// What is known of the disks of two points.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    disks: BTreeMap<u32, DiskChanges>,
}

/// The granules of one disk that may differ.
#[derive(Debug)]
struct DiskChanges {
    bits: Vec<u64>,
    /// What both points have, in bytes. All behind it differs.
    size: u64,
    /// How much more the larger one has.
    beyond: u64,
}

impl Changes {
    /// What differs between the disks of two points. Blocks. Where it is stopped, everything not looked at differs.
    pub(crate) fn between(
        before: &[(DiskIndex, OpenDisk)],
        after: &[(DiskIndex, OpenDisk)],
        stop: &Stopper,
    ) -> Self {
        let mut changes = Changes::default();
        for (index, one) in before {
            if let Some((_, other)) = after.iter().find(|(number, _)| number == index)
                && let Some(found) = DiskChanges::between(one, other, stop)
            {
                changes.disks.insert(index.0, found);
            }
        }
        changes
    }

    /// Bytes that may differ, on the disks of which anything is known.
    pub(crate) fn bytes(&self) -> u64 {
        self.disks.values().map(DiskChanges::bytes).sum()
    }
}

impl Unchanged for Changes {
    fn is_unchanged(&self, disk: u32, offset: u64, length: u64) -> bool {
        self.disks.get(&disk).is_some_and(|changes| changes.is_unchanged(offset, length))
    }
}

impl DiskChanges {
    fn between(before: &OpenDisk, after: &OpenDisk, stop: &Stopper) -> Option<Self> {
        let (one, other) = (before.chain.size(), after.chain.size());
        let size = one.min(other);
        let granules = size.div_ceil(GRANULE);
        if granules > MAX_GRANULES {
            return None;
        }
        let mut changes = DiskChanges {
            bits: vec![0; granules.div_ceil(64) as usize],
            size,
            beyond: one.max(other) - size,
        };
        let shared = shared_layers(&before.chain, &after.chain);
        for chain in [&before.chain, &after.chain] {
            let own = chain.layers().len() - shared;
            if shared == 0 || changes.mark_stored(chain, own, stop).is_none() {
                changes.mark(0, granules);
                break;
            }
        }
        changes.compare_hashes(before, after, stop);
        if one != other && !size.is_multiple_of(GRANULE) {
            changes.mark(size / GRANULE, 1);
        }
        Some(changes)
    }

    /// Marks what the topmost `own` layers store. `None` where that can't be told.
    fn mark_stored(&mut self, chain: &Chain, own: usize, stop: &Stopper) -> Option<()> {
        if own == 0 {
            return Some(());
        }
        let slice = chain.slice(0..own).ok()?;
        let mut at = 0;
        while at < self.size {
            if stop.is_stopped() {
                return None;
            }
            for extent in slice.extents(at..self.size, None).ok()? {
                if extent.kind != ExtentKind::Hole {
                    let first = extent.offset / GRANULE;
                    self.mark(first, extent.end().min(self.size).div_ceil(GRANULE) - first);
                }
                at = extent.end();
            }
        }
        Some(())
    }

    /// Lifts the marks of granules that have the same hash on both sides.
    fn compare_hashes(&mut self, before: &OpenDisk, after: &OpenDisk, stop: &Stopper) {
        let (mut one, mut other) = (before.expected(), after.expected());
        let mut granules = [vec![Granule::Unknown; BATCH as usize], vec![Granule::Unknown; BATCH as usize]];
        let all = self.size.div_ceil(GRANULE);
        let mut at = 0;
        while let Some((first, count)) = self.next_run(at, all) {
            let [left, right] = &mut granules;
            let (left, right) = (&mut left[..count as usize], &mut right[..count as usize]);
            // What can't be told stays marked.
            if stop.is_stopped() || one.next(first, left).is_err() || other.next(first, right).is_err() {
                return;
            }
            for (granule, (left, right)) in (first..).zip(left.iter().zip(right.iter())) {
                if left == right && *left != Granule::Unknown {
                    self.bits[(granule / 64) as usize] &= !(1 << (granule % 64));
                }
            }
            at = first + count;
        }
    }

    /// The next marked granules from `at` on, at most a batch.
    fn next_run(&self, at: u64, all: u64) -> Option<(u64, u64)> {
        let first = self.next_marked(at).filter(|first| *first < all)?;
        let most = BATCH.min(all - first);
        let count = (1..most).find(|count| !self.is_marked(first + count)).unwrap_or(most);
        Some((first, count))
    }

    fn next_marked(&self, at: u64) -> Option<u64> {
        let word = usize::try_from(at / 64).ok()?;
        let rest = self.bits.get(word)? & (u64::MAX << (at % 64));
        if rest != 0 {
            return Some(word as u64 * 64 + u64::from(rest.trailing_zeros()));
        }
        let next = self.bits[word + 1..].iter().position(|bits| *bits != 0)? + word + 1;
        Some(next as u64 * 64 + u64::from(self.bits[next].trailing_zeros()))
    }

    fn is_marked(&self, granule: u64) -> bool {
        self.bits.get((granule / 64) as usize).is_none_or(|bits| bits >> (granule % 64) & 1 == 1)
    }

    fn mark(&mut self, first: u64, count: u64) {
        let end = (first + count).min(self.bits.len() as u64 * 64);
        let mut at = first;
        while at < end {
            let length = (64 - at % 64).min(end - at);
            let bits = if length == 64 { u64::MAX } else { ((1 << length) - 1) << (at % 64) };
            self.bits[(at / 64) as usize] |= bits;
            at += length;
        }
    }

    fn is_unchanged(&self, offset: u64, length: u64) -> bool {
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.size) else { return false };
        length == 0 || self.next_marked(offset / GRANULE).is_none_or(|marked| marked * GRANULE >= end)
    }

    fn bytes(&self) -> u64 {
        let marked: u64 = self.bits.iter().map(|bits| u64::from(bits.count_ones())).sum();
        (marked * GRANULE).min(self.size) + self.beyond
    }
}

/// How many layers, from the bottom up, are the same open files in both chains.
fn shared_layers(one: &Chain, other: &Chain) -> usize {
    let bottom_up = |chain: &Chain| -> Vec<_> { chain.layers().iter().rev().map(|l| l.identity).collect() };
    let (one, other) = (bottom_up(one), bottom_up(other));
    one.iter().zip(&other).take_while(|(one, other)| one.is_some() && one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn none(size: u64) -> DiskChanges {
        DiskChanges { bits: vec![0; size.div_ceil(GRANULE).div_ceil(64) as usize], size, beyond: 0 }
    }

    #[test]
    fn what_lies_behind_the_end_is_never_unchanged() {
        let changes = none(3 * GRANULE + 5);
        assert!(changes.is_unchanged(0, 3 * GRANULE + 5));
        assert!(!changes.is_unchanged(0, 3 * GRANULE + 6));
        assert!(!changes.is_unchanged(u64::MAX, 2));
        assert!(changes.is_unchanged(7, 0));
        assert!(!Changes::default().is_unchanged(0, 0, 1), "nothing is known of a disk that only one has");
    }

    proptest! {
        #[test]
        fn marks_are_those_that_were_set(
            marks in prop::collection::vec((0u64..300, 1u64..80), 0..6),
            asked in prop::collection::vec((0u64..300 * GRANULE, 1u64..5 * GRANULE), 1..20),
        ) {
            let size = 300 * GRANULE;
            let mut changes = none(size);
            let mut model = [false; 300];
            for (first, count) in marks {
                let end = (first + count).min(300);
                changes.mark(first, end - first);
                model[first as usize..end as usize].fill(true);
            }
            for (offset, length) in asked {
                let end = offset + length;
                let touched = (offset / GRANULE..end.div_ceil(GRANULE)).any(|g| *model.get(g as usize).unwrap_or(&true));
                prop_assert_eq!(changes.is_unchanged(offset, length), end <= size && !touched);
            }
            prop_assert_eq!(changes.bytes(), model.iter().filter(|m| **m).count() as u64 * GRANULE);
            let mut at = 0;
            let mut walked = [false; 300];
            while let Some((first, count)) = changes.next_run(at, 300) {
                walked[first as usize..(first + count) as usize].fill(true);
                at = first + count;
            }
            prop_assert_eq!(walked, model);
        }
    }
}
