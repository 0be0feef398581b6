//! The connections of a server: how many there may be, who goes first where there are too many, ending them all.
//!
//! The model: an entry a connection, from its acceptance until its thread ends. Where the limit is reached, the one
//! that has been silent the longest is cut: one that has not sent a single request yet. So clients that connect and say
//! nothing, however many, keep nobody out who means it; a client that works is never cut. A connection that was cut
//! counts until its thread is gone, so the number of threads has a limit that always holds.
//!
//! Handshakes have a time limit for all of their steps together; [`Connections::reap`] keeps it.

use super::channel::Line;
use super::transmission::Conduct;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Connections that were cut and are not gone yet: so many more than the limit there may be.
const LEAVING: usize = 32;
/// How long a new connection waits for one of those to be gone.
const TURN: Duration = Duration::from_secs(1);

/// All connections.
#[derive(Default)]
pub(super) struct Connections {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    next: u64,
    /// By number, so the first is the oldest.
    open: BTreeMap<u64, Entry>,
}

struct Entry {
    line: Line,
    accepted: Instant,
    progress: Arc<Progress>,
    cut: bool,
}

/// How far a connection has come.
#[derive(Default)]
struct Progress {
    agreed: AtomicBool,
    heard: AtomicBool,
}

/// A connection in the list, until it is dropped.
pub(super) struct Ticket {
    connections: Arc<Connections>,
    number: u64,
    line: Line,
    progress: Arc<Progress>,
}

impl Connections {
    /// Takes a connection in; `None` where there is no room for it, or all is coming to its end.
    pub(super) fn admit(self: &Arc<Self>, line: Line, most: usize) -> Option<Ticket> {
        let hard = most.saturating_add(LEAVING);
        // Whoever knocks meanwhile waits in the kernel's queue.
        let mut state = self.wait(self.lock(), TURN, hard);
        if state.stopping || state.open.len() >= hard {
            return None;
        }
        let staying = state.open.values().filter(|entry| !entry.cut).count();
        if staying >= most {
            let quiet = |entry: &&mut Entry| !entry.cut && !entry.progress.heard.load(Ordering::Relaxed);
            let oldest = state.open.values_mut().find(quiet)?;
            tracing::debug!("too many connections: one that has not asked for anything is cut");
            oldest.cut = true;
            oldest.line.shutdown();
        }
        let number = state.next;
        state.next += 1;
        let progress = Arc::new(Progress::default());
        let entry = Entry {
            line: Arc::clone(&line),
            accepted: Instant::now(),
            progress: Arc::clone(&progress),
            cut: false,
        };
        state.open.insert(number, entry);
        Some(Ticket { connections: Arc::clone(self), number, line, progress })
    }

    /// Cuts connections whose handshake takes longer than `limit`; when to look again, if ever.
    pub(super) fn reap(&self, limit: Duration) -> Option<Duration> {
        let mut state = self.lock();
        let mut next: Option<Duration> = None;
        for entry in state.open.values_mut() {
            if entry.cut || entry.progress.agreed.load(Ordering::Relaxed) {
                continue;
            }
            let left = limit.saturating_sub(entry.accepted.elapsed());
            if left.is_zero() {
                entry.cut = true;
                entry.line.shutdown();
            } else {
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        next
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().open.len()
    }

    /// Ends all of them: what is at work may be answered within `grace`.
    pub(super) fn stop(&self, grace: Duration) {
        let mut state = self.lock();
        state.stopping = true;
        state.open.values().for_each(|entry| entry.line.shutdown_reading());
        state = self.wait(state, grace, 1);
        state.open.values().for_each(|entry| entry.line.shutdown());
        // A thread that waits for a disk can't be ended; it holds nothing but its own.
        let state = self.wait(state, Duration::from_secs(5), 1);
        if !state.open.is_empty() {
            tracing::warn!(connections = state.open.len(), "connections that are not ended yet");
        }
    }

    /// Waits until there are fewer than so many.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration, below: usize) -> MutexGuard<'a, State> {
        let waited = self.left.wait_timeout_while(state, limit, |state| state.open.len() >= below);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Only whole entries are put in or taken out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The handshake is done.
    pub(super) fn agreed(&self) {
        self.progress.agreed.store(true, Ordering::Relaxed);
    }
}

impl Conduct for Ticket {
    fn heard(&self) {
        self.progress.heard.store(true, Ordering::Relaxed);
    }

    fn hang_up(&self) {
        self.line.shutdown();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connections.lock().open.remove(&self.number);
        self.connections.left.notify_all();
    }
}
