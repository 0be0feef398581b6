//! Everything below a folder, without following links, within fixed bounds.
//!
//! A damaged image can hold a folder that contains itself, or one that stands in a thousand others. So a folder is
//! entered once: a second time is an error for the visitor, as is one that is deeper than the bound. The walk keeps one
//! part of each folder it is in (or, where it sorts, the whole of it), and the numbers of the folders it has seen. That is
//! all there is of it, so it can be held anywhere and taken up again ([`Walk`]).

use super::{Node, Tree, points};
use crate::{Error, FileKind, Result, Stat};
use std::cell::Cell;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// How a walk goes.
#[derive(Debug, Clone)]
pub struct WalkOptions {
    /// How many folders deep the caller wants to go: 0 visits only the node where it begins.
    pub depth: Option<usize>,
    /// How many folders deep it goes at most. Where there are more, that is an error.
    pub max_depth: usize,
    /// How many folders are entered at most.
    pub max_folders: usize,
    /// Whether entries come in the order of their names' bytes. Otherwise they come as the file system has them, some
    /// hundred at a time in the order of their numbers, which is the same each time too and mostly the order in which they
    /// lie on the disk. So does the folder that would take more than `SORTED_BYTES` of memory.
    pub sorted: bool,
    /// Whether volumes that stand in a folder are entered. They are visited in any case.
    pub cross_mounts: bool,
    /// Whether `/@volumes` at the tree's root is visited. Where there is nothing else it is in any case.
    pub other_volumes: bool,
}

impl Default for WalkOptions {
    fn default() -> Self {
        WalkOptions {
            depth: None,
            max_depth: 1024,
            max_folders: 1 << 22,
            sorted: false,
            cross_mounts: true,
            other_volumes: true,
        }
    }
}

/// How many bytes of entries a walk holds in all folders that it is in. A folder that would take more is not sorted, and
/// read entry by entry.
pub const SORTED_BYTES: usize = 64 << 20;
/// How many entries of a folder are read at once where they are not sorted.
const BATCH: usize = 512;
/// How many entries a folder has at most.
const MAX_ENTRIES: u64 = 1 << 26;

/// Something a walk came by.
#[derive(Debug)]
pub enum Event<'a> {
    /// A file or folder.
    Entry(Entry<'a>),
    /// Something that can't be read: an entry, or (after its own [`Event::Entry`]) a folder, or the rest of one.
    Failed {
        /// Its path.
        path: &'a [u8],
        /// Why.
        error: &'a Error,
    },
}

/// A file or folder that a walk came by.
#[derive(Debug)]
pub struct Entry<'a> {
    tree: &'a Tree,
    /// The path: that of the node where the walk began, and the names below it.
    pub path: &'a [u8],
    /// The last name; empty where the walk began at the root.
    pub name: &'a [u8],
    /// The file or folder.
    pub node: Node,
    /// What it is, as far as the folder tells.
    pub kind: FileKind,
    /// The same, as the file itself tells once that is read.
    read: &'a Cell<FileKind>,
    /// How deep below the beginning, which is 0.
    pub depth: usize,
}

impl Entry<'_> {
    /// What is known of it. Read only when asked for. In a damaged file system it may be something else than the folder says: the
    /// walk goes by what was read.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn stat(&self) -> Result<Stat> {
        let stat = self.tree.stat(self.node)?;
        self.read.set(stat.kind);
        Ok(stat)
    }
}

/// How a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Into it, where it is a folder, and on.
    Into,
    /// On, but not into it.
    Over,
    /// Into it, and on when the walk is taken up again.
    Hold,
    /// Nowhere.
    Stop,
}

/// An entry that is still to be visited.
#[derive(Debug, Clone)]
struct Waiting {
    name: Vec<u8>,
    node: Node,
    kind: Option<FileKind>,
}

impl Waiting {
    /// Bytes of memory.
    fn cost(&self) -> usize {
        size_of::<Waiting>() + self.name.len()
    }
}

/// A folder the walk is in.
#[derive(Debug)]
struct Folder {
    node: Node,
    /// The length of its path.
    path: usize,
    /// What of it was read and not visited, last first.
    waiting: Vec<Waiting>,
    /// Where reading goes on; `None` at the end.
    from: Option<u64>,
    /// How many entries were read.
    count: u64,
    /// Why reading ended before the end.
    failed: Option<Error>,
}

impl Folder {
    fn new(node: Node, path: usize) -> Self {
        Folder { node, path, waiting: Vec::new(), from: Some(0), count: 0, failed: None }
    }
}

impl Clone for Folder {
    fn clone(&self) -> Self {
        Folder {
            node: self.node,
            path: self.path,
            waiting: self.waiting.clone(),
            from: self.from,
            count: self.count,
            failed: self.failed.as_ref().map(Error::again),
        }
    }
}

impl Tree {
    /// Visits `start`, whose path is `path`, and all below it: each folder before what is in it. Errors of single nodes
    /// are given to `visit` and do not end the walk.
    ///
    /// Returns whether it came to its end, and was not stopped.
    pub fn walk(
        &self,
        path: &[u8],
        start: Node,
        options: &WalkOptions,
        visit: &mut dyn FnMut(Event<'_>) -> Step,
    ) -> bool {
        self.begin_walk(path, start, options).go_on(self, visit)
    }

    /// The same, to be gone through in parts.
    pub fn begin_walk(&self, path: &[u8], start: Node, options: &WalkOptions) -> Walk {
        let mut path = path.to_vec();
        while path.len() > 1 && path.ends_with(b"/") {
            path.pop();
        }
        let (options, start) = (options.clone(), Some(start));
        Walk { options, start, path, seen: HashSet::new(), folders: Vec::new(), held: 0 }
    }
}

/// A walk through a tree that was begun and may be held. What is to come costs no more than it would have without that.
#[derive(Debug, Clone)]
pub struct Walk {
    options: WalkOptions,
    /// Where it begins, until it has.
    start: Option<Node>,
    path: Vec<u8>,
    seen: HashSet<Node>,
    folders: Vec<Folder>,
    /// Bytes of all entries that wait.
    held: usize,
}

impl Walk {
    /// Visits what comes next in the tree that it was begun in, until its end or until `visit` holds or stops it.
    ///
    /// Returns whether it came to its end.
    pub fn go_on(&mut self, tree: &Tree, visit: &mut dyn FnMut(Event<'_>) -> Step) -> bool {
        Going { tree, walk: self }.run(visit).is_continue()
    }

    /// Bytes of memory that it takes, about.
    pub fn cost(&self) -> usize {
        self.held
            + self.seen.capacity() * (size_of::<Node>() + 1)
            + self.folders.capacity() * size_of::<Folder>()
    }
}

/// A walk that goes on.
struct Going<'a> {
    tree: &'a Tree,
    walk: &'a mut Walk,
}

impl Going<'_> {
    fn run(&mut self, visit: &mut dyn FnMut(Event<'_>) -> Step) -> ControlFlow<()> {
        if let Some(start) = self.walk.start.take() {
            let name_at = self.walk.path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
            self.node(start, None, name_at, visit)?;
        }
        while let Some(folder) = self.walk.folders.last_mut() {
            self.walk.path.truncate(folder.path);
            if let Some(entry) = folder.waiting.pop() {
                self.walk.held -= entry.cost();
                let node = folder.node;
                if self.walk.path != b"/" {
                    self.walk.path.push(b'/');
                }
                let name_at = self.walk.path.len();
                self.walk.path.extend_from_slice(&entry.name);
                if !self.walk.options.other_volumes
                    && !self.tree.is_all_other_volumes()
                    && node == self.tree.root()
                    && entry.name == points::VOLUMES
                {
                    continue;
                }
                self.node(entry.node, entry.kind, name_at, visit)?;
            } else if let Some(error) = folder.failed.take() {
                // What could be read of it was visited before.
                fail(visit, &self.walk.path, &error)?;
            } else if let Some(from) = folder.from {
                self.walk.held += read(self.tree, folder, from, self.walk.options.sorted, self.walk.held);
            } else {
                self.walk.folders.pop();
            }
        }
        ControlFlow::Continue(())
    }

    /// Visits one node, whose path is the walk's, and goes into it.
    fn node(
        &mut self,
        node: Node,
        kind: Option<FileKind>,
        name_at: usize,
        visit: &mut dyn FnMut(Event<'_>) -> Step,
    ) -> ControlFlow<()> {
        let Going { tree, walk } = self;
        let kind = match kind.map_or_else(|| tree.kind(node), Ok) {
            Ok(kind) => kind,
            Err(error) => return fail(visit, &walk.path, &error),
        };
        let depth = walk.folders.len();
        let name = &walk.path[name_at..];
        let read = Cell::new(kind);
        let step =
            visit(Event::Entry(Entry { tree, path: &walk.path, name, node, kind, read: &read, depth }));
        let then = match step {
            Step::Stop => return ControlFlow::Break(()),
            Step::Over => return ControlFlow::Continue(()),
            Step::Into => ControlFlow::Continue(()),
            Step::Hold => ControlFlow::Break(()),
        };
        let above = walk.folders.last().map(|folder| folder.node.fs);
        let out_of_volume = !walk.options.cross_mounts && above.is_some_and(|above| above != node.fs);
        let deep_enough = walk.options.depth.is_some_and(|wanted| depth >= wanted);
        if read.get() != FileKind::Directory || out_of_volume || deep_enough {
            return then;
        }
        let refused = if walk.seen.contains(&node) {
            Error::corrupt("the folder", "it stands in two folders, or in itself; it was visited before")
        } else if depth >= walk.options.max_depth {
            Error::Limit(format!("folders are more than {} deep", walk.options.max_depth))
        } else if walk.seen.len() >= walk.options.max_folders {
            Error::Limit(format!("there are more than {} folders", walk.options.max_folders))
        } else {
            walk.seen.insert(node);
            walk.folders.push(Folder::new(node, walk.path.len()));
            return then;
        };
        // One that is to be held is told why this folder is not entered first.
        fail(visit, &walk.path, &refused)?;
        then
    }
}

fn fail(visit: &mut dyn FnMut(Event<'_>) -> Step, path: &[u8], error: &Error) -> ControlFlow<()> {
    match visit(Event::Failed { path, error }) {
        Step::Stop | Step::Hold => ControlFlow::Break(()),
        Step::Into | Step::Over => ControlFlow::Continue(()),
    }
}

/// Reads the next entries of a folder, and tells how many bytes they take.
fn read(tree: &Tree, folder: &mut Folder, from: u64, sorted: bool, held: usize) -> usize {
    let sorted = sorted && from == 0;
    let mut entries: Vec<Waiting> = Vec::new();
    let mut bytes = 0;
    let mut next = None;
    let read = tree.readdir(folder.node, from, &mut |entry| {
        let waiting = Waiting { name: entry.name.to_vec(), node: entry.node, kind: entry.kind };
        bytes += waiting.cost();
        entries.push(waiting);
        if held + bytes <= SORTED_BYTES && (sorted || entries.len() < BATCH) {
            return ControlFlow::Continue(());
        }
        next = Some(entry.next);
        ControlFlow::Break(())
    });
    folder.count += entries.len() as u64;
    folder.from = next;
    let failed = match read {
        Err(error) => Some(error),
        Ok(()) if next == Some(from) || folder.count > MAX_ENTRIES => {
            Some(Error::corrupt("the folder", "its entries do not end"))
        }
        Ok(()) => None,
    };
    if failed.is_some() {
        folder.from = None;
        folder.failed = failed;
    }
    // A folder that is too large to be sorted comes in its own order, all of it.
    if sorted && folder.from.is_none() {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
    } else if !sorted {
        entries.sort_by_key(|entry| entry.node);
    }
    entries.reverse();
    folder.waiting = entries;
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::Memory;
    use crate::tree::tests::single;

    #[test]
    fn what_waits_is_bounded_in_all_folders_together() {
        let mut fs = Memory::new("ext4");
        for number in 0..1000 {
            fs.file(&format!("/{number:0200}"), b"");
        }
        let tree = single(fs);
        let (mut seen, mut from) = (0, Some(0));
        let folder = |from| Folder { from, ..Folder::new(tree.root(), 1) };
        // Where the other folders hold all that is allowed, one entry at a time; where they hold nothing, many.
        while let Some(at) = from {
            let mut one = folder(from);
            let bytes = read(&tree, &mut one, at, at == 0, SORTED_BYTES);
            assert!(one.waiting.len() <= 1 && bytes < 1000, "{} of {bytes} bytes", one.waiting.len());
            (seen, from) = (seen + one.waiting.len(), one.from);
        }
        assert!(seen >= 1000, "{seen}");
        let mut many = folder(Some(0));
        read(&tree, &mut many, 0, false, 0);
        assert_eq!(many.waiting.len(), BATCH);
    }
}
