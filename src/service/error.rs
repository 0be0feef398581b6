//! Why a hub can't be served.

use crate::claim::Holder;
use std::io;
use std::path::PathBuf;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a hub can't be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process serves this state folder.
    #[error("another hub serves {folder}: {holder}")]
    Served {
        /// The state folder.
        folder: PathBuf,
        /// Who.
        holder: Holder,
    },
    /// An address can't be listened on.
    #[error("{address} can't be listened on: {reason}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        reason: String,
    },
    /// A setting is wrong.
    #[error("{key}{origin}: {reason}")]
    Setting {
        /// Which one.
        key: String,
        /// Where it was found, in brackets.
        origin: String,
        /// What is wrong.
        reason: String,
        /// What might have been meant, or what to do.
        hint: Option<String>,
    },
    /// The configuration file can't be read.
    #[error("the configuration file {path} can't be used: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Certificate and key can't be used.
    #[error("TLS can't be offered: {0}")]
    Tls(String),
    /// A file or folder of the service.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The engine.
    #[error(transparent)]
    Hub(#[from] hub::Error),
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::Io { what: what.into(), source: source.into() }
    }

    /// What to do next, for a person.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Served { .. } => {
                Some("sendense-ctl hub status shows it; give this one another --state-dir".into())
            }
            Error::Setting { hint, .. } => hint.clone(),
            Error::Listen { .. } => {
                Some("choose another with --listen, such as https://127.0.0.1:8443".into())
            }
            Error::File { .. } => Some("put that right, or name another file with --config".into()),
            Error::Tls(_) => Some("see tls.certificate and tls.key: sendense-ctl hub config show".into()),
            Error::Io { .. } => None,
            Error::Hub(error) => error.hint(),
        }
    }

    /// The API's word for it; it leads to the exit code.
    pub fn code(&self) -> api::ErrorCode {
        use api::ErrorCode as Code;
        match self {
            Error::Served { .. } => Code::Locked,
            Error::Setting { .. } | Error::File { .. } => Code::InvalidRequest,
            Error::Listen { .. } => Code::HubUnreachable,
            Error::Tls(_) => Code::PermissionDenied,
            Error::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Code::PermissionDenied
            }
            Error::Io { .. } => Code::Internal,
            Error::Hub(error) => error.code(),
        }
    }
}
