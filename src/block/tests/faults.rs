//! What `copy` does when something goes wrong: which side it blames, that it stops, and that it is over
//! when it returns.

use block::{
    BlockSink, BlockSource, CancelToken, ChangeId, CopyError, CopyOptions, Counters, Error, Extent,
    ExtentKind, FullReadReason, GRANULE, Granule, Limiter, Mode, Patience, Retry, Side, copy,
};
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use testkit::faults::{Faults, On, What};
use testkit::granules::{Known, Recorded, granules_of};
use testkit::image::{Fill, Rng, paint};
use testkit::mem::{MemSink, MemSource};

const SIZE: u64 = 12 << 20;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn disk() -> Vec<u8> {
    let mut disk = vec![0; SIZE as usize];
    paint(&mut Rng::new(1), Fill::Random, &mut disk[..]);
    disk[8 << 20..9 << 20].fill(0);
    disk
}

fn source() -> Faults<MemSource> {
    Faults::new(MemSource::new(disk()))
}

fn sink() -> Faults<MemSink> {
    Faults::new(MemSink::new(SIZE, 65_536))
}

fn restore(source: &dyn BlockSource, sink: &dyn BlockSink) -> Result<(), CopyError> {
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let mode = Mode::Restore { expected: None };
    copy(source, sink, CopyOptions::new("disk", mode, &counters, &cancel)).map(drop)
}

#[test]
fn the_side_that_failed_is_named() {
    let everywhere = [0..GRANULE, (7 << 20) + 5..(7 << 20) + 6, SIZE - 1..SIZE];
    for range in everywhere {
        let failing = source().with(On::Data, range.clone(), What::Fail(EIO), 1);
        let failure = restore(&failing, &sink()).unwrap_err();
        assert_eq!(failure.side, Side::Source);
        assert!(matches!(failure.error, Error::Io { .. }));

        let failing = sink().with(On::Data, range.clone(), What::Fail(ENOSPC), 1);
        let failure = restore(&source(), &failing).unwrap_err();
        assert_eq!(failure.side, Side::Sink);
        assert!(failure.error.is_no_space());

        let failing = source().with(On::Layout, range, What::Fail(EIO), 1);
        assert_eq!(restore(&failing, &sink()).unwrap_err().side, Side::Source);
    }
    let failing = sink().with(On::Layout, 0..SIZE, What::Fail(EIO), 1);
    assert_eq!(restore(&source(), &failing).unwrap_err().side, Side::Sink);
    let failing = sink().with(On::Settled, 5 << 20..SIZE + 1, What::Fail(EIO), 1);
    assert_eq!(restore(&source(), &failing).unwrap_err().side, Side::Sink);
}

/// A baseline or ledger that fails from some granule on.
struct Broken(u64, What);

impl Broken {
    fn at(&self, end: u64) -> block::Result<()> {
        match &self.1 {
            _ if end <= self.0 => Ok(()),
            What::Panic => panic!("the manifest is on fire"),
            _ => Err(Error::Corrupt { name: "manifest".to_owned(), reason: "torn".to_owned() }),
        }
    }
}

impl block::Baseline for Broken {
    fn next(&mut self, first: u64, out: &mut [Granule]) -> block::Result<()> {
        out.fill(Granule::Unknown);
        self.at(first + out.len() as u64)
    }
}

impl block::Ledger for Broken {
    fn record(&mut self, first: u64, granules: &[Granule]) -> block::Result<()> {
        self.at(first + granules.len() as u64)
    }
}

#[test]
fn broken_baselines_and_ledgers_are_named() {
    for what in [What::Lost, What::Panic] {
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let mut baseline = Broken(50, what.clone());
        let mode = Mode::Changes { baseline: &mut baseline };
        let failure =
            copy(&source(), &sink(), CopyOptions::new("disk", mode, &counters, &cancel)).unwrap_err();
        check_broken(&failure, &what, Side::Baseline);

        let mut ledger = Broken(50, what.clone());
        let mode = Mode::Store { keep_zeros: false };
        let mut options = CopyOptions::new("disk", mode, &counters, &cancel);
        options.ledger = Some(&mut ledger);
        check_broken(&copy(&source(), &sink(), options).unwrap_err(), &what, Side::Ledger);
    }
}

fn check_broken(failure: &CopyError, what: &What, side: Side) {
    match what {
        What::Panic => {
            assert_eq!(failure.side, Side::Copy);
            assert!(failure.to_string().contains("the manifest is on fire"), "{failure}");
        }
        _ => {
            assert_eq!(failure.side, side);
            assert!(matches!(failure.error, Error::Corrupt { .. }));
        }
    }
}

#[test]
fn a_panic_anywhere_is_an_error() {
    let panicking = source().with(On::Data, 5 << 20..6 << 20, What::Panic, 1);
    let failure = restore(&panicking, &sink()).unwrap_err();
    assert!(matches!(&failure.error, Error::Panicked { reason, .. } if reason.contains("a fault at byte")));
    let panicking = source().with(On::Layout, 0..SIZE, What::Panic, 1);
    assert!(matches!(restore(&panicking, &sink()).unwrap_err().error, Error::Panicked { .. }));
    for on in [On::Data, On::Layout, On::Settled] {
        let panicking = sink().with(on, 0..SIZE + 1, What::Panic, 1);
        assert!(matches!(restore(&source(), &panicking).unwrap_err().error, Error::Panicked { .. }));
    }
}

/// A sink that takes its time, and knows how many calls are inside it.
struct Slow {
    inside: AtomicU64,
    calls: AtomicU64,
    closed: AtomicBool,
    time: Duration,
}

impl Slow {
    fn new(time: Duration) -> Self {
        Slow { inside: AtomicU64::new(0), calls: AtomicU64::new(0), closed: AtomicBool::new(false), time }
    }

    /// After `copy` has returned: nothing is inside, and nothing comes any more.
    fn close(&self) {
        assert_eq!(self.inside.load(Ordering::SeqCst), 0, "a worker is still writing");
        self.closed.store(true, Ordering::SeqCst);
    }
}

impl BlockSink for Slow {
    fn size(&self) -> u64 {
        SIZE
    }
    fn granularity(&self) -> u64 {
        512
    }
    fn write_at(&self, _: &[u8], _: u64) -> block::Result<()> {
        assert!(!self.closed.load(Ordering::SeqCst), "written to after the copy was over");
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.calls.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.time);
        self.inside.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
    fn zero(&self, _: u64, _: u64) -> block::Result<()> {
        Ok(())
    }
    fn settled(&self, _: u64) -> block::Result<()> {
        Ok(())
    }
    fn finish(self: Box<Self>) -> block::Result<()> {
        Ok(())
    }
}

#[test]
fn cancelling_ends_it_soon_and_wholly() {
    let slow = Slow::new(Duration::from_millis(20));
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let cancelling = source().with(On::Data, 6 << 20..7 << 20, What::Cancel(cancel.clone()), 1);
    let mode = Mode::Restore { expected: None };
    let started = Instant::now();
    let failure = copy(&cancelling, &slow, CopyOptions::new("disk", mode, &counters, &cancel)).unwrap_err();
    slow.close();
    assert_eq!(failure.side, Side::Copy);
    assert!(matches!(failure.error, Error::Cancelled));
    assert!(slow.calls.load(Ordering::SeqCst) <= 9, "chunks were begun after the request");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(counters.progress().processed < SIZE);
}

#[test]
fn an_error_lets_no_worker_outlive_the_copy() {
    let slow = Slow::new(Duration::from_millis(30));
    let failing = source().with(On::Data, 3 << 20..4 << 20, What::Fail(EIO), 1);
    assert_eq!(restore(&failing, &slow).unwrap_err().side, Side::Source);
    slow.close();
}

#[test]
fn a_cancelled_copy_does_not_begin() {
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    cancel.cancel();
    let untouched = source();
    let mode = Mode::Restore { expected: None };
    let failure = copy(&untouched, &sink(), CopyOptions::new("disk", mode, &counters, &cancel)).unwrap_err();
    assert!(matches!(failure.error, Error::Cancelled));
    assert_eq!(untouched.calls(), 0);
}

#[test]
fn the_deadline_ends_it() {
    let slow = Slow::new(Duration::from_millis(20));
    let counters = Counters::new();
    let cancel = CancelToken::new().with_limit(Duration::from_millis(30));
    let mode = Mode::Restore { expected: None };
    let failure = copy(&source(), &slow, CopyOptions::new("disk", mode, &counters, &cancel)).unwrap_err();
    slow.close();
    assert!(matches!(failure.error, Error::TimedOut(0)));
}

#[test]
fn a_limit_is_kept_and_cancelling_does_not_wait_for_it() {
    let limiter = Limiter::new(NonZeroU64::new(32 << 20).unwrap());
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let mode = Mode::Restore { expected: None };
    let mut options = CopyOptions::new("disk", mode, &counters, &cancel);
    options.limiter = Some(&limiter);
    let started = Instant::now();
    copy(&source(), &sink(), options).unwrap();
    // 12 MiB at 32 MiB/s, less what may be saved up and the last chunk, which is not waited for.
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());

    let limiter = Limiter::new(NonZeroU64::MIN);
    let mode = Mode::Restore { expected: None };
    let mut options = CopyOptions::new("disk", mode, &counters, &cancel);
    options.limiter = Some(&limiter);
    let started = Instant::now();
    let failure = std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(testkit::wait_until(Duration::from_secs(10), || counters.progress().processed > 0));
            cancel.cancel();
        });
        copy(&source(), &sink(), options).unwrap_err()
    });
    assert!(matches!(failure.error, Error::Cancelled));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn one_slow_chunk_holds_up_only_a_bounded_number_of_others() {
    let late = source().with(On::Data, 0..1, What::Delay(Duration::from_millis(300)), 1);
    let slow = Slow::new(Duration::ZERO);
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let mut ledger = Recorded::default();
    let mut options = CopyOptions::new("disk", Mode::Store { keep_zeros: false }, &counters, &cancel);
    options.ledger = Some(&mut ledger);
    options.threads = Some(2);
    copy(&late, &slow, options).unwrap();
    let now = granules_of(&disk());
    for (number, granule) in now.iter().enumerate().filter(|(_, granule)| **granule != Granule::Zero) {
        assert_eq!(ledger.granule(number), *granule);
    }
}

#[test]
fn lost_connections_are_retried() {
    let patience = Patience { first_wait: Duration::from_millis(1), ..Patience::default() };
    let faulty = source().with(On::Data, 0..SIZE, What::Lost, 3).with(On::Layout, 0..SIZE, What::Lost, 2);
    let retried = Retry::new(faulty, patience, CancelToken::new());
    let target = MemSink::new(SIZE, 65_536);
    let contents = target.contents();
    let faulty = Faults::new(target).with(On::Data, 0..SIZE, What::Lost, 3);
    restore(&retried, &Retry::new(faulty, patience, CancelToken::new())).unwrap();
    assert!(contents.bytes() == disk());
}

/// A source that answers what it is told to.
struct Liar(Vec<Extent>);

impl BlockSource for Liar {
    fn size(&self) -> u64 {
        SIZE
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> block::Result<()> {
        Ok(())
    }
    fn extents(&self, _: Range<u64>, since: Option<&ChangeId>) -> block::Result<Vec<Extent>> {
        match since {
            Some(_) => Err(Error::FullReadRequired(FullReadReason::TrackingReset)),
            None => Ok(self.0.clone()),
        }
    }
    fn parallelism(&self) -> usize {
        0
    }
}

#[test]
fn nonsense_from_a_source_is_an_error() {
    let extent = |offset, length| Extent { offset, length, kind: ExtentKind::Data };
    let unchanged = Extent::new(0..SIZE, ExtentKind::Unchanged);
    for extents in [
        vec![],
        vec![extent(1, 5)],
        vec![extent(0, 0)],
        vec![extent(0, SIZE + 1)],
        vec![extent(0, u64::MAX)],
        vec![extent(0, 100), extent(101, 100)],
        vec![extent(0, 100), extent(50, 100)],
        vec![unchanged],
    ] {
        let failure = restore(&Liar(extents.clone()), &sink()).unwrap_err();
        assert_eq!(failure.side, Side::Source, "{extents:?}");
        assert!(matches!(failure.error, Error::Corrupt { .. }), "{extents:?}");
    }
}

#[test]
fn lost_tracking_reaches_the_caller() {
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let mut baseline = Known::nothing();
    let mode = Mode::Changes { baseline: &mut baseline };
    let mut options = CopyOptions::new("disk", mode, &counters, &cancel);
    options.since = Some(ChangeId("cbt".to_owned()));
    let failure = copy(&Liar(Vec::new()), &sink(), options).unwrap_err();
    assert!(matches!(failure.error, Error::FullReadRequired(FullReadReason::TrackingReset)));
}

#[test]
fn what_can_not_be_asked_for_is_refused_before_anything_is_touched() {
    let untouched = source();
    let failure = restore(&untouched, &MemSink::new(SIZE - 1, 1)).unwrap_err();
    assert_eq!(failure.side, Side::Copy);
    assert!(matches!(failure.error, Error::Usage { .. }));
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let mode = Mode::Restore { expected: None };
    let mut options = CopyOptions::new("disk", mode, &counters, &cancel);
    options.since = Some(ChangeId("cbt".to_owned()));
    assert!(matches!(copy(&untouched, &sink(), options).unwrap_err().error, Error::Usage { .. }));
    assert_eq!(untouched.calls(), 0);
}

#[test]
fn a_unit_that_is_stored_in_part_can_not_be_merged() {
    let half = SIZE / 2 + 4096;
    let extents = vec![Extent::new(0..half, ExtentKind::Data), Extent::new(half..SIZE, ExtentKind::Hole)];
    let source = MemSource::new(disk()).with_extents(extents);
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let options = CopyOptions::new("disk", Mode::Store { keep_zeros: true }, &counters, &cancel);
    let failure = copy(&source, &sink(), options).unwrap_err();
    assert_eq!(failure.side, Side::Source);
    assert!(matches!(failure.error, Error::Unsupported { .. }));
}
