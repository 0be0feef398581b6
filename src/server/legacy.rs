//! The older routes, `/backup/…`: thin conversions to and from the routes of today, and nothing else.

use crate::answer;
use crate::backups;
use crate::caller::{Operator, Viewer};
use crate::extract::{Json, Path, Query};
use crate::failure::Result;
use crate::guard::missing;
use crate::state::State;
use api::legacy::{ChainQuery, Deleted, FlatChain, List, ListQuery, Start};
use api::{ApiError, Backup, DeleteQuery, ErrorBody};
use axum::extract::State as Shared;
use axum::{Json as Answer, http::StatusCode};
use hub::Missing;
use model::{BackupId, ContextId, VmName};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(start))
        .routes(routes!(list))
        .routes(routes!(chain))
        .routes(routes!(show, delete))
}

/// Start a backup (older form)
#[utoipa::path(post, path = "/api/v1/backup/start", operation_id = "older_start", tag = "older routes",
    request_body = Start,
    responses(
        (status = 202, description = "The backup, flat", body = Backup),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn start(
    Operator(claim): Operator,
    Shared(state): Shared<State>,
    Json(request): Json<Start>,
) -> Result<(StatusCode, Answer<Backup>)> {
    claim.vm(&request.vm_name)?;
    let request = api::StartBackup::from(request);
    claim.places("source", !request.is_push() && !request.all_sources().is_empty())?;
    let record = state.hub.start_backup(request).await?;
    claim.note.object(&record.id);
    Ok((StatusCode::ACCEPTED, Answer(answer::backup(&state.hub, &record).await?)))
}

/// List backups (older form)
#[utoipa::path(get, path = "/api/v1/backup/list", operation_id = "older_list", tag = "older routes",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of them", body = List),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn list(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Query(query): Query<ListQuery>,
) -> Result<Answer<List>> {
    let page = backups::page(&state, &claim, query.into()).await?;
    Ok(Answer(List { backups: page.backups, total: page.total }))
}

/// Show the chain of a VM's disk (older form)
#[utoipa::path(get, path = "/api/v1/backup/chain", operation_id = "older_chain", tag = "older routes",
    params(ChainQuery),
    responses(
        (status = 200, description = "The latest chain, flat", body = FlatChain),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn chain(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Query(query): Query<ChainQuery>,
) -> Result<Answer<FlatChain>> {
    let refuse = |field: &str, error: model::IdError| ApiError::invalid(field, error.to_string());
    let vm = match (&query.vm_name, &query.vm_context_id) {
        (Some(name), _) => VmName::new(name).map_err(|error| refuse("vm_name", error))?,
        (None, Some(id)) => {
            let id = ContextId::new(id).map_err(|error| refuse("vm_context_id", error))?;
            state.hub.vm_of_context(&id).await?.name
        }
        (None, None) => {
            let message = "vm_name: one of vm_name and vm_context_id is needed";
            return Err(ApiError::invalid("vm_name", message).into());
        }
    };
    if !claim.caller.sees(&vm) {
        return Err(missing(Missing::Vm, vm.as_str()));
    }
    let today = api::ChainQuery { disk_id: query.disk_id, repository_id: None };
    let chain = state.hub.chain(&vm, &today).await?;
    Ok(Answer(chain.into()))
}

/// Show a backup (older form)
#[utoipa::path(get, path = "/api/v1/backup/{id}", operation_id = "older_show", tag = "older routes",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    responses(
        (status = 200, description = "The backup, flat", body = Backup),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn show(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
) -> Result<Answer<Backup>> {
    let record = state.hub.backup(&id).await?;
    Ok(Answer(answer::backup_for(&state.hub, &record, claim.caller.role).await?))
}

/// Delete a backup (older form)
#[utoipa::path(delete, path = "/api/v1/backup/{id}", operation_id = "older_delete", tag = "older routes",
    params(("id" = inline(api::schema::BackupId), Path, description = "The backup's id")),
    responses(
        (status = 200, description = "It is gone", body = Deleted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn delete(
    _: Operator,
    Shared(state): Shared<State>,
    Path(id): Path<BackupId>,
) -> Result<Answer<Deleted>> {
    let deleted = state.hub.delete_backup(&id, DeleteQuery::default()).await?;
    Ok(Answer(deleted.into()))
}
