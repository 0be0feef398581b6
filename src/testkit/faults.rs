//! Errors, delays and panics on command, at chosen places of a disk: a decorator of sources and sinks.

use block::{BlockSink, BlockSource, CancelToken, ChangeId, Error, Extent, Result};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Which calls a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// `read_at`, or for a sink `write_at`.
    Data,
    /// `extents`, or for a sink `zero`.
    Layout,
    /// A sink's `settled`.
    Settled,
}

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum What {
    /// It fails with this error of the operating system (`libc`'s number, 5 is EIO, 28 ENOSPC).
    Fail(i32),
    /// It fails as a lost connection, which is worth another try.
    Lost,
    /// It takes this long and then works.
    Delay(Duration),
    /// It cancels this and then works.
    Cancel(CancelToken),
    /// It panics.
    Panic,
}

#[derive(Debug)]
struct Fault {
    on: On,
    range: Range<u64>,
    what: What,
    left: u64,
}

/// A source or sink with faults.
#[derive(Debug)]
pub struct Faults<T> {
    inner: T,
    faults: Mutex<Vec<Fault>>,
    calls: AtomicU64,
}

impl<T> Faults<T> {
    /// `inner`, without faults yet.
    pub fn new(inner: T) -> Self {
        Faults { inner, faults: Mutex::new(Vec::new()), calls: AtomicU64::new(0) }
    }

    /// Calls of kind `on` that touch `range` meet `what`, the first `times` of them.
    pub fn with(self, on: On, range: Range<u64>, what: What, times: u64) -> Self {
        let fault = Fault { on, range, what, left: times };
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
        self
    }

    /// Calls of all kinds so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn meet(&self, on: On, offset: u64, length: u64) -> Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let what = {
            let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
            let end = offset.saturating_add(length.max(1));
            let hit = faults
                .iter_mut()
                .find(|f| f.on == on && f.left > 0 && f.range.start < end && offset < f.range.end);
            hit.map(|fault| {
                fault.left -= 1;
                fault.what.clone()
            })
        };
        let name = "faulty".to_owned();
        match what {
            None => Ok(()),
            Some(What::Delay(time)) => {
                thread::sleep(time);
                Ok(())
            }
            Some(What::Cancel(token)) => {
                token.cancel();
                Ok(())
            }
            Some(What::Fail(number)) => Err(Error::Io {
                operation: "use",
                name,
                offset,
                source: io::Error::from_raw_os_error(number),
            }),
            Some(What::Lost) => {
                Err(Error::Peer { name, reason: "connection lost".to_owned(), transient: true })
            }
            Some(What::Panic) => panic!("a fault at byte {offset}"),
        }
    }
}

impl<S: BlockSource> BlockSource for Faults<S> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.meet(On::Data, offset, buf.len() as u64)?;
        self.inner.read_at(buf, offset)
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        self.meet(On::Layout, range.start, range.end.saturating_sub(range.start))?;
        self.inner.extents(range, since)
    }

    fn parallelism(&self) -> usize {
        self.inner.parallelism()
    }
}

impl<S: BlockSink> BlockSink for Faults<S> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn granularity(&self) -> u64 {
        self.inner.granularity()
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.meet(On::Data, offset, data.len() as u64)?;
        self.inner.write_at(data, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.meet(On::Layout, offset, length)?;
        self.inner.zero(offset, length)
    }

    fn settled(&self, offset: u64) -> Result<()> {
        self.meet(On::Settled, offset, 0)?;
        self.inner.settled(offset)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Box::new(self.inner).finish()
    }
}
