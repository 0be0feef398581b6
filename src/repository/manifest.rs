//! Hash manifests (`.b3`): what one image of a chain stores, granule by granule.
//!
//! A manifest is a header, runs in ascending order, an end marker and the BLAKE3 of everything before it;
//! byte by byte in `docs/format.md`. A data run carries the hash of every granule, a zero run says that these
//! granules were stored as explicit zeros over a backing file, and what lies in no run is not in this image.
//!
//! Manifests are written and read as streams: neither the writer nor a reader holds more than a few hundred
//! KiB, whatever the disk's size. Who reads a disk here and there, and not from its beginning to its end, asks a
//! [`ChainLookup`]. Where a disk is written in any order, a [`HashSheet`] puts its hashes in order. They are not sampled or cached anywhere else.

mod chain;
mod cursor;
mod file;
mod format;
mod lookup;
mod sheet;
mod writer;

pub use chain::{Bottom, ChainBaseline};
pub use cursor::Runs;
pub use file::{Manifest, ManifestSummary};
pub use format::{Run, RunKind};
pub use lookup::ChainLookup;
pub use sheet::HashSheet;
pub use writer::ManifestWriter;
