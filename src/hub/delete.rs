//! Deleting points, alone or with everything built on them.
//!
//! Order: lease on the VM; all points that go are marked, which fails while one is read and keeps new readers
//! out; one transaction removes the files of all of them; the rows go. A crash before the transaction leaves
//! marks, which end with the lease; after it, rows without files, which recovery forgets. What is deleted for
//! good is in the hands of who asks: refusals (dependents, protection) are decided under the lease.

use crate::backup::{Published, commit};
use crate::leases::locked;
use crate::points::open_repository;
use crate::{Error, Hub, Result, blocking};
use api::{DeleteQuery, Deleted};
use catalog::{Lease, Marked, OwnerState};
use model::{Backup, BackupId, ChainError, ChainGraph, Repository, shell_word};
use repository::DiskFiles;

/// Readers of dead processes that are put aside before giving up.
const TRIES: u32 = 16;

impl Hub {
    /// Deletes a point, or the record of a backup that never became one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::HasDependents`] without `cascade` or `merge`; [`Error::Protected`];
    /// [`Error::Locked`] while the VM is worked on or the point is read; [`Error::Conflict`] for a backup that
    /// runs.
    pub async fn delete_backup(&self, id: &BackupId, how: DeleteQuery) -> Result<Deleted> {
        if how.cascade && how.merge {
            return Err(Error::invalid("merge", "either merge or cascade, not both"));
        }
        let record = self.backup(id).await?;
        if !record.status.is_final() {
            return Err(Error::Conflict {
                message: format!("{id} is {}", record.status),
                hint: format!("`sendense-ctl backup cancel {}` ends it first", shell_word(id.as_str())),
            });
        }
        if !record.is_point() {
            if !how.dry_run {
                self.catalog().delete_backups(std::slice::from_ref(id)).await?;
            }
            let message = format!("the record of {id}, which is {}, is deleted", record.status);
            return Ok(answer(message, id, 0, vec![id.clone()], how.dry_run));
        }
        if how.merge {
            return self.merge(id, how.dry_run).await;
        }
        let repository = self.repository_of(&record.repository_id).await?;
        if how.dry_run {
            let going = self.plan_delete(&record, how.cascade).await?;
            let freed = going.iter().map(Backup::size_bytes).sum();
            let ids: Vec<BackupId> = going.into_iter().map(|point| point.id).collect();
            return Ok(answer(format!("{} backup(s) would be deleted", ids.len()), id, freed, ids, true));
        }
        let guard = self.lock_vm(&record.vm_context_id, &record.vm_name, "delete", None).await?;
        let outcome = match guard.lease() {
            Ok(lease) => self.delete_locked(&record, how.cascade, repository, lease).await,
            Err(error) => Err(error),
        };
        guard.release().await;
        outcome
    }

    /// Deletes a point and, with `cascade`, what is built on it. `lease` is the one on the VM.
    pub(crate) async fn delete_locked(
        &self,
        record: &Backup,
        cascade: bool,
        repository: Repository,
        lease: &Lease,
    ) -> Result<Deleted> {
        let going = self.plan_delete(record, cascade).await?;
        let ids: Vec<BackupId> = going.iter().map(|point| point.id.clone()).collect();
        self.mark(lease, &ids).await?;
        let records = self.lock_records(&repository, "delete").await?;
        let removed = blocking::run("delete", move || {
            let repository = open_repository(repository, true)?;
            let failed = |error| repository.write_failure(error);
            let mut transaction = repository.folder.begin().map_err(failed)?;
            let mut freed = 0u64;
            for disk in going.iter().flat_map(|point| &point.disks) {
                let files = DiskFiles::of(disk).map_err(failed)?;
                let sizes = files.all().into_iter().filter_map(|path| repository.folder.file_size(path).ok());
                freed += sizes.sum::<u64>();
                transaction.remove_disk(&files).map_err(failed)?;
            }
            let outcome = commit(&repository, transaction, Vec::new())?;
            Ok((freed, outcome))
        })
        .await;
        let outcome = match removed {
            // Committed is deleted, even if some files go with the next run only.
            Ok((freed, published)) => {
                if let Published::Later(error) = published {
                    tracing::warn!(%error, "the deletion is committed and will be completed by a later run");
                }
                self.catalog().replace_backups(&[], &ids).await.map_err(Error::from).map(|()| freed)
            }
            Err(error) => Err(error),
        };
        records.release().await;
        let message = if ids.len() == 1 {
            "backup deleted successfully".to_owned()
        } else {
            format!("{} backups deleted successfully", ids.len())
        };
        outcome.map(|freed| answer(message, &record.id, freed, ids, false))
    }

    /// What goes when a point is deleted, dependents first.
    async fn plan_delete(&self, record: &Backup, cascade: bool) -> Result<Vec<Backup>> {
        let points = self.points_in(&record.vm_context_id, &record.repository_id).await?;
        let graph = ChainGraph::new(&points);
        let going = graph.plan_delete(&record.id, cascade).map_err(|error| refusal(error, &points))?;
        Ok(going.into_iter().cloned().collect())
    }

    /// Marks points as going, past what dead readers hold.
    pub(crate) async fn mark(&self, lease: &Lease, ids: &[BackupId]) -> Result<()> {
        for _ in 0..TRIES {
            let holders = match self.catalog().mark_deleting(lease, ids).await? {
                Marked::Yes => return Ok(()),
                Marked::InUse(holders) => holders,
            };
            let now = self.catalog().now();
            if let Some(alive) = holders.iter().find(|holder| holder.state(now) != OwnerState::Dead) {
                return Err(match &alive.lease.resource {
                    catalog::Resource::Point(id) => self.refused_by(id, alive).await,
                    other => locked(&other.to_string(), alive),
                });
            }
            for dead in &holders {
                self.bury(dead).await?;
            }
        }
        Err(Error::Internal("dead readers could not be put aside".into()))
    }
}

/// Why the rules of chains forbid it.
pub(crate) fn refusal(error: ChainError, points: &[Backup]) -> Error {
    match error {
        ChainError::Unknown(id) => Error::missing(crate::Missing::Backup, id),
        ChainError::HasDependents { id, dependents } => Error::HasDependents { id, dependents },
        ChainError::Protected(id) => {
            let reason =
                points.iter().find(|point| point.id == id).and_then(|point| point.protect_reason.clone());
            Error::Protected { id, reason }
        }
        ChainError::NothingToMergeInto(id) => Error::Conflict {
            message: format!("nothing is built on {id}, so there is nothing to merge it into"),
            hint: "delete it without --merge".into(),
        },
    }
}

fn answer(
    message: String,
    id: &BackupId,
    freed_bytes: u64,
    deleted: Vec<BackupId>,
    dry_run: bool,
) -> Deleted {
    Deleted {
        success: true,
        message,
        backup_id: id.clone(),
        freed_bytes,
        deleted,
        rewritten: Vec::new(),
        dry_run,
    }
}
