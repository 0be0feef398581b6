//! From a path to a node, with symbolic links followed inside of the tree and never out of it.
//!
//! The rules are those of `openat2(2)` with `RESOLVE_IN_ROOT`: the root is the root for absolute links too, and `..`
//! above it is the root again. Paths, names, link targets and the number of links are bounded.

use crate::{Error, FileKind, Result};
use std::fmt;

/// The longest path that is resolved, in bytes.
pub const MAX_PATH: usize = 512 << 10;
/// The longest name in a path, in bytes: 255 UTF-16 units take 765 in UTF-8.
pub const MAX_NAME: usize = 1024;
/// The longest target of a symbolic link that is followed, in bytes.
pub const MAX_TARGET: usize = 32 << 10;
/// How many symbolic links are followed for one path: the kernel's number.
pub const MAX_LINKS: usize = 40;

/// What the resolution walks in.
pub(crate) trait Namespace {
    /// A file or folder.
    type Node: Copy + PartialEq;
    /// Where it begins, and ends.
    fn root(&self) -> Self::Node;
    /// The entry `name` of a folder.
    fn lookup(&self, dir: Self::Node, name: &[u8]) -> Result<Self::Node>;
    /// What a node is.
    fn kind(&self, node: Self::Node) -> Result<FileKind>;
    /// The target of a link.
    fn readlink(&self, node: Self::Node) -> Result<Vec<u8>>;
    /// How the entry that was found under `name` is spelled in the canonical path.
    fn spelled<'a>(&'a self, node: Self::Node, name: &'a [u8]) -> &'a [u8];
    /// Where absolute targets of this link begin: the root, or a folder that it lies below.
    fn absolute(&self, link: Self::Node) -> Self::Node;
}

/// Whether a link at the very end of a path is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// All links are.
    All,
    /// A link at the end is what was asked for; with a `/` after it, it is followed all the same.
    AllButLast,
}

/// Where a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved<N = super::Node> {
    /// The file or folder.
    pub node: N,
    /// Its path from the tree's root: begins with `/`, has no `.`, `..`, doubled or trailing `/`, and no link but,
    /// perhaps, the last name.
    pub path: Vec<u8>,
}

/// Why a path leads nowhere, and at which of its components that was found.
#[derive(Debug)]
pub struct PathError {
    /// The canonical path up to and with the component that failed.
    pub at: Vec<u8>,
    /// Why.
    pub source: Error,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", String::from_utf8_lossy(&self.at), self.source)
    }
}

impl std::error::Error for PathError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<PathError> for Error {
    fn from(error: PathError) -> Self {
        error.source
    }
}

/// The way that was gone: the nodes below the root, and their canonical path.
struct Way<N> {
    root: N,
    /// Each node, and the length of the path before it.
    nodes: Vec<(N, usize)>,
    path: Vec<u8>,
}

impl<N: Copy + PartialEq> Way<N> {
    fn here(&self) -> N {
        self.nodes.last().map_or(self.root, |(node, _)| *node)
    }

    fn down(&mut self, node: N, name: &[u8]) {
        self.nodes.push((node, self.path.len()));
        self.path.push(b'/');
        self.path.extend_from_slice(name);
    }

    /// To the folder above; the root's is the root.
    fn up(&mut self) {
        if let Some((_, length)) = self.nodes.pop() {
            self.path.truncate(length);
        }
    }

    /// Back to `node`, where the way came through it, or to the root.
    fn back_to(&mut self, node: N) {
        while !self.nodes.is_empty() && self.here() != node {
            self.up();
        }
    }

    fn error(&self, name: &[u8], source: Error) -> PathError {
        let mut at = self.path.clone();
        at.push(b'/');
        at.extend_from_slice(&name[..name.len().min(MAX_NAME)]);
        PathError { at, source }
    }
}

/// What is still to be gone: the rest of the path, and of the targets of the links that were met in it, innermost last.
struct Pending {
    texts: Vec<(Vec<u8>, usize)>,
    /// Whether a `/` stood at the end: what is found must be a folder.
    slash_at_end: bool,
}

impl Pending {
    /// The next component.
    fn next(&mut self) -> Option<Vec<u8>> {
        while let Some((text, at)) = self.texts.last_mut() {
            let rest = &text[*at..];
            let start = rest.iter().position(|&byte| byte != b'/').unwrap_or(rest.len());
            let end =
                rest[start..].iter().position(|&byte| byte == b'/').map_or(rest.len(), |end| start + end);
            if start == end {
                self.texts.pop();
                continue;
            }
            let name = rest[start..end].to_vec();
            *at += end;
            return Some(name);
        }
        None
    }

    /// Whether nothing but slashes follows; those are noted.
    fn at_end(&mut self) -> bool {
        let mut slash = false;
        for (text, at) in self.texts.iter().rev() {
            let rest = &text[*at..];
            if rest.iter().any(|&byte| byte != b'/') {
                return false;
            }
            slash |= !rest.is_empty();
        }
        self.slash_at_end |= slash;
        true
    }
}

/// Goes from the root of `space` along `path`. An empty path is the root.
pub(crate) fn resolve<S: Namespace>(
    space: &S,
    path: &[u8],
    follow: Follow,
) -> Result<Resolved<S::Node>, PathError> {
    let mut way = Way { root: space.root(), nodes: Vec::new(), path: Vec::new() };
    if path.len() > MAX_PATH {
        let source = Error::Limit(format!("the path is longer than {MAX_PATH} bytes"));
        return Err(PathError { at: path[..MAX_NAME].to_vec(), source });
    }
    let mut pending = Pending { texts: vec![(path.to_vec(), 0)], slash_at_end: false };
    let mut links = 0;
    while let Some(name) = pending.next() {
        match &name[..] {
            b"." => continue,
            b".." => {
                way.up();
                continue;
            }
            _ => {}
        }
        if name.len() > MAX_NAME {
            let source = Error::Limit(format!("the name is longer than {MAX_NAME} bytes"));
            return Err(way.error(&name, source));
        }
        if name.contains(&0) {
            return Err(way.error(&name, Error::NotFound));
        }
        let last = pending.at_end();
        let folder_needed = !last || pending.slash_at_end;
        let found = space.lookup(way.here(), &name).map_err(|error| way.error(&name, error))?;
        let kind = space.kind(found).map_err(|error| way.error(&name, error))?;
        if kind == FileKind::Symlink && (folder_needed || follow == Follow::All) {
            links += 1;
            if links > MAX_LINKS {
                let source = Error::Limit(format!("more than {MAX_LINKS} symbolic links one after another"));
                return Err(way.error(&name, source));
            }
            let target = space.readlink(found).map_err(|error| way.error(&name, error))?;
            if target.is_empty() {
                return Err(way.error(&name, Error::NotFound));
            }
            if target.len() > MAX_TARGET {
                let source = Error::Limit(format!("the link's target is longer than {MAX_TARGET} bytes"));
                return Err(way.error(&name, source));
            }
            if target[0] == b'/' {
                way.back_to(space.absolute(found));
            }
            pending.texts.push((target, 0));
            continue;
        }
        if folder_needed && kind != FileKind::Directory {
            return Err(way.error(&name, Error::NotADirectory));
        }
        let spelled = space.spelled(found, &name);
        way.down(found, spelled);
        if way.path.len() > MAX_PATH {
            let source = Error::Limit(format!("the path is longer than {MAX_PATH} bytes"));
            return Err(PathError { at: way.path[..MAX_NAME].to_vec(), source });
        }
    }
    let node = way.here();
    if way.path.is_empty() {
        way.path.push(b'/');
    }
    Ok(Resolved { node, path: way.path })
}
