//! Speed and time to go, from a byte count that is looked at now and then.
//!
//! The speed is that of the last [`WINDOW`], not of the whole run: a person watches it to see what happens
//! now. The time to go follows from it, and is not told before there is a speed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back the speed looks.
const WINDOW: Duration = Duration::from_secs(8);

/// The least time between two kept samples, so that a fast caller does not grow the window's memory.
const STEP: Duration = Duration::from_millis(200);

/// The recent history of one count.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Notes that `done` bytes were dealt with by `now`; gives back bytes per second and, where it can be
    /// told, the seconds until `total`.
    pub(crate) fn note(&mut self, now: Instant, done: u64, total: u64) -> (u64, Option<u64>) {
        while self.samples.len() > 1
            && self.samples.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > WINDOW)
        {
            self.samples.pop_front();
        }
        if self.samples.back().is_none_or(|(at, _)| now.saturating_duration_since(*at) >= STEP) {
            self.samples.push_back((now, done));
        }
        let Some((since, before)) = self.samples.front() else { return (0, None) };
        let seconds = now.saturating_duration_since(*since).as_secs_f64();
        if seconds < 0.05 {
            return (0, None);
        }
        let speed = (done.saturating_sub(*before) as f64 / seconds) as u64;
        let left = total.saturating_sub(done);
        let eta = (speed > 0).then(|| left.div_ceil(speed));
        (speed, eta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let mut meter = Meter::default();
        let start = Instant::now();
        assert_eq!(meter.note(start, 0, 1000), (0, None));
        for second in 1..=20 {
            meter.note(start + Duration::from_secs(second), second * 10, 1000);
        }
        assert_eq!(meter.note(start + Duration::from_secs(20), 200, 1000), (10, Some(80)));
        for second in 21..=40 {
            meter.note(start + Duration::from_secs(second), 200, 1000);
        }
        assert_eq!(meter.note(start + Duration::from_secs(41), 200, 1000), (0, None));
    }
}
