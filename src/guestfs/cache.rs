//! A bounded cache: the inodes, extent lists and metadata blocks that were read last.

use lru::LruCache;
use std::hash::Hash;
use std::sync::Mutex;

/// Keeps what was used last, up to a number of bytes. Shared by threads; a value is computed outside of the lock, so
/// two threads may compute the same one, and neither waits for the other's reading.
pub struct Cache<K: Hash + Eq, V: Clone> {
    state: Mutex<State<K, V>>,
    limit: usize,
}

struct State<K: Hash + Eq, V> {
    values: LruCache<K, (V, usize)>,
    held: usize,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// Empty; holds at most `limit` bytes, as the callers count them.
    pub fn new(limit: usize) -> Self {
        Cache { state: Mutex::new(State { values: LruCache::unbounded(), held: 0 }), limit }
    }

    /// The value of `key`, where it is held.
    pub fn get(&self, key: &K) -> Option<V> {
        self.lock().values.get(key).map(|(value, _)| value.clone())
    }

    /// Keeps `value`, which costs `bytes`, and lets go of what was used longest ago. What costs more than a quarter
    /// of the limit is not kept at all.
    pub fn put(&self, key: K, value: V, bytes: usize) {
        if bytes > self.limit / 4 {
            return;
        }
        let mut state = self.lock();
        if let Some((_, (_, old))) = state.values.push(key, (value, bytes)) {
            state.held -= old;
        }
        state.held += bytes;
        while state.held > self.limit {
            let Some((_, (_, old))) = state.values.pop_lru() else { break };
            state.held -= old;
        }
    }

    /// The value of `key`; where it is not held, `make` computes it with its cost in bytes.
    ///
    /// # Errors
    /// Those of `make`; nothing is kept then.
    pub fn get_or<E>(&self, key: K, make: impl FnOnce() -> Result<(V, usize), E>) -> Result<V, E> {
        if let Some(value) = self.get(&key) {
            return Ok(value);
        }
        let (value, bytes) = make()?;
        self.put(key, value.clone(), bytes);
        Ok(value)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<K, V>> {
        // A panic under this lock is one of the allocator; the state is whole all the same.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_used_last_within_its_bound() {
        let cache = Cache::new(100);
        for n in 0..10 {
            cache.put(n, n, 20);
            assert_eq!(cache.get(&0), Some(0), "used all the time");
        }
        assert_eq!(cache.get(&1), None);
        assert_eq!(cache.get(&9), Some(9));
        cache.put(9, 90, 10);
        assert_eq!((cache.get(&9), cache.lock().held), (Some(90), 90));
        cache.put(50, 50, 26);
        assert_eq!(cache.get(&50), None, "too large to be kept");
        assert_eq!(cache.get_or(60, || Err("no")), Err("no"));
        assert_eq!(cache.get_or(60, || Ok::<_, ()>((61, 1))), Ok(61));
        assert_eq!(cache.get_or(60, || Err("held")), Ok(61));
    }
}
