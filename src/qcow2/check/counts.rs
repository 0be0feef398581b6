//! How often each host cluster of a window is referred to, and as what.

use super::Report;
use std::ops::Range;

/// Host clusters counted in one round: 64 MiB of counters.
pub(super) const WINDOW: u64 = 16 << 20;

/// Metadata that is never shared with anything.
const EXCLUSIVE: u32 = 1 << 31;
/// An L2 table: shared only with itself, between snapshots.
const TABLE: u32 = 1 << 30;
/// Guest data.
const DATA: u32 = 1 << 29;
const COUNT: u32 = DATA - 1;

/// What a host cluster is referred to as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Exclusive,
    Table,
    Data,
}

/// Counters of the host clusters in one window.
pub(super) struct Counts {
    window: Range<u64>,
    cluster_size: u64,
    counts: Vec<u32>,
}

impl Counts {
    pub(super) fn new(window: Range<u64>, cluster_size: u64) -> Counts {
        let counts = vec![0; (window.end - window.start) as usize];
        Counts { window, cluster_size, counts }
    }

    /// The host clusters counted here.
    pub(super) fn window(&self) -> Range<u64> {
        self.window.clone()
    }

    /// References to host cluster `cluster`.
    pub(super) fn of(&self, cluster: u64) -> u64 {
        let index = cluster.wrapping_sub(self.window.start) as usize;
        self.counts.get(index).map_or(0, |count| u64::from(count & COUNT))
    }

    /// Counts `times` references to each host cluster that `bytes` touch.
    pub(super) fn add(&mut self, bytes: Range<u64>, used: Use, times: u32, what: &str, report: &mut Report) {
        if bytes.is_empty() {
            return;
        }
        let first = (bytes.start / self.cluster_size).max(self.window.start);
        let end = bytes.end.div_ceil(self.cluster_size).min(self.window.end);
        for cluster in first..end {
            let Some(count) = self.counts.get_mut((cluster - self.window.start) as usize) else { return };
            let (flag, clash) = match used {
                Use::Exclusive => (EXCLUSIVE, EXCLUSIVE | TABLE | DATA),
                Use::Table => (TABLE, EXCLUSIVE | DATA),
                Use::Data => (DATA, EXCLUSIVE | TABLE),
            };
            if *count & clash != 0 {
                let at = cluster * self.cluster_size;
                report.error(|| format!("{what} lies on other metadata or data at byte {at}"));
            }
            *count = (*count & !COUNT) | flag | (*count & COUNT).saturating_add(times).min(COUNT);
        }
    }
}
