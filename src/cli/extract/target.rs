//! Where files are extracted to: folders that nothing leads out of.
//!
//! A [`Folder`] is an open folder below the target. Everything in it is made by its name in that open folder, one
//! component at a time, and no link is ever followed: a link that stands where a folder is to be (it may have been
//! planted, or come out of the backup a moment ago) is an error. A file is written under a name of its own and takes its
//! place when it is complete, so that what was there before is there until then. It is locked meanwhile: one that is not
//! was left by a run that was killed, and is removed by the next that comes by ([`Folder::sweep`]).

use rustix::fs::{
    AtFlags, FileType, FlockOperation, Gid, Mode, OFlags, RenameFlags, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

/// An open folder below the target, or the target itself.
#[derive(Debug)]
pub struct Folder {
    fd: OwnedFd,
    /// Whether it was there before.
    stood: bool,
}

/// What stands at a name already.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether it is a regular file.
    pub is_file: bool,
    /// Last change of its content.
    pub modified: (i64, i64),
}

/// What a file is to be like, besides its content.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// Owner and group; `None` leaves those of who runs this.
    pub owner: Option<(u32, u32)>,
    /// Last access and last change, in seconds and nanoseconds.
    pub times: Option<[(i64, i64); 2]>,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A file that is being written.
#[derive(Debug)]
pub struct Partial<'a> {
    folder: &'a Folder,
    name: String,
    /// To write to.
    pub file: File,
    placed: bool,
}

/// One component: what a guest or a hub calls a name must not lead anywhere.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0)
}

fn name_error() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "this is no name for a file")
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// What such names begin and end with.
const BEGIN: &str = ".sendense-";
const END: &str = ".partial";

/// A name that nothing else has.
fn fresh() -> String {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{BEGIN}{}-{number}{END}", std::process::id())
}

/// Whether a name is one of ours.
fn is_fresh(name: &[u8]) -> bool {
    let inner = name.strip_prefix(BEGIN.as_bytes()).and_then(|name| name.strip_suffix(END.as_bytes()));
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let mut parts = inner.unwrap_or_default().split(|&byte| byte == b'-');
    parts.next().is_some_and(is_number) && parts.next().is_some_and(is_number) && parts.next().is_none()
}

impl Folder {
    /// The target itself, made where it is missing. The user named it: links on the way to it are his.
    ///
    /// # Errors
    /// What the system says.
    pub fn target(path: &Path) -> io::Result<Folder> {
        std::fs::create_dir_all(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Folder { fd: rustix::fs::open(path, flags, Mode::empty())?, stood: true })
    }

    /// The folder `name`, made where it is missing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`] where something else stands there, a link above all; what the system says.
    pub fn enter(&self, name: &[u8]) -> io::Result<Folder> {
        if !is_name(name) {
            return Err(name_error());
        }
        let name = OsStr::from_bytes(name);
        let stood = match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o700)) {
            Ok(()) => false,
            Err(Errno::EXIST) => true,
            Err(error) => return Err(error.into()),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Folder { fd, stood }),
            Err(Errno::LOOP | Errno::NOTDIR) => Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                "a link or a file stands where a folder is to be, and is not followed",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// The same folder once more.
    ///
    /// # Errors
    /// What the system says.
    pub fn again(&self) -> io::Result<Folder> {
        Ok(Folder { fd: self.fd.try_clone()?, stood: self.stood })
    }

    /// What stands at `name`, without following it.
    ///
    /// # Errors
    /// What the system says.
    pub fn standing(&self, name: &[u8]) -> io::Result<Option<Standing>> {
        if !is_name(name) {
            return Err(name_error());
        }
        match rustix::fs::statat(&self.fd, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                Ok(Some(Standing {
                    is_folder: kind == FileType::Directory,
                    is_file: kind == FileType::RegularFile,
                    modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
                }))
            }
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the files that runs of this user began in it and never ended, because they were killed. How many that were.
    pub fn sweep(&self) -> usize {
        if !self.stood {
            return 0;
        }
        // One that can't be listed can be written to all the same.
        let Ok(entries) = rustix::fs::Dir::read_from(&self.fd) else { return 0 };
        let ours = entries.flatten().filter(|entry| is_fresh(entry.file_name().to_bytes()));
        ours.filter(|entry| self.remove_abandoned(entry.file_name()).is_some()).count()
    }

    /// Removes a file that nobody writes to.
    fn remove_abandoned(&self, name: &CStr) -> Option<()> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&fd).ok()?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || stat.st_nlink != 1 || stat.st_uid != rustix::process::geteuid().as_raw() {
            return None;
        }
        rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive).ok()?;
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).ok()
    }

    /// Begins a file, which only this user can read until it is complete.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&self) -> io::Result<Partial<'_>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = fresh();
            match rustix::fs::openat(&self.fd, &name, flags, Mode::from_raw_mode(0o600)) {
                Ok(fd) => {
                    // A file system without locks is one where nothing is swept.
                    let locked = rustix::fs::flock(&fd, FlockOperation::LockExclusive).is_ok();
                    // Taken for one that was left, in the moment before it was locked.
                    if locked && rustix::fs::fstat(&fd)?.st_nlink == 0 {
                        continue;
                    }
                    return Ok(Partial { folder: self, name, file: File::from(fd), placed: false });
                }
                // A process of the same number left it.
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes a link to `target`, whatever that is: it is not followed.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] without `replace`; what the system says.
    pub fn link(&self, name: &[u8], target: &[u8], attributes: &Attributes, replace: bool) -> io::Result<()> {
        let made = self.aside(|aside| rustix::fs::symlinkat(OsStr::from_bytes(target), &self.fd, aside))?;
        let done = self.dress(&made, attributes).and_then(|()| self.place(&made, name, replace));
        self.or_remove(&made, done)
    }

    /// Makes `name` another name of `other`, which is in `folder`.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] without `replace`; what the system says.
    pub fn another_name(&self, name: &[u8], folder: &Folder, other: &[u8], replace: bool) -> io::Result<()> {
        if !is_name(other) {
            return Err(name_error());
        }
        let other = OsStr::from_bytes(other);
        let made =
            self.aside(|aside| rustix::fs::linkat(&folder.fd, other, &self.fd, aside, AtFlags::empty()))?;
        let done = self.place(&made, name, replace);
        // Two names of one file already: the rename then does nothing, and leaves the one aside.
        let done = self.or_remove(&made, done);
        let _ = rustix::fs::unlinkat(&self.fd, &made, AtFlags::empty());
        done
    }

    /// Makes a device node, pipe or socket.
    ///
    /// # Errors
    /// What the system says, above all where it does not let this user.
    pub fn special(
        &self,
        name: &[u8],
        kind: FileType,
        device: (u32, u32),
        attributes: &Attributes,
        replace: bool,
    ) -> io::Result<()> {
        let number = rustix::fs::makedev(device.0, device.1);
        let mode = Mode::from_raw_mode(0o600);
        let made = self.aside(|aside| rustix::fs::mknodat(&self.fd, aside, kind, mode, number))?;
        let dressed = self.dress(&made, attributes);
        let path_mode = Mode::from_raw_mode(attributes.mode);
        let done = dressed
            .and_then(|()| Ok(rustix::fs::chmodat(&self.fd, &made, path_mode, AtFlags::empty())?))
            .and_then(|()| self.place(&made, name, replace));
        self.or_remove(&made, done)
    }

    /// Gives the folder itself its attributes. What can't be set is told by name.
    pub fn finish(&self, attributes: &Attributes) -> Vec<String> {
        dress_open(&self.fd, attributes)
    }

    fn aside(&self, make: impl Fn(&str) -> rustix::io::Result<()>) -> io::Result<String> {
        loop {
            let name = fresh();
            match make(&name) {
                Ok(()) => return Ok(name),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Owner and times of what is no open file.
    fn dress(&self, name: &str, attributes: &Attributes) -> io::Result<()> {
        if let Some((uid, gid)) = attributes.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(&self.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if let Some(times) = attributes.times {
            rustix::fs::utimensat(&self.fd, name, &timestamps(times), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }

    fn place(&self, aside: &str, name: &[u8], replace: bool) -> io::Result<()> {
        if !is_name(name) {
            return Err(name_error());
        }
        let name = OsStr::from_bytes(name);
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(&self.fd, aside, &self.fd, name, flags) {
            // File systems that have no such rename (NFS, some FUSE).
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) if !replace => {
                rustix::fs::linkat(&self.fd, aside, &self.fd, name, AtFlags::empty())?;
                Ok(rustix::fs::unlinkat(&self.fd, aside, AtFlags::empty())?)
            }
            other => Ok(other?),
        }
    }

    fn or_remove(&self, aside: &str, done: io::Result<()>) -> io::Result<()> {
        if done.is_err() {
            let _ = rustix::fs::unlinkat(&self.fd, aside, AtFlags::empty());
        }
        done
    }
}

impl Partial<'_> {
    /// Gives the file its attributes and its name. What of the attributes can't be set is told by name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] without `replace`; what the system says. Nothing is left then.
    pub fn finish(mut self, name: &[u8], attributes: &Attributes, replace: bool) -> io::Result<Vec<String>> {
        let missing = dress_open(&self.file, attributes);
        self.folder.place(&self.name, name, replace)?;
        self.placed = true;
        Ok(missing)
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        if !self.placed {
            let _ = rustix::fs::unlinkat(&self.folder.fd, &self.name, AtFlags::empty());
        }
    }
}

/// Owner first (it takes setuid bits away), then mode, extended attributes, times last.
fn dress_open(fd: impl std::os::fd::AsFd, attributes: &Attributes) -> Vec<String> {
    let fd = fd.as_fd();
    let mut missing = Vec::new();
    if let Some((uid, gid)) = attributes.owner
        && let Err(error) = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    {
        missing.push(format!("owner {uid}:{gid} ({error})"));
    }
    if let Err(error) = rustix::fs::fchmod(fd, Mode::from_raw_mode(attributes.mode)) {
        missing.push(format!("mode {:o} ({error})", attributes.mode));
    }
    for (name, value) in &attributes.xattrs {
        if let Err(error) = rustix::fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty()) {
            missing.push(format!("{} ({error})", String::from_utf8_lossy(name)));
        }
    }
    if let Some(times) = attributes.times
        && let Err(error) = rustix::fs::futimens(fd, &timestamps(times))
    {
        missing.push(format!("times ({error})"));
    }
    missing
}

fn timestamps([accessed, modified]: [(i64, i64); 2]) -> Timestamps {
    let spec = |(seconds, nanos): (i64, i64)| rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    Timestamps { last_access: spec(accessed), last_modification: spec(modified) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn put(folder: &Folder, name: &[u8], content: &[u8], replace: bool) -> io::Result<Vec<String>> {
        let mut partial = folder.begin()?;
        partial.file.write_all(content)?;
        partial.finish(name, &Attributes { mode: 0o640, ..Attributes::default() }, replace)
    }

    #[test]
    fn no_name_leads_out_of_a_folder() {
        let site = tempfile::tempdir().unwrap();
        let target = Folder::target(&site.path().join("target")).unwrap();
        for name in [&b".."[..], b".", b"", b"a/b", b"/etc", b"a\0b", b"../x"] {
            assert!(target.enter(name).is_err());
            assert!(put(&target, name, b"x", true).is_err());
            assert!(target.link(name, b"x", &Attributes::default(), true).is_err());
            assert!(target.standing(name).is_err());
        }
        assert_eq!(fs::read_dir(site.path().join("target")).unwrap().count(), 0, "and nothing is left over");
        assert_eq!(fs::read_dir(site.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_that_stands_there_is_not_followed() {
        let site = tempfile::tempdir().unwrap();
        let outside = site.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("file"), "old").unwrap();
        let at = site.path().join("target");
        let target = Folder::target(&at).unwrap();
        target.link(b"way", outside.as_os_str().as_bytes(), &Attributes::default(), false).unwrap();
        target
            .link(b"name", outside.join("file").as_os_str().as_bytes(), &Attributes::default(), false)
            .unwrap();
        assert_eq!(target.enter(b"way").unwrap_err().kind(), io::ErrorKind::NotADirectory);
        assert_eq!(put(&target, b"name", b"new", false).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        put(&target, b"name", b"new", true).unwrap();
        assert_eq!(fs::read_to_string(at.join("name")).unwrap(), "new");
        assert!(
            fs::symlink_metadata(at.join("name")).unwrap().is_file(),
            "the link is replaced, not followed"
        );
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "old");
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let site = tempfile::tempdir().unwrap();
        let target = Folder::target(site.path()).unwrap();
        for name in [".sendense-12-0.partial", ".sendense-4000000-17.partial"] {
            fs::write(site.path().join(name), "half").unwrap();
        }
        let others = [
            ".sendense-x-0.partial",
            ".sendense-1.partial",
            ".sendense-1-2-3.partial",
            "sendense-1-2.partial",
        ];
        for name in others {
            fs::write(site.path().join(name), "mine").unwrap();
        }
        fs::create_dir(site.path().join(".sendense-1-1.partial")).unwrap();
        std::os::unix::fs::symlink("sendense-1-2.partial", site.path().join(".sendense-1-3.partial"))
            .unwrap();
        let running = target.begin().unwrap();
        assert_eq!(target.sweep(), 2);
        assert_eq!(fs::read_dir(site.path()).unwrap().count(), others.len() + 3);
        running.finish(b"whole", &Attributes { mode: 0o640, ..Attributes::default() }, false).unwrap();
        assert!(site.path().join("whole").exists());
        assert_eq!(target.sweep(), 0);
    }

    #[test]
    fn an_unfinished_file_leaves_nothing_and_a_second_name_is_the_same_file() {
        let site = tempfile::tempdir().unwrap();
        let target = Folder::target(site.path()).unwrap();
        target.begin().unwrap().file.write_all(b"half").unwrap();
        assert_eq!(fs::read_dir(site.path()).unwrap().count(), 0);
        put(&target, b"one", b"1", false).unwrap();
        let inner = target.enter(b"inner").unwrap();
        for _ in 0..2 {
            inner.another_name(b"two", &target, b"one", true).unwrap();
        }
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(site.path().join("inner/two")).unwrap().nlink(), 2);
        assert_eq!(fs::read_dir(site.path().join("inner")).unwrap().count(), 1);
    }
}
