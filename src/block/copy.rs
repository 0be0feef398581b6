//! The pipeline that moves a disk from a [`BlockSource`] to a [`BlockSink`].
//!
//! The model: a disk is cut into *units*, the larger of [`GRANULE`] and the sink's granularity; a unit is
//! decided as a whole. Worker threads claim chunks of units in ascending order from the plan (`plan`), read
//! each into their own buffer, look for zeros, hash every granule where anybody wants hashes, decide
//! (`decide`) and hand runs of equal verdict to the sink. What each chunk turned out to be goes to the tail
//! (`tail`), which puts the chunks back in order for the [`Ledger`] and for [`BlockSink::settled`].
//! Nothing is handed over between threads: a chunk stays in one core's cache from the read to the write.
//!
//! Invariants:
//! - Every byte of the wanted ranges is in exactly one of `stored`, `zero` and `unchanged` at the end.
//! - Buffers are one a worker, at most [`MEMORY`] together (one unit a worker where units are larger), and
//!   are made once. What waits in the tail is bounded by a fixed number of chunks.
//! - The first error stops all; [`copy`] returns only when every worker has ended, and nothing is written to
//!   the sink afterwards. A panic in a source, sink, baseline or ledger is caught and is an error too.
//! - [`copy`] neither finishes nor drops the sink: whoever made it decides.
//!
//! Without a ledger and a baseline nothing is hashed.

mod buffer;
mod decide;
mod plan;
mod tail;
mod worker;

use crate::baseline::{Baseline, GRANULE, Ledger};
use crate::{BlockSink, BlockSource, CancelToken, ChangeId, Counters, Error, Limiter, Progress};
use decide::Rule;
use plan::Plan;
use std::fmt;
use std::ops::Range;
use tail::Tail;
use worker::{Shared, Worker};

/// All buffers of one copy together, in bytes.
pub const MEMORY: u64 = 8 << 20;

/// The most that one worker reads at once, where the unit is not larger.
const CHUNK: u64 = 1 << 20;

/// Workers, where nobody says how many: more gain nothing on one disk.
const WORKERS: usize = 4;

/// More workers than this are never started, whatever is asked.
const MOST_WORKERS: usize = 256;

/// What a copy is for.
pub enum Mode<'a> {
    /// Into an empty sink that reads as zeros where nothing is written: zeros and holes are left out.
    Store {
        /// For a sink over a backing file, out of a slice of a chain: what the source calls
        /// [`Zero`](crate::ExtentKind::Zero), and data that is zeros, is recorded by [`BlockSink::zero`];
        /// what it calls [`Hole`](crate::ExtentKind::Hole) is left alone. A unit that is a hole in part
        /// can't be stored so, and is an error.
        keep_zeros: bool,
    },
    /// Into a sink over a backing file that holds what the baseline describes: only units that differ.
    Changes {
        /// The content of the backing file.
        baseline: &'a mut dyn Baseline,
    },
    /// Into a sink with any content: all is written, zeros by [`BlockSink::zero`].
    Restore {
        /// What must come out, granule by granule; anything else is [`Error::Mismatch`], and is not
        /// written. What it calls unknown is not checked.
        expected: Option<&'a mut dyn Baseline>,
    },
}

/// What a copy needs besides source and sink. Made by [`CopyOptions::new`]; then set what differs.
pub struct CopyOptions<'a> {
    /// What the copy is for.
    pub mode: Mode<'a>,
    /// Takes what was stored. `None`: nobody asks.
    pub ledger: Option<&'a mut dyn Ledger>,
    /// Only these, in bytes, in any order; widened to whole units. `None`: the whole disk.
    pub ranges: Option<Vec<Range<u64>>>,
    /// Worker threads. `None`: as many as the source can use, up to 4. For sinks that compress, the number
    /// of cores is better.
    pub threads: Option<usize>,
    /// Where the copy counts; one set a copy.
    pub counters: &'a Counters,
    /// Stops it from outside. A deadline is part of the token.
    pub cancel: &'a CancelToken,
    /// Slows it down: counts the bytes read from the source.
    pub limiter: Option<&'a Limiter>,
    /// Only what the source says has changed since then. With [`Mode::Changes`] and [`Mode::Store`].
    pub since: Option<ChangeId>,
    /// What errors call the disk.
    pub name: &'a str,
}

impl<'a> CopyOptions<'a> {
    /// The whole disk, called `name` in errors, with nothing optional.
    pub fn new(name: &'a str, mode: Mode<'a>, counters: &'a Counters, cancel: &'a CancelToken) -> Self {
        CopyOptions {
            mode,
            ledger: None,
            ranges: None,
            threads: None,
            counters,
            cancel,
            limiter: None,
            since: None,
            name,
        }
    }
}

/// What a finished copy has done: the counters' last values.
pub type Summary = Progress;

/// Which side of a copy failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Reading.
    Source,
    /// Writing.
    Sink,
    /// The hashes of before.
    Baseline,
    /// The record of what was stored.
    Ledger,
    /// The copy itself: cancelled, out of time, a mistake in what was asked for.
    Copy,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Source => "source",
            Side::Sink => "sink",
            Side::Baseline => "baseline",
            Side::Ledger => "ledger",
            Side::Copy => "copy",
        })
    }
}

/// Why a copy failed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct CopyError {
    /// Who failed.
    pub side: Side,
    /// Why.
    #[source]
    pub error: Error,
}

impl Side {
    fn failed(self, error: Error) -> CopyError {
        CopyError { side: self, error }
    }
}

/// Copies `source` into `sink`, which may be larger. The caller finishes or drops the sink afterwards.
///
/// # Errors
/// The first that any worker met. The sink is then fit only to be dropped.
pub fn copy(
    source: &dyn BlockSource,
    sink: &dyn BlockSink,
    options: CopyOptions<'_>,
) -> Result<Summary, CopyError> {
    let CopyOptions { mode, ledger, ranges, threads, counters, cancel, limiter, since, name } = options;
    let usage = |reason: String| Side::Copy.failed(Error::Usage { name: name.to_owned(), reason });
    let granularity = sink.granularity();
    if !granularity.is_power_of_two() {
        return Err(usage(format!("a sink that writes in units of {granularity} bytes")));
    }
    if sink.size() < source.size() {
        return Err(usage(format!(
            "its {} bytes do not fit into a target of {} bytes",
            source.size(),
            sink.size()
        )));
    }
    if since.is_some() && matches!(mode, Mode::Restore { .. }) {
        return Err(usage("a restore of changes only".to_owned()));
    }
    let (rule, baseline) = match mode {
        Mode::Store { keep_zeros } => (Rule::Store { keep_zeros }, None),
        Mode::Changes { baseline } => (Rule::Changes, Some(baseline)),
        Mode::Restore { expected } => (Rule::Restore, expected),
    };
    // Borrowed anew, for as long as the copy takes: source and sink need not live as long as the options.
    let baseline = baseline.map(|baseline| baseline as &mut dyn Baseline);
    let ledger = ledger.map(|ledger| ledger as &mut dyn Ledger);
    let hash = baseline.is_some() || ledger.is_some();
    let unit = granularity.max(GRANULE);
    let threads = threads.unwrap_or_else(|| source.parallelism().min(WORKERS)).clamp(1, MOST_WORKERS);
    let share = MEMORY / threads as u64;
    let chunk = (share.min(CHUNK) / unit).max(1) * unit;

    let plan = Plan::new(source, name, rule, unit, chunk, ranges, since, baseline, hash);
    counters.begin(plan.total());
    let shared = Shared::new(source, sink, plan, Tail::new(ledger, sink, threads), rule, hash, name);
    std::thread::scope(|scope| {
        for number in 0..threads {
            let worker = Worker::new(&shared, counters, cancel, limiter, chunk);
            let started = std::thread::Builder::new()
                .name(format!("copy-{number}"))
                .spawn_scoped(scope, move || worker.run());
            if let Err(error) = started {
                let error =
                    Error::Open { operation: "start a thread for", name: name.to_owned(), source: error };
                shared.fail(Side::Copy.failed(error));
            }
        }
    });
    match shared.into_failure() {
        Some(failure) => Err(failure),
        None => Ok(counters.progress()),
    }
}
