//! Putting right what killed processes have left.
//!
//! Found by what is not final: rows of jobs and backups without an end, and leases whose process is provably
//! gone. A VM's leftovers are put right under that VM's lease: the dead process's own lease is taken over where
//! it is still there, because the marks of points that were on their way out hang on it. Then, in this order:
//! transactions of the repository are completed; a backup whose sidecar is there becomes what the sidecar
//! says, any other one failed; partial files are removed; records of the VM's points are brought in line with
//! their sidecars, and points that were marked and whose files are gone are forgotten.
//!
//! Every step may be stopped and done again. A repository that can't be reached is left for the next time,
//! rows included. Two processes that recover at once meet at the leases, and one waits or goes on without.

use crate::leases::Guard;
use crate::points::{OpenRepository, open_repository};
use crate::{Error, Hub, Result, backup, blocking, restore};
use catalog::{JobEnd, LeaseHolder, OwnerState, Resource};
use jiff::Timestamp;
use model::{Backup, BackupId, ContextId, JobId, JobType, Repository, RepositoryId, Status};
use repository::DiskFiles;
use std::collections::{BTreeMap, BTreeSet};

/// What was put right.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// One sentence each, for a person.
    pub notes: Vec<String>,
}

/// What the files say about the rows of one VM in one repository.
#[derive(Default)]
struct Verdicts {
    /// Records as their sidecars have them.
    changed: Vec<Backup>,
    /// Unfinished backups of which there is no point.
    unmade: Vec<BackupId>,
    /// Marked points of which no file is left.
    gone: Vec<BackupId>,
}

impl Hub {
    /// Looks for what dead processes have left, and puts it right. Four small queries when there is nothing.
    pub(crate) async fn recover(&self) -> Result<Recovered> {
        // Mounts before leases: by the lease's job it is known what kept a point.
        let mut done = Recovered { notes: self.clean_up_mounts().await? };
        // Rows before leases: a job that is seen here and has no lease afterwards has ended or is dead.
        let backups = self.catalog().unfinished_backups().await?;
        let jobs = self.catalog().unfinished_jobs().await?;
        let leases = self.catalog().leases().await?;
        if backups.is_empty() && jobs.is_empty() && leases.is_empty() {
            done.notes.iter().for_each(|note| self.config().tell(note));
            return Ok(done);
        }
        let now = self.catalog().now();
        for dead in leases.iter().filter(|holder| holder.state(now) == OwnerState::Dead) {
            match self.bury(dead).await {
                Ok(buried) => done.notes.extend(buried.notes),
                Err(error) => {
                    tracing::warn!(%error, lease = %dead, "a dead process's work can't be put right")
                }
            }
        }
        let held: BTreeSet<String> =
            self.catalog().leases().await?.into_iter().filter_map(|holder| holder.job_id).collect();
        let is_dead = |id: &str| !held.contains(id) && !self.inner.registry.contains(id);
        let mut contexts: BTreeMap<ContextId, Backup> = BTreeMap::new();
        for backup in backups.into_iter().filter(|backup| is_dead(backup.id.as_str())) {
            contexts.insert(backup.vm_context_id.clone(), backup);
        }
        for (context, backup) in contexts {
            let guard = match self.lock_vm(&context, &backup.vm_name, "recovery", None).await {
                Ok(guard) => guard,
                // They wait for the next time; a run on the VM removes the partial files anyway.
                Err(Error::Locked { .. }) => continue,
                Err(error) => return Err(error),
            };
            let settled = self.settle_vm(&context).await;
            guard.release().await;
            match settled {
                Ok(settled) => done.notes.extend(settled.notes),
                Err(error) => tracing::warn!(%error, vm = %backup.vm_name, "leftovers can't be put right"),
            }
        }
        for job in jobs.into_iter().filter(|job| is_dead(job.id.as_str())) {
            if self.fail_job(job.id.as_str()).await? {
                done.notes.push(format!("{} was interrupted: it is marked as failed", job.id));
            }
        }
        for note in &done.notes {
            self.config().tell(note);
        }
        Ok(done)
    }

    /// Ends the lease of a dead process and puts right what it was doing.
    pub(crate) async fn bury(&self, dead: &LeaseHolder) -> Result<Recovered> {
        let reason = "its process is gone";
        let mut done = Recovered::default();
        match &dead.lease.resource {
            Resource::Vm(context) => {
                let owner = crate::leases::this_process()?;
                let Some(lease) = self.catalog().take_over(dead, &owner, reason).await? else {
                    return Ok(done);
                };
                let guard: Guard = self.hold(lease);
                let settled = self.settle_vm(context).await;
                guard.release().await;
                done = settled?;
            }
            Resource::Point(_) | Resource::Repository(_) => {
                self.catalog().break_lease(dead, reason).await?;
            }
        }
        tracing::warn!(lease = %dead, "the lease of a dead process was taken away");
        if let Some(job) = &dead.job_id
            && self.fail_job(job).await?
        {
            done.notes.push(format!("{job} was interrupted: it is marked as failed"));
        }
        Ok(done)
    }

    /// Ends a job's row as killed; false where there is none that is not final. Backups are not ended so.
    async fn fail_job(&self, id: &str) -> Result<bool> {
        let Ok(id) = JobId::new(id) else { return Ok(false) };
        let Some(row) = self.catalog().job(&id).await? else { return Ok(false) };
        if !row.status.is_final()
            && row.job_type == JobType::Restore
            && let Some(request) = row.request.clone()
        {
            blocking::run("recovery", move || {
                restore::remove_leftover(&request);
                Ok(())
            })
            .await?;
        }
        let error =
            Error::Killed(format!("last seen {:.0}", row.last_telemetry_at.unwrap_or(row.created_at)));
        let end = JobEnd {
            at: Timestamp::now(),
            status: Status::Failed,
            error_message: Some(error.to_string()),
            error_code: Some(error.code().as_str().to_owned()),
            result: None,
        };
        Ok(self.catalog().finish_job(&id, &end).await?)
    }

    /// Brings one VM's rows and files in line. The caller holds the VM's lease, so nothing of it is in work.
    pub(crate) async fn settle_vm(&self, context: &ContextId) -> Result<Recovered> {
        let mut done = Recovered::default();
        let unfinished: Vec<Backup> = self
            .catalog()
            .unfinished_backups()
            .await?
            .into_iter()
            .filter(|backup| {
                backup.vm_context_id == *context && !self.inner.registry.contains(backup.id.as_str())
            })
            .collect();
        let points = self.points_of(context).await?;
        let mut places: BTreeMap<RepositoryId, (Vec<Backup>, Vec<Backup>)> = BTreeMap::new();
        for backup in unfinished {
            places.entry(backup.repository_id.clone()).or_default().0.push(backup);
        }
        for point in points {
            places.entry(point.repository_id.clone()).or_default().1.push(point);
        }
        for (id, (unfinished, points)) in places {
            let Some(repository) = self.catalog().repository(&id).await? else { continue };
            let mut marked = BTreeSet::new();
            for point in &points {
                if self.catalog().backup_state(&point.id).await?.is_some_and(|state| state.deleting) {
                    marked.insert(point.id.clone());
                }
            }
            let looked =
                blocking::run("recovery", move || look(repository, unfinished, points, &marked)).await;
            let verdicts = match looked {
                Ok(verdicts) => verdicts,
                Err(error) => {
                    tracing::warn!(%error, repository = %id, "its leftovers are put right when it can be reached");
                    continue;
                }
            };
            for id in &verdicts.unmade {
                let error = |backup: &Backup| {
                    Error::Killed(format!(
                        "last seen {:.0}",
                        backup.last_telemetry_at.unwrap_or(backup.created_at)
                    ))
                };
                let (_, failed) = self
                    .catalog()
                    .modify_backup(id, |backup| {
                        let alive = !backup.status.is_final();
                        if alive {
                            let error = error(backup);
                            backup::fail(backup, &error);
                        }
                        alive
                    })
                    .await?;
                if failed {
                    done.notes.push(format!("backup {id} was interrupted: it is marked as failed"));
                }
            }
            for point in &verdicts.changed {
                done.notes.push(format!("{} is complete: its record is brought up to date", point.id));
            }
            for id in &verdicts.gone {
                done.notes.push(format!("{id} was being deleted: the deletion is completed"));
            }
            self.catalog().replace_backups(&verdicts.changed, &verdicts.gone).await?;
        }
        Ok(done)
    }
}

/// Completes transactions, removes partial files, and compares rows with files. Blocks.
fn look(
    repository: Repository,
    unfinished: Vec<Backup>,
    points: Vec<Backup>,
    marked: &BTreeSet<BackupId>,
) -> Result<Verdicts> {
    let repository = open_repository(repository, true)?;
    let failed = |error| repository.write_failure(error);
    let Some(vm) = unfinished.iter().chain(&points).map(|backup| backup.vm_name.clone()).next() else {
        return Ok(Verdicts::default());
    };
    repository.folder.recover().map_err(failed)?;
    // Completes what is committed before it removes anything.
    for path in repository.folder.remove_partials(&vm).map_err(failed)? {
        tracing::info!(%path, "removed what a killed process has left");
    }
    let mut verdicts = Verdicts::default();
    for backup in unfinished {
        match record_beside(&repository, &backup) {
            Some(found) => verdicts.changed.push(found),
            None => verdicts.unmade.push(backup.id),
        }
    }
    for point in points {
        match record_beside(&repository, &point) {
            Some(found) => {
                let same = Backup { verification: point.verification.clone(), ..found.clone() };
                if same != point {
                    verdicts.changed.push(found);
                }
            }
            None if marked.contains(&point.id) && nothing_left(&repository, &point) => {
                verdicts.gone.push(point.id)
            }
            // Missing or damaged for another reason: verify and doctor tell about it.
            None => {}
        }
    }
    Ok(verdicts)
}

/// The record of a point in the first of its sidecars that can be read.
fn record_beside(repository: &OpenRepository, backup: &Backup) -> Option<Backup> {
    let files = backup.disks.iter().filter_map(|disk| DiskFiles::of(disk).ok());
    files
        .filter_map(|files| repository.folder.read_sidecar(&files.sidecar).ok())
        .find(|found| found.id == backup.id && found.repository_id == backup.repository_id)
}

fn nothing_left(repository: &OpenRepository, point: &Backup) -> bool {
    let mut files = point.disks.iter().filter_map(|disk| DiskFiles::of(disk).ok());
    files.all(|files| files.all().into_iter().all(|path| matches!(repository.folder.exists(path), Ok(false))))
}
