//! What other processes have open: shown from their rows, and ended by asking them.

use super::lasting::Closing;
use super::{folder, is_dead};
use crate::{Error, Hub, Result, blocking};
use api::Mount;
use catalog::{RestoreMount, StopWish};
use jiff::Timestamp;
use model::MountKind;
use mount::Detach;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How long another process may take to end what it serves.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often is looked whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// The state of one whose process is gone.
pub(super) const DEAD: &str = "dead";

/// As its process has described it, with the times of its last sign of life.
pub(super) fn view(row: &RestoreMount, now: Timestamp) -> Mount {
    let described: Option<Mount> =
        row.detail.get("mount").and_then(|mount| serde_json::from_value(mount.clone()).ok());
    let mut view = described.unwrap_or_else(|| Mount {
        mount_id: row.id.clone(),
        kind: row.kind,
        backup_id: row.backup_id.clone(),
        vm_name: row.vm_name.clone(),
        mount_path: row.path.clone(),
        nbd_device: None,
        nbd_uri: None,
        filesystem_type: None,
        system: None,
        volumes: Vec::new(),
        warnings: Vec::new(),
        notes: Vec::new(),
        status: "mounted".to_owned(),
        host: row.owner.host.clone(),
        pid: row.owner.pid,
        idle_seconds: row.idle_seconds,
        created_at: row.created_at,
        used_at: row.used_at,
        expires_at: row.expires_at,
    });
    (view.used_at, view.expires_at) = (row.used_at, row.expires_at);
    if is_dead(row, now) {
        view.status = DEAD.to_owned();
    }
    view
}

impl Hub {
    /// Ends what another process serves, and returns when it is gone.
    pub(super) async fn unmount_other(&self, row: RestoreMount, how: Closing) -> Result<Mount> {
        let shown = view(&row, Timestamp::now());
        if is_dead(&row, self.catalog().now()) {
            self.clean_up_after(&row).await?;
            return Ok(shown);
        }
        let here = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // A mount of this machine can be taken out of the kernel's table by us as well: its process notices.
        if row.kind == MountKind::Fuse && row.owner.host == here {
            let (id, path) = (row.id.clone(), PathBuf::from(row.path.clone().unwrap_or_default()));
            blocking::run("unmount", move || {
                let detach = match how {
                    Closing::IfUnused => Detach::IfUnused,
                    Closing::Lazily => Detach::Lazily,
                    Closing::Now | Closing::AtExit => Detach::Now,
                };
                match mount::detach(&id, detach) {
                    Err(mount::Error::Busy) => Err(folder::busy(&id, &path)),
                    // Not ours to unmount: its process does it.
                    Ok(()) | Err(mount::Error::Io(_)) => Ok(()),
                }
            })
            .await?;
            if how == Closing::Lazily {
                return Ok(Mount { status: "unmounting".to_owned(), ..shown });
            }
        }
        let wish = match how {
            Closing::IfUnused => StopWish::IfUnused,
            Closing::Lazily | Closing::Now | Closing::AtExit => StopWish::Now,
        };
        self.catalog().request_restore_stop(&row.id, wish).await?;
        let until = Instant::now() + PATIENCE;
        loop {
            let rows = self.catalog().restore_mounts().await?;
            let Some(now) = rows.into_iter().find(|known| known.id == row.id) else { return Ok(shown) };
            if is_dead(&now, self.catalog().now()) {
                self.clean_up_after(&now).await?;
                return Ok(shown);
            }
            if now.stop == StopWish::None {
                // Taken back by its process: it is in use.
                let path = PathBuf::from(row.path.clone().unwrap_or_else(|| row.id.clone()));
                return Err(folder::busy(&row.id, &path));
            }
            if Instant::now() >= until {
                let (pid, host) = (row.owner.pid, &row.owner.host);
                return Err(Error::InUse {
                    message: format!("{} has not ended within {} s", row.id, PATIENCE.as_secs()),
                    hint: format!("its process is {pid} on {host}; once that is gone, any command cleans up"),
                    details: json!({ "mount_id": row.id, "pid": pid, "host": host }),
                });
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
