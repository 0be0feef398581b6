//! Taking restore points away, in step with their readers.
//!
//! Who deletes a point (or merges it away) first marks it, under the exclusive lease of its VM; that fails while
//! somebody reads it. Once marked, nobody begins to read it ([`Catalog::acquire`]). Then the files go, then
//! the row. The mark ends with its lease, so a deleter that died blocks nobody once its lease is dealt with.

use super::not_found;
use crate::counts::{self, Changes};
use crate::engine::Session;
use crate::engine::transaction;
use crate::leases::{Lease, LeaseHolder, holders};
use crate::resource::Resource;
use crate::statement::Statement;
use crate::{Catalog, Error, Result};
use model::{BackupId, ContextId};
use std::collections::BTreeSet;

/// The answer to a request to mark points for deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Marked {
    /// All of them are marked.
    Yes,
    /// None is: these read one of them, or are deleting it; never empty.
    InUse(Vec<LeaseHolder>),
}

impl Catalog {
    /// Marks restore points as being deleted, all or none. `lease` is the exclusive one of their VM.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a point; [`Error::LeaseLost`].
    pub async fn mark_deleting(&self, lease: &Lease, points: &[BackupId]) -> Result<Marked> {
        transaction!(self.engine.write(), |session| {
            let held = Statement::new("SELECT id FROM leases WHERE id = ?").bind(lease.id.as_str());
            if session.optional(held).await?.is_none() {
                return Err(Error::LeaseLost { resource: lease.resource.to_string() });
            }
            let mut in_use = Vec::new();
            for id in points {
                let resource = Resource::Point(id.clone()).to_string();
                // In one statement, so that no reader comes between the look and the mark.
                let mark = "UPDATE backup_jobs SET deleting_lease_id = ? WHERE id = ? \
                            AND NOT EXISTS (SELECT 1 FROM leases l WHERE l.resource = ?) \
                            AND (deleting_lease_id IS NULL OR deleting_lease_id = ? OR NOT EXISTS \
                            (SELECT 1 FROM leases d WHERE d.id = backup_jobs.deleting_lease_id))";
                let mark = Statement::new(mark)
                    .bind(lease.id.as_str())
                    .bind(id.as_str())
                    .bind(resource.as_str())
                    .bind(lease.id.as_str());
                if session.execute(mark).await? > 0 {
                    continue;
                }
                let row = Statement::new("SELECT id FROM backup_jobs WHERE id = ?").bind(id.as_str());
                if session.optional(row).await?.is_none() {
                    return Err(not_found(id));
                }
                let against = "SELECT * FROM leases WHERE resource = ? OR id = \
                               (SELECT deleting_lease_id FROM backup_jobs WHERE id = ?) ORDER BY acquired_at, id";
                let against = Statement::new(against).bind(resource.as_str()).bind(id.as_str());
                in_use.extend(holders(session, against).await?);
            }
            if !in_use.is_empty() {
                session.roll_back();
                return Ok(Marked::InUse(in_use));
            }
            Ok(Marked::Yes)
        })
    }

    /// Takes marks back that were made under this lease.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn unmark_deleting(&self, lease: &Lease, points: &[BackupId]) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            for id in points {
                let clear =
                    "UPDATE backup_jobs SET deleting_lease_id = NULL WHERE id = ? AND deleting_lease_id = ?";
                session.execute(Statement::new(clear).bind(id.as_str()).bind(lease.id.as_str())).await?;
            }
            Ok(())
        })
    }

    /// Forgets backups, all at once; returns how many there were. No file is touched.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn delete_backups(&self, ids: &[BackupId]) -> Result<u64> {
        transaction!(self.engine.write(), |session| {
            let mut contexts = BTreeSet::new();
            let mut changes = Changes::default();
            let mut gone = 0;
            for id in ids {
                if let Some(context) = delete(session, id, &mut changes).await? {
                    contexts.insert(context);
                    gone += 1;
                }
            }
            for context in &contexts {
                crate::chains::recompute(session, context).await?;
            }
            changes.write(session).await?;
            Ok(gone)
        })
    }
}

/// Deletes the rows of one backup; returns its VM, `None` where there was none.
pub(super) async fn delete(
    session: &mut Session,
    id: &BackupId,
    changes: &mut Changes,
) -> Result<Option<ContextId>> {
    let query =
        format!("SELECT vm_context_id, {} FROM backup_jobs WHERE id = ?", counts::columns("backup_jobs"));
    let query = Statement::new(query).bind(id.as_str()).for_change();
    let Some(row) = session.optional(query).await? else { return Ok(None) };
    let context = row.parse("vm_context_id")?;
    changes.remove(&counts::entry(session, id.as_str(), &row).await?);
    for delete in [
        "DELETE FROM backup_disks WHERE backup_job_id = ?",
        "DELETE FROM backup_tags WHERE backup_job_id = ?",
        "DELETE FROM job_log WHERE job_id = ?",
        "DELETE FROM backup_jobs WHERE id = ?",
    ] {
        session.execute(Statement::new(delete).bind(id.as_str())).await?;
    }
    Ok(Some(context))
}
