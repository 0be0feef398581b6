//! What a search comes by, and counts.

use guestfs::Stat;
use guestfs::compare::Layout;
use guestfs::tree::Node;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

/// What a search is doing, for its status.
pub(super) const COMPARING: u8 = 1;
/// The same.
pub(super) const HASHING: u8 = 2;

/// The word for what a search is doing.
pub(super) fn phase(number: u8) -> &'static str {
    match number {
        COMPARING => "comparing",
        HASHING => "hashing",
        _ => "walking",
    }
}

/// A file of a point that matches.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path.
    pub path: Vec<u8>,
    /// What it is in its tree: the same each time the point is opened.
    pub node: Node,
    /// What is known of it.
    pub stat: Stat,
    /// Where a link leads to.
    pub target: Option<Vec<u8>>,
    /// Where its content lies, if that was asked for and can be told.
    pub layout: Option<Layout>,
}

impl Found {
    /// Bytes of memory that it takes.
    pub(super) fn cost(&self) -> usize {
        let own = size_of::<Found>() + 2 * self.path.len() + self.target.as_ref().map_or(0, Vec::len);
        own + self.layout.as_ref().map_or(0, Layout::cost)
    }
}

/// What a search counts.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub phase: AtomicU8,
    pub points_total: AtomicU64,
    pub points_done: AtomicU64,
    pub points_searched: AtomicU64,
    pub entries: AtomicU64,
    pub bytes_read: Arc<AtomicU64>,
    pub content_bytes: AtomicU64,
    pub found: AtomicU64,
    pub failed: AtomicU64,
    held: AtomicUsize,
    full: AtomicBool,
}

impl Counters {
    /// Counts bytes that are held. False where they are too many: the search ends early.
    pub(super) fn hold(&self, bytes: usize, most: usize) -> bool {
        let fits = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= most;
        if !fits {
            self.full.store(true, Ordering::Relaxed);
        }
        fits
    }

    /// Nothing is held any more.
    pub(super) fn release(&self) {
        self.held.store(0, Ordering::Relaxed);
    }

    /// Whether there was too much to be held.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}
