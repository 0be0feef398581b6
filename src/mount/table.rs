//! Open files and folders of a forest: each keeps its tree open until the kernel releases it.

use crate::shown::Plant;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most that are open at once in one mount.
const MAX_OPEN: usize = 1 << 16;

#[derive(Default)]
struct State {
    open: HashMap<u64, Arc<dyn Plant>>,
    next: u64,
}

/// What is open, by its handle.
#[derive(Default)]
pub(crate) struct Table {
    state: Mutex<State>,
}

impl Table {
    /// A new handle; `None` where too many are open.
    pub(crate) fn hold(&self, plant: Arc<dyn Plant>) -> Option<u64> {
        let mut state = self.lock();
        if state.open.len() >= MAX_OPEN {
            return None;
        }
        state.next += 1;
        let handle = state.next;
        state.open.insert(handle, plant);
        Some(handle)
    }

    /// The tree of a handle.
    pub(crate) fn get(&self, handle: u64) -> Option<Arc<dyn Plant>> {
        self.lock().open.get(&handle).cloned()
    }

    /// The kernel is done with it.
    pub(crate) fn release(&self, handle: u64) {
        // Dropped after the lock is: closing a tree may take a while.
        let _released = self.lock().open.remove(&handle);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
