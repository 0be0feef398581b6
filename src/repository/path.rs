//! Paths inside a repository, and the three files of one disk of a point.
//!
//! A [`RelPath`] is text that was checked once: relative, `/`-separated, without `.`, `..`, empty parts or
//! NUL, bounded in length and depth. It says nothing about what lies there; that no symbolic link on the way
//! leads out is the gate's business (`gate`).

use crate::{Error, Result};
use model::{BackupDisk, BackupType, DiskIndex, PointName, VmName};
use std::fmt;

/// The ending of files that are being written, or were left by a crash.
pub const PARTIAL: &str = ".partial";

const MAX_LENGTH: usize = 1024;
const MAX_PART: usize = 255;
const MAX_DEPTH: usize = 8;

/// A checked path below a repository's root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(String);

impl RelPath {
    /// Checks `text` and takes it.
    ///
    /// # Errors
    /// [`Error::BadPath`] where it is empty, absolute, too long or too deep, or has a part that is empty,
    /// `.` or `..`.
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        let reason = if text.is_empty() {
            Some("it is empty")
        } else if text.starts_with('/') {
            Some("it is absolute")
        } else if text.len() > MAX_LENGTH {
            Some("it is longer than 1024 bytes")
        } else if text.contains('\0') {
            Some("it contains a NUL")
        } else if text.split('/').count() > MAX_DEPTH {
            Some("it is more than 8 folders deep")
        } else if text.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            Some("it has an empty part, a `.` or a `..`")
        } else if text.split('/').any(|part| part.len() > MAX_PART) {
            Some("a part of it is longer than 255 bytes")
        } else {
            None
        };
        match reason {
            None => Ok(RelPath(text)),
            Some(reason) => Err(Error::BadPath { path: text.chars().take(120).collect(), reason }),
        }
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its parts from the root down.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last part.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The folder it lies in; `None` for the root.
    pub fn parent(&self) -> Option<RelPath> {
        self.0.rsplit_once('/').map(|(folder, _)| RelPath(folder.to_owned()))
    }

    /// `name` below this folder.
    ///
    /// # Errors
    /// As for [`new`](RelPath::new).
    pub fn join(&self, name: &str) -> Result<RelPath> {
        RelPath::new(format!("{}/{name}", self.0))
    }

    /// The name under which the file stands while it is being written: `….partial`.
    pub fn partial(&self) -> RelPath {
        RelPath(format!("{}{PARTIAL}", self.0))
    }

    /// True for a file in work.
    pub fn is_partial(&self) -> bool {
        self.0.ends_with(PARTIAL)
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The folder of a VM: its name.
pub(crate) fn vm_folder(vm: &VmName) -> RelPath {
    RelPath(vm.as_str().to_owned())
}

/// The folder of one disk: `{vm}/disk-{n}`.
pub(crate) fn disk_folder(vm: &VmName, disk: DiskIndex) -> RelPath {
    RelPath(format!("{vm}/{}", disk.folder()))
}

/// The three files that make up one disk of a restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFiles {
    /// `….qcow2`: the data.
    pub image: RelPath,
    /// `….json`: the record of the whole point.
    pub sidecar: RelPath,
    /// `….b3`: the hashes of what the image stores.
    pub manifest: RelPath,
}

impl DiskFiles {
    /// Where a point of this name and type keeps this disk.
    ///
    /// # Errors
    /// Never for valid names; the path's own rules are checked all the same.
    pub fn new(name: &PointName, disk: DiskIndex, kind: BackupType) -> Result<Self> {
        Self::of_image(&RelPath::new(name.relative_path(disk, kind))?)
    }

    /// Where a recorded disk is kept.
    ///
    /// # Errors
    /// [`Error::BadPath`] where the record's `file` is not `{vm}/disk-{n}/{name}.qcow2`.
    pub fn of(disk: &BackupDisk) -> Result<Self> {
        let files = Self::of_image(&RelPath::new(disk.file.as_str())?)?;
        if files.image.parts().nth(1) != Some(disk.index.folder().as_str()) {
            return Err(bad(&files.image, "it does not lie in its disk's folder"));
        }
        Ok(files)
    }

    /// The files beside this image.
    ///
    /// # Errors
    /// [`Error::BadPath`] where it is not of the form `{vm}/disk-{n}/{name}.qcow2`.
    pub fn of_image(image: &RelPath) -> Result<Self> {
        if image.parts().count() != 3 || image.as_str().starts_with('.') {
            return Err(bad(image, "it is not of the form {vm}/disk-{n}/{name}.qcow2"));
        }
        let Some(stem) = image.as_str().strip_suffix(".qcow2").filter(|stem| !stem.ends_with('/')) else {
            return Err(bad(image, "its name does not end in .qcow2"));
        };
        Ok(DiskFiles {
            image: image.clone(),
            sidecar: RelPath(format!("{stem}.json")),
            manifest: RelPath(format!("{stem}.b3")),
        })
    }

    /// All three.
    pub fn all(&self) -> [&RelPath; 3] {
        [&self.image, &self.sidecar, &self.manifest]
    }
}

fn bad(path: &RelPath, reason: &'static str) -> Error {
    Error::BadPath { path: path.as_str().chars().take(120).collect(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_leave_the_root_are_refused() {
        let long = "x".repeat(256);
        let deep = "a/".repeat(8) + "a";
        for text in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a/.", "a\0b", &long, &deep] {
            assert!(RelPath::new(text).is_err(), "{text:?}");
        }
        for text in ["a", "a/b", "vm one/disk-0/full-20251006-120000.qcow2", "..a/b..", "é/🐘"] {
            assert_eq!(RelPath::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_disk_has_three_files_of_one_stem() {
        let files = DiskFiles::of_image(&RelPath::new("vm/disk-1/incr-x.qcow2").unwrap()).unwrap();
        assert_eq!(files.sidecar.as_str(), "vm/disk-1/incr-x.json");
        assert_eq!(files.manifest.as_str(), "vm/disk-1/incr-x.b3");
        assert_eq!(files.manifest.partial().as_str(), "vm/disk-1/incr-x.b3.partial");
        for text in ["vm/disk-1/x", "vm/x.qcow2", ".sendense/a/x.qcow2", "vm/disk-1/.qcow2", "a/b/c/d.qcow2"]
        {
            assert!(DiskFiles::of_image(&RelPath::new(text).unwrap()).is_err(), "{text}");
        }
    }
}
