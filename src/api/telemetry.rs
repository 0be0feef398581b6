//! Progress over the wire: what agents send, what watchers get.
//!
//! One shape for both. Progress never goes back; a message that is late or repeated changes nothing.

use crate::backup::progress;
use crate::{JobView, schema};
use jiff::Timestamp;
use model::{JobType, Phase, Status};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How far a job is. Sizes in bytes, speeds in bytes a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Telemetry {
    /// What kind of job.
    #[schema(value_type = schema::JobType)]
    pub job_type: JobType,
    /// State.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// How far.
    #[schema(value_type = schema::Phase)]
    pub current_phase: Phase,
    /// Data stored or written.
    pub bytes_transferred: u64,
    /// Data dealt with, which is what progress counts; left out by senders that can't tell it apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_processed: Option<u64>,
    /// Sum of the disks' sizes.
    pub total_bytes: u64,
    /// Now.
    #[serde(default)]
    pub transfer_speed_bps: u64,
    /// Seconds to go, where it can be told.
    #[serde(default)]
    pub eta_seconds: Option<u64>,
    /// 0 to 100.
    #[serde(default)]
    pub progress_percent: f64,
    /// When this was so.
    pub timestamp: Timestamp,
    /// Disk by disk.
    #[serde(default, deserialize_with = "crate::request::objects")]
    pub disks: Vec<DiskTelemetry>,
    /// Why it fails, for a person.
    #[serde(default)]
    pub error: Option<String>,
}

/// How far one disk is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiskTelemetry {
    /// Position within the VM.
    pub disk_index: u32,
    /// 2000 + position.
    pub disk_key: u32,
    /// Data stored or written.
    pub bytes_transferred: u64,
    /// Data dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_processed: Option<u64>,
    /// Virtual size.
    pub total_bytes: u64,
    /// 0 to 100.
    #[serde(default)]
    pub progress_percent: f64,
    /// State.
    #[schema(value_type = schema::Status)]
    pub status: Status,
}

impl Telemetry {
    /// How far a backup is as of `timestamp`.
    pub fn of_backup(backup: &model::Backup, timestamp: Timestamp) -> Self {
        Telemetry {
            job_type: JobType::Backup,
            status: backup.status,
            current_phase: backup.phase,
            bytes_transferred: backup.bytes_transferred,
            bytes_processed: Some(backup.bytes_processed),
            total_bytes: backup.total_bytes,
            transfer_speed_bps: backup.transfer_speed_bps,
            eta_seconds: backup.eta_seconds,
            progress_percent: progress(backup.status, backup.bytes_processed, backup.progress_percent()),
            timestamp,
            disks: backup
                .disks
                .iter()
                .map(|disk| DiskTelemetry {
                    disk_index: disk.index.0,
                    disk_key: disk.index.key(),
                    bytes_transferred: disk.bytes_transferred,
                    bytes_processed: Some(disk.bytes_processed),
                    total_bytes: disk.capacity_bytes,
                    progress_percent: progress(disk.status, disk.bytes_processed, disk.progress_percent()),
                    status: disk.status,
                })
                .collect(),
            error: backup.error_message.clone(),
        }
    }

    /// How far a job is as of `timestamp`.
    pub fn of_job(job: &JobView, timestamp: Timestamp) -> Self {
        Telemetry {
            job_type: job.job_type,
            status: job.status,
            current_phase: job.current_phase,
            bytes_transferred: job.bytes_transferred,
            bytes_processed: Some(job.bytes_processed),
            total_bytes: job.total_bytes,
            transfer_speed_bps: job.transfer_speed_bps,
            eta_seconds: job.eta_seconds,
            progress_percent: job.progress_percent,
            timestamp,
            disks: job
                .disks
                .iter()
                .map(|disk| DiskTelemetry {
                    disk_index: disk.disk_id,
                    disk_key: disk.disk_key,
                    bytes_transferred: disk.bytes_transferred,
                    bytes_processed: Some(disk.bytes_processed),
                    total_bytes: disk.total_bytes,
                    progress_percent: disk.progress_percent,
                    status: disk.status,
                })
                .collect(),
            error: job.error_message.clone(),
        }
    }
}

/// A server-sent event as it stands on the wire.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
pub struct SentEvent {
    /// `progress` any number of times, then one `final`; or `error`, where the hub can't go on watching.
    pub event: EventName,
    /// JSON: a `Telemetry` of `progress`, a `JobView` of `final`, an `ErrorBody` of `error`.
    #[schema(content_media_type = "application/json")]
    pub data: String,
}

/// What a server-sent event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum EventName {
    /// How far the job is.
    Progress,
    /// How it ended.
    Final,
    /// Why there is no more.
    Error,
}

/// One message of `GET /backups/{id}/events` or `GET /jobs/{id}/events`: progress any number of times,
/// then one final state, then the stream ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Server-sent event `progress`.
    Progress(Telemetry),
    /// Server-sent event `final`: the job as it ended.
    Final(Box<JobView>),
    /// Server-sent event `error`: the hub can't go on watching; the job itself goes on.
    Error(crate::ErrorBody),
}

impl Event {
    /// The event's name on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Progress(_) => "progress",
            Event::Final(_) => "final",
            Event::Error(_) => "error",
        }
    }

    /// The event's data on the wire, one line of JSON.
    ///
    /// # Errors
    /// Never in practice: none of the shapes has a key that is no string.
    pub fn data(&self) -> Result<String, serde_json::Error> {
        match self {
            Event::Progress(telemetry) => serde_json::to_string(telemetry),
            Event::Final(job) => serde_json::to_string(job),
            Event::Error(error) => serde_json::to_string(error),
        }
    }

    /// The event again; `None` for a name that this version does not know.
    ///
    /// # Errors
    /// Where the data is not what the name says.
    pub fn parse(name: &str, data: &str) -> Result<Option<Event>, serde_json::Error> {
        Ok(Some(match name {
            "progress" => Event::Progress(serde_json::from_str(data)?),
            "final" => Event::Final(serde_json::from_str(data)?),
            "error" => Event::Error(serde_json::from_str(data)?),
            _ => return Ok(None),
        }))
    }
}
