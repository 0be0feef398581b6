//! What can go wrong between this client and a server, and how the block layer is told.

use std::io;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a server would not give the export, as far as the protocol tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// `NBD_REP_ERR_UNKNOWN`: there is no such export.
    UnknownExport,
    /// `NBD_REP_ERR_TLS_REQD`: it wants TLS first.
    TlsRequired,
    /// TLS was asked for and the server has none.
    TlsUnavailable,
    /// `NBD_REP_ERR_POLICY`: its configuration forbids it.
    Policy,
    /// `NBD_REP_ERR_SHUTDOWN`: it is going down.
    ShuttingDown,
    /// Any other refusal.
    Other,
}

/// An error of the NBD client. The name of the export is added where it becomes a [`block::Error`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("could not connect: {0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(io::Error),
    /// The server said nothing for this many seconds while an answer was due.
    #[error("the server did not answer for {0} seconds")]
    Silent(u64),
    /// The server broke the protocol; what it did.
    #[error("the server does not follow the NBD protocol: {0}")]
    Protocol(String),
    /// The server would not give the export.
    #[error("{message}")]
    Refused {
        /// The kind.
        refusal: Refusal,
        /// For a person, with what to do.
        message: String,
    },
    /// The server answered one request with an error; the connection is fine.
    #[error("{}{}", errno_text(*.code), if .message.is_empty() { String::new() } else { format!(" ({})", .message) })]
    Request {
        /// The protocol's error number.
        code: u32,
        /// What the server said beside it, printable, may be empty.
        message: String,
    },
    /// TLS could not be set up or the certificate was not accepted.
    #[error("TLS: {0}")]
    Tls(String),
    /// [`Interrupt::stop`](crate::Interrupt::stop) was called.
    #[error("interrupted")]
    Interrupted,
    /// The caller asked for something this export can't do.
    #[error("{0}")]
    Unfit(String),
}

/// The error numbers that NBD knows ("Error values" in the protocol); they equal Linux's.
pub(crate) mod errno {
    pub(crate) const EPERM: u32 = 1;
    pub(crate) const EIO: u32 = 5;
    pub(crate) const ENOMEM: u32 = 12;
    pub(crate) const EINVAL: u32 = 22;
    pub(crate) const ENOSPC: u32 = 28;
    pub(crate) const EOVERFLOW: u32 = 75;
    pub(crate) const ENOTSUP: u32 = 95;
    pub(crate) const ESHUTDOWN: u32 = 108;
}

fn errno_text(code: u32) -> String {
    match code {
        errno::EPERM => "the server does not permit it".into(),
        errno::EIO => "the server reports an input/output error".into(),
        errno::ENOMEM => "the server is out of memory".into(),
        errno::EINVAL => "the server calls the request invalid".into(),
        errno::ENOSPC => "the server has no space left".into(),
        errno::EOVERFLOW => "the server calls the request too large".into(),
        errno::ENOTSUP => "the server does not support it".into(),
        errno::ESHUTDOWN => "the server is shutting down".into(),
        other => format!("the server reports error {other}"),
    }
}

impl Error {
    /// A broken transport, with time-outs and ends of file given their names.
    pub(crate) fn from_transport(error: io::Error, patience: u64) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Error::Silent(patience),
            io::ErrorKind::UnexpectedEof => {
                Error::Lost(io::Error::new(error.kind(), "the server closed the connection"))
            }
            _ => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => Error::Tls(tls.to_string()),
                None => Error::Lost(error),
            },
        }
    }

    /// True where a new connection may help: the server or the way to it is gone, not unwilling.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Connect(_) | Error::Lost(_) | Error::Silent(_) => true,
            Error::Refused { refusal, .. } => *refusal == Refusal::ShuttingDown,
            Error::Request { code, .. } => *code == errno::ESHUTDOWN,
            _ => false,
        }
    }

    /// True where the connection still works after it.
    pub(crate) fn leaves_session_usable(&self) -> bool {
        matches!(self, Error::Unfit(_))
            || matches!(self, Error::Request { code, .. } if *code != errno::ESHUTDOWN)
    }

    /// The block layer's error for an operation at `offset` of the disk `name`.
    pub(crate) fn at(self, operation: &'static str, name: &str, offset: u64) -> block::Error {
        match self {
            Error::Request { code, .. } => {
                let kind = match code {
                    errno::EPERM => io::ErrorKind::PermissionDenied,
                    errno::ENOMEM => io::ErrorKind::OutOfMemory,
                    errno::EINVAL => io::ErrorKind::InvalidInput,
                    errno::ENOSPC => io::ErrorKind::StorageFull,
                    errno::ENOTSUP => io::ErrorKind::Unsupported,
                    _ => io::ErrorKind::Other,
                };
                let source = io::Error::new(kind, self.to_string());
                block::Error::Io { operation, name: name.to_owned(), offset, source }
            }
            other => other.of(name),
        }
    }

    /// The block layer's error for something that has no offset.
    pub(crate) fn of(self, name: &str) -> block::Error {
        let name = name.to_owned();
        match self {
            Error::Interrupted => block::Error::Cancelled,
            Error::Connect(source) => block::Error::Open { operation: "connect to", name, source },
            Error::Unfit(reason) => block::Error::Unsupported { name, reason },
            other => {
                let transient = other.is_transient();
                block::Error::Peer { name, reason: other.to_string(), transient }
            }
        }
    }
}
