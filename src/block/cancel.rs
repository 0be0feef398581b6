//! Stopping work from outside: by request, or when its time is over.
//!
//! The model: a [`CancelToken`] is cloned to everybody who takes part. `cancel` is for good; a deadline
//! belongs to the token it was given to and to that token's clones. Whoever works asks [`check`] between
//! steps and waits only by [`pause`], so that no wait outlives a request. A call that is inside the kernel
//! or waits for a peer is not interrupted: sources and sinks bound their own waits.
//!
//! What is *not* here: signals and the catalog's wish to cancel, which are the caller's to bring here.
//!
//! [`check`]: CancelToken::check
//! [`pause`]: CancelToken::pause

use crate::{Error, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A wait whose end can't be told as a moment is looked at again after this.
const LONG: Duration = Duration::from_secs(3600);

/// A request to stop, shared by all its clones.
#[derive(Debug, Clone, Default)]
pub struct CancelToken {
    shared: Arc<Shared>,
    deadline: Option<Deadline>,
}

#[derive(Debug, Default)]
struct Shared {
    cancelled: AtomicBool,
    lock: Mutex<()>,
    bell: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct Deadline {
    at: Instant,
    /// What the limit was, for the error's text.
    seconds: u64,
}

impl CancelToken {
    /// A token that nobody has cancelled, without a deadline.
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that is cancelled together with this one, and besides is over `limit` from now. An earlier
    /// deadline of this one stays in force.
    pub fn with_limit(&self, limit: Duration) -> CancelToken {
        let ours = Instant::now().checked_add(limit).map(|at| Deadline { at, seconds: limit.as_secs() });
        let deadline = match (self.deadline, ours) {
            (Some(theirs), Some(ours)) => Some(if theirs.at <= ours.at { theirs } else { ours }),
            (theirs, ours) => theirs.or(ours),
        };
        CancelToken { shared: Arc::clone(&self.shared), deadline }
    }

    /// Asks everybody to stop; wakes who waits. Not for signal handlers: it takes a lock.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        // The lock orders this after a sleeper's last look at the flag, or it might miss the bell.
        drop(self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.bell.notify_all();
    }

    /// True after [`cancel`](Self::cancel); a deadline that is over does not count.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    /// To be asked between steps.
    ///
    /// # Errors
    /// [`Error::Cancelled`] or [`Error::TimedOut`]: stop now.
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline.at => Err(Error::TimedOut(deadline.seconds)),
            _ => Ok(()),
        }
    }

    /// Waits for `time`, or until there is a reason to stop.
    ///
    /// # Errors
    /// As [`check`](Self::check), as soon as it fails.
    pub fn pause(&self, time: Duration) -> Result<()> {
        // A wait without an end still ends by a request or the deadline.
        let until = Instant::now().checked_add(time);
        let mut guard = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            self.check()?;
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(());
            }
            let wake = self.deadline.map(|deadline| deadline.at).into_iter().chain(until).min();
            let wait = wake.map_or(LONG, |wake| wake.saturating_duration_since(now));
            guard = self.shared.bell.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn cancelling_reaches_every_clone_and_wakes_sleepers() {
        let token = CancelToken::new();
        let limited = token.with_limit(Duration::from_secs(3600));
        assert!(limited.check().is_ok());
        let started = Instant::now();
        let sleeper = thread::spawn(move || limited.pause(Duration::from_secs(60)));
        token.cancel();
        assert!(matches!(sleeper.join().unwrap(), Err(Error::Cancelled)));
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(token.is_cancelled());
    }

    #[test]
    fn the_earlier_deadline_counts() {
        let token = CancelToken::new().with_limit(Duration::ZERO).with_limit(Duration::from_secs(60));
        assert!(matches!(token.check(), Err(Error::TimedOut(0))));
        assert!(matches!(token.pause(Duration::from_secs(60)), Err(Error::TimedOut(0))));
        assert!(!token.is_cancelled());
    }

    #[test]
    fn a_pause_ends_by_itself() {
        assert!(CancelToken::new().pause(Duration::from_millis(1)).is_ok());
    }

    #[test]
    fn an_endless_limit_is_none() {
        assert!(CancelToken::new().with_limit(Duration::MAX).check().is_ok());
    }
}
