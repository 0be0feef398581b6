//! How far a running backup is: what its threads have counted, what its client and others say, and whether a client is
//! still there.

use crate::control::{Control, Stop};
use crate::jobs::{Entry, Report, Told};
use crate::meter::Meter;
use crate::push::Session;
use crate::telemetry::{progress_of, raise};
use crate::{Error, Hub, Result};
use api::JobView;
use block::Counters;
use catalog::Heard;
use jiff::Timestamp;
use model::{Backup, Phase, Status};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A longer time between two looks at a client than this: the hub itself was not there.
const AWAY: Duration = Duration::from_secs(5);

/// Tells how far a backup is.
pub(super) struct Reporter<'a> {
    hub: &'a Hub,
    view: &'a watch::Sender<JobView>,
    control: &'a Control,
    record: Backup,
    counters: Vec<Arc<Counters>>,
    meter: Meter,
    /// What others say of it.
    told: &'a Told,
    /// Of a client that writes the disks.
    pub(super) session: Option<Arc<Session>>,
    /// When it was looked for the last time.
    listened: Instant,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(hub: &'a Hub, record: &Backup, entry: &'a Entry, counters: Vec<Arc<Counters>>) -> Self {
        Reporter {
            hub,
            view: &entry.view,
            control: &entry.control,
            told: &entry.told,
            record: record.clone(),
            counters,
            meter: Meter::default(),
            session: None,
            listened: Instant::now(),
        }
    }

    fn refresh(&mut self) {
        for (on, counters) in self.record.disks.iter_mut().zip(&self.counters) {
            let progress = counters.progress();
            on.bytes_transferred = progress.stored;
            on.bytes_processed = progress.processed.min(on.capacity_bytes);
        }
        let record = &mut self.record;
        raise(record, &self.told.all());
        if let Some(session) = &self.session {
            raise(record, &session.told());
        }
        if record.phase == Phase::Transferring {
            let now = Instant::now();
            (record.transfer_speed_bps, record.eta_seconds) =
                self.meter.note(now, record.bytes_processed, record.total_bytes);
        }
        record.last_telemetry_at = Some(Timestamp::now());
        if let Some(session) = &self.session {
            if let Some(pace) = session.pace() {
                (record.transfer_speed_bps, record.eta_seconds) = pace;
            }
            record.last_telemetry_at = Some(session.last_sign());
            let session = Arc::clone(session);
            self.listen(&session);
        }
    }

    /// Looks how long nothing was heard of the client. Time in which this process itself was not there (a stopped
    /// process, a machine that slept) is no silence of the client's.
    fn listen(&mut self, session: &Session) {
        let gap = std::mem::replace(&mut self.listened, Instant::now()).elapsed();
        if gap > AWAY {
            session.life().excuse(gap);
        }
        let silent = session.silent();
        let limits = self.hub.config().silence;
        let status = if silent >= limits.stalled { Status::Stalled } else { Status::Running };
        if status == Status::Stalled && self.record.status != status {
            tracing::warn!(id = %self.record.id, seconds = silent.as_secs(), "nothing is heard of a client");
        }
        self.record.status = status;
        for disk in &mut self.record.disks {
            disk.status = status;
        }
        if silent >= limits.failed {
            self.control.stop(Stop::Silent(silent.as_secs()));
        }
    }

    /// Whether somebody wants the backup cancelled; an error where somebody has ended it.
    fn heard(&self, heard: Heard) -> Result<bool> {
        match heard.is_running() {
            true => Ok(heard.cancel_requested),
            false => Err(Error::Ended { id: self.record.id.to_string(), status: heard.status }),
        }
    }

    pub(super) fn into_record(mut self) -> Backup {
        self.refresh();
        self.record
    }
}

impl Report for Reporter<'_> {
    fn show(&mut self) {
        self.refresh();
        let now = JobView::from(&self.record);
        // Of a client that does nothing there is nothing to tell.
        self.view.send_if_modified(|before| {
            let news = *before != now;
            *before = now;
            news
        });
    }

    async fn write(&mut self) -> Result<bool> {
        self.refresh();
        let record = &self.record;
        if record.status == Status::Stalled {
            let heard = self.hub.catalog().record_silence(&record.id).await?;
            return self.heard(heard);
        }
        let at = record.last_telemetry_at.unwrap_or_else(Timestamp::now);
        let progress = progress_of(record, at);
        let heard = self.hub.catalog().record_progress(&record.id, &progress).await?;
        self.heard(heard)
    }
}
