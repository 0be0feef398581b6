//! What can go wrong with a repository, each with what to do about it.

use crate::Identity;
use std::io;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of the repository or of a file in it. Paths inside a repository are relative to its root.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The root folder is not there.
    #[error("the repository folder {} does not exist", path.display())]
    Missing {
        /// The root.
        path: PathBuf,
    },
    /// The root is a file or something else that is no folder.
    #[error("{} is not a folder, so it can't hold a repository", path.display())]
    NotAFolder {
        /// The root.
        path: PathBuf,
    },
    /// This user may not look into the root.
    #[error("the repository folder {} can't be read by this user", path.display())]
    NotReadable {
        /// The root.
        path: PathBuf,
    },
    /// This user may not write into the root.
    #[error("the repository folder {} can't be written by this user", path.display())]
    NotWritable {
        /// The root.
        path: PathBuf,
    },
    /// The file system is mounted read-only.
    #[error("the repository folder {} is on a file system that is mounted read-only", path.display())]
    ReadOnly {
        /// The root.
        path: PathBuf,
    },
    /// The folder was renamed, replaced or unmounted while it was in use: what would be written is out of reach.
    #[error("the repository folder {} was moved away, replaced or unmounted while it was in use", path.display())]
    Moved {
        /// The root.
        path: PathBuf,
    },
    /// The folder carries no repository marker.
    #[error("{} is not a repository: it has no {}", path.display(), crate::marker::MARKER)]
    NoMarker {
        /// The root.
        path: PathBuf,
    },
    /// A repository is to be created where one already is.
    #[error("{} already is the repository {} ({})", path.display(), identity.name, identity.id)]
    Exists {
        /// The root.
        path: PathBuf,
        /// Whose it is.
        identity: Box<Identity>,
    },
    /// Written by a newer version of this program.
    #[error("the {what} {path} has schema version {found}; this program knows versions up to {known}")]
    Newer {
        /// The kind of file.
        what: &'static str,
        /// The file.
        path: String,
        /// Its version.
        found: u64,
        /// The greatest version that can be read.
        known: u32,
    },
    /// A file of the repository is not what it should be.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What was found and what was expected.
        reason: String,
    },
    /// A path that could leave the repository, or is no path of a restore point.
    #[error("the path {path:?} is refused: {reason}")]
    BadPath {
        /// As given, shortened where it is very long.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// A folder of a point is a mount point: its files could not be renamed as one with the others.
    #[error("the folder {path} lies on another file system than the repository it belongs to")]
    OtherFileSystem {
        /// The folder.
        path: String,
    },
    /// The repository is to be given up but still holds files of restore points.
    #[error("the repository still holds files of restore points, {path} for one")]
    NotEmpty {
        /// The first one found.
        path: String,
    },
    /// A change by another process is still being applied, or could not be applied to its end.
    #[error("a change of the repository is not applied to its end yet: {path}: {reason}")]
    Busy {
        /// The transaction's file.
        path: String,
        /// What keeps it.
        reason: String,
    },
    /// A transaction is committed, but applying it met an error: it *will* happen, at the next recovery.
    #[error("the change is recorded in {path} and will be completed by the next run; for now: {source}")]
    Unfinished {
        /// The transaction's file.
        path: String,
        /// What was met.
        source: Box<Error>,
    },
    /// The operating system refused an operation.
    #[error("{operation} {path}: {source}")]
    Io {
        /// `open`, `create`, `rename` …
        operation: &'static str,
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it, one sentence.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Missing { .. } => {
                "mount the file system it lies on, or make a new repository with `sendense-ctl repo create`"
            }
            Error::NotAFolder { .. } => "give the path of a folder, or move the file out of the way",
            Error::NotReadable { .. } => "run as the user that owns it, or give this user read access to it",
            Error::NotWritable { .. } => "run as the user that owns it, or give this user write access to it",
            Error::ReadOnly { .. } => {
                "remount it read-write; look into the kernel's log whether it was remounted after an error"
            }
            Error::Moved { .. } => "put it back or mount it again, and try again",
            Error::NoMarker { .. } => {
                "check that the file system is mounted; if points are there, `sendense-ctl repo create` \
                 with this path and `repo scan` take them in again"
            }
            Error::Exists { .. } => "use it as it is with `sendense-ctl repo scan`, or choose another folder",
            Error::Newer { .. } => "use a newer version of sendense-ctl",
            Error::Damaged { .. } => {
                "`sendense-ctl backup verify` tells which points are hit; bring the file back from a copy"
            }
            Error::BadPath { .. } => "paths are relative to the repository, without `..` and symbolic links",
            Error::OtherFileSystem { .. } => {
                "mount that file system elsewhere and make a repository of its own on it"
            }
            Error::NotEmpty { .. } => "delete its backups first",
            Error::Busy { .. } => "try again; if it stays, `sendense-ctl doctor` tells more",
            Error::Unfinished { .. } => "remove the cause and run `sendense-ctl doctor --fix`",
            Error::Io { source, .. } if no_space(source) => "free some space and try again",
            Error::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run as the user that owns the repository, or repair the access rights"
                }
                io::ErrorKind::ReadOnlyFilesystem => "remount the file system read-write",
                _ => "`sendense-ctl repo test` tells what works and what does not",
            },
        }
    }

    /// True where the cause is a full file system or quota.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::Io { source, .. } => no_space(source),
            Error::Unfinished { source, .. } => source.is_no_space(),
            _ => false,
        }
    }

    /// True where the repository as a whole can't be reached or used, as opposed to one file in it.
    pub fn is_unavailable(&self) -> bool {
        match self {
            Error::Missing { .. }
            | Error::NotAFolder { .. }
            | Error::NotReadable { .. }
            | Error::NotWritable { .. }
            | Error::ReadOnly { .. }
            | Error::Moved { .. }
            | Error::NoMarker { .. }
            | Error::Newer { .. } => true,
            Error::Io { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StaleNetworkFileHandle
                )
            }
            Error::Unfinished { source, .. } => source.is_unavailable(),
            _ => false,
        }
    }

    /// True where this user lacks a right.
    pub fn is_permission(&self) -> bool {
        match self {
            Error::NotReadable { .. } | Error::NotWritable { .. } => true,
            Error::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            Error::Unfinished { source, .. } => source.is_permission(),
            _ => false,
        }
    }

    /// True where the file in question does not exist.
    pub fn is_not_found(&self) -> bool {
        match self {
            Error::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }

    pub(crate) fn io(operation: &'static str, path: impl ToString) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { operation, path: path.to_string(), source }
    }

    pub(crate) fn damaged(path: impl ToString, reason: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_string(), reason: reason.into() }
    }
}

/// True for a full file system or quota.
pub(crate) fn no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
