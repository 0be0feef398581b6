//! From what was found in each point to paths and their versions.
//!
//! Two points have the same version of a file where its content is the same: proven by where it lies, or by its hash.
//! Links are told apart by where they lead to, everything else by what it is. Where content is not hashed, files are
//! told apart by size and time.

use super::Found;
use crate::browse::entry::{kind, permissions, text, time};
use api::{FileVersion, FoundFile, to_base64};
use guestfs::FileKind;
use guestfs::compare::Unchanged;
use guestfs::tree::Node;
use model::Backup;
use std::collections::{BTreeMap, HashMap};

/// A file of so many bytes is compared with the one of the point before, piece by piece, before it is hashed.
const LARGE: u64 = 1 << 20;

/// A hash, or why there is none.
type Hash = Result<[u8; 32], String>;

/// Hashes of files of one point, by the numbers of their paths.
pub(super) type Hashed = Vec<(usize, Hash)>;

/// A file that is to be hashed.
pub(super) struct ToHash {
    /// The number of its path.
    pub file: usize,
    /// What it is in its tree.
    pub node: Node,
    /// Its path, for messages.
    pub path: Vec<u8>,
}

/// All that was found in the points of one VM.
#[derive(Default)]
pub(super) struct Occurrences {
    numbers: HashMap<Vec<u8>, usize>,
    /// By number of the path, then of the point.
    files: Vec<BTreeMap<u32, Occurrence>>,
}

/// A file in one point.
struct Occurrence {
    found: Found,
    /// It has the content that it had in the point before.
    same: bool,
    hash: Option<Hash>,
}

/// What tells versions of a path apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    Content([u8; 32]),
    Unread(u64, guestfs::Timestamp),
    Link(Vec<u8>),
    Other(FileKind, Option<(u32, u32)>),
}

impl Occurrences {
    /// Adds what was found in a point.
    pub(super) fn add(&mut self, point: u32, found: Found) {
        let next = self.files.len();
        let number = *self.numbers.entry(found.path.clone()).or_insert(next);
        if number == next {
            self.files.push(BTreeMap::new());
        }
        self.files[number].insert(point, Occurrence { found, same: false, hash: None });
    }

    /// Whether any file may have the same content in this point as in the one before.
    pub(super) fn has_candidates(&self, point: u32) -> bool {
        self.files.iter().any(|file| candidates(file, point).is_some()) || !self.doubtful(point).is_empty()
    }

    /// Notes which files have the same content in this point as in the one before, between which this is known.
    pub(super) fn link(&mut self, point: u32, known: &dyn Unchanged) {
        for file in &mut self.files {
            let same = candidates(file, point).is_some_and(|(older, newer)| newer.is_same_as(older, known));
            if same && let Some(occurrence) = file.get_mut(&point) {
                occurrence.same = true;
            }
        }
    }

    /// The large files of which this point and the one before may hold the same content, and of which most may be known
    /// to be the same: the number of the path, and the file in both points.
    pub(super) fn doubtful(&self, point: u32) -> Vec<(usize, Node, Node)> {
        let doubtful = |(number, file): (usize, &BTreeMap<u32, Occurrence>)| {
            let (older, newer) = (file.get(&point.checked_sub(1)?)?, file.get(&point)?);
            let large = newer.found.stat.size >= LARGE && newer.found.stat.size == older.found.stat.size;
            let known = older.found.layout.is_some() && newer.found.layout.is_some();
            (large && known && !newer.same).then_some((number, older.found.node, newer.found.node))
        };
        self.files.iter().enumerate().filter_map(doubtful).collect()
    }

    /// Notes that a file has the same content in this point as in the one before.
    pub(super) fn set_same(&mut self, point: u32, file: usize) {
        if let Some(occurrence) = self.files.get_mut(file).and_then(|file| file.get_mut(&point)) {
            occurrence.same = true;
        }
    }

    /// The files whose content has to be read to tell versions, by point.
    pub(super) fn to_hash(&self) -> BTreeMap<u32, Vec<ToHash>> {
        let mut wanted: BTreeMap<u32, Vec<ToHash>> = BTreeMap::new();
        for (file, points) in self.files.iter().enumerate() {
            for (point, occurrence) in points {
                let found = &occurrence.found;
                if found.stat.kind == FileKind::File && !occurrence.same {
                    let one = ToHash { file, node: found.node, path: found.path.clone() };
                    wanted.entry(*point).or_default().push(one);
                }
            }
        }
        wanted
    }

    /// Notes the hash of a file in a point.
    pub(super) fn set_hash(&mut self, point: u32, file: usize, hash: Hash) {
        if let Some(occurrence) = self.files.get_mut(file).and_then(|file| file.get_mut(&point)) {
            occurrence.hash = Some(hash);
        }
    }

    /// The paths in their order, with their versions.
    pub(super) fn into_files(self, points: &[Backup]) -> impl Iterator<Item = FoundFile> {
        let mut paths: Vec<(Vec<u8>, usize)> = self.numbers.into_iter().collect();
        paths.sort();
        let mut files: Vec<Option<BTreeMap<u32, Occurrence>>> = self.files.into_iter().map(Some).collect();
        paths.into_iter().filter_map(move |(path, number)| {
            let file = files.get_mut(number)?.take()?;
            Some(group(&path, file, points))
        })
    }
}

/// The layouts of a file in this point and the one before, where both are known.
fn candidates(
    file: &BTreeMap<u32, Occurrence>,
    point: u32,
) -> Option<(&guestfs::compare::Layout, &guestfs::compare::Layout)> {
    let layout = |point| file.get(&point).and_then(|occurrence| occurrence.found.layout.as_ref());
    let (older, newer) = (layout(point.checked_sub(1)?)?, layout(point)?);
    (older == newer).then_some((older, newer))
}

/// What matches in the only point that is searched.
pub(super) fn single(point: &Backup, found: Found) -> FoundFile {
    let path = found.path.clone();
    let file = BTreeMap::from([(0, Occurrence { found, same: false, hash: None })]);
    group(&path, file, std::slice::from_ref(point))
}

fn group(path: &[u8], file: BTreeMap<u32, Occurrence>, points: &[Backup]) -> FoundFile {
    // In the order of their oldest points.
    let mut versions: Vec<(Identity, FileVersion)> = Vec::new();
    let mut last: Option<(u32, Identity, Option<Hash>)> = None;
    for (point, occurrence) in file {
        let Some(record) = points.get(point as usize) else { continue };
        let before = last.take().filter(|(older, ..)| occurrence.same && older + 1 == point);
        let (identity, hash) = match before {
            Some((_, identity, hash)) => (identity, hash),
            None => (identity(&occurrence), occurrence.hash),
        };
        let shown = shown(&occurrence.found, hash.as_ref(), record);
        match versions.iter_mut().find(|(known, _)| *known == identity) {
            Some((_, version)) => {
                let mut newer = shown;
                newer.first_backup_id = version.first_backup_id.clone();
                newer.first_created_at = version.first_created_at;
                newer.backup_ids.append(&mut version.backup_ids);
                newer.count = newer.backup_ids.len() as u64;
                *version = newer;
            }
            None => versions.push((identity.clone(), shown)),
        }
        last = Some((point, identity, hash));
    }
    let mut versions: Vec<FileVersion> = versions.into_iter().map(|(_, version)| version).collect();
    let place = |id: &model::BackupId| points.iter().position(|point| point.id == *id);
    versions.sort_by_key(|version| std::cmp::Reverse(place(&version.last_backup_id)));
    let vm_name = points[0].vm_name.clone();
    FoundFile { vm_name, path: text(path), path_b64: to_base64(path), versions }
}

fn identity(occurrence: &Occurrence) -> Identity {
    let stat = &occurrence.found.stat;
    match (&occurrence.hash, stat.kind) {
        (Some(Ok(hash)), _) => Identity::Content(*hash),
        (_, FileKind::File) => Identity::Unread(stat.size, stat.modified),
        (_, FileKind::Symlink) => Identity::Link(occurrence.found.target.clone().unwrap_or_default()),
        (_, kind) => Identity::Other(kind, stat.device),
    }
}

/// A version with one point.
fn shown(found: &Found, hash: Option<&Hash>, point: &Backup) -> FileVersion {
    let stat = &found.stat;
    FileVersion {
        kind: kind(stat.kind),
        size: stat.size,
        modified_time: time(stat.modified),
        permissions: permissions(stat),
        mode: format!("{:04o}", stat.mode),
        uid: stat.uid,
        gid: stat.gid,
        link_target: found.target.as_deref().map(text),
        content_hash: match hash {
            Some(Ok(hash)) => Some(hash.iter().map(|byte| format!("{byte:02x}")).collect()),
            _ => None,
        },
        hash_error: match hash {
            Some(Err(reason)) => Some(reason.clone()),
            _ => None,
        },
        first_backup_id: point.id.clone(),
        first_created_at: point.created_at,
        last_backup_id: point.id.clone(),
        last_created_at: point.created_at,
        count: 1,
        backup_ids: vec![point.id.clone()],
    }
}
