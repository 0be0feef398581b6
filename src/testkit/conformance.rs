//! What every source and every sink must do, whatever it is made of.
//!
//! Each suite panics with what is wrong. An implementation's own tests call them with several disks; sizes
//! that are no multiple of anything find the most.

use crate::image::{Rng, mixed};
use block::{BlockSink, BlockSource, ExtentKind};
use std::ops::Range;
use std::thread;

/// Everything that a [`BlockSource`] promises, against the bytes that it must hold.
///
/// # Panics
/// Where it breaks a promise.
pub fn source(source: &dyn BlockSource, reference: &[u8]) {
    assert_eq!(source.size(), reference.len() as u64, "size");
    assert!(source.parallelism() >= 1, "parallelism");
    odd_reads(source, reference);
    reads_outside(source);
    parallel_reads(source, reference);
    extents(source, reference);
    extents_of_parts(source);
}

/// Everything that a [`BlockSink`] promises. `create` begins a new target of a size, `read_back` gives the
/// content of what was finished, and `gone` tells whether nothing of an unfinished target is left.
///
/// A target that existed before, such as a device, has `gone` say true.
///
/// # Panics
/// Where it breaks a promise.
pub fn sink(
    mut create: impl FnMut(u64) -> Box<dyn BlockSink>,
    mut read_back: impl FnMut(u64) -> Vec<u8>,
    mut gone: impl FnMut() -> bool,
) {
    for (seed, size) in [(1, 1), (2, 65_536), (3, (5 << 20) + 1000), (4, (9 << 20) + 65_536 + 1)] {
        let target = create(size);
        assert_eq!(target.size(), size, "size");
        let unit = target.granularity();
        assert!(unit.is_power_of_two(), "a granularity of {unit}");
        let disk = mixed(seed, size);
        fill(&*target, &disk, seed);
        target.settled(size).expect("settled at the end");
        target.finish().expect("finish");
        assert!(read_back(size) == disk, "{size} bytes written in pieces read back differently");
    }
    let target = create(1 << 20);
    assert!(target.write_at(&[1; 65_536], (1 << 20) - 512).is_err(), "a write over the end");
    assert!(target.write_at(&[1; 65_536], u64::MAX - 65_535).is_err(), "a write far behind the end");
    assert!(target.zero((1 << 20) - 512, 65_536).is_err(), "zeros over the end");
    drop(target);
    assert!(gone(), "something is left of a target that was dropped at once");
    let target = create(1 << 20);
    target.write_at(&vec![1; length(target.granularity())], 0).expect("write");
    drop(target);
    assert!(gone(), "something is left of a target that was dropped half-way");
    let target = create(3 << 20);
    target.finish().expect("finish an empty disk");
    drop(read_back(3 << 20));
}

/// Writes the disk by several threads, each every fourth piece, zeros by `zero`.
fn fill(target: &dyn BlockSink, disk: &[u8], seed: u64) {
    let unit = target.granularity();
    let pieces = pieces(disk.len() as u64, unit, seed);
    thread::scope(|scope| {
        for part in 0..4 {
            let pieces = &pieces;
            scope.spawn(move || {
                for piece in pieces.iter().skip(part).step_by(4) {
                    let bytes = &disk[length(piece.start)..length(piece.end)];
                    if block::is_zero(bytes) {
                        target.zero(piece.start, piece.end - piece.start).expect("zero");
                    } else {
                        target.write_at(bytes, piece.start).expect("write");
                    }
                }
            });
        }
    });
}

/// The disk cut into pieces of one to sixteen units.
fn pieces(size: u64, unit: u64, seed: u64) -> Vec<Range<u64>> {
    let mut rng = Rng::new(seed);
    let step = unit.max(4096);
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < size {
        // Units below a page are used too, once.
        let count = if unit < 4096 && at == 0 { unit } else { step * (1 + rng.below(16)) };
        let end = (at + count).min(size);
        pieces.push(at..end);
        at = end;
    }
    pieces
}

fn odd_reads(source: &dyn BlockSource, reference: &[u8]) {
    let size = reference.len() as u64;
    let mut rng = Rng::new(size);
    let mut ranges = vec![0..size.min(1), 0..size.min(70_001), size.saturating_sub(1)..size, size..size];
    for edge in (0..size).step_by(length((size / 24).max(65_536))) {
        ranges.push(edge.saturating_sub(3)..(edge + 5).min(size));
    }
    for _ in 0..64 {
        let start = rng.below(size);
        let count = 1 + rng.magnitude(20);
        ranges.push(start..(start + count).min(size));
    }
    for range in ranges {
        check_read(source, reference, range);
    }
}

fn check_read(source: &dyn BlockSource, reference: &[u8], range: Range<u64>) {
    // Not zeros: a source that leaves parts of the buffer alone is found out.
    let mut buf = vec![0xA5; length(range.end - range.start)];
    if let Err(error) = source.read_at(&mut buf, range.start) {
        panic!("reading {range:?}: {error}");
    }
    let expected = &reference[length(range.start)..length(range.end)];
    if let Some(at) = buf.iter().zip(expected).position(|(is, should)| is != should) {
        let offset = range.start + at as u64;
        panic!("reading {range:?}: byte {offset} is {:#x} and should be {:#x}", buf[at], expected[at]);
    }
}

fn reads_outside(source: &dyn BlockSource) {
    let size = source.size();
    for (offset, count) in [(size, 1), (size - size.min(1), 2), (size + (1 << 40), 512), (u64::MAX - 3, 16)] {
        assert!(
            source.read_at(&mut vec![0; count], offset).is_err(),
            "{count} bytes from {offset} of {size}"
        );
    }
}

fn parallel_reads(source: &dyn BlockSource, reference: &[u8]) {
    let size = reference.len() as u64;
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let mut rng = Rng::new(thread);
                for _ in 0..24 {
                    let start = rng.below(size);
                    let end = (start + 1 + rng.below(300_000)).min(size);
                    check_read(source, reference, start..end);
                }
            });
        }
    });
}

fn extents(source: &dyn BlockSource, reference: &[u8]) {
    let size = reference.len() as u64;
    let mut at = 0;
    let mut questions = 0_u64;
    while at < size {
        questions += 1;
        assert!(questions <= size, "the extents do not come to an end");
        at = ask(source, at..size, Some(reference));
    }
}

fn extents_of_parts(source: &dyn BlockSource) {
    let size = source.size();
    let mut rng = Rng::new(size);
    for _ in 0..64 {
        let start = rng.below(size);
        let end = (start + 1 + rng.magnitude(24)).min(size);
        ask(source, start..end, None);
    }
}

/// Asks for the extents of `range`, checks them, and tells how far they go.
fn ask(source: &dyn BlockSource, range: Range<u64>, reference: Option<&[u8]>) -> u64 {
    let extents = match source.extents(range.clone(), None) {
        Ok(extents) => extents,
        Err(error) => panic!("extents of {range:?}: {error}"),
    };
    assert!(!extents.is_empty(), "no extent in {range:?}");
    let mut at = range.start;
    for extent in &extents {
        assert_eq!(extent.offset, at, "a gap or a step back in {range:?}: {extent:?}");
        assert!(extent.length > 0, "an empty extent in {range:?}: {extent:?}");
        assert!(extent.end() <= range.end, "{extent:?} goes beyond {range:?}");
        at = extent.end();
        match (extent.kind, reference) {
            (ExtentKind::Unchanged, _) => panic!("{extent:?}, but nobody asked for changes"),
            (ExtentKind::Zero | ExtentKind::Hole, Some(reference)) => {
                let bytes = &reference[length(extent.offset)..length(extent.end())];
                assert!(block::is_zero(bytes), "{extent:?} hides data");
            }
            _ => {}
        }
    }
    at
}

/// Test disks fit into memory.
fn length(size: u64) -> usize {
    usize::try_from(size).unwrap_or_else(|_| panic!("a test disk of {size} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{MemSink, MemSource};
    use block::Extent;
    use std::cell::RefCell;

    #[test]
    fn memory_passes() {
        for size in [1, 4096, 1_000_003] {
            let disk = mixed(size, size);
            source(&MemSource::new(disk.clone()), &disk);
        }
        for unit in [1, 512, 65_536] {
            let last = RefCell::new(None);
            sink(
                |size| {
                    let sink = MemSink::new(size, unit);
                    last.replace(Some(sink.contents()));
                    Box::new(sink)
                },
                |_| last.borrow().as_ref().unwrap().bytes(),
                || true,
            );
        }
    }

    #[test]
    #[should_panic(expected = "byte 500 is")]
    fn a_wrong_byte_is_found() {
        let disk = mixed(1, 1000);
        let mut wrong = disk.clone();
        wrong[500] ^= 1;
        source(&MemSource::new(wrong), &disk);
    }

    #[test]
    #[should_panic(expected = "hides data")]
    fn a_false_hole_is_found() {
        let disk = vec![1; 1000];
        let extents = vec![Extent::new(0..1000, ExtentKind::Hole)];
        source(&MemSource::new(disk.clone()).with_extents(extents), &disk);
    }
}
