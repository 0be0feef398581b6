//! Putting finished chunks back in order.
//!
//! Workers finish their chunks in any order; the ledger hears of them, and the sink of the settled prefix,
//! in ascending order only. What is finished too early waits in a slot; there are few slots, so a worker
//! that is too far ahead waits for the slowest before it begins. The slowest never waits: its chunk is the
//! next in order.

use super::{CopyError, Side};
use crate::BlockSink;
use crate::baseline::{Granule, Ledger};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// Slots a worker: how many chunks the others may finish while one of them takes its time.
const SLOTS: usize = 4;

pub(crate) struct Tail<'a> {
    sink: &'a dyn BlockSink,
    slots: u64,
    state: Mutex<State<'a>>,
    moved: Condvar,
}

struct State<'a> {
    ledger: Option<&'a mut dyn Ledger>,
    /// The number of the chunk that the ledger is to hear of next.
    next: u64,
    /// Slot `number % slots` is that of chunk `number`, while `next < number < next + slots`.
    waiting: Vec<Option<Chunk>>,
    /// Vectors that have been used, so that they are not made again.
    spare: Vec<Vec<Granule>>,
}

/// A finished chunk.
struct Chunk {
    first: u64,
    end: u64,
    granules: Vec<Granule>,
}

impl<'a> Tail<'a> {
    pub(crate) fn new(ledger: Option<&'a mut dyn Ledger>, sink: &'a dyn BlockSink, workers: usize) -> Self {
        let slots = workers * SLOTS;
        let waiting = std::iter::repeat_with(|| None).take(slots).collect();
        let state = State { ledger, next: 0, waiting, spare: Vec::new() };
        Tail { sink, slots: slots as u64, state: Mutex::new(state), moved: Condvar::new() }
    }

    /// True where somebody wants to hear what the granules are.
    pub(crate) fn records(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).ledger.is_some()
    }

    /// Waits until chunk `number` has a slot; false where the copy is stopped meanwhile.
    pub(crate) fn wait_for_slot(&self, number: u64, stopped: &AtomicBool) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !stopped.load(Ordering::Acquire) {
            if number < state.next + self.slots {
                return true;
            }
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        false
    }

    /// Wakes all who wait, after `stopped` was set.
    pub(crate) fn wake(&self) {
        // Taking the lock orders this after a waiter's look at the flag.
        drop(self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.moved.notify_all();
    }

    /// Chunk `number`, which has a slot, is done: the disk up to byte `end` when those before it are too.
    /// `granules`, beginning with granule number `first`, are for the ledger; they are taken, and an empty
    /// vector is given back.
    pub(crate) fn done(
        &self,
        number: u64,
        first: u64,
        end: u64,
        granules: &mut Vec<Granule>,
    ) -> Result<(), CopyError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = state.spare.pop().unwrap_or_default();
        let mut chunk = Some(Chunk { first, end, granules: std::mem::replace(granules, empty) });
        if number != state.next {
            let slot = state.slot(number, self.slots);
            state.waiting[slot] = chunk;
            return Ok(());
        }
        let mut settled = 0;
        while let Some(mut ready) = chunk.take() {
            if let Some(ledger) = &mut state.ledger
                && ready.granules.iter().any(|granule| *granule != Granule::Unknown)
            {
                ledger.record(ready.first, &ready.granules).map_err(|error| Side::Ledger.failed(error))?;
            }
            settled = ready.end;
            ready.granules.clear();
            state.spare.push(ready.granules);
            state.next += 1;
            let slot = state.slot(state.next, self.slots);
            chunk = state.waiting[slot].take();
        }
        self.moved.notify_all();
        // Still under the lock: offsets must never fall.
        self.sink.settled(settled).map_err(|error| Side::Sink.failed(error))
    }
}

impl State<'_> {
    fn slot(&self, number: u64, slots: u64) -> usize {
        // Smaller than the number of slots, which is a usize.
        (number % slots) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{NullSink, Result};

    #[derive(Default)]
    struct Order(Vec<(u64, usize)>);

    impl Ledger for Order {
        fn record(&mut self, first: u64, granules: &[Granule]) -> Result<()> {
            self.0.push((first, granules.len()));
            Ok(())
        }
    }

    #[test]
    fn chunks_reach_the_ledger_in_order_and_the_unknown_not_at_all() {
        let mut order = Order::default();
        let sink = NullSink::new(1 << 30);
        let tail = Tail::new(Some(&mut order), &sink, 1);
        for (number, granule) in
            [(2, Granule::Zero), (1, Granule::Unknown), (3, Granule::Zero), (0, Granule::Zero)]
        {
            let mut granules = vec![granule; 2];
            tail.done(number, number * 2, (number + 1) * 2, &mut granules).unwrap();
            assert!(granules.is_empty());
        }
        drop(tail);
        assert_eq!(order.0, [(0, 2), (4, 2), (6, 2)]);
    }

    #[test]
    fn who_is_too_far_ahead_waits() {
        let sink = NullSink::new(1 << 30);
        let tail = Tail::new(None, &sink, 1);
        let stopped = AtomicBool::new(false);
        assert!(tail.wait_for_slot(SLOTS as u64 - 1, &stopped));
        let begun = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                begun.store(true, Ordering::SeqCst);
                tail.wait_for_slot(SLOTS as u64, &stopped)
            });
            while !begun.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            assert!(!waiter.is_finished());
            tail.done(0, 0, 1, &mut Vec::new()).unwrap();
            assert!(waiter.join().unwrap());
            let stopping = scope.spawn(|| tail.wait_for_slot(1000, &stopped));
            stopped.store(true, Ordering::SeqCst);
            tail.wake();
            assert!(!stopping.join().unwrap());
        });
    }
}
