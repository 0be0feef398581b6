//! What a chain's disk must read as, asked at any position and by any thread.
//!
//! A manifest can only be walked from its beginning, because a run does not tell where the one before it is. So each
//! layer keeps the cursor where it was last used, and marks at places it has passed: a question goes on from the
//! nearest of them. The first question about the end of a disk therefore costs a read of every run's header (not of
//! its hashes), and any later one at most the headers between two marks.
//!
//! Memory: 16 KiB and at most `MARKS` marks a layer, whatever the disk's size.

use super::chain::{Bottom, Layer, stack};
use super::cursor::{Cursor, Mark};
use super::file::Manifest;
use super::format::{HASH, Run};
use block::{Granule, Result};
use std::sync::{Mutex, PoisonError};

/// How many marks a layer has at most, 24 bytes each. Where they are used up, every second one is dropped, and from
/// then on they are twice as far apart.
const MARKS: usize = 4096;
/// Runs between two marks at first.
const APART: u64 = 64;

/// The content of a chain as granules at any position.
#[derive(Debug)]
pub struct ChainLookup {
    /// From the bottom up.
    layers: Mutex<Vec<Marked>>,
    bottom: Bottom,
    view: u64,
}

impl ChainLookup {
    /// A view of these layers, the topmost first, as a disk of `view_size` bytes.
    pub fn new(layers: Vec<Manifest>, bottom: Bottom, view_size: u64) -> Self {
        let layers = layers.into_iter().rev().map(Marked::new).collect();
        ChainLookup { layers: Mutex::new(layers), bottom, view: view_size }
    }

    /// Fills `out` with what is known of `out.len()` granules beginning with granule number `first`. Granules past the
    /// end of the view are `Zero`.
    ///
    /// # Errors
    /// Where a manifest can't be read or is damaged.
    pub fn granules(&self, first: u64, out: &mut [Granule]) -> Result<()> {
        // A question that failed leaves cursors somewhere between two runs, which is where they always are.
        let mut layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        stack(&mut layers, self.bottom, self.view, first, out)
    }
}

/// A cursor that can go back.
#[derive(Debug)]
struct Marked {
    cursor: Cursor,
    /// Where the cursor's current run was sought from: what lies below is not reached from here.
    from: u64,
    /// Ascending by their floor; never empty.
    marks: Vec<Mark>,
    /// Runs between two marks.
    apart: u64,
    /// Runs behind the last mark that the cursor has passed.
    passed: u64,
}

impl Marked {
    fn new(manifest: Manifest) -> Self {
        Marked {
            cursor: Cursor::new(manifest, Cursor::SMALL_BUFFER),
            from: 0,
            marks: vec![Mark::START],
            apart: APART,
            passed: 0,
        }
    }

    /// Goes to the mark from which `granule` is nearest, unless the cursor is nearer.
    fn approach(&mut self, granule: u64) {
        let position = self.marks.partition_point(|mark| mark.floor <= granule).saturating_sub(1);
        let Some(mark) = self.marks.get(position).copied() else { return };
        if granule >= self.from && mark.floor <= self.cursor.mark().floor {
            return;
        }
        self.cursor.go_to(mark);
        self.from = mark.floor;
        self.passed = 0;
    }

    /// Notes that the cursor stands behind one more run.
    fn pass(&mut self) {
        let here = self.cursor.mark();
        if self.marks.last().is_some_and(|last| here.floor <= last.floor) {
            return;
        }
        self.passed += 1;
        if self.passed < self.apart {
            return;
        }
        self.passed = 0;
        if self.marks.len() == MARKS {
            let mut position = 0;
            self.marks.retain(|_| {
                position += 1;
                position % 2 == 1
            });
            self.apart *= 2;
        }
        self.marks.push(here);
    }
}

impl Layer for Marked {
    fn virtual_size(&self) -> u64 {
        self.cursor.virtual_size()
    }

    fn seek(&mut self, granule: u64) -> Result<Option<Run>> {
        self.approach(granule);
        loop {
            if let Some(run) = self.cursor.current().filter(|run| run.end() > granule) {
                return Ok(Some(run));
            }
            let from = self.cursor.mark().floor;
            let stepped = self.cursor.step()?;
            self.from = from;
            if stepped.is_none() {
                return Ok(None);
            }
            self.pass();
        }
    }

    fn hashes(&mut self, first: u64, count: u64) -> Result<&[[u8; HASH]]> {
        self.cursor.hashes(first, count)
    }
}
