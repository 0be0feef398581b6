//! What keeps restore points open for longer than one command (`restore_mounts`): mounts, exports, long sessions.
//!
//! A row is written by the process that serves the mount, which beats for it and learns with each beat whether
//! another process wants it to end. It goes with the mount; where its process is gone, whoever finds it cleans up
//! first and removes the row last, so that a cleaner that dies too leaves it to the next. Nothing here is durable against a
//! power cut: neither is a mount.
//!
//! Not here: what keeps a mounted point from being deleted (`leases`), mounting and cleaning (`hub`).

use crate::engine::transaction;
use crate::fields::{Fields, Row, inserts, int, maybe_text, stamp, text, time, update};
use crate::leases::{owner_fields, read_owner};
use crate::owner::{Owner, OwnerState, owner_state};
use crate::statement::Statement;
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::{BackupId, MountKind, VmName};
use serde_json::Value;

/// A mount, export or long session of some process.
#[derive(Debug, Clone, PartialEq)]
pub struct RestoreMount {
    /// Unique id.
    pub id: String,
    /// What it is.
    pub kind: MountKind,
    /// The point; none where all points of the VM are shown.
    pub backup_id: Option<BackupId>,
    /// The VM.
    pub vm_name: VmName,
    /// The folder it is mounted at, or the socket it is served on.
    pub path: Option<String>,
    /// What only its kind knows of it.
    pub detail: Value,
    /// Closed after so many seconds without use.
    pub idle_seconds: u64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was last used.
    pub used_at: Timestamp,
    /// When it closes, if nobody uses it until then.
    pub expires_at: Timestamp,
    /// Whether somebody wants it to end.
    pub stop: StopWish,
    /// The process that serves it.
    pub owner: Owner,
    /// That process's last sign of life.
    pub heartbeat_at: Timestamp,
}

/// Whether a mount is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopWish {
    /// Nobody asked.
    #[default]
    None,
    /// Unless somebody uses it.
    IfUnused,
    /// In any case.
    Now,
}

/// What the process that serves a mount tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountBeat {
    /// Which.
    pub id: String,
    /// When it was last used.
    pub used_at: Timestamp,
    /// When it closes, if nobody uses it until then.
    pub expires_at: Timestamp,
}

impl RestoreMount {
    /// Whether its process still lives, seen from this one.
    pub fn state(&self, now: Timestamp) -> OwnerState {
        owner_state(&self.owner, self.heartbeat_at, now)
    }
}

impl StopWish {
    fn number(self) -> u64 {
        match self {
            StopWish::None => 0,
            StopWish::IfUnused => 1,
            StopWish::Now => 2,
        }
    }

    fn of(number: u64) -> StopWish {
        match number {
            0 => StopWish::None,
            1 => StopWish::IfUnused,
            _ => StopWish::Now,
        }
    }
}

impl Catalog {
    /// Records a mount.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`].
    pub async fn insert_restore_mount(&self, mount: &RestoreMount) -> Result<()> {
        transaction!(self.engine.write_light(), |session| {
            for statement in inserts("restore_mounts", vec![fields(mount)?]) {
                if session.insert_new(statement).await? == 0 {
                    return Err(Error::AlreadyExists { what: "mount", id: mount.id.clone() });
                }
            }
            Ok(())
        })
    }

    /// Writes a mount's record anew, all but the wish to stop; nothing where it was forgotten.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn replace_restore_mount(&self, mount: &RestoreMount) -> Result<()> {
        let mut row = fields(mount)?;
        row.retain(|(column, _)| !matches!(*column, "id" | "stop_requested"));
        transaction!(self.engine.write_light(), |session| {
            session.execute(update("restore_mounts", row.clone(), "id", &mount.id)).await?;
            Ok(())
        })
    }

    /// All mounts of all processes, oldest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn restore_mounts(&self) -> Result<Vec<RestoreMount>> {
        transaction!(self.engine.read(), |session| {
            let query = Statement::new("SELECT * FROM restore_mounts ORDER BY created_at, id");
            session.all(query).await?.iter().map(read).collect()
        })
    }

    /// A sign of life for these mounts. Returns those whose row is gone: another process has taken this one for dead.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn beat_restore_mounts(&self, beats: &[MountBeat]) -> Result<Vec<String>> {
        let now = stamp("heartbeat_at", self.now())?;
        transaction!(self.engine.write_light(), |session| {
            let mut lost = Vec::new();
            for beat in beats {
                let update = Statement::new(
                    "UPDATE restore_mounts SET heartbeat_at = ?, used_at = ?, expires_at = ? WHERE id = ?",
                );
                let update = update
                    .bind(now.as_str())
                    .bind(stamp("used_at", beat.used_at)?)
                    .bind(stamp("expires_at", beat.expires_at)?)
                    .bind(beat.id.as_str());
                if session.execute(update).await? == 0 {
                    lost.push(beat.id.clone());
                }
            }
            Ok(lost)
        })
    }

    /// The mounts that somebody wants to end: few, and asked for often.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn restore_stops(&self) -> Result<Vec<(String, StopWish)>> {
        transaction!(self.engine.read(), |session| {
            let query =
                Statement::new("SELECT id, stop_requested FROM restore_mounts WHERE stop_requested > 0");
            let wish = |row: &Row| Ok((row.text("id")?, StopWish::of(row.int("stop_requested")?)));
            session.all(query).await?.iter().map(wish).collect()
        })
    }

    /// Notes whether a mount is to end; false where there is none of that id any more.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn request_restore_stop(&self, id: &str, wish: StopWish) -> Result<bool> {
        transaction!(self.engine.write_light(), |session| {
            let update = Statement::new("UPDATE restore_mounts SET stop_requested = ? WHERE id = ?");
            let wish = i64::try_from(wish.number()).unwrap_or_default();
            let found = session.execute(update.bind(wish).bind(id)).await? > 0;
            Ok(found)
        })
    }

    /// Forgets a mount; false where it was forgotten before.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn remove_restore_mount(&self, id: &str) -> Result<bool> {
        transaction!(self.engine.write_light(), |session| {
            let delete = Statement::new("DELETE FROM restore_mounts WHERE id = ?");
            let found = session.execute(delete.bind(id)).await? > 0;
            Ok(found)
        })
    }
}

fn fields(mount: &RestoreMount) -> Result<Fields> {
    let mut row = vec![
        ("id", text(mount.id.as_str())),
        ("kind", text(mount.kind.as_str())),
        ("backup_id", maybe_text(mount.backup_id.as_ref())),
        ("vm_name", text(mount.vm_name.as_str())),
        ("path", maybe_text(mount.path.as_ref())),
        ("detail", text(mount.detail.to_string())),
        ("idle_seconds", int("idle_seconds", mount.idle_seconds)?),
        ("created_at", time("created_at", mount.created_at)?),
        ("used_at", time("used_at", mount.used_at)?),
        ("expires_at", time("expires_at", mount.expires_at)?),
        ("stop_requested", int("stop_requested", mount.stop.number())?),
        ("heartbeat_at", time("heartbeat_at", mount.heartbeat_at)?),
    ];
    row.extend(owner_fields(&mount.owner)?);
    Ok(row)
}

fn read(row: &Row) -> Result<RestoreMount> {
    Ok(RestoreMount {
        id: row.text("id")?,
        kind: row.parse("kind")?,
        backup_id: row.maybe_parse("backup_id")?,
        vm_name: row.parse("vm_name")?,
        path: row.maybe_text("path")?,
        detail: row.json("detail")?.unwrap_or_default(),
        idle_seconds: row.int("idle_seconds")?,
        created_at: row.parse("created_at")?,
        used_at: row.parse("used_at")?,
        expires_at: row.parse("expires_at")?,
        stop: StopWish::of(row.int("stop_requested")?),
        owner: read_owner(row)?,
        heartbeat_at: row.parse("heartbeat_at")?,
    })
}
