//! Running an accepted backup: phases, disks in parallel, and the record of how it went.

use super::finish::{self, Published};
use super::parent::{self, Parent};
use super::plan::{Choice, Plan};
use super::report::Reporter;
use super::start::Accepted;
use crate::control::{Control, Stop};
use crate::failure::{self, available};
use crate::image::{self, Stored, What};
use crate::jobs::{Bounds, Entry, Report, persist, supervise};
use crate::leases::Guard;
use crate::points::{OpenRepository, lineage_of, open_repository};
use crate::push::{self, Receiving};
use crate::telemetry::{done_of, raise};
use crate::{Error, Hub, Result, blocking};
use api::{BackupPlan, JobView, PlannedDisk};
use block::{BlockSource, Counters, Limiter};
use futures_util::future::join_all;
use jiff::Timestamp;
use model::{
    Backup, ByteSize, Compression, DiskIndex, OnTrackingLoss, Phase, PointName, Repository, SourceUri, Stamp,
    Status, VmName, export_name,
};
use repository::{Bottom, ChainBaseline, DiskFiles};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// Bytes of manifest for each granule that may be stored.
const HASH_BYTES: u64 = 32;

/// How long the end of a backup waits to hear what was told of it.
const TOLD: Duration = Duration::from_secs(5);

/// An accepted backup with everything that it holds.
pub(super) struct Job {
    pub hub: Hub,
    pub record: Backup,
    pub accepted: Accepted,
    pub stamp: Stamp,
    pub guard: Guard,
    pub entry: Entry,
    /// Where its client is met, if one writes the disks.
    pub push: Option<push::Known>,
}

/// What the first phase is made from.
struct Inputs {
    repository: Repository,
    vm: VmName,
    disks: Vec<(DiskIndex, SourceUri)>,
    /// The sizes of those that a client writes.
    sizes: BTreeMap<DiskIndex, u64>,
    plan: Plan,
    points: Vec<Backup>,
    on_tracking_loss: OnTrackingLoss,
    /// False for a rehearsal, which changes nothing.
    real: bool,
}

/// What the first phase found.
struct Prepared {
    repository: OpenRepository,
    plan: Plan,
    disks: Vec<Disk>,
}

struct Disk {
    index: DiskIndex,
    uri: SourceUri,
    /// What it is read from; `None` where a client writes it.
    source: Option<Box<dyn BlockSource>>,
    /// Virtual size in bytes.
    size: u64,
    parent: Option<Parent>,
    /// Bytes it will take at most, as far as the source tells; 0 for changes.
    estimate: u64,
}

impl Job {
    /// Runs it to its end. The lease is given back before anybody hears of the end.
    pub(super) async fn run(mut self) {
        let outcome = self.execute().await;
        if outcome.is_err() {
            self.keep_told().await;
        }
        let Job { hub, record, accepted, guard, entry, push, .. } = self;
        let ended = match outcome {
            Ok(completed) => completed,
            Err(Failed { error, pending }) => {
                if !pending {
                    sweep(accepted.repository, accepted.vm.name, &error).await;
                }
                hub.fail_backup(record, &error, pending).await
            }
        };
        drop(push);
        guard.release().await;
        entry.view.send_replace(JobView::from(&ended));
    }

    async fn execute(&mut self) -> Result<Backup, Failed> {
        let control = Arc::clone(&self.entry.control);
        let hub = self.hub.clone();
        let deadline = Bounds::deadline(self.record.timeout_seconds);
        self.record.status = Status::Running;
        self.record.phase = Phase::Snapshot;
        self.record.started_at = Some(Timestamp::now());
        hub.catalog().update_backup(&self.record).await.map_err(Error::from)?;

        let vm = &self.accepted.vm;
        let inputs = Inputs {
            repository: self.accepted.repository.clone(),
            vm: vm.name.clone(),
            disks: self.accepted.disks.clone(),
            sizes: self.accepted.sizes(),
            plan: self.accepted.plan.clone(),
            points: hub.points_in(&vm.context_id, &self.accepted.repository.id).await?,
            on_tracking_loss: self.record.on_tracking_loss,
            real: true,
        };
        let mut report = Reporter::new(&hub, &self.record, &self.entry, Vec::new());
        let preparing = Arc::clone(&control);
        let work = blocking::run("backup", move || prepare(inputs, &preparing));
        let prepared = supervise(work, &mut report, &control, Bounds { deadline, place: None }).await;
        let prepared = prepared.map_err(|error| first(&control, error))?;

        enter(&mut self.record, &self.accepted, &prepared, self.stamp);
        check_room(&prepared)?;
        self.record.phase = Phase::Transferring;
        self.record.disks.iter_mut().for_each(|disk| disk.status = Status::Running);
        hub.catalog().update_backup(&self.record).await.map_err(Error::from)?;

        let Prepared { repository, disks, .. } = prepared;
        let limiter =
            self.record.bandwidth_limit_bps.and_then(NonZeroU64::new).map(Limiter::new).map(Arc::new);
        let counters: Vec<Arc<Counters>> = disks.iter().map(|_| Arc::default()).collect();
        let session = self.push.as_ref().map(|push| Arc::clone(push.session()));
        let mut report = Reporter::new(&hub, &self.record, &self.entry, counters.clone());
        report.session = session.clone();
        let copies: Vec<_> = disks
            .into_iter()
            .zip(counters)
            .zip(&self.record.disks)
            .map(|((disk, counters), on)| {
                let files = DiskFiles::of(on).map_err(|error| repository.write_failure(error));
                let (repository, control, limiter) =
                    (repository.clone(), Arc::clone(&control), limiter.clone());
                let compression = self.record.compression;
                let (config, session) = (hub.config().push.clone(), session.clone());
                let (id, export_name) = (self.record.id.clone(), on.nbd_export_name.clone());
                blocking::run("disk", move || {
                    let copied = files.and_then(|files| match session {
                        Some(session) => {
                            let (index, size) = (disk.index, disk.size);
                            let parent = disk.parent.map(|parent| (parent.open, parent.backing));
                            let receiving = Receiving {
                                config,
                                session,
                                repository,
                                files,
                                id,
                                index,
                                export_name,
                                size,
                                compression,
                                parent,
                                counters,
                                limiter,
                            };
                            push::receive(receiving, &control)
                        }
                        None => {
                            let limiter = limiter.as_deref();
                            copy(&repository, disk, &files, compression, &counters, limiter, &control)
                        }
                    });
                    // The others need not go on for nothing.
                    copied.inspect_err(|_| {
                        control.stop(Stop::DiskFailed);
                    })
                })
            })
            .collect();
        let bounds = Bounds { deadline, place: Some(repository.place.clone()) };
        let outcomes = supervise(join_all(copies), &mut report, &control, bounds).await;
        self.record = report.into_record();
        let stored = self.settle(outcomes, &control)?;
        self.keep_told().await;

        self.record.phase = Phase::Finalizing;
        let mut report = Reporter::new(&hub, &self.record, &self.entry, Vec::new());
        report.show();
        let completed = finish::completed(&self.record, &stored);
        let publishing = (Arc::clone(&control), repository, completed.clone());
        let work = blocking::run("publish", move || {
            let (control, repository, completed) = publishing;
            finish::publish(&repository, &completed, stored, &control)
        });
        let bounds = Bounds { deadline, place: None };
        match supervise(work, &mut report, &control, bounds).await.map_err(|error| first(&control, error))? {
            Published::Yes => {}
            Published::Later(error) => return Err(Failed { error, pending: true }),
        }
        // From here on the point exists, whatever becomes of its row.
        let row = persist(|| hub.catalog().update_backup(&completed)).await;
        if let Err(error) = row {
            tracing::error!(%error, id = %completed.id, "the point is complete, but its row is not; it will be");
        }
        let pushed = self.push.is_some().then(|| self.accepted.vm.disks.clone());
        hub.note_disks(&completed, pushed).await;
        Ok(completed)
    }

    /// What others were told of it, whoever said so, is not taken back by its end. Only for display: a catalog that does
    /// not answer is not waited for.
    async fn keep_told(&mut self) {
        let row = self.hub.catalog().backup(&self.record.id);
        if let Ok(Ok(Some(row))) = timeout(TOLD, row).await {
            raise(&mut self.record, &done_of(&row));
        }
    }

    /// Takes what the disks came to; where one failed, its error is the job's, unless the job was stopped
    /// for a reason of its own.
    fn settle(&mut self, outcomes: Vec<Result<Stored>>, control: &Control) -> Result<Vec<Stored>, Failed> {
        let mut stored = Vec::with_capacity(outcomes.len());
        let mut failed: Option<Error> = None;
        for (on, outcome) in self.record.disks.iter_mut().zip(outcomes) {
            match outcome {
                Ok(done) => stored.push(done),
                Err(error) => {
                    if !error.is_cancelled() {
                        on.error_message = Some(error.to_string());
                    }
                    if failed.as_ref().is_none_or(|before| weight(before) < weight(&error)) {
                        failed = Some(error);
                    }
                }
            }
        }
        match failed {
            Some(error) => Err(first(control, error).into()),
            None => Ok(stored),
        }
    }
}

/// Removes what a failed run may have left, empty folders included. The writers have removed their files
/// themselves; where even that failed, the next run does it. A repository that was the `cause` of the failure is
/// told already.
async fn sweep(repository: Repository, vm: VmName, cause: &Error) {
    let swept = blocking::run("sweep", move || {
        let repository = open_repository(repository, true)?;
        repository.folder.remove_partials(&vm).map_err(|error| repository.write_failure(error))
    });
    if let Err(error) = swept.await
        && !matches!(cause, Error::Repository { .. })
    {
        tracing::warn!(%error, "what a failed backup has left is removed by the next run");
    }
}

/// Why a backup failed, and whether its files will appear all the same.
pub(super) struct Failed {
    error: Error,
    /// True where the transaction is committed but could not be applied yet.
    pending: bool,
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed { error, pending: false }
    }
}

/// How much an error says: the end of other disks is an echo, and what a client says of its own end is one, too, where a
/// disk had failed it before.
fn weight(error: &Error) -> u8 {
    match error {
        Error::Cancelled | Error::Ending => 0,
        Error::Reported(_) => 1,
        _ => 2,
    }
}

/// The reason why the job was stopped, where there is one; otherwise what went wrong.
fn first(control: &Control, error: Error) -> Error {
    match control.reason() {
        Some(Stop::Reported(_)) if weight(&error) > 1 => error,
        reason => reason.and_then(Stop::error).unwrap_or(error),
    }
}

/// Opens the repository and all sources, and looks at the parents. Blocks.
fn prepare(inputs: Inputs, control: &Control) -> Result<Prepared> {
    let Inputs { repository, vm, disks, sizes, mut plan, points, on_tracking_loss, real } = inputs;
    let repository = open_repository(repository, true)?;
    if real {
        let removed =
            repository.folder.remove_partials(&vm).map_err(|error| repository.write_failure(error))?;
        for path in removed {
            tracing::info!(%path, "removed what an earlier run has left");
        }
    }
    let mut opened = Vec::with_capacity(disks.len());
    for ((index, uri), choice) in disks.into_iter().zip(&mut plan.disks) {
        control.check()?;
        let failed = |error| failure::source_failure(index, &uri, error);
        let pushed = sizes.get(&index).copied().filter(|_| uri == SourceUri::Push);
        let source = match pushed {
            Some(_) => None,
            None => Some(sources::open(&uri, control.interrupt()).map_err(failed)?),
        };
        let parent = sound_parent(&repository, &points, choice, on_tracking_loss, control)?;
        let size = source.as_ref().map_or(pushed.unwrap_or(0), |source| source.size());
        match &parent {
            Some(parent) if parent.size != size => {
                let (before, now) = (ByteSize(parent.size), ByteSize(size));
                let reason = if before == now || before.to_string() == now.to_string() {
                    format!("its size has changed from {} to {size} bytes", parent.size)
                } else {
                    format!("its size has changed from {before} to {now}")
                };
                choice.reason = Some(reason);
            }
            _ => {}
        }
        let estimate = match (&parent, &source) {
            (None, Some(source)) => block::estimate(source.as_ref()).map_err(failed)?,
            // Nobody knows before it was compared, or sent.
            _ => 0,
        };
        opened.push(Disk { index, uri, source, size, parent, estimate });
    }
    if real {
        for disk in &opened {
            let made = repository.folder.prepare(&vm, disk.index);
            made.map_err(|error| repository.write_failure(error))?;
        }
    }
    Ok(Prepared { repository, plan, disks: opened })
}

/// The parent of a disk where it can be built on; otherwise the choice becomes a full, or all fails.
fn sound_parent(
    repository: &OpenRepository,
    points: &[Backup],
    choice: &mut Choice,
    on_tracking_loss: OnTrackingLoss,
    control: &Control,
) -> Result<Option<Parent>> {
    let Some(id) = &choice.parent else { return Ok(None) };
    let lineage = lineage_of(points, id, choice.disk);
    match parent::examine(repository, lineage, choice.disk, control)? {
        Ok(parent) => Ok(Some(parent)),
        Err(reason) if on_tracking_loss == OnTrackingLoss::Fail => {
            Err(Error::TrackingLost { disk: choice.disk, reason })
        }
        Err(reason) => {
            tracing::warn!(disk = %choice.disk, reason, "a full backup is made instead");
            choice.begin_anew(reason);
            Ok(None)
        }
    }
}

/// Writes into the record what was found and decided.
fn enter(record: &mut Backup, accepted: &Accepted, prepared: &Prepared, stamp: Stamp) {
    let name = PointName { vm: record.vm_name.clone(), stamp };
    for ((on, choice), disk) in record.disks.iter_mut().zip(&prepared.plan.disks).zip(&prepared.disks) {
        on.backup_type = choice.kind;
        on.parent_backup_id = choice.parent.clone();
        on.fallback_reason = choice.reason.clone();
        on.capacity_bytes = disk.size;
        on.file = name.relative_path(on.index, choice.kind);
        on.nbd_export_name = export_name(&accepted.vm.context_id, on.index, choice.kind, stamp);
    }
    record.backup_type = prepared.plan.backup_type(record.requested_type);
    record.parent_backup_id = prepared.plan.parent().cloned();
    record.fallback_reason = prepared.plan.reason();
    record.total_bytes = record.disks.iter().map(|disk| disk.capacity_bytes).sum();
}

impl Prepared {
    fn estimate(&self) -> u64 {
        self.disks.iter().map(|disk| disk.estimate + disk.estimate / block::GRANULE * HASH_BYTES).sum()
    }
}

/// Refuses to begin what can't fit.
fn check_room(prepared: &Prepared) -> Result<()> {
    let place = &prepared.repository.place;
    let needed = prepared.estimate();
    let available = available(&place.root).unwrap_or(0);
    if available < place.reserve.saturating_add(needed) {
        return Err(Error::NoSpace {
            place: format!("repository {}", place.name),
            needed: (needed > 0).then_some(needed),
            available,
            reserve: place.reserve,
        });
    }
    Ok(())
}

/// Copies one disk into its partial files. Blocks.
fn copy(
    repository: &OpenRepository,
    disk: Disk,
    files: &DiskFiles,
    compression: Compression,
    counters: &Counters,
    limiter: Option<&Limiter>,
    control: &Control,
) -> Result<Stored> {
    let Disk { index, uri, source, size, parent, .. } = disk;
    let source = source.ok_or_else(|| Error::Internal(format!("disk {index} has no source")))?;
    let (what, backing) = match parent {
        Some(parent) => {
            let before = ChainBaseline::new(parent.open.manifests, Bottom::Full, size);
            (What::Changes(before), Some(parent.backing))
        }
        None => (What::All, None),
    };
    let plan = image::Plan {
        repository: &repository.folder,
        files,
        size,
        backing,
        compression,
        what,
        expected: None,
        counters,
        limiter,
        name: &format!("disk {index}"),
    };
    image::write(plan, source.as_ref(), control)
        .map_err(|failed| failure::backup_failure(failed, index, &uri, None, &repository.place))
}

/// The first phase without its effects: what a backup would do.
pub(super) async fn rehearse(
    hub: &Hub,
    mut record: Backup,
    accepted: Accepted,
    stamp: Stamp,
) -> Result<(Backup, BackupPlan)> {
    let inputs = Inputs {
        repository: accepted.repository.clone(),
        vm: accepted.vm.name.clone(),
        disks: accepted.disks.clone(),
        sizes: accepted.sizes(),
        plan: accepted.plan.clone(),
        points: hub.points_in(&accepted.vm.context_id, &accepted.repository.id).await?,
        on_tracking_loss: record.on_tracking_loss,
        real: false,
    };
    let prepared = blocking::run("backup plan", move || prepare(inputs, &Control::default())).await?;
    enter(&mut record, &accepted, &prepared, stamp);
    let place = &prepared.repository.place;
    let available = available(&place.root).unwrap_or(0);
    let estimated = prepared.estimate();
    let disks = record
        .disks
        .iter()
        .zip(&prepared.disks)
        .map(|(on, disk)| PlannedDisk {
            disk_id: on.index.0,
            source: on.source.clone(),
            backup_type: on.backup_type,
            parent_backup_id: on.parent_backup_id.clone(),
            capacity_bytes: on.capacity_bytes,
            estimated_bytes: disk.estimate,
            fallback_reason: on.fallback_reason.clone(),
        })
        .collect();
    let plan = BackupPlan {
        estimated_bytes: estimated,
        available_bytes: available,
        fits: available >= place.reserve.saturating_add(estimated),
        disks,
    };
    Ok((record, plan))
}
