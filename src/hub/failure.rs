//! What a failure below means to the user: which of the engine's errors a [`block::Error`] becomes, by the
//! side it happened on.
//!
//! The same system error means different things on different sides: a missing file is a source that can't
//! be reached, a repository that is gone, or a point that is damaged. Whoever called knows the side; this
//! module knows the rest. Cancellation and time limits pass through unchanged from every side.

use crate::Error;
use block::{CopyError, Side};
use model::{BackupId, DiskIndex, SourceUri};
use std::io;
use std::path::Path;

/// The repository of a job, for messages and for asking what is left of it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub root: std::path::PathBuf,
    /// Bytes that must stay free.
    pub reserve: u64,
}

impl Place {
    /// An error while writing here.
    pub(crate) fn write_failure(&self, error: block::Error) -> Error {
        if error.is_no_space() {
            return self.full();
        }
        match through(error) {
            Ok(error) => error,
            Err(error) => {
                Error::Repository { name: self.name.clone(), reason: self.tidy(&error.to_string()) }
            }
        }
    }

    /// There is no room left.
    pub(crate) fn full(&self) -> Error {
        let available = available(&self.root).unwrap_or(0);
        Error::NoSpace {
            place: format!("repository {}", self.name),
            needed: None,
            available,
            reserve: self.reserve,
        }
    }

    /// An error while reading `point` back from here: damage, unless the whole repository is gone.
    pub(crate) fn read_failure(&self, point: &BackupId, error: block::Error) -> Error {
        let reason = self.tidy(&error.to_string());
        match through(error) {
            Ok(error) => error,
            Err(_) if !self.root.is_dir() => {
                Error::Repository { name: self.name.clone(), reason: "its folder is gone".into() }
            }
            Err(block::Error::Open { source, .. }) if source.kind() != io::ErrorKind::NotFound => {
                Error::Repository { name: self.name.clone(), reason }
            }
            Err(block::Error::Io { source, .. }) if source.kind() != io::ErrorKind::UnexpectedEof => {
                Error::Repository { name: self.name.clone(), reason }
            }
            Err(_) => Error::Damaged { what: point.to_string(), reason, points: vec![point.clone()] },
        }
    }

    /// Messages name files as the repository does, not by where it happens to be mounted.
    pub(crate) fn tidy(&self, message: &str) -> String {
        message.replace(&format!("{}/", self.root.display()), "")
    }
}

/// An error of opening or reading the source of `disk`.
pub(crate) fn source_failure(disk: DiskIndex, source: &SourceUri, error: block::Error) -> Error {
    let source_name = source.to_string();
    match through(error) {
        Ok(error) => error,
        Err(error) => {
            // The message around it names the source already.
            let path = source.path().unwrap_or(&source_name);
            let reason = match &error {
                block::Error::Open { source, .. } => source.to_string(),
                block::Error::Io { offset, source, .. } => format!("{source} (at byte {offset})"),
                block::Error::Peer { reason, .. } | block::Error::Unsupported { reason, .. } => {
                    reason.clone()
                }
                other => other.to_string().replace(&format!("{path}: "), ""),
            };
            Error::Source { disk, source_name, reason }
        }
    }
}

/// A failed copy of a backup, by its side.
pub(crate) fn backup_failure(
    failure: CopyError,
    disk: DiskIndex,
    source: &SourceUri,
    parent: Option<&BackupId>,
    place: &Place,
) -> Error {
    match (failure.side, parent) {
        (Side::Source, _) => source_failure(disk, source, failure.error),
        (Side::Baseline, Some(parent)) => place.read_failure(parent, failure.error),
        (Side::Sink | Side::Ledger | Side::Baseline, _) => place.write_failure(failure.error),
        (Side::Copy, _) => match through(failure.error) {
            Ok(error) => error,
            Err(error) => Error::Internal(format!("disk {disk}: {error}")),
        },
    }
}

/// An error of a restore's target.
pub(crate) fn target_failure(target: &str, error: block::Error) -> Error {
    if error.is_no_space() {
        return Error::NoSpace {
            place: format!("the target {target}"),
            needed: None,
            available: 0,
            reserve: 0,
        };
    }
    match through(error) {
        Ok(error) => error,
        Err(error) => {
            let (reason, permission) = match &error {
                block::Error::Open { source, .. } | block::Error::Io { source, .. } => {
                    (source.to_string(), source.kind() == io::ErrorKind::PermissionDenied)
                }
                block::Error::Peer { reason, .. } | block::Error::Unsupported { reason, .. } => {
                    (reason.clone(), false)
                }
                other => (other.to_string(), false),
            };
            Error::Target { target: target.to_owned(), reason, permission }
        }
    }
}

/// The errors that mean the same from every side; the others come back.
fn through(error: block::Error) -> Result<Error, block::Error> {
    match error {
        block::Error::Cancelled => Ok(Error::Cancelled),
        block::Error::TimedOut(seconds) => Ok(Error::TimedOut(seconds)),
        other => Err(other),
    }
}

/// Bytes that an unprivileged writer may still use on the file system of `path`.
pub(crate) fn available(path: &Path) -> Option<u64> {
    let room = rustix::fs::statvfs(path).ok()?;
    Some(room.f_bavail.saturating_mul(room.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::ErrorCode;

    fn io(kind: io::ErrorKind) -> block::Error {
        block::Error::Io { operation: "read", name: "/x".into(), offset: 4096, source: kind.into() }
    }

    fn place(root: &Path) -> Place {
        Place { name: "default".into(), root: root.into(), reserve: 8 << 20 }
    }

    #[test]
    fn the_side_decides_what_an_error_means() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let source: SourceUri = "/x".parse().unwrap();
        let failed = |side, error| {
            backup_failure(CopyError { side, error }, DiskIndex(1), &source, None, &place).code()
        };
        assert_eq!(failed(Side::Source, io(io::ErrorKind::UnexpectedEof)), ErrorCode::SourceUnavailable);
        assert_eq!(failed(Side::Sink, io(io::ErrorKind::StorageFull)), ErrorCode::NoSpace);
        assert_eq!(failed(Side::Ledger, io(io::ErrorKind::QuotaExceeded)), ErrorCode::NoSpace);
        assert_eq!(
            failed(Side::Sink, io(io::ErrorKind::ReadOnlyFilesystem)),
            ErrorCode::RepositoryUnavailable
        );
        for side in [Side::Source, Side::Sink, Side::Copy] {
            assert_eq!(failed(side, block::Error::Cancelled), ErrorCode::Cancelled);
            assert_eq!(failed(side, block::Error::TimedOut(3)), ErrorCode::TimedOut);
        }
    }

    #[test]
    fn a_missing_file_is_damage_unless_the_whole_repository_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let point = BackupId::new("b-1").unwrap();
        let missing = || block::Error::Open {
            operation: "open",
            name: "x".into(),
            source: io::ErrorKind::NotFound.into(),
        };
        assert_eq!(place(folder.path()).read_failure(&point, missing()).code(), ErrorCode::Damaged);
        let gone = place(&folder.path().join("gone"));
        assert_eq!(gone.read_failure(&point, missing()).code(), ErrorCode::RepositoryUnavailable);
    }
}
