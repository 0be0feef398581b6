//! What can go wrong with a server as a whole, and with one of its connections.

use std::io;

/// An error of serving NBD.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It can't listen there.
    #[error("{at}: {source}")]
    Listen {
        /// The socket's path or the address.
        at: String,
        /// Why.
        source: io::Error,
    },
    /// A certificate can't be used, or a client's was not accepted.
    #[error("TLS: {0}")]
    Tls(String),
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Lost(#[from] io::Error),
    /// The client broke the protocol; what it did.
    #[error("the client does not follow the NBD protocol: {0}")]
    Protocol(String),
    /// A reply could not be finished after its beginning was sent, so that only closing tells the client.
    #[error("a reply was cut short: {0}")]
    CutShort(block::Error),
}

/// Result of serving.
pub(super) type Result<T, E = ServerError> = std::result::Result<T, E>;

/// The client broke the protocol.
pub(super) fn protocol<T>(what: impl Into<String>) -> Result<T> {
    Err(ServerError::Protocol(what.into()))
}
