//! A bandwidth limit that several copies share.
//!
//! The model: a token bucket, kept as the moment at which it will be full of debt no more. Whoever takes
//! bytes moves that moment on by what they cost and waits until its own share begins; so the order of
//! asking is the order of going, and nobody starves. An idle limiter saves up [`BURST`] and no more.

use crate::{CancelToken, Result};
use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What may be saved up while idle, as time at the full rate. Long enough that a thread which comes a bit
/// late loses nothing, short enough that a watched rate looks right each second.
const BURST: Duration = Duration::from_millis(100);

/// A limit in bytes per second. Share it by reference among all copies that it covers together.
#[derive(Debug)]
pub struct Limiter {
    rate: NonZeroU64,
    /// When the bytes taken so far are paid for.
    paid: Mutex<Instant>,
}

impl Limiter {
    /// At most `rate` bytes per second.
    pub fn new(rate: NonZeroU64) -> Self {
        Limiter { rate, paid: Mutex::new(Instant::now()) }
    }

    /// The limit in bytes per second.
    pub fn rate(&self) -> NonZeroU64 {
        self.rate
    }

    /// Takes `bytes`, waiting until they may go.
    ///
    /// # Errors
    /// Where `cancel` says stop meanwhile.
    pub fn take(&self, bytes: u64, cancel: &CancelToken) -> Result<()> {
        let wait = self.reserve(bytes, Instant::now());
        if wait.is_zero() { Ok(()) } else { cancel.pause(wait) }
    }

    /// Books `bytes` and tells how long after `now` they may go.
    fn reserve(&self, bytes: u64, now: Instant) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the clock's own beginning there is nothing to be saved up.
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let begins = (*paid).max(earliest);
        *paid = begins.checked_add(cost).unwrap_or(begins);
        begins.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: u64) -> (Limiter, Instant) {
        let limiter = Limiter::new(NonZeroU64::new(rate).unwrap());
        let start = *limiter.paid.lock().unwrap();
        (limiter, start)
    }

    #[test]
    fn shares_are_given_one_behind_the_other() {
        let (limiter, start) = limiter(1000);
        // A fresh limiter has saved up a tenth of a second.
        *limiter.paid.lock().unwrap() = start;
        assert_eq!(limiter.reserve(1000, start), Duration::ZERO);
        assert_eq!(limiter.reserve(500, start), Duration::from_secs(1));
        assert_eq!(limiter.reserve(0, start), Duration::from_millis(1500));
        assert_eq!(limiter.reserve(1, start + Duration::from_millis(700)), Duration::from_millis(800));
    }

    #[test]
    fn idle_time_saves_up_no_more_than_a_burst() {
        let (limiter, start) = limiter(1000);
        let later = start + Duration::from_secs(100);
        assert_eq!(limiter.reserve(100, later), Duration::ZERO);
        assert_eq!(limiter.reserve(1000, later), Duration::ZERO);
        assert_eq!(limiter.reserve(1, later), Duration::from_secs(1));
    }

    #[test]
    fn over_time_the_rate_is_exact() {
        let (limiter, start) = limiter(3 << 20);
        let mut now = start;
        for _ in 0..300 {
            now += limiter.reserve(1 << 20, now);
        }
        let seconds = (now - start).as_secs_f64();
        assert!((99.0..100.1).contains(&seconds), "{seconds}");
    }

    #[test]
    fn absurd_amounts_do_not_overflow() {
        let (limiter, start) = limiter(1);
        limiter.reserve(u64::MAX, start);
        limiter.reserve(u64::MAX, start);
    }

    #[test]
    fn a_cancelled_taker_does_not_wait() {
        let (limiter, _) = limiter(1);
        let cancel = CancelToken::new();
        limiter.take(1 << 40, &cancel).unwrap();
        cancel.cancel();
        assert!(limiter.take(1, &cancel).is_err());
    }
}
