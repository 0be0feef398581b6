//! Restore sessions of encrypted volumes: for who brought the keys.
//!
//! Anybody who may restore may open any point, and so may use any session. One that was opened with keys shows more than
//! others could open by themselves, so it is its opener's, and the administrators'. Sessions are of this process, and so is
//! what is remembered of them.

use crate::failure::Result;
use api::{ApiError, Caller, ErrorCode, Who};
use model::Role;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who has opened which of them.
#[derive(Default)]
pub(crate) struct Keyed(Mutex<BTreeMap<String, Who>>);

impl Keyed {
    /// Remembers who has opened one.
    pub(crate) fn opened(&self, id: &str, by: &Who) {
        self.lock().insert(id.to_owned(), by.clone());
    }

    /// Those that are remembered: to be asked before it is looked which are open.
    pub(crate) fn known(&self) -> BTreeSet<String> {
        self.lock().keys().cloned().collect()
    }

    /// Forgets those of `known` that are not `open` any more. One that was opened since is in neither, and stays.
    pub(crate) fn forget(&self, known: &BTreeSet<String>, open: &BTreeSet<String>) {
        self.lock().retain(|id, _| open.contains(id) || !known.contains(id));
    }

    /// Whether that caller may look into it.
    ///
    /// # Errors
    /// Where it is somebody else's.
    pub(crate) fn check(&self, id: &str, caller: &Caller) -> Result<()> {
        match self.lock().get(id) {
            Some(opener) if caller.role < Role::Admin && !same(opener, &caller.who) => {
                let message = "this session was opened by somebody else, with keys for encrypted volumes";
                Err(ApiError::new(ErrorCode::Forbidden, message)
                    .hint("open one of your own: POST /restore/mount with keys_b64")
                    .into())
            }
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Who>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A user is the same whatever login they use.
fn same(one: &Who, other: &Who) -> bool {
    match (one, other) {
        (Who::User { name: one, .. }, Who::User { name: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_opened_while_another_is_looked_for_stays_its_openers() {
        let opener = |uid: u32| Who::Local { uid };
        let keyed = Keyed::default();
        keyed.opened("closed", &opener(1));
        keyed.opened("open", &opener(1));
        let known = keyed.known();
        // After the look at what is open, and before what was seen is acted on.
        keyed.opened("new", &opener(1));
        keyed.forget(&known, &BTreeSet::from(["open".to_owned()]));
        assert_eq!(keyed.known(), BTreeSet::from(["new".to_owned(), "open".to_owned()]));
    }
}
