//! Two points beside each other: which files are the same, and what of the others differs.
//!
//! Whoever compares may know of the disks below which ranges hold the same bytes at both points ([`Unchanged`]): a chain
//! of backups knows that without reading anything. A file is then the same without being read where its size is, where
//! both points have its content in the same places of the same disks, and where these places are unchanged: its content
//! is made of nothing else. Times and numbers of inodes prove nothing and are not asked. What is not proven so is read
//! on both sides and compared, and of a large file only the pieces that are not proven.
//!
//! - [`Comparison`] walks two trees, folder by folder, in the order of names.
//! - [`same_content`] compares two files, of which only what is not proven is read.
//! - [`Layout`] is where a file's content lies, to be compared with that of another point which is not open any more.
//!
//! Not here: which points, and what is known of their disks (the hub).

mod content;
mod folders;
mod layout;
#[cfg(test)]
mod tests;

pub use content::same_content;
pub use folders::{Change, Comparison, Counts, Side, What};
pub use layout::{Layout, layout};

use crate::Origin;

/// What is known of the disks of two points.
pub trait Unchanged: Send + Sync {
    /// Whether it is certain that these bytes of that disk are the same at both points. Doubt is `false`.
    fn is_unchanged(&self, disk: u32, offset: u64, length: u64) -> bool;
}

/// Nothing is known: everything is read.
#[derive(Debug, Clone, Copy)]
pub struct NothingKnown;

impl Unchanged for NothingKnown {
    fn is_unchanged(&self, _: u32, _: u64, _: u64) -> bool {
        false
    }
}

/// Whether what comes from these origins is the same at both points.
fn all_unchanged(origins: &[Origin], known: &dyn Unchanged) -> bool {
    origins.iter().all(|origin| match *origin {
        Origin::Disk { disk, offset, length } => known.is_unchanged(disk, offset, length),
        Origin::Zeros(_) => true,
    })
}
