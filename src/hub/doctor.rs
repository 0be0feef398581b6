//! What is wrong with the hub as a whole, and putting right what can be put right without asking.
//!
//! Looking changes nothing. Putting right does only what recovery, scanning and cleaning do anyway, each under
//! the leases that it needs; what a live process works on is left alone. A finding counts as fixed when it is
//! gone after that. Damage to points is told, never touched.

use crate::points::{OpenRepository, open_repository};
use crate::scan::{self, Contents};
use crate::{Error, Hub, Result, blocking};
use api::{Finding, Severity};
use catalog::{LeaseHolder, OwnerState, Resource};
use jiff::Timestamp;
use model::{Backup, BackupId, ByteSize, Repository, VmName, shell_word};
use repository::{LocalRepository, PARTIAL, ProblemKind};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::timeout;

/// The checks by name, in the order of their findings.
const CHECKS: [&str; 7] = ["catalog", "leases", "jobs", "repositories", "files", "records", "verification"];

/// How long a catalog is waited for before there is nothing to look at.
const PATIENCE: Duration = Duration::from_secs(5);

/// Findings of one kind that are told one by one.
const TOLD: usize = 50;

#[derive(Default)]
struct Notes(Vec<Finding>);

impl Notes {
    fn add(&mut self, check: &str, severity: Severity, message: String, hint: Option<&str>, fixable: bool) {
        let same = self.0.iter().filter(|finding| finding.check == check).count();
        if same < TOLD {
            self.0.push(Finding {
                check: check.to_owned(),
                severity,
                message,
                hint: hint.map(str::to_owned),
                fixable,
                fixed: false,
            });
        }
    }
}

/// Points of later than now: the newest of each VM.
fn note_times(contents: &Contents, notes: &mut Notes) {
    let now = Timestamp::now();
    let mut newest: BTreeMap<&VmName, (u64, &Backup)> = BTreeMap::new();
    for point in contents.points.iter().filter(|point| point.created_at > now) {
        let (count, latest) = newest.entry(&point.vm_name).or_insert((0, point));
        *count += 1;
        if point.created_at > latest.created_at {
            *latest = point;
        }
    }
    for (vm, (count, point)) in newest {
        let (points, are) = if count == 1 { ("point", "is") } else { ("points", "are") };
        let message = format!(
            "{count} {points} of {vm} {are} of later than now, the newest of {}: this clock is wrong, or was when they were made",
            point.created_at
        );
        let hint = "set the clock; until then new points follow those, a second later each";
        notes.add("records", Severity::Warning, message, Some(hint), false);
    }
}

impl Notes {
    /// A check that could not be made.
    fn failed(&mut self, check: &str, error: &Error) {
        self.add(check, Severity::Error, error.to_string(), error.hint().as_deref(), false);
    }

    /// A check that was not made, or not wholly, because of another.
    fn unseen(&mut self, check: &str) {
        self.add(check, Severity::Warning, "could not be looked at".into(), None, false);
    }
}

/// What there is to say where the catalog does not answer.
fn without_catalog(catalog: &str) -> Vec<Finding> {
    let mut notes = Notes::default();
    let message = format!("the catalog {catalog} does not answer within {} s", PATIENCE.as_secs());
    let hint = "start its server, or look at the way there; the repositories' files do not need it";
    notes.add(CHECKS[0], Severity::Error, message, Some(hint), false);
    for check in &CHECKS[1..] {
        notes.unseen(check);
    }
    notes.0
}

impl Hub {
    /// Looks at everything. Checks that find nothing say so.
    ///
    /// # Errors
    /// Where a look could not be taken for a reason of this machine; what is wrong, a damaged catalog
    /// included, is a finding.
    pub async fn doctor(&self) -> Result<Vec<Finding>> {
        let mut notes = Notes::default();
        if timeout(PATIENCE, self.catalog_answers()).await.is_err() {
            return Ok(without_catalog(&self.config().catalog_location().to_string()));
        }
        match self.catalog().check().await {
            Ok(problems) => {
                let hint = "move it aside; `sendense-ctl repo scan` rebuilds it from the repositories";
                for problem in problems {
                    notes.add("catalog", Severity::Error, problem, Some(hint), false);
                }
            }
            Err(error) => notes.failed("catalog", &error.into()),
        }
        match self.catalog().check_counts().await {
            Ok(problems) if problems.is_empty() => {}
            Ok(problems) => {
                let message = format!("the catalog counts its entries wrongly: {}", problems.join("; "));
                notes.add("catalog", Severity::Error, message, Some("`sendense-ctl doctor --fix`"), true);
            }
            Err(error) => notes.failed("catalog", &error.into()),
        }
        let mut unseen: Vec<&str> = Vec::new();
        if let Err(error) = self.look_at_jobs(&mut notes).await {
            notes.failed("jobs", &error);
            unseen.push("leases");
        }
        for repository in self.repositories_to_look_at(&mut notes).await? {
            if let Err(error) = self.look_at_repository(repository, &mut notes).await {
                notes.failed("records", &error);
                unseen.extend(["files", "verification"]);
            }
        }
        for check in CHECKS {
            match notes.0.iter().any(|finding| finding.check == check) {
                true => {}
                false if unseen.contains(&check) => notes.unseen(check),
                false => notes.add(check, Severity::Ok, "nothing is wrong".into(), None, false),
            }
        }
        let order = |finding: &Finding| CHECKS.iter().position(|check| *check == finding.check);
        notes.0.sort_by_key(order);
        Ok(notes.0)
    }

    /// Puts right what these checks found (all of them where none is named), and tells what there was.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a check that does not exist; and as for [`doctor`](Hub::doctor).
    pub async fn doctor_fix(&self, checks: &[String]) -> Result<Vec<Finding>> {
        if let Some(unknown) = checks.iter().find(|check| !CHECKS.contains(&check.as_str())) {
            return Err(Error::invalid("checks", format!("{unknown:?} is none of {}", CHECKS.join(", "))));
        }
        let wanted = |check: &str| checks.is_empty() || checks.iter().any(|wanted| wanted == check);
        let mut findings = self.doctor().await?;
        let found = |check: &str| {
            wanted(check) && findings.iter().any(|finding| finding.check == check && finding.fixable)
        };
        let (jobs, files, records) = (found("leases") || found("jobs"), found("files"), found("records"));
        if jobs {
            self.recover().await?;
        }
        if found("catalog") {
            self.catalog().recount().await?;
        }
        if findings.iter().all(|finding| !finding.fixable) {
            return Ok(findings);
        }
        for repository in self.catalog().repositories().await? {
            if files && let Err(error) = self.clean(&repository).await {
                tracing::warn!(%error, repository = %repository.name, "it can't be cleaned");
            }
            if records && let Err(error) = self.scan_repository(repository.id.as_str()).await {
                tracing::warn!(%error, repository = %repository.name, "it can't be scanned");
            }
        }
        let after = self.doctor().await?;
        for finding in findings.iter_mut().filter(|finding| finding.fixable && wanted(&finding.check)) {
            finding.fixed =
                !after.iter().any(|now| now.check == finding.check && now.message == finding.message);
        }
        Ok(findings)
    }

    /// Where the catalog can't tell them, at least the one that this hub makes by itself.
    async fn repositories_to_look_at(&self, notes: &mut Notes) -> Result<Vec<Repository>> {
        let error = match self.catalog().repositories().await {
            Ok(all) => return Ok(all),
            Err(error) => error,
        };
        notes.failed("repositories", &error.into());
        let path = self.config().default_repository_path();
        blocking::run("doctor", move || {
            let Ok(folder) = LocalRepository::open_for_reading(&path) else { return Ok(Vec::new()) };
            Ok(vec![crate::repositories::record_of(&folder)])
        })
        .await
    }

    async fn look_at_jobs(&self, notes: &mut Notes) -> Result<()> {
        let backups = self.catalog().unfinished_backups().await?;
        let jobs = self.catalog().unfinished_jobs().await?;
        let leases = self.catalog().leases().await?;
        let now = self.catalog().now();
        let (dead, alive): (Vec<&LeaseHolder>, Vec<&LeaseHolder>) =
            leases.iter().partition(|holder| holder.state(now) == OwnerState::Dead);
        for holder in dead {
            let message = format!("{} is held by a process that is gone: {holder}", holder.lease.resource);
            notes.add("leases", Severity::Warning, message, Some("`sendense-ctl doctor --fix`"), true);
        }
        let held: BTreeSet<&str> = alive.iter().filter_map(|holder| holder.job_id.as_deref()).collect();
        let ids = backups.iter().map(|backup| (backup.id.as_str(), backup.status));
        for (id, status) in ids.chain(jobs.iter().map(|job| (job.id.as_str(), job.status))) {
            if !held.contains(id) && !self.inner.registry.contains(id) {
                let message = format!("{id} is {status}, but nobody runs it");
                notes.add("jobs", Severity::Warning, message, Some("`sendense-ctl doctor --fix`"), true);
            }
        }
        Ok(())
    }

    async fn look_at_repository(&self, repository: Repository, notes: &mut Notes) -> Result<()> {
        let reading = repository.clone();
        let looked = blocking::run("doctor", move || {
            let open = match open_repository(reading.clone(), true) {
                Ok(open) => (open, None),
                Err(error @ Error::Repository { .. }) => (open_repository(reading, false)?, Some(error)),
                Err(error) => return Err(error),
            };
            let contents = scan::contents(&open.0)?;
            Ok((open, contents))
        })
        .await;
        let ((open, not_writable), contents) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                notes.add("repositories", Severity::Error, error.to_string(), error.hint().as_deref(), false);
                return Ok(());
            }
        };
        if let Some(error) = not_writable {
            notes.add("repositories", Severity::Error, error.to_string(), error.hint().as_deref(), false);
        }
        note_room(&open, notes);
        let busy = self.busy_vms().await;
        note_files(&repository, &contents, busy.as_ref().ok(), notes);
        busy?;
        self.note_records(&repository, &contents, notes).await
    }

    /// VMs that a live process works on: their partial files are in use.
    async fn busy_vms(&self) -> Result<BTreeSet<VmName>> {
        let now = self.catalog().now();
        let mut busy = BTreeSet::new();
        for holder in self.catalog().leases().await? {
            if let Resource::Vm(context) = &holder.lease.resource
                && holder.state(now) != OwnerState::Dead
                && let Some(vm) = self.catalog().vm(context).await?
            {
                busy.insert(vm.name);
            }
        }
        Ok(busy)
    }

    async fn note_records(
        &self,
        repository: &Repository,
        contents: &Contents,
        notes: &mut Notes,
    ) -> Result<()> {
        note_times(contents, notes);
        let scan_hint = format!("`sendense-ctl repo scan {}`", shell_word(repository.name.as_str()));
        for point in &contents.points {
            match self.catalog().backup(&point.id).await? {
                None => {
                    let message =
                        format!("{} lies in {}, but the catalog does not have it", point.id, repository.name);
                    notes.add("records", Severity::Warning, message, Some(&scan_hint), true);
                }
                Some(row) => {
                    if row.is_point() && !crate::labels::is_same_point(point, &row) {
                        let message =
                            format!("the catalog and the sidecar of {} say different things", point.id);
                        notes.add("records", Severity::Warning, message, Some(&scan_hint), true);
                    }
                    if let Some(found) = row.verification.as_ref().filter(|found| !found.ok) {
                        let problem = found.problems.first().map_or("", String::as_str);
                        let message = format!("{} is damaged: {problem}", row.id);
                        let hint =
                            "what is built on it is hit too; the next full backup begins a sound chain";
                        notes.add("verification", Severity::Error, message, Some(hint), false);
                    }
                }
            }
        }
        let present: BTreeSet<&BackupId> = contents.points.iter().map(|point| &point.id).collect();
        let missing: Vec<Backup> = self.rows_without(repository, &present).await?;
        for row in missing {
            let message = format!("{} is in the catalog, but not whole in {}", row.id, repository.name);
            notes.add("records", Severity::Error, message, Some(&scan_hint), true);
        }
        Ok(())
    }

    /// Completes transactions and removes partial files that nobody works on.
    async fn clean(&self, repository: &Repository) -> Result<()> {
        let record = repository.clone();
        let names = blocking::run("doctor", move || {
            let open = open_repository(record, true)?;
            open.folder.recover().map_err(|error| open.write_failure(error))?;
            Ok(partial_vms(&scan::contents(&open)?))
        })
        .await?;
        for name in names {
            let record = repository.clone();
            let guard = match self.catalog().vm_by_name(&name).await? {
                Some(vm) => match self.lock_vm(&vm.context_id, &name, "doctor", None).await {
                    Ok(guard) => Some(guard),
                    Err(Error::Locked { .. }) => continue,
                    Err(error) => return Err(error),
                },
                // Nobody can work on a VM that is not known.
                None => None,
            };
            let removed = blocking::run("doctor", move || {
                let open = open_repository(record, true)?;
                open.folder.remove_partials(&name).map_err(|error| open.write_failure(error))
            })
            .await;
            if let Some(guard) = guard {
                guard.release().await;
            }
            removed?;
        }
        Ok(())
    }
}

fn note_room(open: &OpenRepository, notes: &mut Notes) {
    let available = crate::failure::available(&open.place.root).unwrap_or(0);
    if available < open.place.reserve {
        let message = format!(
            "repository {} has {} left, {} must stay free: no backup can begin",
            open.place.name,
            ByteSize(available),
            ByteSize(open.place.reserve)
        );
        let hint = "delete or merge old points, or enlarge the file system";
        notes.add("repositories", Severity::Warning, message, Some(hint), false);
    }
}

/// `busy`: the VMs that are worked on; `None` where that is not known.
fn note_files(
    repository: &Repository,
    contents: &Contents,
    busy: Option<&BTreeSet<VmName>>,
    notes: &mut Notes,
) {
    let fix = "`sendense-ctl doctor --fix`";
    for problem in &contents.problems {
        let message = format!("{}: {}", repository.name, scan::describe(problem));
        let vm = problem.path.split('/').next().and_then(|name| VmName::new(name).ok());
        match problem.kind {
            ProblemKind::Foreign => {}
            ProblemKind::Partial if busy.is_none_or(|busy| vm.is_some_and(|vm| busy.contains(&vm))) => {}
            ProblemKind::Partial => notes.add("files", Severity::Warning, message, Some(fix), true),
            ProblemKind::Transaction => {
                let pending = !problem.path.ends_with(".damaged");
                notes.add("files", Severity::Warning, message, Some(fix), pending);
            }
            ProblemKind::Orphan => {
                let hint = "if nobody needs it, remove it by hand";
                notes.add("files", Severity::Warning, message, Some(hint), false);
            }
            ProblemKind::Missing
            | ProblemKind::BadSidecar
            | ProblemKind::NewerSidecar
            | ProblemKind::Disagreement
            | ProblemKind::UnknownParent
            | ProblemKind::Unreadable => {
                let hint = "`sendense-ctl backup verify` tells which points are hit";
                notes.add("files", Severity::Error, message, Some(hint), false);
            }
        }
    }
}

fn partial_vms(contents: &Contents) -> BTreeSet<VmName> {
    contents
        .problems
        .iter()
        .filter(|problem| problem.path.ends_with(PARTIAL))
        .filter_map(|problem| VmName::new(problem.path.split('/').next()?).ok())
        .collect()
}
