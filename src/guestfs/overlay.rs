//! A device with some ranges replaced in memory: what a journal holds that never reached its place.

use crate::device::{Device, ReadAt, check_range};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::io;

/// A device below, and ranges over it. Later ranges win over earlier ones.
pub struct Overlay {
    below: Device,
    /// Start → bytes; ranges never overlap.
    ranges: BTreeMap<u64, Vec<u8>>,
    held: usize,
    limit: usize,
}

impl Overlay {
    /// Nothing replaced yet; at most `limit` bytes will be held.
    pub fn new(below: Device, limit: usize) -> Self {
        Overlay { below, ranges: BTreeMap::new(), held: 0, limit }
    }

    /// Puts `bytes` at `offset`, over whatever stood there.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the range is outside of the device; [`Error::Limit`] where more would be held than
    /// allowed.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        check_range(offset, bytes.len(), self.below.size())
            .map_err(|e| Error::corrupt("the journal", format!("it writes outside of the volume: {e}")))?;
        let end = offset + bytes.len() as u64;
        // The common case: the same block again.
        if let Some(old) = self.ranges.get_mut(&offset)
            && old.len() == bytes.len()
        {
            old.copy_from_slice(bytes);
            return Ok(());
        }
        self.cut(offset, end);
        if self.held + bytes.len() > self.limit {
            return Err(Error::Limit(format!(
                "the journal changes more than {} MiB, which is more than is replayed in memory",
                self.limit >> 20
            )));
        }
        self.held += bytes.len();
        self.ranges.insert(offset, bytes.to_vec());
        Ok(())
    }

    /// Takes away what is held of `start..end`.
    fn cut(&mut self, start: u64, end: u64) {
        let first = self.ranges.range(..start).next_back().map(|(&at, _)| at).unwrap_or(start);
        let touched: Vec<u64> = self
            .ranges
            .range(first..end)
            .filter(|(at, bytes)| **at + bytes.len() as u64 > start)
            .map(|(&at, _)| at)
            .collect();
        for at in touched {
            let Some(old) = self.ranges.remove(&at) else { continue };
            self.held -= old.len();
            let old_end = at + old.len() as u64;
            if at < start {
                let head = old[..(start - at) as usize].to_vec();
                self.held += head.len();
                self.ranges.insert(at, head);
            }
            if old_end > end {
                let tail = old[(end - at) as usize..].to_vec();
                self.held += tail.len();
                self.ranges.insert(end, tail);
            }
        }
    }

    /// Whether any byte of the `length` bytes at `offset` was replaced.
    pub fn covers(&self, offset: u64, length: u64) -> bool {
        let end = offset.saturating_add(length);
        let last = self.ranges.range(..end).next_back();
        last.is_some_and(|(&at, bytes)| length > 0 && at + bytes.len() as u64 > offset)
    }

    /// Whether nothing was replaced.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl ReadAt for Overlay {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.below.read_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        let first = self.ranges.range(..offset).next_back().map(|(&at, _)| at).unwrap_or(offset);
        for (&at, bytes) in self.ranges.range(first..end) {
            let from = at.max(offset);
            let to = (at + bytes.len() as u64).min(end);
            if from < to {
                buf[(from - offset) as usize..(to - offset) as usize]
                    .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::MemoryDevice;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #[test]
        fn reads_what_was_written_last(
            writes in prop::collection::vec((0usize..200, prop::collection::vec(any::<u8>(), 1..60)), 0..30),
            reads in prop::collection::vec((0usize..200, 0usize..100), 1..10),
        ) {
            let mut model = vec![7u8; 256];
            let mut overlay = Overlay::new(Arc::new(MemoryDevice(model.clone())), 1 << 20);
            for (at, bytes) in writes {
                let bytes = &bytes[..bytes.len().min(256 - at)];
                model[at..at + bytes.len()].copy_from_slice(bytes);
                overlay.write(at as u64, bytes).unwrap();
            }
            prop_assert_eq!(overlay.held, overlay.ranges.values().map(Vec::len).sum::<usize>());
            for (at, length) in reads {
                let length = length.min(256 - at);
                let mut buf = vec![0; length];
                overlay.read_at(&mut buf, at as u64).unwrap();
                prop_assert_eq!(&buf[..], &model[at..at + length]);
                let replaced = (at..at + length).any(|at| overlay.covers(at as u64, 1));
                prop_assert_eq!(overlay.covers(at as u64, length as u64), replaced);
            }
        }
    }

    #[test]
    fn what_is_held_is_bounded_and_stays_inside() {
        let mut overlay = Overlay::new(Arc::new(MemoryDevice(vec![0; 256])), 100);
        overlay.write(0, &[1; 60]).unwrap();
        assert!(matches!(overlay.write(100, &[1; 60]), Err(Error::Limit(_))));
        assert!(matches!(overlay.write(250, &[1; 7]), Err(Error::Corrupt { .. })));
        assert!(matches!(overlay.write(u64::MAX, &[1; 7]), Err(Error::Corrupt { .. })));
    }
}
