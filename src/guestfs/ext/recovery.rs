//! Replaying the journal as the kernel does (`jbd2_journal_recover`): find its end, collect what was revoked, put the
//! rest over the volume.
//!
//! A transaction that lacks its commit block never happened. One that has it and contradicts its checksums is damage,
//! but for `async_commit`, where the log just ends there.

use super::checksum::{TransactionChecksum, crc32c};
use super::journal::{Journal, MAGIC};
use crate::device::Device;
use crate::{Error, Fields, Overlay, Result};
use std::collections::HashMap;

const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const REVOKE: u32 = 5;
/// Bytes of the header of each of them, and of a commit block's fields.
const HEADER: usize = 12;
const COMMIT_HEADER: usize = 60;

const FLAG_ESCAPED: u16 = 1;
const FLAG_SAME_UUID: u16 = 2;
const FLAG_LAST: u16 = 8;

/// Blocks that may be revoked.
const MAX_REVOKED: usize = 4 << 20;

/// A tag of a descriptor: where the next block of the log belongs.
struct Tag {
    block: u64,
    flags: u16,
    sum: u32,
}

/// What the log is, after it was looked through.
pub(super) struct Recovered {
    /// The device with the log's blocks over it.
    pub overlay: Overlay,
    /// The number of the transaction that the log ends before.
    pub end: u32,
}

/// Whether `a` comes after `b`, in numbers that begin again at 0.
fn is_later(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// Replays the log of `journal` over `device`, holding at most `limit` bytes; none where the log is empty.
///
/// # Errors
/// `Untrusted` for a log that a kernel would refuse, `Limit` for one that changes too much.
pub(super) fn recover(journal: &mut Journal<'_>, device: Device, limit: usize) -> Result<Option<Recovered>> {
    if journal.start == 0 {
        return Ok(None);
    }
    let end = scan(journal)?;
    let mut revoked = HashMap::new();
    walk(journal, end, &mut |journal, step| match step {
        Step::Revoke(block) => revokes(journal, block, &mut revoked),
        Step::Data { .. } => Ok(()),
    })?;
    let mut overlay = Overlay::new(device, limit);
    walk(journal, end, &mut |journal, step| match step {
        Step::Data { at, tag, sequence } => {
            if revoked.get(&tag.block).is_some_and(|&until| !is_later(sequence, until)) {
                return Ok(());
            }
            replay(journal, at, tag, sequence, &mut overlay)
        }
        Step::Revoke(_) => Ok(()),
    })?;
    Ok(Some(Recovered { overlay, end }))
}

/// What a walk through the committed part of the log comes by.
enum Step<'a> {
    /// A revoke block, with its transaction.
    Revoke((u32, u32)),
    /// The block `at` of the log belongs where `tag` says.
    Data { at: u32, tag: &'a Tag, sequence: u32 },
}

fn damaged(reason: impl std::fmt::Display) -> Error {
    Error::Untrusted(format!("the journal is damaged, so that it can't be replayed: {reason}"))
}

/// The header of a block that the journal itself uses: its type and transaction.
fn header(bytes: &[u8]) -> Result<Option<(u32, u32)>> {
    let field = Fields::new("the journal", bytes);
    Ok(if field.be32(0)? == MAGIC { Some((field.be32(4)?, field.be32(8)?)) } else { None })
}

/// Whether the sum at the end of a descriptor or revoke block is right.
fn has_right_sum(journal: &Journal<'_>, bytes: &[u8]) -> bool {
    if !journal.sums_blocks {
        return true;
    }
    let Some((body, sum)) = bytes.split_last_chunk::<4>() else { return false };
    crc32c(crc32c(journal.seed, body), &[0; 4]) == u32::from_be_bytes(*sum)
}

/// Whether the CRC32c of a commit block is right: over the whole block, or over its fields with zeros behind them.
fn has_right_commit_sum(journal: &Journal<'_>, bytes: &[u8]) -> Result<bool> {
    if !journal.sums_blocks {
        return Ok(true);
    }
    let field = Fields::new("the journal", bytes);
    let stored = field.be32(0x10)?;
    let head = crc32c(crc32c(journal.seed, field.bytes(0, 0x10)?), &[0; 4]);
    let head = crc32c(head, field.bytes(0x14, COMMIT_HEADER - 0x14)?);
    let rest = field.bytes(COMMIT_HEADER, bytes.len() - COMMIT_HEADER)?;
    Ok(crc32c(head, rest) == stored || crc32c(head, &vec![0; rest.len()]) == stored)
}

/// The tags of a descriptor.
fn tags(journal: &Journal<'_>, bytes: &[u8]) -> Result<Vec<Tag>> {
    let field = Fields::new("the journal", bytes);
    let length = journal.tag_length();
    let end = if journal.sums_blocks { bytes.len() - 4 } else { bytes.len() };
    let mut tags = Vec::new();
    let mut at = HEADER;
    while at + length <= end {
        let tag = field.part(at, length)?;
        let flags = tag.be16(6)?;
        let high = if !journal.wide { 0 } else { tag.be32(8)? };
        let sum = if journal.long_tags { tag.be32(12)? } else { tag.be16(4)?.into() };
        tags.push(Tag { block: u64::from(tag.be32(0)?) | u64::from(high) << 32, flags, sum });
        at += length + if flags & FLAG_SAME_UUID == 0 { 16 } else { 0 };
        if flags & FLAG_LAST != 0 {
            break;
        }
    }
    Ok(tags)
}

/// The first pass: the number of the transaction that the log ends before.
fn scan(journal: &mut Journal<'_>) -> Result<u32> {
    let mut sequence = journal.sequence;
    let mut at = journal.start;
    let mut end = None;
    let mut sum = TransactionChecksum::new();
    // Set by a wrong checksum: damage, or something older than this log. The time of the commit block will tell.
    let mut in_doubt = false;
    let mut last_time = 0;
    // A log that is longer than the journal goes in circles.
    let mut steps = journal.length;
    loop {
        steps = steps.checked_sub(1).ok_or_else(|| damaged("it never ends"))?;
        let bytes = journal.block(at).map_err(damaged)?;
        let Some((kind, of)) = header(bytes)? else { break };
        if of != sequence {
            break;
        }
        let bytes = bytes.to_vec();
        at = journal.after(at);
        match kind {
            DESCRIPTOR => {
                in_doubt |= !has_right_sum(journal, &bytes);
                let count = tags(journal, &bytes)?.len();
                steps = u32::try_from(count).ok().and_then(|count| steps.checked_sub(count)).unwrap_or(0);
                if journal.sums_transactions && !in_doubt && end.is_none() {
                    sum.update(&bytes);
                    for _ in 0..count {
                        sum.update(journal.block(at).map_err(damaged)?);
                        at = journal.after(at);
                    }
                } else {
                    at = journal.wrap(u64::from(at) + count as u64);
                }
            }
            COMMIT => {
                let field = Fields::new("the journal", &bytes);
                let time = field.be64(0x30)?;
                if in_doubt {
                    if time >= last_time {
                        return Err(damaged(format!("a checksum in transaction {sequence} is wrong")));
                    }
                    break;
                }
                let mut right = has_right_commit_sum(journal, &bytes)?;
                if journal.sums_transactions {
                    if let Some(end) = end {
                        return Err(damaged(format!("the checksum of transaction {end} is wrong")));
                    }
                    let (kind, size, stored) = (field.u8(0xc)?, field.u8(0xd)?, field.be32(0x10)?);
                    let found = sum.take();
                    right = (kind, size, stored) == (1, 4, found) || (kind, size, stored) == (0, 0, 0);
                }
                if !right {
                    if time < last_time {
                        break;
                    }
                    if !journal.async_commit {
                        return Err(damaged(format!("the checksum of transaction {sequence} is wrong")));
                    }
                    end.get_or_insert(sequence);
                }
                last_time = time;
                sequence = sequence.wrapping_add(1);
            }
            REVOKE => in_doubt |= !has_right_sum(journal, &bytes),
            _ => break,
        }
    }
    Ok(end.unwrap_or(sequence))
}

/// Goes through all transactions before `end`.
fn walk(
    journal: &mut Journal<'_>,
    end: u32,
    visit: &mut dyn FnMut(&mut Journal<'_>, Step<'_>) -> Result<()>,
) -> Result<()> {
    let mut sequence = journal.sequence;
    let mut at = journal.start;
    let mut steps = journal.length;
    while is_later(end, sequence) {
        steps = steps.checked_sub(1).ok_or_else(|| damaged("it never ends"))?;
        let bytes = journal.block(at).map_err(damaged)?.to_vec();
        let Some((kind, of)) = header(&bytes)?.filter(|header| header.1 == sequence) else {
            return Err(damaged(format!("it ends in transaction {sequence}, and not in {end}")));
        };
        let here = at;
        at = journal.after(at);
        match kind {
            DESCRIPTOR => {
                if !has_right_sum(journal, &bytes) {
                    return Err(damaged(format!("the checksum of block {here} is wrong")));
                }
                for tag in &tags(journal, &bytes)? {
                    steps = steps.checked_sub(1).ok_or_else(|| damaged("it never ends"))?;
                    visit(journal, Step::Data { at, tag, sequence })?;
                    at = journal.after(at);
                }
            }
            COMMIT => sequence = sequence.wrapping_add(1),
            REVOKE => visit(journal, Step::Revoke((here, of)))?,
            other => return Err(damaged(format!("a block of the unknown type {other}"))),
        }
    }
    Ok(())
}

/// Notes the blocks that a revoke block names: what transactions up to this one wrote there is void.
fn revokes(
    journal: &mut Journal<'_>,
    (at, sequence): (u32, u32),
    revoked: &mut HashMap<u64, u32>,
) -> Result<()> {
    let length = if journal.wide { 8 } else { 4 };
    let room = journal.block_size() - if journal.sums_blocks { 4 } else { 0 };
    let bytes = journal.block(at).map_err(damaged)?;
    let field = Fields::new("the journal", bytes);
    let end = field.be32(HEADER)? as usize;
    if end > room {
        return Err(damaged(format!("{end} bytes of revoked blocks")));
    }
    let mut at = HEADER + 4;
    while at + length <= end {
        let block = if length == 8 { field.be64(at)? } else { field.be32(at)?.into() };
        let until = revoked.entry(block).or_insert(sequence);
        if is_later(sequence, *until) {
            *until = sequence;
        }
        at += length;
    }
    if revoked.len() > MAX_REVOKED {
        return Err(Error::Limit(format!("the journal revokes more than {MAX_REVOKED} blocks")));
    }
    Ok(())
}

/// Puts the block `at` of the log to its place.
fn replay(journal: &mut Journal<'_>, at: u32, tag: &Tag, sequence: u32, overlay: &mut Overlay) -> Result<()> {
    let (seed, sums_blocks, long_tags) = (journal.seed, journal.sums_blocks, journal.long_tags);
    let size = journal.block_size() as u64;
    let bytes = journal.block(at).map_err(damaged)?;
    if sums_blocks {
        let sum = crc32c(crc32c(seed, &sequence.to_be_bytes()), bytes);
        if tag.sum != if long_tags { sum } else { sum & 0xffff } {
            return Err(damaged(format!("the checksum of the data for block {} is wrong", tag.block)));
        }
    }
    let place = tag.block.checked_mul(size).ok_or_else(|| damaged("a block outside of the volume"))?;
    let written = if tag.flags & FLAG_ESCAPED == 0 {
        overlay.write(place, bytes)
    } else {
        let mut bytes = bytes.to_vec();
        bytes[..4].copy_from_slice(&MAGIC.to_be_bytes());
        overlay.write(place, &bytes)
    };
    written.map_err(|error| match error {
        Error::Corrupt { .. } => damaged(error),
        other => other,
    })
}
