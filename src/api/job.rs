//! Jobs over the wire: everything that takes time, backups included, in one shape.

use crate::backup::progress;
use crate::{RestoreReport, VerifyReport, schema};
use jiff::Timestamp;
use model::{BackupId, JobId, JobType, Phase, Status, VmName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One job. Sizes in bytes, speeds in bytes a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobView {
    /// Unique id; a backup's is that of the backup.
    #[schema(value_type = schema::JobId)]
    pub id: JobId,
    /// The same as `id`.
    #[schema(value_type = schema::JobId)]
    pub job_id: JobId,
    /// What kind of work.
    #[schema(value_type = schema::JobType)]
    pub job_type: JobType,
    /// State.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// How far.
    #[schema(value_type = schema::Phase)]
    pub current_phase: Phase,
    /// The VM it works for.
    #[schema(value_type = Option<schema::VmName>)]
    pub vm_name: Option<VmName>,
    /// The backup it makes, reads or merges away.
    #[schema(value_type = Option<schema::BackupId>)]
    pub backup_id: Option<BackupId>,
    /// Data stored or written.
    pub bytes_transferred: u64,
    /// Data dealt with: what progress counts.
    pub bytes_processed: u64,
    /// All there is to deal with.
    pub total_bytes: u64,
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
    /// What to do next; for a person.
    #[serde(default)]
    pub error_hint: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Disk by disk, where it works on disks.
    #[serde(default)]
    pub disks: Vec<DiskProgress>,
    /// What came of it, once it has ended.
    #[serde(default)]
    pub result: Option<JobResult>,
}

/// How far one disk of a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiskProgress {
    /// Position within the VM.
    pub disk_id: u32,
    /// 2000 + position.
    pub disk_key: u32,
    /// Data stored or written.
    pub bytes_transferred: u64,
    /// Data dealt with.
    pub bytes_processed: u64,
    /// Virtual size.
    pub total_bytes: u64,
    /// 0 to 100.
    pub progress_percent: f64,
    /// State.
    #[schema(value_type = schema::Status)]
    pub status: Status,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum JobResult {
    /// A disk was restored.
    Restore(RestoreReport),
    /// Points were verified; the job completes whether they are sound or not.
    Verify(VerifyReport),
    /// Points were merged away.
    Consolidate(crate::Deleted),
}

impl From<&model::Backup> for JobView {
    fn from(backup: &model::Backup) -> JobView {
        let id = JobId::from(backup.id.clone());
        JobView {
            job_id: id.clone(),
            id,
            job_type: JobType::Backup,
            status: backup.status,
            current_phase: backup.phase,
            vm_name: Some(backup.vm_name.clone()),
            backup_id: Some(backup.id.clone()),
            bytes_transferred: backup.bytes_transferred,
            bytes_processed: backup.bytes_processed,
            total_bytes: backup.total_bytes,
            progress_percent: progress(backup.status, backup.bytes_processed, backup.progress_percent()),
            transfer_speed_bps: backup.transfer_speed_bps,
            eta_seconds: backup.eta_seconds,
            last_telemetry_at: backup.last_telemetry_at,
            error_message: backup.error_message.clone(),
            error_code: backup.error_code.clone(),
            error_hint: None,
            created_at: backup.created_at,
            started_at: backup.started_at,
            completed_at: backup.completed_at,
            disks: backup
                .disks
                .iter()
                .map(|disk| DiskProgress {
                    disk_id: disk.index.0,
                    disk_key: disk.index.key(),
                    bytes_transferred: disk.bytes_transferred,
                    bytes_processed: disk.bytes_processed,
                    total_bytes: disk.capacity_bytes,
                    progress_percent: progress(disk.status, disk.bytes_processed, disk.progress_percent()),
                    status: disk.status,
                })
                .collect(),
            result: None,
        }
    }
}

/// An answer that is one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobAnswer {
    /// Always true.
    pub success: bool,
    /// The job.
    pub job: JobView,
}

/// The answer to a request to consolidate: the job, or with `dry_run` what it would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Consolidating {
    /// Always true.
    pub success: bool,
    /// The job.
    #[serde(default)]
    pub job: Option<JobView>,
    /// What it would do.
    #[serde(default)]
    pub plan: Option<crate::Deleted>,
}

/// A page of jobs, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobList {
    /// Always true.
    pub success: bool,
    /// This page.
    pub jobs: Vec<JobView>,
    /// How many match in all.
    pub total: u64,
}
