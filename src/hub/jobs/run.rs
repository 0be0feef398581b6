//! The life of a job that is not a backup: its row, its task, its end.
//!
//! The row is inserted before the task starts and is final before the leases are given back and before
//! watchers hear of the end. The work itself is a future that is told how it may be stopped and where it
//! counts; it must end soon after having been told to stop.

use super::persist;
use super::registry::{Entry, Told};
use super::supervise::Report;
use crate::control::{Control, Stop};
use crate::leases::Guard;
use crate::meter::Meter;
use crate::{Error, Hub, Result};
use api::{JobResult, JobView};
use block::Counters;
use catalog::{JobEnd, JobRecord, Progress};
use jiff::Timestamp;
use model::{BackupId, JobId, JobType, Phase, RepositoryId, Status, VmName};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What a new job is about.
pub(crate) struct Starting {
    /// Its id, by which its leases know it.
    pub id: JobId,
    /// What it does.
    pub job_type: JobType,
    /// The VM it is about.
    pub vm_name: Option<VmName>,
    /// The point it is about.
    pub backup_id: Option<BackupId>,
    /// The repository it is about.
    pub repository_id: Option<RepositoryId>,
    /// What was asked for.
    pub request: Option<serde_json::Value>,
}

impl Starting {
    /// A fresh id for a job of that type.
    pub(crate) fn id(job_type: JobType) -> Result<JobId> {
        JobId::new(format!("{job_type}-{}", uuid::Uuid::new_v4()))
            .map_err(|error| Error::Internal(error.to_string()))
    }
}

/// What came of a job's work.
pub(crate) type Outcome = Result<JobResult>;

/// Where a job counts. Copies are added as they begin; their numbers are summed up.
#[derive(Default)]
pub(crate) struct Tally {
    copies: Mutex<Vec<Arc<Counters>>>,
    total: AtomicU64,
    finalizing: Mutex<bool>,
}

impl Tally {
    /// Counters for one more copy.
    pub(crate) fn copy(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters::new());
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&counters));
        counters
    }

    /// What all copies together will deal with, in bytes.
    pub(crate) fn expect(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// The data has moved; what is left is making it durable.
    pub(crate) fn finalize(&self) {
        *self.finalizing.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn phase(&self) -> Phase {
        match *self.finalizing.lock().unwrap_or_else(PoisonError::into_inner) {
            true => Phase::Finalizing,
            false => Phase::Transferring,
        }
    }
}

/// Tells how far a job is.
pub(crate) struct JobReporter {
    hub: Hub,
    record: JobRecord,
    view: Arc<watch::Sender<JobView>>,
    tally: Arc<Tally>,
    told: Told,
    meter: Meter,
}

/// What a job's work is given.
pub(crate) struct Running {
    /// How it is stopped.
    pub control: Arc<Control>,
    /// Where it counts.
    pub tally: Arc<Tally>,
    /// Tells how far it is.
    pub report: JobReporter,
}

impl Hub {
    /// Inserts the row of a job and runs `work` in a task of its own, holding `guards`.
    pub(crate) async fn start_job<W, F>(
        &self,
        starting: Starting,
        guards: Vec<Guard>,
        work: W,
    ) -> Result<JobView>
    where
        W: FnOnce(Running) -> F + Send + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let record = new_record(starting);
        if let Err(error) = self.catalog().insert_job(&record).await {
            for guard in guards {
                guard.release().await;
            }
            return Err(error.into());
        }
        let view = view_of(&record);
        let entry = self.inner.registry.enter(view.clone());
        guards.iter().for_each(|guard| guard.guards(&entry.control));
        tokio::spawn(self.clone().run_job(record, guards, entry, work));
        Ok(view)
    }

    async fn run_job<W, F>(self, record: JobRecord, guards: Vec<Guard>, entry: Entry, work: W)
    where
        W: FnOnce(Running) -> F + Send + 'static,
        F: Future<Output = Outcome> + Send + 'static,
    {
        let tally = Arc::new(Tally::default());
        let report = JobReporter {
            hub: self.clone(),
            record: record.clone(),
            view: Arc::clone(&entry.view),
            tally: Arc::clone(&tally),
            told: entry.told.clone(),
            meter: Meter::default(),
        };
        let running = Running { control: Arc::clone(&entry.control), tally: Arc::clone(&tally), report };
        let outcome = work(running).await;
        let reason = entry.control.reason().and_then(Stop::error);
        let mut ended = record;
        tally.read_into(&mut ended);
        let now = Timestamp::now();
        let mut end = JobEnd {
            at: now,
            status: Status::Completed,
            error_message: None,
            error_code: None,
            result: None,
        };
        match outcome {
            Ok(result) => end.result = serde_json::to_value(result).ok(),
            Err(error) => {
                // A stop shows up as all kinds of errors below; the reason for it is what is to be known.
                let error = reason.unwrap_or(error);
                end.status = if error.is_cancelled() { Status::Cancelled } else { Status::Failed };
                end.error_message = Some(error.to_string());
                end.error_code = Some(error.code().as_str().to_owned());
            }
        }
        let last = progress_of(&ended, tally.phase());
        // The last numbers are only for display; the end is what counts.
        match self.catalog().record_job_progress(&ended.id, &last).await {
            Ok(_) => self.keep_told(&mut ended).await,
            Err(error) => tracing::warn!(%error, id = %ended.id, "the last progress can't be written"),
        }
        if let Err(error) = persist(|| self.catalog().finish_job(&ended.id, &end)).await {
            tracing::error!(%error, id = %ended.id, "the end of a job can't be written");
        }
        ended.status = end.status;
        ended.phase = if end.status == Status::Completed { Phase::Completed } else { Phase::Failed };
        ended.error_message = end.error_message;
        ended.error_code = end.error_code;
        ended.result = end.result;
        ended.completed_at = Some(now);
        ended.started_at = ended.started_at.or(Some(ended.created_at));
        ended.eta_seconds = None;
        for guard in guards {
            guard.release().await;
        }
        entry.view.send_replace(view_of(&ended));
    }
}

impl Hub {
    /// What others were told of a job, whoever said so, is not taken back by its end.
    async fn keep_told(&self, ended: &mut JobRecord) {
        if let Ok(Some(row)) = self.catalog().job(&ended.id).await {
            ended.bytes_transferred = ended.bytes_transferred.max(row.bytes_transferred);
            ended.bytes_processed = ended.bytes_processed.max(row.bytes_processed.min(ended.total_bytes));
        }
    }
}

impl Tally {
    fn read_into(&self, record: &mut JobRecord) {
        let (mut total, mut processed, mut stored) = (0u64, 0u64, 0u64);
        for counters in self.copies.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let progress = counters.progress();
            total = total.saturating_add(progress.total);
            processed = processed.saturating_add(progress.processed);
            stored = stored.saturating_add(progress.stored);
        }
        record.total_bytes = total.max(self.total.load(Ordering::Relaxed));
        record.bytes_processed = processed.min(record.total_bytes);
        record.bytes_transferred = stored;
    }
}

impl JobReporter {
    fn refresh(&mut self) {
        self.tally.read_into(&mut self.record);
        let record = &mut self.record;
        if let Some(told) = self.told.all().values().next() {
            record.bytes_transferred = record.bytes_transferred.max(told.transferred);
            record.bytes_processed = record.bytes_processed.max(told.processed.min(record.total_bytes));
        }
        let now = std::time::Instant::now();
        (record.transfer_speed_bps, record.eta_seconds) =
            self.meter.note(now, record.bytes_processed, record.total_bytes);
        record.status = Status::Running;
        record.phase = self.tally.phase();
        let at = Timestamp::now();
        record.started_at = record.started_at.or(Some(at));
        record.last_telemetry_at = Some(at);
    }
}

impl Report for JobReporter {
    fn show(&mut self) {
        self.refresh();
        self.view.send_replace(view_of(&self.record));
    }

    async fn write(&mut self) -> Result<bool> {
        self.refresh();
        let progress = progress_of(&self.record, self.record.phase);
        let heard = self.hub.catalog().record_job_progress(&self.record.id, &progress).await?;
        if !heard.is_running() {
            return Err(Error::Ended { id: self.record.id.to_string(), status: heard.status });
        }
        Ok(heard.cancel_requested)
    }
}

fn progress_of(record: &JobRecord, phase: Phase) -> Progress {
    Progress {
        at: Timestamp::now(),
        phase,
        bytes_transferred: record.bytes_transferred,
        bytes_processed: record.bytes_processed,
        total_bytes: record.total_bytes,
        transfer_speed_bps: record.transfer_speed_bps,
        eta_seconds: record.eta_seconds,
        disks: Vec::new(),
    }
}

fn new_record(starting: Starting) -> JobRecord {
    JobRecord {
        id: starting.id,
        job_type: starting.job_type,
        status: Status::Pending,
        phase: Phase::Pending,
        backup_id: starting.backup_id,
        vm_name: starting.vm_name,
        repository_id: starting.repository_id,
        bytes_transferred: 0,
        bytes_processed: 0,
        total_bytes: 0,
        transfer_speed_bps: 0,
        eta_seconds: None,
        last_telemetry_at: None,
        error_message: None,
        error_code: None,
        request: starting.request,
        result: None,
        cancel_requested: false,
        created_at: Timestamp::now(),
        started_at: None,
        completed_at: None,
    }
}

/// A job's row as the API shows it.
pub(crate) fn view_of(record: &JobRecord) -> JobView {
    let percent = match record.total_bytes {
        0 if record.status == Status::Completed => 100.0,
        0 => 0.0,
        total => (record.bytes_processed as f64 / total as f64 * 10_000.0).round() / 100.0,
    };
    JobView {
        id: record.id.clone(),
        job_id: record.id.clone(),
        job_type: record.job_type,
        status: record.status,
        current_phase: record.phase,
        vm_name: record.vm_name.clone(),
        backup_id: record.backup_id.clone(),
        bytes_transferred: record.bytes_transferred,
        bytes_processed: record.bytes_processed,
        total_bytes: record.total_bytes,
        progress_percent: percent,
        transfer_speed_bps: record.transfer_speed_bps,
        eta_seconds: record.eta_seconds,
        last_telemetry_at: record.last_telemetry_at,
        error_message: record.error_message.clone(),
        error_code: record.error_code.clone(),
        error_hint: None,
        created_at: record.created_at,
        started_at: record.started_at,
        completed_at: record.completed_at,
        disks: Vec::new(),
        // Written by this program; what an older one wrote differently is left out.
        result: record.result.clone().and_then(|result| serde_json::from_value::<JobResult>(result).ok()),
    }
}
