//! How this crate words what goes wrong, in the terms of [`block::Error`].
//!
//! Three kinds are kept apart because a user answers each differently: *corrupt* (restore the file from a
//! copy), *unsupported* (convert it, or take another way), *I/O* (look at the disk). Each names the file; a
//! corrupt one also says where in the file and what was expected.

use block::Error;
use std::io;

/// A file whose structures contradict the specification or each other.
pub(crate) fn corrupt(name: &str, reason: impl Into<String>) -> Error {
    Error::Corrupt { name: name.to_owned(), reason: reason.into() }
}

/// A valid file that uses something this crate does not do.
pub(crate) fn unsupported(name: &str, reason: impl Into<String>) -> Error {
    Error::Unsupported { name: name.to_owned(), reason: reason.into() }
}

/// A mistake of the caller.
pub(crate) fn usage(name: &str, reason: impl Into<String>) -> Error {
    Error::Usage { name: name.to_owned(), reason: reason.into() }
}

/// A refusal by the operating system at a position of a file.
pub(crate) fn io_at(operation: &'static str, name: &str, offset: u64, source: io::Error) -> Error {
    Error::Io { operation, name: name.to_owned(), offset, source }
}

/// A refusal by the operating system to open, create or inspect a file.
pub(crate) fn open(operation: &'static str, name: &str, source: io::Error) -> Error {
    Error::Open { operation, name: name.to_owned(), source }
}
