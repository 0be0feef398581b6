//! The record of a backup: what the catalog keeps and what stands beside the point as its sidecar.

use crate::{
    BackupId, BackupType, Compression, ContextId, DiskIndex, OnTrackingLoss, Phase, RepositoryId,
    RequestedType, SourceUri, Status, VmName,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of the sidecar's JSON; a reader refuses a greater one.
pub const BACKUP_SCHEMA_VERSION: u32 = 1;

/// One backup job and, once completed, one restore point of one VM.
///
/// All disks of a point are one moment and exist together or not at all. Each disk has a type and parent
/// of its own: a disk that joins a VM later begins with a full inside an incremental point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// Unique id.
    pub id: BackupId,
    /// The VM's name when the backup was made.
    pub vm_name: VmName,
    /// The VM.
    pub vm_context_id: ContextId,
    /// What was asked for.
    pub requested_type: RequestedType,
    /// What the point is: full if every disk is full, otherwise what was asked for and decided.
    pub backup_type: BackupType,
    /// State.
    pub status: Status,
    /// How far.
    pub phase: Phase,
    /// Where it is kept.
    pub repository_id: RepositoryId,
    /// The point this one builds on; `None` for a full.
    pub parent_backup_id: Option<BackupId>,
    /// Why another type was made than asked for, or why a disk began anew; for a person.
    pub fallback_reason: Option<String>,
    /// Bytes stored so far: the sum over the disks.
    pub bytes_transferred: u64,
    /// Sum of the disks' sizes.
    pub total_bytes: u64,
    /// Bytes of the virtual disks dealt with so far (read, or known to be zero, hole or unchanged).
    pub bytes_processed: u64,
    /// Bytes per second, of what is processed.
    pub transfer_speed_bps: u64,
    /// Seconds to go, where it can be told.
    pub eta_seconds: Option<u64>,
    /// When progress was last heard of.
    pub last_telemetry_at: Option<Timestamp>,
    /// Why it failed; for a person.
    pub error_message: Option<String>,
    /// The API's error code of that failure.
    pub error_code: Option<String>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Free text.
    pub notes: Option<String>,
    /// True where it may not be deleted or merged away.
    pub protected: bool,
    /// Why it is protected.
    pub protect_reason: Option<String>,
    /// How its data is stored.
    pub compression: Compression,
    /// What it was told to do should change tracking be lost.
    pub on_tracking_loss: OnTrackingLoss,
    /// Time limit, seconds.
    pub timeout_seconds: u64,
    /// Limit on reading, bytes a second.
    pub bandwidth_limit_bps: Option<u64>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// The result of the last `verify`, none before the first.
    pub verification: Option<Verification>,
    /// Its disks by index.
    pub disks: Vec<BackupDisk>,
}

/// One disk of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackupDisk {
    /// Position within the VM.
    pub index: DiskIndex,
    /// Where it was read from.
    pub source: SourceUri,
    /// Type of this disk's file.
    pub backup_type: BackupType,
    /// The point whose file of this disk is the backing file; `None` for a full.
    pub parent_backup_id: Option<BackupId>,
    /// State.
    pub status: Status,
    /// Virtual size in bytes.
    pub capacity_bytes: u64,
    /// Size of the finished file in bytes.
    pub size_bytes: u64,
    /// Data bytes stored so far (before compression).
    pub bytes_transferred: u64,
    /// Bytes of the virtual disk dealt with so far.
    pub bytes_processed: u64,
    /// File below the repository's root, `/`-separated.
    pub file: String,
    /// The export name of `rest-api.md`.
    pub nbd_export_name: String,
    /// The source's change id as of this point, where it has one.
    pub change_id: Option<String>,
    /// Why this disk was not read as asked for.
    pub fallback_reason: Option<String>,
    /// Hex BLAKE3 of the point's hash manifest: names the whole content that this file stores.
    pub blake3: Option<String>,
    /// Why this disk failed.
    pub error_message: Option<String>,
}

/// What `verify` last found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// When.
    pub verified_at: Timestamp,
    /// True where no damage was found, here and in everything this point depends on.
    pub ok: bool,
    /// What was found, for a person; empty where all is well.
    pub problems: Vec<String>,
    /// True where every stored byte was read, false for a sample or structure only.
    pub whole: bool,
}

impl Backup {
    /// True for a restore point: completed, so everything that restores may use it.
    pub fn is_point(&self) -> bool {
        self.status == Status::Completed
    }

    /// True where a client writes the disks.
    pub fn is_push(&self) -> bool {
        self.disks.iter().any(|disk| disk.source == SourceUri::Push)
    }

    /// The disk of that index.
    pub fn disk(&self, index: DiskIndex) -> Option<&BackupDisk> {
        self.disks.iter().find(|disk| disk.index == index)
    }

    /// The size of all its files in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.disks.iter().map(|disk| disk.size_bytes).sum()
    }

    /// How far, in percent of the virtual size; 100 for an empty disk.
    pub fn progress_percent(&self) -> f64 {
        percent(self.bytes_processed, self.total_bytes)
    }

    /// Every point this one's disks are built on, each once.
    pub fn parents(&self) -> impl Iterator<Item = &BackupId> {
        let mut seen: Vec<&BackupId> = Vec::new();
        for parent in self.disks.iter().filter_map(|disk| disk.parent_backup_id.as_ref()) {
            if !seen.contains(&parent) {
                seen.push(parent);
            }
        }
        seen.into_iter()
    }
}

impl BackupDisk {
    /// How far, in percent of the virtual size.
    pub fn progress_percent(&self) -> f64 {
        percent(self.bytes_processed, self.capacity_bytes)
    }
}

fn percent(done: u64, total: u64) -> f64 {
    if total == 0 {
        return 100.0;
    }
    ((done.min(total) as f64 / total as f64) * 10_000.0).round() / 100.0
}
