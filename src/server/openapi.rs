//! The OpenAPI document: made from the handlers, so it can't say anything else than they do.
//!
//! It is checked in as `openapi/openapi.json` (`cargo xtask generate` writes it, a test compares), and
//! served by the hub.

use crate::rules;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// The least role of an operation.
const ROLE: &str = "x-role";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sendense hub",
        description = "Backups of virtual machines: points, chains, repositories, jobs.\n\nEvery answer that is \
            no success has the body ErrorBody. Sizes are bytes, times RFC 3339 UTC, durations seconds. The role that an \
            operation needs is its x-role: viewer, restorer, operator or admin, each of which includes the ones before it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    security(("token" = [])),
    modifiers(&Token),
    tags(
        (name = "backups", description = "Restore points and the jobs that make them"),
        (name = "restore", description = "Getting disks back"),
        (name = "jobs", description = "Everything that takes time"),
        (name = "repositories", description = "Where backups are kept"),
        (name = "vms", description = "What is backed up"),
        (name = "telemetry", description = "Progress from those who work for the hub"),
        (name = "auth", description = "Logging in; users, tokens, the audit log"),
        (name = "service", description = "The hub itself"),
        (name = "older routes", description = "The same content, flat, for scripts that exist"),
    ),
)]
struct Head;

/// How requests are told whose they are.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token of a login, or an API token. The hub's own user and root need none at its Unix socket."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// The document without routes.
pub(crate) fn head() -> utoipa::openapi::OpenApi {
    Head::openapi()
}

/// Says of each operation which role it needs, as [`ROLE`].
pub(crate) fn name_roles(document: &mut utoipa::openapi::OpenApi) {
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in [
            ("DELETE", &mut item.delete),
            ("GET", &mut item.get),
            ("PATCH", &mut item.patch),
            ("POST", &mut item.post),
            ("PUT", &mut item.put),
        ] {
            let least = rules::find(method, path).and_then(|rule| rule.least);
            if let (Some(operation), Some(least)) = (operation, least) {
                let extensions = operation.extensions.get_or_insert_default();
                extensions.insert(ROLE.to_owned(), least.as_str().into());
            }
        }
    }
}

/// The document as it is checked in and served: one JSON text, the same for the same code.
///
/// # Errors
/// Never in practice: the document has no key that is no string.
pub fn document() -> Result<String, serde_json::Error> {
    let (_, mut document) = crate::routes().split_for_parts();
    name_roles(&mut document);
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}
