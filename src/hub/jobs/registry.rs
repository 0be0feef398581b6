//! What this process runs right now.
//!
//! Nothing here is needed to recover: it only makes watching and stopping one's own jobs immediate. A job is
//! entered before its task starts and leaves after its row is final and its lease is released, so that who
//! waits for the end and then exits leaves nothing behind.

use super::Totals;
use crate::control::{Control, Stop};
use crate::telemetry::Done;
use api::JobView;
use model::DiskIndex;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

#[derive(Clone)]
struct Running {
    control: Arc<Control>,
    view: watch::Receiver<JobView>,
    told: Told,
}

/// What others have said of a job that this process runs, disk by disk; all of it as the first disk's where it has none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told(Arc<Mutex<BTreeMap<DiskIndex, Done>>>);

impl Told {
    /// Takes what was said; less than before changes nothing.
    fn take(&self, said: &BTreeMap<DiskIndex, Done>) {
        let mut told = self.lock();
        for (index, done) in said {
            let kept = told.entry(*index).or_default();
            *kept = kept.max(*done);
        }
    }

    /// The most that was said of each disk.
    pub(crate) fn all(&self) -> BTreeMap<DiskIndex, Done> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DiskIndex, Done>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running jobs by id.
#[derive(Clone, Default)]
pub(crate) struct Registry {
    running: Arc<Mutex<BTreeMap<String, Running>>>,
    ended: Arc<Notify>,
    totals: Totals,
}

/// A job's place in the registry, held by its task.
pub(crate) struct Entry {
    registry: Registry,
    id: String,
    /// How the job is stopped.
    pub control: Arc<Control>,
    /// Who watches hears of it here.
    pub view: Arc<watch::Sender<JobView>>,
    /// What others say of it.
    pub told: Told,
}

impl Registry {
    /// Enters a job.
    pub(crate) fn enter(&self, view: JobView) -> Entry {
        let id = view.id.to_string();
        let control = Arc::new(Control::default());
        let (sender, receiver) = watch::channel(view);
        let told = Told::default();
        let running = Running { control: Arc::clone(&control), view: receiver, told: told.clone() };
        self.lock().insert(id.clone(), running);
        Entry { registry: self.clone(), id, control, view: Arc::new(sender), told }
    }

    /// Takes what others say of a job of this process.
    pub(crate) fn tell(&self, id: &str, said: &BTreeMap<DiskIndex, Done>) {
        let told = self.lock().get(id).map(|running| running.told.clone());
        if let Some(told) = told {
            told.take(said);
        }
    }

    /// The live state of a job of this process.
    pub(crate) fn view(&self, id: &str) -> Option<watch::Receiver<JobView>> {
        self.lock().get(id).map(|running| running.view.clone())
    }

    /// Asks a job of this process to stop; false where it runs none of that id.
    pub(crate) fn stop(&self, id: &str) -> bool {
        self.stop_for(id, Stop::Cancelled)
    }

    /// The same for another reason.
    pub(crate) fn stop_for(&self, id: &str, reason: Stop) -> bool {
        // Stopping wakes threads, which is not for inside the lock.
        let control = self.lock().get(id).map(|running| Arc::clone(&running.control));
        control.map(|control| control.stop(reason)).is_some()
    }

    /// Asks all to stop, because this process ends.
    pub(crate) fn stop_all(&self) {
        let all: Vec<_> = self.lock().values().map(|running| Arc::clone(&running.control)).collect();
        for control in all {
            control.stop(Stop::Ending);
        }
    }

    /// Waits until none runs.
    pub(crate) async fn all_ended(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Registered before the look, so that an end in between is not missed.
            ended.as_mut().enable();
            if self.lock().is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// What the jobs that have ended come to.
    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// How many run.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// True where this process runs the job.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.totals.add(&self.view.borrow());
        self.registry.lock().remove(&self.id);
        self.registry.ended.notify_waiters();
    }
}
