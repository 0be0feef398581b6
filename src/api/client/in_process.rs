//! The transport without a socket: a router of this very process.
//!
//! It takes any `tower` service, so nothing here depends on the server. Each request carries
//! [`Caller::embedded`]: who runs the program may do what the program may.

use super::transport::{RequestBody, ResponseBody, Transport, TransportError};
use crate::{Caller, Peer};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::error::Error;
use tower::{Service, ServiceExt};

/// A router called directly.
#[derive(Clone)]
pub struct InProcess<S> {
    service: S,
}

impl<S> InProcess<S> {
    /// The transport to that router.
    pub fn new(service: S) -> Self {
        InProcess { service }
    }
}

impl<S> std::fmt::Debug for InProcess<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InProcess")
    }
}

impl<S, B> Transport for InProcess<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<ResponseBody>, TransportError>> {
        let mut request = request.map(RequestBody::new);
        request.extensions_mut().insert(Peer::Process);
        request.extensions_mut().insert(Caller::embedded());
        let service = self.service.clone();
        Box::pin(async move {
            let response = service
                .oneshot(request)
                .await
                .map_err(|error| TransportError::unreachable("this process", error))?;
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }

    fn is_in_process(&self) -> bool {
        true
    }
}
