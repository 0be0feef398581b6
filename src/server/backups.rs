//! `/backups`: restore points, the jobs that make them, their chains.

use crate::answer::{self, Roots};
use crate::caller::{Claim, Operator, Restorer, Viewer};
use crate::events;
use crate::extract::{Json, OptionalJson, Path, Query, limit, offset};
use crate::failure::Result;
use crate::state::State;
use api::{
    AddressQuery, BackupAnswer, BackupList, BackupQuery, BackupStarted, Chain, ChainQuery, Consolidate,
    Consolidating, DeleteQuery, Deleted, ErrorBody, JobAnswer, PatchBackup, SentEvent, StartBackup,
    VerifyRequest,
};
use axum::extract::State as Shared;
use axum::response::Response;
use axum::{Json as Answer, http::StatusCode};
use model::{BackupId, VmName};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(start, list))
        .routes(routes!(resolve))
        .routes(routes!(show, patch, delete))
        .routes(routes!(cancel))
        .routes(routes!(complete))
        .routes(routes!(retry))
        .routes(routes!(verify))
        .routes(routes!(watch))
        .routes(routes!(merge))
        .routes(routes!(chain))
        .routes(routes!(consolidate))
}

/// Start a backup
///
/// Answers at once; the backup's state, its events or its job tell how it goes. With `dry_run` nothing is
/// started and the answer is 200.
#[utoipa::path(post, path = "/api/v1/backups", operation_id = "start_backup", tag = "backups",
    request_body = StartBackup,
    responses(
        (status = 202, description = "Accepted", body = BackupStarted),
        (status = 200, description = "Dry run: what it would do", body = BackupStarted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn start(
    Operator(claim): Operator,
    Shared(state): Shared<State>,
    Json(request): Json<StartBackup>,
) -> Result<(StatusCode, Answer<BackupStarted>)> {
    claim.vm(&request.vm_name)?;
    claim.places("source", !request.is_push() && !request.all_sources().is_empty())?;
    if request.dry_run {
        claim.note.skip();
        let (record, plan) = state.hub.plan_backup(request).await?;
        let backup = answer::backup(&state.hub, &record).await?;
        let message = "Nothing was started: this is a dry run".to_owned();
        let answer = BackupStarted { success: true, message, backup, plan: Some(plan) };
        return Ok((StatusCode::OK, Answer(answer)));
    }
    let record = state.hub.start_backup(request).await?;
    claim.note.object(&record.id);
    let backup = answer::backup(&state.hub, &record).await?;
    let message = "Backup started successfully".to_owned();
    Ok((StatusCode::ACCEPTED, Answer(BackupStarted { success: true, message, backup, plan: None })))
}

/// List backups
///
/// Newest first; everything given must match.
#[utoipa::path(get, path = "/api/v1/backups", operation_id = "list_backups", tag = "backups",
    params(BackupQuery),
    responses(
        (status = 200, description = "A page of them", body = BackupList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn list(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Query(query): Query<BackupQuery>,
) -> Result<Answer<BackupList>> {
    page(&state, &claim, query).await.map(Answer)
}

/// One page, for this route and the older one.
pub(crate) async fn page(state: &State, claim: &Claim, mut query: BackupQuery) -> Result<BackupList> {
    let limit = limit(query.limit)?;
    query.limit = Some(limit);
    let offset = offset(query.offset)?;
    let only = claim.only();
    let (records, total) = state.hub.backups_among(&query, only.as_deref()).await?;
    let roots = Roots::of(&state.hub).await?;
    let backups = records
        .iter()
        .map(|record| roots.backup_with_targets(&state.hub, record, claim.caller.role))
        .collect();
    Ok(BackupList { success: true, backups, total, limit, offset })
}

/// Find the backup that an address means
///
/// An address that fits several is refused with `ambiguous` and the candidates.
#[utoipa::path(get, path = "/api/v1/backups/resolve", operation_id = "resolve_backup", tag = "backups",
    params(AddressQuery),
    responses(
        (status = 200, description = "The backup", body = BackupAnswer),
        (status = "4XX", description = "None, or several", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn resolve(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Query(query): Query<AddressQuery>,
) -> Result<Answer<BackupAnswer>> {
    let record = state.hub.resolve_among(&query, claim.only().as_deref()).await?;
    let backup = answer::backup_for(&state.hub, &record, claim.caller.role).await?;
    Ok(Answer(BackupAnswer { success: true, backup }))
}

/// Show a backup
#[utoipa::path(get, path = "/api/v1/backups/{id}", operation_id = "show_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    responses(
        (status = 200, description = "The backup", body = BackupAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn show(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
) -> Result<Answer<BackupAnswer>> {
    let record = state.hub.backup(&id).await?;
    let backup = answer::backup_for(&state.hub, &record, claim.caller.role).await?;
    Ok(Answer(BackupAnswer { success: true, backup }))
}

/// Change a backup's labels, notes or protection
///
/// Only what is named changes; a label that is null is removed.
#[utoipa::path(patch, path = "/api/v1/backups/{id}", operation_id = "patch_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    request_body = PatchBackup,
    responses(
        (status = 200, description = "The backup as it is now", body = BackupAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn patch(
    _: Operator,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
    Json(patch): Json<PatchBackup>,
) -> Result<Answer<BackupAnswer>> {
    let record = state.hub.patch_backup(&id, patch).await?;
    let backup = answer::backup(&state.hub, &record).await?;
    Ok(Answer(BackupAnswer { success: true, backup }))
}

/// Delete a backup
///
/// One that others are built on is refused with `has_dependents`, unless they go too (`cascade`) or take its
/// data over (`merge`).
#[utoipa::path(delete, path = "/api/v1/backups/{id}", operation_id = "delete_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id"), DeleteQuery),
    responses(
        (status = 200, description = "What is gone, or would be", body = Deleted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn delete(
    Operator(claim): Operator,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
    Query(how): Query<DeleteQuery>,
) -> Result<Answer<Deleted>> {
    if how.dry_run {
        claim.note.skip();
    }
    if how.cascade || how.merge {
        claim.note.detail(if how.cascade { "cascade" } else { "merge" });
    }
    Ok(Answer(state.hub.delete_backup(&id, how).await?))
}

/// Ask a backup to end
///
/// It has ended when its state says so; nothing of it is left then.
#[utoipa::path(post, path = "/api/v1/backups/{id}/cancel", operation_id = "cancel_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    responses(
        (status = 202, description = "It has been asked", body = BackupStarted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn cancel(
    _: Operator,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
) -> Result<(StatusCode, Answer<BackupStarted>)> {
    let before = state.hub.backup(&id).await?;
    state.hub.cancel(before.id.as_str()).await?;
    let record = state.hub.backup(&id).await?;
    let backup = answer::backup(&state.hub, &record).await?;
    let message = "Backup is being cancelled".to_owned();
    Ok((StatusCode::ACCEPTED, Answer(BackupStarted { success: true, message, backup, plan: None })))
}

/// Say that all disks are written
///
/// Of a backup with `"source": "push"`: nothing more is taken, and it is a restore point when its state says so. Its
/// telemetry may say the same, by the status `completed`.
#[utoipa::path(post, path = "/api/v1/backups/{id}/complete", operation_id = "complete_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    responses(
        (status = 202, description = "It is being completed", body = BackupStarted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn complete(
    _: Operator,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
) -> Result<(StatusCode, Answer<BackupStarted>)> {
    let record = state.hub.complete_backup(&id).await?;
    let backup = answer::backup(&state.hub, &record).await?;
    let message = "Backup is being completed".to_owned();
    Ok((StatusCode::ACCEPTED, Answer(BackupStarted { success: true, message, backup, plan: None })))
}

/// Make a backup that failed or was cancelled again
///
/// As a backup of its own, with everything as it was asked for.
#[utoipa::path(post, path = "/api/v1/backups/{id}/retry", operation_id = "retry_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    responses(
        (status = 202, description = "The new one", body = BackupStarted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn retry(
    Operator(claim): Operator,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
) -> Result<(StatusCode, Answer<BackupStarted>)> {
    let record = state.hub.retry_backup(&id).await?;
    claim.note.detail(&record.id);
    let backup = answer::backup(&state.hub, &record).await?;
    let message = "Backup started successfully".to_owned();
    Ok((StatusCode::ACCEPTED, Answer(BackupStarted { success: true, message, backup, plan: None })))
}

/// Verify a backup and what it is built on
///
/// The job completes whether they are sound or not; its result says.
#[utoipa::path(post, path = "/api/v1/backups/{id}/verify", operation_id = "verify_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    request_body(content = Option<VerifyRequest>, description = "All of the data where left out"),
    responses(
        (status = 202, description = "The job", body = JobAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn verify(
    _: Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
    OptionalJson(request): OptionalJson<VerifyRequest>,
) -> Result<(StatusCode, Answer<JobAnswer>)> {
    let job = state.hub.start_verify(&id, request).await?;
    Ok((StatusCode::ACCEPTED, Answer(JobAnswer { success: true, job })))
}

/// Merge a backup into what is built on it
///
/// What a deletion with `merge` does, as a job that can be watched and cancelled.
#[utoipa::path(post, path = "/api/v1/backups/{id}/merge", operation_id = "merge_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    responses(
        (status = 202, description = "The job", body = JobAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn merge(
    _: Operator,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
) -> Result<(StatusCode, Answer<JobAnswer>)> {
    let job = state.hub.start_merge(&id).await?;
    Ok((StatusCode::ACCEPTED, Answer(JobAnswer { success: true, job })))
}

/// Watch a backup
///
/// Server-sent events: `progress` with telemetry any number of times, then one `final` with the job as it
/// ended.
#[utoipa::path(get, path = "/api/v1/backups/{id}/events", operation_id = "watch_backup", tag = "backups",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    responses(
        (status = 200, description = "The events", body = SentEvent, content_type = "text/event-stream"),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn watch(
    _: Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
) -> Result<Response> {
    state.hub.backup(&id).await?;
    events::stream(&state.hub, id.as_str()).await
}

/// Show the chain of a VM's disk
#[utoipa::path(get, path = "/api/v1/backups/{vm_name}/chain", operation_id = "show_chain", tag = "backups",
    params(("vm_name" = inline(api::schema::VmName), Path, description = "The VM's name"), ChainQuery),
    responses(
        (status = 200, description = "The latest chain, oldest point first", body = Chain),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn chain(
    _: Viewer,
    Shared(state): Shared<State>,
    Path(vm): Path<VmName>,
    Query(query): Query<ChainQuery>,
) -> Result<Answer<Chain>> {
    Ok(Answer(state.hub.chain(&vm, &query).await?))
}

/// Consolidate the chain of a VM's disk
///
/// Points from before `keep_since` are merged into the later ones, whose oldest becomes the full; none of the
/// later ones is lost. With `dry_run` nothing is started and the answer is 200.
#[utoipa::path(post, path = "/api/v1/backups/{vm_name}/chain/consolidate", operation_id = "consolidate_chain",
    tag = "backups",
    params(("vm_name" = inline(api::schema::VmName), Path, description = "The VM's name")),
    request_body = Consolidate,
    responses(
        (status = 202, description = "The job", body = Consolidating),
        (status = 200, description = "Dry run: what it would do", body = Consolidating),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn consolidate(
    Operator(claim): Operator,
    Shared(state): Shared<State>,
    Path(vm): Path<VmName>,
    Json(request): Json<Consolidate>,
) -> Result<(StatusCode, Answer<Consolidating>)> {
    if request.dry_run {
        claim.note.skip();
        let plan = state.hub.plan_consolidation(&vm, &request).await?;
        return Ok((StatusCode::OK, Answer(Consolidating { success: true, job: None, plan: Some(plan) })));
    }
    let job = state.hub.start_consolidation(&vm, &request).await?;
    Ok((StatusCode::ACCEPTED, Answer(Consolidating { success: true, job: Some(job), plan: None })))
}
