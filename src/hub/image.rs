//! Writing one disk's file of a point: image and manifest together, as partial files.
//!
//! A backup and a merge end in the same pair of files, made the same way: a copy fills the QCOW2 writer and
//! the manifest writer at once, then both are made durable. What comes out is a [`Stored`] pair that still
//! carries `.partial` names; the transaction of the whole point gives them their final ones. A pair that is
//! dropped before it was [published](Stored::keep) removes its files, so a failure anywhere in a point of
//! many disks leaves nothing of the others.
//!
//! Not here: what is copied and why (`backup`, `merge`), sidecars, transactions.

use crate::control::Control;
use block::{BlockSink, BlockSource, CopyError, CopyOptions, Counters, Granule, Ledger, Limiter, Mode, Side};
use model::Compression;
use qcow2::{Backing, BackingFormat, Create, Writer};
use repository::{ChainBaseline, DiskFiles, LocalRepository, ManifestWriter};
use std::path::PathBuf;

/// Backups run every night in a window: 1 takes two thirds of the time of 3 and gives files a few percent larger.
const ZSTD_LEVEL: i32 = 1;
/// The usual middle.
const ZLIB_LEVEL: u32 = 6;

/// What to write.
pub(crate) struct Plan<'a> {
    /// Where.
    pub repository: &'a LocalRepository,
    /// The files' final names.
    pub files: &'a DiskFiles,
    /// Virtual size in bytes.
    pub size: u64,
    /// The file name of the parent's image, in the same folder.
    pub backing: Option<String>,
    /// How clusters are stored.
    pub compression: Compression,
    /// What of the source is stored.
    pub what: What,
    /// What must come out where something is known; anything else is damage of the source.
    pub expected: Option<ChainBaseline>,
    /// Where the copy counts.
    pub counters: &'a Counters,
    /// Slows it down.
    pub limiter: Option<&'a Limiter>,
    /// What messages call the disk.
    pub name: &'a str,
}

/// What of a source is stored.
pub(crate) enum What {
    /// All data; a full.
    All,
    /// What differs from the parent, whose content this is.
    Changes(ChainBaseline),
    /// All data and all that is said to be zeros, holes left alone: a slice of a chain over its parent.
    Slice,
}

/// A written pair, durable under its partial names.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Length of the image in bytes.
    pub image_bytes: u64,
    /// Data bytes it stores, before compression.
    pub stored_bytes: u64,
    /// Hex name of the manifest.
    pub blake3: String,
    partials: Vec<PathBuf>,
}

impl Stored {
    /// A pair of which the manifest is there.
    pub(crate) fn beginning(blake3: String, stored_bytes: u64, manifest: PathBuf) -> Self {
        Stored { image_bytes: 0, stored_bytes, blake3, partials: vec![manifest] }
    }

    /// The image is there, too.
    pub(crate) fn with_image(&mut self, image_bytes: u64, image: PathBuf) {
        self.image_bytes = image_bytes;
        self.partials.push(image);
    }

    /// The files now belong to a committed transaction.
    pub(crate) fn keep(mut self) {
        self.partials.clear();
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        for path in &self.partials {
            // Best effort: what stays is removed by the next run on this VM.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The image of a disk of `size` bytes.
pub(crate) fn creation(size: u64, backing: Option<String>, compression: Compression) -> Create {
    Create {
        backing: backing.map(|file_name| Backing { file_name, format: BackingFormat::Qcow2 }),
        compression: match compression {
            Compression::None => qcow2::Compression::None,
            Compression::Zstd => qcow2::Compression::Zstd { level: ZSTD_LEVEL },
            Compression::Zlib => qcow2::Compression::Zlib { level: ZLIB_LEVEL },
        },
        ..Create::new(size)
    }
}

/// Copies `source` into a new pair of partial files.
///
/// # Errors
/// By side; nothing is left then.
pub(crate) fn write(
    plan: Plan<'_>,
    source: &dyn BlockSource,
    control: &Control,
) -> Result<Stored, CopyError> {
    let Plan { repository, files, size, backing, compression, what, expected, counters, limiter, name } =
        plan;
    let sink_failed = |error| CopyError { side: Side::Sink, error };
    let image = repository.absolute(&files.image.partial());
    let create = creation(size, backing, compression);
    let writer = Writer::create(&image, &create).map_err(sink_failed)?;
    let mut manifest = Checked {
        writer: repository
            .create_manifest(&files.manifest, size)
            .map_err(|error| CopyError { side: Side::Ledger, error: as_block(error) })?,
        expected,
        full: create.backing.is_none(),
        name,
        seen: Vec::new(),
    };
    let summary = {
        let mut baseline;
        let mode = match what {
            What::All => Mode::Store { keep_zeros: false },
            What::Slice => Mode::Store { keep_zeros: true },
            What::Changes(before) => {
                baseline = before;
                Mode::Changes { baseline: &mut baseline }
            }
        };
        let mut options = CopyOptions::new(name, mode, counters, control.token());
        options.ledger = Some(&mut manifest);
        options.limiter = limiter;
        if compression.is_on() {
            options.threads = std::thread::available_parallelism().ok().map(usize::from);
        }
        block::copy(source, &writer as &dyn BlockSink, options)?
    };
    let summary_of_hashes =
        manifest.writer.finish().map_err(|error| CopyError { side: Side::Ledger, error: as_block(error) })?;
    // From here on the manifest's file stands by itself.
    let manifest = repository.absolute(&files.manifest.partial());
    let mut stored = Stored::beginning(summary_of_hashes.blake3, summary.stored, manifest);
    stored.with_image(writer.finish_at().map_err(sink_failed)?, image);
    Ok(stored)
}

/// A repository's error in the block layer's words, so that one table decides what it means.
pub(crate) fn as_block(error: repository::Error) -> block::Error {
    match error {
        repository::Error::Io { operation, path, source } => {
            block::Error::Open { operation, name: path, source }
        }
        repository::Error::Damaged { path, reason } => block::Error::Corrupt { name: path, reason },
        other => block::Error::Unsupported { name: "the repository".into(), reason: other.to_string() },
    }
}

/// Passes on what a copy stored, having compared it with what is expected.
struct Checked<'a> {
    writer: ManifestWriter,
    expected: Option<ChainBaseline>,
    full: bool,
    name: &'a str,
    seen: Vec<Granule>,
}

impl Ledger for Checked<'_> {
    fn record(&mut self, first: u64, granules: &[Granule]) -> block::Result<()> {
        if let Some(expected) = &mut self.expected {
            self.seen.clear();
            self.seen.resize(granules.len(), Granule::Unknown);
            block::Baseline::next(expected, first, &mut self.seen)?;
            for (at, (wanted, found)) in self.seen.iter().zip(granules).enumerate() {
                // A full stores no zeros, so there nothing stands for zeros.
                let same = wanted == found
                    || *wanted == Granule::Unknown
                    || (self.full && *wanted == Granule::Zero && *found == Granule::Unknown);
                if !same {
                    let offset = (first + at as u64).saturating_mul(block::GRANULE);
                    return Err(block::Error::Mismatch { name: self.name.to_owned(), offset });
                }
            }
        }
        self.writer.record(first, granules)
    }
}
