//! The client's side of a backup that it writes: whether it may write yet, what it says of itself, and that it is done.
//!
//! A session is known to this process by the backup's id while the job runs. The job's threads wait in it for the
//! client's word that all is written; whoever carries that word (telemetry, or a request to complete) finds it here.

use super::life::Life;
use super::serve::PushTarget;
use crate::control::Control;
use crate::telemetry::Done;
use crate::{Error, Result};
use api::Telemetry;
use jiff::Timestamp;
use model::{BackupId, DiskIndex};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often a thread that waits for the client looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(100);
/// A speed that the client told is shown for so long.
const FRESH: Duration = Duration::from_secs(15);

/// One backup that a client writes.
pub(crate) struct Session {
    disks: usize,
    state: Mutex<State>,
    bell: Condvar,
    opened: watch::Sender<bool>,
    life: Arc<Life>,
}

#[derive(Default)]
struct State {
    targets: Vec<PushTarget>,
    done: bool,
    told: Option<Told>,
}

/// What the client has said last.
struct Told {
    at: Timestamp,
    heard: Instant,
    speed: u64,
    eta: Option<u64>,
    disks: BTreeMap<DiskIndex, Done>,
}

impl Session {
    fn new(disks: usize) -> Self {
        Session {
            disks,
            state: Mutex::default(),
            bell: Condvar::new(),
            opened: watch::Sender::new(false),
            life: Arc::new(Life::new()),
        }
    }

    /// When something was last heard of the client.
    pub(crate) fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Where the client writes; empty until every disk has its place.
    pub(crate) fn targets(&self) -> Vec<PushTarget> {
        let state = self.lock();
        if state.targets.len() == self.disks { state.targets.clone() } else { Vec::new() }
    }

    /// A disk has its place.
    pub(super) fn open(&self, target: PushTarget) {
        let mut state = self.lock();
        state.targets.push(target);
        state.targets.sort_by_key(|target| target.disk);
        if state.targets.len() == self.disks {
            self.life.heard();
            self.opened.send_replace(true);
        }
    }

    /// Waits until every disk has its place.
    pub(crate) async fn opened(&self) {
        let mut opened = self.opened.subscribe();
        // The sender is this session's own, so it is there.
        let _ = opened.wait_for(|opened| *opened).await;
    }

    /// All is written. False before there was anywhere to write.
    pub(super) fn complete(&self) -> bool {
        let mut state = self.lock();
        self.life.heard();
        if state.targets.len() < self.disks {
            return false;
        }
        state.done = true;
        self.bell.notify_all();
        true
    }

    /// Waits for the client to be done. Blocks.
    ///
    /// # Errors
    /// The reason to stop, where there is one first; what `failure` tells, which is asked now and then.
    pub(super) fn until_done(
        &self,
        control: &Control,
        mut failure: impl FnMut() -> Option<Error>,
    ) -> Result<()> {
        loop {
            if let Some(error) = failure() {
                return Err(error);
            }
            control.check()?;
            let state = self.lock();
            if state.done {
                return Ok(());
            }
            drop(self.bell.wait_timeout(state, LOOK));
        }
    }

    /// How long nothing was heard of the client. Once it has said that all is written, nothing is waited for.
    pub(crate) fn silent(&self) -> Duration {
        if self.lock().done { Duration::ZERO } else { self.life.silent() }
    }

    /// When it was known last that this goes on: when the client was heard, or now where nothing is waited for.
    pub(crate) fn last_sign(&self) -> Timestamp {
        if self.lock().done { Timestamp::now() } else { self.life.last() }
    }

    /// Takes what the client said of itself at that moment (by its clock, and not after the hub's) of its disks; false
    /// where it has said something newer before.
    pub(crate) fn note(&self, message: &Telemetry, at: Timestamp, said: BTreeMap<DiskIndex, Done>) -> bool {
        let mut state = self.lock();
        let mut disks = match &state.told {
            Some(told) if told.at >= at => return false,
            Some(told) => told.disks.clone(),
            None => BTreeMap::new(),
        };
        for (index, done) in said {
            let kept: &mut Done = disks.entry(index).or_default();
            *kept = kept.max(done);
        }
        self.life.heard();
        state.told = Some(Told {
            at,
            heard: Instant::now(),
            speed: message.transfer_speed_bps,
            eta: message.eta_seconds,
            disks,
        });
        true
    }

    /// The most that the client has said of each disk.
    pub(crate) fn told(&self) -> BTreeMap<DiskIndex, Done> {
        self.lock().told.as_ref().map(|told| told.disks.clone()).unwrap_or_default()
    }

    /// Speed and time to go as the client told them a moment ago.
    pub(crate) fn pace(&self) -> Option<(u64, Option<u64>)> {
        let state = self.lock();
        let told = state.told.as_ref().filter(|told| told.heard.elapsed() < FRESH && told.speed > 0)?;
        Some((told.speed, told.eta))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sessions of this process by backup.
#[derive(Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<BTreeMap<BackupId, Arc<Session>>>>);

/// A session that is known until this is dropped.
pub(crate) struct Known {
    sessions: Sessions,
    id: BackupId,
    session: Arc<Session>,
}

impl Sessions {
    /// A session for so many disks.
    pub(crate) fn begin(&self, id: &BackupId, disks: usize) -> Known {
        let session = Arc::new(Session::new(disks));
        self.lock().insert(id.clone(), Arc::clone(&session));
        Known { sessions: self.clone(), id: id.clone(), session }
    }

    /// The session of a backup.
    pub(crate) fn get(&self, id: &BackupId) -> Option<Arc<Session>> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BackupId, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// The session.
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Known {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_said_that_all_is_written_is_not_silent_however_long_the_rest_takes() {
        let session = Session::new(0);
        let later = || {
            let begun = session.life.silent();
            while session.life.silent() < begun + Duration::from_millis(2) {
                std::thread::yield_now();
            }
        };
        later();
        assert!(!session.silent().is_zero());
        assert!(session.complete());
        later();
        assert!(!session.life.silent().is_zero() && session.silent().is_zero());
        assert!(session.last_sign() > session.life.last());
    }
}
