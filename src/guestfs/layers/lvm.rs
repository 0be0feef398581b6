//! LVM2: physical volumes told by their labels, groups by the newest metadata of any of them, and logical volumes put
//! together from linear and striped segments.
//!
//! Refused by name: every other type of segment (thin, cache, RAID, mirror, snapshot, VDO, integrity…), volumes that lie
//! on a missing or outdated physical volume, and groups of which a disk and its copy are both there.

mod group;
mod label;
mod metadata;
mod text;

use crate::device::Device;

pub use group::{Group, groups};
pub use label::{Label, MAX_TEXTS, read};

/// A physical volume.
pub struct Physical {
    /// The id of its volume.
    pub id: String,
    /// Its bytes.
    pub device: Device,
    /// How many layers it lies on.
    pub depth: usize,
    /// The disk that it lies on.
    pub disk: u32,
    /// What it says.
    pub label: Label,
}
