//! Cleaning up after processes that are gone: their mounts, devices, folders and, last of all, their rows.
//!
//! Every step may be done again, by several processes at once. What can't be cleaned up now is left, with its row, to the
//! next start. The leases of such processes are broken by `recovery` of the hub, as all others are.

use super::is_dead;
use super::kernel;
use super::place::Place;
use crate::{Error, Hub, Result, blocking, export};
use catalog::RestoreMount;
use jiff::Timestamp;
use model::MountKind;
use mount::Detach;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a mount may leave behind, besides the mount itself.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Leftovers {
    /// The folder that was made for it.
    pub(crate) folder: Option<String>,
    /// The kernel's device that was connected for it.
    pub(crate) device: Option<String>,
}

impl Leftovers {
    pub(crate) fn into_json(self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn of(row: &RestoreMount) -> Leftovers {
        let written = row.detail.get("leftovers").cloned().unwrap_or_default();
        serde_json::from_value(written).unwrap_or_default()
    }
}

impl Hub {
    /// Cleans up after all processes that are gone. One small query when there is nothing.
    ///
    /// # Errors
    /// Where the catalog can't be used.
    pub(crate) async fn clean_up_mounts(&self) -> Result<Vec<String>> {
        let now = Timestamp::now();
        let mut notes = Vec::new();
        for row in self.catalog().restore_mounts().await?.iter().filter(|row| is_dead(row, now)) {
            match self.clean_up_after(row).await {
                Ok(()) => notes.push(match &row.path {
                    Some(path) if row.kind == MountKind::Export => {
                        format!("{path} was left by a server that is gone: it is removed")
                    }
                    Some(path) => {
                        format!("{path} was left mounted by a process that is gone: it is unmounted")
                    }
                    None => format!("{} was left by a process that is gone: it is closed", row.id),
                }),
                Err(error) => tracing::warn!(%error, "what {} has left can't be cleaned up", row.id),
            }
        }
        Ok(notes)
    }

    /// Cleans up after the process of one row, which is gone.
    ///
    /// # Errors
    /// What can't be taken away; the row then stays.
    pub(super) async fn clean_up_after(&self, row: &RestoreMount) -> Result<()> {
        let seen = row.clone();
        blocking::run("clean-up", move || clean(&seen)).await?;
        for lease in self.catalog().leases().await? {
            if lease.job_id.as_ref() == Some(&row.id) {
                self.catalog().break_lease(&lease, "its process is gone").await?;
            }
        }
        self.catalog().remove_restore_mount(&row.id).await?;
        Ok(())
    }
}

/// Blocks.
fn clean(row: &RestoreMount) -> Result<()> {
    let leftovers = Leftovers::of(row);
    match row.kind {
        MountKind::Fuse => {
            mount::detach(&row.id, Detach::Lazily).map_err(|error| failed(row, error.to_string()))?
        }
        MountKind::Kernel => {
            if let Some(device) = &leftovers.device {
                kernel::disconnect(device, row.path.as_deref())?;
            }
        }
        MountKind::Export => {
            if let Some(socket) = &row.path {
                export::remove_dead(Path::new(socket));
            }
        }
        MountKind::Session => {}
    }
    if let Some(folder) = leftovers.folder {
        Place { path: PathBuf::from(folder), made: true }.remove();
    }
    Ok(())
}

fn failed(row: &RestoreMount, reason: String) -> Error {
    Error::Target { target: row.path.clone().unwrap_or_else(|| row.id.clone()), reason, permission: false }
}
