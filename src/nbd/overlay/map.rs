//! What has become of each block of an overlay.
//!
//! Two bits a block, in pages for 16 MiB of the disk that are made when something is written there first.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// Bytes of a block.
pub(super) const BLOCK: u64 = 4 << 10;
/// Blocks of a page, and of one of its words.
const PAGE: u64 = 4096;
const WORD: u64 = 32;

/// Where a block's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// In the source.
    Below,
    /// In the overlay's file.
    Stored,
    /// Nowhere: it reads as zeros.
    Zeros,
}

impl State {
    fn bits(self) -> u64 {
        match self {
            State::Below => 0,
            State::Stored => 1,
            State::Zeros => 2,
        }
    }

    fn of(bits: u64) -> State {
        match bits & 3 {
            0 => State::Below,
            1 => State::Stored,
            _ => State::Zeros,
        }
    }

    /// A word of blocks of this state.
    fn word(self) -> u64 {
        self.bits() * 0x5555_5555_5555_5555
    }
}

type Page = Box<[u64; (PAGE / WORD) as usize]>;

/// The states of all blocks.
#[derive(Debug, Default)]
pub(super) struct BlockMap(RwLock<HashMap<u64, Page>>);

impl BlockMap {
    /// The state of a block.
    pub(super) fn state(&self, block: u64) -> State {
        self.read().get(&(block / PAGE)).map_or(State::Below, |page| state_in(page, block % PAGE))
    }

    /// The state at byte `at`, and the byte up to which it goes on, at most `end`. `at` lies before `end`.
    pub(super) fn run(&self, at: u64, end: u64) -> (State, u64) {
        let pages = self.read();
        let mut block = at / BLOCK;
        let last = end.div_ceil(BLOCK);
        let state_of =
            |block: u64| pages.get(&(block / PAGE)).map_or(State::Below, |page| state_in(page, block % PAGE));
        let state = state_of(block);
        while block < last {
            let Some(page) = pages.get(&(block / PAGE)) else {
                if state != State::Below {
                    break;
                }
                block = (block / PAGE + 1) * PAGE;
                continue;
            };
            let within = block % PAGE;
            if within.is_multiple_of(WORD) && page.get((within / WORD) as usize) == Some(&state.word()) {
                block += WORD;
            } else if state_in(page, within) == state {
                block += 1;
            } else {
                break;
            }
        }
        (state, block.saturating_mul(BLOCK).clamp(at + 1, end))
    }

    /// Sets the state of blocks; true where one of them was stored before.
    pub(super) fn set(&self, blocks: Range<u64>, state: State) -> bool {
        let mut pages = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut stored = false;
        for block in blocks {
            let page = pages.entry(block / PAGE).or_insert_with(|| Box::new([0; (PAGE / WORD) as usize]));
            let within = block % PAGE;
            stored |= state_in(page, within) == State::Stored;
            if let Some(word) = page.get_mut((within / WORD) as usize) {
                let shift = within % WORD * 2;
                *word = *word & !(3 << shift) | state.bits() << shift;
            }
        }
        stored
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<u64, Page>> {
        // Whatever a panic elsewhere has left, each word is whole.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn state_in(page: &Page, within: u64) -> State {
    let word = page.get((within / WORD) as usize).copied().unwrap_or(0);
    State::of(word >> (within % WORD * 2))
}
