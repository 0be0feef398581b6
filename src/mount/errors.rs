//! What an error of a guest's files is to a system call.

use fuser::Errno;
use guestfs::Error;

/// The error number for who asked. What a person must know besides goes to the log, with `what` was wanted.
pub(crate) fn errno(error: &Error, what: &str) -> Errno {
    let number = match error {
        Error::NotFound => return Errno::ENOENT,
        Error::NotADirectory => return Errno::ENOTDIR,
        Error::IsADirectory => return Errno::EISDIR,
        Error::NotASymlink => return Errno::EINVAL,
        Error::Io { .. } | Error::Corrupt { .. } => Errno::EIO,
        Error::Unsupported(_) => Errno::EOPNOTSUPP,
        Error::Encrypted(_) => Errno::EACCES,
        Error::Untrusted(_) => Errno::EIO,
        Error::Limit(_) => Errno::EOVERFLOW,
    };
    tracing::warn!(%error, "{what} failed");
    number
}
