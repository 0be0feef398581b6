//! What can go wrong with the catalog, each kind apart because a user answers each differently.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with the catalog's file and what was being done. Messages are for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process kept the write lock for too long. Trying again may help.
    #[error("the catalog {} is locked by another process (waited {} s)", path.display(), waited.as_secs_f32())]
    Locked {
        /// The catalog.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// It is no catalog, or it is damaged. The repositories hold everything to build it again: whoever shows
    /// this to a person says how (move it aside, `sendense-ctl repo scan`).
    #[error("the catalog {} is damaged: {reason}", path.display())]
    Corrupt {
        /// The catalog.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It can be read but not changed, or can't be created.
    #[error("the catalog {} can't be written: {reason}", path.display())]
    NotWritable {
        /// The catalog.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A newer program has changed its tables.
    #[error("the catalog {} has schema version {found}, this program knows versions up to {known}: use the newer sendense-ctl", path.display())]
    Newer {
        /// The catalog.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Its file was removed or replaced while this process had it open: what would be written is lost.
    #[error("the catalog {} was removed or replaced while it was in use: run the command again, and `sendense-ctl repo scan` if backups are missing", path.display())]
    Replaced {
        /// The catalog.
        path: PathBuf,
    },
    /// The file system of the catalog is full.
    #[error("no space is left for the catalog {}", path.display())]
    NoSpace {
        /// The catalog.
        path: PathBuf,
    },
    /// The operating system refused an operation.
    #[error("{operation} the catalog {}: {source}", path.display())]
    Io {
        /// The catalog.
        path: PathBuf,
        /// `open`, `create`, `read or write` …
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The database refused a statement for another reason.
    #[error("the catalog {} refused an operation: {reason}", path.display())]
    Refused {
        /// The catalog.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// There is no such row.
    #[error("there is no {what} {id}")]
    NotFound {
        /// `backup`, `VM`, `repository`, `job`.
        what: &'static str,
        /// The id or name.
        id: String,
    },
    /// A row of that id or name exists.
    #[error("the {what} {id} exists already")]
    AlreadyExists {
        /// `backup`, `VM`, `repository`, `job`.
        what: &'static str,
        /// The id or name.
        id: String,
    },
    /// It can't be removed while backups refer to it.
    #[error("the {what} {id} still has {backups} backup(s)")]
    InUse {
        /// `VM`, `repository`.
        what: &'static str,
        /// The id or name.
        id: String,
        /// How many.
        backups: u64,
    },
    /// A value that the tables can't hold exactly.
    #[error("{field}: {reason}")]
    Value {
        /// The column.
        field: &'static str,
        /// Why not.
        reason: String,
    },
    /// The lease under which something was to be done is no longer there: it was broken or taken over.
    #[error("the lease on {resource} was lost: this process was taken for dead")]
    LeaseLost {
        /// What it held.
        resource: String,
    },
}
