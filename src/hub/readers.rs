//! Reading that takes long and is no job: searches and comparisons.
//!
//! Nothing of it is in the catalog but the leases on the points that are read. It ends by itself when whoever asked has
//! gone away; a hub that shuts down ends all of it, and waits until its leases are given back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What reads in this process.
#[derive(Clone, Default)]
pub(crate) struct Readers {
    running: Arc<Mutex<Running>>,
    ended: Arc<Notify>,
}

#[derive(Default)]
struct Running {
    next: u64,
    stops: BTreeMap<u64, Stopper>,
}

/// Whether a reader is to stop. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Stopper(Arc<AtomicBool>);

/// A reader's place among the others, held until it has ended.
pub(crate) struct Reader {
    readers: Readers,
    id: u64,
    /// How it is stopped.
    pub stop: Stopper,
}

impl Stopper {
    /// Asks it to stop.
    pub(crate) fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Readers {
    /// Enters a reader.
    pub(crate) fn enter(&self) -> Reader {
        let mut running = self.lock();
        let id = running.next;
        running.next += 1;
        let stop = Stopper::default();
        running.stops.insert(id, stop.clone());
        Reader { readers: self.clone(), id, stop }
    }

    /// Asks all to stop.
    pub(crate) fn stop_all(&self) {
        self.lock().stops.values().for_each(Stopper::stop);
    }

    /// Waits until none reads.
    pub(crate) async fn all_ended(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Registered before the look, so that an end in between is not missed.
            ended.as_mut().enable();
            if self.lock().stops.is_empty() {
                return;
            }
            ended.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.readers.lock().stops.remove(&self.id);
        self.readers.ended.notify_waiters();
    }
}
