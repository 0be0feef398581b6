//! A point as the program shows it against the mount of its state.

use super::Shown;
use super::list::{Entries, Entry};
use std::collections::BTreeMap;
use std::fmt::Debug;

/// What of a file is kept by those who wrote it and those who show it.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    pub owners: bool,
    /// Names of one file.
    pub links: bool,
    pub xattrs: bool,
    /// All times of files; a folder's too where `folder_times`.
    pub times: bool,
    pub folder_times: bool,
    /// Times after a journal was replayed; where not, sizes of folders are not compared then either.
    pub times_after_replay: bool,
    /// Whether a replay leaves the times of inodes alone; where not, the mount's may be later than ours.
    pub changed_after_replay: bool,
    pub changed: bool,
    pub folder_sizes: bool,
    /// Nanoseconds below which times are not told apart.
    pub grain: i128,
    /// What is allocated, to the byte; else a file's holes are only told from its data.
    pub allocation: bool,
    /// Whether holes are kept, and what is allocated is no less than what a file has in data: not where it is compressed, or
    /// was written by a program that writes zeros.
    pub holes: bool,
    /// Whether times before 1970 that are no whole seconds are shown as they are.
    pub fractions_before_1970: bool,
    /// Whether a state that was copied under load is whole once its journal was replayed; where not, what was half written
    /// can't be read by whoever shows it, or by us.
    pub whole: bool,
}

impl Kept {
    pub const ALL: Kept = Kept {
        owners: true,
        links: true,
        xattrs: true,
        times: true,
        folder_times: true,
        times_after_replay: true,
        changed_after_replay: true,
        changed: true,
        folder_sizes: true,
        grain: 1,
        allocation: true,
        holes: true,
        fractions_before_1970: true,
        whole: true,
    };
    /// The kernel gives an inode whose names it adds or removes in a replay the time of the replay.
    pub const BTRFS: Kept = Kept { changed_after_replay: false, ..Kept::ALL };
    /// ntfs-3g has no journal: what it had half written when the disk was copied, it can't always show. It rounds times before
    /// 1970 up.
    pub const NTFS: Kept =
        Kept { whole: false, allocation: false, fractions_before_1970: false, ..Kept::ALL };
    pub const EXFAT: Kept = Kept {
        owners: false,
        links: false,
        xattrs: false,
        grain: 1_000_000_000,
        allocation: false,
        whole: false,
        ..Kept::ALL
    };
    /// mtools give a file its time, and nothing else.
    pub const FAT: Kept = Kept {
        grain: 2_000_000_000,
        folder_times: false,
        changed: false,
        folder_sizes: false,
        ..Kept::EXFAT
    };
}

/// What was compared.
#[derive(Debug, Default)]
pub struct Count {
    pub files: usize,
    pub folders: usize,
    pub links: usize,
    pub others: usize,
    pub xattrs: usize,
    pub refused: usize,
}

/// # Panics
/// With everything that differs (the first twenty).
#[track_caller]
pub fn assert_same(what: &str, shown: &Shown, truth: &Entries, kept: &Kept, replayed: bool) -> Count {
    let newest = shown.listed.values().map(|entry| entry.changed).max().unwrap_or(i128::MAX);
    let mut comparison = Comparison { kept, replayed, newest, wrong: Vec::new() };
    let count = comparison.all(shown, truth);
    let wrong = comparison.wrong;
    assert!(
        wrong.is_empty(),
        "{what}: {} differences, {count:?}:\n{}",
        wrong.len(),
        wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    count
}

struct Comparison<'a> {
    kept: &'a Kept,
    replayed: bool,
    /// The newest time of an inode in the point.
    newest: i128,
    wrong: Vec<String>,
}

impl Comparison<'_> {
    fn same<T: PartialEq + Debug>(&mut self, path: &[u8], field: &str, ours: T, theirs: T) {
        if ours != theirs {
            let path = String::from_utf8_lossy(path);
            self.wrong.push(format!("{path}: {field} is {ours:?}, the mount shows {theirs:?}"));
        }
    }

    fn all(&mut self, shown: &Shown, truth: &Entries) -> Count {
        let mut count = Count::default();
        let half = self.replayed && !self.kept.whole;
        let below = |path: &[u8], top: &str| {
            path.strip_prefix(top.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        };
        let refused = |path: &[u8]| {
            let errors = shown.refused.iter().map(String::as_str);
            let expected = shown.expected.iter().copied();
            errors.filter(|_| half).chain(expected).any(|top| below(path, top))
        };
        for path in shown.refused.iter().filter(|path| !refused(path.as_bytes())) {
            self.same(path.as_bytes(), "it", "refused", "readable");
        }
        // An indexed folder that was being split has names twice; the kernel follows the index, and we read all blocks.
        let split = |path: &[u8]| half && path.contains(&0);
        let unknown = |path: &&Vec<u8>| !refused(path) && !split(path) && !truth.contains_key(*path);
        for path in shown.listed.keys().filter(unknown) {
            self.same(path, "a name", "there", "not there");
        }
        for (path, theirs) in truth {
            if refused(path) {
                count.refused += 1;
                continue;
            }
            if let Some(error) = &theirs.error {
                if half {
                    count.refused += 1;
                } else {
                    self.same(path, "the mount", "readable".to_owned(), error.clone());
                }
                continue;
            }
            let Some(ours) = shown.listed.get(path) else {
                self.same(path, "a name", "not there", "there");
                continue;
            };
            match theirs.kind.as_str() {
                "file" => count.files += 1,
                "directory" => count.folders += 1,
                "symlink" => count.links += 1,
                _ => count.others += 1,
            }
            count.xattrs += theirs.xattrs.len();
            self.listed(path, ours, theirs);
            match shown.extracted.get(path) {
                Some(extracted) => self.extracted(path, extracted, theirs),
                // The second of two equal names has no place of its own.
                None if path.contains(&0) => {}
                None => self.same(path, "what was extracted", "nothing", "something"),
            }
        }
        if self.kept.links && !half {
            self.groups(&shown.listed, truth, "the listing's names of one file");
            self.groups(&shown.extracted, truth, "the extracted names of one file");
        }
        count
    }

    /// The same names are the same file on both sides.
    fn groups(&mut self, ours: &Entries, theirs: &Entries, what: &str) {
        let grouped = |entries: &Entries| {
            let mut groups: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
            for (path, entry) in entries {
                if entry.kind == "file"
                    && theirs.contains_key(path)
                    && ours.contains_key(path)
                    && theirs[path].error.is_none()
                {
                    groups.entry(entry.group.clone()).or_default().push(path.clone());
                }
            }
            let mut groups: Vec<_> = groups.into_values().filter(|names| names.len() > 1).collect();
            groups.sort();
            groups
        };
        let (left, right) = (grouped(ours), grouped(theirs));
        for (mine, other) in left.iter().zip(&right) {
            let text = |names: &Vec<Vec<u8>>| {
                names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect::<Vec<_>>()
            };
            if mine != other {
                return self.same(&mine[0], what, text(mine), text(other));
            }
        }
        self.same(b"/", what, left.len(), right.len());
    }

    fn time(&mut self, path: &[u8], field: &str, ours: i128, theirs: i128) {
        let grain = match self.kept.fractions_before_1970 {
            false if ours < 0 => 1_000_000_000.max(self.kept.grain),
            _ => self.kept.grain,
        };
        let theirs = if ours < 0 && theirs == 0 && !self.kept.fractions_before_1970 { -1 } else { theirs };
        if ours.div_euclid(grain) != theirs.div_euclid(grain) {
            self.same(path, field, ours, theirs);
        }
    }

    /// A file that was being truncated when the disk was copied: the mount frees what is behind its end, and gives it the
    /// moment of the mount, which is later than all that is in the point.
    fn truncated_by_the_mount(&self, ours: u64, theirs: &Entry) -> bool {
        self.replayed
            && theirs.kind == "file"
            && theirs.changed > self.newest
            && theirs.modified == theirs.changed
            && theirs.allocated <= ours
    }

    fn listed(&mut self, path: &[u8], ours: &Entry, theirs: &Entry) {
        self.same(path, "type", &ours.kind, &theirs.kind);
        let folder = theirs.kind == "directory";
        let certain = self.kept.times_after_replay || !self.replayed;
        let truncated = self.truncated_by_the_mount(ours.allocated, theirs);
        if !folder || (self.kept.folder_sizes && certain) {
            self.same(path, "size", ours.size, theirs.size);
        }
        if self.kept.owners {
            self.same(path, "mode", format!("{:o}", ours.mode), format!("{:o}", theirs.mode));
            self.same(path, "owner", ours.owner, theirs.owner);
        }
        if self.kept.links {
            self.same(path, "links", ours.links, theirs.links);
        }
        self.same(path, "target", &ours.target, &theirs.target);
        self.same(path, "device", ours.device, theirs.device);
        if self.kept.times
            && certain
            && (!folder || self.kept.folder_times)
            && (path != b"/" || self.kept.owners)
        {
            if !(theirs.shown_now || truncated) {
                self.time(path, "time", ours.modified, theirs.modified);
            }
            if self.kept.changed {
                let replayed = self.replayed && !self.kept.changed_after_replay;
                if !(theirs.shown_now || truncated || replayed && theirs.changed > ours.changed) {
                    self.time(path, "time of the inode", ours.changed, theirs.changed);
                }
                self.time(path, "time of access", ours.accessed, theirs.accessed);
            }
        }
        if theirs.kind == "file" {
            if self.kept.allocation && !truncated {
                self.same(path, "allocated", ours.allocated, theirs.allocated);
            }
            // A file that is mostly holes is not shown as one of data.
            if self.kept.holes && theirs.allocated < theirs.size / 8 && ours.allocated > theirs.size / 2 {
                self.same(path, "allocated", ours.allocated, theirs.allocated);
            }
        }
    }

    fn extracted(&mut self, path: &[u8], ours: &Entry, theirs: &Entry) {
        self.same(path, "extracted type", &ours.kind, &theirs.kind);
        self.same(path, "extracted content", &ours.content, &theirs.content);
        self.same(path, "extracted target", &ours.target, &theirs.target);
        self.same(path, "extracted device", ours.device, theirs.device);
        if theirs.kind == "file" {
            self.same(path, "extracted size", ours.size, theirs.size);
            // Holes stay holes: what is written is no more than what was allocated, in pages of the target.
            if self.kept.holes
                && ours.allocated
                    > theirs.allocated.max(theirs.size.min(1 << 20)).next_multiple_of(4096) + (1 << 20)
            {
                self.same(path, "extracted bytes", ours.allocated, theirs.allocated);
            }
        }
        // The top is the target's own folder.
        if path == b"/" {
            return;
        }
        if self.kept.owners {
            self.same(path, "extracted mode", format!("{:o}", ours.mode), format!("{:o}", theirs.mode));
            self.same(path, "extracted owner", ours.owner, theirs.owner);
        }
        if self.kept.xattrs {
            // Streams in which ntfs-3g keeps attributes of other name spaces, which it does not list.
            let listed = |name: &str| !name.starts_with("user.ntfs-3g.");
            let mine: BTreeMap<_, _> = ours.xattrs.iter().filter(|(name, _)| listed(name)).collect();
            // Where a fast commit makes a file in the inode of one that was deleted, Linux shows the attributes of that one.
            let stale = |name: &str| {
                self.replayed
                    && !self.kept.times_after_replay
                    && path.starts_with(b"/load ")
                    && !mine.contains_key(&name.to_owned())
            };
            let theirs: BTreeMap<_, _> = theirs.xattrs.iter().filter(|(name, _)| !stale(name)).collect();
            self.same(path, "extracted attributes", mine, theirs);
        }
        let folder = theirs.kind == "directory";
        if self.kept.times
            && (self.kept.times_after_replay || !self.replayed)
            && (!folder || self.kept.folder_times)
            && !(theirs.shown_now || self.truncated_by_the_mount(u64::MAX, theirs))
        {
            self.time(path, "extracted time", ours.modified, theirs.modified);
        }
    }
}
