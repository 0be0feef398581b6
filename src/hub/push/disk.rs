//! A disk that a client writes: what the NBD server sees of it.
//!
//! It takes requests until it is closed, by being finished or given up; from then on they are refused, whoever is still
//! connected, and its files are either durable under their partial names or gone. A flush promises nothing more than
//! that what was sent is taken: a point is durable when its backup is completed, and not there before.

use super::core::{Below, Core, write_manifest};
use super::life::Life;
use super::parts::Parts;
use super::ranges::Ranges;
use super::touched::Touched;
use crate::checked::CheckedDisk;
use crate::image::{self, Stored, as_block};
use crate::points::{OpenDisk, OpenRepository};
use block::{
    BlockSource, CancelToken, ChangeId, Counters, Error, Extent, FullReadReason, GRANULE, Limiter, Result,
};
use model::Compression;
use nbd::server::DiskWriter;
use qcow2::Draft;
use repository::{Bottom, ChainLookup, DiskFiles};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What a disk is made from.
pub(crate) struct Making<'a> {
    pub repository: &'a OpenRepository,
    pub files: &'a DiskFiles,
    pub name: String,
    /// Virtual size in bytes.
    pub size: u64,
    pub compression: Compression,
    /// The point below, and the name of its image in the same folder.
    pub parent: Option<(OpenDisk, String)>,
    pub counters: Arc<Counters>,
    pub limiter: Option<Arc<Limiter>>,
    pub cancel: CancelToken,
    pub life: Arc<Life>,
}

/// A disk in work.
pub(crate) struct PushDisk {
    name: String,
    size: u64,
    /// `None` once it is closed.
    core: RwLock<Option<Core>>,
    limiter: Option<Arc<Limiter>>,
    cancel: CancelToken,
    life: Arc<Life>,
    /// The first failure to store something: it can't become a point any more.
    failed: Mutex<Option<Error>>,
}

impl PushDisk {
    /// Makes its partial image. Blocks.
    ///
    /// # Errors
    /// Where it can't be made.
    pub(crate) fn make(making: Making<'_>) -> Result<PushDisk> {
        let Making { repository, files, name, size, compression, parent, counters, limiter, cancel, life } =
            making;
        let (below, backing) = match parent {
            Some((open, backing)) => {
                let hashes = ChainLookup::new(open.manifests.clone(), Bottom::Full, size);
                let disk = CheckedDisk::new(open, format!("the parent of {name}"));
                (Some(Below { disk, hashes }), Some(backing))
            }
            None => (None, None),
        };
        let folder = &repository.folder;
        let sheet = folder.create_hash_sheet(&files.manifest).map_err(as_block)?;
        let create = image::creation(size, backing, compression);
        let draft = Draft::create(&folder.absolute(&files.image.partial()), &create)?;
        let touched = Touched::new(draft.clusters());
        let (parts, ranges) = (Parts::default(), Ranges::default());
        let core = Core { draft, sheet, below, parts, ranges, touched, counters };
        let (core, failed) = (RwLock::new(Some(core)), Mutex::new(None));
        Ok(PushDisk { name, size, core, limiter, cancel, life, failed })
    }

    /// Why it can't become a point any more, if something went wrong; told once.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes no more requests, and makes its files durable. Blocks.
    ///
    /// # Errors
    /// Where that failed, or it was closed before; nothing of it is left then.
    pub(crate) fn finish(&self, repository: &OpenRepository, files: &DiskFiles) -> Result<Stored> {
        let core = self.core.write().unwrap_or_else(PoisonError::into_inner).take();
        let core = core.ok_or(Error::Cancelled)?;
        core.flush()?;
        let folder = &repository.folder;
        let manifest = folder.create_manifest(&files.manifest, self.size).map_err(as_block)?;
        let blake3 = write_manifest(&core, manifest)?;
        let stored_bytes = (core.draft.stored() * GRANULE).min(self.size);
        let mut stored = Stored::beginning(blake3, stored_bytes, folder.absolute(&files.manifest.partial()));
        stored.with_image(core.draft.finish_at()?, folder.absolute(&files.image.partial()));
        Ok(stored)
    }

    /// Takes no more requests, and removes its files.
    pub(crate) fn give_up(&self) {
        self.core.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn with<T>(&self, work: impl FnOnce(&Core) -> Result<T>) -> Result<T> {
        self.life.heard();
        let core = self.core.read().unwrap_or_else(PoisonError::into_inner);
        work(core.as_ref().ok_or(Error::Cancelled)?)
    }

    /// Does something that changes the disk: where that fails, it can't become a point.
    fn change(&self, work: impl FnOnce(&Core) -> Result<()>) -> Result<()> {
        let done = self.with(work);
        if let Err(error) = &done
            && !matches!(error, Error::Cancelled | Error::Usage { .. })
        {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert_with(|| again(error));
        }
        done
    }

    /// Waits as long as the limit wants it, a second's worth at a time: whoever is made to wait is not silent.
    fn wait_for_turn(&self, bytes: u64) -> Result<()> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let mut left = bytes;
        while left > 0 {
            let now = left.min(limiter.rate().get());
            self.life.heard();
            limiter.take(now, &self.cancel)?;
            left -= now;
        }
        Ok(())
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
}

/// The same error once more: one goes to the client, one to the record.
fn again(error: &Error) -> Error {
    let io = |source: &std::io::Error| match source.raw_os_error() {
        Some(number) => std::io::Error::from_raw_os_error(number),
        None => std::io::Error::new(source.kind(), source.to_string()),
    };
    match error {
        Error::Io { operation, name, offset, source } => {
            Error::Io { operation, name: name.clone(), offset: *offset, source: io(source) }
        }
        Error::Mismatch { name, offset } => Error::Mismatch { name: name.clone(), offset: *offset },
        Error::Corrupt { name, reason } => Error::Corrupt { name: name.clone(), reason: reason.clone() },
        other => Error::Unsupported { name: "the disk".into(), reason: other.to_string() },
    }
}

impl BlockSource for PushDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.check(offset, buf.len() as u64)?;
        self.with(|core| core.read(buf, offset))
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        if since.is_some() {
            return Err(Error::FullReadRequired(FullReadReason::NotTracked));
        }
        let range = self.check(range.start, range.end.saturating_sub(range.start))?;
        if range.is_empty() {
            return Err(Error::Usage { name: self.name.clone(), reason: "an empty range".into() });
        }
        self.with(|core| core.extents(range))
    }

    fn parallelism(&self) -> usize {
        4
    }
}

impl DiskWriter for PushDisk {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let range = self.check(offset, data.len() as u64)?;
        if range.is_empty() {
            return Ok(());
        }
        self.wait_for_turn(data.len() as u64)?;
        self.change(|core| core.write(data, range))
    }

    fn zero(&self, range: Range<u64>, _allocate: bool) -> Result<()> {
        // Room that is kept for later writes would be room of a backup that stores zeros.
        let range = self.check(range.start, range.end.saturating_sub(range.start))?;
        self.change(|core| core.clear(range, true))
    }

    fn trim(&self, range: Range<u64>) -> Result<()> {
        let range = self.check(range.start, range.end.saturating_sub(range.start))?;
        self.change(|core| core.clear(range, false))
    }

    fn flush(&self) -> Result<()> {
        self.change(Core::flush)
    }

    fn zeroes_fast(&self) -> bool {
        true
    }
}
