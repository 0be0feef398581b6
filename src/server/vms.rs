//! `/vms`: what is backed up.

use crate::caller::{Operator, Viewer};
use crate::extract::{Json, Path, Query, limit, offset};
use crate::failure::Result;
use crate::state::State;
use api::{CreateVm, ErrorBody, PageQuery, Vm, VmAnswer, VmDeleted, VmList, VmNameQuery};
use axum::extract::State as Shared;
use axum::{Json as Answer, http::StatusCode};
use model::VmName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default().routes(routes!(create, list, delete_named)).routes(routes!(show, delete))
}

/// Register a VM
///
/// With `replace` one that exists gets these disks instead of its own.
#[utoipa::path(post, path = "/api/v1/vms", operation_id = "create_vm", tag = "vms",
    request_body = CreateVm,
    responses(
        (status = 201, description = "The VM", body = VmAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn create(
    Operator(claim): Operator,
    Shared(state): Shared<State>,
    Json(request): Json<CreateVm>,
) -> Result<(StatusCode, Answer<VmAnswer>)> {
    claim.vm(&request.name)?;
    claim.places("disks", true)?;
    let replace = request.replace;
    let vm = state.hub.add_vm(request, replace).await?;
    Ok((StatusCode::CREATED, Answer(VmAnswer { success: true, vm: Vm::from(&vm) })))
}

/// List VMs
#[utoipa::path(get, path = "/api/v1/vms", operation_id = "list_vms", tag = "vms",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of them, newest first", body = VmList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn list(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<VmList>> {
    let limit = limit(query.limit)?;
    let only = claim.only();
    let (vms, total) = state.hub.vms_among(limit, offset(query.offset)?, only.as_deref()).await?;
    Ok(Answer(VmList { success: true, vms: vms.iter().map(Vm::from).collect(), total }))
}

/// Show a VM
#[utoipa::path(get, path = "/api/v1/vms/{name}", operation_id = "show_vm", tag = "vms",
    params(("name" = inline(api::schema::VmName), Path, description = "The VM's name")),
    responses(
        (status = 200, description = "The VM", body = VmAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn show(
    _: Viewer,
    Shared(state): Shared<State>,
    Path(name): Path<VmName>,
) -> Result<Answer<VmAnswer>> {
    let vm = state.hub.vm(&name).await?;
    Ok(Answer(VmAnswer { success: true, vm: Vm::from(&vm) }))
}

/// Forget a VM
///
/// Refused while it has restore points. Its disks are not touched.
#[utoipa::path(delete, path = "/api/v1/vms/{name}", operation_id = "delete_vm", tag = "vms",
    params(("name" = inline(api::schema::VmName), Path, description = "The VM's name")),
    responses(
        (status = 200, description = "It is forgotten", body = VmDeleted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn delete(
    _: Operator,
    Shared(state): Shared<State>,
    Path(name): Path<VmName>,
) -> Result<Answer<VmDeleted>> {
    forget(&state, name).await
}

/// Forget a VM that the query names
///
/// As `DELETE /vms/{name}` does.
#[utoipa::path(delete, path = "/api/v1/vms", operation_id = "delete_vm_by_query", tag = "vms",
    params(VmNameQuery),
    responses(
        (status = 200, description = "It is forgotten", body = VmDeleted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn delete_named(
    Operator(claim): Operator,
    Shared(state): Shared<State>,
    Query(query): Query<VmNameQuery>,
) -> Result<Answer<VmDeleted>> {
    claim.vm(&query.vm_name)?;
    forget(&state, query.vm_name).await
}

async fn forget(state: &State, name: VmName) -> Result<Answer<VmDeleted>> {
    state.hub.remove_vm(&name).await?;
    let message = "VM removed successfully".to_owned();
    Ok(Answer(VmDeleted { success: true, message, vm_name: name }))
}
