//! Stretches of a file that belong to one table each.
//!
//! Tables whose place and length stand in the file are read only if they lie inside it and on nothing else
//! of their kind. So all of them together are no longer than the file, however many a hostile file names.

use super::Report;
use std::collections::BTreeMap;
use std::ops::Range;

/// The stretches taken so far.
pub(super) struct Areas {
    cluster_size: u64,
    file_size: u64,
    /// End by start, in whole clusters.
    taken: BTreeMap<u64, u64>,
    /// Each with its exact length and what it is.
    pub(super) named: Vec<(Range<u64>, &'static str)>,
}

impl Areas {
    pub(super) fn new(cluster_size: u64, file_size: u64) -> Areas {
        Areas { cluster_size, file_size, taken: BTreeMap::new(), named: Vec::new() }
    }

    /// Takes `length` bytes at `offset`. False, and an error in the report, where that can't be.
    pub(super) fn take(&mut self, offset: u64, length: u64, what: &'static str, report: &mut Report) -> bool {
        if length == 0 {
            return true;
        }
        if !offset.is_multiple_of(self.cluster_size) {
            report.error(|| format!("{what} at byte {offset} is not on a cluster boundary"));
            return false;
        }
        let end = offset.checked_add(length).filter(|&end| end <= self.file_size);
        let Some(end) = end else {
            report.error(|| format!("{what} at byte {offset} ends behind the file's end"));
            return false;
        };
        let whole = end.next_multiple_of(self.cluster_size);
        let before = self.taken.range(..whole).next_back();
        if before.is_some_and(|(_, &taken)| taken > offset) {
            report.error(|| format!("{what} at byte {offset} lies on another table"));
            return false;
        }
        self.taken.insert(offset, whole);
        self.named.push((offset..end, what));
        true
    }
}
