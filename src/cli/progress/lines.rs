//! Progress as lines: one at each phase, and in between at growing intervals, so that a log of a night stays
//! short and that of a minute still says something.

use super::{Numbers, Task, phase_word};
use crate::duration;
use crate::show::{Show, percent};
use api::Telemetry;
use model::{Phase, Status};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const FIRST_INTERVAL: Duration = Duration::from_secs(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(600);

/// What was said last of each job.
#[derive(Debug, Default)]
pub struct Lines {
    said: BTreeMap<usize, Said>,
}

#[derive(Debug)]
struct Said {
    phase: Phase,
    stalled: bool,
    at: Instant,
    interval: Duration,
}

impl Lines {
    /// The line to write now, if any.
    pub fn progress(
        &mut self,
        handle: usize,
        task: &Task,
        now: &Telemetry,
        show: &Show,
        at: Instant,
    ) -> Option<String> {
        // How it ends is the summary's to say.
        if now.status.is_final() {
            return None;
        }
        let stalled = now.status == Status::Stalled;
        let (interval, due) = match self.said.get(&handle) {
            None => (FIRST_INTERVAL, now.current_phase != Phase::Pending),
            Some(said) if said.phase != now.current_phase || said.stalled != stalled => {
                (FIRST_INTERVAL, true)
            }
            Some(said) if at.duration_since(said.at) >= said.interval => {
                ((said.interval * 2).min(LONGEST_INTERVAL), true)
            }
            Some(_) => return None,
        };
        self.said.insert(handle, Said { phase: now.current_phase, stalled, at, interval });
        due.then(|| line(task, now, show))
    }
}

/// `pgtest2: transferring, 50.0 %, 1.0 GiB of 2.0 GiB, 512.0 MiB/s, 2.0 s left`.
pub fn line(task: &Task, now: &Telemetry, show: &Show) -> String {
    let numbers = Numbers::of(now);
    let mut line = format!("{}: {}", task.label(), phase_word(now));
    if now.current_phase == Phase::Transferring && numbers.total > 0 {
        line.push_str(&format!(
            ", {}, {} of {}",
            percent(numbers.percent),
            show.size(numbers.done),
            show.size(numbers.total)
        ));
        if numbers.speed > 0 {
            line.push_str(&format!(", {}", show.speed(numbers.speed)));
        }
        if let Some(left) = numbers.left {
            line.push_str(&format!(", {} left", duration::short(Duration::from_secs(left))));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::samples::{task, telemetry};
    use super::*;

    #[test]
    fn phases_are_told_and_between_them_intervals_grow() {
        let show = Show::new(false, true);
        let start = Instant::now();
        let mut lines = Lines::default();
        let mut told = Vec::new();
        for second in 0..200 {
            let phase = if second < 1 { Phase::Snapshot } else { Phase::Transferring };
            let now = telemetry(phase, second << 20);
            let at = start + Duration::from_secs(second);
            if lines.progress(0, &task(), &now, &show, at).is_some() {
                told.push(second);
            }
        }
        assert_eq!(told, [0, 1, 11, 31, 71, 151]);
    }

    #[test]
    fn a_line_says_phase_bytes_speed_and_what_is_left() {
        let show = Show::new(false, true);
        assert_eq!(
            line(&task(), &telemetry(Phase::Transferring, 1 << 30), &show),
            "pgtest2: transferring, 50.0 %, 1.0 GiB of 2.0 GiB, 512.0 MiB/s, 2.0 s left"
        );
        assert_eq!(line(&task(), &telemetry(Phase::Finalizing, 2 << 30), &show), "pgtest2: finalizing");
    }

    #[test]
    fn an_end_is_left_to_the_summary() {
        let mut now = telemetry(Phase::Completed, 2 << 30);
        now.status = Status::Completed;
        assert_eq!(
            Lines::default().progress(0, &task(), &now, &Show::new(false, true), Instant::now()),
            None
        );
    }
}
