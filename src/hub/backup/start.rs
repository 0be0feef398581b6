//! Accepting a request for a backup: everything that can be refused at once is refused here.

use super::plan::{self, Plan};
use super::run::Job;
use crate::vms::Wanted;
use crate::{Error, Hub, Missing, Result};
use api::{BackupPlan, JobView, StartBackup};
use jiff::Timestamp;
use model::{
    Backup, BackupDisk, BackupId, Compression, DiskIndex, OnTrackingLoss, Phase, PointName, Repository,
    RequestedType, SourceUri, Stamp, Status, Vm, VmName, export_name,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Four hours.
const TIME_LIMIT: u64 = 14_400;

/// Ids that are tried before giving up; each is taken by another backup of the same VM in the same second.
const RANKS: u32 = 1000;

const MOST_TAGS: usize = 64;
const LONGEST_KEY: usize = 128;
const LONGEST_TEXT: usize = 4096;

/// A request with everything found that it names.
pub(super) struct Accepted {
    pub vm: Vm,
    pub repository: Repository,
    pub disks: Vec<(DiskIndex, SourceUri)>,
    pub plan: Plan,
}

impl Accepted {
    /// The sizes of the disks that a client writes.
    pub(super) fn sizes(&self) -> BTreeMap<DiskIndex, u64> {
        let pushed = self.vm.disks.iter().filter(|disk| disk.source == SourceUri::Push);
        pushed.filter_map(|disk| Some((disk.index, disk.capacity_bytes?))).collect()
    }
}

impl Hub {
    /// Accepts a backup and runs it. What comes back is its record, pending; [`watch`](Hub::watch) and
    /// [`wait`](Hub::wait) tell how it goes on. A VM that is not registered is, where the request names
    /// sources.
    ///
    /// # Errors
    /// What can be told at once: invalid fields, unknown VM, repository or disk, no chain for an incremental,
    /// a VM that another run holds. Everything else is on the record of the failed backup.
    pub async fn start_backup(&self, request: StartBackup) -> Result<Backup> {
        check(&request)?;
        // Before a default repository is made for nothing.
        let vm = self.vm_asked_for(&request).await?;
        let repository = self.repository_for(&request).await?;
        if let Wanted::New(new) | Wanted::Changed(new) = &vm {
            // What is refused must not leave a VM behind.
            self.accept(&request, new.clone(), repository.clone()).await?;
        }
        let wanted = self.registered(vm).await?;
        let vm = wanted.vm();
        let stamp_at = self.next_moment(vm).await?;
        let mut stamp = Stamp::new(stamp_at);
        for _ in 0..RANKS {
            let name = PointName { vm: vm.name.clone(), stamp };
            let id = name.backup_id().map_err(|error| Error::invalid("vm_name", error))?;
            if self.is_taken(&repository, &name, &id).await? {
                stamp = stamp.next();
                continue;
            }
            let guard = self.lock_vm(&vm.context_id, &vm.name, "backup", Some(id.as_str())).await?;
            // Before the lease was ours, another backup of this VM may have taken the id and ended.
            if self.is_taken(&repository, &name, &id).await? {
                guard.release().await;
                stamp = stamp.next();
                continue;
            }
            let begun = self.begin(&request, wanted.clone(), repository.clone(), name, id, stamp_at).await;
            return match begun {
                Ok((record, accepted)) => {
                    let entry = self.inner.registry.enter(JobView::from(&record));
                    guard.guards(&entry.control);
                    let push =
                        request.is_push().then(|| self.inner.sessions.begin(&record.id, record.disks.len()));
                    let session = push.as_ref().map(|push| Arc::clone(push.session()));
                    let (hub, ours) = (self.clone(), record.clone());
                    tokio::spawn(Job { hub, record: ours, accepted, stamp, guard, entry, push }.run());
                    match session {
                        Some(session) => self.until_open(record, &session).await,
                        None => Ok(record),
                    }
                }
                Err(error) => {
                    guard.release().await;
                    Err(error)
                }
            };
        }
        Err(Error::Internal(format!("all ids of VM {} for this second are taken", vm.name)))
    }

    /// What a backup would do: its record as it would begin, and what each disk would be. Sources are opened
    /// and parents looked at; nothing is registered or written, but for a default repository.
    ///
    /// # Errors
    /// As for [`start_backup`](Hub::start_backup), and those of sources and parents.
    pub async fn plan_backup(&self, request: StartBackup) -> Result<(Backup, BackupPlan)> {
        check(&request)?;
        let vm = self.vm_asked_for(&request).await?;
        let repository = self.repository_for(&request).await?;
        let accepted = self.accept(&request, vm.vm().clone(), repository).await?;
        let now = self.next_moment(&accepted.vm).await?;
        let stamp = Stamp::new(now);
        let name = PointName { vm: accepted.vm.name.clone(), stamp };
        let id = name.backup_id().map_err(|error| Error::invalid("vm_name", error))?;
        let record = first_record(&request, &accepted, &name, id, now);
        super::run::rehearse(self, record, accepted, stamp).await
    }

    /// Does a failed or cancelled backup again, as a new one.
    ///
    /// # Errors
    /// [`Error::Conflict`] where it has not ended or has succeeded; and as for
    /// [`start_backup`](Hub::start_backup).
    pub async fn retry_backup(&self, id: &BackupId) -> Result<Backup> {
        let record = self.backup(id).await?;
        if !matches!(record.status, Status::Failed | Status::Cancelled) {
            return Err(Error::Conflict {
                message: format!(
                    "{id} is {}, only failed and cancelled backups can be retried",
                    record.status
                ),
                hint: "`sendense-ctl backup start` makes a new one".into(),
            });
        }
        let stored = self.catalog().backup_request(id).await?;
        let request = match stored.as_deref().map(serde_json::from_str::<StartBackup>) {
            // The sources are the VM's own by now.
            Some(Ok(request)) if request.is_push() => request,
            Some(Ok(request)) => StartBackup { source: None, sources: Vec::new(), ..request },
            Some(Err(_)) | None => again(&record),
        };
        self.start_backup(request).await
    }

    /// When the next backup of a VM is made: now, or right after its newest point where the clock was set back since. Points are
    /// ordered by when they were made, so none may come before what it builds on.
    async fn next_moment(&self, vm: &Vm) -> Result<Timestamp> {
        let now = Timestamp::now();
        let Some(newest) = self.catalog().newest_point_of(&vm.context_id, None).await? else {
            return Ok(now);
        };
        if newest.created_at <= now {
            return Ok(now);
        }
        tracing::warn!(
            vm = %vm.name,
            newest = %newest.id,
            "the clock was set back: the newest point is of later than now, and the next one follows it"
        );
        let next = newest.created_at.checked_add(jiff::SignedDuration::from_secs(1));
        next.map_err(|error| Error::Internal(error.to_string()))
    }

    async fn vm_asked_for(&self, request: &StartBackup) -> Result<Wanted> {
        if request.is_push() {
            return self.vm_for_push(request).await;
        }
        let wanted = self.vm_for_backup(&request.vm_name, sources(request)).await?;
        if wanted.vm().disks.iter().any(|disk| disk.source == SourceUri::Push) {
            return Err(Error::Conflict {
                message: format!("the disks of VM {} are written by a client", request.vm_name),
                hint: "push it again: `sendense-ctl agent push`, or \"source\": \"push\"".into(),
            });
        }
        Ok(wanted)
    }

    async fn repository_for(&self, request: &StartBackup) -> Result<Repository> {
        let repository =
            self.repository_or_default(request.repository_id.as_ref().map(|id| id.as_str())).await?;
        if !repository.enabled {
            return Err(Error::Conflict {
                message: format!("repository {} takes no new backups: it is disabled", repository.name),
                hint: "enable it, or name another one".into(),
            });
        }
        Ok(repository)
    }

    async fn accept(&self, request: &StartBackup, vm: Vm, repository: Repository) -> Result<Accepted> {
        let wanted = request.disk_id.map(DiskIndex);
        let disks: Vec<(DiskIndex, SourceUri)> = vm
            .disks
            .iter()
            .filter(|disk| wanted.is_none_or(|wanted| wanted == disk.index))
            .map(|disk| (disk.index, disk.source.clone()))
            .collect();
        if disks.is_empty() {
            let id = wanted.map_or_else(|| "0".to_owned(), |disk| disk.to_string());
            return Err(Error::missing(Missing::Disk, format!("{id} in VM {}", vm.name)));
        }
        let all = disks.len() == vm.disks.len();
        let points = self.points_in(&vm.context_id, &repository.id).await?;
        let indices: Vec<DiskIndex> = disks.iter().map(|(index, _)| *index).collect();
        let plan = plan::choose(request.backup_type, &indices, &points, all)
            .ok_or_else(|| no_chain(&vm.name, &repository, request.backup_type))?;
        Ok(Accepted { vm, repository, disks, plan })
    }

    /// Under the lease: decides by the points as they are now, keeps what the request changes of the VM, and inserts the row.
    async fn begin(
        &self,
        request: &StartBackup,
        vm: Wanted,
        repository: Repository,
        name: PointName,
        id: BackupId,
        now: Timestamp,
    ) -> Result<(Backup, Accepted)> {
        let accepted = self.accept(request, vm.vm().clone(), repository).await?;
        let record = first_record(request, &accepted, &name, id, now);
        let stored = serde_json::to_string(request).map_err(|error| Error::Internal(error.to_string()))?;
        self.catalog().insert_backup(&record, Some(&stored)).await?;
        Ok((record, accepted))
    }

    /// True where the id or a file of that name is used: the row of a point may be lost, its files are not.
    async fn is_taken(&self, repository: &Repository, name: &PointName, id: &BackupId) -> Result<bool> {
        if self.catalog().backup(id).await?.is_some() {
            return Ok(true);
        }
        let folder = std::path::Path::new(&repository.path).join(name.vm.as_str());
        let stamp = format!("-{}.", name.stamp);
        let disks = std::fs::read_dir(folder).into_iter().flatten().flatten();
        Ok(disks.flat_map(|disk| std::fs::read_dir(disk.path()).into_iter().flatten().flatten()).any(
            |file| {
                let file = file.file_name();
                let file = file.to_string_lossy();
                file.contains(&stamp) && !file.ends_with(repository::PARTIAL)
            },
        ))
    }
}

fn sources(request: &StartBackup) -> Vec<SourceUri> {
    request.all_sources().into_iter().cloned().collect()
}

fn no_chain(vm: &VmName, repository: &Repository, requested: RequestedType) -> Error {
    Error::ChainNotFound { vm: vm.clone(), repository: format!("repository {}", repository.name), requested }
}

fn check(request: &StartBackup) -> Result<()> {
    if request.timeout_seconds == Some(0) {
        return Err(Error::invalid("timeout_seconds", "a time limit is at least 1 second"));
    }
    if request.bandwidth_limit_bps == Some(0) {
        return Err(Error::invalid("bandwidth_limit_bps", "a limit is at least 1 byte a second"));
    }
    if request.is_push() != request.all_sources().contains(&&SourceUri::Push)
        || (request.is_push() && !request.sources.is_empty())
    {
        return Err(Error::invalid("source", "\"push\" stands alone in source, and is for all disks"));
    }
    if !request.is_push() && !request.disks.is_empty() {
        return Err(Error::invalid("disks", "only with \"source\": \"push\""));
    }
    if request.disks.iter().any(|disk| disk.change_id.as_ref().is_some_and(|id| id.len() > LONGEST_TEXT)) {
        return Err(Error::invalid("disks", "a change id has at most 4096 bytes"));
    }
    if request.policy_id.is_some() {
        return Err(Error::Unsupported {
            what: "a backup on behalf of a policy".into(),
            hint: "leave policy_id out".into(),
        });
    }
    check_labels(&request.tags, request.notes.as_deref())
}

/// Labels are bounded, because they are in every list and in every sidecar.
pub(crate) fn check_labels(tags: &BTreeMap<String, String>, notes: Option<&str>) -> Result<()> {
    if tags.len() > MOST_TAGS {
        return Err(Error::invalid("tags", format!("at most {MOST_TAGS} tags are possible")));
    }
    for (key, value) in tags {
        if key.is_empty() || key.len() > LONGEST_KEY || key.contains(['=', '\0', '\n']) {
            return Err(Error::invalid(
                "tags",
                format!("{key:?} is no tag: a key has 1 to {LONGEST_KEY} bytes and no '='"),
            ));
        }
        if value.len() > LONGEST_TEXT {
            return Err(Error::invalid("tags", format!("the value of {key:?} is too long")));
        }
    }
    if notes.is_some_and(|notes| notes.len() > 16 * LONGEST_TEXT) {
        return Err(Error::invalid("notes", "at most 64 KiB are possible"));
    }
    Ok(())
}

/// The record as it begins: what will be found out later is empty.
fn first_record(
    request: &StartBackup,
    accepted: &Accepted,
    name: &PointName,
    id: BackupId,
    now: Timestamp,
) -> Backup {
    let context = &accepted.vm.context_id;
    let disks = accepted
        .disks
        .iter()
        .zip(&accepted.plan.disks)
        .map(|((index, source), choice)| BackupDisk {
            index: *index,
            source: source.clone(),
            backup_type: choice.kind,
            parent_backup_id: choice.parent.clone(),
            status: Status::Pending,
            capacity_bytes: 0,
            size_bytes: 0,
            bytes_transferred: 0,
            bytes_processed: 0,
            file: name.relative_path(*index, choice.kind),
            nbd_export_name: export_name(context, *index, choice.kind, name.stamp),
            change_id: change_id(request, *index),
            fallback_reason: choice.reason.clone(),
            blake3: None,
            error_message: None,
        })
        .collect();
    Backup {
        id,
        vm_name: accepted.vm.name.clone(),
        vm_context_id: context.clone(),
        requested_type: request.backup_type,
        backup_type: accepted.plan.backup_type(request.backup_type),
        status: Status::Pending,
        phase: Phase::Pending,
        repository_id: accepted.repository.id.clone(),
        parent_backup_id: accepted.plan.parent().cloned(),
        fallback_reason: accepted.plan.reason(),
        bytes_transferred: 0,
        total_bytes: 0,
        bytes_processed: 0,
        transfer_speed_bps: 0,
        eta_seconds: None,
        last_telemetry_at: None,
        error_message: None,
        error_code: None,
        tags: request.tags.clone(),
        notes: request.notes.clone(),
        protected: false,
        protect_reason: None,
        compression: request.compression.unwrap_or(Compression::None),
        on_tracking_loss: request.on_cbt_loss.unwrap_or(OnTrackingLoss::Full),
        timeout_seconds: request.timeout_seconds.unwrap_or(TIME_LIMIT),
        bandwidth_limit_bps: request.bandwidth_limit_bps,
        created_at: now,
        started_at: None,
        completed_at: None,
        verification: None,
        disks,
    }
}

/// The change id of a disk, where its client knows one.
fn change_id(request: &StartBackup, index: DiskIndex) -> Option<String> {
    let mut disks = request.disks.iter().enumerate();
    let found = disks.find(|(n, disk)| disk.disk_id.map_or(*n as u32, |id| id) == index.0);
    found.and_then(|(_, disk)| disk.change_id.clone())
}

/// The request that leads to a record, for records whose request was not kept.
fn again(record: &Backup) -> StartBackup {
    let only = match record.disks.as_slice() {
        [disk] if disk.index.0 > 0 => Some(disk.index.0),
        _ => None,
    };
    StartBackup {
        repository_id: Some(record.repository_id.clone()),
        source: record.disks.first().filter(|disk| disk.source == SourceUri::Push).map(|_| SourceUri::Push),
        disk_id: only,
        tags: record.tags.clone(),
        notes: record.notes.clone(),
        compression: Some(record.compression),
        on_cbt_loss: Some(record.on_tracking_loss),
        timeout_seconds: Some(record.timeout_seconds),
        bandwidth_limit_bps: record.bandwidth_limit_bps,
        ..StartBackup::new(record.vm_name.clone(), record.requested_type)
    }
}
