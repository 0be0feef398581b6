//! What carries a request to a hub and its answer back.
//!
//! The smallest transport is one method. A transport sends as it is told: paths begin with `/api/v1`, and
//! authority and credentials are its own to add. Dropping the future or the body gives up the request.

use super::trust::OtherCertificate;
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

    /// True where the hub is in this process, and ends with it.
    fn is_in_process(&self) -> bool {
        false
    }
}

/// No answer, or not all of it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TransportError {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    /// The server is not the one that was meant, as far as its certificate tells.
    pub(super) untrusted: bool,
}

impl TransportError {
    /// No connection: `hub` is where the hub was looked for, for a person.
    pub fn unreachable(hub: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        let what = match reason(&*source) {
            Some(reason) => format!("no hub answers at {hub}: {reason}"),
            None => format!("no hub answers at {hub}"),
        };
        TransportError { what, source: Some(source), untrusted: false }
    }

    /// The server's certificate is not to be trusted.
    pub fn untrusted(hub: &str, reason: &rustls::CertificateError) -> Self {
        use rustls::CertificateError as Why;
        let why = match reason {
            Why::Other(other) if other.0.downcast_ref::<OtherCertificate>().is_some() => other.0.to_string(),
            Why::UnknownIssuer => "nobody that this machine trusts has signed its certificate".to_owned(),
            Why::NotValidForName | Why::NotValidForNameContext { .. } => {
                "its certificate is for another name".to_owned()
            }
            Why::Expired | Why::ExpiredContext { .. } => "its certificate has expired".to_owned(),
            other => format!("its certificate is not valid: {other}"),
        };
        TransportError {
            what: format!("the hub at {hub} is not trusted: {why}"),
            source: None,
            untrusted: true,
        }
    }

    /// The answer broke off.
    pub fn cut(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let what = "the hub's answer broke off".to_owned();
        TransportError { what, source: Some(source.into()), untrusted: false }
    }
}

/// The innermost reason, where it is one that a person understands: the system's own.
fn reason(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    let mut found = None;
    for _ in 0..16 {
        let Some(at) = next else { break };
        if let Some(io) = at.downcast_ref::<std::io::Error>() {
            found = Some(match io.kind() {
                std::io::ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
                std::io::ErrorKind::NotFound => "there is no socket".to_owned(),
                std::io::ErrorKind::PermissionDenied => "this user may not connect there".to_owned(),
                std::io::ErrorKind::TimedOut => "the connection timed out".to_owned(),
                _ => io.to_string(),
            });
        }
        next = at.source();
    }
    found
}
