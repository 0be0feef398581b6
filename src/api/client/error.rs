//! Why a call failed: the hub's own error, or no (understandable) answer.

use super::transport::TransportError;
use super::trust::TrustError;
use crate::{ApiError, ErrorCode};
use serde_json::{Map, Value};
use std::error::Error;

/// A call that failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The hub answered with an error.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// There is no hub, or the connection broke.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// What is to be trusted can't be: nothing was asked.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The answer is not what the contract says.
    #[error("the hub's answer can't be understood: it may be of another version, or no hub at all")]
    Answer(#[source] Box<dyn Error + Send + Sync>),
    /// The answer has no end.
    #[error("the hub's answer is larger than {limit} bytes")]
    TooLarge {
        /// What would have been taken.
        limit: usize,
    },
    /// The request can't be written: an argument that no URL can hold.
    #[error("the request can't be written")]
    Request(#[source] Box<dyn Error + Send + Sync>),
}

impl ClientError {
    pub(crate) fn answer(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ClientError::Answer(source.into())
    }

    pub(crate) fn request(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        ClientError::Request(source.into())
    }

    /// The code, for a program; it leads to the exit code.
    pub fn code(&self) -> ErrorCode {
        match self {
            ClientError::Api(error) => error.code,
            ClientError::Transport(error) if error.untrusted => ErrorCode::HubUntrusted,
            ClientError::Transport(_) | ClientError::Answer(_) | ClientError::TooLarge { .. } => {
                ErrorCode::HubUnreachable
            }
            ClientError::Trust(_) | ClientError::Request(_) => ErrorCode::InvalidRequest,
        }
    }

    /// What a command that ends with this exits with.
    pub fn exit_code(&self) -> u8 {
        self.code().exit_code()
    }

    /// What to do next, for a person.
    pub fn hint(&self) -> Option<&str> {
        match self {
            ClientError::Api(error) => error.hint.as_deref(),
            ClientError::Transport(error) if error.untrusted => Some(
                "compare the fingerprint with what the hub prints, then: sendense-ctl hub login URL --fingerprint sha256:…",
            ),
            ClientError::Transport(_) => {
                Some("see whether the hub runs and can be reached: sendense-ctl hub status")
            }
            ClientError::Answer(_) | ClientError::TooLarge { .. } => {
                Some("see that client and hub are of the same version")
            }
            ClientError::Trust(_) => {
                Some("give a PEM file with the certificate of the authority: --ca FILE, or SENDENSE_CA")
            }
            ClientError::Request(_) => None,
        }
    }

    /// More for a program.
    pub fn details(&self) -> Option<&Map<String, Value>> {
        match self {
            ClientError::Api(error) => Some(&error.details),
            _ => None,
        }
    }
}
