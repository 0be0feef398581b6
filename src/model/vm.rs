//! A VM as the hub knows it: a name, a context id, and its disks' sources.

use crate::{ContextId, DiskIndex, SourceUri, VmName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A registered VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vm {
    /// Stable id.
    pub context_id: ContextId,
    /// Unique name.
    pub name: VmName,
    /// Its disks by index, ascending and without gaps.
    pub disks: Vec<VmDisk>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When its definition last changed.
    pub updated_at: Timestamp,
}

/// One disk of a registered VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmDisk {
    /// Position within the VM.
    pub index: DiskIndex,
    /// Where it is read from.
    pub source: SourceUri,
    /// Size in bytes when it was last read; `None` before that.
    pub capacity_bytes: Option<u64>,
}
