//! The OpenAPI document: made from the handlers, so it can't say anything else than they do.
//!
//! It is checked in as `openapi/openapi.json` (`cargo xtask generate` writes it, a test compares), and
//! served by the hub.

use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sendense hub",
        description = "Backups of virtual machines: points, chains, repositories, jobs.\n\nEvery answer that is \
            no success has the body ErrorBody. Sizes are bytes, times RFC 3339 UTC, durations seconds.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "backups", description = "Restore points and the jobs that make them"),
        (name = "restore", description = "Getting disks back"),
        (name = "jobs", description = "Everything that takes time"),
        (name = "repositories", description = "Where backups are kept"),
        (name = "vms", description = "What is backed up"),
        (name = "telemetry", description = "Progress from those who work for the hub"),
        (name = "service", description = "The hub itself"),
        (name = "older routes", description = "The same content, flat, for scripts that exist"),
    ),
)]
struct Head;

/// The document without routes.
pub(crate) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// The document as it is checked in and served: one JSON text, the same for the same code.
///
/// # Errors
/// Never in practice: the document has no key that is no string.
pub fn document() -> Result<String, serde_json::Error> {
    let (_, document) = crate::routes().split_for_parts();
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}
