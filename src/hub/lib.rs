//! The engine: it decides, coordinates and remembers; the bytes move in the crates below it.
//!
//! A [`Hub`] is a handle on one state folder: the catalog and the repositories it names. It is embedded in
//! every process that works on that folder, and any number of them do so at once; they meet only in the
//! catalog and in the repositories. Handles are cheap clones, all methods may be called from many tasks, and
//! what blocks (copies, checks, scans) runs on threads of its own.
//!
//! # Order of truth
//! A restore point is its files; the catalog is an index over them that can be rebuilt (`scan`). So
//! everything that changes points does the files first, in one transaction of the repository, and the rows
//! second. At any moment a process may be killed; what that leaves, and what the next process makes of it:
//!
//! | killed | left behind | recovery |
//! | --- | --- | --- |
//! | before a job's row exists | a lease | the lease is broken by whoever wants it |
//! | while a point is written | `.partial` files, lease, row that is not final | files removed, row failed |
//! | after the transaction's record is durable | its record in `.sendense`, row not final | the transaction is completed, the row rolled forward from the sidecar |
//! | after the transaction, before the row | row not final, complete files | the row is rolled forward from the sidecar |
//! | while a merge or a deletion was prepared | points marked as going, `.partial` files | marks lifted, files removed |
//! | after a merge's or deletion's transaction | rows of points whose files are gone | transaction completed; rows removed, the children's rows read from their sidecars |
//! | while a point was mounted | the mount, its folder, its row, its lease | unmounted, removed, the lease broken |
//! | while a restore ran | the target's own partial file, row not final | the file removed, row failed |
//!
//! Recovery runs when a hub is opened (one query when there is nothing to do), for one VM when a job takes that VM's
//! lease, and while a hub stays, for jobs of which nothing is heard (`stale`).
//!
//! Several hubs, on several machines, may share one catalog on a server and the repositories it names; each is a
//! process like any other here. A job belongs to the process that accepted it, which holds its lease from
//! before its row exists; so nobody else runs it, and whoever finds its row without a living lease puts
//! right what it left.
//!
//! # Who may do what at once
//! `vm:{context}` is held exclusively by what changes a VM's points: backup, delete, merge. `point:{id}` is
//! shared by what reads a point: restore, verify, a restore session. A point is only taken away while nobody holds its lease;
//! points below it may be merged while it is read, because a reader opens all its files at the start and
//! checks afterwards that none of the rows was changed meanwhile.
//!
//! # Not here
//! File formats (`qcow2`), protocols (`nbd`), the copy itself (`block`), how files become points
//! (`repository`), rows (`catalog`), the wire (`api`, `server`), anything a person sees.

mod access;
mod backup;
mod blocking;
mod browse;
mod catalog_copy;
mod chains;
mod checked;
mod compare;
mod config;
mod consolidate;
mod control;
mod delete;
mod doctor;
mod error;
mod export;
mod failure;
mod files;
#[cfg(test)]
mod fixture;
mod image;
mod jobs;
mod labels;
mod leases;
mod merge;
mod meter;
mod mounts;
mod points;
mod push;
mod query;
mod readers;
mod recovery;
mod repositories;
mod resolve;
mod restore;
mod sample;
mod scan;
mod search;
mod stale;
mod streams;
mod telemetry;
mod verify;
mod vms;
mod watch;

pub use access::{Deed, LoginRules, OK};
pub use browse::{ArchiveOrder, OpenFile, Outlet, Page, PreparedArchive, PreparedContents, Session};
pub use catalog::{Location as CatalogLocation, LocationError};
pub use catalog_copy::{CopiedTable, copy_catalog};
pub use config::{HubConfig, Notice, PushConfig, Silence};
pub use error::{CatalogFault, Error, Holder, Missing, Result};
pub use mounts::MAX_SESSIONS;
pub use push::PushTarget;
pub use repositories::RepositoryStatus;
pub use streams::Lines;
pub use watch::Events;

use catalog::Catalog;
use jobs::Registry;
use leases::LeaseKeeper;
use std::sync::Arc;

/// The VMs that exist for a caller; all where `None`.
pub type Only<'a> = Option<&'a [model::VmName]>;

/// A handle on the engine. Clones are the same engine.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    config: HubConfig,
    catalog: Catalog,
    registry: Registry,
    leases: LeaseKeeper,
    mounts: mounts::Registry,
    readers: readers::Readers,
    access: access::Access,
    sessions: push::Sessions,
    /// Opened to look in passing: nothing is written, leases neither.
    passing: bool,
}

impl Hub {
    /// Opens the engine on a state folder, which is made where it is missing, and puts right what killed
    /// processes have left.
    ///
    /// # Errors
    /// Where the folder or the catalog can't be used. That a repository can't be reached is no error here.
    pub async fn open(config: HubConfig) -> Result<Hub> {
        files::allow_many();
        make_private(&config.state_dir)?;
        let catalog = Catalog::open_at(&config.catalog_location()).await?;
        let leases = LeaseKeeper::new(catalog.clone());
        let mounts = mounts::Registry::new(catalog.clone());
        let access = access::Access::new(config.logins);
        let hub = Hub {
            inner: Arc::new(Inner {
                config,
                catalog,
                registry: Registry::default(),
                leases,
                mounts,
                readers: readers::Readers::default(),
                access,
                sessions: push::Sessions::default(),
                passing: false,
            }),
        };
        if hub.catalog().is_writable() {
            hub.recover().await?;
            hub.watch_over();
        }
        Ok(hub)
    }

    /// Opens the engine to ask it something in passing, as a shell's completion does: nothing is made, and
    /// nothing is put right.
    ///
    /// # Errors
    /// Where there is no catalog yet, or it can't be used.
    pub async fn look(config: HubConfig) -> Result<Hub> {
        let location = config.catalog_location();
        if let Some(path) = location.file()
            && !path.is_file()
        {
            let reason = format!("there is no catalog at {}", path.display());
            return Err(Error::Catalog { reason, fault: CatalogFault::Other });
        }
        let catalog = Catalog::open_at(&location).await?;
        let leases = LeaseKeeper::new(catalog.clone());
        let mounts = mounts::Registry::new(catalog.clone());
        let access = access::Access::new(config.logins);
        Ok(Hub {
            inner: Arc::new(Inner {
                config,
                catalog,
                registry: Registry::default(),
                leases,
                mounts,
                readers: readers::Readers::default(),
                access,
                sessions: push::Sessions::default(),
                passing: true,
            }),
        })
    }

    /// Cancels what this process runs and waits until it is cleaned up. Jobs of other processes go on.
    /// Afterwards the handle can still answer questions.
    pub async fn shutdown(&self) {
        self.inner.registry.stop_all();
        self.inner.readers.stop_all();
        self.inner.registry.all_ended().await;
        self.inner.readers.all_ended().await;
        self.close_mounts().await;
    }

    /// How many jobs this process runs.
    pub fn running_jobs(&self) -> usize {
        self.inner.registry.count()
    }

    /// Waits until this process runs no job.
    pub async fn idle(&self) {
        self.inner.registry.all_ended().await;
    }

    /// The state folder and what goes with it.
    pub fn config(&self) -> &HubConfig {
        &self.inner.config
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }
}

/// Makes the state folder, for its owner only: backups hold whole disks.
///
/// # Errors
/// Where it can't be made.
pub fn make_private(folder: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| Error::Catalog {
        reason: format!("the state folder {} can't be made: {error}", folder.display()),
        fault: match error.kind() {
            std::io::ErrorKind::PermissionDenied => CatalogFault::Denied,
            _ => CatalogFault::Other,
        },
    })
}
