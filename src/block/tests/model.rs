//! `copy` against a model: any disk, any extents, any baseline, every mode.

use block::{
    BlockSource, CancelToken, ChangeId, CopyOptions, Counters, Extent, ExtentKind, GRANULE, Granule, Mode,
    NullSink, Side, copy,
};
use proptest::prelude::*;
use testkit::granules::{Known, Recorded, granules_of, truthful_extents};
use testkit::image::{Rng, mixed, mutate};
use testkit::mem::{Mark, MemSink, MemSource};

/// Cases a property; more by an environment variable, for the nightly run.
fn cases() -> ProptestConfig {
    let cases = std::env::var("SENDENSE_PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases.unwrap_or(48)) }
}

/// What varies in every property.
#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    size: u64,
    granularity: u64,
    threads: usize,
}

impl Case {
    fn unit(&self) -> u64 {
        self.granularity.max(GRANULE)
    }

    /// The disk's units.
    fn units(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let (unit, size) = (self.unit() as usize, self.size as usize);
        (0..size).step_by(unit).map(move |start| start..(start + unit).min(size))
    }

    fn granules(&self, unit: &std::ops::Range<usize>) -> std::ops::Range<usize> {
        unit.start / GRANULE as usize..unit.end.div_ceil(GRANULE as usize)
    }
}

fn case() -> impl Strategy<Value = Case> {
    let size =
        prop_oneof![1_u64..200_000, 1_u64..7_000_000, (1_u64..80).prop_map(|granules| granules * GRANULE)];
    (any::<u64>(), size, prop_oneof![Just(0_u32), 9_u32..=21], 1_usize..=4)
        .prop_map(|(seed, size, bits, threads)| Case { seed, size, granularity: 1 << bits, threads })
}

fn check_counts(counters: &Counters, total: u64) {
    let now = counters.progress();
    assert_eq!(now.total, total);
    assert_eq!(now.processed, total);
    assert_eq!(now.stored + now.zero + now.unchanged, total);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn store_keeps_what_is_not_zero(case in case()) {
        let disk = mixed(case.seed, case.size);
        let source = MemSource::new(disk.clone()).with_extents(truthful_extents(case.seed, &disk));
        let sink = MemSink::new(case.size, case.granularity);
        let contents = sink.contents();
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let mut ledger = Recorded::default();
        let mut options = CopyOptions::new("disk", Mode::Store { keep_zeros: false }, &counters, &cancel);
        options.ledger = Some(&mut ledger);
        options.threads = Some(case.threads);
        let summary = copy(&source, &sink, options).unwrap();
        prop_assert_eq!(summary, counters.progress());
        prop_assert!(contents.bytes() == disk);
        prop_assert_eq!(contents.settled(), case.size);
        prop_assert!(!contents.finished());
        check_counts(&counters, case.size);
        let (marks, now) = (contents.marks(), granules_of(&disk));
        for unit in case.units() {
            let stored = disk[unit.clone()].iter().any(|byte| *byte != 0);
            let mark = if stored { Mark::Written } else { Mark::Untouched };
            prop_assert!(marks[unit.clone()].iter().all(|is| *is == mark));
            for granule in case.granules(&unit) {
                let expected = if stored { now[granule] } else { Granule::Unknown };
                prop_assert_eq!(ledger.granule(granule), expected);
            }
        }
    }

    #[test]
    fn changes_are_exactly_the_units_that_differ(
        case in case(), parts in 0_u64..300, old_size in prop::option::of(1_u64..7_000_000), unknown in 0_u64..4
    ) {
        let disk = mixed(case.seed, case.size);
        let mut old = disk.clone();
        mutate(case.seed ^ 1, &mut old, parts);
        // The parent may have had any size; behind its end it reads as zeros.
        let old_size = old_size.unwrap_or(case.size);
        old.truncate(old_size as usize);
        let cut = (old.len() as u64).is_multiple_of(GRANULE) || old.len() == disk.len();
        let mut before = granules_of(&old);
        if !cut && old.len() < disk.len() {
            // As manifests do: a granule that ends elsewhere than the new one can't be compared.
            *before.last_mut().unwrap() = Granule::Unknown;
        }
        let mut rng = Rng::new(case.seed ^ 2);
        for granule in &mut before {
            if rng.below(8) < unknown {
                *granule = Granule::Unknown;
            }
        }
        old.resize(disk.len(), 0);
        let source = MemSource::new(disk.clone()).with_extents(truthful_extents(case.seed, &disk));
        let sink = MemSink::over(old, case.granularity);
        let contents = sink.contents();
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let (mut ledger, mut baseline) = (Recorded::default(), Known::new(before.clone()));
        let mut options =
            CopyOptions::new("disk", Mode::Changes { baseline: &mut baseline }, &counters, &cancel);
        options.ledger = Some(&mut ledger);
        options.threads = Some(case.threads);
        copy(&source, &sink, options).unwrap();
        prop_assert!(contents.bytes() == disk);
        check_counts(&counters, case.size);
        let (marks, now) = (contents.marks(), granules_of(&disk));
        for unit in case.units() {
            let granules = case.granules(&unit);
            let same = granules.clone().all(|g| now[g] == before.get(g).copied().unwrap_or(Granule::Zero));
            let zero = granules.clone().all(|g| now[g] == Granule::Zero);
            let mark = match (same, zero) {
                (true, _) => Mark::Untouched,
                (false, true) => Mark::Zeroed,
                (false, false) => Mark::Written,
            };
            prop_assert!(marks[unit.clone()].iter().all(|is| *is == mark), "{:?} {:?}", unit, mark);
            for granule in granules {
                prop_assert_eq!(ledger.granule(granule), if same { Granule::Unknown } else { now[granule] });
            }
        }
    }

    #[test]
    fn a_restore_leaves_nothing_of_what_was_there(case in case(), larger in 0_u64..300_000, check in any::<bool>()) {
        let disk = mixed(case.seed, case.size);
        let source = MemSource::new(disk.clone()).with_extents(truthful_extents(case.seed, &disk));
        let sink = MemSink::over(vec![0x5A; (case.size + larger) as usize], case.granularity);
        let contents = sink.contents();
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let mut expected = Known::new(granules_of(&disk));
        let expected = if check { Some(&mut expected as &mut dyn block::Baseline) } else { None };
        let mut options = CopyOptions::new("disk", Mode::Restore { expected }, &counters, &cancel);
        options.threads = Some(case.threads);
        copy(&source, &sink, options).unwrap();
        let bytes = contents.bytes();
        prop_assert!(bytes[..disk.len()] == disk);
        // At most the rest of the last piece is zeros, and nothing behind it has changed.
        let padded = case.size.next_multiple_of(case.granularity).min(case.size + larger) as usize;
        prop_assert!(bytes[disk.len()..padded].iter().all(|byte| *byte == 0));
        prop_assert!(bytes[padded..].iter().all(|byte| *byte == 0x5A));
        check_counts(&counters, case.size);
    }

    #[test]
    fn a_wrong_byte_is_a_mismatch_at_its_granule_and_is_not_written(case in case(), at in any::<u64>()) {
        let good = mixed(case.seed, case.size);
        let mut disk = good.clone();
        let at = (at % case.size) as usize;
        disk[at] ^= 0x10;
        let source = MemSource::new(disk.clone()).with_extents(truthful_extents(case.seed, &disk));
        let sink = MemSink::over(vec![0x5A; case.size as usize], case.granularity);
        let contents = sink.contents();
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let mut expected = Known::new(granules_of(&good));
        let mode = Mode::Restore { expected: Some(&mut expected) };
        let mut options = CopyOptions::new("point", mode, &counters, &cancel);
        options.threads = Some(case.threads);
        let failure = copy(&source, &sink, options).unwrap_err();
        prop_assert_eq!(failure.side, Side::Source);
        let granule = at as u64 / GRANULE * GRANULE;
        let found = match &failure.error {
            block::Error::Mismatch { name, offset } => Some((name.as_str(), *offset)),
            _ => None,
        };
        prop_assert_eq!(found, Some(("point", granule)));
        prop_assert_eq!(contents.bytes()[at], 0x5A);
    }

    #[test]
    fn chosen_ranges_are_read_and_nothing_else(case in case(), count in 0_usize..5) {
        let disk = mixed(case.seed, case.size);
        let mut rng = Rng::new(case.seed ^ 3);
        let ranges: Vec<_> = (0..count)
            .map(|_| {
                let start = rng.below(case.size + 1);
                start..start + rng.below(case.size)
            })
            .collect();
        let source = MemSource::new(disk.clone()).with_extents(truthful_extents(case.seed, &disk));
        let sink = MemSink::over(vec![0x5A; case.size as usize], case.granularity);
        let contents = sink.contents();
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let mut expected = Known::new(granules_of(&disk));
        let mode = Mode::Restore { expected: Some(&mut expected) };
        let mut options = CopyOptions::new("disk", mode, &counters, &cancel);
        options.ranges = Some(ranges.clone());
        options.threads = Some(case.threads);
        copy(&source, &sink, options).unwrap();
        let (marks, bytes) = (contents.marks(), contents.bytes());
        let mut total = 0;
        for unit in case.units() {
            let (start, end) = (unit.start as u64, unit.end as u64);
            let wanted = ranges.iter().any(|r| r.start < r.end && r.start < end && start < r.end);
            prop_assert!(marks[unit.clone()].iter().all(|mark| (*mark != Mark::Untouched) == wanted));
            if wanted {
                prop_assert!(bytes[unit.clone()] == disk[unit.clone()]);
                total += end - start;
            }
        }
        check_counts(&counters, total);
    }

    #[test]
    fn a_slice_of_a_chain_keeps_its_zeros_and_leaves_its_holes(case in case()) {
        // Layers store whole units: some data, some explicit zeros, some nothing.
        let mut disk = mixed(case.seed, case.size);
        let mut lower = vec![0x5A; disk.len()];
        let mut rng = Rng::new(case.seed ^ 4);
        let mut extents = Vec::new();
        for unit in case.units() {
            let kind = [ExtentKind::Data, ExtentKind::Zero, ExtentKind::Hole][rng.below(3) as usize];
            if kind != ExtentKind::Data {
                disk[unit.clone()].fill(0);
            }
            extents.push(Extent::new(unit.start as u64..unit.end as u64, kind));
        }
        let source = MemSource::new(disk.clone()).with_extents(extents.clone());
        let sink = MemSink::over(lower.clone(), case.granularity);
        let contents = sink.contents();
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let mut ledger = Recorded::default();
        let mut options = CopyOptions::new("disk", Mode::Store { keep_zeros: true }, &counters, &cancel);
        options.ledger = Some(&mut ledger);
        options.threads = Some(case.threads);
        copy(&source, &sink, options).unwrap();
        let now = granules_of(&disk);
        for (unit, extent) in case.units().zip(&extents) {
            let hole = extent.kind == ExtentKind::Hole;
            if !hole {
                lower[unit.clone()].copy_from_slice(&disk[unit.clone()]);
            }
            for granule in case.granules(&unit) {
                prop_assert_eq!(ledger.granule(granule), if hole { Granule::Unknown } else { now[granule] });
            }
        }
        prop_assert!(contents.bytes() == lower);
        check_counts(&counters, case.size);
    }

    #[test]
    fn tracked_changes_need_no_reading_elsewhere(case in case(), parts in 0_u64..100) {
        let old = mixed(case.seed, case.size);
        let mut disk = old.clone();
        mutate(case.seed ^ 5, &mut disk, parts);
        // Tracking in pieces of its own size, some of them dirty without a change.
        let mut rng = Rng::new(case.seed ^ 6);
        let piece = 512 << rng.below(10);
        let mut extents = Vec::new();
        let mut dirty = 0;
        for start in (0..case.size).step_by(piece as usize) {
            let range = start..(start + piece).min(case.size);
            let bytes = range.start as usize..range.end as usize;
            let changed = disk[bytes.clone()] != old[bytes.clone()] || rng.below(16) == 0;
            let kind = match changed {
                false => ExtentKind::Unchanged,
                true if block::is_zero(&disk[bytes]) => ExtentKind::Zero,
                true => ExtentKind::Data,
            };
            if changed {
                dirty += 1;
            }
            extents.push(Extent::new(range, kind));
        }
        let id = ChangeId("bitmap0".to_owned());
        let source = MemSource::new(disk.clone()).with_extents(extents).tracking(id.clone());
        let sink = MemSink::over(old, case.granularity);
        let contents = sink.contents();
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let mut baseline = Known::nothing();
        let mode = Mode::Changes { baseline: &mut baseline };
        let mut options = CopyOptions::new("disk", mode, &counters, &cancel);
        options.since = Some(id);
        options.threads = Some(case.threads);
        copy(&source, &sink, options).unwrap();
        prop_assert!(contents.bytes() == disk);
        check_counts(&counters, case.size);
        prop_assert!(counters.progress().read <= dirty * (piece.max(case.unit()) + case.unit()));
    }
}

#[test]
fn a_terabyte_of_holes_takes_no_time() {
    struct Sparse;
    impl BlockSource for Sparse {
        fn size(&self) -> u64 {
            1 << 40
        }
        fn read_at(&self, buf: &mut [u8], _: u64) -> block::Result<()> {
            buf.fill(1);
            Ok(())
        }
        fn extents(&self, range: std::ops::Range<u64>, _: Option<&ChangeId>) -> block::Result<Vec<Extent>> {
            let data = (3 << 38)..(3 << 38) + 4096;
            if data.contains(&range.start) {
                return Ok(vec![Extent::new(range.start..data.end.min(range.end), ExtentKind::Data)]);
            }
            let end = if range.contains(&data.start) { data.start } else { range.end };
            Ok(vec![Extent::new(range.start..end, ExtentKind::Hole)])
        }
        fn parallelism(&self) -> usize {
            4
        }
    }
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let mut ledger = Recorded::default();
    let mut options = CopyOptions::new("disk", Mode::Store { keep_zeros: false }, &counters, &cancel);
    options.ledger = Some(&mut ledger);
    copy(&Sparse, &NullSink::new(1 << 40), options).unwrap();
    check_counts(&counters, 1 << 40);
    assert_eq!(counters.progress().stored, GRANULE);
    assert_eq!(ledger.told(), 1);
}
