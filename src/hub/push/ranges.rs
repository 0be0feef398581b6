//! Who works on which clusters of a disk.
//!
//! A thread holds one range at a time and waits for those who hold a part of it. Beside it, it may only try for
//! another one, so nobody waits in a circle.

use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The ranges that are held.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    held: Mutex<Vec<Range<u64>>>,
    freed: Condvar,
}

/// A range that is held until this is dropped.
pub(super) struct Held<'a>(&'a Ranges, Range<u64>);

impl Ranges {
    /// Waits for a range that is not empty.
    pub(super) fn hold(&self, range: Range<u64>) -> Held<'_> {
        let mut held = self.lock();
        while held.iter().any(|other| overlap(other, &range)) {
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.push(range.clone());
        Held(self, range)
    }

    /// The range, if nobody has a part of it.
    pub(super) fn try_hold(&self, range: Range<u64>) -> Option<Held<'_>> {
        let mut held = self.lock();
        if held.iter().any(|other| overlap(other, &range)) {
            return None;
        }
        held.push(range.clone());
        Some(Held(self, range))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Range<u64>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut held = self.0.lock();
        if let Some(at) = held.iter().position(|other| *other == self.1) {
            held.swap_remove(at);
        }
        drop(held);
        self.0.freed.notify_all();
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
