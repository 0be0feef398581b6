//! Ending blocked network calls from another thread.
//!
//! The model: every socket opened under an [`Interrupt`] is registered in it by a duplicate of its handle
//! for as long as it is in use. `stop` sets a flag, shuts the registered sockets down (which makes reads and
//! writes that block in the kernel return at once) and wakes whoever waits between two attempts. A socket
//! registered after `stop` is refused, so nothing slips through between the flag and the list.

use crate::socket::Socket;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ends everything that was opened with it, from any thread. Clones are the same interrupt.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    next: u64,
    sockets: BTreeMap<u64, Socket>,
}

impl Interrupt {
    /// One that has not been stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every call on sources and sinks opened with this interrupt return
    /// [`block::Error::Cancelled`], those that are blocked right now included. Final; harmless to repeat.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        for socket in state.sockets.values() {
            socket.shutdown();
        }
        self.0.woken.notify_all();
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// Waits, unless stopped meanwhile.
    pub(crate) fn pause(&self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        let mut state = self.lock();
        while !state.stopped {
            let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                return Ok(());
            };
            state = self.0.woken.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Err(Error::Interrupted)
    }

    /// Puts a socket under this interrupt until the registration is dropped.
    pub(crate) fn register(&self, socket: &Socket) -> Result<Registration> {
        let duplicate = socket.duplicate().map_err(Error::Connect)?;
        let mut state = self.lock();
        if state.stopped {
            return Err(Error::Interrupted);
        }
        let key = state.next;
        state.next += 1;
        state.sockets.insert(key, duplicate);
        Ok(Registration { interrupt: self.clone(), key })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two statements, so a panic elsewhere can't have torn it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupt").field("stopped", &self.is_stopped()).finish()
    }
}

/// Keeps a socket registered.
pub(crate) struct Registration {
    interrupt: Interrupt,
    key: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.interrupt.lock().sockets.remove(&self.key);
    }
}
