//! The catalog: what the hub knows of VMs, repositories, restore points and jobs, and who works on what.
//!
//! The model: one SQL database that several processes use at once, a SQLite file or a database on MariaDB. Every call is one transaction that has
//! happened as a whole when it returns, or not at all, also when its future is dropped or its process
//! killed. Calls that change a record that others may change too ([`Catalog::modify_backup`]) read and write in
//! one transaction. The public API speaks the types of `model`; rows stay private. Restore points go in and
//! come out exactly, field by field, because `repo scan` and `verify` compare them with their sidecars.
//!
//! Files first, catalog second: all of it can be built again from the repositories, except what only lives
//! here: which VMs and repositories are registered, who may log in, jobs that are not backups, and the logs.
//!
//! Not here: whether a backup may be deleted (`model::ChainGraph`), what is done with the files
//! (`repository`), when a dead process's leases are broken (`hub`). The tables are described in
//! `docs/database.md`.

mod all_jobs;
mod audit;
mod backups;
mod chains;
mod copy;
mod counts;
mod engine;
mod error;
mod fields;
mod jobs;
mod latest;
mod leases;
mod location;
mod owner;
mod repositories;
mod resource;
mod restore_mounts;
mod schema;
mod statement;
mod tokens;
mod users;
mod vms;

pub use all_jobs::{AnyJob, JobFilter};
pub use audit::{AuditEntry, AuditFilter, LogEntry, LogLevel};
pub use backups::{
    BackupFilter, BackupState, DiskProgress, Existing, Heard, Imported, Marked, Progress, TagFilter,
};
pub use chains::ChainSummary;
pub use copy::TableContent;
pub use error::{Error, Result};
pub use jobs::{JobEnd, JobRecord};
pub use leases::{Acquired, Lease, LeaseHolder, LeaseMode, LeaseRequest};
pub use location::{Location, LocationError, Server};
pub use owner::{HEARTBEAT_LIMIT, Owner, OwnerState, owner_state};
pub use repositories::Usage;
pub use resource::{Resource, ResourceError};
pub use restore_mounts::{MountBeat, RestoreMount, StopWish};
pub use tokens::{Token, TokenFilter, TokenKind};
pub use users::{User, UserChange};

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The open catalog. Cheap to clone; all clones share the same few connections.
#[derive(Debug, Clone)]
pub struct Catalog {
    engine: Arc<engine::Engine>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows of this page.
    pub items: Vec<T>,
    /// How many match in all.
    pub total: u64,
}

/// What became of a request to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelRequest {
    /// Noted: the runner hears of it with its next report.
    Noted,
    /// The job has ended already, with this state.
    Ended(model::Status),
}

impl Catalog {
    /// Opens the catalog at `path`, makes it where it is missing (its folder must exist), and brings its
    /// tables up to date. Where the file or its folder can't be written the catalog is opened for reading only.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Newer`], [`Error::Locked`], [`Error::NotWritable`] (it can't be created),
    /// [`Error::NoSpace`], [`Error::Io`].
    pub async fn open(path: &Path) -> Result<Catalog> {
        Catalog::open_with(path, engine::BUSY_TIMEOUT).await
    }

    /// [`open`](Catalog::open), waiting no longer than `busy` for other processes' locks, here and in all
    /// later calls.
    ///
    /// # Errors
    /// As [`open`](Catalog::open).
    pub async fn open_with(path: &Path, busy: Duration) -> Result<Catalog> {
        Ok(Catalog { engine: Arc::new(engine::Engine::open(path, busy).await?) })
    }

    /// Opens the catalog where it is: in a file as by [`open`](Catalog::open), or in a database of a MariaDB
    /// server, which must exist; its tables are made and brought up to date.
    ///
    /// # Errors
    /// As [`open`](Catalog::open); of a server also [`Error::Unreachable`] (at once: it is not waited for),
    /// [`Error::Denied`], [`Error::Refused`] (it is too old, holds another program's tables, or its certificate
    /// proves nothing).
    pub async fn open_at(location: &Location) -> Result<Catalog> {
        match location {
            Location::File(path) => Catalog::open(path).await,
            Location::Server(server) => Catalog::connect(server, engine::SERVER_PATIENCE).await,
        }
    }

    /// Opens the catalog on a server, whose changes wait no longer than `patience` for it to come back.
    ///
    /// # Errors
    /// As [`open_at`](Catalog::open_at).
    pub async fn connect(server: &Server, patience: Duration) -> Result<Catalog> {
        Ok(Catalog { engine: Arc::new(engine::Engine::connect(&server.0, patience).await?) })
    }

    /// Where it is, for messages; without a password.
    pub fn place(&self) -> Arc<str> {
        self.engine.place()
    }

    /// The time by which leases are judged: the server's where there is one, so that hubs whose clocks differ
    /// don't take each other for dead.
    pub fn now(&self) -> jiff::Timestamp {
        let now = jiff::Timestamp::now();
        now.checked_add(self.engine.clock_ahead()).unwrap_or(now)
    }

    /// True where this process has just made it, empty: backups in the repositories wait to be scanned in.
    pub fn created(&self) -> bool {
        self.engine.created()
    }

    /// False where it was opened for reading only; every change then fails with [`Error::NotWritable`].
    pub fn is_writable(&self) -> bool {
        self.engine.is_writable()
    }

    /// What is wrong with the database itself, for a person; empty where it is sound. Reads all of it.
    ///
    /// # Errors
    /// Where it is too damaged to be asked, or can't be read.
    pub async fn check(&self) -> Result<Vec<String>> {
        self.engine.check().await
    }

    /// Closes the connections. Not needed for safety: what was returned for is kept anyway; but the last
    /// process that closes leaves one tidy file.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}
