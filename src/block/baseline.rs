//! What is already known of a disk, granule by granule, and what a copy finds out.

use crate::Result;

/// The unit of hashing and comparing: 64 KiB. Only a disk's last granule may be shorter; its hash is that of
/// the bytes that exist.
pub const GRANULE: u64 = 64 << 10;

/// What is known of one granule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granule {
    /// Reads as zeros.
    Zero,
    /// BLAKE3 of its bytes, which are not all zeros.
    Hash([u8; 32]),
    /// Nothing is known, or nothing is stored: compare as "differs", record as "not in this file".
    Unknown,
}

/// A disk's earlier (or expected) content as a stream of granules, asked in ascending order.
pub trait Baseline: Send {
    /// Fills `out` with what is known of `out.len()` granules beginning with granule number `first`. `first`
    /// never falls below the end of the previous call; what is skipped is not asked for again. Granules past
    /// the baseline's own end are `Zero`.
    ///
    /// # Errors
    /// Where the manifest can't be read or is damaged.
    fn next(&mut self, first: u64, out: &mut [Granule]) -> Result<()>;
}

/// Takes what a copy found, in ascending order.
pub trait Ledger: Send {
    /// `granules[i]` is what was stored for granule number `first + i`: `Unknown` where nothing was stored
    /// because the baseline already has it (or, in a full, because it is zero: then `Unknown` too). Granules
    /// that are never told of, between two calls or at the end, are `Unknown`.
    ///
    /// # Errors
    /// Where it can't be kept; the copy fails then.
    fn record(&mut self, first: u64, granules: &[Granule]) -> Result<()>;
}
