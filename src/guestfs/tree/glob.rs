//! Paths with wildcards: which files of a tree they name.
//!
//! Each component is matched as in `pattern`; `**` stands for any number of folders, and at the end for everything
//! below. Links are followed where a name or wildcard matched them and more components come, never by `**`. All places
//! in the pattern that a folder can stand for are looked at together, so nothing is visited or given twice.

use super::pattern::{Pattern, is_pattern};
use super::resolve::{Follow, PathError, Resolved};
use super::{Node, Tree};
use crate::{Error, FileKind, Result};
use std::ops::ControlFlow;
use std::sync::Arc;

/// How many components a pattern has at most.
const MAX_PARTS: usize = 127;
/// How many folders deep it looks.
const MAX_DEPTH: usize = 1024;
/// How many folders are read for one pattern.
const MAX_FOLDERS: usize = 1 << 22;
/// How many bytes of names that match wait at most.
const MAX_WAITING: usize = 256 << 20;

/// A file or folder that a pattern names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The path as the pattern spells it: names in place of its wildcards.
    pub path: Vec<u8>,
    /// What it leads to. A link at its end is not followed.
    pub found: Resolved,
}

/// What matches a pattern, found as it is asked for: in the order of names, folders before what is in them.
pub struct Glob<'a> {
    tree: &'a Tree,
    at: Matching,
}

/// A search for what matches a pattern, somewhere on its way: it can be held as this and taken up again. It costs nothing
/// that was done already.
#[derive(Clone)]
pub struct Matching {
    parts: Arc<[Part]>,
    /// Whether a `/` ends the pattern: only folders match.
    folders_only: bool,
    state: State,
    frames: Vec<Frame>,
    entered: usize,
    waiting: usize,
}

#[derive(Clone)]
enum State {
    /// The path to begin at, or an error, is not looked at yet.
    Begin(Vec<u8>),
    /// The pattern itself is refused.
    Refused(Refused),
    Running,
    Ended,
}

/// Why a pattern is not looked for.
#[derive(Clone, Copy)]
enum Refused {
    Long,
    Above,
}

impl Refused {
    fn error(self) -> Error {
        match self {
            Refused::Long => Error::Limit(format!("the pattern has more than {MAX_PARTS} components")),
            Refused::Above => Error::unsupported("`..` after a wildcard"),
        }
    }
}

/// A component of a pattern.
enum Part {
    /// `**`.
    Folders,
    /// One name.
    Name(Pattern),
}

/// Positions in the pattern, as bits.
type Places = u128;

/// A folder that is looked at.
#[derive(Clone)]
struct Frame {
    /// As the pattern spells it; empty for the root.
    path: Vec<u8>,
    /// As it is.
    canonical: Vec<u8>,
    node: Node,
    /// The parts that may match a name in this folder.
    places: Places,
    /// What in it matches, last first; `None` before it was read.
    waiting: Option<Vec<Candidate>>,
}

/// A name in a folder that matches something.
#[derive(Clone)]
struct Candidate {
    name: Vec<u8>,
    node: Node,
    kind: Option<FileKind>,
    /// Whether all of the pattern matches.
    matched: bool,
    /// Where the pattern goes on because a name matched: links are followed.
    by_name: Places,
    /// Where it goes on because of `**`: links are not.
    by_folders: Places,
}

impl Tree {
    /// What matches `pattern`. A pattern without wildcards names what [`resolve`](Tree::resolve) finds, and that it is
    /// not there is an error; with wildcards, nothing found is nothing. A component that can't be read is an error in
    /// between, and the search goes on.
    pub fn glob(&self, pattern: &[u8]) -> Glob<'_> {
        let names: Vec<&[u8]> =
            pattern.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
        let wild = names.iter().position(|name| is_pattern(name) && Pattern::new(name).literal().is_none());
        let literal = wild.unwrap_or(names.len());
        let mut prefix = Vec::new();
        for name in &names[..literal] {
            prefix.push(b'/');
            prefix.extend(Pattern::new(name).literal().unwrap_or_default());
        }
        let mut parts: Vec<Part> = Vec::new();
        for name in &names[literal..] {
            match *name {
                b"**" if matches!(parts.last(), Some(Part::Folders)) => {}
                b"**" => parts.push(Part::Folders),
                name => parts.push(Part::Name(Pattern::new(name))),
            }
        }
        let state = if parts.len() > MAX_PARTS {
            State::Refused(Refused::Long)
        } else if names[literal..].contains(&&b".."[..]) {
            State::Refused(Refused::Above)
        } else {
            State::Begin(prefix)
        };
        let folders_only = pattern.ends_with(b"/") && !names.is_empty();
        let (parts, frames) = (parts.into(), Vec::new());
        Glob { tree: self, at: Matching { parts, folders_only, state, frames, entered: 0, waiting: 0 } }
    }

    /// Goes on with a search that was begun in this tree.
    pub fn glob_on(&self, at: Matching) -> Glob<'_> {
        Glob { tree: self, at }
    }
}

impl Glob<'_> {
    /// The search as it is now, to be taken up again.
    pub fn hold(self) -> Matching {
        self.at
    }
}

impl Matching {
    /// Bytes of memory that it takes, about.
    pub fn cost(&self) -> usize {
        let frame = |frame: &Frame| size_of::<Frame>() + frame.path.len() + frame.canonical.len();
        self.waiting + self.frames.iter().map(frame).sum::<usize>()
    }
}

impl Iterator for Glob<'_> {
    type Item = Result<Match, PathError>;

    fn next(&mut self) -> Option<Self::Item> {
        match std::mem::replace(&mut self.at.state, State::Ended) {
            State::Begin(prefix) => {
                if let Some(first) = self.at.begin(self.tree, prefix) {
                    return Some(first);
                }
            }
            State::Refused(why) => return Some(Err(PathError { at: Vec::new(), source: why.error() })),
            State::Running => self.at.state = State::Running,
            State::Ended => return None,
        }
        self.at.advance(self.tree)
    }
}

impl Matching {
    /// Goes to the folder where the wildcards begin; without any, that is the answer.
    fn begin(&mut self, tree: &Tree, mut prefix: Vec<u8>) -> Option<Result<Match, PathError>> {
        if self.parts.is_empty() {
            if self.folders_only {
                prefix.push(b'/');
            }
            let found = tree.resolve(&prefix, Follow::AllButLast);
            return Some(found.map(|found| Match { path: spelled(&prefix, &found), found }));
        }
        self.state = State::Running;
        match tree.resolve(&prefix, Follow::All) {
            Ok(found) => {
                if tree.kind(found.node).is_ok_and(|kind| kind != FileKind::Directory) {
                    return None;
                }
                let path = spelled(&prefix, &found);
                let path = if path == b"/" { Vec::new() } else { path };
                self.enter(path, found, self.closed(1));
                None
            }
            Err(PathError { source: Error::NotFound | Error::NotADirectory, .. }) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// `places`, and behind every `**` of them what follows it.
    fn closed(&self, mut places: Places) -> Places {
        for (position, part) in self.parts.iter().enumerate() {
            if places & (1 << position) != 0 && matches!(part, Part::Folders) {
                places |= 1 << (position + 1);
            }
        }
        places
    }

    fn enter(&mut self, path: Vec<u8>, found: Resolved, places: Places) {
        let canonical = if found.path == b"/" { Vec::new() } else { found.path };
        self.frames.push(Frame { path, canonical, node: found.node, places, waiting: None });
    }

    fn advance(&mut self, tree: &Tree) -> Option<Result<Match, PathError>> {
        while let Some(frame) = self.frames.last_mut() {
            let Some(waiting) = &mut frame.waiting else {
                if let Err(source) = self.read(tree) {
                    let at = self.frames.last().map(|frame| frame.path.clone()).unwrap_or_default();
                    if matches!(source, Error::Limit(_)) && self.entered >= MAX_FOLDERS {
                        self.frames.clear();
                    }
                    return Some(Err(PathError { at, source }));
                }
                continue;
            };
            let Some(candidate) = waiting.pop() else {
                self.frames.pop();
                continue;
            };
            self.waiting -= candidate.cost();
            if let Some(given) = self.take(tree, candidate) {
                return Some(given);
            }
        }
        None
    }

    /// Goes into what matched, and gives it where all of the pattern matched.
    fn take(&mut self, tree: &Tree, candidate: Candidate) -> Option<Result<Match, PathError>> {
        let frame = self.frames.last()?;
        let joined = |above: &[u8]| [above, b"/", &candidate.name].concat();
        let (path, canonical) = (joined(&frame.path), joined(&frame.canonical));
        let kind = match candidate.kind.map_or_else(|| tree.kind(candidate.node), Ok) {
            Ok(kind) => kind,
            Err(source) => return Some(Err(PathError { at: path, source })),
        };
        let found = Resolved { node: candidate.node, path: canonical };
        // What it is once links are followed, where that matters.
        let behind = if kind == FileKind::Symlink && (candidate.by_name != 0 || self.folders_only) {
            let behind = tree.resolve(&found.path, Follow::All).ok();
            behind.filter(|behind| tree.kind(behind.node).is_ok_and(|kind| kind == FileKind::Directory))
        } else {
            None
        };
        let folder = kind == FileKind::Directory;
        let matched = candidate.matched && (!self.folders_only || folder || behind.is_some());
        if folder && candidate.by_name | candidate.by_folders != 0 {
            self.enter(path.clone(), found.clone(), self.closed(candidate.by_name | candidate.by_folders));
        } else if let Some(behind) = behind
            && candidate.by_name != 0
        {
            self.enter(path.clone(), behind, self.closed(candidate.by_name));
        }
        matched.then_some(Ok(Match { path, found }))
    }

    /// Reads the last frame's folder: what in it matches any of its places.
    fn read(&mut self, tree: &Tree) -> Result<()> {
        let depth = self.frames.len();
        let Some((frame, above)) = self.frames.split_last_mut() else { return Ok(()) };
        frame.waiting = Some(Vec::new());
        // A name moves on in the pattern, and only `**` stays where it is, which follows no link.
        if above.iter().any(|other| other.node == frame.node && other.places == frame.places) {
            return Err(Error::corrupt("the folder", "it stands in itself"));
        }
        if depth > MAX_DEPTH {
            return Err(Error::Limit(format!("folders are more than {MAX_DEPTH} deep")));
        }
        self.entered += 1;
        if self.entered > MAX_FOLDERS {
            return Err(Error::Limit(format!("the pattern leads into more than {MAX_FOLDERS} folders")));
        }
        let mut found = Vec::new();
        let mut bytes = 0;
        let active = (0..self.parts.len()).filter(|position| frame.places & (1 << position) != 0);
        let literals: Option<Vec<Vec<u8>>> = active
            .map(|position| match &self.parts[position] {
                Part::Name(pattern) => pattern.literal(),
                Part::Folders => None,
            })
            .collect();
        let mut failed = Ok(());
        if let Some(mut names) = literals {
            names.sort();
            names.dedup();
            for name in names {
                match tree.lookup(frame.node, &name) {
                    Ok(node) => found.extend(candidate(&self.parts, frame.places, &name, node, None)),
                    Err(Error::NotFound | Error::NotADirectory) => {}
                    Err(error) => failed = Err(error),
                }
            }
            bytes = found.iter().map(Candidate::cost).sum();
        } else {
            let mut full = false;
            failed = tree.readdir(frame.node, 0, &mut |entry| {
                if let Some(one) = candidate(&self.parts, frame.places, entry.name, entry.node, entry.kind) {
                    bytes += one.cost();
                    found.push(one);
                }
                full = self.waiting + bytes > MAX_WAITING;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if full {
                failed = Err(Error::Limit(format!("more than {} MiB of names match", MAX_WAITING >> 20)));
            }
        }
        found.sort_by(|a, b| b.name.cmp(&a.name));
        self.waiting += bytes;
        frame.waiting = Some(found);
        failed
    }
}

impl Candidate {
    /// Bytes of memory.
    fn cost(&self) -> usize {
        size_of::<Candidate>() + self.name.len()
    }
}

/// What matches `name` among the parts at `places`.
fn candidate(
    parts: &[Part],
    places: Places,
    name: &[u8],
    node: Node,
    kind: Option<FileKind>,
) -> Option<Candidate> {
    let mut candidate = Candidate { name: Vec::new(), node, kind, matched: false, by_name: 0, by_folders: 0 };
    for (position, part) in parts.iter().enumerate().filter(|(position, _)| places & (1 << position) != 0) {
        let last = position + 1 == parts.len();
        match part {
            Part::Folders => {
                candidate.by_folders |= 1 << position;
                candidate.matched |= last;
            }
            Part::Name(pattern) if pattern.matches(name) => {
                if last {
                    candidate.matched = true;
                } else {
                    candidate.by_name |= 1 << (position + 1);
                }
            }
            Part::Name(_) => {}
        }
    }
    if !candidate.matched && candidate.by_name | candidate.by_folders == 0 {
        return None;
    }
    candidate.name = name.to_vec();
    Some(candidate)
}

/// The path as it was asked for; where `..` is in it, as it is.
fn spelled(asked: &[u8], found: &Resolved) -> Vec<u8> {
    if asked.split(|&byte| byte == b'/').any(|name| name == b"..") {
        return found.path.clone();
    }
    let end = asked.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    if end == 0 { b"/".to_vec() } else { asked[..end].to_vec() }
}
