//! What goes wrong while a guest's disks are read, in kinds that a user answers differently.

use std::io;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something of a guest can't be read.
///
/// *Corrupt* (the capture or the guest's disk is damaged), *unsupported* (valid, but nothing here decodes it),
/// *untrusted* (it could be read, but might be wrong bytes), *I/O* (the reader below failed) are apart, because a
/// user answers each in another way. None of them ever stands for wrong bytes that were returned all the same.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The reader below failed.
    #[error("reading at byte {offset} failed: {source}")]
    Io {
        /// Where, in bytes from the beginning of the volume or disk that was read.
        offset: u64,
        /// What the reader said.
        source: io::Error,
    },
    /// A structure contradicts the specification or another structure.
    #[error("{structure} is damaged: {reason}")]
    Corrupt {
        /// The structure in the terms of its format, with its number: `inode 12`, `B+tree leaf at block 77`.
        structure: String,
        /// What was found, and what was expected.
        reason: String,
    },
    /// Valid, but uses a feature that nothing here decodes. Names the feature.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// Encrypted, and no key was given that opens it. Names what is encrypted.
    #[error("{0} is encrypted")]
    Encrypted(String),
    /// Could be read, but not trusted: a journal that is dirty and can't be replayed, a log tree.
    #[error("{0}")]
    Untrusted(String),
    /// No such name.
    #[error("no such file or folder")]
    NotFound,
    /// A folder was needed.
    #[error("not a folder")]
    NotADirectory,
    /// A file was needed.
    #[error("a folder, not a file")]
    IsADirectory,
    /// `readlink` of something else.
    #[error("not a symbolic link")]
    NotASymlink,
    /// A bound of this crate: depth, number of links followed, memory. Names the bound.
    #[error("{0}")]
    Limit(String),
}

impl Error {
    /// A structure that contradicts the specification or another one.
    pub fn corrupt(structure: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Corrupt { structure: structure.into(), reason: reason.into() }
    }

    /// The same error once more, for one that is kept and given to everybody who asks again.
    pub(crate) fn again(&self) -> Self {
        match self {
            Error::Io { offset, source } => {
                Error::Io { offset: *offset, source: io::Error::new(source.kind(), source.to_string()) }
            }
            Error::Corrupt { structure, reason } => Error::corrupt(structure, reason),
            Error::Unsupported(what) => Error::Unsupported(what.clone()),
            Error::Encrypted(what) => Error::Encrypted(what.clone()),
            Error::Untrusted(why) => Error::Untrusted(why.clone()),
            Error::NotFound => Error::NotFound,
            Error::NotADirectory => Error::NotADirectory,
            Error::IsADirectory => Error::IsADirectory,
            Error::NotASymlink => Error::NotASymlink,
            Error::Limit(bound) => Error::Limit(bound.clone()),
        }
    }

    /// A feature that nothing here decodes.
    pub fn unsupported(feature: impl Into<String>) -> Self {
        Error::Unsupported(feature.into())
    }
}
