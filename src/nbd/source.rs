//! An export as a block source.

use crate::connect::{Dialler, Link};
use crate::pool::Pool;
use crate::session::Status;
use crate::{Error, Interrupt, Options, Uri};
use block::{BlockSource, ChangeId, Extent, ExtentKind, FullReadReason, Result};
use std::ops::Range;

/// Most bytes asked about in one request for block status: few round trips over empty disks, and below the
/// protocol's 32 bits whatever the alignment.
const MOST_STATUS: u64 = 1 << 30;

/// A disk behind NBD, read-only in use. See the crate's description for connections, time limits and how to
/// end it from another thread.
pub struct NbdSource {
    name: String,
    pool: Pool,
    interrupt: Interrupt,
}

impl NbdSource {
    /// Connects to the export that `uri` names.
    ///
    /// # Errors
    /// [`block::Error::Open`] where no connection could be made, [`block::Error::Peer`] where the server
    /// refuses or does not answer in time, [`block::Error::Cancelled`] where the interrupt was stopped.
    pub fn open(uri: &Uri, options: &Options) -> Result<Self> {
        Self::open_named(uri.to_string(), uri, options)
    }

    /// As [`open`](Self::open), with `name` instead of the URI in errors.
    pub(crate) fn open_named(name: String, uri: &Uri, options: &Options) -> Result<Self> {
        let pool = Dialler::new(uri, options.reply_timeout, &options.interrupt)
            .and_then(|dialler| Pool::open(dialler, options, options.reconnect))
            .map_err(|error| error.of(&name))?;
        Ok(NbdSource { name, pool, interrupt: options.interrupt.clone() })
    }

    /// What ends blocked calls from another thread: the one of the options.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// How many connections are in use.
    pub fn connections(&self) -> usize {
        self.pool.size()
    }

    /// The smallest aligned range around `range`, inside the export.
    fn aligned(&self, range: Range<u64>) -> Range<u64> {
        let unit = u64::from(self.pool.export().minimum_block);
        let start = range.start - range.start % unit;
        let end = range.end.checked_next_multiple_of(unit).unwrap_or(u64::MAX).min(self.size());
        start..end
    }

    fn check(&self, offset: u64, length: u64) -> Result<()> {
        if offset.checked_add(length).is_some_and(|end| end <= self.size()) {
            return Ok(());
        }
        let reason = format!("bytes {offset} to +{length} are outside its {} bytes", self.size());
        Err(block::Error::Usage { name: self.name.clone(), reason })
    }

    /// Reads a part whose ends the server does not allow, through a buffer of its own.
    fn read_around(&self, buf: &mut [u8], offset: u64) -> crate::Result<()> {
        let whole = self.aligned(offset..offset + buf.len() as u64);
        // At most two minimum blocks around a part that is itself shorter than one.
        let mut bytes = vec![0; usize::try_from(whole.end - whole.start).unwrap_or_default()];
        self.pool.with(|link| link.read(&mut bytes, whole.start))?;
        let skip = usize::try_from(offset - whole.start).unwrap_or_default();
        match bytes.get(skip..skip + buf.len()) {
            Some(part) => buf.copy_from_slice(part),
            None => return Err(Error::Unfit("an unaligned read at the end of the export".into())),
        }
        Ok(())
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> crate::Result<()> {
        let unit = u64::from(self.pool.export().minimum_block);
        let end = offset + buf.len() as u64;
        let head_end = offset.checked_next_multiple_of(unit).unwrap_or(end).min(end);
        let tail_start = if end == self.size() { end } else { (end - end % unit).max(head_end) };
        let (head, rest) = buf.split_at_mut(usize::try_from(head_end - offset).unwrap_or_default());
        let (middle, tail) = rest.split_at_mut(usize::try_from(tail_start - head_end).unwrap_or_default());
        if !head.is_empty() {
            self.read_around(head, offset)?;
        }
        if !middle.is_empty() {
            self.pool.with(|link| link.read(middle, head_end))?;
        }
        if !tail.is_empty() {
            self.read_around(tail, tail_start)?;
        }
        Ok(())
    }
}

impl BlockSource for NbdSource {
    fn size(&self) -> u64 {
        self.pool.export().size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.check(offset, buf.len() as u64)?;
        self.read(buf, offset).map_err(|error| error.at("read", &self.name, offset))
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        if since.is_some() {
            return Err(block::Error::FullReadRequired(FullReadReason::NotTracked));
        }
        let length = range.end.checked_sub(range.start).filter(|length| *length > 0);
        let Some(length) = length else {
            let reason = format!("extents of the empty range {}..{}", range.start, range.end);
            return Err(block::Error::Usage { name: self.name.clone(), reason });
        };
        self.check(range.start, length)?;
        let unknown = || Ok(vec![Extent::new(range.clone(), ExtentKind::Data)]);
        if self.pool.export().allocation_context.is_none() {
            return unknown();
        }
        let asked = self.aligned(range.start..range.end.min(range.start + MOST_STATUS));
        let length = u32::try_from(asked.end - asked.start).unwrap_or(u32::MAX);
        match self.pool.with(|link: &mut Link| link.block_status(asked.start, length)) {
            Ok(states) => {
                let extents = extents_of(&states, asked.start, &range);
                if extents.is_empty() { unknown() } else { Ok(extents) }
            }
            // Not knowing is no failure: what can't be read will be noticed by reading it.
            Err(error) if error.leaves_session_usable() => {
                tracing::debug!(%error, name = self.name, "no block status, all is taken for data");
                unknown()
            }
            Err(error) => Err(error.at("ask the extents of", &self.name, range.start)),
        }
    }

    fn parallelism(&self) -> usize {
        // Two a connection: while one hashes and writes, another has its requests on the way.
        self.pool.size() * 2
    }
}

/// The states of consecutive pieces from `offset`, cut to `range`.
fn extents_of(states: &[Status], mut offset: u64, range: &Range<u64>) -> Vec<Extent> {
    let mut extents: Vec<Extent> = Vec::with_capacity(states.len().min(1024));
    for state in states {
        let end = offset.saturating_add(state.length);
        let piece = offset.max(range.start)..end.min(range.end);
        offset = end;
        if piece.is_empty() {
            continue;
        }
        let kind = match (state.zero, state.hole) {
            (true, true) => ExtentKind::Hole,
            (true, false) => ExtentKind::Zero,
            // A hole that is not said to be zero may hold anything.
            (false, _) => ExtentKind::Data,
        };
        match extents.last_mut() {
            Some(last) if last.kind == kind => last.length += piece.end - piece.start,
            _ => extents.push(Extent::new(piece, kind)),
        }
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_become_extents_inside_the_range() {
        let state = |length, zero, hole| Status { length, zero, hole };
        let states = [
            state(512, false, false),
            state(512, true, true),
            state(512, true, false),
            state(512, false, true),
            state(512, false, false),
            state(u64::from(u32::MAX), true, true),
        ];
        let extent = |offset, length, kind| Extent { offset, length, kind };
        assert_eq!(
            extents_of(&states, 4096, &(4100..7000)),
            [
                extent(4100, 508, ExtentKind::Data),
                extent(4608, 512, ExtentKind::Hole),
                extent(5120, 512, ExtentKind::Zero),
                extent(5632, 1024, ExtentKind::Data),
                extent(6656, 344, ExtentKind::Hole),
            ]
        );
    }
}
