//! What keeps restore points open for longer than one command: sessions, mounts, exports.
//!
//! Each is a [`Lasting`] thing in the [`Registry`] of the process that serves it, which closes it when nobody has used it for its
//! idle time, and a row in the catalog, by which other processes see it, ask it to end, and clean up after it where its
//! process is gone. A row is there before there is anything to clean up. Sessions are told apart: one that lives for less
//! than [`registry::ANNOUNCE_AFTER`], as those of a single command do, never has a row, and costs no writing.
//!
//! A lease on each point that is open keeps it from being deleted or merged away; its job is the id of what holds it, by
//! which [`Hub::refused_by`] can say what that is.
//!
//! Not here: the files of a session (`browse`), FUSE (`mount`), NBD (`nbd`).

mod folder;
mod forest;
mod kernel;
mod lasting;
mod place;
mod recovery;
mod registry;
mod remote;

pub(crate) use lasting::{Closing, Ended, Lasting, Times, Wait};
pub(crate) use recovery::Leftovers;
pub(crate) use registry::{Registry, bare_view};

use crate::leases::locked;
use crate::{Error, Hub, Missing, Only, Result};
use api::{CleanupStatus, MAX_CLIENT_SECONDS, Mount, MountBackup, Resources, UnmountQuery};
use catalog::{LeaseHolder, OwnerState, RestoreMount};
use jiff::Timestamp;
use model::{BackupId, MountKind};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// How many a process has open at once: each holds files open and memory.
pub const MAX_SESSIONS: usize = 64;

/// How long to wait for a sign of a client.
pub(crate) fn patience(seconds: Option<u64>) -> Result<Option<Duration>> {
    if seconds.is_some_and(|seconds| !(1..=MAX_CLIENT_SECONDS).contains(&seconds)) {
        return Err(Error::invalid(
            "client_timeout_seconds",
            format!("it is 1 to {MAX_CLIENT_SECONDS} seconds"),
        ));
    }
    Ok(seconds.map(Duration::from_secs))
}

impl Hub {
    /// Opens a point for looking at its files, over the API or, with `path`, as a folder.
    ///
    /// # Errors
    /// No such point or disk; too many sessions; damage that hides all of it; what is wrong with the folder.
    pub async fn mount(&self, request: MountBackup) -> Result<Mount> {
        if request.idle_timeout_seconds == Some(0) {
            return Err(Error::invalid("idle_timeout_seconds", "the shortest time is 1 second"));
        }
        let patience = patience(request.client_timeout_seconds)?;
        let mount = self.open_mount(request).await?;
        self.inner.mounts.expect_client(&mount.mount_id, patience);
        Ok(mount)
    }

    async fn open_mount(&self, request: MountBackup) -> Result<Mount> {
        self.inner.mounts.check_room()?;
        let id = format!("mount-{}", uuid::Uuid::new_v4());
        match (&request.backup_id, &request.vm_name, &request.path) {
            (Some(_), Some(_), _) => {
                Err(Error::invalid("vm_name", "either a backup, or all points of a VM, not both"))
            }
            (None, None, _) => {
                Err(Error::invalid("backup_id", "name a backup, or a VM for all of its points"))
            }
            (None, Some(_), None) => {
                Err(Error::invalid("path", "all points of a VM are shown in a folder: name it"))
            }
            (None, Some(_), Some(_)) if request.kernel => {
                Err(Error::invalid("kernel", "the kernel mounts one point, not all of a VM"))
            }
            (None, Some(vm), Some(path)) => {
                let (vm, path) = (vm.clone(), path.clone());
                self.mount_all(id, &vm, &path, request).await
            }
            (Some(_), None, Some(path)) => {
                let path = path.clone();
                if request.kernel {
                    self.mount_by_kernel(id, &path, request).await
                } else {
                    self.mount_folder(id, &path, request).await
                }
            }
            (Some(_), None, None) if request.kernel || request.allow_other => {
                Err(Error::invalid("path", "there is nothing to mount without a path"))
            }
            (Some(backup), None, None) => {
                let record = self.point(backup).await?;
                let session = self.open_session(id, &record, &request, "restore session").await?;
                self.inner.mounts.add(std::sync::Arc::new(session))
            }
        }
    }

    async fn mounts_among(&self, only: Only<'_>) -> Result<Vec<Mount>> {
        let mut mounts = self.mounts().await?;
        mounts.retain(|mount| only.is_none_or(|names| names.contains(&mount.vm_name)));
        Ok(mounts)
    }

    /// What is open in all processes of this state folder, oldest first.
    ///
    /// # Errors
    /// Where the catalog can't be read.
    pub async fn mounts(&self) -> Result<Vec<Mount>> {
        let mut mounts: Vec<Mount> = self.inner.mounts.all().iter().map(|lasting| lasting.view()).collect();
        let own: BTreeSet<String> = mounts.iter().map(|mount| mount.mount_id.clone()).collect();
        let now = Timestamp::now();
        let rows = self.catalog().restore_mounts().await?;
        mounts.extend(rows.iter().filter(|row| !own.contains(&row.id)).map(|row| remote::view(row, now)));
        mounts.sort_by(|a, b| (a.created_at, &a.mount_id).cmp(&(b.created_at, &b.mount_id)));
        Ok(mounts)
    }

    /// The one of that id (or of a unique beginning of one) or path, of any process. It does not count as used.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn mounted(&self, id: &str) -> Result<Mount> {
        if let Some(found) = self.inner.mounts.find(id) {
            return Ok(found.view());
        }
        Ok(remote::view(&self.row(id).await?, Timestamp::now()))
    }

    /// The row of that id, or of a unique beginning of one, or of that path.
    async fn row(&self, id: &str) -> Result<RestoreMount> {
        let rows = self.catalog().restore_mounts().await?;
        let position = registry::only(rows.iter().map(|row| (row.id.as_str(), row.path.as_deref())), id);
        let found = position.and_then(|position| rows.into_iter().nth(position));
        found.ok_or_else(|| Error::missing(Missing::Mount, id))
    }

    /// Closes one, of whatever process, and returns when it is gone. Downloads that run come to their end.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InUse`] with who uses it.
    pub async fn unmount(&self, id: &str, how: UnmountQuery) -> Result<Mount> {
        let closing = match how {
            UnmountQuery { force: Some(true), .. } => Closing::Now,
            UnmountQuery { lazy: Some(true), .. } => Closing::Lazily,
            UnmountQuery { .. } => Closing::IfUnused,
        };
        if let Some(own) = self.inner.mounts.find(id) {
            self.inner.mounts.close(&own, closing).await?;
            return Ok(own.view());
        }
        let row = self.row(id).await?;
        self.unmount_other(row, closing).await
    }

    /// Ends everything of this process, used or not.
    pub(crate) async fn close_mounts(&self) {
        self.inner.mounts.close_all().await;
    }

    /// Why a point can't be taken away that `holder` reads: by name, where that is a mount.
    pub(crate) async fn refused_by(&self, id: &BackupId, holder: &LeaseHolder) -> Error {
        let rows = self.catalog().restore_mounts().await.unwrap_or_default();
        let row = rows.into_iter().find(|row| holder.job_id.as_ref() == Some(&row.id));
        let Some(row) = row else { return locked(&format!("restore point {id}"), holder) };
        let process = format!("process {} on {}", row.owner.pid, row.owner.host);
        let how = match (row.kind, &row.path) {
            (MountKind::Session, _) => format!("open in the restore session {}", row.id),
            (MountKind::Export, _) => format!("served over NBD as {}", row.id),
            (_, Some(path)) => format!("mounted at {path} as {}", row.id),
            (_, None) => format!("mounted as {}", row.id),
        };
        Error::InUse {
            message: format!("{id} is {how} ({process})"),
            hint: format!("`sendense-ctl restore unmount {}` ends that", row.id),
            details: json!({ "mount_id": row.id, "mount_path": row.path, "pid": row.owner.pid, "host": row.owner.host }),
        }
    }

    /// What is open takes; for a caller for whom only these VMs exist, of what is open of them.
    ///
    /// # Errors
    /// Where the catalog can't be read.
    pub async fn restore_resources(&self, only: Only<'_>) -> Result<Resources> {
        let mounts = self.mounts_among(only).await?;
        let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut processes: BTreeSet<u32> =
            mounts.iter().filter(|mount| mount.host == here).map(|mount| mount.pid).collect();
        let me = std::process::id();
        processes.insert(me);
        Ok(Resources {
            active_mounts: mounts.len() as u64,
            own_mounts: mounts.iter().filter(|mount| mount.host == here && mount.pid == me).count() as u64,
            max_mounts: MAX_SESSIONS as u64,
            memory_bytes: processes.into_iter().map(resident).sum(),
            nbd_devices: mounts.into_iter().filter_map(|mount| mount.nbd_device).collect(),
        })
    }

    /// How idle ones are closed, and those of dead processes cleaned up; for a caller for whom only these VMs exist, of
    /// theirs.
    ///
    /// # Errors
    /// Where the catalog can't be read.
    pub async fn cleanup_status(&self, only: Only<'_>) -> Result<CleanupStatus> {
        let mounts = self.mounts_among(only).await?;
        let dead = mounts.iter().filter(|mount| mount.status == remote::DEAD).count() as u64;
        Ok(CleanupStatus {
            running: !self.inner.mounts.all().is_empty(),
            active_mounts: mounts.len() as u64 - dead,
            dead_mounts: dead,
            expired_total: self.inner.mounts.expired(),
            next_expiry: mounts.iter().map(|mount| mount.expires_at).min(),
        })
    }
}

/// Whether the process of a row is certainly gone.
fn is_dead(row: &RestoreMount, now: Timestamp) -> bool {
    row.state(now) == OwnerState::Dead
}

/// Memory of a process, in bytes; 0 where the system does not tell.
fn resident(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}
