//! Clusters of which a client has sent only parts so far.
//!
//! A cluster is stored whole: its zeros are looked for, it is hashed, and compared with the parent. One that comes in
//! parts is therefore put together here first, and stored when there are too many, when the client flushes, or at the
//! end. Nothing here knows where clusters are stored: whoever takes one out holds its range.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many are kept: 4 MiB a disk.
const KEPT: usize = 64;

/// The clusters, the one that was used last at the end.
#[derive(Default)]
pub(super) struct Parts(Mutex<Vec<(u64, Vec<u8>)>>);

impl Parts {
    /// Takes a cluster out.
    pub(super) fn take(&self, cluster: u64) -> Option<Vec<u8>> {
        let mut kept = self.lock();
        let at = kept.iter().position(|(number, _)| *number == cluster)?;
        Some(kept.remove(at).1)
    }

    /// Puts a cluster in that is not there.
    pub(super) fn put(&self, cluster: u64, bytes: Vec<u8>) {
        self.lock().push((cluster, bytes));
    }

    /// Has `look` see a cluster's bytes, if it is there.
    pub(super) fn see<T>(&self, cluster: u64, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let kept = self.lock();
        kept.iter().find(|(number, _)| *number == cluster).map(|(_, bytes)| look(bytes))
    }

    /// The clusters that are to go because there are too many, the one that was not used for longest first.
    pub(super) fn too_many(&self) -> Vec<u64> {
        let kept = self.lock();
        let surplus = kept.len().saturating_sub(KEPT);
        // Some more, because others may be at work on the first ones.
        let candidates = if surplus == 0 { 0 } else { surplus + KEPT / 2 };
        kept.iter().take(candidates).map(|(number, _)| *number).collect()
    }

    /// True where there are too many.
    pub(super) fn is_over(&self) -> bool {
        self.lock().len() > KEPT
    }

    /// All that are there.
    pub(super) fn all(&self) -> Vec<u64> {
        self.lock().iter().map(|(number, _)| *number).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Vec<u8>)>> {
        // Whole entries are put in and taken out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
