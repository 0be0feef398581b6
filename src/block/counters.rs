//! How far a copy is: one set of numbers a copy, written by its workers, read by whoever reports.
//!
//! The numbers are bytes of the disk. Each byte of the copied ranges ends up in exactly one of `stored`,
//! `zero` and `unchanged`, and with it in `processed`; so at the end of a copy `processed` equals `total`.

use std::sync::atomic::{AtomicU64, Ordering};

/// The live numbers of one copy. Cheap to read at any rate from any thread; they only grow.
#[derive(Debug, Default)]
pub struct Counters {
    total: AtomicU64,
    processed: AtomicU64,
    read: AtomicU64,
    stored: AtomicU64,
    zero: AtomicU64,
    unchanged: AtomicU64,
}

/// The numbers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the ranges to be copied; 0 until the copy has begun.
    pub total: u64,
    /// Bytes that are dealt with: drives a percentage.
    pub processed: u64,
    /// Bytes read from the source.
    pub read: u64,
    /// Bytes handed to the sink as data.
    pub stored: u64,
    /// Bytes that are zeros: left out or told to the sink as such.
    pub zero: u64,
    /// Bytes that are as before.
    pub unchanged: u64,
}

impl Counters {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The numbers now. Each is exact; together they may be of slightly different moments while a copy runs.
    pub fn progress(&self) -> Progress {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Progress {
            total: get(&self.total),
            processed: get(&self.processed),
            read: get(&self.read),
            stored: get(&self.stored),
            zero: get(&self.zero),
            unchanged: get(&self.unchanged),
        }
    }

    /// For what is no copy: so much is stored and dealt with by now. Less than before changes nothing.
    pub fn reached(&self, stored: u64, processed: u64) {
        self.stored.fetch_max(stored, Ordering::Relaxed);
        self.processed.fetch_max(processed, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn stored(&self, bytes: u64) {
        self.stored.fetch_add(bytes, Ordering::Relaxed);
        self.processed.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn zero(&self, bytes: u64) {
        self.zero.fetch_add(bytes, Ordering::Relaxed);
        self.processed.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn unchanged(&self, bytes: u64) {
        self.unchanged.fetch_add(bytes, Ordering::Relaxed);
        self.processed.fetch_add(bytes, Ordering::Relaxed);
    }
}
