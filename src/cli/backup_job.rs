//! One backup from its acceptance to its summary: what `start`, `retry` and `watch` have in common.

use crate::connect::During;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::follow::{Follow, is_away};
use crate::progress::Task;
use crate::summary;
use crate::ui::Ui;
use api::{Backup, BackupStarted, Client, ClientError, ErrorCode, JobView, StartBackup};
use model::{JobType, SourceUri, Status};
use std::time::{Duration, Instant};

/// The longest pause between two tries for a lock.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long a hub that has said how a job ended may be away before it is not waited for: as long as one needs to begin anew.
const UNTIL_GONE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(250);

/// Asks for a backup, for up to `retry_lock` again and again where another run is on the same VM.
///
/// # Errors
/// The hub's refusal; a signal to stop while waiting.
pub async fn accept(
    follow: &Follow<'_>,
    client: &Client,
    ui: &Ui,
    request: &StartBackup,
    retry_lock: Option<Duration>,
) -> Result<BackupStarted> {
    let vm = &request.vm_name;
    let attempt = || format!("the backup of {vm} was not started");
    let deadline = Instant::now() + retry_lock.unwrap_or_default();
    let mut pause = Duration::from_millis(100);
    loop {
        let error = match client.start_backup(request).await {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !is_locked(&error) || left.is_zero() {
            let failure = Failure::from(error).during(attempt());
            return Err(match (failure.exit, retry_lock) {
                (Exit::Locked, None) if failure.next.is_none() => {
                    failure.next("wait for it with: --retry-lock 10m")
                }
                _ => failure,
            });
        }
        if pause == Duration::from_millis(100) {
            ui.note(&format!("{vm}: waiting, {error}"));
        }
        tokio::select! {
            exit = follow.stopped() => {
                return Err(Failure::new(exit, "cancelled", attempt()).why("interrupted while waiting"));
            }
            () = tokio::time::sleep(pause.min(left)) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}

fn is_locked(error: &ClientError) -> bool {
    matches!(error.code(), ErrorCode::Locked | ErrorCode::CatalogLocked)
}

/// What is reported of a backup.
pub fn task(backup: &Backup) -> Task {
    Task {
        vm: Some(backup.vm_name.to_string()),
        backup_id: Some(backup.id.to_string()),
        job_id: backup.id.to_string(),
        job: JobType::Backup,
    }
}

/// Follows a backup to its end and says what has become of it; a failure is shown, not returned.
pub async fn to_its_end(follow: &Follow<'_>, client: &Client, ui: &Ui, backup: &Backup) -> Exit {
    match completed(follow, client, ui, backup).await {
        Ok(backup) => {
            summary::backup(ui, &backup);
            Exit::Done
        }
        Err(failure) => {
            ui.fail(&failure);
            failure.exit
        }
    }
}

/// Follows a backup to its end without a word.
///
/// # Errors
/// It did not complete.
pub async fn completed(follow: &Follow<'_>, client: &Client, ui: &Ui, backup: &Backup) -> Result<Backup> {
    let note = started(backup, ui);
    let job = follow.job(task(backup), &note).await?;
    let verb = if job.status == Status::Cancelled { "was cancelled" } else { "failed" };
    let job = follow.outcome(job, &format!("the backup of {} {verb}", backup.vm_name));
    let job =
        job.map_err(|failure| match backup.disk_results.iter().any(|disk| disk.source == SourceUri::Push) {
            true => failure.next("look at the machine that sends its disks, and let it push again"),
            false => failure,
        })?;
    record(follow, client, backup, &job).await
}

/// The record of a backup that has completed. A hub that ends with its last job may be gone by now: where it does not come back
/// soon, what it said last is told.
///
/// # Errors
/// What a hub that is there says.
pub async fn record(follow: &Follow<'_>, client: &Client, backup: &Backup, job: &JobView) -> Result<Backup> {
    let since = Instant::now();
    loop {
        match client.backup(&backup.id).await {
            Err(error) if is_away(&error) => {
                let gone = since.elapsed() > UNTIL_GONE || follow.stopping().is_some();
                if gone {
                    follow.ui().note(&format!("{}: the hub has ended after it completed", backup.id));
                    return Ok(as_told(backup, job));
                }
                tokio::time::sleep(PAUSE).await;
            }
            other => return other.during(|| format!("{} was made but can't be shown", backup.id)),
        }
    }
}

/// A backup as its job was at the end.
fn as_told(backup: &Backup, job: &JobView) -> Backup {
    let mut disk_results = backup.disk_results.clone();
    for disk in &mut disk_results {
        if let Some(told) = job.disks.iter().find(|told| told.disk_id == disk.disk_id) {
            disk.status = told.status;
            disk.bytes_transferred = told.bytes_transferred;
            disk.bytes_processed = told.bytes_processed;
            disk.size_bytes = told.bytes_transferred;
            disk.capacity_bytes = told.total_bytes;
            disk.progress_percent = told.progress_percent;
        }
    }
    Backup {
        status: job.status,
        current_phase: job.current_phase,
        bytes_transferred: job.bytes_transferred,
        bytes_processed: job.bytes_processed,
        total_bytes: job.total_bytes,
        // Each byte that was stored was written once.
        size_bytes: job.bytes_transferred,
        progress_percent: job.progress_percent,
        transfer_speed_bps: job.transfer_speed_bps,
        eta_seconds: job.eta_seconds,
        last_telemetry_at: job.last_telemetry_at,
        started_at: job.started_at,
        completed_at: job.completed_at,
        disk_results,
        ..backup.clone()
    }
}

/// What was begun, for a person: `pgtest2: backup-… started, full, 2 disks, 20.0 GiB`.
pub fn started(backup: &Backup, ui: &Ui) -> String {
    let mut line = format!("{}: {} started, {}", backup.vm_name, backup.id, backup.backup_type);
    match backup.disk_results.len() {
        0 => {}
        1 => line.push_str(", 1 disk"),
        count => line.push_str(&format!(", {count} disks")),
    }
    if backup.total_bytes > 0 {
        line.push_str(&format!(", {}", ui.show.size(backup.total_bytes)));
    }
    line
}
