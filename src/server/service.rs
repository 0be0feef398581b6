//! The hub itself: health, doctor, the list of endpoints, the OpenAPI document.

use crate::caller::{Admin, Viewer};
use crate::extract::OptionalJson;
use crate::failure::Result;
use crate::state::State;
use api::{
    DebugData, DebugEndpoints, DoctorFix, DoctorReport, Endpoint, ErrorBody, Health, RepositoryHealth,
    ServiceHealth,
};
use axum::Json as Answer;
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use std::time::Duration;
use tokio::time::timeout;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long the catalog is waited for by who only wants to know whether it is there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(health))
        .routes(routes!(doctor))
        .routes(routes!(doctor_fix))
        .routes(routes!(endpoints))
        .routes(routes!(document))
}

/// See whether the hub works
///
/// Needs no credentials. 200 whether it does or not, as long as it answers; `status` says.
#[utoipa::path(get, path = "/api/v1/health", operation_id = "health", tag = "service",
    security(()),
    responses((status = 200, description = "How it is", body = Health)))]
pub(crate) async fn health(Shared(state): Shared<State>) -> Answer<Health> {
    // Who asks does not wait for a server that is gone.
    let (catalog, repositories) = match timeout(PATIENCE, state.hub.repositories()).await {
        Ok(Ok(repositories)) => (ServiceHealth::Healthy, repositories),
        Ok(Err(_)) | Err(_) => (ServiceHealth::Unhealthy, Vec::new()),
    };
    let repositories: Vec<RepositoryHealth> = repositories
        .into_iter()
        .map(|status| RepositoryHealth {
            status: match status.space {
                Some(_) => ServiceHealth::Healthy,
                None => ServiceHealth::Unhealthy,
            },
            id: status.repository.id,
            name: status.repository.name,
        })
        .collect();
    let status = match catalog {
        ServiceHealth::Healthy if repositories.iter().all(|r| r.status == ServiceHealth::Healthy) => {
            ServiceHealth::Healthy
        }
        ServiceHealth::Healthy => ServiceHealth::Degraded,
        catalog => catalog,
    };
    Answer(Health {
        status,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        catalog,
        repositories,
        uptime_seconds: state.since.elapsed().as_secs(),
    })
}

/// Look for what is wrong
///
/// Changes nothing.
#[utoipa::path(get, path = "/api/v1/doctor", operation_id = "doctor", tag = "service",
    responses(
        (status = 200, description = "What was found", body = DoctorReport),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn doctor(_: Viewer, Shared(state): Shared<State>) -> Result<Answer<DoctorReport>> {
    Ok(Answer(DoctorReport::new(state.hub.doctor().await?)))
}

/// Put right what can be
#[utoipa::path(post, path = "/api/v1/doctor/fix", operation_id = "doctor_fix", tag = "service",
    request_body(content = Option<DoctorFix>, description = "All checks where left out"),
    responses(
        (status = 200, description = "What was found and put right", body = DoctorReport),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn doctor_fix(
    _: Admin,
    Shared(state): Shared<State>,
    OptionalJson(request): OptionalJson<DoctorFix>,
) -> Result<Answer<DoctorReport>> {
    Ok(Answer(DoctorReport::new(state.hub.doctor_fix(&request.checks).await?)))
}

/// List the endpoints
#[utoipa::path(get, path = "/api/v1/debug/endpoints", operation_id = "list_endpoints", tag = "service",
    responses(
        (status = 200, description = "Every route", body = DebugEndpoints),
        (status = "4XX", description = "Refused", body = ErrorBody)))]
pub(crate) async fn endpoints(_: Viewer, Shared(state): Shared<State>) -> Answer<DebugEndpoints> {
    let endpoints = list(&state.document);
    Answer(DebugEndpoints { success: true, debug_data: DebugData { endpoints } })
}

/// Every operation of the document, by path.
pub(crate) fn list(document: &OpenApi) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for (path, item) in &document.paths.paths {
        for (method, operation) in [
            ("DELETE", &item.delete),
            ("GET", &item.get),
            ("PATCH", &item.patch),
            ("POST", &item.post),
            ("PUT", &item.put),
        ] {
            if operation.is_some() {
                endpoints.push(Endpoint { method: method.to_owned(), path: path.clone() });
            }
        }
    }
    endpoints.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    endpoints
}

/// This document
///
/// Needs no credentials.
#[utoipa::path(get, path = "/api/v1/openapi.json", operation_id = "openapi", tag = "service",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json")))]
pub(crate) async fn document(Shared(state): Shared<State>) -> Response {
    Answer(&*state.document).into_response()
}
