//! The file that a writer fills: where the next clusters go, and how they get there.
//!
//! The model: the file grows at its end only. [`reserve`](Output::reserve) hands out the next host clusters
//! by one atomic addition, so writers never wait for each other; [`write`](Output::write) puts bytes there.
//!
//! On a disk the page cache is what costs, so the file is written past it (`O_DIRECT`) where the file system
//! takes that, straight from the caller's memory if it is page aligned and through a small pooled buffer if
//! not. Direct writes that lengthen a file take turns inside the kernel, therefore space is allocated ahead in
//! growing steps and cut off at the end. On tmpfs both would only cost, so neither is done.
//!
//! Dropped before [`keep`](Output::keep) the file is removed.

use crate::aligned::{ALIGN, AlignedBuf, is_aligned};
use crate::error::{io_at, open, usage};
use block::Result;
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoMode {
    /// Past the page cache where the file system takes that and gains by it, else through it.
    #[default]
    Auto,
    /// Past the page cache, or fail.
    Direct,
    /// Through the page cache.
    Buffered,
}

/// The first and the largest step by which space is allocated ahead.
const FIRST_STEP: u64 = 4 << 20;
const LAST_STEP: u64 = 128 << 20;
/// Bytes of a pooled buffer for what is not aligned.
const BOUNCE: usize = 1 << 20;
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// A file in work.
pub(crate) struct Output {
    file: File,
    path: PathBuf,
    name: String,
    direct: AtomicBool,
    /// The first byte not handed out.
    end: AtomicU64,
    /// Space is allocated up to here; `u64::MAX` where none is allocated ahead.
    allocated: AtomicU64,
    step: Mutex<u64>,
    bounce: Mutex<Vec<AlignedBuf>>,
    /// Taken for a write through the page cache. The kernel lets one such write into a file at a time and the
    /// others spin; waiting here instead leaves their cores to whoever reads and hashes.
    turn: Mutex<()>,
    kept: AtomicBool,
}

impl Output {
    /// Creates the file `path`, whose first `start` bytes have their place already.
    pub(crate) fn create(path: &Path, mode: IoMode, start: u64) -> Result<Output> {
        let name = path.display().to_string();
        let mut options = OpenOptions::new();
        options.write(true).read(true).create_new(true).mode(0o600);
        let file = options.open(path).map_err(|e| open("create", &name, e))?;
        let on_tmpfs = rustix::fs::fstatfs(&file).is_ok_and(|stat| stat.f_type as u64 == TMPFS_MAGIC);
        let output = Output {
            file,
            path: path.to_owned(),
            name,
            direct: AtomicBool::new(false),
            end: AtomicU64::new(start),
            allocated: AtomicU64::new(u64::MAX),
            step: Mutex::new(FIRST_STEP),
            bounce: Mutex::default(),
            turn: Mutex::default(),
            kept: AtomicBool::new(false),
        };
        let wanted = match mode {
            IoMode::Buffered => false,
            IoMode::Auto => !on_tmpfs,
            IoMode::Direct => true,
        };
        if wanted {
            match output.set_direct(true) {
                Ok(()) => output.allocated.store(0, Ordering::Relaxed),
                Err(e) if mode == IoMode::Direct => {
                    return Err(open("open for direct I/O", &output.name, e.into()));
                }
                Err(_) => {}
            }
        }
        if on_tmpfs {
            output.allocated.store(u64::MAX, Ordering::Relaxed);
        }
        Ok(output)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The first byte behind all that was handed out.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Hands out the next `length` bytes and allocates space for them.
    pub(crate) fn reserve(&self, length: u64) -> Result<u64> {
        let start = self.end.fetch_add(length, Ordering::AcqRel);
        let end = start
            .checked_add(length)
            .filter(|&end| end <= crate::entry::OFFSET_MASK)
            .ok_or_else(|| usage(&self.name, "the file would be longer than the format allows"))?;
        if end > self.allocated.load(Ordering::Acquire) {
            self.allocate(end);
        }
        Ok(start)
    }

    /// Allocates space up to `end` and a step more. Where that fails nothing is lost: the writes will tell.
    fn allocate(&self, end: u64) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.allocated.load(Ordering::Acquire);
        if end <= from {
            return;
        }
        let to = end.saturating_add(*step);
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), from, to - from) {
            Ok(()) => {
                self.allocated.store(to, Ordering::Release);
                *step = (*step * 2).min(LAST_STEP);
            }
            Err(_) => self.allocated.store(u64::MAX, Ordering::Release),
        }
    }

    /// Writes `data` at `offset`, a multiple of the page size, as all that is handed out is.
    pub(crate) fn write(&self, data: &[u8], offset: u64) -> Result<()> {
        if !self.direct.load(Ordering::Relaxed) || is_aligned(data) {
            return self.put(data, offset);
        }
        let mut buf = self.borrow();
        let mut at = offset;
        let mut result = Ok(());
        for piece in data.chunks(BOUNCE) {
            let length = piece.len().next_multiple_of(ALIGN);
            let whole = &mut buf.as_mut_slice()[..length];
            whole[..piece.len()].copy_from_slice(piece);
            whole[piece.len()..].fill(0);
            result = self.put(whole, at);
            if result.is_err() {
                break;
            }
            at += length as u64;
        }
        self.give_back(buf);
        result
    }

    /// Writes `data` and zeros behind it up to a length of `padded` bytes.
    pub(crate) fn write_padded(&self, data: &[u8], padded: usize, offset: u64) -> Result<()> {
        let mut buf = self.borrow();
        let mut at = 0;
        let mut result = Ok(());
        while at < padded && result.is_ok() {
            let length = (padded - at).min(BOUNCE);
            let whole = &mut buf.as_mut_slice()[..length];
            let piece = data.get(at..).unwrap_or_default();
            let piece = &piece[..piece.len().min(length)];
            whole[..piece.len()].copy_from_slice(piece);
            whole[piece.len()..].fill(0);
            result = self.put(whole, offset + at as u64);
            at += length;
        }
        self.give_back(buf);
        result
    }

    /// Reads back what was written at `offset`. Where that is past the page cache and the caller's memory or the
    /// place is not as that wants it, it goes through a pooled buffer.
    pub(crate) fn read(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let refused = |e| io_at("read", &self.name, offset, e);
        let aligned = is_aligned(out) && offset.is_multiple_of(ALIGN as u64);
        if !self.direct.load(Ordering::Relaxed) || aligned {
            return self.file.read_exact_at(out, offset).map_err(refused);
        }
        let mut buf = self.borrow();
        let mut result = Ok(());
        let mut done = 0;
        while done < out.len() && result.is_ok() {
            let at = offset + done as u64;
            let skip = (at % ALIGN as u64) as usize;
            let part = (out.len() - done).min(BOUNCE - skip);
            let whole = &mut buf.as_mut_slice()[..(skip + part).next_multiple_of(ALIGN)];
            // All that is handed out is whole pages, so this ends inside of the file.
            result = self.file.read_exact_at(whole, at - skip as u64);
            out[done..done + part].copy_from_slice(&whole[skip..skip + part]);
            done += part;
        }
        self.give_back(buf);
        result.map_err(refused)
    }

    /// Gives the room of unused clusters back to the file system. Best effort: where it can't, they stay as they are.
    pub(crate) fn punch(&self, range: std::ops::Range<u64>) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _ = rustix::fs::fallocate(&self.file, flags, range.start, range.end - range.start);
    }

    fn put(&self, data: &[u8], offset: u64) -> Result<()> {
        let refused = |e| io_at("write", &self.name, offset, e);
        let buffered = !self.direct.load(Ordering::Relaxed);
        let turn = buffered.then(|| self.turn.lock().unwrap_or_else(PoisonError::into_inner));
        let written = self.file.write_all_at(data, offset);
        drop(turn);
        match written {
            Ok(()) => Ok(()),
            // Some file systems take the flag and refuse the writes.
            Err(e)
                if e.raw_os_error() == Some(Errno::INVAL.raw_os_error())
                    && self.direct.swap(false, Ordering::Relaxed) =>
            {
                self.set_direct(false).map_err(|e| refused(e.into()))?;
                self.file.write_all_at(data, offset).map_err(refused)
            }
            Err(e) => Err(refused(e)),
        }
    }

    fn set_direct(&self, direct: bool) -> Result<(), Errno> {
        let flags = rustix::fs::fcntl_getfl(&self.file)?;
        let flags = if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
        rustix::fs::fcntl_setfl(&self.file, flags)?;
        self.direct.store(direct, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the file `length` bytes long.
    pub(crate) fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_len(length).map_err(|e| io_at("set the length of", &self.name, length, e))
    }

    /// Waits until all that was written is durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| io_at("flush", &self.name, 0, e))
    }

    /// The file is whole: it stays when this is dropped.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    fn borrow(&self) -> AlignedBuf {
        let pooled = self.bounce.lock().unwrap_or_else(PoisonError::into_inner).pop();
        pooled.unwrap_or_else(|| AlignedBuf::new(BOUNCE))
    }

    fn give_back(&self, buf: AlignedBuf) {
        self.bounce.lock().unwrap_or_else(PoisonError::into_inner).push(buf);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed)
            && let Err(e) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(file = self.name, error = %e, "an unfinished image could not be removed");
        }
    }
}
