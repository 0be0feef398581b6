//! Restore points served over NBD: a server for each export, with the point's disks behind it.
//!
//! An export holds a lease on its point (shared), so that the point can't be deleted or merged away, has all files of its
//! chains open, and listens at one place. It is one of the things that last (`mounts`): other processes see it and can
//! end it, a connection keeps it open, and one that nobody has been connected to for its idle time is closed. With an
//! overlay clients may write: that lies in a file without a name, which is gone with the export, and the point never
//! changes.
//!
//! Killed in the middle: the lease is found dead by the others, an overlay vanishes with its process, and the next start
//! removes what is left of the socket.
//!
//! Not here: the protocol, and overlays (`nbd`); HTTP (`server`).

mod place;
mod served;

pub(crate) use place::remove_dead;

use crate::mounts::{Lasting, patience};
use crate::{Error, Hub, Missing, Result, blocking};
use api::{DEFAULT_IDLE_SECONDS, ExportBackup, Exported};
use place::Place;
use served::PointExport;
use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

impl Hub {
    /// Serves a point over NBD, from the return on.
    ///
    /// # Errors
    /// No such point or disk; a place where it can't be served; damage to a chain; too much that is open.
    pub async fn export(&self, request: ExportBackup) -> Result<Exported> {
        let patience = patience(request.client_timeout_seconds)?;
        let record = self.point(&request.backup_id).await?;
        let registry = &self.inner.mounts;
        registry.check_room()?;
        let id = format!("export-{}", uuid::Uuid::new_v4());
        let lease = self.lock_point(&record.id, "serve", &id).await?;
        let open = self.open_point(&record, request.disk_id).await?;
        if !open.notes.is_empty() {
            return Err(Error::Conflict {
                message: open.notes.join("; "),
                hint: "serve another disk by itself (--disk N); `sendense-ctl backup verify` tells what is damaged".into(),
            });
        }
        let state_dir = self.config().state_dir.clone();
        let named = id.clone();
        let export = blocking::run("export", move || {
            let place = Place::of(&request, &named, &state_dir)?;
            let overlay = match (request.writable_overlay, &request.overlay_dir) {
                (true, Some(folder)) => Some(PathBuf::from(folder)),
                (true, None) => Some(state_dir),
                (false, Some(_)) => {
                    return Err(Error::invalid("overlay_dir", "it needs writable_overlay: true"));
                }
                (false, None) => None,
            };
            let idle = match request.idle_timeout_seconds {
                Some(0) => None,
                seconds => Some(Duration::from_secs(seconds.unwrap_or(DEFAULT_IDLE_SECONDS))),
            };
            PointExport::new(named, record, open.disks, place, overlay.as_deref(), idle, lease)
        });
        let export = Arc::new(export.await?);
        let started = async {
            // On the record before there is a socket, so that it is found whatever happens.
            registry.announce(Arc::clone(&export) as Arc<dyn Lasting>).await?;
            let starting = Arc::clone(&export);
            blocking::run("export", move || starting.start()).await?;
            registry.announce_again(&*export).await
        };
        if let Err(error) = started.await {
            export.end().await;
            registry.forget(&id).await;
            return Err(error);
        }
        registry.expect_client(&id, patience);
        Ok(export.exported())
    }

    /// The export of that id, or of a unique beginning of one, as it is now. It does not count as use.
    ///
    /// # Errors
    /// [`Error::NotFound`] where this process has none of that id.
    pub fn exported(&self, id: &str) -> Result<Exported> {
        let found = self.inner.mounts.find(id).map(|found| found as Arc<dyn Any + Send + Sync>);
        let export = found.and_then(|found| found.downcast::<PointExport>().ok());
        export.map(|export| export.exported()).ok_or_else(|| Error::missing(Missing::Mount, id))
    }
}
