//! What can go wrong with the catalog, each kind apart because a user answers each differently.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, with the catalog's file and what was being done. Messages are for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process kept the write lock for too long. Trying again may help.
    #[error("the catalog {place} is locked by another process (waited {} s)", waited.as_secs_f32())]
    Locked {
        /// The catalog.
        place: Arc<str>,
        /// How long was waited.
        waited: Duration,
    },
    /// It is no catalog, or it is damaged. The repositories hold everything to build it again: whoever shows
    /// this to a person says how (move it aside, `sendense-ctl repo scan`).
    #[error("the catalog {place} is damaged: {reason}")]
    Corrupt {
        /// The catalog.
        place: Arc<str>,
        /// What was found.
        reason: String,
    },
    /// It can be read but not changed, or can't be created.
    #[error("the catalog {place} can't be written: {reason}")]
    NotWritable {
        /// The catalog.
        place: Arc<str>,
        /// Why.
        reason: String,
    },
    /// A newer program has changed its tables.
    #[error(
        "the catalog {place} has schema version {found}, this program knows versions up to {known}: use the newer sendense-ctl"
    )]
    Newer {
        /// The catalog.
        place: Arc<str>,
        /// Its version.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Its file was removed or replaced while this process had it open: what would be written is lost.
    #[error(
        "the catalog {place} was removed or replaced while it was in use: run the command again, and `sendense-ctl repo scan` if backups are missing"
    )]
    Replaced {
        /// The catalog.
        place: Arc<str>,
    },
    /// The file system of the catalog is full.
    #[error("no space is left for the catalog {place}")]
    NoSpace {
        /// The catalog.
        place: Arc<str>,
    },
    /// The operating system refused an operation.
    #[error("{operation} the catalog {place}: {source}")]
    Io {
        /// The catalog.
        place: Arc<str>,
        /// `open`, `create`, `read or write` …
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The server can't be reached, or was lost while it was being asked. Trying again may help.
    #[error("the catalog {place} can't be reached: {reason}{}", tried(*waited))]
    Unreachable {
        /// The catalog.
        place: Arc<str>,
        /// Why.
        reason: String,
        /// For how long that was tried.
        waited: Duration,
    },
    /// The server does not let this user in, or does not let it do something.
    #[error("the catalog {place} refuses this user: {reason}")]
    Denied {
        /// The catalog.
        place: Arc<str>,
        /// What it said.
        reason: String,
    },
    /// A transaction of another process needed the same rows in another order; this one is to try again, which
    /// happens by itself.
    #[error("the catalog {place} gave way to another process: {reason}")]
    Deadlock {
        /// The catalog.
        place: Arc<str>,
        /// What it said.
        reason: String,
    },
    /// A row of that key exists, where none was to be.
    #[error("the catalog {place} has a row of that key: {reason}")]
    Duplicate {
        /// The catalog.
        place: Arc<str>,
        /// What it said.
        reason: String,
    },
    /// The database refused a statement for another reason.
    #[error("the catalog {place} refused an operation: {reason}")]
    Refused {
        /// The catalog.
        place: Arc<str>,
        /// What it said.
        reason: String,
    },
    /// A copy into another catalog was not made.
    #[error("the catalog {place}: {reason}")]
    Copy {
        /// The catalog that keeps it from being made.
        place: Arc<str>,
        /// Why, and what to do.
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
    /// Nobody else is an administrator.
    #[error("{name} is the last administrator")]
    LastAdmin {
        /// Who.
        name: String,
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

impl Error {
    /// True where the same may succeed a moment later, without anybody doing anything.
    pub fn is_passing(&self) -> bool {
        matches!(self, Error::Locked { .. } | Error::Unreachable { .. } | Error::Deadlock { .. })
    }
}

fn tried(waited: Duration) -> String {
    match waited.as_secs() {
        0 => String::new(),
        seconds => format!(" (tried for {seconds} s)"),
    }
}
