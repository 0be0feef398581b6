//! Disks in memory: a source with any extents, a sink that remembers how each byte came to be.

use block::{BlockSink, BlockSource, ChangeId, Error, Extent, ExtentKind, FullReadReason, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk in memory.
#[derive(Debug, Clone)]
pub struct MemSource {
    bytes: Arc<Vec<u8>>,
    extents: Vec<Extent>,
    /// The change id whose changes `extents` are.
    tracked: Option<ChangeId>,
    parallelism: usize,
}

impl MemSource {
    /// A disk that says it is data all over.
    pub fn new(bytes: Vec<u8>) -> Self {
        let extents = match bytes.len() as u64 {
            0 => Vec::new(),
            size => vec![Extent::new(0..size, ExtentKind::Data)],
        };
        MemSource { bytes: Arc::new(bytes), extents, tracked: None, parallelism: 4 }
    }

    /// It tells these extents instead; they cover the disk.
    pub fn with_extents(mut self, extents: Vec<Extent>) -> Self {
        self.extents = extents;
        self
    }

    /// The extents, some of which are unchanged, are the answer to this change id; asked without one, all is
    /// data, and asked for another, the source does not know.
    pub fn tracking(mut self, since: ChangeId) -> Self {
        self.tracked = Some(since);
        self
    }

    fn check(&self, offset: u64, length: u64) -> Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(Error::Usage {
                name: "memory".to_owned(),
                reason: format!("{length} bytes from {offset} on a disk of {} bytes", self.size()),
            }),
        }
    }
}

impl BlockSource for MemSource {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.check(offset, buf.len() as u64)?;
        let start = offset as usize;
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        self.check(range.start, range.end.saturating_sub(range.start))?;
        match (since, &self.tracked) {
            (Some(_), None) => return Err(Error::FullReadRequired(FullReadReason::NotTracked)),
            (Some(asked), Some(known)) if asked != known => {
                return Err(Error::FullReadRequired(FullReadReason::UnknownChangeId));
            }
            (None, Some(_)) => return Ok(vec![Extent::new(range, ExtentKind::Data)]),
            _ => {}
        }
        let overlapping = self.extents.iter().filter(|e| e.end() > range.start && e.offset < range.end);
        // Never all at once: callers must be able to ask on.
        Ok(overlapping
            .take(7)
            .map(|e| Extent::new(e.offset.max(range.start)..e.end().min(range.end), e.kind))
            .collect())
    }

    fn parallelism(&self) -> usize {
        self.parallelism
    }
}

/// How a byte of a [`MemSink`] came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Nobody touched it.
    Untouched,
    /// By `write_at`.
    Written,
    /// By `zero`.
    Zeroed,
}

/// A target in memory that checks what it is asked for: alignment, range, one write for each position, and
/// that what is settled stays. What it holds can be looked at through [`contents`](MemSink::contents), also
/// after `finish`.
#[derive(Debug)]
pub struct MemSink {
    size: u64,
    granularity: u64,
    state: Arc<Mutex<State>>,
}

/// What a [`MemSink`] holds.
#[derive(Debug)]
pub struct Contents(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    settled: u64,
    finished: bool,
}

impl MemSink {
    /// A target of `size` zeros, written in multiples of `granularity`.
    pub fn new(size: u64, granularity: u64) -> Self {
        Self::over(vec![0; size as usize], granularity)
    }

    /// A target that begins with this content.
    pub fn over(bytes: Vec<u8>, granularity: u64) -> Self {
        let marks = vec![Mark::Untouched; bytes.len()];
        let size = bytes.len() as u64;
        let state = State { bytes, marks, settled: 0, finished: false };
        MemSink { size, granularity, state: Arc::new(Mutex::new(state)) }
    }

    /// A look at what it holds, whatever becomes of the sink.
    pub fn contents(&self) -> Contents {
        Contents(Arc::clone(&self.state))
    }

    fn touch(&self, offset: u64, length: u64, mark: Mark, bytes: Option<&[u8]>) -> Result<()> {
        let refuse = |reason: &str| {
            let reason = format!("{reason}: {length} bytes from {offset} on a disk of {} bytes", self.size);
            Err(Error::Usage { name: "memory".to_owned(), reason })
        };
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.size) else {
            return refuse("outside");
        };
        if !offset.is_multiple_of(self.granularity)
            || (end != self.size && !end.is_multiple_of(self.granularity))
        {
            return refuse("not aligned");
        }
        let mut state = lock(&self.state);
        if length > 0 && offset < state.settled {
            return refuse("below what is settled");
        }
        let range = offset as usize..end as usize;
        if state.marks[range.clone()].iter().any(|mark| *mark != Mark::Untouched) {
            return refuse("written twice");
        }
        state.marks[range.clone()].fill(mark);
        match bytes {
            Some(bytes) => state.bytes[range].copy_from_slice(bytes),
            None => state.bytes[range].fill(0),
        }
        Ok(())
    }
}

impl Contents {
    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        lock(&self.0).bytes.clone()
    }

    /// How each byte came to be.
    pub fn marks(&self) -> Vec<Mark> {
        lock(&self.0).marks.clone()
    }

    /// The highest offset that was told to be settled.
    pub fn settled(&self) -> u64 {
        lock(&self.0).settled
    }

    /// Whether `finish` was called.
    pub fn finished(&self) -> bool {
        lock(&self.0).finished
    }
}

impl BlockSink for MemSink {
    fn size(&self) -> u64 {
        self.size
    }

    fn granularity(&self) -> u64 {
        self.granularity
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.touch(offset, data.len() as u64, Mark::Written, Some(data))
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        self.touch(offset, length, Mark::Zeroed, None)
    }

    fn settled(&self, offset: u64) -> Result<()> {
        let mut state = lock(&self.state);
        if offset < state.settled || offset > self.size {
            let reason = format!("settled to {offset} after {} of {}", state.settled, self.size);
            return Err(Error::Usage { name: "memory".to_owned(), reason });
        }
        state.settled = offset;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        lock(&self.state).finished = true;
        Ok(())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
