//! Ending a running job from outside, once and for a reason.
//!
//! A [`Control`] belongs to one job of this process. The first reason to stop wins and is what the record
//! will say; it cancels the copies' token and interrupts network calls that block. Later reasons (mostly the
//! echo of the first one on other disks) are dropped. Nothing here waits for the job to end.

use crate::{CatalogFault, Error};
use block::CancelToken;
use std::sync::OnceLock;

/// Why a job is to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody asked.
    Cancelled,
    /// The process that runs it ends.
    Ending,
    /// Its time limit, in seconds, is over.
    TimedOut(u64),
    /// The repository ran full.
    NoSpace {
        /// Its name.
        place: String,
        /// Bytes left.
        available: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// Its lease was broken by another process, or could not be kept alive.
    LeaseLost(String),
    /// The client that writes its disks has given up, and says why.
    Reported(String),
    /// Nothing was heard of it for so many seconds.
    Silent(u64),
    /// One of its disks failed; the error is that disk's.
    DiskFailed,
}

impl Stop {
    /// What the record says; `None` where a disk's own error says it.
    pub(crate) fn error(&self) -> Option<Error> {
        match self {
            Stop::Cancelled => Some(Error::Cancelled),
            Stop::Ending => Some(Error::Ending),
            Stop::TimedOut(seconds) => Some(Error::TimedOut(*seconds)),
            Stop::NoSpace { place, available, reserve } => Some(Error::NoSpace {
                place: place.clone(),
                needed: None,
                available: *available,
                reserve: *reserve,
            }),
            Stop::LeaseLost(reason) => {
                Some(Error::Catalog { reason: reason.clone(), fault: CatalogFault::Other })
            }
            Stop::Reported(said) => Some(Error::Reported(said.clone())),
            Stop::Silent(seconds) => Some(Error::Silent(*seconds)),
            Stop::DiskFailed => None,
        }
    }
}

/// The means of stopping one job.
#[derive(Debug, Default)]
pub(crate) struct Control {
    cancel: CancelToken,
    interrupt: nbd::Interrupt,
    stop: OnceLock<Stop>,
}

impl Control {
    /// For the copies.
    pub(crate) fn token(&self) -> &CancelToken {
        &self.cancel
    }

    /// For network sources and sinks.
    pub(crate) fn interrupt(&self) -> &nbd::Interrupt {
        &self.interrupt
    }

    /// Asks the job to stop. False where it was asked before.
    pub(crate) fn stop(&self, reason: Stop) -> bool {
        let first = self.stop.set(reason).is_ok();
        self.cancel.cancel();
        self.interrupt.stop();
        first
    }

    /// Why it was asked to stop, if it was.
    pub(crate) fn reason(&self) -> Option<&Stop> {
        self.stop.get()
    }

    /// To be asked between steps.
    ///
    /// # Errors
    /// The reason to stop, where there is one.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.reason() {
            Some(reason) => Err(reason.error().unwrap_or(Error::Cancelled)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_wins_and_stops_everybody() {
        let control = Control::default();
        assert!(control.check().is_ok());
        assert!(control.stop(Stop::TimedOut(5)));
        assert!(!control.stop(Stop::Cancelled));
        assert!(control.token().is_cancelled() && control.interrupt().is_stopped());
        assert!(matches!(control.check(), Err(Error::TimedOut(5))));
    }
}
