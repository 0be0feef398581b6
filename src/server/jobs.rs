//! `/jobs`: everything that takes time; and `/restore/disk`, which makes one.

use crate::caller::{Operator, Restorer, Viewer};
use crate::events;
use crate::extract::{Json, Path, Query, limit, offset};
use crate::failure::Result;
use crate::state::State;
use api::{ErrorBody, JobAnswer, JobList, JobQuery, RestoreDisk, Role, SentEvent};
use axum::extract::State as Shared;
use axum::response::Response;
use axum::{Json as Answer, http::StatusCode};
use model::JobId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(cancel))
        .routes(routes!(watch))
        .routes(routes!(restore_disk))
}

/// List jobs
///
/// Backups included, newest first; everything given must match.
#[utoipa::path(get, path = "/api/v1/jobs", operation_id = "list_jobs", tag = "jobs",
    params(JobQuery),
    responses(
        (status = 200, description = "A page of them", body = JobList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn list(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Query(mut query): Query<JobQuery>,
) -> Result<Answer<JobList>> {
    query.limit = Some(limit(query.limit)?);
    offset(query.offset)?;
    let (jobs, total) = state.hub.jobs_among(&query, claim.only().as_deref()).await?;
    Ok(Answer(JobList { success: true, jobs, total }))
}

/// Show a job
#[utoipa::path(get, path = "/api/v1/jobs/{id}", operation_id = "show_job", tag = "jobs",
    params(("id" = inline(api::schema::JobId), Path, description = "The job's id; a backup's is that of the backup")),
    responses(
        (status = 200, description = "The job", body = JobAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn show(
    _: Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<JobId>,
) -> Result<Answer<JobAnswer>> {
    let job = state.hub.job(id.as_str()).await?;
    Ok(Answer(JobAnswer { success: true, job }))
}

/// Ask a job to end
///
/// It has ended when its state says so.
#[utoipa::path(post, path = "/api/v1/jobs/{id}/cancel", operation_id = "cancel_job", tag = "jobs",
    params(("id" = inline(api::schema::JobId), Path, description = "The job's id")),
    responses(
        (status = 202, description = "It has been asked", body = JobAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn cancel(
    _: Operator,
    Shared(state): Shared<State>,
    Path(id): Path<JobId>,
) -> Result<(StatusCode, Answer<JobAnswer>)> {
    let job = state.hub.cancel(id.as_str()).await?;
    Ok((StatusCode::ACCEPTED, Answer(JobAnswer { success: true, job })))
}

/// Watch a job
///
/// Server-sent events: `progress` with telemetry any number of times, then one `final` with the job as it
/// ended.
#[utoipa::path(get, path = "/api/v1/jobs/{id}/events", operation_id = "watch_job", tag = "jobs",
    params(("id" = inline(api::schema::JobId), Path, description = "The job's id")),
    responses(
        (status = 200, description = "The events", body = SentEvent, content_type = "text/event-stream"),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn watch(
    _: Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<JobId>,
) -> Result<Response> {
    events::stream(&state.hub, id.as_str()).await
}

/// Restore one disk of a backup
///
/// To a file, a block device or an NBD export; the job's result says what was written. Who is no administrator may restore
/// to those files and devices of the hub's machine only, that lie in folders which its setting `restore.folders` lists.
#[utoipa::path(post, path = "/api/v1/restore/disk", operation_id = "restore_disk", tag = "restore",
    request_body = RestoreDisk,
    responses(
        (status = 202, description = "The job", body = JobAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn restore_disk(
    Restorer(claim): Restorer,
    Shared(state): Shared<State>,
    Json(request): Json<RestoreDisk>,
) -> Result<(StatusCode, Answer<JobAnswer>)> {
    claim.backup(&state.hub, &request.backup_id).await?;
    claim.note.detail(format!("to {}", request.target));
    let job = state.hub.start_restore(request, claim.caller.role < Role::Admin).await?;
    Ok((StatusCode::ACCEPTED, Answer(JobAnswer { success: true, job })))
}
