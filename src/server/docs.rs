//! The viewer of the OpenAPI document: one page that needs nothing but the hub.
//!
//! It holds no data; its script fetches `openapi.json` beside it. What it may load, run and be framed by is said in its
//! header, so that nothing of anybody else's comes into it.

use crate::state::State;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

const PAGE: &str = include_str!("docs.html");
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default().routes(routes!(docs))
}

/// A page that shows this document
///
/// Needs no credentials, and no network but the hub.
#[utoipa::path(get, path = "/api/v1/docs", operation_id = "docs", tag = "service",
    security(()),
    responses((status = 200, description = "The page", body = String, content_type = "text/html")))]
pub(crate) async fn docs() -> Response {
    let mut response = Html(PAGE).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_nothing_outside_the_hub() {
        assert!(!PAGE.contains("://") && !PAGE.contains("innerHTML"));
    }
}
