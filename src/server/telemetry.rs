//! `/telemetry`: progress from those who work for the hub elsewhere.

use crate::caller::Operator;
use crate::extract::{Json, Path};
use crate::failure::Result;
use crate::state::State;
use api::{ApiError, ErrorBody, Success, Telemetry};
use axum::Json as Answer;
use axum::extract::State as Shared;
use model::{JobId, JobType};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default().routes(routes!(take))
}

/// Report how far a job is
///
/// Progress never goes back: a message that is late or repeated changes nothing.
#[utoipa::path(post, path = "/api/v1/telemetry/{job_type}/{job_id}", operation_id = "send_telemetry",
    tag = "telemetry",
    params(
        ("job_type" = inline(api::schema::JobType), Path, description = "backup, restore, copy, verify or consolidate"),
        ("job_id" = inline(api::schema::JobId), Path, description = "The job's id")),
    request_body = Telemetry,
    responses(
        (status = 200, description = "Taken", body = Success),
        (status = 404, description = "No such job", body = ErrorBody),
        (status = 409, description = "The job has ended; details.status says how", body = ErrorBody),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn take(
    _: Operator,
    Shared(state): Shared<State>,
    Path((job_type, job_id)): Path<(JobType, JobId)>,
    Json(telemetry): Json<Telemetry>,
) -> Result<Answer<Success>> {
    if telemetry.job_type != job_type {
        let message = format!("job_type: {} is not the {job_type} of the path", telemetry.job_type);
        return Err(ApiError::invalid("job_type", message).into());
    }
    state.hub.take_telemetry(job_type, job_id.as_str(), telemetry).await?;
    Ok(Answer(Success { success: true }))
}
