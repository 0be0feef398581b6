//! Two trees side by side: a merge of their folders in the order of names.
//!
//! Memory: the names of the folders that the walk is in, on both sides, bounded by [`HELD_BYTES`]; the numbers of the
//! folders it has entered. A folder is entered once on each side, as in [`Tree::walk`], so that a damaged image costs an
//! error. Links are compared, never followed.

use super::content::{Opened, Outcome, Work};
use super::{Unchanged, all_unchanged};
use crate::tree::{Node, Tree};
use crate::{Error, FileKind, Result, Stat, Xattr};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::ops::ControlFlow;

/// How deep folders may be.
const MAX_DEPTH: usize = 1024;
/// How many folders are entered on each side.
const MAX_FOLDERS: usize = 1 << 22;
/// Bytes of names that are held at once.
const HELD_BYTES: usize = 512 << 20;
/// How much of two volumes is asked about at once.
const STRETCH: u64 = 64 << 20;

/// One of the two points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Before,
    /// The second.
    After,
}

/// What of a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct What {
    /// What it is: a file became a folder, a link, a device.
    pub kind: bool,
    /// The bytes of a regular file, the target of a link, the numbers of a device.
    pub content: bool,
    /// The permission bits.
    pub mode: bool,
    /// User or group.
    pub owner: bool,
    /// The time of the last change of the content. Of a folder it is not looked at: it changes with its entries, which
    /// are looked at by themselves.
    pub modified: bool,
    /// Extended attributes, ACLs among them.
    pub xattrs: bool,
}

impl What {
    /// Whether anything does.
    pub fn any(self) -> bool {
        self != What::default()
    }
}

/// A difference, or why there may be one that was not found.
#[derive(Debug)]
pub enum Change<'a> {
    /// It is there in the second only.
    Added {
        /// Its path.
        path: &'a [u8],
        /// What it is.
        stat: &'a Stat,
    },
    /// It is there in the first only.
    Removed {
        /// Its path.
        path: &'a [u8],
        /// What it was.
        stat: &'a Stat,
    },
    /// It differs.
    Changed {
        /// Its path.
        path: &'a [u8],
        /// As it was.
        before: &'a Stat,
        /// As it is.
        after: &'a Stat,
        /// In what.
        what: What,
    },
    /// It, or what is below it, can't be compared.
    Failed {
        /// Its path.
        path: &'a [u8],
        /// Where it can't be read.
        side: Side,
        /// Why.
        error: &'a Error,
    },
}

/// What a comparison has looked at so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Names that are on both sides.
    pub compared: u64,
    /// Regular files among them whose content is the same without a byte of it having been read.
    pub proven: u64,
    /// Regular files of which something was read.
    pub read: u64,
    /// Bytes of content that were read, both sides together.
    pub bytes_read: u64,
    /// Volumes that are unchanged as a whole, and were not looked into.
    pub volumes: u64,
}

/// Two trees, and what is known of their disks.
pub struct Comparison<'a> {
    before: &'a Tree,
    after: &'a Tree,
    known: &'a dyn Unchanged,
    content_only: bool,
}

/// A folder on one or both sides that the walk is in.
struct Frame {
    /// The length of its path.
    path: usize,
    /// What of it is still to come, last name first.
    before: Vec<Item>,
    after: Vec<Item>,
}

struct Item {
    name: Vec<u8>,
    node: Node,
}

type Visit<'a> = &'a mut dyn FnMut(Change<'_>, &Counts) -> ControlFlow<()>;

impl<'a> Comparison<'a> {
    /// Compares `before` with `after`; owners, modes, times and extended attributes too, unless `content_only`.
    pub fn new(before: &'a Tree, after: &'a Tree, known: &'a dyn Unchanged, content_only: bool) -> Self {
        Comparison { before, after, known, content_only }
    }

    /// Compares what stands at `path` on both sides (on one side only where the other node is `None`) with all that is
    /// below it. `visit` is told each difference, in the order of paths, a folder before what is in it; `tick` is called
    /// again and again while nothing differs. Either may end it.
    ///
    /// Returns what was looked at, and whether it came to its end.
    pub fn run(
        &self,
        path: &[u8],
        before: Option<Node>,
        after: Option<Node>,
        visit: Visit<'_>,
        tick: &mut dyn FnMut(&Counts) -> ControlFlow<()>,
    ) -> (Counts, bool) {
        let mut walk = Walk {
            comparison: self,
            path: path.to_vec(),
            frames: Vec::new(),
            seen: Default::default(),
            held: 0,
            counts: Counts::default(),
        };
        while walk.path.len() > 1 && walk.path.ends_with(b"/") {
            walk.path.pop();
        }
        let ended = walk.run(before, after, visit, tick).is_continue();
        (walk.counts, ended)
    }

    fn tree(&self, side: Side) -> &'a Tree {
        match side {
            Side::Before => self.before,
            Side::After => self.after,
        }
    }

    /// Whether both nodes are roots of volumes in which not a byte differs, and in which nothing else stands.
    fn is_unchanged_volume(&self, before: Node, after: Node) -> bool {
        let (Some(one), Some(other)) = (self.before.standing(before), self.after.standing(after)) else {
            return false;
        };
        let same = one.subvolume == other.subvolume
            && one.folder == other.folder
            && one.volume.content == other.volume.content
            && !one.volume.devices.is_empty()
            && one.volume.devices.len() == other.volume.devices.len();
        same && one.volume.devices.iter().zip(&other.volume.devices).all(|(one, other)| {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            one.size() == other.size()
                && (0..one.size()).step_by(STRETCH as usize).all(|at| {
                    let length = STRETCH.min(one.size() - at);
                    first.clear();
                    second.clear();
                    one.origins(at, length, &mut first)
                        && other.origins(at, length, &mut second)
                        && first == second
                        && all_unchanged(&first, self.known)
                })
        })
    }
}

struct Walk<'a, 'b> {
    comparison: &'b Comparison<'a>,
    path: Vec<u8>,
    frames: Vec<Frame>,
    /// The folders that were entered, on each side.
    seen: [HashSet<Node>; 2],
    held: usize,
    counts: Counts,
}

impl Walk<'_, '_> {
    fn run(
        &mut self,
        before: Option<Node>,
        after: Option<Node>,
        visit: Visit<'_>,
        tick: &mut dyn FnMut(&Counts) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        self.pair(before, after, visit, tick)?;
        while let Some(frame) = self.frames.last_mut() {
            self.path.truncate(frame.path);
            let order = match (frame.before.last(), frame.after.last()) {
                (Some(one), Some(other)) => one.name.cmp(&other.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => {
                    self.frames.pop();
                    continue;
                }
            };
            let one = if order.is_le() { frame.before.pop() } else { None };
            let other = if order.is_ge() { frame.after.pop() } else { None };
            self.held -= one.iter().chain(&other).map(Item::cost).sum::<usize>();
            let Some(name) = one.as_ref().or(other.as_ref()).map(|item| &item.name) else { continue };
            if self.path != b"/" {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            self.pair(one.map(|item| item.node), other.map(|item| item.node), visit, tick)?;
            tick(&self.counts)?;
        }
        ControlFlow::Continue(())
    }

    /// Looks at one name, whose path is the walk's, and goes into it.
    fn pair(
        &mut self,
        before: Option<Node>,
        after: Option<Node>,
        visit: Visit<'_>,
        tick: &mut dyn FnMut(&Counts) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let stat = |side, node: Option<Node>| {
            let stat = node.map(|node| self.comparison.tree(side).stat(node)).transpose();
            stat.map_err(|error| (side, error))
        };
        let stats = stat(Side::Before, before).and_then(|one| Ok((one, stat(Side::After, after)?)));
        let (one, other) = match stats {
            Ok(stats) => stats,
            Err((side, error)) => return self.fail(side, &error, visit),
        };
        let folder = |stat: &Option<Stat>| stat.as_ref().is_some_and(|s| s.kind == FileKind::Directory);
        let into = (before.filter(|_| folder(&one)), after.filter(|_| folder(&other)));
        match (&one, &other) {
            (Some(stat), None) => {
                visit(Change::Removed { path: &self.path, stat }, &self.counts)?;
            }
            (None, Some(stat)) => {
                visit(Change::Added { path: &self.path, stat }, &self.counts)?;
            }
            (Some(was), Some(is)) => {
                let (Some(before), Some(after)) = (before, after) else { return ControlFlow::Continue(()) };
                self.counts.compared += 1;
                match self.differ((before, was), (after, is), tick) {
                    Ok(Some(what)) if what.any() => {
                        let change = Change::Changed { path: &self.path, before: was, after: is, what };
                        visit(change, &self.counts)?;
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return ControlFlow::Break(()),
                    Err((side, error)) => self.fail(side, &error, visit)?,
                }
            }
            (None, None) => {}
        }
        match into {
            (None, None) => ControlFlow::Continue(()),
            (Some(before), Some(after)) if self.comparison.is_unchanged_volume(before, after) => {
                self.counts.volumes += 1;
                ControlFlow::Continue(())
            }
            (before, after) => self.enter(before, after, visit),
        }
    }

    fn fail(&self, side: Side, error: &Error, visit: Visit<'_>) -> ControlFlow<()> {
        visit(Change::Failed { path: &self.path, side, error }, &self.counts)
    }

    /// In what two nodes of one name differ; `None` where it was stopped.
    fn differ(
        &mut self,
        (before, was): (Node, &Stat),
        (after, is): (Node, &Stat),
        tick: &mut dyn FnMut(&Counts) -> ControlFlow<()>,
    ) -> Result<Option<What>, (Side, Error)> {
        let mut what = What::default();
        if was.kind != is.kind {
            what.kind = true;
            return Ok(Some(what));
        }
        let (one, other) = (self.comparison.before, self.comparison.after);
        what.content = match is.kind {
            FileKind::File if was.size != is.size => true,
            FileKind::File => match self.content(before, after, is.size, tick)? {
                Outcome::Same => false,
                Outcome::Different => true,
                Outcome::Stopped => return Ok(None),
            },
            FileKind::Symlink => {
                let target = one.readlink(before).map_err(|error| (Side::Before, error))?;
                target != other.readlink(after).map_err(|error| (Side::After, error))?
            }
            FileKind::CharDevice | FileKind::BlockDevice => was.device != is.device,
            FileKind::Directory | FileKind::Fifo | FileKind::Socket => false,
        };
        if self.comparison.content_only {
            return Ok(Some(what));
        }
        what.mode = was.mode != is.mode;
        what.owner = (was.uid, was.gid) != (is.uid, is.gid);
        what.modified = is.kind != FileKind::Directory && was.modified != is.modified;
        let sorted = |xattrs: Result<Vec<Xattr>>, side| {
            let mut xattrs = xattrs.map_err(|error| (side, error))?;
            xattrs.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
            Ok(xattrs)
        };
        what.xattrs = sorted(one.xattrs(before), Side::Before)? != sorted(other.xattrs(after), Side::After)?;
        Ok(Some(what))
    }

    fn content(
        &mut self,
        before: Node,
        after: Node,
        size: u64,
        tick: &mut dyn FnMut(&Counts) -> ControlFlow<()>,
    ) -> Result<Outcome, (Side, Error)> {
        let one = Opened::new(self.comparison.before, before).map_err(|error| (Side::Before, error))?;
        let other = Opened::new(self.comparison.after, after).map_err(|error| (Side::After, error))?;
        let so_far = self.counts;
        let mut read = 0;
        let mut progress = |bytes: u64| {
            read += bytes;
            tick(&Counts { bytes_read: so_far.bytes_read + read, ..so_far })
        };
        let outcome = Work::new(self.comparison.known, &mut progress).compare(&one, &other, size);
        self.counts.bytes_read += read;
        if read > 0 {
            self.counts.read += 1;
        } else {
            self.counts.proven += u64::from(matches!(outcome, Ok(Outcome::Same)));
        }
        outcome
    }

    /// Goes into folders on one side or both. Where one of two can't be read, neither is entered: what is missing on one
    /// side would look as if it had been added or removed.
    fn enter(&mut self, before: Option<Node>, after: Option<Node>, visit: Visit<'_>) -> ControlFlow<()> {
        let depth = self.frames.len();
        let mut lists = [Vec::new(), Vec::new()];
        for (index, side, node) in [(0, Side::Before, before), (1, Side::After, after)] {
            let Some(node) = node else { continue };
            let seen = &mut self.seen[index];
            let refused = if depth >= MAX_DEPTH {
                Some(Error::Limit(format!("folders are more than {MAX_DEPTH} deep")))
            } else if seen.len() >= MAX_FOLDERS {
                Some(Error::Limit(format!("there are more than {MAX_FOLDERS} folders")))
            } else if !seen.insert(node) {
                Some(Error::corrupt(
                    "the folder",
                    "it stands in two folders, or in itself; it was visited before",
                ))
            } else {
                None
            };
            let list = refused.map_or_else(|| read(self.comparison.tree(side), node, self.held), Err);
            match list {
                Ok((list, bytes)) => {
                    self.held += bytes;
                    lists[index] = list;
                }
                Err(error) => {
                    self.held -= lists.iter().flatten().map(Item::cost).sum::<usize>();
                    return self.fail(side, &error, visit);
                }
            }
        }
        let [before, after] = lists;
        self.frames.push(Frame { path: self.path.len(), before, after });
        ControlFlow::Continue(())
    }
}

impl Item {
    /// Bytes of memory.
    fn cost(&self) -> usize {
        size_of::<Item>() + self.name.len()
    }
}

/// All of a folder, last name first, and the bytes that it takes.
fn read(tree: &Tree, dir: Node, held: usize) -> Result<(Vec<Item>, usize)> {
    let (mut list, mut bytes): (Vec<Item>, usize) = (Vec::new(), 0);
    let mut full = false;
    tree.readdir(dir, 0, &mut |entry| {
        let item = Item { name: entry.name.to_vec(), node: entry.node };
        bytes += item.cost();
        list.push(item);
        full = held + bytes > HELD_BYTES;
        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if full {
        let most = HELD_BYTES >> 20;
        return Err(Error::Limit(format!("the names of the folders take more than {most} MiB")));
    }
    list.sort_by(|a, b| b.name.cmp(&a.name));
    Ok((list, bytes))
}
