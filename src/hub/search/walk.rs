//! One point: what in its tree matches, and the hashes of its files. Blocks.

use super::versions::{Hashed, Occurrences, ToHash};
use super::{Found, Search};
use crate::browse::OpenPoint;
use crate::browse::entry::{kind, text};
use crate::browse::failure::code;
use crate::compare::{Changes, hidden_volumes};
use api::SearchLine;
use guestfs::compare::{layout, same_content};
use guestfs::content::hash_while;
use guestfs::tree::{Entry, Event, Follow, Node, Step, Tree, WalkOptions};
use guestfs::{FileKind, Result};
use model::BackupId;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// A file of more holes than this is not hashed: hashing zeros takes as long as hashing anything else.
const MAX_HOLES: u64 = 64 << 30;

impl Search {
    /// Gives what matches to `sink`, which may end it.
    pub(super) fn walk_tree(
        &self,
        id: &BackupId,
        tree: &Tree,
        layouts: bool,
        sink: &mut dyn FnMut(Found) -> bool,
    ) {
        let criteria = &self.criteria;
        for (volume, reason, code) in hidden_volumes(tree) {
            if self.is_news(&format!("{volume}: {reason}")) {
                self.unreadable(id, Some(volume), &reason, code);
            }
        }
        let start = match tree.resolve(&criteria.start, Follow::All) {
            Ok(found) => found.node,
            Err(error) => {
                use guestfs::Error as Guest;
                // A point without the folder is one without the file.
                if !matches!(error.source, Guest::NotFound | Guest::NotADirectory) {
                    self.unreadable(
                        id,
                        Some(text(&error.at)),
                        &error.source.to_string(),
                        code(&error.source),
                    );
                }
                return;
            }
        };
        let options = WalkOptions { depth: criteria.depth, ..WalkOptions::default() };
        tree.walk(&criteria.start, start, &options, &mut |event| {
            if self.stop.is_stopped() || self.counters.is_full() {
                return Step::Stop;
            }
            let go_on = match event {
                Event::Entry(entry) if entry.depth == 0 && entry.kind == FileKind::Directory => true,
                Event::Entry(entry) => {
                    self.counters.entries.fetch_add(1, Ordering::Relaxed);
                    if !criteria.is_named(entry.name, entry.path, kind(entry.kind)) {
                        return Step::Into;
                    }
                    match self.found(tree, &entry, layouts) {
                        Ok(Some(found)) => sink(found),
                        Ok(None) => true,
                        Err(error) => {
                            self.unreadable(id, Some(text(entry.path)), &error.to_string(), code(&error))
                        }
                    }
                }
                Event::Failed { path, error } => {
                    self.unreadable(id, Some(text(path)), &error.to_string(), code(error))
                }
            };
            if go_on { Step::Into } else { Step::Stop }
        });
        for warning in tree.warnings() {
            if self.is_news(&warning) {
                let message = format!("{id}: {warning}");
                self.teller.tell_blocking(SearchLine::Warning { message });
            }
        }
    }

    /// Everything about an entry whose name matches; `None` where the rest does not.
    fn found(&self, tree: &Tree, entry: &Entry<'_>, layouts: bool) -> Result<Option<Found>> {
        let stat = entry.stat()?;
        if !self.criteria.is_within(&stat) {
            return Ok(None);
        }
        let node = entry.node;
        let target = if stat.kind == FileKind::Symlink { Some(tree.readlink(node)?) } else { None };
        // What has no layout is read; why that can't be done is told then.
        let layout = if layouts { layout(tree, node).ok().flatten() } else { None };
        Ok(Some(Found { path: entry.path.to_vec(), node, stat, target, layout }))
    }

    /// Compares large files with those of the point before, where most of their content is known to be the same. One that
    /// can't be read is hashed, which tells why.
    pub(super) fn compare_large(
        &self,
        number: u32,
        older: &OpenPoint,
        newer: &OpenPoint,
        changes: &Changes,
        occurrences: &mut Occurrences,
    ) {
        let doubtful = occurrences.doubtful(number);
        if doubtful.is_empty() {
            return;
        }
        let tree = |point: &OpenPoint| point.tree(&self.view, &self.counters.bytes_read);
        let (Ok(before), Ok(after)) = (tree(older), tree(newer)) else { return };
        for (file, one, other) in doubtful {
            let same = same_content((&before, one), (&after, other), changes, &mut |bytes| {
                self.counters.content_bytes.fetch_add(bytes, Ordering::Relaxed);
                if self.stop.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            if matches!(same, Ok(Some(true))) {
                occurrences.set_same(number, file);
            }
        }
    }

    /// The hashes of these files. A file of several names is read once.
    pub(super) fn hash_files(&self, tree: &Tree, files: Vec<ToHash>) -> Hashed {
        let mut known: HashMap<Node, std::result::Result<[u8; 32], String>> = HashMap::new();
        let mut hashed = Vec::with_capacity(files.len());
        for file in files {
            let hash = known.get(&file.node).cloned().unwrap_or_else(|| self.hash_file(tree, &file));
            known.insert(file.node, hash.clone());
            if self.stop.is_stopped() {
                break;
            }
            hashed.push((file.file, hash));
        }
        hashed
    }

    fn hash_file(&self, tree: &Tree, file: &ToHash) -> std::result::Result<[u8; 32], String> {
        let failed = |error: guestfs::Error| format!("{}: {error}", text(&file.path));
        let (fs, id) = tree.file(file.node).map_err(failed)?;
        let stat = fs.stat(id).map_err(failed)?;
        if stat.size.saturating_sub(stat.allocated) > MAX_HOLES {
            return Err(format!("{}: it has more than {} GiB of holes", text(&file.path), MAX_HOLES >> 30));
        }
        let mut done = 0;
        let hash = hash_while(&*fs, id, &mut |bytes| {
            self.counters.content_bytes.fetch_add(bytes - done, Ordering::Relaxed);
            done = bytes;
            if self.stop.is_stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match hash.map_err(failed)? {
            Some(hash) => Ok(*hash.as_bytes()),
            None => Err("stopped".to_owned()),
        }
    }
}
