//! The backup object and the answers that carry it.
//!
//! The object is the record of a backup with everything a client would otherwise have to work out: both
//! spellings of its id, absolute paths, percentages. It is made from the model's record and the root of the
//! repository; nothing converts it back.

use crate::schema;
use jiff::Timestamp;
use model::{
    BackupId, BackupType, Compression, ContextId, OnTrackingLoss, Phase, RepositoryId, RequestedType,
    SourceUri, Status, VmName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// One backup job and, once completed, one restore point of one VM. Sizes in bytes, speeds in bytes a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Unique id, also that of the job.
    #[schema(value_type = schema::BackupId, example = "backup-pgtest1-20251006-120000")]
    pub id: BackupId,
    /// The same as `id`.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// The VM's name when the backup was made.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
    /// The VM's stable id.
    #[schema(value_type = schema::ContextId)]
    pub vm_context_id: ContextId,
    /// The first disk's index.
    pub disk_id: u32,
    /// What was asked for.
    #[schema(value_type = schema::RequestedType)]
    pub requested_type: RequestedType,
    /// What the point is.
    #[schema(value_type = schema::BackupType)]
    pub backup_type: BackupType,
    /// State.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// How far.
    #[schema(value_type = schema::Phase)]
    pub current_phase: Phase,
    /// Where it is kept.
    #[schema(value_type = schema::RepositoryId)]
    pub repository_id: RepositoryId,
    /// The first disk's file.
    pub file_path: String,
    /// The same as `file_path`.
    pub qcow2_path: String,
    /// The first disk's export name.
    pub nbd_export_name: String,
    /// `{disk key}:{NBD URI}` of each disk that is exported now, joined by commas; empty where none is.
    pub nbd_targets_string: String,
    /// The point this one builds on; null for a full.
    #[schema(value_type = Option<schema::BackupId>)]
    pub parent_backup_id: Option<BackupId>,
    /// The first disk's change id, where its source has one.
    pub change_id: Option<String>,
    /// Why another type was made than asked for, or a disk began anew.
    pub fallback_reason: Option<String>,
    /// Data stored, before compression, or what its client says that it has sent where that is more: the sum over the disks.
    pub bytes_transferred: u64,
    /// Data dealt with: read, or known to be zero, absent or unchanged. This is what progress counts.
    pub bytes_processed: u64,
    /// Sum of the disks' sizes.
    pub total_bytes: u64,
    /// Sum of the files' sizes.
    pub size_bytes: u64,
    /// 0 to 100.
    pub progress_percent: f64,
    /// Of what is processed.
    pub transfer_speed_bps: u64,
    /// Seconds to go, where it can be told.
    pub eta_seconds: Option<u64>,
    /// When progress was last heard of.
    pub last_telemetry_at: Option<Timestamp>,
    /// Why it failed; for a person.
    pub error_message: Option<String>,
    /// Why it failed; for a program.
    pub error_code: Option<String>,
    /// Labels.
    pub tags: BTreeMap<String, String>,
    /// Free text.
    pub notes: Option<String>,
    /// True where it may not be deleted or merged away.
    pub protected: bool,
    /// Why it is protected.
    pub protect_reason: Option<String>,
    /// True where its clusters are stored compressed.
    pub compression_enabled: bool,
    /// How its clusters are stored.
    #[schema(value_type = schema::Compression)]
    pub compression: Compression,
    /// What it was told to do should change tracking be lost.
    #[schema(value_type = schema::OnTrackingLoss)]
    pub on_cbt_loss: OnTrackingLoss,
    /// Time limit.
    pub timeout_seconds: u64,
    /// Limit on reading.
    pub bandwidth_limit_bps: Option<u64>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// What the last verification found; null before the first.
    pub verification: Option<Verification>,
    /// Its disks by index.
    pub disk_results: Vec<BackupDisk>,
}

/// One disk of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackupDisk {
    /// Position within the VM.
    pub disk_id: u32,
    /// 2000 + position.
    pub disk_key: u32,
    /// What it is called: `disk-{n}`.
    pub name: String,
    /// Where it was read from.
    #[schema(value_type = schema::SourceUri)]
    pub source: SourceUri,
    /// Type of this disk's file.
    #[schema(value_type = schema::BackupType)]
    pub backup_type: BackupType,
    /// The point whose file of this disk is the backing file; null for a full.
    #[schema(value_type = Option<schema::BackupId>)]
    pub parent_backup_id: Option<BackupId>,
    /// State.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// Size of the file.
    pub size_bytes: u64,
    /// Virtual size.
    pub capacity_bytes: u64,
    /// Data stored, before compression, or what its client says that it has sent where that is more.
    pub bytes_transferred: u64,
    /// Data dealt with.
    pub bytes_processed: u64,
    /// 0 to 100.
    pub progress_percent: f64,
    /// The file.
    pub file_path: String,
    /// The export's name.
    pub nbd_export_name: String,
    /// The export's port while there is one.
    pub nbd_port: Option<u16>,
    /// The source's change id as of this point.
    pub change_id: Option<String>,
    /// Why this disk was not read as asked for.
    pub fallback_reason: Option<String>,
    /// Hex BLAKE3 of the point's hash manifest: names all that the file stores.
    pub blake3: Option<String>,
    /// Why this disk failed.
    pub error_message: Option<String>,
}

/// What the last verification found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verification {
    /// When.
    pub verified_at: Timestamp,
    /// True where neither this point nor what it is built on is damaged.
    pub ok: bool,
    /// True where every stored byte was read.
    pub whole: bool,
    /// What was found, for a person.
    pub problems: Vec<String>,
}

impl Backup {
    /// The object of a record whose repository's root is `root` (an absolute path).
    pub fn new(record: &model::Backup, root: &str) -> Self {
        let disk_results: Vec<BackupDisk> =
            record.disks.iter().map(|disk| BackupDisk::new(disk, root)).collect();
        let first = disk_results.first();
        let file_path = first.map(|disk| disk.file_path.clone()).unwrap_or_default();
        Backup {
            id: record.id.clone(),
            backup_id: record.id.clone(),
            vm_name: record.vm_name.clone(),
            vm_context_id: record.vm_context_id.clone(),
            disk_id: first.map_or(0, |disk| disk.disk_id),
            requested_type: record.requested_type,
            backup_type: record.backup_type,
            status: record.status,
            current_phase: record.phase,
            repository_id: record.repository_id.clone(),
            qcow2_path: file_path.clone(),
            file_path,
            nbd_export_name: first.map(|disk| disk.nbd_export_name.clone()).unwrap_or_default(),
            nbd_targets_string: String::new(),
            parent_backup_id: record.parent_backup_id.clone(),
            change_id: first.and_then(|disk| disk.change_id.clone()),
            fallback_reason: record.fallback_reason.clone(),
            bytes_transferred: record.bytes_transferred,
            bytes_processed: record.bytes_processed,
            total_bytes: record.total_bytes,
            size_bytes: record.size_bytes(),
            progress_percent: progress(record.status, record.bytes_processed, record.progress_percent()),
            transfer_speed_bps: record.transfer_speed_bps,
            eta_seconds: record.eta_seconds,
            last_telemetry_at: record.last_telemetry_at,
            error_message: record.error_message.clone(),
            error_code: record.error_code.clone(),
            tags: record.tags.clone(),
            notes: record.notes.clone(),
            protected: record.protected,
            protect_reason: record.protect_reason.clone(),
            compression_enabled: record.compression.is_on(),
            compression: record.compression,
            on_cbt_loss: record.on_tracking_loss,
            timeout_seconds: record.timeout_seconds,
            bandwidth_limit_bps: record.bandwidth_limit_bps,
            created_at: record.created_at,
            started_at: record.started_at,
            completed_at: record.completed_at,
            verification: record.verification.as_ref().map(Verification::from),
            disk_results,
        }
    }
}

impl BackupDisk {
    fn new(disk: &model::BackupDisk, root: &str) -> Self {
        BackupDisk {
            disk_id: disk.index.0,
            disk_key: disk.index.key(),
            name: disk.index.folder(),
            source: disk.source.clone(),
            backup_type: disk.backup_type,
            parent_backup_id: disk.parent_backup_id.clone(),
            status: disk.status,
            size_bytes: disk.size_bytes,
            capacity_bytes: disk.capacity_bytes,
            bytes_transferred: disk.bytes_transferred,
            bytes_processed: disk.bytes_processed,
            progress_percent: progress(disk.status, disk.bytes_processed, disk.progress_percent()),
            file_path: format!("{}/{}", root.trim_end_matches('/'), disk.file),
            nbd_export_name: disk.nbd_export_name.clone(),
            nbd_port: None,
            change_id: disk.change_id.clone(),
            fallback_reason: disk.fallback_reason.clone(),
            blake3: disk.blake3.clone(),
            error_message: disk.error_message.clone(),
        }
    }
}

/// What has not begun is at 0 %, an empty disk included.
pub(crate) fn progress(status: Status, processed: u64, percent: f64) -> f64 {
    if status == Status::Completed || processed > 0 { percent } else { 0.0 }
}

impl From<&model::Verification> for Verification {
    fn from(found: &model::Verification) -> Self {
        Verification {
            verified_at: found.verified_at,
            ok: found.ok,
            whole: found.whole,
            problems: found.problems.clone(),
        }
    }
}

/// An answer that is one backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackupAnswer {
    /// Always true.
    pub success: bool,
    /// The backup.
    pub backup: Backup,
}

/// The answer to a start, a retry or a cancellation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackupStarted {
    /// Always true.
    pub success: bool,
    /// What was done, for a person.
    pub message: String,
    /// The backup; for a dry run, what it would begin as.
    pub backup: Backup,
    /// Only for a dry run: what would be read and stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<BackupPlan>,
}

/// What a backup would do. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackupPlan {
    /// The most that may have to be stored: what the sources hold as data.
    pub estimated_bytes: u64,
    /// What the repository's file system has left above the reserve.
    pub available_bytes: u64,
    /// True where the estimate fits.
    pub fits: bool,
    /// Disk by disk.
    pub disks: Vec<PlannedDisk>,
}

/// One disk of a planned backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlannedDisk {
    /// Position within the VM.
    pub disk_id: u32,
    /// Where it would be read from.
    #[schema(value_type = schema::SourceUri)]
    pub source: SourceUri,
    /// What its file would be.
    #[schema(value_type = schema::BackupType)]
    pub backup_type: BackupType,
    /// What that would be built on.
    #[schema(value_type = Option<schema::BackupId>)]
    pub parent_backup_id: Option<BackupId>,
    /// Virtual size.
    pub capacity_bytes: u64,
    /// The most that may have to be stored.
    pub estimated_bytes: u64,
    /// Why it is not what was asked for.
    pub fallback_reason: Option<String>,
}

/// A page of backups, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BackupList {
    /// Always true.
    pub success: bool,
    /// This page.
    pub backups: Vec<Backup>,
    /// How many match in all.
    pub total: u64,
    /// The most this page may hold.
    #[serde(default)]
    pub limit: u32,
    /// How many newer ones were skipped.
    #[serde(default)]
    pub offset: u64,
}

/// The answer to a deletion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Deleted {
    /// Always true.
    pub success: bool,
    /// What was done, for a person.
    pub message: String,
    /// The backup that was to go; where a chain was consolidated, its oldest point now.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// What the repository has won, or would win: for a merge what was removed less what was written.
    pub freed_bytes: u64,
    /// Every backup that is gone, or would go, in the order of removal.
    #[schema(value_type = Vec<schema::BackupId>)]
    pub deleted: Vec<BackupId>,
    /// Every backup whose files took over the clusters of one that is gone.
    #[schema(value_type = Vec<schema::BackupId>)]
    pub rewritten: Vec<BackupId>,
    /// True where nothing was done.
    pub dry_run: bool,
}
