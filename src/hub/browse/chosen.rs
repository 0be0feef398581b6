//! What the paths and patterns of a request name.

use super::listing::join;
use super::{Session, failure};
use crate::{Error, Result};
use api::FileError;
use guestfs::tree::{Entry, Event, Follow, Node, Step, WalkOptions};
use std::collections::HashMap;

/// How many files and folders a request can name by patterns; what is in the folders does not count.
const MAX_CHOSEN: usize = 1 << 20;

/// Files and folders of a session.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) found: Vec<Found>,
    /// What could not be looked at for the patterns.
    pub(super) errors: Vec<FileError>,
}

/// One file or folder.
pub(super) struct Found {
    /// Its path in the guest, without links.
    pub(super) path: Vec<u8>,
    pub(super) node: Node,
}

impl Found {
    /// Its last component; empty for the root.
    pub(super) fn name(&self) -> &[u8] {
        self.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }
}

/// Something that [`Session::visit`] comes by.
pub(super) enum Visited<'a, 'b> {
    /// A file or folder; its path as an unpacked archive has it, from the name of what was chosen on.
    Entry(&'a Entry<'b>, &'a [u8]),
    /// What can't be read, and why. The path is the guest's.
    Failed(&'a [u8], &'a guestfs::Error),
}

impl Session {
    /// Finds what the words name: paths, whose links are followed, and, where `patterns` are meant, what matches those
    /// with a wildcard.
    ///
    /// # Errors
    /// Where a path is not there, or nothing matches a pattern.
    pub(super) fn choose(&self, words: &[Vec<u8>], patterns: bool) -> Result<Chosen> {
        if words.is_empty() {
            return Err(Error::invalid("paths", "paths: name a file or folder of the restore point"));
        }
        let mut chosen = Chosen::default();
        for word in words {
            if !(patterns && word.iter().any(|byte| b"*?[".contains(byte))) {
                let (node, path) = self.resolve(word, Follow::All)?;
                chosen.found.push(Found { path, node });
                continue;
            }
            let before = chosen.found.len();
            for matched in self.tree.glob(word) {
                match matched {
                    Ok(matched) if chosen.found.len() < MAX_CHOSEN => {
                        chosen.found.push(Found { path: matched.path, node: matched.found.node });
                    }
                    Ok(_) => {
                        let shown = String::from_utf8_lossy(word);
                        let reason = format!("more than {MAX_CHOSEN} files match {shown}: name their folder");
                        return Err(Error::invalid("paths", reason));
                    }
                    Err(error) => chosen.errors.push(FileError {
                        path: String::from_utf8_lossy(&error.at).into_owned(),
                        error: error.source.to_string(),
                    }),
                }
            }
            if chosen.found.len() == before {
                let nothing = guestfs::Error::NotFound;
                return Err(failure::at(word, &nothing));
            }
        }
        Ok(chosen)
    }

    /// Visits what was chosen and all below it, folders before what is in them; `visit` may end it. Volumes that the
    /// guest does not mount are visited only where they were chosen themselves.
    ///
    /// Returns whether it came to its end.
    pub(super) fn visit(&self, found: &Found, visit: &mut dyn FnMut(Visited<'_, '_>) -> Step) -> bool {
        let options = WalkOptions { sorted: true, other_volumes: false, ..WalkOptions::default() };
        let top = found.name().to_vec();
        let skipped = if found.path == b"/" { 0 } else { found.path.len() };
        let mut inside = top.clone();
        self.tree.walk(&found.path, found.node, &options, &mut |event| match event {
            Event::Failed { path, error } => visit(Visited::Failed(path, error)),
            Event::Entry(entry) => {
                let below = entry.path.get(skipped..).unwrap_or_default();
                let below = below.strip_prefix(b"/").unwrap_or(below);
                inside.truncate(top.len());
                if top.is_empty() {
                    inside.extend_from_slice(below);
                } else if !below.is_empty() {
                    inside = join(&top, below);
                }
                visit(Visited::Entry(&entry, &inside))
            }
        })
    }
}

impl Chosen {
    /// Checks that all of it can stand side by side in one folder.
    ///
    /// # Errors
    /// The two that can't.
    pub(super) fn distinct(&mut self) -> Result<()> {
        let mut seen: HashMap<&[u8], &[u8]> = HashMap::new();
        for one in &self.found {
            if let Some(other) = seen.insert(one.name(), &one.path)
                && other != one.path
            {
                let [name, a, b] = [one.name(), other, &one.path].map(String::from_utf8_lossy);
                let reason =
                    format!("{a} and {b} would both be called {name}: name the folder that they are in");
                return Err(Error::invalid("paths", reason));
            }
        }
        let mut paths = std::collections::HashSet::new();
        self.found.retain(|one| paths.insert(one.path.clone()));
        Ok(())
    }
}
