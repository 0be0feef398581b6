//! Where backups are kept: the folders, names and files of a repository, and how they change without ever
//! being half changed.
//!
//! The model: a repository is a folder with a marker. Below it each VM has a folder, each of its disks one in
//! that, and each restore point three files there: image, sidecar and hash manifest ([`DiskFiles`]). The
//! files are the truth; a catalog is only an index of them and can be made anew by [`Scan`].
//!
//! Invariants: a file without `.partial` at its end is complete and durable. Completed points change only
//! through a [`Transaction`], which happens as a whole or not at all, whenever the process is killed or the
//! power is cut. No path, wherever it comes from, leads out of the root.
//!
//! What is *not* here: reading and writing images (`qcow2`), deciding what is written or deleted and who may
//! do it now (`hub`), rows (`catalog`).

mod ballast;
#[cfg(test)]
mod crash;
mod error;
mod gate;
mod journal;
mod local;
pub mod manifest;
mod marker;
mod path;
mod probe;
mod recovery;
mod scan;
pub mod sidecar;
mod transaction;

pub use error::{Error, Result};
pub use local::LocalRepository;
pub use manifest::{
    Bottom, ChainBaseline, ChainLookup, HashSheet, Manifest, ManifestSummary, ManifestWriter,
};
pub use marker::Identity;
pub use path::{DiskFiles, PARTIAL, RelPath};
pub use probe::{Check, probe};
pub use recovery::Recovery;
pub use scan::{Problem, ProblemKind, Scan, ScanItem};
pub use transaction::Transaction;
