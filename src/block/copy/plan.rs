//! What is to be copied, in ascending order, chunk by chunk, found out while it is being copied.
//!
//! The plan asks the source for its extents a window at a time and the baseline for the granules of each
//! claim; so its memory does not depend on the disk's size. It stands behind one mutex: whoever needs work
//! takes the next claim. A claim with data is one read of at most a chunk; a claim without is a run of units
//! of one kind, as long as it is known at once.

use super::decide::Rule;
use super::{CopyError, Side};
use crate::baseline::{Baseline, GRANULE, Granule};
use crate::{BlockSource, ChangeId, Error, Extent, ExtentKind};
use std::collections::VecDeque;
use std::ops::Range;

/// How far ahead extents are asked for. A source with many small extents answers with at most this many
/// bytes' worth of them (16384 for 64 KiB clusters).
const WINDOW: u64 = 1 << 30;

/// The most granules in one claim without data, where they are looked at one by one.
const QUIET: u64 = 512;

/// What all units of a claim are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Content {
    /// To be read.
    #[default]
    Data,
    /// Zeros, without reading.
    Zero,
    /// In none of the layers that are looked at. Only where that matters; otherwise it is `Zero`.
    Hole,
    /// As at the asked change id.
    Unchanged,
}

/// A piece of work. Reused, so that claiming allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Claim {
    /// Its place in the order of claims, from 0.
    pub(crate) number: u64,
    /// Its bytes: whole units, but at the disk's end.
    pub(crate) range: Range<u64>,
    /// What they are.
    pub(crate) content: Content,
    /// What the baseline says of its granules; empty without one, or where it does not matter.
    pub(crate) before: Vec<Granule>,
}

pub(crate) struct Plan<'a> {
    source: &'a dyn BlockSource,
    name: &'a str,
    since: Option<ChangeId>,
    baseline: Option<&'a mut dyn Baseline>,
    keep_zeros: bool,
    size: u64,
    unit: u64,
    chunk: u64,
    quiet: u64,
    /// What is left, ascending, apart, of whole units; the first begins where the next claim does.
    ranges: VecDeque<Range<u64>>,
    /// Extents from the next claim's beginning or a bit before, without gaps.
    ahead: VecDeque<Extent>,
    claims: u64,
}

impl<'a> Plan<'a> {
    /// `chunk` is a multiple of `unit`, and `unit` of [`GRANULE`]. `looked_at`: granules without data are
    /// compared or recorded one by one.
    #[expect(clippy::too_many_arguments, reason = "the parts of one CopyOptions, taken apart once")]
    pub(crate) fn new(
        source: &'a dyn BlockSource,
        name: &'a str,
        rule: Rule,
        unit: u64,
        chunk: u64,
        ranges: Option<Vec<Range<u64>>>,
        since: Option<ChangeId>,
        baseline: Option<&'a mut dyn Baseline>,
        looked_at: bool,
    ) -> Self {
        let size = source.size();
        let whole = 0..size;
        Plan {
            source,
            name,
            since,
            baseline,
            keep_zeros: rule == Rule::Store { keep_zeros: true },
            size,
            unit,
            chunk,
            quiet: if looked_at { (QUIET * GRANULE).max(unit) } else { WINDOW.max(unit) },
            ranges: whole_units(ranges.unwrap_or_else(|| vec![whole]), unit, size),
            ahead: VecDeque::new(),
            claims: 0,
        }
    }

    /// Bytes that are left.
    pub(crate) fn total(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Fills `claim` with the next piece of work; false where there is none left.
    pub(crate) fn claim(&mut self, claim: &mut Claim) -> Result<bool, CopyError> {
        let Some(Range { start, end: limit }) = self.ranges.front().cloned() else { return Ok(false) };
        let (content, mut end) = self.run_from(start)?;
        let most = if content == Content::Data { self.chunk } else { self.quiet };
        let limit = limit.min(start.saturating_add(most));
        while end < limit {
            // More extents are worth asking for only to fill a read.
            if content != Content::Data && self.known_end(end) < self.unit_end(end) {
                break;
            }
            match self.run_from(end)? {
                (next, next_end) if next == content => end = next_end,
                _ => break,
            }
        }
        claim.number = self.claims;
        claim.range = start..end.min(limit);
        claim.content = content;
        self.ask_baseline(claim)?;
        self.claims += 1;
        match self.ranges.front_mut() {
            Some(range) if claim.range.end < range.end => range.start = claim.range.end,
            _ => drop(self.ranges.pop_front()),
        }
        Ok(true)
    }

    fn ask_baseline(&mut self, claim: &mut Claim) -> Result<(), CopyError> {
        claim.before.clear();
        let Some(baseline) = &mut self.baseline else { return Ok(()) };
        if matches!(claim.content, Content::Unchanged | Content::Hole) {
            return Ok(());
        }
        let count = (claim.range.end - claim.range.start).div_ceil(GRANULE);
        // At most the granules of a chunk or of a quiet claim, both small constants.
        claim.before.resize(usize::try_from(count).unwrap_or(usize::MAX), Granule::Unknown);
        baseline
            .next(claim.range.start / GRANULE, &mut claim.before)
            .map_err(|error| Side::Baseline.failed(error))
    }

    /// What the unit at `at` is, and the end of the run of such units that is seen at one glance.
    fn run_from(&mut self, at: u64) -> Result<(Content, u64), CopyError> {
        self.ahead_to(at)?;
        let unit_end = self.unit_end(at);
        if let Some(front) = self.ahead.front() {
            let end = if front.end() >= self.size { self.size } else { front.end() / self.unit * self.unit };
            if end >= unit_end {
                return Ok((self.content([front.kind])?, end));
            }
        }
        let kinds = self.ahead.iter().take_while(|extent| extent.offset < unit_end).map(|extent| extent.kind);
        Ok((self.content(kinds)?, unit_end))
    }

    /// What a unit is that holds extents of these kinds.
    fn content(&self, kinds: impl IntoIterator<Item = ExtentKind>) -> Result<Content, CopyError> {
        let (mut data, mut zero, mut hole, mut unchanged) = (false, false, false, false);
        for kind in kinds {
            match kind {
                ExtentKind::Data => data = true,
                ExtentKind::Zero => zero = true,
                ExtentKind::Hole => hole = true,
                ExtentKind::Unchanged => unchanged = true,
            }
        }
        if unchanged && self.since.is_none() {
            return Err(self.nonsense("it calls a range unchanged without being asked".to_owned()));
        }
        if self.keep_zeros && hole && (data || zero || unchanged) {
            let error = Error::Unsupported {
                name: self.name.to_owned(),
                reason: format!(
                    "a unit of {} bytes is stored only in part in the layers to be merged",
                    self.unit
                ),
            };
            return Err(Side::Source.failed(error));
        }
        Ok(match (data, zero || hole, unchanged) {
            (false, true, false) if self.keep_zeros && hole => Content::Hole,
            (false, true, false) => Content::Zero,
            (false, false, true) => Content::Unchanged,
            _ => Content::Data,
        })
    }

    /// Sees to it that `ahead` begins with the extent at `at` and covers the unit there.
    fn ahead_to(&mut self, at: u64) -> Result<(), CopyError> {
        while self.ahead.front().is_some_and(|extent| extent.end() <= at) {
            self.ahead.pop_front();
        }
        while self.known_end(at) < self.unit_end(at) {
            let begin = self.known_end(at);
            let window = begin..begin.saturating_add(WINDOW).min(self.size);
            let extents = self
                .source
                .extents(window.clone(), self.since.as_ref())
                .map_err(|error| Side::Source.failed(error))?;
            let mut expected = begin;
            for extent in &extents {
                let end = extent.offset.checked_add(extent.length);
                if extent.offset != expected || extent.length == 0 || end.is_none_or(|end| end > window.end) {
                    return Err(self.nonsense(format!(
                        "asked for bytes {} to {}, it describes {} bytes from {} where {expected} follows",
                        window.start, window.end, extent.length, extent.offset
                    )));
                }
                expected = extent.end();
            }
            if extents.is_empty() {
                return Err(self.nonsense(format!("it does not describe what lies at byte {begin}")));
            }
            self.ahead.extend(extents);
        }
        Ok(())
    }

    /// The end of what `ahead` tells; `at` where it tells nothing.
    fn known_end(&self, at: u64) -> u64 {
        self.ahead.back().map_or(at, |extent| extent.end().max(at))
    }

    fn unit_end(&self, at: u64) -> u64 {
        at.saturating_add(self.unit).min(self.size)
    }

    fn nonsense(&self, reason: String) -> CopyError {
        Side::Source.failed(Error::Corrupt { name: self.name.to_owned(), reason })
    }
}

/// `ranges` widened to whole units inside `size`, sorted, joined where they touch.
fn whole_units(mut ranges: Vec<Range<u64>>, unit: u64, size: u64) -> VecDeque<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut whole: VecDeque<Range<u64>> = VecDeque::new();
    for range in ranges {
        if range.start >= range.end || range.start >= size {
            continue;
        }
        let start = range.start / unit * unit;
        let end = range.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX).min(size);
        match whole.back_mut() {
            Some(last) if start <= last.end => last.end = last.end.max(end),
            _ => whole.push_back(start..end),
        }
    }
    whole
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
