//! The sessions of this process, and the closing of idle ones.

use super::{MAX_SESSIONS, Session};
use crate::{Error, Result};
use api::Mount;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// All open sessions.
#[derive(Clone, Default)]
pub(crate) struct Sessions {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    open: BTreeMap<String, Arc<Session>>,
    /// Whether somebody looks for idle ones.
    watched: bool,
    expired: u64,
}

impl Sessions {
    /// Whether there is room for one more.
    ///
    /// # Errors
    /// [`Error::Conflict`] where there is not.
    pub(super) fn check_room(&self) -> Result<()> {
        if self.lock().open.len() < MAX_SESSIONS {
            return Ok(());
        }
        Err(Error::Conflict {
            message: format!("{MAX_SESSIONS} restore sessions are open, which is the limit"),
            hint: "close one: `sendense-ctl restore mounts` lists them".into(),
        })
    }

    /// Takes a session in.
    pub(super) fn add(&self, session: Arc<Session>) -> Result<Mount> {
        self.check_room()?;
        let view = session.view();
        let mut state = self.lock();
        state.open.insert(session.id.clone(), session);
        if !state.watched {
            state.watched = true;
            tokio::spawn(watch(Arc::downgrade(&self.state)));
        }
        Ok(view)
    }

    /// The session of that id, or the only one whose id begins so. It counts as used.
    pub(super) fn get(&self, id: &str) -> Option<Arc<Session>> {
        let session = find(&self.lock().open, id)?;
        session.touch();
        Some(session)
    }

    /// Lets go of a session.
    pub(super) fn remove(&self, id: &str) -> Option<Arc<Session>> {
        let mut state = self.lock();
        let found = find(&state.open, id)?;
        state.open.remove(&found.id)
    }

    /// Oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = self.lock().open.values().cloned().collect();
        all.sort_by_key(|session| session.created);
        all
    }

    /// How many have been closed because nobody used them.
    pub(super) fn expired(&self) -> u64 {
        self.lock().expired
    }

    /// Lets go of all of them.
    pub(super) fn take_all(&self) -> Vec<Arc<Session>> {
        std::mem::take(&mut self.lock().open).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Only whole sessions are put in or taken out.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(open: &BTreeMap<String, Arc<Session>>, id: &str) -> Option<Arc<Session>> {
    if let Some(session) = open.get(id) {
        return Some(Arc::clone(session));
    }
    let long = if id.starts_with("mount-") { id.to_owned() } else { format!("mount-{id}") };
    let mut fits =
        open.range(long.clone()..).take_while(|(known, _)| !id.is_empty() && known.starts_with(&long));
    match (fits.next(), fits.next()) {
        (Some((_, session)), None) => Some(Arc::clone(session)),
        _ => None,
    }
}

/// Closes sessions as their time comes. Ends when there are none.
async fn watch(state: Weak<Mutex<State>>) {
    loop {
        let wait = {
            let Some(state) = state.upgrade() else { return };
            let mut state = lock(&state);
            let now = jiff::Timestamp::now();
            let before = state.open.len();
            state.open.retain(|_, session| session.expires() > now);
            state.expired += (before - state.open.len()) as u64;
            let Some(next) = state.open.values().map(|session| session.expires()).min() else {
                state.watched = false;
                return;
            };
            Duration::try_from(now.until(next).unwrap_or_default()).unwrap_or_default()
        };
        tokio::time::sleep(wait.clamp(Duration::from_millis(100), Duration::from_secs(30))).await;
    }
}
