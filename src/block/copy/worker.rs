//! One worker: claim, read, look, hash, decide, write, report.

use super::buffer::Buffer;
use super::decide::{Rule, Verdict, first_mismatch};
use super::plan::{Claim, Content, Plan};
use super::tail::Tail;
use super::{CopyError, Side};
use crate::baseline::{GRANULE, Granule};
use crate::zero::is_zero;
use crate::{BlockSink, BlockSource, CancelToken, Counters, Error, Limiter};
use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What the workers of one copy share.
pub(crate) struct Shared<'a> {
    source: &'a dyn BlockSource,
    sink: &'a dyn BlockSink,
    plan: Mutex<Plan<'a>>,
    tail: Tail<'a>,
    rule: Rule,
    hash: bool,
    records: bool,
    name: &'a str,
    // Asked once: they never change, and behind a trait object each question is a call.
    source_size: u64,
    sink_size: u64,
    granularity: u64,
    stopped: AtomicBool,
    failure: Mutex<Option<CopyError>>,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(
        source: &'a dyn BlockSource,
        sink: &'a dyn BlockSink,
        plan: Plan<'a>,
        tail: Tail<'a>,
        rule: Rule,
        hash: bool,
        name: &'a str,
    ) -> Self {
        Shared {
            source,
            sink,
            plan: Mutex::new(plan),
            records: tail.records(),
            tail,
            rule,
            hash,
            name,
            source_size: source.size(),
            sink_size: sink.size(),
            granularity: sink.granularity(),
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Stops all workers. The first failure is the copy's.
    pub(crate) fn fail(&self, error: CopyError) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.stopped.store(true, Ordering::Release);
        self.tail.wake();
    }

    pub(crate) fn into_failure(self) -> Option<CopyError> {
        self.failure.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn claim(&self, claim: &mut Claim) -> Result<bool, CopyError> {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        // A panic may have left the plan half-way; whoever panicked reports it.
        if self.plan.is_poisoned() || self.stopped() { Ok(false) } else { plan.claim(claim) }
    }
}

pub(crate) struct Worker<'w, 'a> {
    shared: &'w Shared<'a>,
    counters: &'w Counters,
    cancel: &'w CancelToken,
    limiter: Option<&'w Limiter>,
    chunk: u64,
}

/// What a worker reuses from chunk to chunk.
struct Hands {
    buffer: Buffer,
    /// What the granules of the chunk are.
    now: Vec<Granule>,
    /// What the ledger is to be told of them.
    report: Vec<Granule>,
}

impl<'w, 'a> Worker<'w, 'a> {
    pub(crate) fn new(
        shared: &'w Shared<'a>,
        counters: &'w Counters,
        cancel: &'w CancelToken,
        limiter: Option<&'w Limiter>,
        chunk: u64,
    ) -> Self {
        Worker { shared, counters, cancel, limiter, chunk }
    }

    /// Works until nothing is left or anybody has failed.
    pub(crate) fn run(self) {
        match catch_unwind(AssertUnwindSafe(|| self.work())) {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.shared.fail(failure),
            Err(panic) => self.shared.fail(Side::Copy.failed(Error::Panicked {
                name: self.shared.name.to_owned(),
                reason: panic_text(panic.as_ref()),
            })),
        }
    }

    fn work(&self) -> Result<(), CopyError> {
        let mut claim = Claim::default();
        let mut hands =
            Hands { buffer: Buffer::new(length(self.chunk)), now: Vec::new(), report: Vec::new() };
        loop {
            self.check()?;
            if !self.shared.claim(&mut claim)?
                || !self.shared.tail.wait_for_slot(claim.number, &self.shared.stopped)
            {
                return Ok(());
            }
            hands.report.clear();
            match claim.content {
                Content::Data => self.data(&claim, &mut hands)?,
                Content::Zero => self.zeros(&claim, &mut hands)?,
                Content::Hole => self.counters.zero(claim.range.end - claim.range.start),
                Content::Unchanged => self.counters.unchanged(claim.range.end - claim.range.start),
            }
            let (first, end) = (claim.range.start / GRANULE, claim.range.end);
            self.shared.tail.done(claim.number, first, end, &mut hands.report)?;
        }
    }

    fn check(&self) -> Result<(), CopyError> {
        self.cancel.check().map_err(|error| Side::Copy.failed(error))
    }

    /// A chunk that must be read.
    fn data(&self, claim: &Claim, hands: &mut Hands) -> Result<(), CopyError> {
        let size = claim.range.end - claim.range.start;
        if let Some(limiter) = self.limiter {
            limiter.take(size, self.cancel).map_err(|error| Side::Copy.failed(error))?;
        }
        let buffer = hands.buffer.bytes();
        let bytes = &mut buffer[..length(size)];
        self.shared.source.read_at(bytes, claim.range.start).map_err(|error| Side::Source.failed(error))?;
        self.counters.read(size);
        hands.now.clear();
        hands.now.extend(bytes.chunks(length(GRANULE)).map(|granule| match () {
            () if is_zero(granule) => Granule::Zero,
            () if self.shared.hash => Granule::Hash(blake3::hash(granule).into()),
            () => Granule::Unknown,
        }));
        self.expect(&hands.now, claim)?;
        self.check()?;
        self.deal(claim, &hands.now, Some(buffer), &mut hands.report)
    }

    /// A run of zeros that need not be read.
    fn zeros(&self, claim: &Claim, hands: &mut Hands) -> Result<(), CopyError> {
        if !self.shared.hash {
            // Nobody looks at single granules: all are as the first.
            let verdict = self.shared.rule.decide(&[Granule::Zero], &[]);
            return self.act(verdict, claim.range.clone(), None);
        }
        let count = (claim.range.end - claim.range.start).div_ceil(GRANULE);
        hands.now.clear();
        hands.now.resize(length(count), Granule::Zero);
        self.expect(&hands.now, claim)?;
        self.deal(claim, &hands.now, None, &mut hands.report)
    }

    /// Checks a restore against the hashes.
    fn expect(&self, now: &[Granule], claim: &Claim) -> Result<(), CopyError> {
        match first_mismatch(now, &claim.before) {
            Some(at) if self.shared.rule == Rule::Restore => {
                let offset = claim.range.start + at as u64 * GRANULE;
                Err(Side::Source.failed(Error::Mismatch { name: self.shared.name.to_owned(), offset }))
            }
            _ => Ok(()),
        }
    }

    /// Decides unit by unit and acts on runs of the same verdict.
    fn deal(
        &self,
        claim: &Claim,
        now: &[Granule],
        mut buffer: Option<&mut [u8]>,
        report: &mut Vec<Granule>,
    ) -> Result<(), CopyError> {
        let per_unit = length(self.shared.granularity.max(GRANULE) / GRANULE);
        let mut before = claim.before.chunks(per_unit);
        let mut run: Option<(Verdict, Range<u64>)> = None;
        let mut at = claim.range.start;
        for unit in now.chunks(per_unit) {
            let verdict = self.shared.rule.decide(unit, before.next().unwrap_or(&[]));
            let end = (at + (unit.len() as u64) * GRANULE).min(claim.range.end);
            if self.shared.records {
                self.tell(verdict, unit, report);
            }
            run = match run {
                Some((same, range)) if same == verdict => Some((same, range.start..end)),
                Some((other, range)) => {
                    self.act(other, range, buffer.as_deref_mut().map(|bytes| (bytes, claim.range.start)))?;
                    Some((verdict, at..end))
                }
                None => Some((verdict, at..end)),
            };
            at = end;
        }
        match run {
            Some((verdict, range)) => {
                self.act(verdict, range, buffer.map(|bytes| (bytes, claim.range.start)))
            }
            None => Ok(()),
        }
    }

    /// Adds to the report what was stored of a unit.
    fn tell(&self, verdict: Verdict, unit: &[Granule], report: &mut Vec<Granule>) {
        match verdict {
            Verdict::Write => report.extend_from_slice(unit),
            Verdict::Zero => report.extend(unit.iter().map(|_| Granule::Zero)),
            Verdict::LeaveOut | Verdict::Unchanged => report.extend(unit.iter().map(|_| Granule::Unknown)),
        }
    }

    /// Does what was decided for `range`. `buffer` is the whole buffer and the disk offset of its beginning.
    fn act(
        &self,
        verdict: Verdict,
        range: Range<u64>,
        buffer: Option<(&mut [u8], u64)>,
    ) -> Result<(), CopyError> {
        let size = range.end - range.start;
        match verdict {
            Verdict::LeaveOut => self.counters.zero(size),
            Verdict::Unchanged => self.counters.unchanged(size),
            Verdict::Zero => {
                let end = self.padded_end(range.end);
                self.shared
                    .sink
                    .zero(range.start, end - range.start)
                    .map_err(|error| Side::Sink.failed(error))?;
                self.counters.zero(size);
            }
            Verdict::Write => {
                if let Some((bytes, origin)) = buffer {
                    let end = self.padded_end(range.end);
                    bytes[length(range.end - origin)..length(end - origin)].fill(0);
                    let piece = &bytes[length(range.start - origin)..length(end - origin)];
                    self.shared
                        .sink
                        .write_at(piece, range.start)
                        .map_err(|error| Side::Sink.failed(error))?;
                }
                self.counters.stored(size);
            }
        }
        Ok(())
    }

    /// Where a piece that ends at `end` must end for the sink: the disk's last piece is filled up with
    /// zeros to the sink's granularity where the sink is larger. Stays inside the buffer, which is a whole
    /// number of units.
    fn padded_end(&self, end: u64) -> u64 {
        if end == self.shared.source_size {
            end.next_multiple_of(self.shared.granularity).min(self.shared.sink_size)
        } else {
            end
        }
    }
}

/// Lengths inside a chunk, and counts of granules inside a claim: both are bounded by small constants.
fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a text".to_owned())
}
