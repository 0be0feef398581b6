//! The way out of an archive, which can be closed from outside of the encoder that writes to it.
//!
//! Encoders of ZIP and gzip write the end of their stream when they are dropped. Once the gate is closed, what is
//! written goes nowhere, without an error that somebody would print.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an encoder writes to.
pub(crate) struct Gate<W> {
    out: W,
    closed: Arc<AtomicBool>,
}

/// What closes a [`Gate`].
pub(crate) struct Closer(Arc<AtomicBool>);

/// An open gate to `out`.
pub(crate) fn new<W: Write>(out: W) -> (Gate<W>, Closer) {
    let closed = Arc::new(AtomicBool::new(false));
    (Gate { out, closed: Arc::clone(&closed) }, Closer(closed))
}

impl Closer {
    /// Nothing gets out from now on.
    pub(crate) fn close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<W> Gate<W> {
    /// What is behind it.
    pub(crate) fn into_inner(self) -> W {
        self.out
    }
}

impl<W: Write> Write for Gate<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.closed.load(Ordering::Relaxed) { Ok(buf.len()) } else { self.out.write(buf) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed.load(Ordering::Relaxed) { Ok(()) } else { self.out.flush() }
    }
}
