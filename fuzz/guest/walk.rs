//! Everything that can be asked of a file system, within bounds.

use guestfs::{DirEntry, Error, FileKind, GuestFs, MAX_XATTR, NodeId};
use std::collections::HashSet;
use std::ops::ControlFlow;

/// Nodes that are looked at; entries that are read of a folder; runs that are asked for of a file.
const NODES: usize = 600;
const ENTRIES: usize = 1000;
const RUNS: usize = 60;
/// Bytes that are read at one place.
const PART: usize = 20_000;

/// Walks over a file system, and reads files at several places where `whole`.
pub fn walk(fs: &dyn GuestFs, whole: bool) {
    let info = fs.info();
    assert!(info.block_size > 0);
    let mut seen = HashSet::from([fs.root()]);
    let mut waiting = vec![fs.root()];
    let mut nodes = 0;
    while let Some(node) = waiting.pop() {
        nodes += 1;
        if nodes > NODES {
            break;
        }
        waiting.extend(visit(fs, node, whole).into_iter().filter(|child| seen.insert(*child)));
    }
    // What no folder names.
    for inode in [0, 1, 2, 11, u64::from(u32::MAX), u64::MAX] {
        visit(fs, NodeId { tree: fs.root().tree, inode }, whole);
        let _ = fs.stat(NodeId { tree: u64::MAX, inode });
    }
}

/// Everything of one node; its children, where it is a folder.
fn visit(fs: &dyn GuestFs, node: NodeId, whole: bool) -> Vec<NodeId> {
    if let Ok(all) = fs.xattrs(node) {
        assert!(all.iter().all(|one| one.value.len() <= MAX_XATTR && !one.name.is_empty()));
    }
    let link = fs.readlink(node);
    let Ok(stat) = fs.stat(node) else { return Vec::new() };
    assert!(stat.mode <= 0o7777, "{:o}", stat.mode);
    assert!([stat.accessed, stat.modified, stat.changed].iter().all(|time| time.nanos < 1_000_000_000));
    if stat.kind != FileKind::Symlink {
        assert!(link.is_err());
    }
    if stat.kind == FileKind::Directory {
        let mut buf = [0; 16];
        assert!(fs.read_at(node, 0, &mut buf).is_err());
        return folder(fs, node);
    }
    if stat.kind == FileKind::File {
        file(fs, node, stat.size, whole);
    }
    Vec::new()
}

fn file(fs: &dyn GuestFs, node: NodeId, size: u64, whole: bool) {
    let mut places = vec![0, size.saturating_sub(PART as u64), size / 2, size, u64::MAX - 5];
    let mut at = 0;
    for _ in 0..RUNS {
        match fs.map(node, at) {
            Ok(Some(run)) => {
                assert!(
                    run.length > 0 && run.length <= size - at,
                    "a run of {} at {at} of {size}",
                    run.length
                );
                if places.len() < 10 {
                    places.push(at);
                }
                at += run.length;
            }
            Ok(None) => {
                assert!(at >= size, "no run at {at} of {size}");
                break;
            }
            Err(_) => break,
        }
    }
    if let Ok(run) = fs.map(node, u64::MAX) {
        assert_eq!(run, None);
    }
    if !whole {
        return;
    }
    for place in places {
        let mut first = vec![0xa5; PART];
        let Ok(length) = fs.read_at(node, place, &mut first) else { continue };
        assert_eq!(length as u64, size.saturating_sub(place).min(PART as u64), "at {place} of {size}");
        // The same bytes, whatever the buffer held before, and in parts.
        let mut second = vec![0x5a; PART];
        let half = (length / 2).min(7777);
        let (head, tail) = second[..length].split_at_mut(half);
        for (buf, at) in [(head, place), (tail, place + half as u64)] {
            match fs.read_at(node, at, buf) {
                Ok(got) => assert_eq!(got, buf.len()),
                Err(error) => panic!("a part of what was read can't be read: {error}"),
            }
        }
        assert!(first[..length] == second[..length], "two reads of the same bytes differ");
    }
}

fn folder(fs: &dyn GuestFs, node: NodeId) -> Vec<NodeId> {
    let mut children = Vec::new();
    let mut names: Vec<(Vec<u8>, u64)> = Vec::new();
    let mut visit = |entry: DirEntry<'_>| {
        assert!(!entry.name.is_empty() && !entry.name.contains(&b'/') && !entry.name.contains(&0));
        assert!(entry.name != b"." && entry.name != b".." && entry.next != 0);
        children.push(entry.node);
        if names.len() < 12 {
            names.push((entry.name.to_vec(), entry.next));
        }
        if children.len() < ENTRIES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let whole = fs.readdir(node, 0, &mut visit);
    if let Err(error) = whole {
        assert!(!matches!(error, Error::NotADirectory), "a folder is none");
    }
    for (name, next) in &names {
        let _ = fs.lookup(node, name);
        let mut count = 0;
        let _ = fs.readdir(node, *next, &mut |_| {
            count += 1;
            if count < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    for name in [&b"no such name"[..], b"", b"..", b"a/b", b"\xff\xfe", &[b'x'; 300]] {
        let _ = fs.lookup(node, name);
    }
    for from in [1, u64::MAX, i64::MAX as u64] {
        let _ = fs.readdir(node, from, &mut |_| ControlFlow::Break(()));
    }
    children
}
