//! Tags, notes and protection of a point, and the verdict of its last verification.
//!
//! Sidecars first, in one transaction, then the row. Both happen under the lease on the repository's records,
//! which is held for moments by whoever rewrites sidecars (a merge and a deletion at their end too), so no
//! change is lost between reading a record and writing it. A crash in between leaves sidecars that are newer
//! than the row: `scan` and recovery take the sidecar's side.

use crate::points::{OpenRepository, open_repository};
use crate::{Error, Hub, Result, backup, blocking};
use api::PatchBackup;
use model::{Backup, BackupId, Verification};
use repository::DiskFiles;

impl Hub {
    /// Changes the tags, notes or protection of a point.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] where it is not (yet) a restore point; [`Error::Invalid`].
    pub async fn patch_backup(&self, id: &BackupId, patch: PatchBackup) -> Result<Backup> {
        if patch.protect_reason.is_some() && patch.protected != Some(true) {
            return Err(Error::invalid("protect_reason", "it goes with protected: true only"));
        }
        let record = self.backup(id).await?;
        let repository = self.repository_of(&record.repository_id).await?;
        let guard = self.lock_records(&repository, "tag").await?;
        let outcome = self.patch_locked(id, patch, repository).await;
        guard.release().await;
        outcome
    }

    async fn patch_locked(
        &self,
        id: &BackupId,
        patch: PatchBackup,
        repository: model::Repository,
    ) -> Result<Backup> {
        let record = self.backup(id).await?;
        if !record.is_point() {
            return Err(Error::Conflict {
                message: format!("{id} is {}, only restore points have labels", record.status),
                hint: "`sendense-ctl backup list --status completed` lists them".into(),
            });
        }
        let mut changed = record.clone();
        for (key, value) in patch.tags {
            match value {
                Some(value) => drop(changed.tags.insert(key, value)),
                None => drop(changed.tags.remove(&key)),
            }
        }
        if let Some(notes) = patch.notes {
            changed.notes = notes;
        }
        if let Some(protected) = patch.protected {
            changed.protected = protected;
            changed.protect_reason = patch.protect_reason.filter(|_| protected);
        }
        backup::check_labels(&changed.tags, changed.notes.as_deref())?;
        if changed == record {
            return Ok(record);
        }
        let sidecar = changed.clone();
        blocking::run("sidecars", move || {
            let repository = open_repository(repository, true)?;
            repository.folder.rewrite_sidecars(&sidecar).map_err(|error| repository.write_failure(error))
        })
        .await?;
        let Backup { tags, notes, protected, protect_reason, .. } = changed;
        // It may be called again, where the catalog has to begin anew.
        let write = move |row: &mut Backup| {
            row.tags = tags.clone();
            row.notes = notes.clone();
            row.protected = protected;
            row.protect_reason = protect_reason.clone();
        };
        Ok(self.catalog().modify_backup(id, write).await?.0)
    }

    /// Keeps what a verification found of a point. Its sidecars get it too where they are as they should be:
    /// one that is missing or damaged is evidence and stays so, and a repository that can't be written keeps
    /// the old verdict.
    pub(crate) async fn note_verification(
        &self,
        repository: &OpenRepository,
        id: &BackupId,
        found: Verification,
    ) -> Result<()> {
        let guard = self.lock_records(&repository.record, "verify").await?;
        let outcome = async {
            let noted = found.clone();
            let (row, ()) =
                self.catalog().modify_backup(id, move |row| row.verification = Some(noted.clone())).await?;
            let (repository, row) = (repository.clone(), row.clone());
            blocking::run("sidecars", move || {
                let intact = row.disks.iter().all(|disk| {
                    let sidecar =
                        DiskFiles::of(disk).and_then(|files| repository.folder.read_sidecar(&files.sidecar));
                    sidecar.is_ok_and(|sidecar| is_same_point(&sidecar, &row))
                });
                if intact && let Err(error) = repository.folder.rewrite_sidecars(&row) {
                    tracing::warn!(%error, id = %row.id, "the verdict is kept in the catalog only");
                }
                Ok(())
            })
            .await
        }
        .await;
        guard.release().await;
        outcome
    }
}

/// True where two records differ at most in their verdict.
pub(crate) fn is_same_point(sidecar: &Backup, row: &Backup) -> bool {
    Backup { verification: row.verification.clone(), ..sidecar.clone() } == *row
}
