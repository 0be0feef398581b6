//! Getting files out of a restore session onto this machine.
//!
//! A file or a whole folder is taken entry by entry: links as links, names of one file as names of one file, holes as
//! holes, with mode, times, owner (as root) and extended attributes as far as the target takes them. What can't be read
//! or written is told, counted and left out, and the rest goes on. Nothing is written outside of the target
//! ([`target`]), whatever the backup, or what stands in the target, holds.

mod copy;
mod meter;
pub mod target;

pub(crate) use meter::Meter;

use crate::browse::{Browsing, path_of, target_of};
use crate::connect::Connection;
use crate::failure::{Failure, Result};
use crate::interrupt::{Interrupts, Wish};
use crate::show::one_line;
use crate::ui::Ui;
use api::{Contents, ContentsRequest, FileEntry, FileType, Frame, from_base64};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use target::{Attributes, Folder};

/// How deep folders are followed: each holds a file descriptor open.
const MAX_DEPTH: usize = 500;
/// A file whose holes are smaller together is copied whole.
const WORTH_HOLES: u64 = 1 << 20;
/// Files up to this size are asked for together, so many at once, and so many bytes.
const SMALL: u64 = 4 << 20;
const TOGETHER: usize = 500;
const TOGETHER_BYTES: u64 = 32 << 20;

/// What happens to a file that stands in the target already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It stays; the backup's is left out.
    Never,
    /// It is replaced where the backup's is newer.
    Newer,
    /// It is replaced.
    Always,
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What happens to what stands there.
    pub overwrite: Overwrite,
    /// Give files their owners. Only root can.
    pub owners: bool,
    /// Make device nodes, and keep setuid and setgid bits. Only root can.
    pub special: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Report {
    /// Regular files.
    pub files: u64,
    /// Folders.
    pub folders: u64,
    /// Symbolic links.
    pub links: u64,
    /// Device nodes, pipes and sockets.
    pub special: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Left alone, because something stands there already.
    pub skipped: u64,
    /// Device nodes, pipes and sockets that were left out.
    pub left_out: u64,
    /// Files whose owner, attributes or times could not be set in part.
    pub incomplete: u64,
    /// Could not be read or written.
    pub failed: u64,
}

/// Takes files out of one session into one target.
pub struct Extraction<'a> {
    hub: &'a Connection,
    session: &'a Browsing<'a>,
    ui: &'a Ui,
    wanted: Wanted,
    root: bool,
    interrupts: Interrupts,
    /// The target.
    base: Option<Folder>,
    /// Where it is.
    swept: Option<PathBuf>,
    /// Where each file with several names is: the folders from the target down, and its name there.
    names: HashMap<String, (Vec<Vec<u8>>, Vec<u8>)>,
    /// The folders of the backup that the way to the current one leads through.
    way: HashSet<String>,
    meter: Meter<'a>,
    /// So far.
    pub report: Report,
}

/// Why an entry was not extracted.
enum Trouble {
    /// It is told and counted, and the rest goes on.
    Entry(String),
    /// Nothing more can be done.
    End(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::End(failure)
    }
}

impl<'a> Extraction<'a> {
    /// Nothing is done yet. `words` are the paths and patterns that are going to be extracted.
    ///
    /// # Errors
    /// Where signals can't be listened to.
    pub fn new(
        hub: &'a Connection,
        session: &'a Browsing<'a>,
        ui: &'a Ui,
        wanted: Wanted,
        words: &[Vec<u8>],
    ) -> Result<Self> {
        let interrupts = hub.wait(async { Interrupts::listen() })?;
        Ok(Extraction {
            hub,
            session,
            ui,
            wanted,
            root: rustix::process::geteuid().is_root(),
            interrupts,
            base: None,
            swept: None,
            names: HashMap::new(),
            way: HashSet::new(),
            meter: Meter::new(hub, session, ui, words),
            report: Report::default(),
        })
    }

    /// Extracts one file of the backup to exactly `name` in the folder `folder` of this machine.
    ///
    /// # Errors
    /// A signal; a target that can't be used. What is wrong with the file itself is in the report.
    pub fn file(&mut self, entry: &FileEntry, folder: &Path, name: &[u8]) -> Result<()> {
        let target = self.open(folder)?;
        let mut way = Vec::new();
        let done = self.entry(entry, &target, &mut way, name);
        self.settle(entry, done)
    }

    /// Extracts what is in the folder `entry` of the backup into the folder `into` of this machine.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub fn content(&mut self, entry: &FileEntry, into: &Path) -> Result<()> {
        let target = self.open(into)?;
        let mut way = Vec::new();
        let done = self.below(entry, &target, &mut way);
        self.settle(entry, done)
    }

    /// Opens a target. Files of one target only can be names of each other.
    fn open(&mut self, folder: &Path) -> Result<Folder> {
        let opened = Folder::target(folder).and_then(|target| Ok((target.again()?, target)));
        let (base, target) = opened.map_err(|error| {
            Failure::local(format!("{} can't be written to", folder.display()), &error)
                .next("choose another --output")
        })?;
        self.base = Some(base);
        self.names.clear();
        if self.swept.as_deref() != Some(folder) {
            self.swept = Some(folder.to_path_buf());
            tell_swept(self.ui, &target);
        }
        Ok(target)
    }

    fn settle(&mut self, entry: &FileEntry, done: Result<(), Trouble>) -> Result<()> {
        match done {
            Ok(()) => Ok(()),
            Err(Trouble::Entry(why)) => {
                self.report.failed += 1;
                self.ui.warn(&one_line(&format!("{}: {why}", entry.path)));
                Ok(())
            }
            Err(Trouble::End(failure)) => Err(failure),
        }
    }

    fn entry(
        &mut self,
        entry: &FileEntry,
        folder: &Folder,
        way: &mut Vec<Vec<u8>>,
        name: &[u8],
    ) -> Result<(), Trouble> {
        self.meter.show(self.report.files, self.report.bytes);
        if !target::is_name(name) {
            return Err(Trouble::Entry("its name would lead elsewhere".to_owned()));
        }
        if entry.kind != FileType::Directory && !self.may_write(entry, folder, name)? {
            self.report.skipped += 1;
            return Ok(());
        }
        match entry.kind {
            FileType::Directory => {
                let inner = folder.enter(name).map_err(|error| cannot_write(&error))?;
                tell_swept(self.ui, &inner);
                way.push(name.to_vec());
                let done = self.below(entry, &inner, way);
                way.pop();
                done?;
                let missing = inner.finish(&self.attributes(entry));
                self.missing(entry, &missing);
                self.report.folders += 1;
                Ok(())
            }
            FileType::File => self.regular(entry, folder, way, name),
            FileType::Symlink => {
                let to = target_of(entry).unwrap_or_default();
                folder
                    .link(name, to.as_bytes(), &self.attributes(entry), true)
                    .map_err(|error| cannot_write(&error))?;
                self.report.links += 1;
                Ok(())
            }
            FileType::CharDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket => {
                self.node(entry, folder, name)
            }
        }
    }

    /// Whether what stands at a name, if anything, is to be replaced.
    fn may_write(&self, entry: &FileEntry, folder: &Folder, name: &[u8]) -> Result<bool, Trouble> {
        let Some(standing) = folder.standing(name).map_err(|error| cannot_write(&error))? else {
            return Ok(true);
        };
        if standing.is_folder {
            return Err(Trouble::Entry("a folder stands at its place".to_owned()));
        }
        Ok(match self.wanted.overwrite {
            Overwrite::Always => true,
            Overwrite::Never => false,
            Overwrite::Newer => time(&entry.modified_time).is_some_and(|ours| ours > standing.modified),
        })
    }

    /// All entries of a folder of the backup.
    fn below(&mut self, entry: &FileEntry, folder: &Folder, way: &mut Vec<Vec<u8>>) -> Result<(), Trouble> {
        if way.len() >= MAX_DEPTH {
            return Err(Trouble::Entry(format!("it lies more than {MAX_DEPTH} folders deep")));
        }
        if !self.way.insert(entry.node.clone()) {
            return Err(Trouble::Entry(
                "the folder contains itself: the guest's file system is damaged".to_owned(),
            ));
        }
        let path = path_of(entry);
        let mut failed = Ok(());
        let session = self.session;
        let listed = session.folder(path.as_bytes(), false, true, &mut |page| {
            for error in &page.errors {
                self.report.failed += 1;
                self.ui.warn(&one_line(&format!("{}: {}", error.path, error.error)));
            }
            let mut batch = Batch::default();
            for child in &page.files {
                let exact = path_of(child);
                let name = exact.as_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
                // What the fstab does not name is asked for by its path, unless it is all that there is.
                if path.as_bytes() == b"/" && name == b"@volumes" && page.total_count > 1 {
                    continue;
                }
                let done = if is_small(child) {
                    batch.bytes += child.size;
                    batch.files.push((child, name));
                    if batch.is_full() { self.together(&mut batch, folder) } else { Ok(()) }
                } else {
                    let done = self.entry(child, folder, way, &name);
                    self.settle(child, done)
                };
                done.inspect_err(|_| failed = Err(()))?;
            }
            self.together(&mut batch, folder).inspect_err(|_| failed = Err(()))
        });
        self.way.remove(&entry.node);
        match (listed, failed) {
            (Ok(()), _) => Ok(()),
            (Err(failure), Err(())) => Err(Trouble::End(failure)),
            (Err(failure), Ok(())) => Err(Trouble::Entry(failure.message())),
        }
    }

    fn regular(
        &mut self,
        entry: &FileEntry,
        folder: &Folder,
        way: &[Vec<u8>],
        name: &[u8],
    ) -> Result<(), Trouble> {
        if entry.links > 1 {
            if let Some((first_way, first)) = self.names.get(&entry.node) {
                if let Some(first_folder) = self.reopen(first_way)
                    && folder.another_name(name, &first_folder, first, true).is_ok()
                {
                    self.report.files += 1;
                    return Ok(());
                }
                // A target without such names gets a copy.
            } else {
                self.names.insert(entry.node.clone(), (way.to_vec(), name.to_vec()));
            }
        }
        let path = path_of(entry).into_vec();
        let partial = folder.begin().map_err(|error| cannot_write(&error))?;
        let written = if entry.size.saturating_sub(entry.allocated_bytes) >= WORTH_HOLES {
            let info =
                self.session.info(&path, false).map_err(|failure| Trouble::Entry(failure.message()))?;
            partial.file.set_len(entry.size).map_err(|error| cannot_write(&error))?;
            let parts = info.data.iter().map(|&(start, length)| start..start.saturating_add(length));
            parts.filter(|part| !part.is_empty()).try_for_each(|part| self.copy(&path, part, &partial.file))
        } else if entry.size == 0 {
            Ok(())
        } else {
            self.copy(&path, 0..entry.size, &partial.file)
        };
        written?;
        let size = partial.file.metadata().map_err(|error| cannot_write(&error))?.len();
        if size != entry.size {
            return Err(Trouble::Entry(format!("{size} bytes came, and {} were to come", entry.size)));
        }
        let missing =
            partial.finish(name, &self.attributes(entry), true).map_err(|error| cannot_write(&error))?;
        self.missing(entry, &missing);
        self.report.files += 1;
        Ok(())
    }

    /// Writes the small files of a batch, whose contents come in one answer.
    fn together(&mut self, batch: &mut Batch<'_>, folder: &Folder) -> Result<()> {
        let mut wanted = Vec::with_capacity(batch.files.len());
        batch.bytes = 0;
        for (entry, name) in batch.files.drain(..) {
            let may = if target::is_name(&name) {
                self.may_write(entry, folder, &name)
            } else {
                Err(Trouble::Entry("its name would lead elsewhere".to_owned()))
            };
            match may {
                Ok(true) => wanted.push((entry, name)),
                Ok(false) => self.report.skipped += 1,
                Err(trouble) => self.settle(entry, Err(trouble))?,
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let request = ContentsRequest { nodes: wanted.iter().map(|(entry, _)| entry.node.clone()).collect() };
        let (hub, session) = (self.hub, self.session);
        let id = &session.mount.mount_id;
        hub.wait(async {
            let mut contents = hub.client().contents(id, &request).await?;
            for (entry, name) in &wanted {
                let done = self.one_of(entry, name, folder, &mut contents).await;
                self.settle(entry, done)?;
                self.meter.show(self.report.files, self.report.bytes);
            }
            Ok(())
        })
    }

    /// Writes the next file of an answer. Where it can't be written, the answer is read on to its end.
    async fn one_of(
        &mut self,
        entry: &FileEntry,
        name: &[u8],
        folder: &Folder,
        contents: &mut Contents,
    ) -> Result<(), Trouble> {
        let begun = folder.begin();
        let mut failed = begun.as_ref().err().map(cannot_write);
        let mut at = 0;
        loop {
            let frame = tokio::select! {
                biased;
                wish = self.interrupts.next() => match wish {
                    Wish::Stop(exit) => return Err(stopped(exit)),
                    Wish::Status => {
                        self.ui.note(&self.meter.line(self.report.files, self.report.bytes));
                        continue;
                    }
                },
                frame = contents.next() => frame,
            };
            // Whatever comes after a stream that broke off would fail alike.
            match frame.map_err(|error| Trouble::End(error.into()))? {
                Frame::Data(bytes) => {
                    if let (Ok(partial), None) = (&begun, &failed) {
                        failed =
                            partial.file.write_all_at(&bytes, at).err().map(|error| cannot_write(&error));
                    }
                    at += bytes.len() as u64;
                    self.report.bytes += bytes.len() as u64;
                }
                Frame::Failed(why) => return Err(Trouble::Entry(why)),
                Frame::End => break,
            }
        }
        if let Some(trouble) = failed {
            return Err(trouble);
        }
        if at != entry.size {
            return Err(Trouble::Entry(format!("{at} bytes came, and {} were to come", entry.size)));
        }
        if let Ok(partial) = begun {
            let attributes = self.attributes(entry);
            let missing = partial.finish(name, &attributes, true).map_err(|error| cannot_write(&error))?;
            self.missing(entry, &missing);
            self.report.files += 1;
        }
        Ok(())
    }

    /// The folder that lies at `way` from the target.
    fn reopen(&self, way: &[Vec<u8>]) -> Option<Folder> {
        let mut at = self.base.as_ref()?.again().ok()?;
        for name in way {
            at = at.enter(name).ok()?;
        }
        Some(at)
    }

    fn node(&mut self, entry: &FileEntry, folder: &Folder, name: &[u8]) -> Result<(), Trouble> {
        use rustix::fs::FileType as Kind;
        if !(self.wanted.special && self.root) {
            self.report.left_out += 1;
            return Ok(());
        }
        let kind = match entry.kind {
            FileType::CharDevice => Kind::CharacterDevice,
            FileType::BlockDevice => Kind::BlockDevice,
            FileType::Fifo => Kind::Fifo,
            _ => Kind::Socket,
        };
        let device = entry.device.unwrap_or_default();
        folder
            .special(name, kind, device, &self.attributes(entry), true)
            .map_err(|error| cannot_write(&error))?;
        self.report.special += 1;
        Ok(())
    }

    fn attributes(&self, entry: &FileEntry) -> Attributes {
        let mode = u32::from_str_radix(&entry.mode, 8).unwrap_or(0o600);
        let kept = if self.wanted.special && self.root { 0o7777 } else { 0o1777 };
        let times = time(&entry.accessed_time).zip(time(&entry.modified_time));
        let xattr = |xattr: &api::XattrView| {
            let name = xattr.name.as_bytes().to_vec();
            (self.root || name.starts_with(b"user."))
                .then(|| Some((name, from_base64(&xattr.value_b64).ok()?)))?
        };
        Attributes {
            mode: mode & kept,
            owner: (self.root && self.wanted.owners).then_some((entry.uid, entry.gid)),
            times: times.map(|(accessed, modified)| [accessed, modified]),
            xattrs: entry.xattrs.iter().filter_map(xattr).collect(),
        }
    }

    fn missing(&mut self, entry: &FileEntry, missing: &[String]) {
        if !missing.is_empty() {
            self.report.incomplete += 1;
            self.ui.warn(&one_line(&format!("{}: could not set {}", entry.path, missing.join(", "))));
        }
    }
}

/// Small files of a folder, in their order.
#[derive(Default)]
struct Batch<'a> {
    files: Vec<(&'a FileEntry, Vec<u8>)>,
    bytes: u64,
}

impl Batch<'_> {
    fn is_full(&self) -> bool {
        self.files.len() >= TOGETHER || self.bytes >= TOGETHER_BYTES
    }
}

/// A file that is nothing but its content.
fn is_small(entry: &FileEntry) -> bool {
    entry.kind == FileType::File
        && entry.links == 1
        && (1..=SMALL).contains(&entry.size)
        && entry.size.saturating_sub(entry.allocated_bytes) < WORTH_HOLES
}

/// Removes what killed runs have left in a folder, and says so.
pub(crate) fn tell_swept(ui: &Ui, folder: &Folder) {
    match folder.sweep() {
        0 => {}
        1 => ui.note("removed an unfinished file that a killed run had left"),
        many => ui.note(&format!("removed {many} unfinished files that killed runs had left")),
    }
}

fn stopped(exit: crate::Exit) -> Trouble {
    let failure = Failure::new(exit, "cancelled", "the extraction was stopped");
    Trouble::End(failure.why("what is complete stays, nothing else is left"))
}

fn cannot_write(error: &io::Error) -> Trouble {
    match error.kind() {
        // Every further file would fail alike.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let failure = Failure::new(crate::Exit::NoSpace, "no_space", "the target is full");
            Trouble::End(failure.why(error.to_string()).next("make room, or choose another --output"))
        }
        _ => Trouble::Entry(format!("can't be written: {error}")),
    }
}

/// Seconds and nanoseconds after them.
fn time(text: &str) -> Option<(i64, i64)> {
    let nanos = text.parse::<Timestamp>().ok()?.as_nanosecond();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    Some((seconds, i64::try_from(nanos.rem_euclid(1_000_000_000)).ok()?))
}

/// The last component of a path that a user gave, and the folder before it.
pub fn split(path: &Path) -> (PathBuf, OsString) {
    let name = path.file_name().map(OsString::from).unwrap_or_default();
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    (folder, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_are_rounded_down() {
        assert_eq!(time("1969-12-31T23:59:59.5Z"), Some((-1, 500_000_000)));
        assert_eq!(time("2100-01-01T00:00:00Z"), Some((4_102_444_800, 0)));
        assert_eq!(time("never"), None);
    }
}
