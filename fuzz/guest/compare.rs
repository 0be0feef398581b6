//! Two points, of which one is a seed and the other what an input makes of it: with what is known of the disks the same is
//! found as when everything is read.

use super::{Device, OPTIONS, Target, layers, split, sums};
use crate::guest::image::Counted;
use crate::seed;
use guestfs::OpenOptions;
use guestfs::compare::{Change, Comparison, NothingKnown, Unchanged};
use guestfs::tree::{Follow, Tree};
use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, OnceLock};

/// Names that are compared.
const NAMES: u64 = 1500;
/// Bytes that both points and the comparison may hold at once.
const MEMORY: usize = 128 << 20;

/// Disks with one file system.
pub static COMPARE: Target = Target {
    name: "compare",
    seeds: &[
        seed!("ext-4k"),
        seed!("xfs-5"),
        seed!("btrfs-one"),
        seed!("ntfs-small"),
        seed!("fat-16"),
        seed!("exfat"),
        seed!("ext-dirty4"),
        seed!("xfs-dirty"),
    ],
    sums: |image| match () {
        () if image.bytes(1080, 2) == [0x53, 0xef] => sums::ext(image),
        () if image.bytes(0, 4) == b"XFSB" => sums::xfs(image),
        () if image.bytes(65_600, 8) == b"_BHRfS_M" => sums::btrfs(image),
        () if image.bytes(3, 5) == b"EXFAT" => sums::exfat(image),
        () => Vec::new(),
    },
    run: |disks, options, _| {
        if let Some(tree) = open(&disks[0], options) {
            look(&tree, &tree, &NothingKnown);
        }
    },
    loaded: OnceLock::new(),
};

/// What of the only disk differs.
struct Changed(Vec<Range<u64>>);

impl Unchanged for Changed {
    fn is_unchanged(&self, disk: u32, offset: u64, length: u64) -> bool {
        assert_eq!(disk, 0);
        let end = offset + length;
        self.0.iter().all(|changed| changed.end <= offset || end <= changed.start)
    }
}

/// Runs one input.
pub fn run(bytes: &[u8]) {
    let Some((view, _, options)) = COMPARE.view(bytes) else { return };
    let before = view.original();
    let mut changed: Vec<Range<u64>> =
        view.edits.iter().map(|(at, bytes)| *at..at + bytes.len() as u64).collect();
    changed.push(view.size..u64::MAX);
    let changed = Changed(changed);
    super::memory::bounded(MEMORY, || {
        let disk = |view| split(Arc::new(Counted::new(view)), &[]).remove(0);
        let (Some(one), Some(other)) = (open(&disk(before), &OPTIONS), open(&disk(view), &options)) else {
            return;
        };
        let (Some(known), Some(read)) = (look(&one, &other, &changed), look(&one, &other, &NothingKnown))
        else {
            return;
        };
        for (path, found) in known.iter().filter(|(path, found)| read.get(*path) != Some(found)) {
            assert!(
                failed(&read, path) || failed(&known, path),
                "{path:?} {found:?}, but {:?}",
                read.get(path)
            );
        }
        for (path, found) in read.iter().filter(|(path, found)| known.get(*path) != Some(found)) {
            assert!(
                failed(&read, path) || failed(&known, path),
                "{path:?} {found:?} is not found: {:?}",
                known.get(path)
            );
        }
    });
}

/// Whether it, or a folder that it is in, can't be compared.
fn failed(differences: &BTreeMap<Vec<u8>, String>, path: &[u8]) -> bool {
    let ends = (0..path.len()).filter(|end| path[*end] == b'/').chain([1, path.len()]);
    ends.into_iter().any(|end| differences.get(&path[..end]).is_some_and(|found| found.starts_with('!')))
}

fn open(disk: &Device, options: &OpenOptions) -> Option<Tree> {
    Tree::of_volume(layers::inventory(std::slice::from_ref(disk)), "disk0", options.clone()).ok()
}

/// All differences by path; none where there is too much.
fn look(one: &Tree, other: &Tree, known: &dyn Unchanged) -> Option<BTreeMap<Vec<u8>, String>> {
    let mut found = BTreeMap::new();
    let root = |tree: &Tree| tree.resolve(b"/", Follow::All).ok().map(|resolved| resolved.node);
    let (counts, ended) = Comparison::new(one, other, known, false).run(
        b"/",
        root(one),
        root(other),
        &mut |change, _| {
            let (path, text) = match change {
                Change::Added { path, stat } => (path, format!("+ {:?}", stat.kind)),
                Change::Removed { path, stat } => (path, format!("- {:?}", stat.kind)),
                Change::Changed { path, what, .. } => (path, format!("{what:?}")),
                Change::Failed { path, side, .. } => (path, format!("! {side:?}")),
            };
            let first = found.entry(path.to_vec()).or_insert_with(|| text.clone());
            if text.starts_with('!') {
                *first = text;
            }
            if found.len() < NAMES as usize { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        },
        &mut |counts| {
            if counts.compared < NAMES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        },
    );
    assert!(counts.proven + counts.read <= counts.compared);
    ended.then_some(found)
}
