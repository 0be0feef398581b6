//! Which clusters of a disk its client has dealt with, for telling how far it is: a bit a cluster, in pieces that are
//! made when they are needed (2 MiB for a TiB that is dealt with).

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Words of a piece: 512 MiB of disk at 64 KiB clusters.
const WORDS: usize = 128;
const BITS: u64 = WORDS as u64 * 64;

/// The clusters of one disk.
pub(super) struct Touched {
    pieces: Vec<OnceLock<Box<[AtomicU64; WORDS]>>>,
    count: AtomicU64,
}

impl Touched {
    pub(super) fn new(clusters: u64) -> Touched {
        let pieces = (0..clusters.div_ceil(BITS)).map(|_| OnceLock::new()).collect();
        Touched { pieces, count: AtomicU64::new(0) }
    }

    /// Marks clusters; how many are marked in all.
    pub(super) fn mark(&self, clusters: Range<u64>) -> u64 {
        let mut fresh = 0;
        for cluster in clusters {
            let Some(piece) = self.pieces.get((cluster / BITS) as usize) else { break };
            let piece = piece.get_or_init(|| Box::new([const { AtomicU64::new(0) }; WORDS]));
            let bit = 1 << (cluster % 64);
            if let Some(word) = piece.get((cluster % BITS / 64) as usize)
                && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
            {
                fresh += 1;
            }
        }
        self.count.fetch_add(fresh, Ordering::Relaxed) + fresh
    }
}
