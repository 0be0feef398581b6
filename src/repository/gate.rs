//! The one door to the files of a repository: nothing is opened, made, renamed or removed but through here.
//!
//! A [`Gate`] holds the root folder open and walks every path part by part from there, without following
//! symbolic links. So whatever the folders hold, and however they change meanwhile, an operation stays inside
//! the root. Files are opened for reading only if they are regular files: a FIFO can't make a reader hang.
//!
//! [`Files`] names the few operations that transactions and their recovery are made of, so that tests can stop
//! one after any of them; [`Gate`] is its only implementation outside tests.

use crate::RelPath;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Backups hold the guests' data: nobody but the owner reads them.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// The file operations of a transaction.
pub(crate) trait Files: Send + Sync {
    /// Makes a file that must not exist and locks it, for as long as the handle lives.
    fn create_locked(&self, path: &RelPath) -> io::Result<File>;
    /// Makes a file that must not exist, with this content, durable but for its name.
    fn write_new(&self, path: &RelPath, content: &[u8]) -> io::Result<()>;
    /// Writes `content` as the whole of an open file at `path`, durable; may be tried again after a failure.
    fn fill(&self, path: &RelPath, file: &File, content: &[u8]) -> io::Result<()>;
    /// Locks an existing file, for as long as the handle lives; `None` where another has the lock.
    fn lock(&self, path: &RelPath) -> io::Result<Option<File>>;
    /// The whole of a file, or its first `limit` bytes.
    fn read(&self, path: &RelPath, limit: u64) -> io::Result<Vec<u8>>;
    /// The names in a folder, in no order, without `.` and `..`; `None` is the root.
    fn list(&self, path: Option<&RelPath>) -> io::Result<Vec<Entry>>;
    /// Renames, replacing what is there.
    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()>;
    /// Removes a file (or the link itself, where it is one).
    fn remove(&self, path: &RelPath) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, path: &RelPath) -> io::Result<()>;
    /// Makes a file's content durable.
    fn sync_file(&self, path: &RelPath) -> io::Result<()>;
    /// Makes the names in a folder durable; `None` is the root.
    fn sync_folder(&self, path: Option<&RelPath>) -> io::Result<()>;
    /// True where something of that name is there.
    fn exists(&self, path: &RelPath) -> io::Result<bool>;
    /// True where files can be renamed between this folder and the root's own: both lie on one file system.
    fn is_on_root_device(&self, path: &RelPath) -> io::Result<bool>;
}

/// What a folder's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Folder,
    Other,
}

/// One name in a folder.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) kind: EntryKind,
}

/// The open root of a repository.
#[derive(Debug)]
pub(crate) struct Gate {
    root: OwnedFd,
}

impl Gate {
    /// Opens the root itself; links on the way *to* the root are the administrator's business and followed.
    pub(crate) fn open(root: &Path) -> io::Result<Gate> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Gate { root: rustix::fs::open(root, flags, Mode::empty())? })
    }

    /// The open root folder, for questions about its file system.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a folder, `None` being the root.
    pub(crate) fn folder(&self, path: Option<&RelPath>) -> io::Result<OwnedFd> {
        let mut folder: Option<OwnedFd> = None;
        for part in path.into_iter().flat_map(RelPath::parts) {
            folder = Some(open_folder(folder.as_ref().map_or(self.root(), AsFd::as_fd), part)?);
        }
        match folder {
            Some(folder) => Ok(folder),
            None => open_folder(self.root(), "."),
        }
    }

    /// Opens a regular file for reading.
    pub(crate) fn open_read(&self, path: &RelPath) -> io::Result<File> {
        self.open_regular(path, OFlags::RDONLY)
    }

    /// Opens a regular file for reading and writing.
    pub(crate) fn open_write(&self, path: &RelPath) -> io::Result<File> {
        self.open_regular(path, OFlags::RDWR)
    }

    /// Makes a file that must not exist, for reading and writing.
    pub(crate) fn create_new(&self, path: &RelPath) -> io::Result<File> {
        let folder = self.folder(path.parent().as_ref())?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, path.file_name(), flags, Mode::from_raw_mode(FILE_MODE))?;
        Ok(File::from(file))
    }

    /// Renames to a name that must not be taken.
    pub(crate) fn rename_new(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        let (source, target) = (self.folder(from.parent().as_ref())?, self.folder(to.parent().as_ref())?);
        let (from, to) = (from.file_name(), to.file_name());
        let renamed = rustix::fs::renameat_with(&source, from, &target, to, RenameFlags::NOREPLACE);
        match renamed {
            // Some network and FUSE file systems don't know the flag; there a hard link may do the same.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                rustix::fs::linkat(&source, from, &target, to, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(&source, from, AtFlags::empty())?)
            }
            other => Ok(other?),
        }
    }

    /// Makes a folder where there is none and makes its name durable; true where it was made.
    pub(crate) fn make_folder(&self, path: &RelPath) -> io::Result<bool> {
        let parent = self.folder(path.parent().as_ref())?;
        match rustix::fs::mkdirat(&parent, path.file_name(), Mode::from_raw_mode(FOLDER_MODE)) {
            Ok(()) => {
                rustix::fs::fsync(&parent)?;
                Ok(true)
            }
            Err(rustix::io::Errno::EXIST) => {
                open_folder(parent.as_fd(), path.file_name())?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn open_regular(&self, path: &RelPath, access: OFlags) -> io::Result<File> {
        let folder = self.folder(path.parent().as_ref())?;
        // NONBLOCK: opening a FIFO that someone put here returns at once; it means nothing to a file.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, path.file_name(), flags, Mode::empty())
            .map_err(|error| explain(folder.as_fd(), path.file_name(), error))?;
        match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            FileType::Directory => Err(io::ErrorKind::IsADirectory.into()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
        }
    }
}

impl Files for Gate {
    fn create_locked(&self, path: &RelPath) -> io::Result<File> {
        let file = self.create_new(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    fn write_new(&self, path: &RelPath, content: &[u8]) -> io::Result<()> {
        self.fill(path, &self.create_new(path)?, content)
    }

    fn fill(&self, _path: &RelPath, mut file: &File, content: &[u8]) -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn lock(&self, path: &RelPath) -> io::Result<Option<File>> {
        let file = self.open_write(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, path: &RelPath, limit: u64) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.open_read(path)?.take(limit).read_to_end(&mut content)?;
        Ok(content)
    }

    fn list(&self, path: Option<&RelPath>) -> io::Result<Vec<Entry>> {
        let folder = self.folder(path)?;
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                    match stat {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        Err(rustix::io::Errno::NOENT) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                known => known,
            };
            let kind = match kind {
                FileType::RegularFile => EntryKind::File,
                FileType::Directory => EntryKind::Folder,
                _ => EntryKind::Other,
            };
            entries.push(Entry { name: OsString::from_vec(name.to_vec()), kind });
        }
        Ok(entries)
    }

    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        let (source, target) = (self.folder(from.parent().as_ref())?, self.folder(to.parent().as_ref())?);
        Ok(rustix::fs::renameat(&source, from.file_name(), &target, to.file_name())?)
    }

    fn remove(&self, path: &RelPath) -> io::Result<()> {
        let folder = self.folder(path.parent().as_ref())?;
        Ok(rustix::fs::unlinkat(&folder, path.file_name(), AtFlags::empty())?)
    }

    fn remove_folder(&self, path: &RelPath) -> io::Result<()> {
        let folder = self.folder(path.parent().as_ref())?;
        Ok(rustix::fs::unlinkat(&folder, path.file_name(), AtFlags::REMOVEDIR)?)
    }

    fn sync_file(&self, path: &RelPath) -> io::Result<()> {
        self.open_read(path)?.sync_all()
    }

    fn sync_folder(&self, path: Option<&RelPath>) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.folder(path)?)?)
    }

    fn exists(&self, path: &RelPath) -> io::Result<bool> {
        let folder = match self.folder(path.parent().as_ref()) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match rustix::fs::statat(&folder, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn is_on_root_device(&self, path: &RelPath) -> io::Result<bool> {
        let folder = self.folder(Some(path))?;
        Ok(rustix::fs::fstat(&folder)?.st_dev == rustix::fs::fstat(&self.root)?.st_dev)
    }
}

fn open_folder(parent: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty()).map_err(|error| explain(parent, name, error))
}

/// Says "symbolic link" where the kernel says ELOOP or ENOTDIR because of one.
fn explain(parent: BorrowedFd<'_>, name: &str, error: rustix::io::Errno) -> io::Error {
    if matches!(error, rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        if stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) {
            let reason = "a symbolic link is not followed inside a repository";
            return io::Error::new(io::ErrorKind::InvalidInput, reason);
        }
    }
    error.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn no_link_leads_out_of_the_root() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "s").unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path(), root.path().join("vm")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("file")).unwrap();
        std::fs::write(root.path().join("mine"), "m").unwrap();
        let gate = Gate::open(root.path()).unwrap();

        assert!(gate.open_read(&path("vm/secret")).unwrap_err().to_string().contains("symbolic link"));
        assert!(gate.open_read(&path("file")).unwrap_err().to_string().contains("symbolic link"));
        assert!(gate.create_new(&path("vm/new")).is_err());
        assert!(gate.make_folder(&path("vm/disk-0")).is_err());
        assert!(gate.make_folder(&path("vm")).is_err());
        assert!(gate.rename(&path("mine"), &path("vm/mine")).is_err());
        assert!(gate.remove(&path("vm/secret")).is_err());
        assert!(gate.list(Some(&path("vm"))).is_err());
        gate.remove(&path("file")).unwrap();
        assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "s");
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_fifo_is_refused_and_does_not_hang() {
        let root = tempfile::tempdir().unwrap();
        let made = std::process::Command::new("mkfifo").arg(root.path().join("pipe")).status().unwrap();
        assert!(made.success());
        let gate = Gate::open(root.path()).unwrap();
        assert!(gate.open_read(&path("pipe")).unwrap_err().to_string().contains("regular file"));
    }
}
