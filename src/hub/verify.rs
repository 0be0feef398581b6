//! Verifying a point: every file that it is made of, structure, hashes and records.
//!
//! Looked at are the point's own files and those of everything it is built on, each file by itself, so that one
//! that is damaged hides nothing of the others. Per file: it is there, its sidecar can be read and says what
//! the catalog says, the QCOW2 structure holds together and refers to the right file, the hash manifest is
//! whole and is the one on record, and what the image stores is, granule by granule, what the manifest says: no
//! more, no less, data, zeros and holes apart. A part of the data may be chosen; everything else is always looked at whole.
//!
//! The point is leased while it is read. What was found is kept on the records of the points that were looked
//! at and of all that are hit; the job itself completes whether they are sound or not.

mod file;

use crate::control::Control;
use crate::jobs::{Bounds, Outcome, Running, Starting, Tally, supervise};
use crate::points::{OpenRepository, lineage_of};
use crate::{Error, Hub, Result, blocking};
use api::{JobResult, JobView, Subset, VerifyFinding, VerifyReport, VerifyRequest};
use catalog::BackupState;
use file::{Found, Opened, Selection};
use jiff::Timestamp;
use model::{Backup, BackupId, ChainGraph, DiskIndex, JobType};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Findings in a report.
const MOST_FINDINGS: usize = 500;

/// How often files that change while they are opened are opened again.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// A file to be looked at: of that point, that disk.
type Member = (BackupId, DiskIndex);

impl Hub {
    /// Starts verifying a point.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] where it is no point; [`Error::Locked`] while it is deleted.
    pub async fn start_verify(&self, id: &BackupId, request: VerifyRequest) -> Result<JobView> {
        let record = self.backup(id).await?;
        if !record.is_point() {
            return Err(Error::Conflict {
                message: format!("{id} is {}, only restore points can be verified", record.status),
                hint: "`sendense-ctl backup list --status completed` lists them".into(),
            });
        }
        let job_id = Starting::id(JobType::Verify)?;
        let guard = self.lock_point(id, "verify", job_id.as_str()).await?;
        let starting = Starting {
            id: job_id,
            job_type: JobType::Verify,
            vm_name: Some(record.vm_name.clone()),
            backup_id: Some(record.id.clone()),
            repository_id: Some(record.repository_id.clone()),
            request: serde_json::to_value(&request).ok(),
        };
        let hub = self.clone();
        self.start_job(starting, vec![guard], move |running| async move {
            hub.run_verify(record, request.subset, running).await
        })
        .await
    }

    async fn run_verify(self, record: Backup, subset: Option<Subset>, running: Running) -> Outcome {
        let Running { control, tally, mut report } = running;
        let stopping = Arc::clone(&control);
        let work = async {
            let repository = self.repository_of(&record.repository_id).await?;
            let repository = self.open_repository(repository, false).await?;
            let (files, points) = self.open_members(&repository, &record).await?;
            let looking = repository.clone();
            let looked =
                blocking::run("verify", move || look(&looking, files, subset, &tally, &control)).await?;
            Ok::<_, Error>((repository, looked, points))
        };
        let (repository, looked, points) = supervise(work, &mut report, &stopping, Bounds::default()).await?;
        let result = summarize(looked, &points, subset.is_none());
        self.keep_verdicts(&repository, &record, &result, &points).await?;
        Ok(JobResult::Verify(result))
    }

    /// Opens every file of the point and of what it is built on, at one moment.
    async fn open_members(
        &self,
        repository: &OpenRepository,
        record: &Backup,
    ) -> Result<(Vec<Opened>, Vec<Backup>)> {
        let mut tries = 0;
        loop {
            let points = self.points_in(&record.vm_context_id, &record.repository_id).await?;
            let Some(now) = points.iter().find(|point| point.id == record.id).cloned() else {
                return Err(Error::missing(crate::Missing::Backup, &record.id));
            };
            let mut members: Vec<(Backup, DiskIndex)> = Vec::new();
            for disk in &now.disks {
                for point in lineage_of(&points, &now.id, disk.index) {
                    members.push((point, disk.index));
                }
            }
            let keys: Vec<Member> = members.iter().map(|(point, disk)| (point.id.clone(), *disk)).collect();
            let before = self.states(&keys).await?;
            let opening = repository.clone();
            let opened = blocking::run("open", move || {
                Ok(members
                    .into_iter()
                    .map(|(point, disk)| file::open(&opening, point, disk))
                    .collect::<Vec<_>>())
            })
            .await?;
            let after = self.states(&keys).await?;
            let same = before.iter().zip(&after).all(|(before, after)| match (before, after) {
                (Some(before), Some(after)) => before.generation == after.generation,
                _ => false,
            });
            let going = before.iter().chain(&after).flatten().any(|state| state.deleting);
            tries += 1;
            // While a point is being merged away, its files and its children's change before their rows do.
            if (same && (!going || opened.iter().all(Opened::is_as_recorded))) || tries >= TRIES {
                return Ok((opened, points));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn states(&self, members: &[Member]) -> Result<Vec<Option<BackupState>>> {
        let mut states = Vec::with_capacity(members.len());
        for (id, _) in members {
            states.push(self.catalog().backup_state(id).await?);
        }
        Ok(states)
    }

    /// Keeps the verdict on every point that was looked at whole, and on every one that is hit.
    async fn keep_verdicts(
        &self,
        repository: &OpenRepository,
        record: &Backup,
        report: &VerifyReport,
        points: &[Backup],
    ) -> Result<()> {
        let now = Timestamp::now();
        let mut told: BTreeSet<&BackupId> = report.affected.iter().collect();
        // A point below was looked at for the disks of this one only.
        let whole = |id: &BackupId| {
            let point = points.iter().find(|point| point.id == *id);
            point.is_some_and(|point| point.disks.iter().all(|disk| record.disk(disk.index).is_some()))
        };
        told.extend(report.checked.iter().filter(|id| whole(id)));
        for id in told {
            match self.note_verification(repository, id, report.verification(id, now)).await {
                // Deleted or merged away meanwhile.
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Looks at every file. Blocks.
fn look(
    repository: &OpenRepository,
    files: Vec<Opened>,
    subset: Option<Subset>,
    tally: &Tally,
    control: &Control,
) -> Result<Vec<Found>> {
    let stored = files.iter().map(Opened::stored_bytes).sum();
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let selection = Selection { subset, stored, seed };
    tally.expect(files.iter().map(|file| selection.bytes(file.size())).sum());
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        control.check()?;
        found.push(file::look(repository, file, selection, &tally.copy(), control)?);
    }
    Ok(found)
}

/// Puts what was found in the files together, and tells who is hit.
fn summarize(found: Vec<Found>, points: &[Backup], whole: bool) -> VerifyReport {
    let graph = ChainGraph::new(points);
    let mut checked: Vec<BackupId> = Vec::new();
    let mut findings: Vec<VerifyFinding> = Vec::new();
    let mut hit: BTreeSet<BackupId> = BTreeSet::new();
    let (mut bytes_checked, mut left_out) = (0, 0);
    for file in found {
        if !checked.contains(&file.point) {
            checked.push(file.point.clone());
        }
        bytes_checked += file.bytes;
        left_out += file.left_out;
        if file.problems.is_empty() {
            continue;
        }
        // A point is hit where its chain for this disk goes through this file.
        let affected: Vec<BackupId> = points
            .iter()
            .filter(|point| graph.lineage(&point.id, file.disk).iter().any(|below| below.id == file.point))
            .map(|point| point.id.clone())
            .collect();
        for problem in file.problems {
            let affected = if problem.hurts { affected.clone() } else { vec![file.point.clone()] };
            hit.extend(affected.iter().cloned());
            findings.push(VerifyFinding {
                backup_id: file.point.clone(),
                disk_id: Some(file.disk.0),
                kind: problem.kind,
                message: problem.message,
                offset: problem.offset,
                length: problem.length,
                affected,
            });
        }
    }
    left_out += findings.len().saturating_sub(MOST_FINDINGS) as u64;
    findings.truncate(MOST_FINDINGS);
    let oldest_first = |wanted: &dyn Fn(&BackupId) -> bool| -> Vec<BackupId> {
        points.iter().filter(|point| wanted(&point.id)).map(|point| point.id.clone()).collect()
    };
    VerifyReport {
        ok: hit.is_empty(),
        whole,
        bytes_checked,
        findings,
        findings_left_out: left_out,
        affected: oldest_first(&|id| hit.contains(id)),
        checked: oldest_first(&|id| checked.contains(id)),
    }
}
