//! When something was last heard of a client: a request to an export, or telemetry.

use jiff::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The last sign of life.
#[derive(Debug)]
pub(crate) struct Life {
    begun: Instant,
    /// Milliseconds after the beginning.
    last: AtomicU64,
}

impl Life {
    /// The beginning is one.
    pub(super) fn new() -> Life {
        Life { begun: Instant::now(), last: AtomicU64::new(0) }
    }

    /// There is one now.
    pub(super) fn heard(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.fetch_max(now, Ordering::Relaxed);
    }

    /// For so long nobody could have heard anything.
    pub(crate) fn excuse(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.last.load(Ordering::Relaxed).saturating_add(time).min(now);
        self.last.fetch_max(last, Ordering::Relaxed);
    }

    /// How long there has been none.
    pub(crate) fn silent(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }

    /// When the last one was.
    pub(crate) fn last(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_sub(self.silent()).unwrap_or(now)
    }
}
