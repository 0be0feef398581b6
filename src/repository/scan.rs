//! Looking through a whole repository: which points are there, and what is wrong.
//!
//! A point is complete when every disk that its sidecar names has its image, sidecar and manifest. Only names
//! are looked at and sidecars read, no image is opened: whether the bytes are true is `verify`'s business.
//! The walk goes exactly two folders deep, follows no links, holds one VM's files in memory at a time, and
//! reports what does not belong here instead of touching it.

use crate::ballast;
use crate::gate::{EntryKind, Files, Gate};
use crate::marker;
use crate::path::DiskFiles;
use crate::{Error, RelPath, Result, sidecar};
use model::{Backup, BackupId, VmName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// What a scan finds.
#[derive(Debug, Clone, PartialEq)]
pub enum ScanItem {
    /// A complete restore point.
    Point(Box<Backup>),
    /// Something that is not as it should be.
    Problem(Problem),
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub kind: ProblemKind,
    /// The file or folder, relative to the root. Bytes that are no UTF-8 are shown as `�`.
    pub path: String,
    /// The point that is hit, where one can be told.
    pub backup_id: Option<BackupId>,
    /// What is wrong, for a person.
    pub detail: String,
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProblemKind {
    /// Not a file of a repository; it is left alone.
    Foreign,
    /// A file in work: of a backup that runs now, or left by a crash.
    Partial,
    /// An image or manifest that no sidecar names.
    Orphan,
    /// A file that a sidecar names is not there: the point can't be restored.
    Missing,
    /// A sidecar that can't be read or is no valid record.
    BadSidecar,
    /// A sidecar of a newer version of this program.
    NewerSidecar,
    /// The sidecars of one point do not say the same.
    Disagreement,
    /// A point is built on one that is not here: it can't be restored.
    UnknownParent,
    /// A folder that can't be read.
    Unreadable,
    /// A change that was not completed, or can't be.
    Transaction,
}

impl ProblemKind {
    /// The stable word of this kind.
    pub fn as_str(self) -> &'static str {
        match self {
            ProblemKind::Foreign => "foreign",
            ProblemKind::Partial => "partial",
            ProblemKind::Orphan => "orphan",
            ProblemKind::Missing => "missing",
            ProblemKind::BadSidecar => "bad_sidecar",
            ProblemKind::NewerSidecar => "newer_sidecar",
            ProblemKind::Disagreement => "disagreement",
            ProblemKind::UnknownParent => "unknown_parent",
            ProblemKind::Unreadable => "unreadable",
            ProblemKind::Transaction => "transaction",
        }
    }

    /// True where points are hit, as opposed to things that are merely lying about.
    pub fn is_damage(self) -> bool {
        match self {
            ProblemKind::Foreign | ProblemKind::Partial | ProblemKind::Orphan => false,
            ProblemKind::Missing
            | ProblemKind::BadSidecar
            | ProblemKind::NewerSidecar
            | ProblemKind::Disagreement
            | ProblemKind::UnknownParent
            | ProblemKind::Unreadable
            | ProblemKind::Transaction => true,
        }
    }
}

/// The points and problems of a repository, VM by VM in the order of their names; within a VM the points come
/// first, oldest first.
#[derive(Debug)]
pub struct Scan {
    gate: Arc<Gate>,
    vms: std::vec::IntoIter<String>,
    ready: VecDeque<ScanItem>,
}

impl Scan {
    pub(crate) fn new(gate: Arc<Gate>) -> Result<Self> {
        let mut vms = Vec::new();
        let mut ready = VecDeque::new();
        for entry in gate.list(None).map_err(Error::io("list", "."))? {
            let shown = entry.name.to_string_lossy().into_owned();
            match (entry.kind, entry.name.into_string()) {
                (EntryKind::Folder, Ok(name)) if name == marker::FOLDER => own_files(&gate, &mut ready)?,
                (EntryKind::Folder, Ok(name)) if VmName::new(name.as_str()).is_ok() => vms.push(name),
                // Every file system has its own; it is nobody's mistake.
                (EntryKind::Folder, Ok(name)) if name == "lost+found" => {}
                _ => ready.push_back(problem(ProblemKind::Foreign, shown, None, "it is not a VM's folder")),
            }
        }
        vms.sort();
        Ok(Scan { gate, vms: vms.into_iter(), ready })
    }
}

impl Iterator for Scan {
    type Item = ScanItem;

    fn next(&mut self) -> Option<ScanItem> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let vm = self.vms.next()?;
            VmScan::new(&self.gate, vm).run(&mut self.ready);
        }
    }
}

fn problem(
    kind: ProblemKind,
    path: impl Into<String>,
    id: Option<&BackupId>,
    detail: impl Into<String>,
) -> ScanItem {
    ScanItem::Problem(Problem { kind, path: path.into(), backup_id: id.cloned(), detail: detail.into() })
}

/// What lies in `.sendense` besides the marker.
fn own_files(gate: &Gate, ready: &mut VecDeque<ScanItem>) -> Result<()> {
    let folder = marker::folder()?;
    for entry in gate.list(Some(&folder)).map_err(Error::io("list", &folder))? {
        let name = entry.name.to_string_lossy();
        let (kind, detail) = if name == ballast::NAME || marker::MARKER.ends_with(&format!("/{name}")) {
            continue;
        } else if name.ends_with(crate::PARTIAL) {
            (ProblemKind::Partial, "a change that was not committed")
        } else if name.starts_with("txn-") && name.ends_with(".json") {
            (ProblemKind::Transaction, "a change that is not completed yet")
        } else if name.starts_with("txn-") && name.ends_with(".damaged") {
            (ProblemKind::Transaction, "a change that could not be understood; its points may be incomplete")
        } else {
            (ProblemKind::Foreign, "it is not a file of the repository")
        };
        ready.push_back(problem(kind, format!("{folder}/{name}"), None, detail));
    }
    Ok(())
}

/// One VM's folder.
struct VmScan<'a> {
    gate: &'a Gate,
    vm: String,
    files: BTreeSet<RelPath>,
    problems: Vec<ScanItem>,
}

impl<'a> VmScan<'a> {
    fn new(gate: &'a Gate, vm: String) -> Self {
        VmScan { gate, vm, files: BTreeSet::new(), problems: Vec::new() }
    }

    fn run(mut self, ready: &mut VecDeque<ScanItem>) {
        match RelPath::new(self.vm.as_str()) {
            Ok(top) => self.list(&top),
            Err(error) => self.note(ProblemKind::Foreign, self.vm.clone(), None, error.to_string()),
        }
        let records = self.read_sidecars();
        let points = self.complete_points(records);
        self.check_parents(&points);
        ready.extend(points.into_iter().map(|point| ScanItem::Point(Box::new(point))));
        ready.extend(self.problems);
    }

    fn note(
        &mut self,
        kind: ProblemKind,
        path: impl Into<String>,
        id: Option<&BackupId>,
        detail: impl Into<String>,
    ) {
        self.problems.push(problem(kind, path, id, detail));
    }

    /// Sorts what lies in a VM's folder (`depth` 1) or in a disk's.
    fn list(&mut self, folder: &RelPath) {
        let entries = match self.gate.list(Some(folder)) {
            Ok(entries) => entries,
            Err(error) => {
                return self.note(ProblemKind::Unreadable, folder.as_str(), None, error.to_string());
            }
        };
        let top = folder.parent().is_none();
        for entry in entries {
            let shown = format!("{folder}/{}", entry.name.to_string_lossy());
            let path = entry.name.to_str().and_then(|name| folder.join(name).ok());
            match (entry.kind, path) {
                (EntryKind::Folder, Some(path)) if top && is_disk_folder(path.file_name()) => {
                    self.list(&path)
                }
                (EntryKind::File, Some(path)) if path.is_partial() => {
                    self.note(ProblemKind::Partial, shown, None, "a file in work, or left by a crash");
                }
                (EntryKind::File, Some(path)) if !top && has_our_ending(path.file_name()) => {
                    self.files.insert(path);
                }
                _ => self.note(ProblemKind::Foreign, shown, None, "it is not a file of a point"),
            }
        }
    }

    /// Every readable sidecar, by the id of its point.
    fn read_sidecars(&mut self) -> BTreeMap<BackupId, Vec<(RelPath, Backup)>> {
        let sidecars: Vec<RelPath> =
            self.files.iter().filter(|path| path.as_str().ends_with(".json")).cloned().collect();
        let mut records: BTreeMap<BackupId, Vec<(RelPath, Backup)>> = BTreeMap::new();
        for path in sidecars {
            match sidecar::read(self.gate, &path) {
                Ok(backup) => records.entry(backup.id.clone()).or_default().push((path, backup)),
                Err(error @ Error::Newer { .. }) => {
                    self.note(ProblemKind::NewerSidecar, path.as_str(), None, error.to_string());
                }
                Err(error) => {
                    let detail = match error {
                        Error::Damaged { reason, .. } => reason,
                        other => other.to_string(),
                    };
                    self.note(ProblemKind::BadSidecar, path.as_str(), None, detail);
                }
            }
        }
        records
    }

    /// The points of which everything is there, oldest first; notes what lacks, and what nobody names.
    fn complete_points(&mut self, records: BTreeMap<BackupId, Vec<(RelPath, Backup)>>) -> Vec<Backup> {
        let mut named: BTreeSet<RelPath> = BTreeSet::new();
        let mut points = Vec::new();
        for (id, mut found) in records {
            if !self.agree(&id, &found) {
                named.extend(found.iter().flat_map(|(_, backup)| files_of(backup)));
                continue;
            }
            let (_, backup) = found.swap_remove(0);
            let missing: Vec<RelPath> = files_of(&backup).filter(|path| !self.files.contains(path)).collect();
            named.extend(files_of(&backup));
            if missing.is_empty() {
                points.push(backup);
            }
            for path in missing {
                self.note(ProblemKind::Missing, path.as_str(), Some(&id), format!("{id} can't be restored"));
            }
        }
        // An unreadable sidecar is a problem already; its image and manifest are not orphans.
        let unread: BTreeSet<&str> = self
            .problems
            .iter()
            .filter_map(|item| match item {
                ScanItem::Problem(problem)
                    if matches!(problem.kind, ProblemKind::BadSidecar | ProblemKind::NewerSidecar) =>
                {
                    problem.path.strip_suffix(".json")
                }
                _ => None,
            })
            .collect();
        let orphans: Vec<RelPath> = self
            .files
            .iter()
            .filter(|path| !named.contains(path) && !path.as_str().ends_with(".json"))
            .filter(|path| !unread.contains(stem(path.as_str())))
            .cloned()
            .collect();
        for path in orphans {
            self.note(ProblemKind::Orphan, path.as_str(), None, "no sidecar names it");
        }
        points.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        points
    }

    /// True where the sidecars of one point describe the same point. That they differ in what a user may
    /// change later (tags, notes, protection) is noted, and the first disk's is taken.
    fn agree(&mut self, id: &BackupId, found: &[(RelPath, Backup)]) -> bool {
        let Some(((_, first), rest)) = found.split_first() else { return false };
        for (path, other) in rest {
            if other == first {
                continue;
            }
            let detail = format!("it differs from the other sidecars of {id}");
            self.note(ProblemKind::Disagreement, path.as_str(), Some(id), detail);
            if unchangeable(other) != unchangeable(first) {
                return false;
            }
        }
        true
    }

    fn check_parents(&mut self, points: &[Backup]) {
        let here: BTreeSet<&BackupId> = points.iter().map(|point| &point.id).collect();
        for point in points {
            for disk in &point.disks {
                let Some(parent) = disk.parent_backup_id.as_ref().filter(|id| !here.contains(id)) else {
                    continue;
                };
                let detail = format!("it is built on {parent}, which is not here or not complete");
                self.problems.push(problem(
                    ProblemKind::UnknownParent,
                    disk.file.as_str(),
                    Some(&point.id),
                    detail,
                ));
            }
        }
    }
}

fn files_of(backup: &Backup) -> impl Iterator<Item = RelPath> {
    let files = backup.disks.iter().filter_map(|disk| DiskFiles::of(disk).ok());
    files.flat_map(|files| [files.image, files.sidecar, files.manifest])
}

/// The record without what may be changed after the point was made.
fn unchangeable(backup: &Backup) -> Backup {
    Backup {
        tags: BTreeMap::new(),
        notes: None,
        protected: false,
        protect_reason: None,
        verification: None,
        ..backup.clone()
    }
}

fn is_disk_folder(name: &str) -> bool {
    let number = name.strip_prefix("disk-").and_then(|number| number.parse::<u32>().ok());
    number.is_some_and(|number| name == format!("disk-{number}"))
}

fn has_our_ending(name: &str) -> bool {
    [".qcow2", ".json", ".b3"].iter().any(|ending| name.ends_with(ending))
}

fn stem(path: &str) -> &str {
    path.rsplit_once('.').map_or(path, |(stem, _)| stem)
}
