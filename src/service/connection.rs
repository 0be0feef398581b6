//! One connection: HTTP/1.1 on whatever a door has accepted.
//!
//! Each request gets its [`Peer`], and its caller where the connection alone is a credential. Heads must come whole in
//! time, which also bounds how long a connection may lie idle; bodies too; and a peer that takes its answer too slowly is
//! given up. Asked to stop, a connection ends after the answer it is giving.

use crate::deadline::Deadline;
use crate::pace::Paced;
use crate::settings::Limits;
use api::Peer;
use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceExt;

/// The most bytes of a request's head, and the most headers in it.
const MAX_HEAD: usize = 64 << 10;
const MAX_HEADERS: usize = 100;

/// Serves a connection until it ends, or until `stop` says so and its last answer is given.
pub(crate) async fn serve<S>(
    stream: S,
    peer: Peer,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let own = rustix::process::geteuid().as_raw();
    let body_timeout = limits.body_timeout;
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request =
            request.map(|body| Body::new(Deadline::new(Body::new(body), Instant::now() + body_timeout)));
        request.extensions_mut().insert(peer);
        if let Some(caller) = peer.caller(own) {
            request.extensions_mut().insert(caller);
        }
        router.clone().oneshot(request)
    });
    let stream = Paced::new(Box::pin(stream), limits.write_timeout);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection has ended badly");
    }
}

/// Waits until connections are to end.
pub(crate) async fn until(stop: &mut watch::Receiver<bool>) {
    // Where nobody can say so any more, the service is gone.
    drop(stop.wait_for(|stop| *stop).await);
}
