//! Consolidating: points go, one after the other, and nothing later is lost.
//!
//! A job of steps. Each takes one point away: it is merged into what is built on it (`merge`), or deleted
//! (`delete`) where nothing is any more. Newest first, so that each step gives its data to points that stay, and the full,
//! which is the largest, is written once: the oldest point that stays becomes it (a rolling full).
//!
//! Order: lease on the VM; all points that go are marked, which fails while one is read and keeps new readers out;
//! then the steps. Every step is complete and durable by itself: stopped or killed, the chain is whole, what was
//! done stays done, the rest is as it was.

use crate::delete::refusal;
use crate::jobs::{Running, Starting};
use crate::leases::Guard;
use crate::merge::{check_room, sizes};
use crate::points::OpenRepository;
use crate::{Error, Hub, Result};
use api::{ChainQuery, Consolidate, Deleted, JobResult, JobView};
use catalog::Lease;
use model::{
    Backup, BackupId, ChainError, ChainGraph, ContextId, DiskIndex, JobType, MergePlan, RepositoryId, Status,
    VmName,
};

/// Which points go.
struct Chosen {
    /// In the order of the steps.
    going: Vec<BackupId>,
    /// The point that the answer names.
    named: BackupId,
}

/// What the steps come to.
struct Rehearsed {
    /// Virtual bytes that they go through.
    total: u64,
    /// Points that stay and get new files.
    rewritten: Vec<BackupId>,
    /// The first step that writes.
    first: Option<MergePlan>,
}

/// Whose points, and where.
struct Place {
    vm: VmName,
    context: ContextId,
    repository: RepositoryId,
}

impl Hub {
    /// Merges a point into what is built on it, and waits until that is done.
    ///
    /// # Errors
    /// As for [`start_merge`](Hub::start_merge), and those of the job.
    pub(crate) async fn merge(&self, id: &BackupId, dry_run: bool) -> Result<Deleted> {
        if dry_run {
            let record = self.backup(id).await?;
            let points = self.points_in(&record.vm_context_id, &record.repository_id).await?;
            return plan(&points, only(&points, id)?);
        }
        let job = self.start_merge(id).await?;
        let ended = self.wait(job.id.as_str()).await?;
        match (ended.status, ended.result) {
            (Status::Completed, Some(JobResult::Consolidate(done))) => Ok(done),
            _ => Err(Error::Job {
                code: ended.error_code.and_then(|code| code.parse().ok()),
                message: ended.error_message.unwrap_or_else(|| format!("{} has failed", ended.id)),
            }),
        }
    }

    /// Starts merging a point into what is built on it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Protected`]; [`Error::Conflict`] where nothing is built on it;
    /// [`Error::Locked`] while the VM is worked on or the point is read; [`Error::NoSpace`].
    pub async fn start_merge(&self, id: &BackupId) -> Result<JobView> {
        let record = self.backup(id).await?;
        if !record.is_point() {
            return Err(Error::Conflict {
                message: format!("{id} is {}, only restore points can be merged", record.status),
                hint: "delete it instead".into(),
            });
        }
        let place =
            Place { vm: record.vm_name, context: record.vm_context_id, repository: record.repository_id };
        self.start_steps(place, "merge", None, |points| only(points, id)).await
    }

    /// What [`start_consolidation`](Hub::start_consolidation) would do.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ChainNotFound`].
    pub async fn plan_consolidation(&self, vm: &VmName, request: &Consolidate) -> Result<Deleted> {
        let (_, disk, points) = self.points_with_chain(vm, &chain_of(request)).await?;
        plan(&points, older(&points, disk, request)?)
    }

    /// Starts taking the points from before a moment out of the latest chain of a disk; all their disks go
    /// together. Protected points and the latest one stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::ChainNotFound`]; [`Error::Locked`] while the VM is worked on or a point
    /// that goes is read; [`Error::NoSpace`].
    pub async fn start_consolidation(&self, vm: &VmName, request: &Consolidate) -> Result<JobView> {
        let (repository, disk, _) = self.points_with_chain(vm, &chain_of(request)).await?;
        let context = self.vm(vm).await?.context_id;
        let place = Place { vm: vm.clone(), context, repository: repository.id };
        let asked = serde_json::to_value(request).ok();
        self.start_steps(place, "consolidate", asked, |points| older(points, disk, request)).await
    }

    /// Decides under the lease, by the points as they are then.
    async fn start_steps(
        &self,
        place: Place,
        operation: &str,
        request: Option<serde_json::Value>,
        choose: impl FnOnce(&[Backup]) -> Result<Chosen>,
    ) -> Result<JobView> {
        let id = Starting::id(JobType::Consolidate)?;
        let guard = self.lock_vm(&place.context, &place.vm, operation, Some(id.as_str())).await?;
        let (repository, chosen, total, lease) = match self.ready(&place, &guard, choose).await {
            Ok(ready) => ready,
            Err(error) => {
                guard.release().await;
                return Err(error);
            }
        };
        let starting = Starting {
            id,
            job_type: JobType::Consolidate,
            vm_name: Some(place.vm),
            backup_id: Some(chosen.named.clone()),
            repository_id: Some(place.repository),
            request,
        };
        let hub = self.clone();
        let context = place.context;
        self.start_job(starting, vec![guard], move |running| async move {
            running.tally.expect(total);
            hub.run_steps(repository, context, chosen, lease, running).await.map(JobResult::Consolidate)
        })
        .await
    }

    async fn ready(
        &self,
        place: &Place,
        guard: &Guard,
        choose: impl FnOnce(&[Backup]) -> Result<Chosen>,
    ) -> Result<(OpenRepository, Chosen, u64, Lease)> {
        let lease = guard.lease()?.clone();
        let points = self.points_in(&place.context, &place.repository).await?;
        let chosen = choose(&points)?;
        let rehearsed = rehearse(&points, &chosen.going)?;
        let repository = self.repository_of(&place.repository).await?;
        let repository = self.open_repository(repository, true).await?;
        if let Some(first) = &rehearsed.first {
            check_room(&repository.place, &points, first)?;
        }
        self.mark(&lease, &chosen.going).await?;
        Ok((repository, chosen, rehearsed.total, lease))
    }

    async fn run_steps(
        self,
        repository: OpenRepository,
        context: ContextId,
        chosen: Chosen,
        lease: Lease,
        mut running: Running,
    ) -> Result<Deleted> {
        let mut points = self.points_in(&context, &repository.record.id).await?;
        let before: u64 = points.iter().map(Backup::size_bytes).sum();
        let mut rewritten: Vec<BackupId> = Vec::new();
        for (position, id) in chosen.going.iter().enumerate() {
            running.control.check()?;
            match ChainGraph::new(&points).plan_merge(id) {
                Ok(plan) => {
                    check_room(&repository.place, &points, &plan)?;
                    let last = position + 1 == chosen.going.len();
                    rewritten.extend(self.merge_one(&repository, &points, &plan, &mut running, last).await?);
                }
                Err(ChainError::NothingToMergeInto(_)) => {
                    let record = self.backup(id).await?;
                    self.delete_locked(&record, false, repository.record.clone(), &lease).await?;
                }
                Err(error) => return Err(refusal(error, &points)),
            }
            points = self.points_in(&context, &repository.record.id).await?;
        }
        let after: u64 = points.iter().map(Backup::size_bytes).sum();
        let mut seen = std::collections::BTreeSet::new();
        rewritten.retain(|id| seen.insert(id.clone()));
        Ok(answer(chosen, rewritten, before.saturating_sub(after), false))
    }
}

/// A point that others are built on.
fn only(points: &[Backup], id: &BackupId) -> Result<Chosen> {
    ChainGraph::new(points).plan_merge(id).map_err(|error| refusal(error, points))?;
    Ok(Chosen { going: vec![id.clone()], named: id.clone() })
}

/// The points of the latest chain of a disk from before that moment.
fn older(points: &[Backup], disk: DiskIndex, request: &Consolidate) -> Result<Chosen> {
    let latest = points.iter().rev().find(|point| point.disk(disk).is_some());
    let latest = latest.ok_or_else(|| Error::Internal(format!("no point holds disk {disk} any more")))?;
    let found = ChainGraph::new(points).plan_consolidation(&latest.id, disk, request.keep_since);
    let found = found.map_err(|error| refusal(error, points))?;
    Ok(Chosen { going: found.going, named: found.first })
}

fn chain_of(request: &Consolidate) -> ChainQuery {
    ChainQuery {
        disk_id: request.disk_id,
        repository_id: request.repository_id.as_ref().map(ToString::to_string),
    }
}

/// Goes through the steps on the records alone.
fn rehearse(points: &[Backup], going: &[BackupId]) -> Result<Rehearsed> {
    let mut now = points.to_vec();
    let mut done = Rehearsed { total: 0, rewritten: Vec::new(), first: None };
    for id in going {
        match ChainGraph::new(&now).plan_merge(id) {
            Ok(plan) => {
                done.total += sizes(&now, &plan);
                relink(&mut now, &plan);
                for (child, _) in &plan.rewrites {
                    if !done.rewritten.contains(child) {
                        done.rewritten.push(child.clone());
                    }
                }
                done.first.get_or_insert(plan);
            }
            Err(ChainError::NothingToMergeInto(_)) => {}
            Err(error) => return Err(refusal(error, points)),
        }
        now.retain(|point| point.id != *id);
    }
    Ok(done)
}

/// The children's records as they are after a merge, as far as the next step depends on them.
fn relink(points: &mut [Backup], plan: &MergePlan) {
    let Some(point) = points.iter().find(|point| point.id == plan.point).cloned() else { return };
    for (child, disk) in &plan.rewrites {
        let beneath = point.disk(*disk).and_then(|on| on.parent_backup_id.clone());
        let child = points.iter_mut().find(|point| point.id == *child);
        for on in child.into_iter().flat_map(|child| &mut child.disks).filter(|on| on.index == *disk) {
            on.parent_backup_id = beneath.clone();
        }
    }
}

fn plan(points: &[Backup], chosen: Chosen) -> Result<Deleted> {
    let rehearsed = rehearse(points, &chosen.going)?;
    let goes = |point: &&Backup| chosen.going.contains(&point.id);
    let freed = points.iter().filter(goes).map(Backup::size_bytes).sum();
    Ok(answer(chosen, rehearsed.rewritten, freed, true))
}

fn answer(chosen: Chosen, rewritten: Vec<BackupId>, freed_bytes: u64, dry_run: bool) -> Deleted {
    let would = if dry_run { "would be" } else { "is" };
    let message = match chosen.going.as_slice() {
        [] => "every point of the chain stays: nothing is older".to_owned(),
        [one] if rewritten.is_empty() => format!("{one} {would} deleted"),
        [one] => format!("{one} {would} merged into {} backup(s)", rewritten.len()),
        several => {
            let would = if dry_run { "would be" } else { "are" };
            format!("{} backups {would} merged into {}", several.len(), rewritten.len())
        }
    };
    Deleted {
        success: true,
        message,
        backup_id: chosen.named,
        freed_bytes,
        deleted: chosen.going,
        rewritten,
        dry_run,
    }
}
