//! Several connections to one export, each used by one caller at a time, and dialled again when lost.
//!
//! The model: a fixed number of slots; a caller takes a free one (or waits for it), uses its session and
//! gives it back. A slot whose session broke is empty; whoever takes it next dials. With a patience of zero
//! nothing is ever dialled again: the first broken session is the caller's error.
//!
//! A caller that meets a lost connection tries again, at once and then with pauses that double from 50 ms to
//! 2 s, until its patience, counted from its first failure, is used up. A new connection counts only if the export is what
//! it was: same size, same abilities.

use crate::connect::{Dialler, Link};
use crate::handshake::Export;
use crate::wire::export_flag;
use crate::{Error, Options, Refusal, Result};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The least that a further connection may take at opening, and how many times as long as the first; a server
/// that takes longer does not serve as many clients at once, and gets fewer.
const FURTHER_CONNECTION: (Duration, u32) = (Duration::from_millis(300), 10);

/// Connections to one export.
pub(crate) struct Pool {
    dialler: Dialler,
    export: Export,
    handshake_timeout: Duration,
    patience: Duration,
    size: usize,
    free: Mutex<Vec<Slot>>,
    returned: Condvar,
}

/// One place for a session, empty where it broke.
type Slot = Option<Link>;

impl Pool {
    /// Dials the export: once, and up to `most` times where the server lets several connections work on it
    /// together. `patience` is for lost connections, not for this.
    pub(crate) fn open(dialler: Dialler, options: &Options, patience: Duration) -> Result<Self> {
        let started = Instant::now();
        let first = dialler.dial(options.handshake_timeout)?;
        let (least, times) = FURTHER_CONNECTION;
        let limit = (started.elapsed() * times).max(least).min(options.handshake_timeout);
        let export = first.export().clone();
        let most = if export.has(export_flag::CAN_MULTI_CONN) { options.most_connections() } else { 1 };
        let mut slots = vec![Some(first)];
        while slots.len() < most {
            match dialler.dial(limit) {
                Ok(link) if link.export().equals(&export) => slots.push(Some(link)),
                Ok(_) => return Err(changed()),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(error) => {
                    // Its limit of clients may be reached; what there is will do.
                    tracing::debug!(%error, connections = slots.len(), "no further connection");
                    break;
                }
            }
        }
        Ok(Pool {
            dialler,
            export,
            handshake_timeout: options.handshake_timeout,
            patience,
            size: slots.len(),
            free: Mutex::new(slots),
            returned: Condvar::new(),
        })
    }

    /// What the handshake found out.
    pub(crate) fn export(&self) -> &Export {
        &self.export
    }

    /// How many connections there are.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Runs `call` on a session, again on a new one if the connection is lost meanwhile. `call` must bear
    /// being repeated.
    pub(crate) fn with<R>(&self, mut call: impl FnMut(&mut Link) -> Result<R>) -> Result<R> {
        let mut loan = self.take()?;
        let mut give_up: Option<Instant> = None;
        let mut pause = Duration::ZERO;
        loop {
            let result = match loan.slot.as_mut() {
                Some(link) => call(link),
                None if self.patience.is_zero() => {
                    let why = "it broke in an earlier call";
                    return Err(Error::Lost(std::io::Error::new(std::io::ErrorKind::NotConnected, why)));
                }
                None => {
                    let limit =
                        give_up.map_or(self.patience, |end| end.saturating_duration_since(Instant::now()));
                    self.redial(limit).and_then(|link| call(loan.slot.insert(link)))
                }
            };
            let error = match result {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if self.dialler.interrupt().is_stopped() {
                loan.slot = None;
                return Err(Error::Interrupted);
            }
            if error.leaves_session_usable() {
                return Err(error);
            }
            loan.slot = None;
            // A server that has come back may not have its exports yet.
            let worth_waiting = error.is_transient()
                || matches!(error, Error::Refused { refusal: Refusal::UnknownExport, .. });
            let end = *give_up.get_or_insert_with(|| Instant::now() + self.patience);
            if !worth_waiting || self.patience.is_zero() {
                return Err(error);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(gone(&error, self.patience));
            }
            tracing::warn!(%error, "connection lost, dialling again");
            self.dialler.interrupt().pause(pause.min(left))?;
            pause = (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        }
    }

    fn redial(&self, limit: Duration) -> Result<Link> {
        let link = self.dialler.dial(limit.min(self.handshake_timeout))?;
        if link.export().equals(&self.export) { Ok(link) } else { Err(changed()) }
    }

    fn take(&self) -> Result<Loan<'_>> {
        let mut free = self.lock();
        loop {
            if let Some(slot) = free.pop() {
                return Ok(Loan { pool: self, slot });
            }
            free = self.returned.wait(free).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Slot>> {
        // Only whole slots are put in or taken out.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for link in self.lock().iter_mut().flatten() {
            // A server that does not even take a goodbye is not waited for.
            if link.stream().socket().relax(Duration::from_millis(100)).is_ok() {
                link.disconnect();
            }
        }
    }
}

/// A slot in use; it goes back on drop, whatever happened.
struct Loan<'a> {
    pool: &'a Pool,
    slot: Slot,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.pool.lock().push(self.slot.take());
        self.pool.returned.notify_one();
    }
}

fn changed() -> Error {
    Error::Protocol("the export's size or abilities changed between two connections".into())
}

fn gone(error: &Error, patience: Duration) -> Error {
    let text = format!("{error}; it did not come back within {} seconds", patience.as_secs());
    Error::Lost(std::io::Error::new(std::io::ErrorKind::NotConnected, text))
}
