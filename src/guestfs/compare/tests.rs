use super::*;
use crate::tree::Tree;
use crate::tree::memory::{Body, Memory, volume, volumes};
use crate::{FileKind, Place};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

fn tree(memory: Memory) -> Tree {
    let (volumes, _) = volumes(vec![(volume("disk0", "ext4", None, None), Ok(memory))]);
    Tree::of_one(volumes, "disk0").unwrap()
}

/// All differences, one a line.
fn differences(before: &Tree, after: &Tree) -> (Vec<String>, Counts) {
    let mut lines = Vec::new();
    let (counts, ended) = Comparison::new(before, after, &NothingKnown, false).run(
        b"/",
        Some(before.root()),
        Some(after.root()),
        &mut |change, _| {
            let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
            lines.push(match change {
                Change::Added { path, .. } => format!("+ {}", text(path)),
                Change::Removed { path, .. } => format!("- {}", text(path)),
                Change::Changed { path, what, .. } if what.kind => format!("T {}", text(path)),
                Change::Changed { path, what, .. } if what.content => format!("M {}", text(path)),
                Change::Changed { path, .. } => format!("U {}", text(path)),
                Change::Failed { path, side, .. } => format!("! {} {side:?}", text(path)),
            });
            ControlFlow::Continue(())
        },
        &mut |_| ControlFlow::Continue(()),
    );
    assert!(ended);
    (lines, counts)
}

#[test]
fn names_are_merged_and_each_difference_is_told_once() {
    let (mut before, mut after) = (Memory::new("ext4"), Memory::new("ext4"));
    for memory in [&mut before, &mut after] {
        memory.file("/same", b"1");
        memory.file("/a/kept", b"2");
        memory.symlink("/a/link", "kept");
    }
    before.file("/a/changed", b"old");
    after.file("/a/changed", b"new");
    before.file("/a/longer", b"1");
    after.file("/a/longer", b"12");
    before.file("/gone/x/y", b"1");
    after.file("/new/z", b"1");
    before.file("/kind", b"1");
    after.file("/kind/inside", b"1");
    before.symlink("/to", "a");
    after.symlink("/to", "b");
    let touched = [before.file("/touched", b"1"), after.file("/touched", b"1")];
    after.modified.insert(touched[1], 5);
    let (lines, counts) = differences(&tree(before), &tree(after));
    assert_eq!(
        lines,
        [
            "M /a/changed",
            "M /a/longer",
            "- /gone",
            "- /gone/x",
            "- /gone/x/y",
            "T /kind",
            "+ /kind/inside",
            "+ /new",
            "+ /new/z",
            "M /to",
            "U /touched",
        ]
    );
    assert_eq!((counts.compared, counts.read), (10, 4));
}

#[test]
fn what_can_not_be_read_on_one_side_is_no_removal() {
    let (mut before, mut after) = (Memory::new("ext4"), Memory::new("ext4"));
    before.file("/dir/a", b"1");
    before.file("/dir/b", b"1");
    let entries = vec![(b"a".to_vec(), after.file("/elsewhere", b"1"))];
    after.put("/dir", Body::Cut(entries));
    before.file("/elsewhere", b"1");
    before.file("/broken", b"1");
    after.put("/broken", Body::Broken);
    assert_eq!(differences(&tree(before), &tree(after)).0, ["! /broken After", "! /dir After"]);
}

#[test]
fn a_folder_that_stands_in_itself_ends() {
    let looped = || {
        let mut memory = Memory::new("ext4");
        let dir = memory.dir("/a");
        memory.link("/a/again", dir);
        tree(memory)
    };
    assert_eq!(differences(&looped(), &looped()).0, ["! /a/again Before"]);
}

/// All but some ranges of all disks are unchanged.
struct AllBut(Vec<std::ops::Range<u64>>);

impl Unchanged for AllBut {
    fn is_unchanged(&self, _: u32, offset: u64, length: u64) -> bool {
        self.0.iter().all(|range| range.end <= offset || offset + length <= range.start)
    }
}

fn sparse(bytes: &[(u64, Vec<u8>)]) -> Memory {
    let mut memory = Memory::new("ext4");
    let runs: BTreeMap<_, _> =
        bytes.iter().map(|(at, bytes)| (*at, (bytes.clone(), Place::Device(4096 + at)))).collect();
    memory.put("/f", Body::File(10 << 20, runs));
    memory.put("/null", Body::Other(FileKind::CharDevice));
    memory
}

#[test]
fn without_knowledge_of_the_device_nothing_is_taken_for_unchanged() {
    // The volume of this tree has no device to be asked: even where all is said to be unchanged, it is read.
    let (before, after) = (tree(sparse(&[(0, vec![1; 100_000])])), tree(sparse(&[(0, vec![2; 100_000])])));
    let mut changed = Vec::new();
    let known = AllBut(Vec::new());
    let (counts, _) = Comparison::new(&before, &after, &known, true).run(
        b"/",
        Some(before.root()),
        Some(after.root()),
        &mut |change, _| {
            if let Change::Changed { path, .. } = change {
                changed.push(path.to_vec());
            }
            ControlFlow::Continue(())
        },
        &mut |_| ControlFlow::Continue(()),
    );
    assert_eq!((changed, counts.proven), (vec![b"/f".to_vec()], 0));
    let node = before.resolve(b"/f", crate::tree::Follow::All).unwrap().node;
    assert_eq!(layout(&before, node).unwrap(), None);
}
