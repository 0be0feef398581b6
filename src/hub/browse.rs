//! Restore sessions: points that are open for looking at their files.
//!
//! A session holds a lease on its point (shared), so that the point can't be deleted or merged away, and has all files
//! of the chains of its disks open. It belongs to this process and ends with it. What uses it keeps it open; one that
//! nobody has used for its idle time is closed.
//!
//! Not here: file systems and paths of guests (`guestfs`), HTTP (`server`).

mod disk;
pub(crate) mod entry;
pub(crate) mod failure;
mod opening;
mod session;
mod sessions;
mod volumes;

pub(crate) use opening::{OpenPoint, View, keys_of};
pub use session::{OpenFile, Page, Session};
pub(crate) use sessions::Sessions;

use crate::{Error, Hub, Missing, Result, blocking};
use api::{CleanupStatus, DEFAULT_IDLE_SECONDS, Mount, MountBackup, Resources};
use std::sync::Arc;
use std::time::Duration;

/// How many sessions a process has at once: each holds files open and memory.
pub const MAX_SESSIONS: usize = 64;

impl Hub {
    /// Opens a point for looking at its files.
    ///
    /// # Errors
    /// No such point or disk; too many sessions; damage that hides all of it.
    pub async fn mount(&self, request: MountBackup) -> Result<Mount> {
        if request.idle_timeout_seconds == Some(0) {
            return Err(Error::invalid("idle_timeout_seconds", "the shortest time is 1 second"));
        }
        let keys = keys_of(&request.keys_b64)?;
        let record = self.point(&request.backup_id).await?;
        self.inner.sessions.check_room()?;
        let id = format!("mount-{}", uuid::Uuid::new_v4());
        let lease = self.lock_point(&record.id, "mount", &id).await?;
        let idle = Duration::from_secs(request.idle_timeout_seconds.unwrap_or(DEFAULT_IDLE_SECONDS));
        let view = View {
            disk: request.disk_id,
            volume: request.volume,
            ignore_journal: request.ignore_journal,
            keys,
        };
        let opened = async {
            let point = self.open_point(&record, view.disk).await?;
            blocking::run("mount", move || Ok((point.tree(&view, &Arc::default())?, point.notes))).await
        };
        match opened.await {
            Ok((tree, notes)) => {
                let session = Session::new(id, record.id, tree, notes, idle, lease);
                self.inner.sessions.add(Arc::new(session))
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
    /// [`Error::NotFound`].
    fn session(&self, id: &str) -> Result<Arc<Session>> {
        self.inner.sessions.get(id).ok_or_else(|| Error::missing(Missing::Mount, id))
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
        let session = self.session(id)?;
        blocking::run("browse", move || work(&session)).await
    }

    /// All sessions of this process, oldest first.
    pub fn mounts(&self) -> Vec<Mount> {
        self.inner.sessions.all().iter().map(|session| session.view()).collect()
    }

    /// Closes a session. Downloads that run come to their end.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn unmount(&self, id: &str) -> Result<String> {
        let session = self.inner.sessions.remove(id).ok_or_else(|| Error::missing(Missing::Mount, id))?;
        let id = session.id.clone();
        close(session).await;
        Ok(id)
    }

    /// Closes all sessions of this process.
    pub(crate) async fn close_sessions(&self) {
        for session in self.inner.sessions.take_all() {
            close(session).await;
        }
    }

    /// What sessions take.
    pub fn restore_resources(&self) -> Resources {
        Resources {
            active_mounts: self.inner.sessions.all().len() as u64,
            max_mounts: MAX_SESSIONS as u64,
            memory_bytes: resident(),
            nbd_devices: Vec::new(),
        }
    }

    /// How idle sessions are closed.
    pub fn cleanup_status(&self) -> CleanupStatus {
        let sessions = self.inner.sessions.all();
        CleanupStatus {
            running: !sessions.is_empty(),
            active_mounts: sessions.len() as u64,
            expired_total: self.inner.sessions.expired(),
            next_expiry: sessions.iter().map(|session| session.expires()).min(),
        }
    }
}

/// Gives the lease back before the answer, unless somebody still reads: then when that ends.
async fn close(session: Arc<Session>) {
    if let Some(session) = Arc::into_inner(session) {
        session.into_lease().release().await;
    }
}

/// Memory of this process, in bytes; 0 where the system does not tell.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0).saturating_mul(rustix::param::page_size() as u64)
}
