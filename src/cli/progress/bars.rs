//! Progress as bars: one a disk, a total where there are several, and a line with phase, speed and time left.
//!
//! The bars come up with the first news of a job and are taken away as a whole when everything has ended; the
//! summary takes their place.

use super::{Numbers, Task, phase_word};
use crate::duration;
use crate::screen::Screen;
use crate::show::{Show, one_line};
use api::Telemetry;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::Status;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The widest label of a bar.
const LABEL: usize = 28;

/// The bars of all jobs.
pub struct Bars {
    block: MultiProgress,
    style: ProgressStyle,
    jobs: BTreeMap<usize, Job>,
    total: ProgressBar,
    total_shown: bool,
    status: ProgressBar,
}

impl fmt::Debug for Bars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bars").field("jobs", &self.jobs).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Job {
    disks: BTreeMap<u32, ProgressBar>,
    numbers: Numbers,
    phase: &'static str,
    ended: bool,
}

impl Bars {
    /// An empty block of bars.
    pub fn new(screen: &Screen) -> Self {
        let block = screen.raise();
        let text = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let status = block.add(ProgressBar::no_length().with_style(text));
        Bars {
            block,
            style: style(),
            jobs: BTreeMap::new(),
            total: ProgressBar::hidden(),
            total_shown: false,
            status,
        }
    }

    /// How far a job is now.
    pub fn progress(&mut self, handle: usize, task: &Task, now: &Telemetry, show: &Show) {
        let job = self.jobs.entry(handle).or_insert_with(|| Job {
            disks: BTreeMap::new(),
            numbers: Numbers::of(now),
            phase: "",
            ended: false,
        });
        job.numbers = Numbers::of(now);
        job.phase = phase_word(now);
        job.ended = now.status.is_final();
        for disk in &now.disks {
            let bar = job.disks.entry(disk.disk_index).or_insert_with(|| {
                let above = if self.total_shown { &self.total } else { &self.status };
                let bar = self.block.insert_before(above, ProgressBar::new(disk.total_bytes));
                bar.set_style(self.style.clone());
                bar.set_prefix(label(&format!("{} disk {}", task.label(), disk.disk_index)));
                bar
            });
            let done = disk.bytes_processed.unwrap_or(disk.bytes_transferred).min(disk.total_bytes);
            bar.set_length(disk.total_bytes);
            bar.set_position(done);
            let state = match disk.status {
                Status::Failed => "  failed",
                Status::Cancelled => "  cancelled",
                _ => "",
            };
            bar.set_message(format!("{}{state}", of(done, disk.total_bytes, show)));
        }
        self.draw_total(task, show);
    }

    /// A job has ended.
    pub fn end(&mut self, handle: usize) {
        if let Some(job) = self.jobs.get_mut(&handle) {
            job.ended = true;
        }
    }

    /// One disk has its bar; several have a total besides; work that is not told by disks has that only.
    fn draw_total(&mut self, task: &Task, show: &Show) {
        let bars: usize = self.jobs.values().map(|job| job.disks.len()).sum();
        if bars != 1 && !self.total_shown {
            self.total = self.block.insert_before(&self.status, ProgressBar::new(0));
            self.total.set_style(self.style.clone());
            self.total_shown = true;
        }
        let all = self.jobs.values().map(|job| job.numbers);
        let (done, total) = all.fold((0u64, 0u64), |(done, total), numbers| {
            (done.saturating_add(numbers.done), total.saturating_add(numbers.total))
        });
        if self.total_shown {
            let alone = bars == 0 && self.jobs.len() == 1;
            self.total.set_prefix(label(if alone { task.label() } else { "total" }));
            self.total.set_length(total);
            self.total.set_position(done);
            self.total.set_message(of(done, total, show));
        }
        self.status.set_message(self.status_text(done, total, show));
    }

    fn status_text(&self, done: u64, total: u64, show: &Show) -> String {
        let running: Vec<&Job> = self.jobs.values().filter(|job| !job.ended).collect();
        let speed: u64 = running.iter().map(|job| job.numbers.speed).sum();
        let left = match running.as_slice() {
            [only] => only.numbers.left,
            _ => total.saturating_sub(done).checked_div(speed),
        };
        let ended = self.jobs.len() - running.len();
        let phase = match running.first() {
            Some(first) if running.iter().all(|job| job.phase == first.phase) => first.phase,
            Some(_) => "running",
            None => "ended",
        };
        let mut parts = vec![phase.to_owned()];
        if self.jobs.len() > 1 {
            parts.push(format!("{ended} of {} done", self.jobs.len()));
        }
        if speed > 0 && phase != "finalizing" {
            parts.push(show.speed(speed));
            if let Some(left) = left {
                parts.push(format!("{} left", duration::short(Duration::from_secs(left))));
            }
        }
        parts.join("   ")
    }
}

/// `  1.4 GiB of   2.2 GiB`, of a width that does not change.
fn of(done: u64, total: u64, show: &Show) -> String {
    format!("{:>9} of {:>9}", show.size(done), show.size(total))
}

/// A label of a fixed width, so that bars stand in line. A long one loses its middle: what tells backups
/// and disks apart stands at the end.
fn label(text: &str) -> String {
    let text = one_line(text);
    let count = text.chars().count();
    if count <= LABEL {
        return format!("{text:<16}");
    }
    let head: String = text.chars().take(8).collect();
    let tail: String = text.chars().skip(count - (LABEL - 9)).collect();
    format!("{head}…{tail}")
}

fn style() -> ProgressStyle {
    let (template, chars) = if is_utf8() {
        ("{prefix} {wide_bar:.cyan/dim} {percent:>3} % {msg}", "━╸─")
    } else {
        ("{prefix} [{wide_bar}] {percent:>3} % {msg}", "=> ")
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars(chars)
}

fn is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| value.to_ascii_lowercase().replace('-', "").contains("utf8"))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{task, telemetry};
    use super::*;
    use model::Phase;

    #[test]
    fn labels_keep_what_tells_them_apart() {
        assert_eq!(label("pg disk 0"), "pg disk 0       ");
        let long = label("backup-pgtest2-20251006-120000 disk 1");
        assert_eq!(long, "backup-p…51006-120000 disk 1");
        assert!(long.chars().count() <= LABEL);
    }

    #[test]
    fn the_line_below_the_bars_sums_the_jobs_up() {
        let show = Show::new(false, true);
        let mut bars = Bars::new(&Screen::default());
        bars.progress(0, &task(), &telemetry(Phase::Transferring, 1 << 30), &show);
        assert_eq!(bars.status_text(1 << 30, 2 << 30, &show), "transferring   512.0 MiB/s   2.0 s left");
        bars.progress(1, &task(), &telemetry(Phase::Transferring, 1 << 30), &show);
        assert_eq!(
            bars.status_text(2 << 30, 4 << 30, &show),
            "transferring   0 of 2 done   1.0 GiB/s   2.0 s left"
        );
        bars.end(0);
        bars.end(1);
        assert_eq!(bars.status_text(4 << 30, 4 << 30, &show), "ended   2 of 2 done");
    }
}
