//! The reading boundary.

use crate::{Extent, Result};
use std::fmt;
use std::ops::Range;

/// A disk of fixed size that can be read at any position.
///
/// Life cycle: opened by the constructor of the concrete type (which holds any lock, connection or child
/// process), used by several threads through `&self`, released by `Drop`. The content must not change while
/// it is open: that is the opener's business (a snapshot, a frozen guest).
pub trait BlockSource: Send + Sync {
    /// The disk's size in bytes; any number, not only whole sectors.
    fn size(&self) -> u64;

    /// Fills the whole of `buf` from byte `offset`. Callers stay inside `size`; a source checks all the same.
    ///
    /// # Errors
    /// Where not every byte could be read. What `buf` then holds is not to be used.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// What lies in `range`: at least one extent, beginning at `range.start`, ascending and without gaps.
    /// The answer may end before `range.end` (ask again from there), never beyond it.
    ///
    /// With `since`, ranges that have not changed since then may be told as
    /// [`Unchanged`](crate::ExtentKind::Unchanged).
    ///
    /// # Errors
    /// [`Error::FullReadRequired`](crate::Error::FullReadRequired) where `since` is given and the changes
    /// can't be told; anything else is a failure to ask.
    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>>;

    /// How many `read_at` calls at once still help (at least 1): 1 for a single NBD connection, more for files.
    fn parallelism(&self) -> usize;
}

/// The source's own token for "changes since then": a VMware CBT change id, a QEMU bitmap name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ChangeId(pub String);

/// Why the changes since a [`ChangeId`] can't be told. A closed list: each has one word and one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FullReadReason {
    /// The source tracks no changes.
    NotTracked,
    /// Tracking is there, but does not know this change id.
    UnknownChangeId,
    /// Tracking was reset (revert to a snapshot, power loss, migration).
    TrackingReset,
    /// The disk's size differs from what was tracked.
    Resized,
}

impl FullReadReason {
    /// The stable word for records.
    pub fn as_str(self) -> &'static str {
        match self {
            FullReadReason::NotTracked => "not_tracked",
            FullReadReason::UnknownChangeId => "unknown_change_id",
            FullReadReason::TrackingReset => "tracking_reset",
            FullReadReason::Resized => "resized",
        }
    }
}

impl fmt::Display for FullReadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FullReadReason::NotTracked => "the source tracks no changes",
            FullReadReason::UnknownChangeId => "the source does not know the change id of the last backup",
            FullReadReason::TrackingReset => "the source's change tracking was reset",
            FullReadReason::Resized => "the disk's size has changed",
        })
    }
}
