//! A new raw file as a target.
//!
//! It is written beside its place as `NAME.partial`, sparse, and takes its name in `finish`: a reader of
//! that name sees the old file or the whole new one, never a part. A drop before that removes the partial
//! file. A killed process leaves it; it is locked while in work, so the next try knows it for garbage and
//! takes it over, and two tries at once are told apart. Only its owner may read a new file: disks hold secrets.

use super::writer::Writer;
use crate::{BlockSink, Error, Result};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags, RenameFlags, fallocate, flock};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What to do where the target exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// Leave it, and fail.
    Refuse,
    /// Replace it, once the new one is complete. Its owner and mode are kept where that is allowed.
    Replace,
}

/// A raw file that comes into being.
#[derive(Debug)]
pub struct FileSink {
    writer: Writer,
    target: PathBuf,
    partial: PathBuf,
    size: u64,
    overwrite: Overwrite,
    /// Space is reserved piece by piece just before it is written to.
    allocate: AtomicBool,
    finished: bool,
}

impl FileSink {
    /// Begins a file of `size` bytes that will be `target`. A symbolic link is followed.
    ///
    /// # Errors
    /// [`Error::Open`] where it can't be made, or `target` exists and is not to be replaced; also where
    /// another process is at it.
    pub fn create(target: &Path, size: u64, overwrite: Overwrite) -> Result<Self> {
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        let name = target.display().to_string();
        let failed = |operation, source| Error::Open { operation, name: name.clone(), source };
        let old = match fs::symlink_metadata(&target) {
            Ok(old) if overwrite == Overwrite::Replace && old.is_file() => Some(old),
            Ok(old) if old.is_file() => return Err(failed("create", io::ErrorKind::AlreadyExists.into())),
            Ok(_) => {
                let error =
                    io::Error::new(io::ErrorKind::AlreadyExists, "it exists and is not a regular file");
                return Err(failed("create", error));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("create", error)),
        };
        let partial = Self::partial_of(&target);
        let file = claim(&partial).map_err(|error| failed("create", error))?;
        let allocate = !in_memory(&file);
        let sink = FileSink {
            writer: Writer::new(file, &partial, name.clone()),
            target,
            partial,
            size,
            overwrite,
            allocate: AtomicBool::new(allocate),
            finished: false,
        };
        // From here on a failure drops the sink, and with it the partial file.
        sink.writer.file().set_len(size).map_err(|error| failed("set the size of", error))?;
        if let Some(old) = old {
            sink.resemble(&old);
        }
        Ok(sink)
    }

    /// The file in which `target` is being made.
    pub fn partial_of(target: &Path) -> PathBuf {
        let mut name = target.as_os_str().to_owned();
        name.push(".partial");
        PathBuf::from(name)
    }

    /// Gives the new file the mode and owner of the one that it replaces. Only a nicety: who may not do that
    /// gets a file of their own.
    fn resemble(&self, old: &fs::Metadata) {
        let file = self.writer.file();
        let (uid, gid) = (rustix::fs::Uid::from_raw(old.uid()), rustix::fs::Gid::from_raw(old.gid()));
        let owned = rustix::fs::fchown(file, Some(uid), Some(gid));
        let moded = file.set_permissions(fs::Permissions::from_mode(old.mode() & 0o777));
        if owned.is_err() || moded.is_err() {
            tracing::debug!(target = %self.target.display(), "the owner and mode of the old file are not kept");
        }
    }

    /// Reserves what is about to be written: direct writes of several threads into holes queue up behind
    /// one another, into reserved space they don't (a quarter of the wall time on ext4).
    fn reserve(&self, offset: u64, length: u64) -> Result<()> {
        if !self.allocate.load(Ordering::Relaxed) {
            return Ok(());
        }
        match fallocate(self.writer.file(), FallocateFlags::KEEP_SIZE, offset, length) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.allocate.store(false, Ordering::Relaxed);
                Ok(())
            }
            Err(error) => Err(self.writer.failed("reserve space in", offset, error.into())),
        }
    }

    fn publish(&self) -> io::Result<()> {
        let flags = match self.overwrite {
            Overwrite::Refuse => RenameFlags::NOREPLACE,
            Overwrite::Replace => RenameFlags::empty(),
        };
        let here = rustix::fs::CWD;
        match rustix::fs::renameat_with(here, &self.partial, here, &self.target, flags) {
            // A file system that can't refuse by itself: the check at the beginning has to do.
            Err(Errno::INVAL) if !self.target.exists() => fs::rename(&self.partial, &self.target)?,
            outcome => outcome?,
        }
        let folder = match self.target.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        File::open(folder)?.sync_all()
    }
}

impl BlockSink for FileSink {
    fn size(&self) -> u64 {
        self.size
    }

    fn granularity(&self) -> u64 {
        1
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        super::check_range(&self.target, self.size, offset, data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        self.reserve(offset, data.len() as u64)?;
        self.writer.write_at(data, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        // What is not written is a hole.
        super::check_range(&self.target, self.size, offset, length)
    }

    fn settled(&self, _offset: u64) -> Result<()> {
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.writer.sync()?;
        self.publish().map_err(|error| self.writer.failed("finish", 0, error))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = fs::remove_file(&self.partial)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.partial.display(), %error, "an unfinished file stays behind");
        }
    }
}

/// True on a file system that lives in memory, where reserving is writing twice.
fn in_memory(file: &File) -> bool {
    /// `TMPFS_MAGIC` of Linux's `magic.h`.
    const TMPFS: i64 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|status| status.f_type == TMPFS)
}

/// Opens and locks the partial file, empty; one that a killed process has left is taken over.
fn claim(partial: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    // Each round loses against another process that has just finished or given up: a few are enough.
    for _ in 0..16 {
        let file = File::from(rustix::fs::open(partial, flags, mode)?);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => break,
            // A file system without locks: then there is nothing to tell two tries apart by.
            Err(Errno::OPNOTSUPP | Errno::NOLCK | Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        let ours = file.metadata()?;
        if !ours.is_file() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "its .partial is not a regular file"));
        }
        // Locked, but is it still the one of that name?
        match fs::symlink_metadata(partial) {
            Ok(there) if there.ino() == ours.ino() && there.dev() == ours.dev() => {
                file.set_len(0)?;
                return Ok(file);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process is writing it at this moment"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    fn boxed(target: &Path, size: u64, overwrite: Overwrite) -> Box<FileSink> {
        Box::new(FileSink::create(target, size, overwrite).unwrap())
    }

    #[test]
    fn appears_whole_and_durable_at_finish_only() {
        let folder = tempdir().unwrap();
        let target = folder.path().join("disk.raw");
        let sink = boxed(&target, 1 << 20, Overwrite::Refuse);
        sink.write_at(&[9; 5000], 70_000).unwrap();
        sink.zero(0, 65_536).unwrap();
        assert!(!target.exists());
        sink.finish().unwrap();
        let bytes = fs::read(&target).unwrap();
        assert_eq!(bytes.len(), 1 << 20);
        assert!(bytes[70_000..75_000].iter().all(|b| *b == 9));
        assert_eq!(bytes.iter().filter(|b| **b != 0).count(), 5000);
        assert!(fs::metadata(&target).unwrap().blocks() * 512 < 1 << 17);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_drop_leaves_nothing() {
        let folder = tempdir().unwrap();
        let sink = boxed(&folder.path().join("disk.raw"), 1 << 20, Overwrite::Refuse);
        sink.write_at(&[9; 5000], 0).unwrap();
        drop(sink);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_exists_is_kept_or_replaced_as_told() {
        let folder = tempdir().unwrap();
        let target = folder.path().join("disk.raw");
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        let error = FileSink::create(&target, 5, Overwrite::Refuse).unwrap_err();
        assert!(matches!(error, Error::Open { source, .. } if source.kind() == io::ErrorKind::AlreadyExists));
        drop(boxed(&target, 5, Overwrite::Replace));
        assert_eq!(fs::read(&target).unwrap(), b"old");
        let sink = boxed(&target, 5, Overwrite::Replace);
        sink.write_at(b"fresh", 0).unwrap();
        sink.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"fresh");
        assert_eq!(fs::metadata(&target).unwrap().mode() & 0o777, 0o640);
        assert!(FileSink::create(folder.path(), 5, Overwrite::Replace).is_err());
    }

    #[test]
    fn what_appears_meanwhile_is_not_replaced() {
        let folder = tempdir().unwrap();
        let target = folder.path().join("disk.raw");
        let sink = boxed(&target, 5, Overwrite::Refuse);
        fs::write(&target, "other").unwrap();
        assert!(sink.finish().is_err());
        assert_eq!(fs::read(&target).unwrap(), b"other");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_leftover_is_taken_over_but_not_from_the_living() {
        let folder = tempdir().unwrap();
        let target = folder.path().join("disk.raw");
        fs::write(FileSink::partial_of(&target), vec![1; 1 << 20]).unwrap();
        let sink = boxed(&target, 4096, Overwrite::Refuse);
        let error = FileSink::create(&target, 4096, Overwrite::Refuse).unwrap_err();
        assert!(error.to_string().contains("another process"), "{error}");
        sink.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), vec![0; 4096]);
    }

    #[test]
    fn nothing_outside_the_disk_is_written() {
        let folder = tempdir().unwrap();
        let sink = boxed(&folder.path().join("disk"), 5000, Overwrite::Refuse);
        assert!(matches!(sink.write_at(&[0; 2], 4999), Err(Error::Usage { .. })));
        assert!(matches!(sink.zero(u64::MAX, 2), Err(Error::Usage { .. })));
    }
}
