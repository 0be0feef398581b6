//! Where the log ends and where what has to be replayed begins.
//!
//! The log is written round and round; each block carries the number of the round. The head is where that number drops,
//! found by halves. Records are written several at once, so some of the last ones may be missing or torn: the head is
//! moved back before the first of them. The last good record tells the tail.

use crate::xfs::log::record::{Operation, Record, operations};
use crate::xfs::log::ring::{BLOCK, Ring};
use crate::{Error, Result};

/// How many records may be on their way to the disk at once.
const IN_FLIGHT: u64 = 8;

/// What is to be replayed: from the record at `tail` on, up to the block `head`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub tail: u64,
    pub head: u64,
}

/// Blocks of the largest record, without its header.
fn largest_record(ring: &Ring) -> u64 {
    let bytes = if ring.v2 { 256 << 10 } else { 32 << 10 };
    bytes / BLOCK as u64
}

/// `None` for a log that was finished: nothing is to be replayed. Reads some dozen blocks of such a log.
pub(super) fn find(ring: &Ring) -> Result<Option<Bounds>> {
    let first = ring.cycle(0)?;
    if first == 0 {
        // Never written to.
        return Ok(None);
    }
    let guess = guess_head(ring, first)?;
    if ends_with_unmount(ring, guess)? {
        return Ok(None);
    }
    let head = refine_head(ring, first, guess)?;
    let Some(last) = ring.record_before(head, ring.blocks)? else {
        return Err(Error::corrupt("the log", "it has no records"));
    };
    if ends_with_unmount(ring, head)? {
        return Ok(None);
    }
    let record = Record::read(ring, last)?;
    check_owner(ring, &record)?;
    let head = cut_torn_records(ring, head, tail_of(ring, &record)?)?;
    let Some(last) = ring.record_before(head, ring.blocks)? else {
        return Err(Error::corrupt("the log", "it has no whole records"));
    };
    if ends_with_unmount(ring, head)? {
        return Ok(None);
    }
    let record = Record::read(ring, last)?;
    let tail = skip_overwritten_records(ring, head, tail_of(ring, &record)?, record.buffer)?;
    Ok((tail != head).then_some(Bounds { tail, head }))
}

fn check_owner(ring: &Ring, record: &Record) -> Result<()> {
    if record.belongs_to(ring) {
        Ok(())
    } else {
        Err(Error::corrupt("the log", "it belongs to another file system"))
    }
}

fn tail_of(ring: &Ring, record: &Record) -> Result<u64> {
    let tail = record.tail & 0xffff_ffff;
    if tail >= ring.blocks {
        return Err(Error::corrupt("the log", format!("its tail is at sector {tail} of {}", ring.blocks)));
    }
    Ok(tail)
}

/// The first block of the last round, as far as halving tells; the number of blocks where all are of one round.
fn guess_head(ring: &Ring, first: u32) -> Result<u64> {
    let last = ring.cycle(ring.blocks - 1)?;
    if last == first {
        return Ok(ring.blocks);
    }
    if last == 0 && first != 1 {
        return Err(Error::corrupt("the log", "its end was never written to, its beginning more than once"));
    }
    let (mut low, mut high) = (0, ring.blocks - 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if ring.cycle(middle)? == last {
            high = middle;
        } else {
            low = middle;
        }
    }
    Ok(high)
}

/// Looks for blocks of the last round among those before the head, which are records that were never written.
fn refine_head(ring: &Ring, first: u32, guess: u64) -> Result<u64> {
    let last = ring.cycle(ring.blocks - 1)?;
    let mut head = guess;
    let scan = (largest_record(ring) * IN_FLIGHT).min(ring.blocks);
    // The round that has no place before the head.
    let older = if first == last { last.wrapping_sub(1) } else { last };
    if last == 0 || head >= scan {
        let start = head.saturating_sub(scan);
        head = ring.find_cycle(start, head - start, older)?.unwrap_or(head);
    } else {
        let count = scan - head;
        match ring.find_cycle(ring.blocks - count, count, older.wrapping_sub(1))? {
            Some(found) => head = found,
            None => head = ring.find_cycle(0, head, older)?.unwrap_or(head),
        }
    }
    // The head must not lie inside of a record.
    let within = largest_record(ring) + IN_FLIGHT;
    if let Some(at) = ring.record_before(head % ring.blocks, within.min(ring.blocks))? {
        let record = Record::read(ring, at);
        // A header that says nothing sensible is a torn one.
        let whole = record.is_ok_and(|record| record.blocks() == ring.distance(at, head % ring.blocks));
        if !whole {
            head = at;
        }
    }
    Ok(head % ring.blocks)
}

/// Whether the record before `head` ends there and says that the file system was unmounted. A torn one says nothing.
fn ends_with_unmount(ring: &Ring, head: u64) -> Result<bool> {
    let head = head % ring.blocks;
    let Some(at) = ring.record_before(head, largest_record(ring).min(ring.blocks))? else {
        return Ok(false);
    };
    let look = || {
        let record = Record::read(ring, at)?;
        if record.operations != 1 || !record.belongs_to(ring) || ring.after(at, record.blocks()) != head {
            return Ok(false);
        }
        let data = record.data(ring)?;
        let unmount = |operation: Result<Operation<'_>>| {
            operation.is_ok_and(|operation| operation.flags & Operation::UNMOUNT != 0)
        };
        Ok(operations(&data, 1).any(unmount))
    };
    match look() {
        Err(Error::Corrupt { .. }) => Ok(false),
        result => result,
    }
}

/// Moves the head back before the first record with a wrong checksum of those that were written last.
fn cut_torn_records(ring: &Ring, head: u64, tail: u64) -> Result<u64> {
    let mut first = head;
    for _ in 0..IN_FLIGHT {
        let within = ring.distance(tail, first);
        let within = if within == 0 { ring.blocks } else { within };
        match ring.record_before(first, within)? {
            Some(at) => first = at,
            None => break,
        }
        if first == tail {
            break;
        }
    }
    Ok(first_bad_record(ring, first, head)?.unwrap_or(head))
}

/// Goes on from the tail where a record that was being written when everything stopped lies over the oldest ones:
/// those were no longer needed.
fn skip_overwritten_records(ring: &Ring, head: u64, tail: u64, buffer: u32) -> Result<u64> {
    let mut tail = match ring.record_from(tail, ring.distance(tail, head))? {
        Some(tail) => tail,
        None => return Ok(head),
    };
    while let Some(bad) = first_bad_record(ring, tail, head)? {
        if ring.distance(head, bad) > IN_FLIGHT * u64::from(buffer) / BLOCK as u64 {
            return Err(Error::corrupt("the log", format!("the record at sector {bad} is damaged")));
        }
        let next = ring.after(bad, 1);
        tail = match ring.record_from(next, ring.distance(next, head))? {
            Some(tail) => tail,
            None => return Err(Error::corrupt("the log", "it has no whole records")),
        };
    }
    Ok(tail)
}

/// The first record from `from` on, up to `head`, whose checksum does not match or which is none.
fn first_bad_record(ring: &Ring, from: u64, head: u64) -> Result<Option<u64>> {
    let mut at = from;
    let mut left = ring.distance(from, head);
    while left > 0 {
        let checked = Record::read(ring, at).and_then(|record| {
            if record.blocks() > left {
                return Err(Error::corrupt("the log", "a record goes over its end"));
            }
            record.data(ring)?;
            Ok(record.blocks())
        });
        match checked {
            Ok(blocks) => {
                left -= blocks;
                at = ring.after(at, blocks);
            }
            Err(Error::Corrupt { .. }) => return Ok(Some(at)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
