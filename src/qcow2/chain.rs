//! A disk as its files show it: the top image, what it is backed by, and so on to the base.
//!
//! The model: layer 0 is the top. A byte is found in the first layer that stores it (data, compressed, or an
//! explicit zero). A layer's view of anything deeper ends at its own end: where a layer in between is
//! shorter, what lies behind its end reads as zeros and never as the bytes of a deeper layer. Chains are
//! walked without recursion, so their depth costs no stack.
//!
//! Invariants: `read_at` fills every byte or fails; nothing is opened but through the [`Gate`]; a file is at
//! most once in a chain, and a chain is at most [`MAX_LAYERS`] deep. Memory: the L1 tables, one cache of
//! 16 MiB for all L2 tables, and per reading thread a few MiB for compressed clusters. All files are opened
//! by `open`: what happens to their names afterwards does not matter.
//!
//! What one file has stored is [`Image`]'s; only some of the layers are seen through a
//! [`Slice`](crate::Slice).

use crate::cache::TableCache;
use crate::error::{corrupt, unsupported, usage};
use crate::gate::Gate;
use crate::header::{Backing, BackingFormat, CompressionType};
use crate::image::{Image, Run, Stored};
use crate::map::{MapEntry, Maps};
use crate::read::Reading;
use crate::slice::Slice;
use crate::storage::{FileStorage, Storage};
use crate::walk::{Piece, walk};
use block::{BlockSource, ChangeId, Error, Extent, FullReadReason, Result};
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The deepest chain that is opened. Each layer holds a file open.
pub const MAX_LAYERS: usize = 1024;
/// All L1 tables of a chain together, in bytes. The largest single one that is allowed is 32 MiB.
const MAX_L1_BYTES: u64 = 256 << 20;

/// What is known of one layer of a chain.
#[derive(Debug, Clone)]
pub struct LayerInfo {
    /// Its file.
    pub path: PathBuf,
    /// How the file is read.
    pub format: BackingFormat,
    /// Its disk's size in bytes.
    pub virtual_size: u64,
    /// Its file's length in bytes.
    pub file_size: u64,
    /// The unit of allocation; `None` for raw.
    pub cluster_size: Option<u64>,
    /// How its compressed clusters are compressed; `None` for raw.
    pub compression: Option<CompressionType>,
    /// What it says it is backed by.
    pub backing: Option<Backing>,
    /// Not closed cleanly by a writer with lazy refcounts; readable all the same.
    pub dirty: bool,
    /// What makes its file the same as one that is open in another chain ([`Storage::identity`]).
    pub identity: Option<(u64, u64)>,
}

/// One layer, opened.
pub(crate) enum Layer {
    Qcow2(Image),
    Raw(Arc<dyn Storage>),
}

impl Layer {
    pub(crate) fn size(&self) -> u64 {
        match self {
            Layer::Qcow2(image) => image.virtual_size(),
            Layer::Raw(storage) => storage.size(),
        }
    }

    pub(crate) fn storage(&self) -> &dyn Storage {
        match self {
            Layer::Qcow2(image) => image.storage.as_ref(),
            Layer::Raw(storage) => storage.as_ref(),
        }
    }

    /// As [`Image::run`]; a raw layer looks for holes only where `holes` asks for it, because a read gets
    /// the zeros anyway.
    pub(crate) fn run(&self, tables: &TableCache, file: u32, range: Range<u64>, holes: bool) -> Result<Run> {
        match self {
            Layer::Qcow2(image) => image.run(tables, file, range),
            Layer::Raw(storage) => {
                let at = range.start;
                if !holes {
                    return Ok(Run { length: range.end - at, stored: Stored::Plain(at) });
                }
                let data = storage.next_data(at, range.end)?;
                Ok(if data.start > at {
                    Run { length: data.start - at, stored: Stored::Zeros }
                } else {
                    Run { length: data.end - at, stored: Stored::Plain(at) }
                })
            }
        }
    }
}

/// The opened layers and what they share.
pub(crate) struct Layers {
    pub(crate) layers: Vec<Layer>,
    pub(crate) tables: TableCache,
    pub(crate) name: String,
}

/// A QCOW2 image with everything it is backed by: a disk that can be read.
#[derive(Clone)]
pub struct Chain {
    pub(crate) inner: Arc<Layers>,
    infos: Arc<[LayerInfo]>,
}

impl Chain {
    /// Opens the image at `path` and, through `gate`, all that it is backed by.
    ///
    /// # Errors
    /// Where a file can't be opened, read or believed; where the chain is a loop or absurdly deep.
    pub fn open(path: &Path, gate: &dyn Gate) -> Result<Chain> {
        Chain::from_storage(Arc::new(FileStorage::open(path)?), path, gate)
    }

    /// As [`open`](Chain::open), with the top already opened; `path` is where names in it begin.
    ///
    /// # Errors
    /// As for `open`.
    pub fn from_storage(top: Arc<dyn Storage>, path: &Path, gate: &dyn Gate) -> Result<Chain> {
        Chain::assemble(top, path, Some(gate))
    }

    /// Only the image itself, whatever it is backed by: for looking at what this one file stores. Read through
    /// a [`slice`](Chain::slice), so that what it does not store is not taken for zeros.
    ///
    /// # Errors
    /// As for [`open`](Chain::open).
    pub fn alone(top: Arc<dyn Storage>, path: &Path) -> Result<Chain> {
        Chain::assemble(top, path, None)
    }

    fn assemble(top: Arc<dyn Storage>, path: &Path, gate: Option<&dyn Gate>) -> Result<Chain> {
        let name = top.name().to_owned();
        let mut layers = Vec::new();
        let mut infos = Vec::new();
        let mut l1_bytes = 0;
        let mut seen: HashSet<(u64, u64)> = HashSet::new();
        let mut next = Some((top, path.to_owned(), BackingFormat::Qcow2));
        while let Some((storage, path, format)) = next.take() {
            if layers.len() == MAX_LAYERS {
                return Err(corrupt(&name, format!("its chain is more than {MAX_LAYERS} files deep")));
            }
            if storage.identity().is_some_and(|id| !seen.insert(id)) {
                let reason = format!("its chain is a loop: {} is in it twice", path.display());
                return Err(corrupt(&name, reason));
            }
            let file_size = storage.size();
            let info = LayerInfo {
                path: path.clone(),
                format,
                virtual_size: file_size,
                file_size,
                cluster_size: None,
                compression: None,
                backing: None,
                dirty: false,
                identity: storage.identity(),
            };
            if format == BackingFormat::Raw {
                infos.push(info);
                layers.push(Layer::Raw(storage));
                break;
            }
            let image = Image::open(storage)?;
            l1_bytes += image.header.l1_needed() * 8;
            if l1_bytes > MAX_L1_BYTES {
                let reason = format!("the L1 tables of its chain take more than {MAX_L1_BYTES} bytes");
                return Err(unsupported(&name, reason));
            }
            infos.push(LayerInfo {
                virtual_size: image.virtual_size(),
                cluster_size: Some(image.cluster_size()),
                compression: Some(image.compression()),
                backing: image.backing().cloned(),
                dirty: image.is_dirty(),
                ..info
            });
            if let (Some(backing), Some(gate)) = (image.backing(), gate) {
                let opened = gate.open(&path, &backing.file_name)?;
                next = Some((opened.storage, opened.path, backing.format));
            }
            layers.push(Layer::Qcow2(image));
        }
        let inner = Arc::new(Layers { layers, tables: TableCache::default(), name });
        Ok(Chain { inner, infos: infos.into() })
    }

    /// The layers, the top first.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.infos
    }

    /// What lies in `range`, cut where the disk ends: neighbouring entries of one kind and place are one.
    /// The answer grows with the fragments in `range`; ask for parts of huge disks.
    ///
    /// # Errors
    /// Where a table can't be read or is damaged.
    pub fn map(&self, range: Range<u64>) -> Result<Vec<MapEntry>> {
        let range = range.start..range.end.min(self.size());
        let mut maps = Maps::default();
        walk(&self.inner, 0..self.inner.layers.len(), range, true, &mut |range, piece| {
            maps.add(range, piece);
            Ok(true)
        })?;
        Ok(maps.entries)
    }

    /// Only what the layers in `layers` store: [`Hole`](block::ExtentKind::Hole) is what none of them
    /// stores, [`Zero`](block::ExtentKind::Zero) what they say is zero. Size and name are those of the
    /// first of them.
    ///
    /// # Errors
    /// Where there are no such layers.
    pub fn slice(&self, layers: Range<usize>) -> Result<Slice> {
        if layers.is_empty() || layers.end > self.inner.layers.len() {
            let reason = format!("layers {layers:?} of a chain of {}", self.inner.layers.len());
            return Err(usage(&self.inner.name, reason));
        }
        Ok(Slice::new(Arc::clone(&self.inner), layers))
    }
}

impl BlockSource for Chain {
    fn size(&self) -> u64 {
        self.infos.first().map_or(0, |top| top.virtual_size)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read(0..self.inner.layers.len(), buf, offset)
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        self.inner.extents(0..self.inner.layers.len(), range, since)
    }

    fn parallelism(&self) -> usize {
        Layers::PARALLELISM
    }
}

impl Layers {
    /// Reads of files at once that help.
    pub(crate) const PARALLELISM: usize = 16;

    /// The size of the disk that `layers` show: that of the first.
    pub(crate) fn size_of(&self, layers: &Range<usize>) -> u64 {
        self.layers.get(layers.start).map_or(0, Layer::size)
    }

    /// Fills `buf` with what `layers` store from `offset` on; zeros where they store nothing.
    pub(crate) fn read(&self, layers: Range<usize>, buf: &mut [u8], offset: u64) -> Result<()> {
        let range = self.checked(&layers, offset, buf.len() as u64)?;
        let mut reading = Reading::new(self, buf, offset);
        walk(self, layers, range, false, &mut |range, piece| reading.piece(range, piece).map(|()| true))?;
        reading.finish()
    }

    /// The extents of what `layers` store. An answer may end early, so that no call takes long or much
    /// memory.
    pub(crate) fn extents(
        &self,
        layers: Range<usize>,
        range: Range<u64>,
        since: Option<&ChangeId>,
    ) -> Result<Vec<Extent>> {
        const MOST: usize = 4096;
        const MOST_PIECES: usize = 1 << 18;
        if since.is_some() {
            return Err(Error::FullReadRequired(FullReadReason::NotTracked));
        }
        let length = range.end.saturating_sub(range.start);
        let range = self.checked(&layers, range.start, length)?;
        let mut found: Vec<Extent> = Vec::new();
        let mut pieces = 0;
        walk(self, layers, range, true, &mut |range, piece| {
            let extent = Extent::new(range, piece.extent_kind());
            match found.last_mut() {
                Some(last) if last.kind == extent.kind && last.end() == extent.offset => {
                    last.length += extent.length;
                }
                _ => found.push(extent),
            }
            pieces += 1;
            Ok(found.len() < MOST && pieces < MOST_PIECES)
        })?;
        Ok(found)
    }

    fn checked(&self, layers: &Range<usize>, offset: u64, length: u64) -> Result<Range<u64>> {
        let size = self.size_of(layers);
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(offset..end),
            _ => {
                let reason = format!("{length} bytes from {offset} are not inside the disk of {size} bytes");
                Err(usage(&self.name, reason))
            }
        }
    }
}

impl Piece {
    fn extent_kind(&self) -> block::ExtentKind {
        match self {
            Piece::Plain { .. } | Piece::Packed { .. } => block::ExtentKind::Data,
            Piece::Zeros { .. } => block::ExtentKind::Zero,
            Piece::Nothing => block::ExtentKind::Hole,
        }
    }
}
