//! One disk's files of one point, looked at by themselves.

use crate::control::Control;
use crate::labels::is_same_point;
use crate::points::OpenRepository;
use crate::sample;
use crate::{Error, Result};
use api::{DamageKind, Subset};
use block::{Baseline, CopyError, CopyOptions, Counters, GRANULE, Granule, Ledger, Mode, NullSink, Side};
use model::{Backup, BackupId, DiskIndex};
use qcow2::{Chain, FileStorage, Image, Storage};
use repository::{ChainBaseline, DiskFiles, Manifest};
use std::ops::Range;
use std::sync::Arc;

/// Ranges of damaged data told for one file; all are counted.
const TOLD: usize = 100;

/// A point's files of one disk, opened as far as that goes.
pub(super) struct Opened {
    point: Backup,
    disk: DiskIndex,
    files: Result<Files, String>,
}

struct Files {
    names: DiskFiles,
    image: Result<Arc<FileStorage>, Problem>,
    manifest: Result<Manifest, Problem>,
    sidecar: Result<Backup, Problem>,
}

/// Which data is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    /// A part of it; `None` for all.
    pub subset: Option<Subset>,
    /// What all files to be looked at store together, in bytes.
    pub stored: u64,
    /// For random parts.
    pub seed: u64,
}

/// Something that is wrong.
pub(super) struct Problem {
    pub kind: DamageKind,
    pub message: String,
    pub offset: Option<u64>,
    pub length: Option<u64>,
    /// False where the data can be restored all the same.
    pub hurts: bool,
}

/// What came of looking at one file.
pub(super) struct Found {
    pub point: BackupId,
    pub disk: DiskIndex,
    /// Bytes of data compared.
    pub bytes: u64,
    pub problems: Vec<Problem>,
    pub left_out: u64,
}

impl Problem {
    fn new(kind: DamageKind, message: impl Into<String>) -> Self {
        let hurts = !matches!(kind, DamageKind::Sidecar | DamageKind::Disagreement);
        Problem { kind, message: message.into(), offset: None, length: None, hurts }
    }
}

impl Opened {
    /// Virtual size in bytes, by the record.
    pub(super) fn size(&self) -> u64 {
        self.point.disk(self.disk).map_or(0, |on| on.capacity_bytes)
    }

    /// True where all of it is there and is what the record says, as far as that shows without reading data.
    pub(super) fn is_as_recorded(&self) -> bool {
        let Ok(Files { names, image: Ok(image), manifest: Ok(manifest), sidecar: Ok(sidecar) }) = &self.files
        else {
            return false;
        };
        let Some(on) = self.point.disk(self.disk) else { return false };
        is_same_point(sidecar, &self.point)
            && image.size() == on.size_bytes
            && check_manifest(manifest, on.blake3.as_deref(), names).is_none()
            && check_structure(image, names.image.as_str(), &self.point, self.disk, self.size()).is_empty()
    }

    /// Bytes that the file stores, by the record.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.point.disk(self.disk).map_or(0, |on| on.bytes_transferred)
    }
}

impl Selection {
    /// The chosen ranges of a disk of that size; `None` for all.
    fn ranges(self, size: u64) -> Option<Vec<Range<u64>>> {
        self.subset.map(|subset| sample::ranges(subset, size, self.stored, self.seed))
    }

    /// Bytes in these ranges.
    pub(super) fn bytes(self, size: u64) -> u64 {
        self.ranges(size).map_or(size, |ranges| ranges.iter().map(|range| range.end - range.start).sum())
    }
}

/// Opens what can be opened. Blocks.
pub(super) fn open(repository: &OpenRepository, point: Backup, disk: DiskIndex) -> Opened {
    let names = match point.disk(disk).map(DiskFiles::of) {
        Some(Ok(names)) => names,
        Some(Err(error)) => return Opened { point, disk, files: Err(error.to_string()) },
        None => return Opened { point, disk, files: Err(format!("it has no disk {disk}")) },
    };
    let folder = &repository.folder;
    let image = folder
        .open_file(&names.image)
        .map_err(|error| failed(error, DamageKind::Structure))
        .and_then(|file| {
            FileStorage::from_file(file, names.image.to_string())
                .map(Arc::new)
                .map_err(|error| Problem::new(DamageKind::Unreadable, error.to_string()))
        });
    let manifest = folder.open_manifest(&names.manifest).map_err(|error| failed(error, DamageKind::Manifest));
    let sidecar = folder.read_sidecar(&names.sidecar).map_err(|error| {
        let missing = error.is_not_found();
        let mut problem = failed(error, DamageKind::Sidecar);
        if missing {
            problem.hurts = false;
        }
        problem
    });
    let files = Files { names, image, manifest, sidecar };
    Opened { point, disk, files: Ok(files) }
}

/// A failure to open a file: missing, damaged, or not readable for now.
fn failed(error: repository::Error, damaged: DamageKind) -> Problem {
    let kind = match &error {
        error if error.is_not_found() => DamageKind::Missing,
        repository::Error::Damaged { .. } | repository::Error::Newer { .. } => damaged,
        _ => DamageKind::Unreadable,
    };
    let message = match &error {
        repository::Error::Io { path, .. } if kind == DamageKind::Missing => format!("{path} is missing"),
        error => error.to_string(),
    };
    Problem::new(kind, message)
}

/// Looks at one disk's files. Blocks.
///
/// # Errors
/// Only where it was stopped: whatever is wrong with the files is found, not failed on.
pub(super) fn look(
    repository: &OpenRepository,
    opened: Opened,
    selection: Selection,
    counters: &Counters,
    control: &Control,
) -> Result<Found> {
    let size = opened.size();
    let Opened { point, disk, files } = opened;
    let mut found = Found { point: point.id.clone(), disk, bytes: 0, problems: Vec::new(), left_out: 0 };
    let files = match files {
        Ok(files) => files,
        Err(reason) => {
            found
                .problems
                .push(Problem::new(DamageKind::Disagreement, format!("its record is not valid: {reason}")));
            return Ok(found);
        }
    };
    match files.sidecar {
        Ok(sidecar) if is_same_point(&sidecar, &point) => {}
        Ok(_) => {
            let message = format!("{} and the catalog say different things", files.names.sidecar);
            found.problems.push(Problem::new(DamageKind::Disagreement, message));
        }
        Err(problem) => found.problems.push(problem),
    }
    let on = point.disk(disk);
    let manifest = match files.manifest {
        Ok(manifest) => match check_manifest(&manifest, on.and_then(|on| on.blake3.as_deref()), &files.names)
        {
            None => Some(manifest),
            Some(problem) => {
                found.problems.push(problem);
                None
            }
        },
        Err(problem) => {
            found.problems.push(problem);
            None
        }
    };
    let image = match files.image {
        Ok(image) => image,
        Err(problem) => {
            found.problems.push(problem);
            return Ok(found);
        }
    };
    let name = files.names.image.to_string();
    let recorded = on.map_or(0, |on| on.size_bytes);
    if image.size() != recorded {
        let message = format!("{name} is {} bytes long, it was {recorded}", image.size());
        found.problems.push(Problem::new(DamageKind::Structure, message));
    }
    found.problems.extend(check_structure(&image, &name, &point, disk, size));
    let chain = match Chain::alone(image, &repository.folder.absolute(&files.names.image)) {
        Ok(chain) => chain,
        // Its structure was told as damaged already.
        Err(_) => return Ok(found),
    };
    if let Some(manifest) = manifest {
        check_data(&chain, &manifest, &name, selection, counters, control, &mut found)?;
    }
    Ok(found)
}

fn check_manifest(manifest: &Manifest, recorded: Option<&str>, names: &DiskFiles) -> Option<Problem> {
    match manifest.verify() {
        Ok(summary) if recorded.is_none_or(|recorded| recorded == summary.blake3) => None,
        Ok(_) => {
            let message = format!("{} is not the hash manifest that the record names", names.manifest);
            Some(Problem::new(DamageKind::Manifest, message))
        }
        Err(error @ block::Error::Corrupt { .. }) => {
            Some(Problem::new(DamageKind::Manifest, error.to_string()))
        }
        Err(error) => Some(Problem::new(DamageKind::Unreadable, error.to_string())),
    }
}

fn check_structure(
    image: &Arc<FileStorage>,
    name: &str,
    point: &Backup,
    disk: DiskIndex,
    size: u64,
) -> Vec<Problem> {
    let structure = |message: String| Problem::new(DamageKind::Structure, message);
    let report = match qcow2::check_storage(image.as_ref()) {
        Ok(report) => report,
        Err(error) => return vec![structure(error.to_string())],
    };
    let mut problems: Vec<Problem> = report
        .findings
        .iter()
        .filter(|finding| finding.severity == qcow2::Severity::Error)
        .map(|finding| structure(format!("{name}: {}", finding.text)))
        .collect();
    if report.virtual_size != size {
        let message = format!("{name} is a disk of {} bytes, it was {size}", report.virtual_size);
        problems.push(structure(message));
    }
    if let Ok(header) = Image::open(Arc::clone(image) as Arc<dyn Storage>) {
        let backed = header.backing().is_some();
        let should = point.disk(disk).is_some_and(|on| on.parent_backup_id.is_some());
        if backed != should {
            let message = match should {
                true => format!("{name} does not name the file that it is built on"),
                false => format!("{name} names a file that it is built on, but is a full"),
            };
            problems.push(structure(message));
        }
    }
    problems
}

/// Compares what the image stores with what the manifest says it stores.
fn check_data(
    chain: &Chain,
    manifest: &Manifest,
    name: &str,
    selection: Selection,
    counters: &Counters,
    control: &Control,
    found: &mut Found,
) -> Result<()> {
    let failed = |error: block::Error| Problem::new(DamageKind::Data, error.to_string());
    let slice = match chain.slice(0..1) {
        Ok(slice) => slice,
        Err(error) => {
            found.problems.push(failed(error));
            return Ok(());
        }
    };
    let size = block::BlockSource::size(&slice);
    if manifest.virtual_size() != size {
        let message =
            format!("{name} is a disk of {size} bytes, its manifest is of {}", manifest.virtual_size());
        found.problems.push(Problem::new(DamageKind::Manifest, message));
        return Ok(());
    }
    let mut compare =
        Compare { expected: manifest.baseline(), wanted: Vec::new(), damaged: Vec::new(), left_out: 0 };
    let sink = NullSink::new(size);
    let mut options = CopyOptions::new(name, Mode::Store { keep_zeros: true }, counters, control.token());
    options.ledger = Some(&mut compare);
    options.ranges = selection.ranges(size);
    let copied = block::copy(&slice, &sink, options);
    found.bytes = counters.progress().stored;
    let Compare { damaged, left_out, .. } = compare;
    found.left_out += left_out;
    for (range, what) in damaged {
        found.problems.push(Problem {
            kind: DamageKind::Data,
            message: format!("{name}: {} bytes at {} {what}", range.end - range.start, range.start),
            offset: Some(range.start),
            length: Some(range.end.min(size).saturating_sub(range.start)),
            hurts: true,
        });
    }
    match copied {
        Ok(_) => Ok(()),
        Err(CopyError { side: Side::Copy, error: block::Error::Cancelled }) => Err(Error::Cancelled),
        Err(CopyError { side: Side::Copy, error: block::Error::TimedOut(seconds) }) => {
            Err(Error::TimedOut(seconds))
        }
        Err(CopyError { error, .. }) => {
            let mut problem = failed(error);
            if let Some(rest) = problem.message.find(" at byte ").map(|at| at + " at byte ".len()) {
                let digits: String =
                    problem.message[rest..].chars().take_while(char::is_ascii_digit).collect();
                problem.offset = digits.parse().ok();
            }
            found.problems.push(problem);
            Ok(())
        }
    }
}

/// Compares instead of recording. Goes on after a difference, so that all of them are found.
struct Compare {
    expected: ChainBaseline,
    wanted: Vec<Granule>,
    damaged: Vec<(Range<u64>, &'static str)>,
    left_out: u64,
}

impl Compare {
    fn note(&mut self, granule: u64, what: &'static str) {
        let start = granule.saturating_mul(GRANULE);
        let range = start..start.saturating_add(GRANULE);
        let full = self.damaged.len() >= TOLD;
        match self.damaged.last_mut() {
            Some((last, said)) if last.end == range.start && *said == what => last.end = range.end,
            _ if full => self.left_out += 1,
            _ => self.damaged.push((range, what)),
        }
    }
}

impl Ledger for Compare {
    fn record(&mut self, first: u64, granules: &[Granule]) -> block::Result<()> {
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.clear();
        wanted.resize(granules.len(), Granule::Unknown);
        self.expected.next(first, &mut wanted)?;
        for (granule, (wanted, found)) in (first..).zip(wanted.iter().zip(granules)) {
            match (wanted, found) {
                (wanted, found) if wanted == found => {}
                (Granule::Unknown, _) => self.note(granule, "are stored, but not by the hash manifest"),
                (_, Granule::Unknown) => self.note(granule, "are not stored any more"),
                _ => self.note(granule, "do not match their hash"),
            }
        }
        self.wanted = wanted;
        Ok(())
    }
}
