//! The words of the product: ids, sizes, times, states, names and the rules of chains.
//!
//! Everything above agrees on these types; nothing here does I/O, knows a database row, a wire format
//! or a terminal. Records derive `serde` because one of them, [`Backup`], is written beside every restore
//! point as its sidecar; that form is the on-disk contract (`docs/format.md`).

mod address;
mod backup;
mod chain;
mod ids;
mod name;
mod places;
mod size;
mod source;
mod state;
mod vm;
mod word;

pub use address::{Address, AddressError, Pick};
pub use backup::{BACKUP_SCHEMA_VERSION, Backup, BackupDisk, Verification};
pub use chain::{ChainError, ChainGraph, ConsolidationPlan, MergePlan};
pub use ids::{BackupId, ContextId, DiskIndex, IdError, JobId, MAX_VM_NAME, RepositoryId, UserName, VmName};
pub use name::{PointName, Stamp, export_name};
pub use places::{Repository, RepositoryType, Space};
pub use size::{ByteSize, ByteSizeError};
pub use source::{ImageFormat, SourceUri, SourceUriError};
pub use state::{
    BackupType, Compression, JobType, MountKind, OnTrackingLoss, Phase, RequestedType, Role, Status,
    UnknownWord,
};
pub use vm::{Vm, VmDisk};
pub use word::shell_word;
