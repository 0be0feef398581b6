//! A walk over everything that a reader shows of an image that is not what it seems: it may say what it likes, but it
//! must end, and never panic.

use guestfs::{FileKind, GuestFs, NodeId};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What a walk does at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Nodes that are looked at.
    pub nodes: usize,
    /// Entries that are read of one folder.
    pub entries: usize,
    /// Runs that are asked for of one file.
    pub runs: usize,
    /// How long it may take, beyond which the reader is in a loop.
    pub time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { nodes: 2000, entries: 20_000, runs: 200, time: Duration::from_secs(20) }
    }
}

/// What a walk met.
#[derive(Debug, Default, Clone, Copy)]
pub struct Walked {
    pub nodes: usize,
    pub errors: usize,
}

/// Every folder, `stat`, link, extended attribute, the first and last 64 KiB and the runs of every file, within the
/// usual [`Bounds`].
pub fn walk(fs: &dyn GuestFs) -> Walked {
    walk_within(fs, Bounds::default())
}

/// The same within other bounds.
///
/// # Panics
/// Where the reader takes longer, or breaks what [`GuestFs`] promises of entries and lengths.
pub fn walk_within(fs: &dyn GuestFs, bounds: Bounds) -> Walked {
    let since = Instant::now();
    let mut walked = Walked::default();
    let mut seen = HashSet::from([fs.root()]);
    let mut waiting = vec![fs.root()];
    while let Some(node) = waiting.pop() {
        walked.nodes += 1;
        if walked.nodes > bounds.nodes {
            break;
        }
        assert!(since.elapsed() < bounds.time, "a walk over {walked:?} takes too long");
        match visit(fs, node, bounds) {
            Ok(children) => waiting.extend(children.into_iter().filter(|child| seen.insert(*child))),
            Err(_) => walked.errors += 1,
        }
    }
    walked
}

/// Everything of one node; its children, where it is a folder.
fn visit(fs: &dyn GuestFs, node: NodeId, bounds: Bounds) -> guestfs::Result<Vec<NodeId>> {
    let _ = fs.xattrs(node);
    let _ = fs.readlink(node);
    let stat = fs.stat(node)?;
    if stat.kind == FileKind::Directory {
        return entries(fs, node, bounds);
    }
    let mut buf = vec![0; 65536];
    for offset in [0, stat.size.saturating_sub(65536), stat.size, u64::MAX - 5] {
        let length = fs.read_at(node, offset, &mut buf)?;
        let left = stat.size.saturating_sub(offset);
        assert!(length as u64 <= left.max(1 << 16) && length <= buf.len(), "{length} bytes of {left}");
    }
    let mut offset = 0;
    for _ in 0..bounds.runs {
        let Some(run) = fs.map(node, offset)? else { break };
        assert!(run.length > 0, "an empty run");
        offset = offset.checked_add(run.length).expect("a run ends before the largest number");
    }
    fs.map(node, u64::MAX)?;
    Ok(Vec::new())
}

fn entries(fs: &dyn GuestFs, node: NodeId, bounds: Bounds) -> guestfs::Result<Vec<NodeId>> {
    let mut children = Vec::new();
    let mut names = Vec::new();
    let mut last = 0;
    let read = fs.readdir(node, 0, &mut |entry| {
        assert!(!entry.name.is_empty() && !entry.name.contains(&b'/') && !entry.name.contains(&0));
        assert!(entry.name != b"." && entry.name != b".." && entry.next != 0);
        last = entry.next;
        children.push(entry.node);
        if names.len() < 20 {
            names.push(entry.name.to_vec());
        }
        if children.len() < bounds.entries { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    for name in &names {
        let _ = fs.lookup(node, name);
    }
    let _ = fs.lookup(node, b"no such name");
    for from in [last, last.wrapping_add(1), u64::MAX] {
        let mut count = 0;
        let _ = fs.readdir(node, from, &mut |_| {
            count += 1;
            if count < 50 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    // What was listed before an error is looked at all the same.
    if children.is_empty() { read.map(|()| children) } else { Ok(children) }
}
