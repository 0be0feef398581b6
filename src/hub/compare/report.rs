//! From the differences of two trees to the lines of the wire, and their sums.

use super::Points;
use crate::browse::entry::{kind, permissions, text, time};
use crate::browse::failure::code;
use crate::streams::{STATUS, Teller};
use api::{ChangeKind, ChangedPart, DiffLine, DiffSummary, FileChange, FileState, SearchStatus, Unsearched};
use guestfs::compare::{Change, Comparison, Counts, Side, What};
use guestfs::tree::{Tree, VolumeState};
use guestfs::{Content, FileKind, Stat};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A comparison that runs.
pub(super) struct Report<'a> {
    points: &'a Points,
    teller: &'a Teller<DiffLine>,
    summary: DiffSummary,
    told: Instant,
}

impl<'a> Report<'a> {
    pub(super) fn new(points: &'a Points, teller: &'a Teller<DiffLine>) -> Self {
        Report { points, teller, summary: DiffSummary::default(), told: Instant::now() }
    }

    /// Compares, and tells all of it but its sums, which it gives. Blocks.
    pub(super) fn run(mut self, content_only: bool) -> DiffSummary {
        let points = self.points;
        let [before, after] = &points.trees;
        self.volumes();
        let compared = Comparison::new(before, after, &points.changes, content_only);
        let report = std::cell::RefCell::new(&mut self);
        let (counts, ended) = compared.run(
            &points.path,
            points.nodes[0],
            points.nodes[1],
            &mut |change, counts| report.borrow_mut().change(&change, counts),
            &mut |counts| report.borrow_mut().tick(counts),
        );
        // Which volumes can be opened is known now.
        for (side, tree) in points.trees.iter().enumerate() {
            for warning in tree.warnings() {
                let message = format!("{}: {warning}", points.records[side].id);
                self.teller.tell_blocking(DiffLine::Warning { message });
            }
        }
        let mut summary = self.summary;
        summary.truncated = !ended;
        summary.compared = counts.compared;
        summary.proven = counts.proven;
        summary.read = counts.read;
        summary.content_bytes = counts.bytes_read;
        summary.volumes_unchanged = counts.volumes;
        summary.bytes_read = points.read.load(Ordering::Relaxed);
        summary.changed_disk_bytes = points.changes.bytes();
        summary
    }

    /// Volumes that only one point has, and those that can't be looked into.
    fn volumes(&mut self) {
        let points = self.points;
        let ids = |tree: &Tree| -> Vec<String> {
            let holds_files =
                |state: &VolumeState<'_>| matches!(state.volume.content, Content::FileSystem(_));
            tree.volumes().iter().filter(|state| holds_files(state)).map(|s| s.volume.id.clone()).collect()
        };
        let [before, after] = [ids(&points.trees[0]), ids(&points.trees[1])];
        let only = |ids: &[String], other: &[String]| -> Vec<String> {
            ids.iter().filter(|id| !other.contains(id)).cloned().collect()
        };
        self.summary.volumes_added = only(&after, &before);
        self.summary.volumes_removed = only(&before, &after);
        for (side, tree) in points.trees.iter().enumerate() {
            for note in &points.notes[side] {
                self.unreadable(side, None, note.clone(), api::ErrorCode::Damaged);
            }
            for (id, reason, code) in hidden_volumes(tree) {
                self.unreadable(side, Some(id), reason, code);
            }
        }
    }

    fn unreadable(&mut self, side: usize, path: Option<String>, error: String, code: api::ErrorCode) -> bool {
        self.summary.failed += 1;
        let backup_id = self.points.records[side].id.clone();
        self.teller.tell_blocking(DiffLine::Error(Unsearched { backup_id, path, error, code }))
    }

    fn change(&mut self, change: &Change<'_>, counts: &Counts) -> ControlFlow<()> {
        self.tick(counts)?;
        let size = |stat: &Stat| if stat.kind == FileKind::File { stat.size } else { 0 };
        let sum = &mut self.summary;
        let (path, change, parts, before, after) = match change {
            Change::Failed { path, side, error } => {
                let side = usize::from(*side == Side::After);
                let told = self.unreadable(side, Some(text(path)), error.to_string(), code(error));
                return if told { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            }
            Change::Added { path, stat } => {
                sum.added += 1;
                sum.added_bytes += size(stat);
                (path, ChangeKind::Added, Vec::new(), None, Some(stat))
            }
            Change::Removed { path, stat } => {
                sum.removed += 1;
                sum.removed_bytes += size(stat);
                (path, ChangeKind::Removed, Vec::new(), Some(stat), None)
            }
            Change::Changed { path, before, after, what } => {
                let kind = if what.kind {
                    sum.type_changed += 1;
                    ChangeKind::TypeChanged
                } else if what.content {
                    sum.changed += 1;
                    sum.changed_bytes_before += size(before);
                    sum.changed_bytes_after += size(after);
                    ChangeKind::Changed
                } else {
                    sum.metadata += 1;
                    ChangeKind::Metadata
                };
                (path, kind, parts(*what, after.kind), Some(before), Some(after))
            }
        };
        let line = FileChange {
            path: text(path),
            path_b64: api::to_base64(path),
            change,
            parts,
            before: before.map(|stat| state(stat)),
            after: after.map(|stat| state(stat)),
        };
        match self.teller.tell_blocking(DiffLine::Change(Box::new(line))) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    }

    fn tick(&mut self, counts: &Counts) -> ControlFlow<()> {
        if self.teller.is_stopped() {
            return ControlFlow::Break(());
        }
        if self.told.elapsed() >= STATUS {
            self.told = Instant::now();
            self.teller.tell_in_passing(DiffLine::Status(SearchStatus {
                phase: "comparing".to_owned(),
                points_done: 0,
                points_total: 2,
                entries: counts.compared + self.summary.added + self.summary.removed,
                bytes_read: self.points.read.load(Ordering::Relaxed),
                found: self.summary.differences(),
            }));
        }
        ControlFlow::Continue(())
    }
}

/// Volumes that may hold files and can't be looked into, with why.
pub(crate) fn hidden_volumes(tree: &Tree) -> Vec<(String, String, api::ErrorCode)> {
    let reason = |content: &Content| match content {
        Content::Locked { kind, reason, .. } => {
            Some((format!("{kind}: {reason}"), api::ErrorCode::Encrypted))
        }
        Content::Damaged(reason) => Some((reason.clone(), api::ErrorCode::Damaged)),
        _ => None,
    };
    let hidden = |state: &VolumeState<'_>| {
        reason(&state.volume.content).map(|(reason, code)| (state.volume.id.clone(), reason, code))
    };
    tree.volumes().iter().filter_map(hidden).collect()
}

fn parts(what: What, kind: FileKind) -> Vec<ChangedPart> {
    let content = if kind == FileKind::Symlink { ChangedPart::Target } else { ChangedPart::Content };
    [
        (what.kind, ChangedPart::Type),
        (what.content, content),
        (what.mode, ChangedPart::Mode),
        (what.owner, ChangedPart::Owner),
        (what.modified, ChangedPart::Modified),
        (what.xattrs, ChangedPart::Xattrs),
    ]
    .into_iter()
    .filter_map(|(differs, part)| differs.then_some(part))
    .collect()
}

fn state(stat: &Stat) -> FileState {
    FileState {
        kind: kind(stat.kind),
        size: stat.size,
        modified_time: time(stat.modified),
        permissions: permissions(stat),
        mode: format!("{:04o}", stat.mode),
        uid: stat.uid,
        gid: stat.gid,
    }
}
