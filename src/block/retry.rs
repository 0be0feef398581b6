//! Trying again what may work a moment later: a thin decorator of sources and sinks.
//!
//! Only errors that say so are tried again ([`Error::is_transient`]): lost connections and the like, never a
//! bad sector, a full disk or damage. The waits double, are bounded, and end when the work is cancelled.
//! `finish` is not tried again: it consumes the sink, and half of it may have happened.

use crate::{BlockSink, BlockSource, CancelToken, ChangeId, Extent, Result};
use std::ops::Range;
use std::time::Duration;

/// How often and how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Tries altogether, the first included.
    pub tries: u32,
    /// The wait before the second; each further one is twice as long.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for Patience {
    /// Six tries over about six seconds.
    fn default() -> Self {
        Patience { tries: 6, first_wait: Duration::from_millis(200), longest_wait: Duration::from_secs(5) }
    }
}

/// Tries again what fails for a moment.
#[derive(Debug)]
pub struct Retry<T> {
    inner: T,
    patience: Patience,
    cancel: CancelToken,
}

impl<T> Retry<T> {
    /// `inner`, tried again with `patience` until `cancel` says stop.
    pub fn new(inner: T, patience: Patience, cancel: CancelToken) -> Self {
        Retry { inner, patience, cancel }
    }

    fn again<R>(&self, mut step: impl FnMut(&T) -> Result<R>) -> Result<R> {
        let mut wait = self.patience.first_wait;
        let mut tried = 1;
        loop {
            match step(&self.inner) {
                Err(error) if error.is_transient() && tried < self.patience.tries => {
                    tracing::debug!(%error, tried, "will be tried again");
                    self.cancel.pause(wait.min(self.patience.longest_wait))?;
                    wait = wait.saturating_mul(2);
                    tried += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

impl<S: BlockSource> BlockSource for Retry<S> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.again(|inner| inner.read_at(buf, offset))
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        self.again(|inner| inner.extents(range.clone(), since))
    }

    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}

impl<S: BlockSink> BlockSink for Retry<S> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn granularity(&self) -> u64 {
        self.inner.granularity()
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.again(|inner| inner.write_at(data, offset))
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.again(|inner| inner.zero(offset, length))
    }

    fn settled(&self, offset: u64) -> Result<()> {
        self.inner.settled(offset)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Box::new(self.inner).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::sync::atomic::{AtomicU32, Ordering};

    const QUICK: Patience =
        Patience { tries: 4, first_wait: Duration::from_micros(1), longest_wait: Duration::from_micros(3) };

    fn lost(transient: bool) -> Error {
        Error::Peer { name: "nbd://host".to_owned(), reason: "connection lost".to_owned(), transient }
    }

    fn tries(cancel: &CancelToken, fail_first: u32, transient: bool) -> (u32, Result<()>) {
        let retry = Retry::new(AtomicU32::new(0), QUICK, cancel.clone());
        let outcome = retry.again(|count| {
            if count.fetch_add(1, Ordering::Relaxed) < fail_first { Err(lost(transient)) } else { Ok(()) }
        });
        (retry.inner.load(Ordering::Relaxed), outcome)
    }

    #[test]
    fn what_passes_is_tried_again_and_bounded() {
        let cancel = CancelToken::new();
        assert!(matches!(tries(&cancel, 0, true), (1, Ok(()))));
        assert!(matches!(tries(&cancel, 3, true), (4, Ok(()))));
        assert!(matches!(tries(&cancel, 4, true), (4, Err(Error::Peer { .. }))));
        assert!(matches!(tries(&cancel, 1, false), (1, Err(Error::Peer { .. }))));
        cancel.cancel();
        assert!(matches!(tries(&cancel, 3, true), (1, Err(Error::Cancelled))));
    }
}
