//! Walking through the runs of one manifest.
//!
//! A cursor reads ahead into one buffer. What a caller skips is not read: the length of every run is known
//! from its header, so a jump costs one read.

use super::chain::Layer;
use super::file::Manifest;
use super::format::{HASH, HEADER, Part, RUN, Run, RunKind, decode_run, granules};
use block::{Error, Result};
use std::os::unix::fs::FileExt;

/// A position in a manifest.
#[derive(Debug)]
pub(super) struct Cursor {
    manifest: Manifest,
    total: u64,
    capacity: usize,
    buffer: Vec<u8>,
    /// File offset of the buffer's first byte.
    buffer_at: u64,
    /// File offset of the next run's header.
    next_header: u64,
    /// No run may begin below this granule.
    floor: u64,
    data_seen: u64,
    current: Option<Run>,
    /// File offset of the current run's first hash.
    payload_at: u64,
    ended: bool,
}

/// A place between two runs at which a cursor can go on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    next_header: u64,
    /// The granule below which no run follows.
    pub(super) floor: u64,
    data_seen: u64,
}

impl Mark {
    /// Before the first run.
    pub(super) const START: Mark = Mark { next_header: HEADER as u64, floor: 0, data_seen: 0 };
}

impl Cursor {
    pub(super) const SMALL_BUFFER: usize = 16 << 10;
    pub(super) const LARGE_BUFFER: usize = 256 << 10;

    /// A cursor before the first run; `capacity` bytes of buffer, at least [`SMALL_BUFFER`](Self::SMALL_BUFFER),
    /// but no more than the file has.
    pub(super) fn new(manifest: Manifest, capacity: usize) -> Cursor {
        let content = usize::try_from(manifest.end + RUN as u64 - HEADER as u64).unwrap_or(usize::MAX);
        Cursor {
            total: granules(manifest.virtual_size),
            manifest,
            capacity: capacity.clamp(Self::SMALL_BUFFER, Self::LARGE_BUFFER).min(content),
            buffer: Vec::new(),
            buffer_at: 0,
            next_header: HEADER as u64,
            floor: 0,
            data_seen: 0,
            current: None,
            payload_at: 0,
            ended: false,
        }
    }

    /// The place behind the current run.
    pub(super) fn mark(&self) -> Mark {
        Mark { next_header: self.next_header, floor: self.floor, data_seen: self.data_seen }
    }

    /// Goes on at a place that this cursor has been at.
    pub(super) fn go_to(&mut self, mark: Mark) {
        (self.next_header, self.floor, self.data_seen) = (mark.next_header, mark.floor, mark.data_seen);
        self.current = None;
        self.ended = false;
    }

    /// The run that the cursor is at: `None` before the first and behind the last.
    pub(super) fn current(&self) -> Option<Run> {
        self.current
    }

    /// Goes to the next run. Behind the last it stays there.
    pub(super) fn step(&mut self) -> Result<Option<Run>> {
        self.current = if self.ended { None } else { self.advance()? };
        Ok(self.current)
    }

    /// The hashes of `count` granules from `first` on, all within the current run; fewer where the buffer
    /// holds fewer, at least one.
    fn hashes_at(&mut self, first: u64, count: u64) -> Result<&[[u8; HASH]]> {
        let run = self.current.filter(|run| {
            run.kind == RunKind::Data && run.first <= first && count >= 1 && first + count <= run.end()
        });
        let Some(run) = run else {
            return Err(Error::Usage {
                name: self.manifest.name.clone(),
                reason: format!("hashes of granules {first}+{count} asked outside of a run"),
            });
        };
        let offset = self.payload_at + (first - run.first) * HASH as u64;
        let most = (self.capacity / HASH).max(1) as u64;
        let bytes = self.bytes(offset, count.min(most) as usize * HASH)?;
        Ok(bytes.as_chunks().0)
    }

    /// Reads the next run's header and checks it.
    fn advance(&mut self) -> Result<Option<Run>> {
        let (offset, end) = (self.next_header, self.manifest.end);
        let mut header = [0; RUN];
        header.copy_from_slice(self.bytes(offset, RUN)?);
        let run = match decode_run(&header).map_err(|reason| self.corrupt(offset, &reason))? {
            Part::Run(run) => run,
            Part::End { data_granules } => {
                if offset != end || data_granules != self.data_seen {
                    return Err(self.corrupt(offset, "an end marker that does not fit what came before"));
                }
                self.ended = true;
                return Ok(None);
            }
        };
        if run.first < self.floor || run.end() > self.total || run.first >= self.total {
            let reason = format!(
                "a run of granules {}+{} where {}..{} may follow",
                run.first, run.count, self.floor, self.total
            );
            return Err(self.corrupt(offset, &reason));
        }
        self.payload_at = offset + RUN as u64;
        self.next_header = self.payload_at + run.payload();
        if self.next_header > end {
            return Err(self.corrupt(offset, "a run that is longer than the file"));
        }
        self.floor = run.end();
        if run.kind == RunKind::Data {
            self.data_seen += u64::from(run.count);
        }
        Ok(Some(run))
    }

    /// `length` bytes of the file, at most the buffer's capacity, all before the trailer.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8]> {
        let start = offset.checked_sub(self.buffer_at).and_then(|start| usize::try_from(start).ok());
        let held =
            start.filter(|start| start.checked_add(length).is_some_and(|end| end <= self.buffer.len()));
        let start = match held {
            Some(start) => start,
            None => {
                self.fill(offset, length)?;
                0
            }
        };
        Ok(&self.buffer[start..start + length])
    }

    fn fill(&mut self, offset: u64, length: usize) -> Result<()> {
        let limit = self.manifest.end + RUN as u64;
        let there = limit.saturating_sub(offset);
        let size = there.min(self.capacity.max(length) as u64) as usize;
        if size < length {
            return Err(self.corrupt(offset, "it ends in the middle of a run"));
        }
        self.buffer.resize(size, 0);
        self.buffer_at = offset;
        let read = self.manifest.file.read_exact_at(&mut self.buffer, offset);
        read.map_err(|source| {
            self.buffer.clear();
            Error::Io { operation: "read", name: self.manifest.name.clone(), offset, source }
        })
    }

    fn corrupt(&self, offset: u64, reason: &str) -> Error {
        Error::Corrupt { name: self.manifest.name.clone(), reason: format!("{reason}, at byte {offset}") }
    }
}

impl Layer for Cursor {
    fn virtual_size(&self) -> u64 {
        self.manifest.virtual_size
    }

    /// `granule` never falls.
    fn seek(&mut self, granule: u64) -> Result<Option<Run>> {
        loop {
            match self.current {
                Some(run) if run.end() > granule => return Ok(Some(run)),
                _ if self.ended => return Ok(None),
                _ => self.current = self.advance()?,
            }
        }
    }

    fn hashes(&mut self, first: u64, count: u64) -> Result<&[[u8; HASH]]> {
        self.hashes_at(first, count)
    }
}

/// The runs of a manifest in ascending order.
#[derive(Debug)]
pub struct Runs {
    cursor: Cursor,
    next: u64,
    failed: bool,
}

impl Runs {
    pub(super) fn new(cursor: Cursor) -> Self {
        Runs { cursor, next: 0, failed: false }
    }
}

impl Iterator for Runs {
    type Item = Result<Run>;

    fn next(&mut self) -> Option<Result<Run>> {
        if self.failed {
            return None;
        }
        let run = self.cursor.seek(self.next).transpose()?;
        match &run {
            Ok(run) => self.next = run.end(),
            Err(_) => self.failed = true,
        }
        Some(run)
    }
}
