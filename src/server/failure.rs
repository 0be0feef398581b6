//! Answers that are no success: one body for all of them.
//!
//! A fault of the program (a panic in a handler) becomes an `internal` error with its text in the log only.

use api::{ApiError, ErrorBody, ErrorCode};
use axum::Json;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};
use serde_json::Value;

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) struct Failure(pub ApiError);

/// What a handler gives.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Failure(error)
    }
}

impl From<hub::Error> for Failure {
    fn from(error: hub::Error) -> Self {
        let details = match error.details() {
            Value::Object(details) => details,
            _ => serde_json::Map::new(),
        };
        Failure(ApiError { code: error.code(), message: error.to_string(), hint: error.hint(), details })
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Failure(mut error) = self;
        error.message = one_line(error.message);
        let status =
            StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = error.code.as_str(), "{}", error.message);
        }
        let wait = error.details.get("retry_after_seconds").and_then(Value::as_u64);
        let code = error.code;
        let mut response = (status, Json(ErrorBody::from(error))).into_response();
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For the audit log.
        response.extensions_mut().insert(code);
        response
    }
}

/// A message without control characters: what a request has named may be in it, and it goes into logs and on screens.
fn one_line(message: String) -> String {
    if !message.contains(char::is_control) {
        return message;
    }
    let mut shown = String::with_capacity(message.len() + 16);
    for c in message.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_unicode()),
            false => shown.push(c),
        }
    }
    shown
}

/// For paths that no route has.
pub(crate) async fn no_such_route(uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Failure(
        ApiError::new(ErrorCode::NotFound, format!("there is no route {path}"))
            .hint("GET /api/v1/openapi.json lists every route"),
    )
}

/// For routes that have other methods; the `Allow` header lists them.
pub(crate) async fn method_not_allowed(method: Method, uri: Uri) -> Failure {
    let path: String = uri.path().chars().take(200).collect();
    Failure(
        ApiError::new(ErrorCode::MethodNotAllowed, format!("{path} has no method {method}"))
            .hint("the Allow header lists the methods that it has"),
    )
}

/// Runs a handler in a task of its own: it comes to its end even where the client goes away meanwhile, so
/// that a deletion is not given up between two of its steps; and a panic becomes an answer.
pub(crate) async fn run_to_the_end(request: Request, next: Next) -> Response {
    let route = format!("{} {}", request.method(), request.uri().path());
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!("the handler of {route} has failed: {error}");
            Failure(
                ApiError::new(ErrorCode::Internal, "the hub has a fault: the request was given up")
                    .hint("the hub's log has more; please report it"),
            )
            .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_named_forges_no_line() {
        assert_eq!(one_line("there is no ü".to_owned()), "there is no ü");
        assert_eq!(
            one_line("no x\n2026 INFO forged\u{1b}[2J".to_owned()),
            "no x\\u{a}2026 INFO forged\\u{1b}[2J"
        );
    }
}
