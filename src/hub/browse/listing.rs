//! Pages of a folder, of all below one, and of what matches a pattern.
//!
//! Who lists asks for one page after the other, and a point never changes. So what it took to get to the end of a page is
//! kept with the session: the entries of the folder that was listed last, and where a walk or a pattern has come to. The
//! next page goes on there: all pages together cost one walk, and a second one where their number was asked for. Whoever
//! asks for another page, or comes after too many others, begins again.
//!
//! A page tells what could not be read of its part, and no other page tells it again.

use super::entry::entry;
use super::{Session, failure};
use crate::Result;
use api::{FileEntry, FileError, FileList};
use guestfs::FileKind;
use guestfs::tree::{Event, Follow, Matching, Node, Step, Tree, Walk, WalkOptions, is_pattern};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most entries of one folder that are sorted for a listing.
const MAX_FOLDER: usize = 4 << 20;
/// The most bytes of entries of a folder that are kept for the next page.
const MAX_KEPT: usize = 32 << 20;
/// How many walks of a session are held for their next page, and how many bytes they take together.
const MAX_WALKS: usize = 8;
const MAX_HELD: usize = 64 << 20;
/// The most problems that are told with one page; the rest is counted in the last.
const MAX_ERRORS: usize = 100;

/// Which part of a listing is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    /// Everything below it too.
    pub recursive: bool,
    /// With extended attributes.
    pub xattrs: bool,
    /// With the number of all.
    pub count: bool,
    /// How many at most.
    pub limit: usize,
    /// How many to skip.
    pub offset: u64,
}

impl Page {
    /// The position behind its last.
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.limit as u64)
    }
}

/// What is kept of a session's listings.
#[derive(Default)]
pub(super) struct Listings {
    /// The folder that was listed last.
    folder: Mutex<Option<(Node, Arc<Names>)>>,
    /// Those that were not at their end, the last one last.
    held: Mutex<Vec<Held>>,
}

/// Entries of a folder, by name.
type Names = Vec<(Vec<u8>, Node)>;

/// A listing that has come to the end of a page.
struct Held {
    what: What,
    way: Way,
    /// How many entries it has come by.
    position: u64,
    /// How many there are, once they were counted.
    total: Option<u64>,
}

/// What is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Below(Vec<u8>),
    Pattern(Vec<u8>),
}

/// How the next of it is found.
#[derive(Clone)]
enum Way {
    Below(Box<Walk>),
    Pattern(Box<Matching>),
}

/// What comes next.
enum Next<'a> {
    Entry(&'a [u8], Node),
    Failed(&'a [u8], &'a guestfs::Error),
}

impl Session {
    /// A page of a folder; a file is a list of itself.
    ///
    /// # Errors
    /// Where there is no such path, or it can't be read.
    pub fn files(&self, path: &[u8], page: Page) -> Result<FileList> {
        let (node, canonical) = self.resolve(path, Follow::All)?;
        let failed = |error: guestfs::Error| failure::at(&canonical, &error);
        let mut list = Listing::default();
        if self.tree.kind(node).map_err(failed)? != FileKind::Directory {
            list.one(&self.tree, &canonical, node, page);
        } else if page.recursive {
            let begin = || {
                let options = WalkOptions { sorted: true, other_volumes: false, ..WalkOptions::default() };
                Way::Below(Box::new(self.tree.begin_walk(&canonical, node, &options)))
            };
            self.listed(What::Below(canonical.clone()), begin, page, &mut list);
        } else {
            self.folder(&canonical, node, page, &mut list).map_err(failed)?;
        }
        Ok(list.finish(self.tree.warnings()))
    }

    /// What matches a pattern: `*`, `?`, `[…]` and, over folders, `**`.
    ///
    /// # Errors
    /// Where the pattern is beyond the bounds, or names without wildcards what is not there.
    pub fn glob(&self, pattern: &[u8], page: Page) -> Result<FileList> {
        let mut list = Listing::default();
        if is_pattern(pattern) {
            let begin = || Way::Pattern(Box::new(self.tree.glob(pattern).hold()));
            self.listed(What::Pattern(pattern.to_vec()), begin, page, &mut list);
        } else {
            for found in self.tree.glob(pattern) {
                let found = found.map_err(|error| failure::of_path(&error))?;
                list.one(&self.tree, &found.path, found.found.node, page);
            }
        }
        Ok(list.finish(self.tree.warnings()))
    }

    fn folder(&self, path: &[u8], dir: Node, page: Page, list: &mut Listing) -> guestfs::Result<()> {
        let names = self.sorted(dir)?;
        list.total = names.len() as u64;
        list.more = page.end() < list.total;
        let from = usize::try_from(page.offset).unwrap_or(usize::MAX).min(names.len());
        for (name, node) in names[from..].iter().take(page.limit) {
            list.read(&self.tree, &join(path, name), *node, page);
        }
        Ok(())
    }

    /// The entries of a folder, in the order of their names. The last one is kept.
    fn sorted(&self, dir: Node) -> guestfs::Result<Arc<Names>> {
        if let Some((kept, names)) = &*lock(&self.listings.folder)
            && *kept == dir
        {
            return Ok(Arc::clone(names));
        }
        let mut names: Names = Vec::new();
        let mut held = 0;
        let mut full = false;
        self.tree.readdir(dir, 0, &mut |entry| {
            full = names.len() >= MAX_FOLDER;
            if full {
                return ControlFlow::Break(());
            }
            held += entry.name.len() + size_of::<(Vec<u8>, Node)>();
            names.push((entry.name.to_vec(), entry.node));
            ControlFlow::Continue(())
        })?;
        if full {
            return Err(guestfs::Error::Limit(format!("the folder has more than {MAX_FOLDER} entries")));
        }
        names.sort();
        let names = Arc::new(names);
        if held <= MAX_KEPT {
            *lock(&self.listings.folder) = Some((dir, Arc::clone(&names)));
        }
        Ok(names)
    }

    /// A page of what takes a walk, which goes on where an earlier page has left it.
    fn listed(&self, what: What, begin: impl FnOnce() -> Way, page: Page, list: &mut Listing) {
        let tree = &self.tree;
        let kept = self.listings.take(&what, page.offset);
        let Held { what, way, mut position, mut total } =
            kept.unwrap_or_else(|| Held { what, way: begin(), position: 0, total: None });
        let (mut way, mut ended) = way.go_on(tree, &mut |next| match next {
            Next::Entry(path, node) => {
                if position >= page.offset && position < page.end() {
                    list.read(tree, path, node, page);
                }
                position += 1;
                position < page.end()
            }
            Next::Failed(path, error) => {
                if position >= page.offset {
                    list.fail(path, error);
                }
                true
            }
        });
        if !ended && page.count && total.is_none() {
            let mut all = position;
            way.clone().go_on(tree, &mut |next| {
                all += u64::from(matches!(next, Next::Entry(..)));
                true
            });
            total = Some(all);
        }
        if !ended && total == Some(position) {
            // Nobody asks for a page of nothing but what can't be read.
            (way, ended) = way.go_on(tree, &mut |next| {
                if let Next::Failed(path, error) = next {
                    list.fail(path, error);
                }
                true
            });
        }
        list.total = total.unwrap_or(position);
        list.more = !ended || position > page.end();
        if !ended {
            self.listings.keep(Held { what, way, position, total });
        }
    }
}

impl Listings {
    /// What has come the nearest to this position, and not beyond it.
    fn take(&self, what: &What, offset: u64) -> Option<Held> {
        let mut held = lock(&self.held);
        let fits = held.iter().enumerate().filter(|(_, one)| one.what == *what && one.position <= offset);
        let (nearest, _) = fits.max_by_key(|(_, one)| one.position)?;
        Some(held.remove(nearest))
    }

    fn keep(&self, one: Held) {
        let mut held = lock(&self.held);
        held.retain(|other| other.what != one.what || other.position != one.position);
        held.push(one);
        while held.len() > MAX_WALKS || held.iter().map(Held::cost).sum::<usize>() > MAX_HELD {
            held.remove(0);
        }
    }
}

impl Held {
    /// Bytes of memory.
    fn cost(&self) -> usize {
        let (What::Below(path) | What::Pattern(path)) = &self.what;
        let way = match &self.way {
            Way::Below(walk) => walk.cost(),
            Way::Pattern(matching) => matching.cost(),
        };
        way + path.len()
    }
}

impl Way {
    /// Gives what comes next to `take` until that wants no more, and tells whether it came to its end.
    fn go_on(self, tree: &Tree, take: &mut dyn FnMut(Next<'_>) -> bool) -> (Way, bool) {
        match self {
            Way::Below(mut walk) => {
                let ended = walk.go_on(tree, &mut |event| {
                    let more = match event {
                        Event::Entry(found) if found.depth == 0 => true,
                        Event::Entry(found) => take(Next::Entry(found.path, found.node)),
                        Event::Failed { path, error } => take(Next::Failed(path, error)),
                    };
                    if more { Step::Into } else { Step::Hold }
                });
                (Way::Below(walk), ended)
            }
            Way::Pattern(matching) => {
                let mut glob = tree.glob_on(*matching);
                let ended = glob.by_ref().all(|found| match found {
                    Ok(found) => take(Next::Entry(&found.path, found.found.node)),
                    Err(error) => take(Next::Failed(&error.at, &error.source)),
                });
                (Way::Pattern(Box::new(glob.hold())), ended)
            }
        }
    }
}

fn lock<T>(kept: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole values are put in or taken out.
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A page in the making.
#[derive(Default)]
struct Listing {
    files: Vec<FileEntry>,
    total: u64,
    more: bool,
    errors: Vec<FileError>,
    failed: usize,
}

impl Listing {
    /// All there is.
    fn one(&mut self, tree: &Tree, path: &[u8], node: Node, page: Page) {
        self.total = 1;
        if page.offset == 0 {
            self.read(tree, path, node, page);
        }
    }

    /// Reads an entry of the page.
    fn read(&mut self, tree: &Tree, path: &[u8], node: Node, page: Page) {
        match entry(tree, path, node, page.xattrs) {
            Ok(entry) => self.files.push(entry),
            Err(error) => self.fail(path, &error),
        }
    }

    fn fail(&mut self, path: &[u8], error: &guestfs::Error) {
        self.failed += 1;
        if self.errors.len() < MAX_ERRORS {
            let path = String::from_utf8_lossy(path).into_owned();
            self.errors.push(FileError { path, error: error.to_string() });
        }
    }

    fn finish(mut self, warnings: Vec<String>) -> FileList {
        if self.failed > self.errors.len() {
            let more = self.failed - self.errors.len();
            self.errors.push(FileError { path: String::new(), error: format!("and {more} more") });
        }
        FileList {
            files: self.files,
            total_count: self.total,
            more: self.more,
            errors: self.errors,
            warnings,
        }
    }
}

/// A path and one more component.
pub(super) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut joined = path.to_vec();
    if joined != b"/" {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}
