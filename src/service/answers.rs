//! What every answer of a service gets: the request's id, the hub's version, a line in the log, and compression.
//!
//! A request may bring an id of its own (`X-Request-Id`), so that it can be followed through proxies; one that is no
//! plain word is replaced. Only texts are compressed, and nothing that is downloaded: a range of a compressed file
//! would be a range of something else.

use api::{Caller, Peer, VERSION_HEADER};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use std::time::Instant;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID: usize = 64;
/// Below, a compressed text is hardly smaller.
const WORTH: u16 = 1024;

/// The id, the version, the line in the log.
pub(crate) async fn mark(mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let given = request.headers().get(REQUEST_ID).filter(|id| is_plain(id)).cloned();
    let id = given.or_else(|| HeaderValue::try_from(uuid::Uuid::new_v4().to_string()).ok());
    if let Some(id) = &id {
        request.headers_mut().insert(REQUEST_ID, id.clone());
    }
    let method = request.method().clone();
    // Without the query, which may hold the names of a guest's files.
    let path = request.uri().path().to_owned();
    let peer = request.extensions().get::<Peer>().copied().unwrap_or(Peer::Process);
    let mut response = next.run(request).await;
    let caller = response.extensions().get::<Caller>().map(|caller| caller.who.to_string());
    let status = response.status().as_u16();
    let millis = begun.elapsed().as_millis();
    let shown = id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default();
    match caller {
        Some(caller) => {
            tracing::info!(target: "access", %method, path, status, millis, %peer, caller, id = shown)
        }
        None => tracing::info!(target: "access", %method, path, status, millis, %peer, id = shown),
    }
    let headers = response.headers_mut();
    if let Some(id) = id {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(VERSION_HEADER, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    response
}

/// Nothing that could forge a line of a log.
fn is_plain(id: &HeaderValue) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

/// gzip or zstd, as the client takes them.
pub(crate) fn compression() -> CompressionLayer<impl Predicate> {
    CompressionLayer::new().compress_when(SizeAbove::new(WORTH).and(IsText))
}

#[derive(Clone)]
struct IsText;

impl Predicate for IsText {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &http::Response<B>) -> bool {
        compresses(response.status(), response.version(), response.headers(), response.extensions())
    }
}

fn compresses(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let text = kind.starts_with("application/json") || kind.starts_with("text/");
    let download = [header::CONTENT_DISPOSITION, header::ACCEPT_RANGES, header::CONTENT_RANGE];
    text && status != StatusCode::PARTIAL_CONTENT
        && !kind.starts_with("text/event-stream")
        && !download.iter().any(|name| headers.contains_key(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compressed_and_downloads_and_streams_are_not() {
        for (headers, compressed) in [
            (&[("content-type", "application/json")][..], true),
            (&[("content-type", "text/html; charset=utf-8")], true),
            (&[("content-type", "text/event-stream")], false),
            (&[("content-type", "application/zip")], false),
            (&[("content-type", "text/plain"), ("accept-ranges", "bytes")], false),
            (&[("content-type", "text/plain"), ("content-disposition", "attachment")], false),
        ] {
            let mut response = http::Response::builder();
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            let response = response.body(axum::body::Body::empty()).unwrap();
            assert_eq!(IsText.should_compress(&response), compressed, "{headers:?}");
        }
    }

    #[test]
    fn an_id_from_outside_is_a_plain_word_or_is_replaced() {
        for (id, plain) in
            [("a-1.b_2", true), ("", false), ("a b", false), ("a\tb", false), (&*"x".repeat(65), false)]
        {
            assert_eq!(is_plain(&HeaderValue::from_str(id).unwrap()), plain, "{id}");
        }
    }
}
