//! What carries a request to a hub and its answer back.
//!
//! The smallest transport is one method. A transport sends as it is told: paths begin with `/api/v1`, and
//! authority and credentials are its own to add. Dropping the future or the body gives up the request.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use std::error::Error;

/// The body of a request.
pub type RequestBody = http_body_util::Full<Bytes>;

/// The body of an answer, read as it comes.
pub type ResponseBody = UnsyncBoxBody<Bytes, Box<dyn Error + Send + Sync>>;

/// A way to a hub.
pub trait Transport: Send + Sync + std::fmt::Debug {
    /// Sends a request and gives the answer as soon as its head is there, whatever its status.
    ///
    /// # Errors
    /// Only where there is no answer.
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<ResponseBody>, TransportError>>;
}

/// No answer, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TransportError {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl TransportError {
    /// No connection: `hub` is where the hub was looked for, for a person.
    pub fn unreachable(hub: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        TransportError { what: format!("no hub answers at {hub}"), source: Some(source.into()) }
    }

    /// The answer broke off.
    pub fn cut(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        TransportError { what: "the hub's answer broke off".to_owned(), source: Some(source.into()) }
    }
}
