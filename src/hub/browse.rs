//! Restore sessions: points that are open for looking at their files.
//!
//! A session holds a lease on its point (shared), so that the point can't be deleted or merged away, and has all files
//! of the chains of its disks open. It belongs to this process and ends with it. What uses it keeps it open; one that
//! nobody has used for its idle time is closed.
//!
//! Not here: what is open where and for how long (`mounts`), file systems and paths of guests (`guestfs`), HTTP
//! (`server`).

mod archive;
mod chosen;
mod contents;
mod count;
mod disk;
pub(crate) mod entry;
pub(crate) mod failure;
mod listing;
mod opening;
mod session;
mod volumes;

pub use archive::{ArchiveOrder, PreparedArchive};
pub use contents::{Outlet, PreparedContents};
pub use listing::Page;
pub(crate) use opening::{OpenPoint, View, keys_of};
pub use session::{OpenFile, Session};

use crate::{Error, Hub, Result, blocking};
use api::{DEFAULT_IDLE_SECONDS, MountBackup};
use model::Backup;
use std::sync::Arc;
use std::time::Duration;

impl Hub {
    /// Opens a point for looking at its files. The lease on it is `operation`'s, for `id`.
    ///
    /// # Errors
    /// No such disk; damage that hides all of it.
    pub(crate) async fn open_session(
        &self,
        id: String,
        record: &Backup,
        request: &MountBackup,
        operation: &str,
    ) -> Result<Session> {
        let view = View {
            disk: request.disk_id,
            volume: request.volume.clone(),
            ignore_journal: request.ignore_journal,
            keys: keys_of(&request.keys_b64)?,
            walked: false,
        };
        let lease = match self.inner.passing {
            // The files are open once this is done; should the point go before, there is nothing to see.
            true => self.inner.leases.nothing(),
            false => self.lock_point(&record.id, operation, &id).await?,
        };
        let idle = Duration::from_secs(request.idle_timeout_seconds.unwrap_or(DEFAULT_IDLE_SECONDS));
        let opened = async {
            let point = self.open_point(record, view.disk).await?;
            blocking::run("mount", move || Ok((point.tree(&view, &Arc::default())?, point.notes))).await
        };
        match opened.await {
            Ok((tree, notes)) => {
                let (backup, vm_name) = (record.id.clone(), record.vm_name.clone());
                Ok(Session::new(id, backup, vm_name, tree, notes, idle, lease))
            }
            Err(error) => {
                lease.release().await;
                Err(error)
            }
        }
    }

    /// The session of that id, or of a unique beginning of one, which counts as use.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for one that is not a single point's, or is another process's.
    async fn session(&self, id: &str) -> Result<Arc<Session>> {
        if let Some(found) = self.inner.mounts.find(id) {
            found.touch();
            return found.session().ok_or_else(|| Error::Conflict {
                message: format!("{id} shows no single restore point whose files could be asked for"),
                hint: "open a session of its own for the point: POST /restore/mount".into(),
            });
        }
        let elsewhere = self.mounted(id).await?;
        Err(Error::Conflict {
            message: format!(
                "{} is served by process {} on {}, which alone can be asked for its files",
                elsewhere.mount_id, elsewhere.pid, elsewhere.host
            ),
            hint: match elsewhere.mount_path {
                Some(path) => format!("they are at {path}"),
                None => "open another session".to_owned(),
            },
        })
    }

    /// Does something with a session that reads disks, on a thread of its own.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such session; those of `work`.
    pub async fn with_session<T: Send + 'static>(
        &self,
        id: &str,
        work: impl FnOnce(&Session) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let session = self.session(id).await?;
        blocking::run("browse", move || work(&session)).await
    }
}
