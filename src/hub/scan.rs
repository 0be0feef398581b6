//! Taking in what a repository holds: how a lost catalog comes back, and how one that is behind catches up.
//!
//! The sidecars are the truth. Points that the catalog does not have are added, records that differ take the
//! sidecar's side, VMs that nobody registered are, from their newest point. A completed row of which no file is
//! left becomes failed; where only some are gone it stays and is told as a problem. Nothing in the repository
//! is changed, but for transactions of dead processes, which are completed first.
//!
//! The lease on the repository's records is held, so no sidecar is rewritten meanwhile. The rows come in one
//! transaction; a crash before it leaves the catalog as it was.

use crate::points::{OpenRepository, open_repository};
use crate::{Error, Hub, Result, blocking};
use api::{ErrorCode, ScanReport};
use catalog::{BackupFilter, Existing};
use jiff::Timestamp;
use model::{Backup, BackupId, ContextId, Phase, Repository, Status, Vm, VmDisk};
use repository::{DiskFiles, Problem, ProblemKind, ScanItem};
use std::collections::{BTreeMap, BTreeSet};

/// Problems told in one report.
const TOLD: usize = 1000;

/// What a repository holds.
pub(crate) struct Contents {
    /// The complete points.
    pub points: Vec<Backup>,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
}

impl Hub {
    /// Takes in what a repository holds.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Repository`] where it can't be read; [`Error::Locked`].
    pub async fn scan_repository(&self, id: &str) -> Result<ScanReport> {
        // With the catalog the default repository's record was lost too: it comes back by itself.
        let repository = self.repository_or_default(Some(id)).await?;
        let guard = self.lock_records(&repository, "scan").await?;
        let outcome = self.scan_locked(repository).await;
        guard.release().await;
        outcome
    }

    async fn scan_locked(&self, repository: Repository) -> Result<ScanReport> {
        let reading = repository.clone();
        let contents = blocking::run("scan", move || read(reading)).await?;
        let mut problems: Vec<String> = contents.problems.iter().map(describe).collect();
        let mut points = contents.points;
        for point in &mut points {
            if point.repository_id != repository.id {
                problems
                    .push(format!("{} says that it belongs to repository {}", point.id, point.repository_id));
                point.repository_id = repository.id.clone();
            }
        }
        problems.extend(self.register_vms(&points).await?);
        let imported = self.catalog().import_backups(&points, Existing::Replace).await?;
        let present: BTreeSet<&BackupId> = points.iter().map(|point| &point.id).collect();
        let mut missing = 0;
        for row in self.rows_without(&repository, &present).await? {
            if self.is_gone(&repository, &row).await? {
                self.give_up(&row).await?;
                missing += 1;
            }
        }
        let more = problems.len().saturating_sub(TOLD);
        problems.truncate(TOLD);
        if more > 0 {
            problems.push(format!("and {more} more"));
        }
        Ok(ScanReport {
            success: true,
            repository_id: repository.id,
            found: points.len() as u64,
            added: imported.inserted,
            updated: imported.replaced,
            missing,
            problems,
        })
    }

    /// Registers the VMs of points that have none.
    async fn register_vms(&self, points: &[Backup]) -> Result<Vec<String>> {
        let mut by_context: BTreeMap<&ContextId, (&Backup, Timestamp)> = BTreeMap::new();
        for point in points {
            let entry = by_context.entry(&point.vm_context_id).or_insert((point, point.created_at));
            if (point.created_at, &point.id) > (entry.0.created_at, &entry.0.id) {
                entry.0 = point;
            }
            entry.1 = entry.1.min(point.created_at);
        }
        let mut problems = Vec::new();
        for (context, (newest, since)) in by_context {
            if self.catalog().vm(context).await?.is_some() {
                continue;
            }
            let disks = newest.disks.iter().map(|disk| VmDisk {
                index: disk.index,
                source: disk.source.clone(),
                capacity_bytes: Some(disk.capacity_bytes),
            });
            let vm = Vm {
                context_id: context.clone(),
                name: newest.vm_name.clone(),
                disks: disks.collect(),
                created_at: since,
                updated_at: newest.created_at,
            };
            match self.catalog().insert_vm(&vm).await {
                Ok(()) => {}
                Err(catalog::Error::AlreadyExists { .. }) => problems.push(format!(
                    "VM {} of these points ({context}) is not registered: another one has its name",
                    vm.name
                )),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(problems)
    }

    /// Completed rows of a repository that are not among these points.
    pub(crate) async fn rows_without(
        &self,
        repository: &Repository,
        present: &BTreeSet<&BackupId>,
    ) -> Result<Vec<Backup>> {
        let mut without = Vec::new();
        let mut offset = 0;
        loop {
            let filter = BackupFilter {
                repository_id: Some(repository.id.clone()),
                status: Some(Status::Completed),
                limit: api::MAX_LIMIT,
                offset,
                ..BackupFilter::default()
            };
            let page = self.catalog().backups(&filter).await?;
            let seen = page.items.len() as u64;
            without.extend(page.items.into_iter().filter(|row| !present.contains(&row.id)));
            offset += seen;
            if seen == 0 || offset >= page.total {
                return Ok(without);
            }
        }
    }

    /// True where no file of it is left.
    async fn is_gone(&self, repository: &Repository, row: &Backup) -> Result<bool> {
        let (repository, row) = (repository.clone(), row.clone());
        blocking::run("scan", move || {
            let folder = crate::repositories::open(&repository, false)?;
            let mut files = row.disks.iter().filter_map(|disk| DiskFiles::of(disk).ok());
            Ok(files
                .all(|files| files.all().into_iter().all(|path| matches!(folder.exists(path), Ok(false)))))
        })
        .await
    }

    async fn give_up(&self, row: &Backup) -> Result<()> {
        let write = |row: &mut Backup| {
            row.status = Status::Failed;
            row.phase = Phase::Failed;
            row.error_message = Some("its files are no longer in the repository".into());
            row.error_code = Some(ErrorCode::Damaged.as_str().to_owned());
            row.disks.iter_mut().for_each(|disk| disk.status = Status::Failed);
        };
        self.catalog().modify_backup(&row.id, write).await?;
        Ok(())
    }
}

/// Reads a whole repository. Blocks.
pub(crate) fn read(repository: Repository) -> Result<Contents> {
    // One that can only be read is taken in all the same; what is pending there stays so.
    let open = match open_repository(repository.clone(), true) {
        Ok(open) => {
            open.folder.recover().map_err(|error| open.write_failure(error))?;
            open
        }
        Err(Error::Repository { .. }) => open_repository(repository, false)?,
        Err(error) => return Err(error),
    };
    contents(&open)
}

/// Reads a whole repository as it is. Blocks.
pub(crate) fn contents(open: &OpenRepository) -> Result<Contents> {
    let mut contents = Contents { points: Vec::new(), problems: Vec::new() };
    for item in open.folder.scan().map_err(|error| open.write_failure(error))? {
        match item {
            ScanItem::Point(point) => contents.points.push(*point),
            ScanItem::Problem(Problem { kind: ProblemKind::Foreign, .. }) => {}
            ScanItem::Problem(problem) => contents.problems.push(problem),
        }
    }
    Ok(contents)
}

/// A problem in one sentence.
pub(crate) fn describe(problem: &Problem) -> String {
    format!("{}: {}", problem.path, problem.detail)
}
