//! Looks at every volume that may hold a system, and takes the best.

use super::files::Files;
use super::{MountPoint, Root, Subvolume, System, SystemKind, is_btrfs, linux, windows};
use crate::tree::view::BTRFS_TOP;
use crate::tree::volumes::Volumes;
use crate::{Content, FileKind, GuestFs, NodeId, Timestamp};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

/// How many volumes are opened to be looked at: each holds its caches, and its journal where that was dirty.
const MAX_OPENED: usize = 64;
/// How many subvolumes of a btrfs are looked at.
const MAX_SUBVOLUMES: usize = 64;
/// How many entries of the top of a btrfs are looked at.
const MAX_ENTRIES: usize = 4096;

/// What a volume's own records say of it. The later, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// The root is another volume, which is there.
    Another,
    /// Nothing.
    Silent,
    /// It is the root.
    Itself,
}

/// How good a candidate is: compared field by field, the larger wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    /// What its records say.
    pub(super) claim: Claim,
    /// Whether it has a name.
    pub(super) named: bool,
    /// When a running system wrote to it last.
    pub(super) used: Timestamp,
    /// Bytes.
    pub(super) size: u64,
}

/// A root file system that was found.
pub(super) struct Candidate {
    /// The volume's position.
    pub(super) volume: usize,
    /// Its file system.
    pub(super) fs: Arc<dyn GuestFs>,
    /// Its root folder there.
    pub(super) top: NodeId,
    /// As it is told.
    pub(super) root: Root,
    /// How good it is.
    pub(super) rank: Rank,
}

impl Candidate {
    /// Its files.
    pub(super) fn files(&self) -> Files<'_> {
        Files { fs: &self.fs, root: self.top }
    }
}

/// Finds the system on `volumes`, and a place for every file system. Opens those that may hold a root.
pub(crate) fn find(volumes: &Arc<Volumes>) -> System {
    let mut system = System::unknown();
    let mut candidates = look(volumes, &mut system.notes, &|kind| !plain(kind));
    if candidates.is_empty() {
        // A Linux on a stick, a Windows 98.
        candidates = look(volumes, &mut system.notes, &plain);
    }
    // Of equals, the first stays the first.
    candidates.sort_by(|a, b| b.rank.cmp(&a.rank));
    system.notes.extend(volumes.list().iter().filter_map(|volume| {
        let what = match &volume.content {
            Content::Locked { kind, reason, .. } => format!("{kind}, and locked: {reason}"),
            Content::Refused(what) => what.clone(),
            Content::Damaged(what) => format!("damaged: {what}"),
            _ => return None,
        };
        Some(format!("{}: {what}", volume.id))
    }));
    if let Some(best) = candidates.first() {
        system.kind = best.root.kind;
        system.name = best.root.name.clone();
        match best.root.kind {
            SystemKind::Windows => windows::place(volumes, best, &mut system),
            _ => linux::place(volumes, best, &mut system),
        }
    }
    let mut roots = candidates.into_iter().map(|candidate| candidate.root);
    system.root = roots.next().map(|root| Root { name: system.name.clone(), ..root });
    system.others = roots.collect();
    place_others(volumes, &mut system);
    // Names of the guest's are in them, and a note goes to a terminal.
    for note in &mut system.notes {
        note.retain(|c| !c.is_control());
    }
    system
}

/// Kinds of file systems on which hardly ever a system lives.
fn plain(kind: &str) -> bool {
    matches!(kind, "vfat" | "exfat" | "iso9660" | "udf")
}

fn look(volumes: &Arc<Volumes>, notes: &mut Vec<String>, wanted: &dyn Fn(&str) -> bool) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut opened = 0;
    for (position, volume) in volumes.list().iter().enumerate() {
        let Content::FileSystem(recognised) = &volume.content else { continue };
        if !wanted(recognised.kind) {
            continue;
        }
        opened += 1;
        if opened > MAX_OPENED {
            notes.push(format!("only the first {MAX_OPENED} file systems were searched for a system"));
            break;
        }
        let fs = match volumes.open(position) {
            Ok(fs) => fs,
            Err(error) => {
                notes.push(format!("{}: {} could not be opened: {error}", volume.id, recognised.kind));
                continue;
            }
        };
        let tops = if is_btrfs(volume) { subvolumes(&*fs) } else { vec![(None, fs.root())] };
        for (subvolume, top) in tops {
            let files = Files { fs: &fs, root: top };
            let judged = linux::judge(volumes.list(), position, subvolume.as_ref(), top == fs.root(), files)
                .map(|judged| (SystemKind::Linux, judged))
                .or_else(|| windows::judge(volume, files).map(|judged| (SystemKind::Windows, judged)));
            let Some((kind, (name, rank))) = judged else { continue };
            let root = Root { volume: volume.id.clone(), subvolume, kind, name };
            candidates.push(Candidate { volume: position, fs: Arc::clone(&fs), top, root, rank });
        }
    }
    candidates
}

/// The subvolumes of a btrfs in which a system may live: its default, its top, and those right below that.
fn subvolumes(fs: &dyn GuestFs) -> Vec<(Option<Subvolume>, NodeId)> {
    let mut found: Vec<(Option<Subvolume>, NodeId)> = Vec::new();
    let mut entries = 0;
    // What can't be read is not looked at.
    let _ = fs.readdir(BTRFS_TOP, 0, &mut |entry| {
        entries += 1;
        let below = entry.node.tree != BTRFS_TOP.tree
            && fs.stat(entry.node).is_ok_and(|stat| stat.kind == FileKind::Directory);
        if below {
            found.push((Some(Subvolume::Path(entry.name.to_vec())), entry.node));
        }
        if entries < MAX_ENTRIES && found.len() < MAX_SUBVOLUMES {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    for (subvolume, node) in [(None, fs.root()), (Some(Subvolume::Id(5)), BTRFS_TOP)] {
        if found.iter().all(|(_, known)| *known != node) {
            found.push((subvolume, node));
        }
    }
    found
}

/// Puts what nobody named below `/@volumes`.
fn place_others(volumes: &Volumes, system: &mut System) {
    let whole: BTreeSet<String> = system
        .mounts
        .iter()
        .filter(|mount| {
            let top = match &mount.subvolume {
                None => false,
                Some(Subvolume::Id(id)) => *id == 0 || *id == 5,
                Some(Subvolume::Path(path)) => path.iter().all(|&byte| byte == b'/'),
            };
            let btrfs = volumes.position(&mount.volume).is_some_and(|at| is_btrfs(&volumes.list()[at]));
            mount.folder.is_empty() && (top || !btrfs)
        })
        .map(|mount| mount.volume.clone())
        .collect();
    for volume in volumes.list() {
        if !matches!(volume.content, Content::FileSystem(_)) || whole.contains(&volume.id) {
            continue;
        }
        system.mounts.push(MountPoint {
            path: other_path(&volume.id),
            volume: volume.id.clone(),
            subvolume: super::top_subvolume(volume),
            folder: Vec::new(),
            foreign: true,
        });
    }
}

/// `/@volumes/{id}`, with names in it that can't be those of folders written as `%2e`.
fn other_path(id: &str) -> Vec<u8> {
    let mut path = b"/@volumes".to_vec();
    for name in id.split('/') {
        path.push(b'/');
        if name.is_empty() {
            path.push(b'%');
        } else if name == "." || name == ".." {
            path.extend(name.bytes().flat_map(|_| *b"%2e"));
        } else {
            path.extend(name.bytes().map(|byte| if byte == 0 { b'%' } else { byte }));
        }
    }
    path
}

#[cfg(test)]
mod unit {
    use super::other_path;

    #[test]
    fn an_id_can_not_leave_its_folder() {
        assert_eq!(other_path("disk0/part1"), b"/@volumes/disk0/part1");
        assert_eq!(other_path("lvm/../..\0/."), b"/@volumes/lvm/%2e%2e/..%/%2e");
        assert_eq!(other_path("lvm//x"), b"/@volumes/lvm/%/x");
    }
}
