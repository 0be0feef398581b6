//! Replies that carry what the disk holds: its bytes, and where it has any.

use super::error::{Result, ServerError};
use super::reply;
use super::transmission::{PIECE, Transmission, room};
use crate::wire::allocation;
use block::{BlockSource, ExtentKind};
use std::io::{Read, Write};
use std::ops::Range;

/// Reads up to this size are sent as they are, without asking where the holes are: a guest's small reads.
const SMALL: u64 = 16 << 10;
/// A shorter hole between data costs more as a chunk of its own than as zeros.
const LEAST_HOLE: u64 = 4 << 10;
/// Where one descriptor is wanted, how much of the disk is looked at first; how often a disk is asked for one answer.
const FIRST_LOOK: u64 = 16 << 20;
const MOST_LOOKS: u32 = 16;
/// Most descriptors in one answer.
const MOST_DESCRIPTORS: usize = 8192;

impl<R: Read + Send, W: Write + Send> Transmission<'_, R, W> {
    pub(super) fn read(
        &self,
        cookie: u64,
        range: Range<u64>,
        whole: bool,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        if whole || !self.agreement.structured {
            self.read_whole(cookie, range, buffer)
        } else {
            self.read_parts(cookie, range, buffer)
        }
    }

    /// The bytes as chunks, holes without their bytes.
    fn read_parts(&self, cookie: u64, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        let source = self.agreement.export.source();
        let mut at = range.start;
        while at < range.end {
            let parts = match parts(source, at..range.end) {
                Ok(parts) => parts,
                Err(error) => return self.fail(cookie, "read", at, &error),
            };
            for (part, zeros) in parts {
                if zeros {
                    reply::hole(&mut *self.out(), cookie, &part, part.end == range.end)?;
                    at = part.end;
                }
                while at < part.end {
                    let piece = at..part.end.min(at + PIECE as u64);
                    let bytes = room(buffer, (piece.end - at) as usize);
                    if let Err(error) = source.read_at(bytes, at) {
                        return self.fail(cookie, "read", at, &error);
                    }
                    reply::data(&mut *self.out(), cookie, &piece, bytes, piece.end == range.end)?;
                    self.agreement.export.activity().add_read(bytes.len() as u64);
                    at = piece.end;
                }
            }
        }
        Ok(())
    }

    /// The bytes in one piece, as simple replies and the flag `DF` want it. Nothing is sent before the first
    /// part of it was read; a failure after that can only be told by hanging up.
    fn read_whole(&self, cookie: u64, range: Range<u64>, buffer: &mut Vec<u8>) -> Result<()> {
        let source = self.agreement.export.source();
        let length = |at: u64| (range.end - at).min(PIECE as u64) as usize;
        let bytes = room(buffer, length(range.start));
        if let Err(error) = source.read_at(bytes, range.start) {
            return self.fail(cookie, "read", range.start, &error);
        }
        let mut out = self.out();
        if self.agreement.structured {
            reply::data(&mut *out, cookie, &range, bytes, true)?;
        } else {
            reply::simple(&mut *out, cookie, 0, bytes)?;
        }
        let mut at = range.start + bytes.len() as u64;
        while at < range.end {
            let bytes = room(buffer, length(at));
            source.read_at(bytes, at).map_err(ServerError::CutShort)?;
            out.write_all(bytes)?;
            at += bytes.len() as u64;
        }
        drop(out);
        self.agreement.export.activity().add_read(range.end - range.start);
        Ok(())
    }

    pub(super) fn status(&self, cookie: u64, range: Range<u64>, one: bool) -> Result<()> {
        match describe(self.agreement.export.source(), &range, one) {
            Ok(descriptors) => reply::status(&mut *self.out(), cookie, &descriptors),
            Err(error) => self.fail(cookie, "block status", range.start, &error),
        }
    }
}

/// The beginning of `range`, cut into data (false) and holes (true); never empty, without gaps.
fn parts(source: &dyn BlockSource, range: Range<u64>) -> block::Result<Vec<(Range<u64>, bool)>> {
    if range.end - range.start <= SMALL {
        return Ok(vec![(range, false)]);
    }
    let mut parts: Vec<(Range<u64>, bool)> = Vec::new();
    let mut at = range.start;
    for extent in source.extents(range.clone(), None)? {
        // A source that leaves its contract must not lead to bytes that nobody asked for.
        if extent.offset != at || extent.length == 0 || extent.length > range.end - at {
            break;
        }
        at += extent.length;
        let zeros = flags_of(extent.kind) != 0 && extent.length >= LEAST_HOLE;
        match parts.last_mut() {
            Some((last, kind)) if *kind == zeros => last.end = at,
            _ => parts.push((extent.offset..at, zeros)),
        }
    }
    Ok(if parts.is_empty() { vec![(range, false)] } else { parts })
}

/// What lies at the beginning of `range`: (bytes, flags), never empty; with `one` exactly one, as long as
/// looking a while can tell.
fn describe(source: &dyn BlockSource, range: &Range<u64>, one: bool) -> block::Result<Vec<(u32, u32)>> {
    let mut descriptors: Vec<(u32, u32)> = Vec::new();
    let mut at = range.start;
    let mut look = FIRST_LOOK;
    for _ in 0..MOST_LOOKS {
        // Who wants one descriptor asks again for the next: looking further than it reaches would be done
        // over and over.
        let end = if one { range.end.min(at.saturating_add(look)) } else { range.end };
        for extent in source.extents(at..end, None)? {
            if extent.offset != at || extent.length == 0 || extent.length > end - at {
                break;
            }
            let flags = flags_of(extent.kind);
            // All of a request is less than 4 GiB.
            let length = u32::try_from(extent.length).unwrap_or(u32::MAX);
            let full = one || descriptors.len() >= MOST_DESCRIPTORS;
            match descriptors.last_mut() {
                Some((last, same)) if *same == flags => *last = last.saturating_add(length),
                Some(_) if full => return Ok(descriptors),
                _ => descriptors.push((length, flags)),
            }
            at += extent.length;
        }
        if at == range.end || descriptors.is_empty() {
            break;
        }
        look = look.saturating_mul(4);
    }
    if descriptors.is_empty() {
        // Nothing was told: that may be read.
        descriptors.push((u32::try_from(range.end - range.start).unwrap_or(u32::MAX), 0));
    }
    Ok(descriptors)
}

fn flags_of(kind: ExtentKind) -> u32 {
    match kind {
        ExtentKind::Data | ExtentKind::Unchanged => 0,
        // Of a whole disk both read as zeros, and neither has room of its own.
        ExtentKind::Zero | ExtentKind::Hole => allocation::HOLE | allocation::ZERO,
    }
}
