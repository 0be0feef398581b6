//! The boundary: what the registry asks of everything that it keeps.

use crate::Result;
use crate::browse::Session;
use api::Mount;
use jiff::Timestamp;
use serde_json::Value;
use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A step that waits.
pub(crate) type Wait<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How something is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closing {
    /// Only where nobody uses it.
    IfUnused,
    /// Out of sight at once, for good when nobody uses it any more.
    Lazily,
    /// In any case.
    Now,
    /// In any case, and this process is about to end: what is still open ends with it.
    AtExit,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is gone, and nothing of it is left.
    Gone,
    /// It is out of sight, and ends by itself: [`Lasting::is_over`] tells.
    Later,
}

/// Something that keeps points open: a session, a mount, an export.
///
/// Its life: put into the registry, with its row written, before it does anything that is to be cleaned up; used; closed by
/// [`close`](Self::close), or, where it has ended by itself, noticed by [`is_over`](Self::is_over) and closed then.
pub(crate) trait Lasting: Any + Send + Sync {
    /// As the wire shows it; also whose it is, and its times.
    fn view(&self) -> Mount;

    /// The folder or socket by which it may be named.
    fn path(&self) -> Option<String>;

    /// What the next start has to clean up where this process is killed: its kind's own form, see `recovery`.
    fn leftovers(&self) -> Value;

    /// The session behind it, for the routes on files; none where there is not exactly one.
    fn session(self: Arc<Self>) -> Option<Arc<Session>>;

    /// Somebody uses it: it stays open from now on for its idle time.
    fn touch(&self);

    /// Whether it has ended by itself: unmounted by `umount`, say.
    fn is_over(&self) -> bool;

    /// Closes what it holds and nobody uses, called every so often.
    fn tend(&self) -> Wait<'_, ()>;

    /// Ends it. May be called again after an error, or after [`Ended::Later`].
    ///
    /// # Errors
    /// [`Error::InUse`](crate::Error::InUse), with who uses it, where that forbids it; it is as it was then.
    fn close(&self, how: Closing) -> Wait<'_, Result<Ended>>;
}

/// When something was opened, was used, and is to be closed.
#[derive(Debug)]
pub(crate) struct Times {
    created: Timestamp,
    idle: Duration,
    used: Mutex<Timestamp>,
}

impl Times {
    /// Opened now.
    pub(crate) fn new(idle: Duration) -> Self {
        let now = Timestamp::now();
        Times { created: now, idle, used: Mutex::new(now) }
    }

    /// Used now.
    pub(crate) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Timestamp::now();
    }

    pub(crate) fn created(&self) -> Timestamp {
        self.created
    }

    pub(crate) fn idle(&self) -> Duration {
        self.idle
    }

    pub(crate) fn used(&self) -> Timestamp {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it closes, if nobody uses it until then.
    pub(crate) fn expires(&self) -> Timestamp {
        self.used().checked_add(self.idle).unwrap_or(Timestamp::MAX)
    }
}
