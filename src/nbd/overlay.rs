//! A disk that can be written, over one that can't, and that is thrown away at the end.
//!
//! The model: the disk in blocks of 4 KiB, each of which is as *below* (never written), *stored* in the overlay's
//! file, or *zeros*. A block is stored whole: where a write covers only a part of one, the rest is copied from below
//! first. The file is sparse, a block lies in it where it lies on the disk, and it has no name: when the overlay is
//! dropped, or its process killed, it is gone, and nothing has to be cleaned up.
//!
//! Invariants: the source is never written to; a block counts as stored only after all of it was written, so a
//! write that fails (a full disk) changes nothing but, at most, what it was to change; writers of one 64 KiB stretch
//! wait for each other. Memory: 1 KiB for every 16 MiB of the disk in which something was written.
//!
//! The file's file system keeps a reserve ([`RESERVE`]): a guest that writes without end gets `ENOSPC`, and whatever
//! else lives there goes on.

mod map;

use crate::server::DiskWriter;
use block::{BlockSource, ChangeId, Error, Extent, ExtentKind, FullReadReason, Result};
use map::{BLOCK, BlockMap, State};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stays free where the file lies: 1 % of its file system, at most so many bytes.
pub const RESERVE: u64 = 1 << 30;
/// After so many bytes written the room that is left is looked at again.
const LOOK: u64 = 4 << 20;
/// The stretch that one lock is for, and how many locks there are.
const STRETCH: u64 = 64 << 10;
const LOCKS: usize = 64;
/// Most extents in one answer.
const MOST_EXTENTS: usize = 4096;

/// A disk over another one, with what was written since.
pub struct Overlay {
    source: Arc<dyn BlockSource>,
    size: u64,
    file: File,
    name: String,
    map: BlockMap,
    locks: [Mutex<()>; LOCKS],
    written: AtomicU64,
}

impl Overlay {
    /// An overlay over `source` whose file lies, without a name, in `folder`.
    ///
    /// # Errors
    /// Where no file can be made there, or none as long as the disk.
    pub fn over(source: Arc<dyn BlockSource>, folder: &Path) -> Result<Overlay> {
        let name = format!("the overlay in {}", folder.display());
        let failed = |source| Error::Open { operation: "create", name: name.clone(), source };
        let size = source.size();
        let file = tempfile::tempfile_in(folder).map_err(failed)?;
        file.set_len(size).map_err(failed)?;
        let locks = std::array::from_fn(|_| Mutex::new(()));
        Ok(Overlay { source, size, file, name, map: BlockMap::default(), locks, written: AtomicU64::new(0) })
    }

    /// Writes a piece that lies in one stretch.
    fn write_piece(&self, data: &[u8], offset: u64) -> Result<()> {
        let _lock = self.lock(offset);
        let end = offset + data.len() as u64;
        let mut at = offset;
        while at < end {
            let block = at / BLOCK * BLOCK;
            let block_end = (block + BLOCK).min(self.size);
            if at == block && end >= block_end {
                // All whole blocks at once.
                let whole = if end == self.size { end } else { end / BLOCK * BLOCK };
                self.store(part(data, at - offset..whole - offset), at)?;
                self.map.set(at / BLOCK..whole.div_ceil(BLOCK), State::Stored);
                at = whole;
                continue;
            }
            let piece_end = end.min(block_end);
            let piece = part(data, at - offset..piece_end - offset);
            if self.map.state(block / BLOCK) == State::Stored {
                self.store(piece, at)?;
            } else {
                self.complete(block..block_end, piece, at)?;
            }
            at = piece_end;
        }
        Ok(())
    }

    /// Stores a block of which only `piece` is new.
    fn complete(&self, block: Range<u64>, piece: &[u8], at: u64) -> Result<()> {
        let mut whole = [0; BLOCK as usize];
        let whole = &mut whole[..(block.end - block.start) as usize];
        if self.map.state(block.start / BLOCK) == State::Below {
            self.source.read_at(whole, block.start)?;
        }
        let start = (at - block.start) as usize;
        if let Some(place) = whole.get_mut(start..start + piece.len()) {
            place.copy_from_slice(piece);
        }
        self.store(whole, block.start)?;
        self.map.set(block.start / BLOCK..block.start / BLOCK + 1, State::Stored);
        Ok(())
    }

    fn store(&self, data: &[u8], offset: u64) -> Result<()> {
        let length = data.len() as u64;
        let before = self.written.fetch_add(length, Ordering::Relaxed);
        let result = if before == 0 || before / LOOK != (before + length) / LOOK {
            self.check_room().and_then(|()| self.file.write_all_at(data, offset))
        } else {
            self.file.write_all_at(data, offset)
        };
        result.map_err(|source| {
            // The next write looks again.
            self.written.store(0, Ordering::Relaxed);
            self.io("write", offset, source)
        })
    }

    fn check_room(&self) -> io::Result<()> {
        let room = fstatvfs(&self.file)?;
        let reserve = (room.f_blocks.saturating_mul(room.f_frsize) / 100).min(RESERVE);
        if room.f_bavail.saturating_mul(room.f_frsize) < reserve.saturating_add(LOOK) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    /// Makes the whole blocks of a range read as zeros; what of it are parts of blocks is told to `edge`.
    fn clear(&self, range: &Range<u64>, edge: impl Fn(Range<u64>) -> Result<()>) -> Result<()> {
        let first = range.start.next_multiple_of(BLOCK);
        let last = if range.end == self.size { self.size } else { range.end / BLOCK * BLOCK };
        if first >= last {
            return edge(range.clone());
        }
        if range.start < first {
            edge(range.start..first)?;
        }
        let mut at = first;
        while at < last {
            let end = (at / STRETCH * STRETCH + STRETCH).min(last);
            let _lock = self.lock(at);
            if self.map.set(at / BLOCK..end.div_ceil(BLOCK), State::Zeros) {
                // Gives the room back. Where the file system can't, it stays taken until the end.
                let _ = fallocate(
                    &self.file,
                    FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                    at,
                    end - at,
                );
            }
            at = end;
        }
        if last < range.end {
            edge(last..range.end)?;
        }
        Ok(())
    }

    fn lock(&self, offset: u64) -> MutexGuard<'_, ()> {
        let number = (offset / STRETCH) as usize % LOCKS;
        // It guards nothing but the order of writers.
        self.locks[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, offset: u64, length: u64) -> Result<Range<u64>> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(offset..end),
            _ => {
                let reason = format!("{length} bytes from {offset} are not inside of {} bytes", self.size);
                Err(Error::Usage { name: self.name.clone(), reason })
            }
        }
    }

    fn io(&self, operation: &'static str, offset: u64, source: io::Error) -> Error {
        Error::Io { operation, name: self.name.clone(), offset, source }
    }
}

/// A part of a buffer that is known to be inside of it.
fn part(data: &[u8], range: Range<u64>) -> &[u8] {
    data.get(range.start as usize..range.end as usize).unwrap_or_default()
}

impl BlockSource for Overlay {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = self.check(offset, buf.len() as u64)?;
        let mut at = range.start;
        let mut rest = buf;
        while at < range.end {
            let (state, end) = self.map.run(at, range.end);
            let (piece, further) = rest.split_at_mut((end - at) as usize);
            match state {
                State::Below => self.source.read_at(piece, at)?,
                State::Zeros => piece.fill(0),
                State::Stored => {
                    self.file.read_exact_at(piece, at).map_err(|source| self.io("read", at, source))?;
                }
            }
            rest = further;
            at = end;
        }
        Ok(())
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        if since.is_some() {
            return Err(Error::FullReadRequired(FullReadReason::NotTracked));
        }
        let range = self.check(range.start, range.end.saturating_sub(range.start))?;
        let mut found: Vec<Extent> = Vec::new();
        let mut at = range.start;
        while at < range.end && found.len() < MOST_EXTENTS {
            let (state, end) = self.map.run(at, range.end);
            let kind = match state {
                State::Stored => ExtentKind::Data,
                State::Zeros => ExtentKind::Zero,
                State::Below => {
                    found.extend(self.source.extents(at..end, None)?);
                    match found.last() {
                        Some(last) if last.end() > at => at = last.end(),
                        _ => break,
                    }
                    continue;
                }
            };
            found.push(Extent::new(at..end, kind));
            at = end;
        }
        Ok(found)
    }

    fn parallelism(&self) -> usize {
        self.source.parallelism()
    }
}

impl DiskWriter for Overlay {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let range = self.check(offset, data.len() as u64)?;
        let mut at = range.start;
        while at < range.end {
            let end = (at / STRETCH * STRETCH + STRETCH).min(range.end);
            self.write_piece(part(data, at - offset..end - offset), at)?;
            at = end;
        }
        Ok(())
    }

    fn zero(&self, range: Range<u64>, _allocate: bool) -> Result<()> {
        let range = self.check(range.start, range.end.saturating_sub(range.start))?;
        // Room that is promised for later would be a promise of a file that is thrown away.
        self.clear(&range, |edge| {
            let zeros = [0; BLOCK as usize];
            let mut at = edge.start;
            while at < edge.end {
                let end = (at / BLOCK * BLOCK + BLOCK).min(edge.end);
                self.write_piece(part(&zeros, 0..end - at), at)?;
                at = end;
            }
            Ok(())
        })
    }

    fn trim(&self, range: Range<u64>) -> Result<()> {
        let range = self.check(range.start, range.end.saturating_sub(range.start))?;
        self.clear(&range, |_| Ok(()))
    }

    fn flush(&self) -> Result<()> {
        // The overlay does not outlive its process, so there is nothing that could be made to last.
        Ok(())
    }

    fn zeroes_fast(&self) -> bool {
        true
    }
}

impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay").field("name", &self.name).field("size", &self.size).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
