//! QCOW2: images written in one stream, chains read from many threads, files checked.
//!
//! Four things, and nothing of it is QEMU's:
//! - [`Writer`]: a new image of known size, written once, in any order, from several threads, plain or
//!   compressed. Not for images that exist.
//! - [`Draft`]: the same, where clusters may be written again, taken back and read until it is finished.
//! - [`Chain`]: an image with all it is backed by, read-only. Whole ([`Chain`] itself), layer by layer
//!   ([`Chain::slice`]), or as a map ([`Chain::map`]).
//! - [`check`]: whether one file's structures hold together.
//!
//! One file a concept: `entry` and `header` are the format's words, `image` is where one file has its
//! clusters, `walk` and `read` go through a chain; `layout`, `tables`, `refcounts`, `packer` and `output` are
//! the writers'. Everything read from a file is taken as hostile: it is checked before it is used, sizes no
//! allocation beyond a fixed bound, and costs an error, never a panic or an endless loop.
//!
//! Source of the format: "Qcow2 Image File Format" in QEMU's documentation (docs/interop/qcow2.rst). Not
//! here: names and places of backups, hashes, guessing of formats, encryption, external data files, internal
//! snapshots (ignored), changing an image in place.

mod aligned;
mod cache;
mod chain;
mod check;
mod compress;
mod decode;
mod draft;
mod entries;
mod entry;
mod error;
mod features;
mod gate;
mod header;
mod image;
mod layout;
mod map;
mod output;
mod packer;
mod read;
mod refcounts;
mod region;
mod seal;
mod slice;
mod storage;
mod tables;
mod walk;
mod writer;

pub use chain::{Chain, LayerInfo, MAX_LAYERS};
pub use check::{Finding, Report, Severity, check, check_storage};
pub use compress::Compression;
pub use draft::{Content, Draft};
pub use gate::{Anywhere, Gate, Inside, Opened};
pub use header::{Backing, BackingFormat, CompressionType};
pub use image::Image;
pub use map::{MapEntry, MapKind};
pub use output::IoMode;
pub use slice::Slice;
pub use storage::{FileStorage, MemoryStorage, Storage};
pub use writer::{Create, Writer};
