//! Changing the records of backups.

use super::insert::repository;
use super::not_found;
use super::query::one;
use super::row::{fields, insert_disks, insert_tags};
use crate::counts::{Changes, Entry};
use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{text, update};
use crate::statement::Statement;
use crate::{Catalog, Result, chains};
use model::{Backup, BackupDisk, BackupId, ContextId};
use std::collections::{BTreeMap, BTreeSet};

impl Catalog {
    /// Replaces the whole record of a backup. What others may have changed meanwhile (tags, notes, protection)
    /// is overwritten: prefer [`modify_backup`](Catalog::modify_backup).
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Value`](crate::Error::Value).
    pub async fn update_backup(&self, backup: &Backup) -> Result<()> {
        self.modify_backup(&backup.id, |record| *record = backup.clone()).await.map(drop)
    }

    /// Reads a record, changes it and writes it back, with nothing of others in between. Returns the record as
    /// it is now, and what `change` returned. `change` must leave the id as it is; it may be called again, on the record
    /// as it is by then, where the database asks for another attempt.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Value`](crate::Error::Value).
    pub async fn modify_backup<T, F>(&self, id: &BackupId, mut change: F) -> Result<(Backup, T)>
    where
        F: FnMut(&mut Backup) -> T + Send,
        T: Send,
    {
        transaction!(self.engine.write(), |session| {
            let old = lock(session, id).await?;
            let mut new = old.clone();
            let answer = change(&mut new);
            new.id = old.id.clone();
            let mut changes = Changes::default();
            for context in write_back(session, &old, &new, &mut changes).await? {
                chains::recompute(session, &context).await?;
            }
            changes.write(session).await?;
            Ok((new, answer))
        })
    }

    /// Replaces some records and forgets others, all at once: what a merge or a deletion has done to the files.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) for one to be replaced (one to be forgotten may be gone).
    pub async fn replace_backups(&self, changed: &[Backup], removed: &[BackupId]) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            let mut contexts = BTreeSet::new();
            let mut changes = Changes::default();
            for backup in changed {
                let old = lock(session, &backup.id).await?;
                contexts.extend(write_back(session, &old, backup, &mut changes).await?);
            }
            for id in removed {
                contexts.extend(super::remove::delete(session, id, &mut changes).await?);
            }
            for context in &contexts {
                chains::recompute(session, context).await?;
            }
            changes.write(session).await?;
            Ok(())
        })
    }
}

/// Reads a record that this transaction is going to change.
async fn lock(session: &mut Session, id: &BackupId) -> Result<Backup> {
    let query = Statement::new("SELECT id FROM backup_jobs WHERE id = ?").bind(id.as_str()).for_change();
    session.optional(query).await?;
    one(session, id).await?.ok_or_else(|| not_found(id))
}

/// Writes what differs; returns the VMs whose chains must be made anew.
pub(super) async fn write_back(
    session: &mut Session,
    old: &Backup,
    new: &Backup,
    changes: &mut Changes,
) -> Result<Vec<ContextId>> {
    if old == new {
        return Ok(Vec::new());
    }
    changes.remove(&Entry::of_backup(old)?);
    changes.add(&Entry::of_backup(new)?);
    let id = old.id.as_str();
    let mut row = fields(new)?;
    row.retain(|(column, _)| *column != "id");
    if old.repository_id != new.repository_id {
        let mut known = BTreeMap::new();
        let repository = repository(session, &mut known, &new.repository_id).await?;
        row.push(("repository_type", text(repository.kind.as_str())));
        row.push(("repository_path", text(repository.path.as_str())));
    }
    session.execute(update("backup_jobs", row, "id", id)).await?;
    if old.disks != new.disks {
        session.execute(Statement::new("DELETE FROM backup_disks WHERE backup_job_id = ?").bind(id)).await?;
        insert_disks(session, &[new]).await?;
    }
    // A tag knows when its backup was made.
    if old.tags != new.tags || old.created_at != new.created_at {
        session.execute(Statement::new("DELETE FROM backup_tags WHERE backup_job_id = ?").bind(id)).await?;
        insert_tags(session, &[new]).await?;
    }
    let moved = old.repository_id != new.repository_id || files(old) != files(new);
    if moved {
        let grow = Statement::new("UPDATE backup_jobs SET generation = generation + 1 WHERE id = ?").bind(id);
        session.execute(grow).await?;
    }
    let counts = old.is_point() || new.is_point();
    let rearranged = old.vm_context_id != new.vm_context_id || old.created_at != new.created_at;
    if counts && (moved || rearranged || old.status != new.status) {
        return Ok(vec![old.vm_context_id.clone(), new.vm_context_id.clone()]);
    }
    Ok(Vec::new())
}

/// What a reader of the files relies on.
fn files(backup: &Backup) -> Vec<impl PartialEq + '_> {
    let of = |disk: &BackupDisk| {
        (disk.index, disk.parent_backup_id.clone(), disk.capacity_bytes, disk.size_bytes, disk.blake3.clone())
    };
    backup.disks.iter().map(|disk| (disk.file.as_str(), of(disk))).collect()
}
