//! Jobs that are not backups: restores, verifications, consolidations (`jobs`).
//!
//! A job's row is its only memory: the runner writes how far it is, other processes read that and ask for
//! cancellation by a column. Progress never goes back, and nothing changes a job that has ended.

use crate::counts::{Changes, Entry};
use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{
    Fields, Row, flag, inserts, int, maybe_int, maybe_text, maybe_time, stamp, text, time, update,
};
use crate::statement::Statement;
use crate::{CancelRequest, Catalog, Error, Heard, Progress, Result};
use jiff::Timestamp;
use model::{BackupId, JobId, JobType, Phase, RepositoryId, Status, VmName};

pub(crate) const UNFINISHED: &str = "SELECT * FROM jobs [index idx_jobs_status] WHERE status IN ('pending', 'running', 'stalled') ORDER BY created_at, id";

/// The record of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRecord {
    /// Unique id.
    pub id: JobId,
    /// What it does.
    pub job_type: JobType,
    /// State.
    pub status: Status,
    /// How far.
    pub phase: Phase,
    /// The point it is about, where it is about one.
    pub backup_id: Option<BackupId>,
    /// The VM it is about.
    pub vm_name: Option<VmName>,
    /// The repository it is about.
    pub repository_id: Option<RepositoryId>,
    /// Bytes written to the target or read back so far.
    pub bytes_transferred: u64,
    /// Bytes dealt with so far.
    pub bytes_processed: u64,
    /// Bytes to deal with.
    pub total_bytes: u64,
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
    /// What was asked for, to do it again.
    pub request: Option<serde_json::Value>,
    /// What came of it; its form is the job type's.
    pub result: Option<serde_json::Value>,
    /// True where someone wants it to stop.
    pub cancel_requested: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub struct JobEnd {
    /// When.
    pub at: Timestamp,
    /// Completed, failed or cancelled.
    pub status: Status,
    /// Why it failed.
    pub error_message: Option<String>,
    /// The API's error code of that failure.
    pub error_code: Option<String>,
    /// What came of it.
    pub result: Option<serde_json::Value>,
}

impl Catalog {
    /// Records a new job.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub async fn insert_job(&self, job: &JobRecord) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            for statement in inserts("jobs", vec![fields(job)?]) {
                if session.insert_new(statement).await? == 0 {
                    return Err(Error::AlreadyExists { what: "job", id: job.id.to_string() });
                }
            }
            let mut changes = Changes::default();
            let created_at = stamp("created_at", job.created_at)?;
            changes.add(&Entry::of_job(job.job_type.as_str(), job.status, &created_at));
            changes.write(session).await?;
            Ok(())
        })
    }

    /// The job of that id.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn job(&self, id: &JobId) -> Result<Option<JobRecord>> {
        transaction!(self.engine.read(), |session| {
            let query = Statement::new("SELECT * FROM jobs WHERE id = ?").bind(id.as_str());
            session.optional(query).await?.as_ref().map(read).transpose()
        })
    }

    /// The jobs that have not ended, oldest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn unfinished_jobs(&self) -> Result<Vec<JobRecord>> {
        transaction!(self.engine.read(), |session| {
            session.all(Statement::new(UNFINISHED)).await?.iter().map(read).collect()
        })
    }

    /// Records how far a job is (`progress.disks` says nothing here). Never takes anything back; changes
    /// nothing once the job has ended.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn record_job_progress(&self, id: &JobId, progress: &Progress) -> Result<Heard> {
        transaction!(self.engine.write_light(), |session| {
            let (heard, _) = crate::backups::report(session, "jobs", "job", id.as_str(), progress).await?;
            Ok(heard)
        })
    }

    /// Records that nothing is heard of a job: it is stalled until the next report.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn record_job_silence(&self, id: &JobId) -> Result<Heard> {
        transaction!(self.engine.write_light(), |session| {
            let heard = crate::backups::silence(session, "jobs", "job", id.as_str()).await?;
            Ok(heard)
        })
    }

    /// Asks a job to stop.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn request_job_cancel(&self, id: &JobId) -> Result<CancelRequest> {
        transaction!(self.engine.write(), |session| {
            let answer = cancel(session, "jobs", "job", id.as_str()).await?;
            Ok(answer)
        })
    }

    /// Records how a job ended; false where it had ended before, which stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn finish_job(&self, id: &JobId, end: &JobEnd) -> Result<bool> {
        let phase = if end.status == Status::Completed { Phase::Completed } else { Phase::Failed };
        let row = vec![
            ("status", text(end.status.as_str())),
            ("current_phase", text(phase.as_str())),
            ("error_message", maybe_text(end.error_message.as_ref())),
            ("error_code", maybe_text(end.error_code.as_ref())),
            ("result", maybe_text(end.result.as_ref())),
            ("eta_seconds", maybe_int("eta_seconds", None)?),
            ("completed_at", time("completed_at", end.at)?),
        ];
        transaction!(self.engine.write(), |session| {
            let before = crate::backups::state(session, "jobs", "job", id.as_str()).await?;
            let mut statement = update("jobs", row.clone(), "id", id.as_str());
            statement.push(" AND status IN ('pending', 'running', 'stalled')");
            let ended = session.execute(statement).await? > 0;
            if ended {
                crate::backups::count_as(session, id.as_str(), &before, end.status).await?;
            }
            Ok(ended)
        })
    }

    /// Forgets jobs that ended before a time; returns how many.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn forget_jobs(&self, ended_before: Timestamp) -> Result<u64> {
        let before = stamp("completed_at", ended_before)?;
        transaction!(self.engine.write(), |session| {
            let mut changes = Changes::default();
            let going = "SELECT job_type, status, created_at FROM jobs \
                         WHERE completed_at < ? AND status IN ('completed', 'failed', 'cancelled')";
            for row in session.all(Statement::new(going).bind(before.as_str()).for_change()).await? {
                let status = row.parse("status")?;
                changes.remove(&Entry::of_job(&row.text("job_type")?, status, &row.text("created_at")?));
            }
            let ended = "SELECT id FROM jobs WHERE completed_at < ? AND status IN ('completed', 'failed', 'cancelled')";
            let logs = format!("DELETE FROM job_log WHERE job_id IN ({ended})");
            session.execute(Statement::new(logs).bind(before.as_str())).await?;
            let jobs =
                "DELETE FROM jobs WHERE completed_at < ? AND status IN ('completed', 'failed', 'cancelled')";
            let gone = session.execute(Statement::new(jobs).bind(before.as_str())).await?;
            changes.write(session).await?;
            Ok(gone)
        })
    }
}

/// Notes a request to cancel, in `jobs` or `backup_jobs`.
pub(crate) async fn cancel(
    session: &mut Session,
    table: &'static str,
    what: &'static str,
    id: &str,
) -> Result<CancelRequest> {
    let note = format!(
        "UPDATE {table} SET cancel_requested = 1 WHERE id = ? AND status IN ('pending', 'running', 'stalled')"
    );
    session.execute(Statement::new(note).bind(id)).await?;
    let query = format!("SELECT status FROM {table} WHERE id = ?");
    let Some(row) = session.optional(Statement::new(query).bind(id)).await? else {
        return Err(Error::NotFound { what, id: id.to_owned() });
    };
    let status: Status = row.parse("status")?;
    Ok(if status.is_final() { CancelRequest::Ended(status) } else { CancelRequest::Noted })
}

fn fields(job: &JobRecord) -> Result<Fields> {
    Ok(vec![
        ("id", text(job.id.as_str())),
        ("job_type", text(job.job_type.as_str())),
        ("status", text(job.status.as_str())),
        ("current_phase", text(job.phase.as_str())),
        ("backup_id", maybe_text(job.backup_id.as_ref())),
        ("vm_name", maybe_text(job.vm_name.as_ref())),
        ("repository_id", maybe_text(job.repository_id.as_ref())),
        ("bytes_transferred", int("bytes_transferred", job.bytes_transferred)?),
        ("bytes_processed", int("bytes_processed", job.bytes_processed)?),
        ("total_bytes", int("total_bytes", job.total_bytes)?),
        ("transfer_speed_bps", int("transfer_speed_bps", job.transfer_speed_bps)?),
        ("eta_seconds", maybe_int("eta_seconds", job.eta_seconds)?),
        ("last_telemetry_at", maybe_time("last_telemetry_at", job.last_telemetry_at)?),
        ("error_message", maybe_text(job.error_message.as_ref())),
        ("error_code", maybe_text(job.error_code.as_ref())),
        ("request", maybe_text(job.request.as_ref())),
        ("result", maybe_text(job.result.as_ref())),
        ("cancel_requested", flag(job.cancel_requested)),
        ("created_at", time("created_at", job.created_at)?),
        ("started_at", maybe_time("started_at", job.started_at)?),
        ("completed_at", maybe_time("completed_at", job.completed_at)?),
    ])
}

pub(crate) fn read(row: &Row) -> Result<JobRecord> {
    Ok(JobRecord {
        id: row.parse("id")?,
        job_type: row.parse("job_type")?,
        status: row.parse("status")?,
        phase: row.parse("current_phase")?,
        backup_id: row.maybe_parse("backup_id")?,
        vm_name: row.maybe_parse("vm_name")?,
        repository_id: row.maybe_parse("repository_id")?,
        bytes_transferred: row.int("bytes_transferred")?,
        bytes_processed: row.int("bytes_processed")?,
        total_bytes: row.int("total_bytes")?,
        transfer_speed_bps: row.int("transfer_speed_bps")?,
        eta_seconds: row.maybe_int("eta_seconds")?,
        last_telemetry_at: row.maybe_parse("last_telemetry_at")?,
        error_message: row.maybe_text("error_message")?,
        error_code: row.maybe_text("error_code")?,
        request: row.json("request")?,
        result: row.json("result")?,
        cancel_requested: row.flag("cancel_requested")?,
        created_at: row.parse("created_at")?,
        started_at: row.maybe_parse("started_at")?,
        completed_at: row.maybe_parse("completed_at")?,
    })
}
