//! A walk over everything that a reader shows of an image that is not what it seems: it may say what it likes, but it
//! must end, and never panic.

use guestfs::{Device, FileKind, GuestFs, NodeId, ReadAt};
use std::collections::HashSet;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
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

/// An image with some bytes changed, and perhaps its end cut off: without a copy of it.
pub struct Mutated {
    image: Arc<Vec<u8>>,
    size: usize,
    changes: Vec<(usize, u8)>,
}

impl ReadAt for Mutated {
    fn size(&self) -> u64 {
        self.size as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let range = usize::try_from(offset).ok().and_then(|start| Some(start..start.checked_add(buf.len())?));
        let range = range.filter(|range| range.end <= self.size).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(&self.image[range.clone()]);
        for (at, byte) in self.changes.iter().filter(|(at, _)| range.contains(at)) {
            buf[at - range.start] = *byte;
        }
        Ok(())
    }
}

/// Changes an image in `rounds` ways, some bytes each time, and in every tenth cuts it off; hands each to `open` and walks
/// what that opens. How many could be opened.
///
/// Bytes are changed where anything but zeros stands, and mostly in the ranges `hot`.
pub fn mutate(
    image: Vec<u8>,
    hot: &[Range<usize>],
    rounds: u64,
    open: impl Fn(Device) -> guestfs::Result<Arc<dyn GuestFs>>,
) -> usize {
    let used: Vec<usize> = image
        .chunks(64)
        .enumerate()
        .filter(|(_, part)| part.iter().any(|byte| *byte != 0))
        .map(|(at, _)| at * 64)
        .collect();
    let image = Arc::new(image);
    let mut rng = testkit::image::Rng::new(0x5EED);
    let mut opened = 0;
    for round in 0..rounds {
        let end = used.last().map_or(0, |last| last + 64).min(image.len());
        let size = if round % 10 == 0 { rng.below(end as u64 + 1) as usize } else { image.len() };
        let mut changes: Vec<(usize, u8)> = Vec::new();
        for _ in 0..rng.below(10) + 1 {
            let at = match rng.below(hot.len() as u64 + 2) as usize {
                index if index < hot.len() => {
                    let range = &hot[index];
                    range.start + rng.below(range.len() as u64) as usize
                }
                _ => used[rng.below(used.len() as u64) as usize] + rng.below(64) as usize,
            };
            let Some(old) = image.get(at) else { continue };
            let new = match rng.below(5) {
                0 | 1 => old ^ (1 << rng.below(8)),
                2 => 0xFF,
                3 => 0,
                _ => rng.next_u64() as u8,
            };
            changes.push((at, new));
        }
        if let Ok(fs) = open(Arc::new(Mutated { image: image.clone(), size, changes })) {
            opened += 1;
            walk(&*fs);
        }
    }
    opened
}
