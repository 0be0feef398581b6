//! Errors of reading and writing disks.

use crate::FullReadReason;
use std::io;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a source and a sink. Corrupt, unsupported and I/O are apart, because a user
/// answers each differently.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system or a peer refused an operation.
    #[error("{operation} {name} at byte {offset}: {source}")]
    Io {
        /// `read`, `write`, `flush` …
        operation: &'static str,
        /// The file, device or URI.
        name: String,
        /// Where.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// It could not be opened, created or asked for its size.
    #[error("{operation} {name}: {source}")]
    Open {
        /// `open`, `create`, `stat` …
        operation: &'static str,
        /// The file, device or URI.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The peer or server answered, with a refusal or nonsense.
    #[error("{name}: {reason}")]
    Peer {
        /// The URI.
        name: String,
        /// What was said, for a person.
        reason: String,
        /// True where trying again may help (a lost connection).
        transient: bool,
    },
    /// What was read is not what the format allows.
    #[error("{name} is damaged: {reason}")]
    Corrupt {
        /// The file.
        name: String,
        /// What was found and what was expected, with offsets.
        reason: String,
    },
    /// Valid, but something this program does not do.
    #[error("{name} can't be read: {reason}")]
    Unsupported {
        /// The file.
        name: String,
        /// What is not supported, and what to do.
        reason: String,
    },
    /// The content is not what the hashes say it should be.
    #[error("{name}: the data at byte {offset} does not match its hash")]
    Mismatch {
        /// The source.
        name: String,
        /// First byte of the granule.
        offset: u64,
    },
    /// The change tracking can't answer; read all.
    #[error("a full read is needed: {0}")]
    FullReadRequired(FullReadReason),
    /// There is less room left than must stay free.
    #[error("{name} has {available} bytes left, {reserve} must stay free")]
    NoSpace {
        /// The file system or folder.
        name: String,
        /// Bytes available.
        available: u64,
        /// Bytes of reserve.
        reserve: u64,
    },
    /// Cancelled by request.
    #[error("cancelled")]
    Cancelled,
    /// The time limit is over.
    #[error("not done within {0} s")]
    TimedOut(u64),
    /// A caller's mistake: an offset out of range, a piece not aligned.
    #[error("{name}: {reason}")]
    Usage {
        /// The disk.
        name: String,
        /// The mistake.
        reason: String,
    },
    /// A defect in this program, met while it worked on a disk; the disk is not to blame.
    #[error("{name}: a defect in this program: {reason}")]
    Panicked {
        /// The disk.
        name: String,
        /// What the panic said.
        reason: String,
    },
}

impl Error {
    /// True where the cause is a full disk or quota, whoever reported it.
    pub fn is_no_space(&self) -> bool {
        match self {
            Error::NoSpace { .. } => true,
            Error::Io { source, .. } | Error::Open { source, .. } => {
                matches!(
                    source.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
                )
            }
            _ => false,
        }
    }

    /// True where the same step may succeed a moment later: a connection was lost, a peer is not there yet.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Peer { transient, .. } => *transient,
            Error::Io { source, .. } | Error::Open { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted
                    | io::ErrorKind::WouldBlock
                    | io::ErrorKind::TimedOut
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::NetworkDown
            ),
            _ => false,
        }
    }
}
