//! The one way to a file that a header refers to.
//!
//! A header is hostile: its backing file name could be `/etc/shadow`, `../../other-customer/disk.qcow2`, a
//! FIFO or a URL. So the reader opens nothing by itself; it asks a [`Gate`], which the caller chooses:
//! [`Inside`] for repositories (relative names that stay in one folder), [`Anywhere`] for sources that the
//! administrator named himself.

use crate::error::{open, unsupported};
use crate::storage::{FileStorage, Storage};
use block::Result;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// What a gate let through.
pub struct Opened {
    /// The file.
    pub storage: Arc<dyn Storage>,
    /// Where it lies; what it refers to is relative to its folder.
    pub path: PathBuf,
}

/// Decides which files an image may refer to, and opens them.
pub trait Gate: Send + Sync {
    /// Opens what the file at `referrer` calls `name`.
    ///
    /// # Errors
    /// Where the name is not allowed, or can't be opened.
    fn open(&self, referrer: &Path, name: &str) -> Result<Opened>;
}

/// Lets through any path that the process may read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anywhere;

impl Gate for Anywhere {
    fn open(&self, referrer: &Path, name: &str) -> Result<Opened> {
        let path = beside(referrer, plain(referrer, name)?);
        Ok(Opened { storage: Arc::new(FileStorage::open(&path)?), path })
    }
}

/// Lets through relative names of regular files that stay inside one folder, symbolic links included.
#[derive(Debug)]
pub struct Inside {
    folder: PathBuf,
    fd: OwnedFd,
}

impl Inside {
    /// A gate around `folder`. It holds the folder open, so that it may be renamed meanwhile.
    ///
    /// # Errors
    /// Where it is not a folder that can be opened.
    pub fn new(folder: &Path) -> Result<Inside> {
        let name = folder.display().to_string();
        let folder = folder.canonicalize().map_err(|e| open("open", &name, e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd =
            rustix::fs::open(&folder, flags, Mode::empty()).map_err(|e| open("open", &name, e.into()))?;
        Ok(Inside { folder, fd })
    }

    fn open_beneath(&self, relative: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.fd, relative, flags, Mode::empty(), resolve) {
            // Old kernels, and sandboxes that refuse what they don't know: no symbolic links at all then.
            Err(Errno::NOSYS | Errno::PERM) => {
                let mut parts = relative.components().peekable();
                let mut at: Option<OwnedFd> = None;
                while let Some(part) = parts.next() {
                    let Component::Normal(part) = part else { return Err(Errno::XDEV) };
                    let last = parts.peek().is_none();
                    let more = if last { OFlags::empty() } else { OFlags::DIRECTORY };
                    let from = at.as_ref().unwrap_or(&self.fd);
                    at =
                        Some(rustix::fs::openat(from, part, flags | more | OFlags::NOFOLLOW, Mode::empty())?);
                }
                at.ok_or(Errno::NOENT)
            }
            other => other,
        }
    }
}

impl Gate for Inside {
    fn open(&self, referrer: &Path, name: &str) -> Result<Opened> {
        let wanted = Path::new(plain(referrer, name)?);
        let refused = |why: &str| {
            let reason = format!("its backing file {name:?} {why} {}", self.folder.display());
            unsupported(&referrer.display().to_string(), reason)
        };
        if wanted.is_absolute() {
            return Err(refused("is an absolute path, only names are allowed that stay inside"));
        }
        let at = beside(referrer, "");
        let shown = at.display().to_string();
        let at = if at.as_os_str().is_empty() { Path::new(".") } else { &at };
        let at = at.canonicalize().map_err(|e| open("open", &shown, e))?;
        let Ok(below) = at.strip_prefix(&self.folder) else {
            return Err(refused("is referred to from outside of"));
        };
        let relative = below.join(wanted);
        let path = self.folder.join(&relative);
        let shown = path.display().to_string();
        let fd = self.open_beneath(&relative).map_err(|e| match e {
            Errno::XDEV | Errno::LOOP => refused("leads out of"),
            e => open("open", &shown, e.into()),
        })?;
        let file = File::from(fd);
        let meta = file.metadata().map_err(|e| open("stat", &shown, e))?;
        if !meta.is_file() {
            return Err(open("open", &shown, io::Error::other("it is not a regular file")));
        }
        Ok(Opened { storage: Arc::new(FileStorage::from_file(file, shown)?), path })
    }
}

/// A name without a protocol. QEMU takes `nbd://…`, `json:{…}` and others there.
fn plain<'a>(referrer: &Path, name: &'a str) -> Result<&'a str> {
    let name = name.strip_prefix("file:").unwrap_or(name);
    if has_protocol(name) {
        let reason = format!("its backing file {name:?} is not the name of a file");
        return Err(unsupported(&referrer.display().to_string(), reason));
    }
    Ok(name)
}

/// True for names that QEMU would take for a protocol and its address: a colon before the first slash.
pub(crate) fn has_protocol(name: &str) -> bool {
    name.split('/').next().is_some_and(|first| first.contains(':'))
}

fn beside(referrer: &Path, name: &str) -> PathBuf {
    referrer.parent().unwrap_or(Path::new("")).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_gate_keeps_names_inside_its_folder() {
        let outer = tempfile::tempdir().expect("folder");
        let folder = outer.path().join("repository");
        std::fs::create_dir_all(folder.join("vm")).expect("folder");
        for name in ["secret", "repository/base", "repository/vm/mine"] {
            std::fs::write(outer.path().join(name), name).expect("file");
        }
        symlink("../../secret", folder.join("vm/out")).expect("link");
        symlink("mine", folder.join("vm/in")).expect("link");
        symlink("/etc/passwd", folder.join("vm/far")).expect("link");
        rustix::fs::mkfifoat(CWD, folder.join("vm/pipe"), Mode::from_raw_mode(0o600)).expect("fifo");

        let gate = Inside::new(&folder).expect("gate");
        let top = folder.join("vm/top.qcow2");
        for name in ["mine", "./mine", "in", "../base", "file:mine"] {
            assert!(gate.open(&top, name).is_ok(), "{name} is inside");
        }
        for name in ["out", "far", "../../secret", "/etc/passwd", "pipe", ".", "nbd://h/x", "json:{}", "none"]
        {
            assert!(gate.open(&top, name).is_err(), "{name} must be refused");
        }
        assert!(gate.open(&outer.path().join("x.qcow2"), "repository/base").is_err(), "a referrer outside");
        assert!(Anywhere.open(&top, "../../secret").is_ok());
        assert!(Anywhere.open(&top, "pipe").is_err());
    }
}
