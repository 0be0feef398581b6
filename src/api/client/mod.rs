//! The typed client: one method a route, whatever carries the requests.
//!
//! A [`Client`] is a [`Transport`] and knows how requests are written and answers are read; the transport
//! knows where the hub is. In-process, HTTPS and a Unix socket are the same to every caller.
//!
//! Bounds: an answer that is no stream is read up to 64 MiB, an event up to 1 MiB; more is an error.
//! Dropping a call drops its request; what the hub has accepted goes on (jobs are cancelled by asking).

mod address;
mod archive;
mod auth;
mod backups;
mod browse;
mod error;
mod events;
mod export;
mod in_process;
mod lists;
mod path;
mod remote;
mod repositories;
mod search;
mod service;
mod transport;
mod trust;

pub use address::{DEFAULT_PORT, HubAddress, HubAddressError};
pub use archive::{ArchiveDownload, Contents, Counting};
pub use browse::Download;
pub use error::ClientError;
pub use events::EventStream;
pub use in_process::InProcess;
pub use remote::{Remote, VERSION_HEADER};
pub use search::{Line, LineStream};
pub use transport::{RequestBody, ResponseBody, Transport, TransportError};
pub use trust::{Fingerprint, FingerprintError, OtherCertificate, Trust, TrustError};

use crate::{ApiError, ErrorBody, ErrorCode};
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::BodyExt;
use path::Path;
pub use path::path_segment;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// The most bytes of an answer that are kept in memory. A page of 1000 backups of VMs with many disks is
/// some megabytes.
const MAX_ANSWER: usize = 64 << 20;

/// A hub, wherever it is.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("transport", &self.transport).finish()
    }
}

impl Client {
    /// A client over that transport.
    pub fn new(transport: impl Transport + 'static) -> Self {
        Client { transport: Arc::new(transport) }
    }

    /// True where the hub is in this process, and ends with it.
    pub fn is_in_process(&self) -> bool {
        self.transport.is_in_process()
    }

    /// Sends a request without a body and reads the answer.
    async fn ask<A: DeserializeOwned>(&self, method: Method, path: Path) -> Result<A, ClientError> {
        let request = Request::builder().method(method).uri(path.into_uri()?);
        self.answer(request, Bytes::new()).await
    }

    /// Sends a request with a JSON body and reads the answer.
    async fn tell<B, A>(&self, method: Method, path: Path, body: &B) -> Result<A, ClientError>
    where
        B: Serialize + Sync,
        A: DeserializeOwned,
    {
        let body = serde_json::to_vec(body).map_err(ClientError::request)?;
        let request = Request::builder()
            .method(method)
            .uri(path.into_uri()?)
            .header(header::CONTENT_TYPE, "application/json");
        self.answer(request, body.into()).await
    }

    /// Sends a request whose answer is a text.
    async fn text(&self, path: Path) -> Result<String, ClientError> {
        let request = Request::builder().method(Method::GET).uri(path.into_uri()?).body(Bytes::new());
        let response = self.send(request.map_err(ClientError::request)?).await?;
        let body = read_to_end(response.into_body()).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn answer<A: DeserializeOwned>(
        &self,
        request: http::request::Builder,
        body: Bytes,
    ) -> Result<A, ClientError> {
        let request = request.header(header::ACCEPT, "application/json").body(body);
        let response = self.send(request.map_err(ClientError::request)?).await?;
        let body = read_to_end(response.into_body()).await?;
        serde_json::from_slice(&body).map_err(ClientError::answer)
    }

    /// Sends a request; an answer that is no success becomes the error in its body.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<ResponseBody>, ClientError> {
        let response = self.transport.send(request).await?;
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let body = read_to_end(response.into_body()).await?;
        Err(ClientError::Api(match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => body.into_error(status),
            Err(_) => ApiError::new(
                ErrorCode::of_status(status),
                format!("the answer had the status {status} and was not the hub's own"),
            ),
        }))
    }
}

async fn read_to_end(mut body: ResponseBody) -> Result<Bytes, ClientError> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(TransportError::cut)?;
        if let Ok(data) = frame.into_data() {
            if whole.len() + data.len() > MAX_ANSWER {
                return Err(ClientError::TooLarge { limit: MAX_ANSWER });
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}
