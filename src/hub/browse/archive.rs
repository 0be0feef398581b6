//! Files and folders of a session as one archive, written while they are read.
//!
//! What is chosen is found first, so that a path that is not there is an answer and no broken archive. Then one thread
//! walks, reads, compresses and writes; where nobody takes the bytes any more, it ends at the next few of them. How far
//! it is, and why it broke off, can be asked for ([`ArchiveProgress`]): the stream itself can't tell.
//!
//! Memory: one buffer, the walk's, the directory of a ZIP, and the names of files that have several, up to a bound above
//! which each name is a file of its own.
//!
//! Not here: the forms (`archive`), the body of the answer (`server`).

use super::Session;
use super::chosen::{Chosen, Found, Visited};
use super::count::WORTH_HOLES;
use crate::{Error, Hub, Missing, Result};
use api::{ArchiveFormat, ArchiveProgress, ArchiveStatus, ErrorCode, FileError};
use archive::{Archive, Content, Failure, Format, Kind, Meta, REPORT};
use guestfs::tree::{Entry, Node, Step};
use guestfs::{FileKind, GuestFs, NodeId, Stat};
use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many archives of a session are remembered.
const REMEMBERED: usize = 32;
/// How many problems are told with the progress; the report in the archive has more.
const MAX_ERRORS: usize = 100;
/// How many bytes of names are kept to tell which files are names of one.
const MAX_NAMES: usize = 64 << 20;
/// Setuid and setgid.
const SET_ID: u32 = 0o6000;

/// What is wanted.
#[derive(Debug, Clone)]
pub struct ArchiveOrder {
    /// Paths, and patterns too where [`patterns`](Self::patterns) says so.
    pub paths: Vec<Vec<u8>>,
    /// Whether `*`, `?` and `[` in a path are wildcards.
    pub patterns: bool,
    /// The form.
    pub format: ArchiveFormat,
    /// With device nodes, pipes, and the setuid and setgid bits.
    pub special: bool,
}

/// The archives of a session that run, and the last ones that ran.
#[derive(Default)]
pub(super) struct Archives(Mutex<VecDeque<Arc<Progress>>>);

/// How far one is.
struct Progress(Mutex<ArchiveProgress>);

/// An archive that is to be written.
pub struct PreparedArchive {
    session: Arc<Session>,
    chosen: Chosen,
    order: ArchiveOrder,
    progress: Arc<Progress>,
    /// Its id.
    pub id: String,
    /// A name for it, in the guest's bytes.
    pub name: Vec<u8>,
}

impl Hub {
    /// Finds what is to be archived.
    ///
    /// # Errors
    /// No such session; a path that is not there; two files of one name.
    pub async fn prepare_archive(&self, id: &str, order: ArchiveOrder) -> Result<PreparedArchive> {
        let session = self.session(id).await?;
        crate::blocking::run("archive", move || {
            let mut chosen = session.choose(&order.paths, order.patterns)?;
            chosen.distinct()?;
            let mut name = match chosen.found.as_slice() {
                [one] if !one.name().is_empty() => one.name().to_vec(),
                _ => session.backup.to_string().into_bytes(),
            };
            name.extend_from_slice(format!(".{}", order.format).as_bytes());
            let progress = Arc::new(Progress::new());
            let id = progress.lock().archive_id.clone();
            session.archives.add(Arc::clone(&progress));
            Ok(PreparedArchive { session, chosen, order, progress, id, name })
        })
        .await
    }

    /// How far an archive of a session is, or how it ended.
    ///
    /// # Errors
    /// No such session or archive.
    pub async fn archive_progress(&self, id: &str, archive: &str) -> Result<ArchiveProgress> {
        let session = self.session(id).await?;
        let archives = session.archives.lock();
        let known = archives.iter().map(|progress| progress.lock().clone());
        let mut known = known.filter(|progress| progress.archive_id == archive);
        known.next().ok_or_else(|| Error::missing(Missing::Archive, archive))
    }
}

impl Archives {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Progress>>> {
        // Only whole entries are put in or taken out.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, progress: Arc<Progress>) {
        let mut archives = self.lock();
        archives.push_back(progress);
        if archives.len() > REMEMBERED {
            archives.pop_front();
        }
    }
}

impl Progress {
    fn new() -> Self {
        let archive_id = format!("archive-{}", uuid::Uuid::new_v4());
        Progress(Mutex::new(ArchiveProgress { archive_id, ..ArchiveProgress::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, ArchiveProgress> {
        // Numbers, each of them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, path: &[u8], error: String) {
        let mut progress = self.lock();
        progress.failed += 1;
        if progress.errors.len() < MAX_ERRORS {
            progress.errors.push(FileError { path: String::from_utf8_lossy(path).into_owned(), error });
        }
    }
}

/// As the forms call it.
fn form(format: ArchiveFormat) -> Format {
    match format {
        ArchiveFormat::Zip => Format::Zip,
        ArchiveFormat::Tar => Format::Tar,
        ArchiveFormat::TarGz => Format::TarGz,
        ArchiveFormat::TarZst => Format::TarZst,
    }
}

impl PreparedArchive {
    /// The media type.
    pub fn content_type(&self) -> &'static str {
        form(self.order.format).content_type()
    }

    /// Writes the archive. Files that can't be read are left out, and told in its last entry.
    ///
    /// # Errors
    /// Where nobody takes it any more; where it had to be broken off in the middle of a file.
    pub fn write(self, out: impl Write) -> Result<()> {
        let progress = Arc::clone(&self.progress);
        // Whatever ends this, a panic too, is the end of the archive.
        let ended = Ended { progress: &progress, well: false };
        let done = self.write_all(out);
        ended.with(&done);
        done
    }

    fn write_all(self, out: impl Write) -> Result<()> {
        let PreparedArchive { session, chosen, order, progress, .. } = &self;
        let opened = Archive::new(form(order.format), out);
        let archive = opened.map_err(|error| Error::Internal(format!("no archive can be made: {error}")))?;
        let mut writing = Writing {
            session,
            progress,
            archive,
            special: order.special,
            links: form(order.format).has_hard_links(),
            names: HashMap::new(),
            held: 0,
            reports: 0,
        };
        for error in &chosen.errors {
            writing.left_out(error.path.as_bytes(), error.error.clone());
        }
        for found in &chosen.found {
            writing.tree(found)?;
        }
        let report = match writing.reports {
            0 => REPORT.to_owned(),
            number => format!("{number}-{REPORT}"),
        };
        writing.archive.finish(&report).map_err(|error| broken(b"", error))?;
        Ok(())
    }
}

/// Tells how it ended.
struct Ended<'a> {
    progress: &'a Progress,
    well: bool,
}

impl Ended<'_> {
    fn with(mut self, done: &Result<()>) {
        self.well = true;
        let mut progress = self.progress.lock();
        match done {
            Ok(()) => progress.status = ArchiveStatus::Completed,
            Err(error) => {
                progress.status = ArchiveStatus::Failed;
                progress.error = Some(error.to_string());
                progress.error_code = Some(error.code().as_str().to_owned());
            }
        }
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if !self.well {
            self.progress.lock().status = ArchiveStatus::Failed;
        }
    }
}

/// The error that ends an archive.
fn broken(path: &[u8], failure: Failure) -> Error {
    let path = String::from_utf8_lossy(path).into_owned();
    match failure {
        Failure::Output(error) => Error::Internal(format!("the archive was not taken: {error}")),
        Failure::Limit(reason) => Error::invalid("format", reason),
        Failure::Entry(reason) | Failure::Cut(reason) => {
            Error::Guest { path, reason, code: ErrorCode::Damaged }
        }
    }
}

struct Writing<'a, W: Write> {
    session: &'a Session,
    progress: &'a Progress,
    archive: Archive<W>,
    special: bool,
    links: bool,
    /// The first name of each file that has several.
    names: HashMap<Node, Vec<u8>>,
    /// Bytes of these.
    held: usize,
    /// How many names at the top could be that of the report.
    reports: usize,
}

impl<W: Write> Writing<'_, W> {
    fn left_out(&mut self, path: &[u8], why: String) {
        self.archive.left_out(path, &why);
        self.progress.failed(path, why);
    }

    /// One of what was chosen, and all below it.
    fn tree(&mut self, found: &Found) -> Result<()> {
        let session = self.session;
        let mut ended = None;
        session.visit(found, &mut |visited| {
            match visited {
                Visited::Failed(path, error) => self.left_out(path, error.to_string()),
                // The root itself has no name.
                Visited::Entry(_, []) => {}
                Visited::Entry(entry, inside) => match self.entry(entry, inside) {
                    Ok(()) => {}
                    Err(Failure::Entry(why)) => self.left_out(entry.path, why),
                    Err(failure) => {
                        ended = Some(broken(entry.path, failure));
                        return Step::Stop;
                    }
                },
            }
            Step::Into
        });
        session.times().touch();
        ended.map_or(Ok(()), Err)
    }

    fn entry(&mut self, entry: &Entry<'_>, inside: &[u8]) -> Result<(), Failure> {
        let unreadable = |error: guestfs::Error| Failure::Entry(error.to_string());
        let tree = &self.session.tree;
        if inside.ends_with(REPORT.as_bytes()) && !inside.contains(&b'/') {
            self.reports += 1;
        }
        let stat = entry.stat().map_err(unreadable)?;
        let mut meta = meta(&stat, self.special);
        let first = self.names.get(&entry.node).filter(|_| stat.links > 1 && stat.kind == FileKind::File);
        if let Some(first) = first {
            self.archive.entry(inside, Kind::HardLink(first), &meta)?;
            self.progress.lock().files += 1;
            return Ok(());
        }
        let xattrs = tree.xattrs(entry.node).map_err(unreadable)?;
        meta.xattrs = xattrs.into_iter().map(|xattr| (xattr.name, xattr.value)).collect();
        match stat.kind {
            FileKind::Directory => {
                self.archive.entry(inside, Kind::Folder, &meta)?;
                self.progress.lock().folders += 1;
            }
            FileKind::Symlink => {
                let to = tree.readlink(entry.node).map_err(unreadable)?;
                self.archive.entry(inside, Kind::Symlink(&to), &meta)?;
                self.progress.lock().links += 1;
            }
            FileKind::File => self.regular(entry, inside, &stat, &meta)?,
            FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo | FileKind::Socket => {
                let (major, minor) = stat.device.unwrap_or_default();
                let kind = match stat.kind {
                    FileKind::CharDevice => Some(Kind::CharDevice(major, minor)),
                    FileKind::BlockDevice => Some(Kind::BlockDevice(major, minor)),
                    FileKind::Fifo => Some(Kind::Fifo),
                    _ => None,
                };
                match kind.filter(|_| self.special && self.links) {
                    Some(kind) => {
                        self.archive.entry(inside, kind, &meta)?;
                        self.progress.lock().special += 1;
                    }
                    None => self.progress.lock().left_out += 1,
                }
            }
        }
        Ok(())
    }

    fn regular(&mut self, entry: &Entry<'_>, inside: &[u8], stat: &Stat, meta: &Meta) -> Result<(), Failure> {
        let unreadable = |error: guestfs::Error| Failure::Entry(error.to_string());
        let (fs, id) = self.session.tree.file(entry.node).map_err(unreadable)?;
        let data = if stat.size.saturating_sub(stat.allocated) >= WORTH_HOLES {
            self.session.data(entry.node, stat.size).map_err(unreadable)?
        } else {
            vec![(0, stat.size)]
        };
        let mut content =
            GuestFile { fs, id, size: stat.size, data, session: self.session, progress: self.progress };
        self.archive.file(inside, meta, &mut content)?;
        self.progress.lock().files += 1;
        if self.links && stat.links > 1 && self.held < MAX_NAMES {
            self.held += size_of::<(Node, Vec<u8>)>() + inside.len();
            self.names.insert(entry.node, inside.to_vec());
        }
        Ok(())
    }
}

fn meta(stat: &Stat, special: bool) -> Meta {
    Meta {
        mode: if special { stat.mode } else { stat.mode & !SET_ID },
        uid: stat.uid,
        gid: stat.gid,
        modified: (stat.modified.seconds, stat.modified.nanos),
        accessed: (stat.accessed.seconds, stat.accessed.nanos),
        xattrs: Vec::new(),
    }
}

/// A regular file of the guest.
struct GuestFile<'a> {
    fs: Arc<dyn GuestFs>,
    id: NodeId,
    size: u64,
    data: Vec<(u64, u64)>,
    session: &'a Session,
    progress: &'a Progress,
}

impl Content for GuestFile<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn data(&self) -> &[(u64, u64)] {
        &self.data
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), String> {
        match self.fs.read_at(self.id, offset, buf) {
            Ok(read) if read == buf.len() => {
                self.progress.lock().bytes += read as u64;
                self.session.times().touch();
                Ok(())
            }
            Ok(_) => Err("the file ends before its size".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}
