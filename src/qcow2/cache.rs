//! L2 tables in memory: bounded, shared by all files of a chain and by all threads that read it.
//!
//! A table is kept in slices of at most 64 KiB, so that clusters of 2 MiB don't make the unit 2 MiB. The
//! cache has shards, each behind its own lock, and each shard two generations: what is used moves into the
//! young one; when that is full the old one is dropped and the young becomes the old. That is nearly "least
//! recently used" at a constant cost. A slice in use stays alive through its `Arc` whatever the cache does.
//! Two threads that miss the same slice both read it: harmless and rare.

use block::Result;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of L2 tables kept for one chain. At 64 KiB clusters this maps 128 GiB of one file.
const BUDGET: usize = 16 << 20;
const SHARDS: usize = 16;
/// The largest slice in bytes.
pub(crate) const SLICE: u64 = 64 << 10;

/// Which file of the chain, and where in it.
pub(crate) type Key = (u32, u64);

#[derive(Default)]
struct Shard {
    young: HashMap<Key, Arc<[u64]>>,
    old: HashMap<Key, Arc<[u64]>>,
    young_bytes: usize,
}

/// The slices of L2 tables that were used last.
#[derive(Default)]
pub(crate) struct TableCache {
    shards: [Mutex<Shard>; SHARDS],
}

impl TableCache {
    /// The slice at `key`, by `load` where it is not there.
    pub(crate) fn get(&self, key: Key, load: impl FnOnce() -> Result<Arc<[u64]>>) -> Result<Arc<[u64]>> {
        let shard = self.shard(key);
        if let Some(found) = shard.lock().unwrap_or_else(PoisonError::into_inner).find(key) {
            return Ok(found);
        }
        let loaded = load()?;
        shard.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&loaded));
        Ok(loaded)
    }

    fn shard(&self, (file, offset): Key) -> &Mutex<Shard> {
        // Offsets are multiples of 512 at least; a multiplication spreads the bits that differ.
        let mixed = (u64::from(file) ^ (offset >> 9)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 60) as usize % SHARDS]
    }
}

impl Shard {
    fn find(&mut self, key: Key) -> Option<Arc<[u64]>> {
        if let Some(found) = self.young.get(&key) {
            return Some(Arc::clone(found));
        }
        let found = self.old.remove(&key)?;
        self.insert(key, Arc::clone(&found));
        Some(found)
    }

    fn insert(&mut self, key: Key, slice: Arc<[u64]>) {
        let bytes = slice.len() * 8;
        if self.young_bytes + bytes > BUDGET / SHARDS / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(key, slice).is_none() {
            self.young_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_and_used_slices_stay() {
        let cache = TableCache::default();
        let mut loads = 0;
        for round in 0..4096u64 {
            for offset in [0, 65536 * (round + 1)] {
                cache
                    .get((0, offset), || {
                        loads += usize::from(offset == 0);
                        Ok(vec![offset; 8192].into())
                    })
                    .expect("loads");
            }
        }
        assert_eq!(loads, 1, "a slice used all the time is read once");
        let kept: usize = cache
            .shards
            .iter()
            .map(|s| {
                let s = s.lock().expect("lock");
                s.young.values().chain(s.old.values()).map(|v| v.len() * 8).sum::<usize>()
            })
            .sum();
        assert!(kept <= BUDGET, "{kept} bytes are kept");
    }
}
