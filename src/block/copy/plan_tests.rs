//! The plan against sources of chosen extents.

use super::*;
use crate::Result;

const G: u64 = GRANULE;

/// Extents, told at most `per_answer` at a time.
struct Told {
    size: u64,
    extents: Vec<Extent>,
    per_answer: usize,
}

impl BlockSource for Told {
    fn size(&self) -> u64 {
        self.size
    }
    fn read_at(&self, _: &mut [u8], _: u64) -> Result<()> {
        Ok(())
    }
    fn extents(&self, range: Range<u64>, _: Option<&ChangeId>) -> Result<Vec<Extent>> {
        Ok(self
            .extents
            .iter()
            .filter(|e| e.end() > range.start && e.offset < range.end)
            .take(self.per_answer)
            .map(|e| Extent::new(e.offset.max(range.start)..e.end().min(range.end), e.kind))
            .collect())
    }
    fn parallelism(&self) -> usize {
        1
    }
}

fn told(lengths: &[(u64, ExtentKind)]) -> Told {
    let mut at = 0;
    let mut extents = Vec::new();
    for (length, kind) in lengths {
        extents.push(Extent::new(at..at + length, *kind));
        at += length;
    }
    Told { size: at, extents, per_answer: usize::MAX }
}

/// All claims of a plan, as offsets in granules.
fn claims(
    source: &Told,
    rule: Rule,
    unit: u64,
    chunk: u64,
    ranges: Option<Vec<Range<u64>>>,
) -> Vec<(u64, u64, Content)> {
    let mut plan = Plan::new(source, "disk", rule, unit, chunk, ranges, None, None, true);
    let mut claim = Claim::default();
    let mut all = Vec::new();
    while plan.claim(&mut claim).unwrap() {
        assert_eq!(claim.number, all.len() as u64);
        all.push((claim.range.start / G, claim.range.end.div_ceil(G), claim.content));
    }
    all
}

const STORE: Rule = Rule::Store { keep_zeros: false };

#[test]
fn data_is_cut_into_chunks_and_zeros_are_not() {
    use ExtentKind::{Data, Hole, Zero};
    let source = told(&[(10 * G, Data), (100 * G, Hole), (7 * G, Zero), (G / 2, Data)]);
    assert_eq!(
        claims(&source, STORE, G, 4 * G, None),
        [
            (0, 4, Content::Data),
            (4, 8, Content::Data),
            (8, 10, Content::Data),
            (10, 117, Content::Zero),
            (117, 118, Content::Data)
        ]
    );
}

#[test]
fn small_answers_are_joined_into_whole_chunks() {
    let source = Told { per_answer: 1, ..told(&[(G, ExtentKind::Data); 8]) };
    assert_eq!(claims(&source, STORE, G, 4 * G, None), [(0, 4, Content::Data), (4, 8, Content::Data)]);
}

#[test]
fn a_unit_with_any_data_is_read() {
    use ExtentKind::{Data, Hole};
    let source = told(&[(G, Hole), (1, Data), (4 * G - 1, Hole), (3 * G, Hole)]);
    assert_eq!(claims(&source, STORE, 4 * G, 8 * G, None), [(0, 4, Content::Data), (4, 8, Content::Zero)]);
}

#[test]
fn holes_are_apart_from_zeros_only_where_that_matters() {
    use ExtentKind::{Hole, Zero};
    let source = told(&[(2 * G, Zero), (2 * G, Hole)]);
    assert_eq!(claims(&source, STORE, G, G, None), [(0, 4, Content::Zero)]);
    let keep = Rule::Store { keep_zeros: true };
    assert_eq!(claims(&source, keep, G, G, None), [(0, 2, Content::Zero), (2, 4, Content::Hole)]);
}

#[test]
fn ranges_are_widened_sorted_and_joined() {
    let source = told(&[(20 * G + 5, ExtentKind::Data)]);
    let range = |start, end| Range { start, end };
    let ranges = vec![
        range(9 * G + 1, 9 * G + 2),
        range(20 * G, u64::MAX),
        range(G, 2 * G),
        range(2 * G, 2 * G + 1),
        range(7, 7),
        range(30 * G, 40 * G),
    ];
    assert_eq!(
        claims(&source, STORE, G, 8 * G, Some(ranges)),
        [(1, 3, Content::Data), (9, 10, Content::Data), (20, 21, Content::Data)]
    );
    assert_eq!(claims(&source, STORE, G, 8 * G, Some(Vec::new())), []);
}

#[test]
fn a_long_run_without_data_is_bounded_where_granules_are_looked_at() {
    let source = told(&[(2000 * G, ExtentKind::Hole)]);
    let all = claims(&source, STORE, G, G, None);
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|(start, end, _)| end - start <= QUIET));
}

#[test]
fn the_baseline_is_asked_for_what_is_compared() {
    struct Numbers(Vec<Range<u64>>);
    impl Baseline for Numbers {
        fn next(&mut self, first: u64, out: &mut [Granule]) -> Result<()> {
            self.0.push(first..first + out.len() as u64);
            out.fill(Granule::Zero);
            Ok(())
        }
    }
    use ExtentKind::{Data, Unchanged, Zero};
    let source = told(&[(G, Data), (2 * G, Unchanged), (3 * G, Zero), (9, Data)]);
    let mut numbers = Numbers(Vec::new());
    let since = Some(ChangeId("x".to_owned()));
    let mut plan = Plan::new(&source, "disk", Rule::Changes, G, 4 * G, None, since, Some(&mut numbers), true);
    let mut claim = Claim::default();
    let mut lengths = Vec::new();
    while plan.claim(&mut claim).unwrap() {
        lengths.push(claim.before.len());
    }
    assert_eq!(lengths, [1, 0, 3, 1]);
    assert_eq!(numbers.0, [0..1, 3..6, 6..7]);
}
