//! Restoring a disk of a point: to a file, a block device or an NBD export.
//!
//! The point is leased (shared) for as long as it is read; all files of its chain are opened at the start. Every
//! granule is compared with the hash that was made when it was backed up, before it is written: damaged data
//! never reaches the target. A file target is made beside its place and takes its name when it is complete, so
//! a failure leaves what was there before; devices and exports keep what was written so far, and nothing
//! pretends otherwise.
//!
//! Nothing is written over without `overwrite`: an existing file, any device, the registered source of a VM.
//! Nothing is ever written into the folder of a repository.

mod target;

use crate::control::Control;
use crate::failure::target_failure;
use crate::jobs::{Bounds, Running, Starting, supervise};
use crate::points::{OpenDisk, OpenRepository};
use crate::{Error, Hub, Missing, Result, blocking};
use api::{JobResult, JobView, RestoreDisk, RestoreReport};
use block::{CopyError, CopyOptions, Counters, Limiter, Mode, Side};
use model::{Backup, BackupId, DiskIndex, JobType};
use std::num::NonZeroU64;
use std::sync::Arc;
use target::Target;
pub(crate) use target::remove_leftover;

impl Hub {
    /// Starts restoring one disk of a point; with `listed_only` to no place of this machine but those that the
    /// configuration lists.
    ///
    /// # Errors
    /// [`Error::Forbidden`] for other places.
    /// What can be told at once: no such point or disk, a target that exists, that lies in a repository or that
    /// can't be, a point that is being deleted. Everything else is on the job's record.
    pub async fn start_restore(&self, request: RestoreDisk, listed_only: bool) -> Result<JobView> {
        if request.bandwidth_limit_bps == Some(0) {
            return Err(Error::invalid("bandwidth_limit_bps", "a limit is at least 1 byte a second"));
        }
        let record = self.backup(&request.backup_id).await?;
        if !record.is_point() {
            return Err(Error::Conflict {
                message: format!("{} is {}, only restore points can be restored", record.id, record.status),
                hint: "`sendense-ctl backup list --status completed` lists them".into(),
            });
        }
        let disk = chosen_disk(&record, request.disk_id)?;
        let target = self.target_of(&request, listed_only).await?;
        let id = Starting::id(JobType::Restore)?;
        let guard = self.lock_point(&record.id, "restore", id.as_str()).await?;
        let stored = serde_json::to_value(&request).map_err(|error| Error::Internal(error.to_string()));
        let repository = self.repository_of(&record.repository_id).await;
        let (stored, repository) = match (stored, repository) {
            (Ok(stored), Ok(repository)) => (stored, repository),
            (Err(error), _) | (_, Err(error)) => {
                guard.release().await;
                return Err(error);
            }
        };
        let starting = Starting {
            id,
            job_type: JobType::Restore,
            vm_name: Some(record.vm_name.clone()),
            backup_id: Some(record.id.clone()),
            repository_id: Some(record.repository_id.clone()),
            request: Some(stored),
        };
        let hub = self.clone();
        self.start_job(starting, vec![guard], move |running| async move {
            let Running { control, tally, mut report } = running;
            let counters = tally.copy();
            if let Some(on) = record.disk(disk) {
                tally.expect(on.capacity_bytes);
            }
            let stopping = Arc::clone(&control);
            let work = async {
                let repository = hub.open_repository(repository, false).await?;
                let open = hub.open_disk(&repository, &record.id, disk).await?;
                blocking::run("restore", move || {
                    write(&repository, open, disk, &target, &request, &counters, &control)
                })
                .await
            };
            supervise(work, &mut report, &stopping, Bounds::default()).await.map(JobResult::Restore)
        })
        .await
    }

    /// Looks at the target before anything is started.
    async fn target_of(&self, request: &RestoreDisk, listed_only: bool) -> Result<Target> {
        let repositories = self.catalog().repositories().await?;
        let mut sources = Vec::new();
        let mut offset = 0;
        loop {
            let page = self.catalog().vms(api::MAX_LIMIT, offset, None).await?;
            let seen = page.items.len() as u64;
            sources.extend(page.items.into_iter().flat_map(|vm| {
                vm.disks.into_iter().map(move |disk| (vm.name.clone(), disk.source)).collect::<Vec<_>>()
            }));
            offset += seen;
            if seen == 0 || offset >= page.total {
                break;
            }
        }
        let (request, config) = (request.clone(), self.config().clone());
        let look = move || {
            let only_in = listed_only.then_some(&*config.restore_folders);
            Target::examine(&request, only_in, &config.state_dir, &repositories, &sources)
        };
        blocking::run("target", look).await
    }
}

fn chosen_disk(record: &Backup, wanted: Option<u32>) -> Result<DiskIndex> {
    match (wanted, record.disks.as_slice()) {
        (Some(wanted), _) => match record.disk(DiskIndex(wanted)) {
            Some(disk) => Ok(disk.index),
            None => Err(Error::missing(Missing::Disk, format!("{wanted} in {}", record.id))),
        },
        (None, [only]) => Ok(only.index),
        (None, disks) => {
            let indices: Vec<String> = disks.iter().map(|disk| disk.index.to_string()).collect();
            Err(Error::invalid(
                "disk_id",
                format!("{} has disks {}: name one", record.id, indices.join(", ")),
            ))
        }
    }
}

/// Copies the disk to its target. Blocks.
fn write(
    repository: &OpenRepository,
    open: OpenDisk,
    disk: DiskIndex,
    target: &Target,
    request: &RestoreDisk,
    counters: &Counters,
    control: &Control,
) -> Result<RestoreReport> {
    let size = block::BlockSource::size(&open.chain);
    let failed = |error| target_failure(target.name(), error);
    let sink = target.open(size, control).map_err(failed)?;
    let mut expected = open.expected();
    let mode = Mode::Restore { expected: if request.verify { Some(&mut expected) } else { None } };
    let name = format!("disk {disk} of {}", request.backup_id);
    let limiter = request.bandwidth_limit_bps.and_then(NonZeroU64::new).map(Limiter::new);
    let mut options = CopyOptions::new(&name, mode, counters, control.token());
    options.limiter = limiter.as_ref();
    let summary = block::copy(&open.chain, sink.as_ref(), options)
        .map_err(|failure| restore_failure(failure, &request.backup_id, repository, target.name()))?;
    sink.finish().map_err(failed)?;
    Ok(RestoreReport {
        backup_id: request.backup_id.clone(),
        disk_id: disk.0,
        target: target.name().to_owned(),
        format: target.format(),
        total_bytes: size,
        bytes_written: summary.stored,
        verified: request.verify,
    })
}

fn restore_failure(failure: CopyError, id: &BackupId, repository: &OpenRepository, target: &str) -> Error {
    match (failure.side, failure.error) {
        (Side::Sink, error) => target_failure(target, error),
        (Side::Copy, error @ block::Error::Usage { .. }) => target_failure(target, error),
        (_, error) => repository.place.read_failure(id, error),
    }
}
