//! How far jobs are, for whoever looks: bars on a terminal, lines where there is none, JSON for programs,
//! nothing with `--quiet`.
//!
//! A [`Reporter`] gets every [`Telemetry`] of every job and decides what of it to show; it keeps the last one
//! of each, so that a status line can be given at any time. It never asks the hub for anything.

mod bars;
mod json;
mod lines;

use crate::ui::{Ui, stderr_is_live};
use api::Telemetry;
use bars::Bars;
use json::JsonLines;
pub(crate) use json::accepted;
use lines::Lines;
use model::{JobType, Phase, Status};
use std::time::Instant;

/// One job that is reported on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The VM it works for.
    pub vm: Option<String>,
    /// The backup it makes or reads.
    pub backup_id: Option<String>,
    /// Its id.
    pub job_id: String,
    /// What kind of work.
    pub job: JobType,
}

impl Task {
    /// What a person calls it: the VM for a backup, the backup for the rest.
    pub fn label(&self) -> &str {
        let (first, second) = match self.job {
            JobType::Backup => (&self.vm, &self.backup_id),
            _ => (&self.backup_id, &self.vm),
        };
        first.as_deref().or(second.as_deref()).unwrap_or(&self.job_id)
    }
}

/// The numbers that everything is shown from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Numbers {
    pub done: u64,
    pub total: u64,
    pub percent: f64,
    pub speed: u64,
    pub left: Option<u64>,
}

impl Numbers {
    fn of(now: &Telemetry) -> Self {
        Numbers {
            done: now.bytes_processed.unwrap_or(now.bytes_transferred).min(now.total_bytes),
            total: now.total_bytes,
            percent: now.progress_percent,
            speed: now.transfer_speed_bps,
            left: now.eta_seconds,
        }
    }
}

/// What a person reads of a phase: the state where it says more.
pub(crate) fn phase_word(now: &Telemetry) -> &'static str {
    match (now.status, now.current_phase) {
        (Status::Stalled, _) => "stalled",
        (Status::Cancelled, _) => "cancelled",
        (_, Phase::Transferring) if now.job_type == JobType::Verify => "reading",
        (_, phase) => phase.as_str(),
    }
}

/// Shows how far jobs are.
#[derive(Debug)]
pub struct Reporter {
    tasks: Vec<(Task, Option<Telemetry>)>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Silent,
    Bars(Bars),
    Lines(Lines),
    Json(JsonLines),
}

impl Reporter {
    /// Chooses the way by the user's wishes and the terminal.
    pub fn new(ui: &Ui) -> Self {
        let way = match ui {
            ui if ui.quiet => Way::Silent,
            ui if ui.json => Way::Json(JsonLines::default()),
            _ if stderr_is_live() => Way::Bars(Bars::new(&ui.screen)),
            _ => Way::Lines(Lines::default()),
        };
        Reporter { tasks: Vec::new(), way }
    }

    /// A reporter that shows nothing by itself, only status lines when asked.
    pub fn silent() -> Self {
        Reporter { tasks: Vec::new(), way: Way::Silent }
    }

    /// Takes a job in; the number is its handle. `note` says what was begun, for a person.
    pub fn begin(&mut self, ui: &Ui, task: Task, note: &str) -> usize {
        match &mut self.way {
            Way::Lines(_) => ui.screen.line(note),
            Way::Json(json) => json.begin(ui, &task),
            Way::Silent | Way::Bars(_) => {}
        }
        self.tasks.push((task, None));
        self.tasks.len() - 1
    }

    /// How far that job is now.
    pub fn progress(&mut self, ui: &Ui, handle: usize, now: Telemetry) {
        let Some((task, last)) = self.tasks.get_mut(handle) else { return };
        match &mut self.way {
            Way::Silent => {}
            Way::Bars(bars) => bars.progress(handle, task, &now, &ui.show),
            Way::Lines(lines) => {
                if let Some(line) = lines.progress(handle, task, &now, &ui.show, Instant::now()) {
                    ui.screen.line(&line);
                }
            }
            Way::Json(json) => json.progress(ui, handle, task, &now, Instant::now()),
        }
        *last = Some(now);
    }

    /// That job has ended.
    pub fn end(&mut self, handle: usize) {
        if let Way::Bars(bars) = &mut self.way {
            bars.end(handle);
        }
    }

    /// One line for each job, for SIGUSR1.
    pub fn status_lines(&self, ui: &Ui) -> Vec<String> {
        if self.tasks.is_empty() {
            return vec!["nothing has begun yet".to_owned()];
        }
        self.tasks
            .iter()
            .map(|(task, now)| match now {
                Some(now) => lines::line(task, now, &ui.show),
                None => format!("{}: pending", task.label()),
            })
            .collect()
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;
    use api::DiskTelemetry;

    pub fn task() -> Task {
        Task {
            vm: Some("pgtest2".into()),
            backup_id: Some("backup-pgtest2-20251006-120000".into()),
            job_id: "backup-pgtest2-20251006-120000".into(),
            job: JobType::Backup,
        }
    }

    pub fn telemetry(phase: Phase, done: u64) -> Telemetry {
        let disk = |index: u32, done: u64| DiskTelemetry {
            disk_index: index,
            disk_key: 2000 + index,
            bytes_transferred: done / 2,
            bytes_processed: Some(done),
            total_bytes: 1 << 30,
            progress_percent: done as f64 * 100.0 / (1u64 << 30) as f64,
            status: Status::Running,
        };
        Telemetry {
            job_type: JobType::Backup,
            status: Status::Running,
            current_phase: phase,
            bytes_transferred: done / 2,
            bytes_processed: Some(done),
            total_bytes: 2 << 30,
            transfer_speed_bps: 512 << 20,
            eta_seconds: Some(((2u64 << 30) - done) >> 29),
            progress_percent: done as f64 * 100.0 / (2u64 << 30) as f64,
            timestamp: "2025-10-06T12:00:00Z".parse().unwrap(),
            disks: vec![disk(0, done / 2), disk(1, done / 2)],
            error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_called_by_its_vm_and_other_work_by_its_backup() {
        let task = samples::task();
        assert_eq!(task.label(), "pgtest2");
        assert_eq!(Task { job: JobType::Verify, ..task }.label(), "backup-pgtest2-20251006-120000");
    }

    #[test]
    fn status_lines_are_there_before_the_first_news() {
        let ui = Ui::new(&crate::ui::GlobalArgs { quiet: true, ..Default::default() });
        let mut reporter = Reporter::silent();
        assert_eq!(reporter.status_lines(&ui), ["nothing has begun yet"]);
        let handle = reporter.begin(&ui, samples::task(), "");
        assert_eq!(reporter.status_lines(&ui), ["pgtest2: pending"]);
        reporter.progress(&ui, handle, samples::telemetry(Phase::Transferring, 1 << 30));
        assert!(reporter.status_lines(&ui)[0].starts_with("pgtest2: transferring, 50.0 %"));
    }
}
