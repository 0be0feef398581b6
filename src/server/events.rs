//! Watching a job: server-sent events (HTML Living Standard, "Server-sent events").
//!
//! The hub tells what happens; here it is put into the form of the wire. A comment every 15 seconds keeps
//! proxies from closing a silent connection. A watcher that goes away takes nothing with it but the watching.

use crate::failure::Result;
use api::Event;
use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use http::{HeaderValue, header};
use hub::Hub;
use std::convert::Infallible;
use std::time::Duration;

/// How long the stream may be silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The events of that job.
///
/// # Errors
/// Where there is no such job; what goes wrong later is an `error` event.
pub(crate) async fn stream(hub: &Hub, id: &str) -> Result<Response> {
    let events = hub.watch(id).await?;
    let frames = stream::unfold(events, |mut events| async move {
        let text = match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
            Ok(Some(event)) => frame(&event),
            Ok(None) => return None,
            Err(_) => ": still there\n\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), events))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn frame(event: &Event) -> String {
    match event.data() {
        Ok(data) => format!("event: {}\ndata: {data}\n\n", event.name()),
        Err(error) => {
            tracing::error!("an event can't be written: {error}");
            String::new()
        }
    }
}
