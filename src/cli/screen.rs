//! The terminal as a thing shared by everything that writes to stderr: bars, notes, warnings, log lines.
//!
//! Bars redraw themselves, so whoever wants to write a line while they are up must go through here. A write
//! that fails is ignored: nobody reads any more, and the work goes on.

use indicatif::{MultiProgress, ProgressDrawTarget};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Stderr with bars that may be up. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Screen {
    bars: Arc<Mutex<Option<MultiProgress>>>,
}

impl Screen {
    /// Puts a block of bars up; they stay until [`Screen::clear`].
    pub fn raise(&self) -> MultiProgress {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        *self.bars.lock().unwrap_or_else(PoisonError::into_inner) = Some(bars.clone());
        bars
    }

    /// Takes the bars away.
    pub fn clear(&self) {
        if let Some(bars) = self.bars.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(bars.clear());
        }
    }

    /// Leaves the bars standing as they are and draws no more of them. For Ctrl-C: the terminal writes `^C`
    /// into the last of them, so that where the cursor is can't be told any more.
    pub fn abandon(&self) {
        if let Some(bars) = self.bars.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bars.set_draw_target(ProgressDrawTarget::hidden());
            drop(writeln!(io::stderr().lock()));
        }
    }

    /// Writes one line to stderr, above the bars.
    pub fn line(&self, text: &str) {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match bars.as_ref() {
            Some(bars) => drop(bars.println(text)),
            None => drop(writeln!(io::stderr().lock(), "{text}")),
        }
    }

    /// Runs `work`, which writes to the terminal by itself, with the bars out of the way.
    pub fn aside<T>(&self, work: impl FnOnce() -> T) -> T {
        let bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        match bars.as_ref() {
            Some(bars) => bars.suspend(work),
            None => work(),
        }
    }
}
