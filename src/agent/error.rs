//! What keeps a push from going on.

use api::ErrorCode;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why disks are not pushed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A source can't be opened or read.
    #[error("disk {disk}: the source {name} can't be read: {reason}")]
    Source {
        /// Position within the VM.
        disk: u32,
        /// As it was named.
        name: String,
        /// Why.
        reason: String,
    },
    /// Nothing is wrong with a source, only with what was said of it.
    #[error("disk {disk}: {reason}")]
    Misnamed {
        /// Position within the VM.
        disk: u32,
        /// What is wrong, and what to say.
        reason: String,
    },
    /// The hub's export can't be reached or written.
    #[error("disk {disk}: the hub's export can't be written: {reason}")]
    Export {
        /// Position within the VM.
        disk: u32,
        /// Why.
        reason: String,
    },
    /// The hub says something else than what was asked for.
    #[error("the hub's answer can't be used: {0}")]
    Answer(String),
    /// Ended from outside.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// The code of the API's closed list.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Source { .. } => ErrorCode::SourceUnavailable,
            Error::Misnamed { .. } => ErrorCode::InvalidRequest,
            Error::Export { .. } => ErrorCode::HubUnreachable,
            Error::Answer(_) => ErrorCode::Internal,
            Error::Cancelled => ErrorCode::Cancelled,
        }
    }
}
