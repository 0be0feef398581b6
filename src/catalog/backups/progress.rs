//! Reports of the process that runs a job, and requests to it.

use crate::counts::{self, Changes};
use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Row, number, stamp};
use crate::statement::Statement;
use crate::{CancelRequest, Catalog, Error, Result, jobs};
use jiff::Timestamp;
use model::{BackupId, DiskIndex, Phase, Status};

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// When this was so; a report that is older than the last one changes nothing.
    pub at: Timestamp,
    /// Phase.
    pub phase: Phase,
    /// Bytes stored or written so far.
    pub bytes_transferred: u64,
    /// Bytes dealt with so far.
    pub bytes_processed: u64,
    /// Bytes to deal with.
    pub total_bytes: u64,
    /// Bytes per second, of what is processed.
    pub transfer_speed_bps: u64,
    /// Seconds to go, where it can be told.
    pub eta_seconds: Option<u64>,
    /// Of a backup: each disk, or those that moved.
    pub disks: Vec<DiskProgress>,
}

/// How far one disk of a backup is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskProgress {
    /// Position within the VM.
    pub index: DiskIndex,
    /// State.
    pub status: Status,
    /// Bytes stored so far.
    pub bytes_transferred: u64,
    /// Bytes of the virtual disk dealt with so far.
    pub bytes_processed: u64,
    /// Its virtual size.
    pub capacity_bytes: u64,
}

/// What the runner learns from the answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The job's state now.
    pub status: Status,
    /// True where someone wants it to stop.
    pub cancel_requested: bool,
}

impl Heard {
    /// True where the job has not ended.
    pub fn is_running(self) -> bool {
        !self.status.is_final()
    }
}

impl Catalog {
    /// Records how far a backup is; a pending one becomes running. Never takes anything back; changes nothing
    /// once the backup has ended.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn record_progress(&self, id: &BackupId, progress: &Progress) -> Result<Heard> {
        transaction!(self.engine.write_light(), |session| {
            let (heard, taken) = report(session, "backup_jobs", "backup", id.as_str(), progress).await?;
            if taken {
                for disk in &progress.disks {
                    report_disk(session, id, disk).await?;
                }
            }
            Ok(heard)
        })
    }

    /// Records that nothing is heard of a backup: it is stalled until the next report. When something was last heard
    /// stays as it is.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn record_silence(&self, id: &BackupId) -> Result<Heard> {
        transaction!(self.engine.write_light(), |session| {
            let heard = silence(session, "backup_jobs", "backup", id.as_str()).await?;
            let stall = "UPDATE backup_disks SET status = 'stalled' \
                         WHERE backup_job_id = ? AND status IN ('pending', 'running')";
            session.execute(Statement::new(stall).bind(id.as_str())).await?;
            Ok(heard)
        })
    }

    /// Asks a backup to stop.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn request_cancel(&self, id: &BackupId) -> Result<CancelRequest> {
        transaction!(self.engine.write(), |session| {
            let answer = jobs::cancel(session, "backup_jobs", "backup", id.as_str()).await?;
            Ok(answer)
        })
    }
}

/// Takes a report into `backup_jobs` or `jobs`; true where it was news. Each column depends on its own old value only: databases
/// disagree whether the others are seen before or after the change.
pub(crate) async fn report(
    session: &mut Session,
    table: &'static str,
    what: &'static str,
    id: &str,
    progress: &Progress,
) -> Result<(Heard, bool)> {
    let row = state(session, table, what, id).await?;
    let before = heard(&row)?;
    let at = stamp("last_telemetry_at", progress.at)?;
    let phase = progress.phase.as_str();
    let [p0, p1, p2, p3] = earlier(progress.phase);
    let transferred = number("bytes_transferred", progress.bytes_transferred)?;
    let processed = number("bytes_processed", progress.bytes_processed)?;
    let percent = percent(progress.bytes_processed, progress.total_bytes);
    let eta = progress.eta_seconds.map(|eta| number("eta_seconds", eta)).transpose()?;
    let sql = format!(
        "UPDATE {table} SET status = CASE WHEN status = 'running' THEN status ELSE 'running' END, \
         current_phase = CASE WHEN current_phase IN (?, ?, ?, ?) THEN ? ELSE current_phase END, \
         bytes_transferred = CASE WHEN bytes_transferred < ? THEN ? ELSE bytes_transferred END, \
         bytes_processed = CASE WHEN bytes_processed < ? THEN ? ELSE bytes_processed END, \
         progress_percent = CASE WHEN progress_percent < ? THEN ? ELSE progress_percent END, \
         total_bytes = ?, transfer_speed_bps = ?, eta_seconds = ?, last_telemetry_at = ?, \
         started_at = COALESCE(started_at, ?) \
         WHERE id = ? AND status IN ('pending', 'running', 'stalled') \
         AND (last_telemetry_at IS NULL OR last_telemetry_at <= ?)"
    );
    let query = Statement::new(sql)
        .bind(p0)
        .bind(p1)
        .bind(p2)
        .bind(p3)
        .bind(phase)
        .bind(transferred)
        .bind(transferred)
        .bind(processed)
        .bind(processed)
        .bind(percent)
        .bind(percent)
        .bind(number("total_bytes", progress.total_bytes)?)
        .bind(number("transfer_speed_bps", progress.transfer_speed_bps)?)
        .bind(eta)
        .bind(at.as_str())
        .bind(at.as_str())
        .bind(id)
        .bind(at.as_str());
    let taken = session.execute(query).await? > 0;
    if !taken {
        return Ok((before, false));
    }
    count_as(session, id, &row, Status::Running).await?;
    Ok((Heard { status: Status::Running, ..before }, true))
}

/// Notes in a job's row that nothing is heard of it.
pub(crate) async fn silence(
    session: &mut Session,
    table: &'static str,
    what: &'static str,
    id: &str,
) -> Result<Heard> {
    let row = state(session, table, what, id).await?;
    let before = heard(&row)?;
    let stall =
        format!("UPDATE {table} SET status = 'stalled' WHERE id = ? AND status IN ('pending', 'running')");
    if session.execute(Statement::new(stall).bind(id)).await? == 0 {
        return Ok(before);
    }
    count_as(session, id, &row, Status::Stalled).await?;
    Ok(Heard { status: Status::Stalled, ..before })
}

/// A job's row, as far as a report needs it.
pub(crate) async fn state(
    session: &mut Session,
    table: &'static str,
    what: &'static str,
    id: &str,
) -> Result<Row> {
    let query = format!("SELECT {} FROM {table} WHERE id = ?", counts::columns(table));
    let row = session.optional(Statement::new(query).bind(id).for_change()).await?;
    row.ok_or_else(|| Error::NotFound { what, id: id.to_owned() })
}

/// What is said of a job in its row.
fn heard(row: &Row) -> Result<Heard> {
    Ok(Heard { status: row.parse("status")?, cancel_requested: row.flag("cancel_requested")? })
}

/// Counts the job of a row in the state that it has now.
pub(crate) async fn count_as(session: &mut Session, id: &str, row: &Row, status: Status) -> Result<()> {
    if row.parse::<Status>("status")? == status {
        return Ok(());
    }
    let old = counts::entry(session, id, row).await?;
    let mut changes = Changes::default();
    changes.add(&old.with_status(status));
    changes.remove(&old);
    changes.write(session).await
}

async fn report_disk(session: &mut Session, id: &BackupId, disk: &DiskProgress) -> Result<()> {
    let sql = "UPDATE backup_disks SET \
               bytes_transferred = CASE WHEN bytes_transferred < ? THEN ? ELSE bytes_transferred END, \
               bytes_processed = CASE WHEN bytes_processed < ? THEN ? ELSE bytes_processed END, \
               progress_percent = CASE WHEN progress_percent < ? THEN ? ELSE progress_percent END, \
               status = CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN status ELSE ? END, \
               capacity_bytes = ? WHERE backup_job_id = ? AND disk_index = ?";
    let transferred = number("bytes_transferred", disk.bytes_transferred)?;
    let processed = number("bytes_processed", disk.bytes_processed)?;
    let percent = percent(disk.bytes_processed, disk.capacity_bytes);
    let query = Statement::new(sql)
        .bind(transferred)
        .bind(transferred)
        .bind(processed)
        .bind(processed)
        .bind(percent)
        .bind(percent)
        .bind(disk.status.as_str())
        .bind(number("capacity_bytes", disk.capacity_bytes)?)
        .bind(id.as_str())
        .bind(i64::from(disk.index.0));
    session.execute(query).await?;
    Ok(())
}

/// The phases that this one may follow; the last is repeated to make four, nothing is before the first.
fn earlier(phase: Phase) -> [&'static str; 4] {
    let [pending, snapshot, transferring, finalizing] =
        [Phase::Pending, Phase::Snapshot, Phase::Transferring, Phase::Finalizing].map(Phase::as_str);
    match phase {
        Phase::Pending | Phase::Snapshot => [pending; 4],
        Phase::Transferring => [pending, snapshot, snapshot, snapshot],
        Phase::Finalizing => [pending, snapshot, transferring, transferring],
        Phase::Completed | Phase::Failed => [pending, snapshot, transferring, finalizing],
    }
}

/// In percent, as `model` shows it; 0 while nothing is known.
fn percent(done: u64, total: u64) -> f64 {
    if total == 0 {
        return 0.0;
    }
    ((done.min(total) as f64 / total as f64) * 10_000.0).round() / 100.0
}
