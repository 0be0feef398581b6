//! How far an extraction or an archive is: a line on a terminal, now and then a line elsewhere, JSON lines for programs.
//!
//! What there is to do is counted by the hub beside the work, and only once that has taken a moment: the start never
//! waits for it. Until the count is there, there is no time left to be told.

use crate::browse::Browsing;
use crate::connect::Connection;
use crate::duration;
use crate::failure::SCHEMA_VERSION;
use crate::ui::{Ui, stderr_is_live};
use api::{FileCount, Selection};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How often the line on a terminal changes.
const TICK: Duration = Duration::from_millis(200);
/// How often a JSON line is written.
const JSON: Duration = Duration::from_millis(500);
/// When the first line comes where there is no terminal; the times between them double up to the longest.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// Work that takes less is not counted.
const WORTH_COUNTING: Duration = Duration::from_millis(250);
/// What making a file costs, in bytes that could be written meanwhile.
const FILE_COST: u64 = 64 << 10;

/// Shows how far it is.
pub struct Meter<'a> {
    hub: &'a Connection,
    ui: &'a Ui,
    mount_id: String,
    selection: Selection,
    bar: Option<indicatif::ProgressBar>,
    started: Instant,
    /// When something is to be shown next, and how long after that again.
    due: Instant,
    every: Duration,
    total: Arc<Mutex<FileCount>>,
    counting: Option<JoinHandle<()>>,
}

impl<'a> Meter<'a> {
    /// Begins to measure the time. `words` are what is extracted.
    pub fn new(hub: &'a Connection, session: &Browsing<'_>, ui: &'a Ui, words: &[Vec<u8>]) -> Self {
        let live = stderr_is_live() && !ui.quiet && !ui.json;
        let bar = live.then(|| {
            let bar = ui.screen.raise().add(indicatif::ProgressBar::no_length());
            bar.with_style(
                indicatif::ProgressStyle::with_template("{msg}")
                    .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
            )
        });
        let every = match (live, ui.json) {
            (true, _) => TICK,
            (false, true) => JSON,
            (false, false) => FIRST,
        };
        let started = Instant::now();
        Meter {
            hub,
            ui,
            mount_id: session.mount.mount_id.clone(),
            selection: Selection::of(words),
            bar,
            started,
            due: started + every,
            every,
            total: Arc::default(),
            counting: None,
        }
    }

    /// Whether it is time to [`show`](Self::show) something.
    pub fn is_due(&mut self) -> bool {
        if self.ui.quiet && !self.ui.json {
            return false;
        }
        let now = Instant::now();
        if self.counting.is_none() && now - self.started >= WORTH_COUNTING {
            self.count();
        }
        now >= self.due
    }

    /// Shows that so many files and bytes are done, where it is time for that.
    pub fn show(&mut self, files: u64, bytes: u64) {
        if !self.is_due() {
            return;
        }
        if self.bar.is_none() && !self.ui.json {
            self.every = (self.every * 2).min(LONGEST);
        }
        self.due = Instant::now() + self.every;
        let total = self.total();
        if self.ui.json {
            self.ui.json_line(&json!({
                "message_type": "status",
                "schema_version": SCHEMA_VERSION,
                "percent_done": total.map_or(0.0, |total| done(files, bytes, &total)),
                "files_done": files,
                "total_files": total.map(|total| total.files),
                "bytes_done": bytes,
                "total_bytes": total.map(|total| total.bytes),
                "bytes_per_second": self.speed(bytes),
                "seconds_remaining": total.and_then(|total| self.left(files, bytes, &total)).map(|left| left.as_secs()),
            }));
            return;
        }
        let line = self.line(files, bytes);
        match &self.bar {
            Some(bar) => bar.set_message(line),
            None => self.ui.note(&line),
        }
    }

    /// The line that tells how far it is.
    pub fn line(&self, files: u64, bytes: u64) -> String {
        let show = &self.ui.show;
        let speed = show.speed(self.speed(bytes));
        let Some(total) = self.total() else {
            return format!("{files} files, {}, {speed}", show.size(bytes));
        };
        let (of_files, of_bytes) = (total.files.max(files), show.size(total.bytes.max(bytes)));
        let mut line = format!("{files} of {of_files} files, {} of {of_bytes}, {speed}", show.size(bytes));
        if let Some(left) = self.left(files, bytes, &total) {
            line.push_str(&format!(", {} left", duration::short(left)));
        }
        line
    }

    fn speed(&self, bytes: u64) -> u64 {
        (bytes as f64 / self.started.elapsed().as_secs_f64().max(0.001)) as u64
    }

    /// All there is to do, once that is known.
    fn total(&self) -> Option<FileCount> {
        let total = *self.total.lock().unwrap_or_else(PoisonError::into_inner);
        total.done.then_some(total)
    }

    fn left(&self, files: u64, bytes: u64, total: &FileCount) -> Option<Duration> {
        let done = done(files, bytes, total);
        // What is told from less would jump about.
        (done > 0.005).then(|| self.started.elapsed().mul_f64((1.0 - done) / done))
    }

    fn count(&mut self) {
        let (client, id) = (self.hub.client().clone(), self.mount_id.clone());
        let (selection, total) = (self.selection.clone(), Arc::clone(&self.total));
        self.counting = Some(self.hub.spawn(async move {
            // Without a count the work is the same.
            let Ok(mut counting) = client.count(&id, &selection).await else { return };
            while let Ok(Some(count)) = counting.next().await {
                *total.lock().unwrap_or_else(PoisonError::into_inner) = count;
            }
        }));
    }
}

/// The part that is done, from 0 to 1.
fn done(files: u64, bytes: u64, total: &FileCount) -> f64 {
    let work = |files: u64, bytes: u64| files.saturating_mul(FILE_COST).saturating_add(bytes) as f64;
    (work(files, bytes) / work(total.files, total.bytes).max(1.0)).clamp(0.0, 1.0)
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        if let Some(counting) = &self.counting {
            counting.abort();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_count_for_more_than_their_bytes() {
        let total = FileCount { files: 100, bytes: 100, ..FileCount::default() };
        assert!((done(50, 50, &total) - 0.5).abs() < 0.01);
        assert!((done(100, 100, &total) - 1.0).abs() < 1e-9);
        assert!((done(1000, 1000, &total) - 1.0).abs() < 1e-9, "what came after the count");
        assert!(done(0, 0, &FileCount::default()) < 1e-9);
    }
}
