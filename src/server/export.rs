//! `/restore/export`: restore points served over NBD.

use crate::caller::{Restorer, Viewer};
use crate::extract::{Json, Path};
use crate::failure::Result;
use crate::state::State;
use api::{ApiError, ErrorBody, ErrorCode, ExportBackup, Exported, Role};
use axum::Json as Answer;
use axum::extract::State as Shared;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default().routes(routes!(export)).routes(routes!(exported))
}

/// Serve a restore point over NBD
///
/// Its disks can be read by any NBD client, from now until it is closed (`DELETE /restore/{mount_id}`) or nobody has been
/// connected for its idle time. With `writable_overlay` clients may write, too: the point never changes, and what was
/// written is gone at the end.
#[utoipa::path(post, path = "/api/v1/restore/export", operation_id = "export_backup", tag = "restore",
    request_body = ExportBackup,
    responses(
        (status = 200, description = "It is served", body = Exported),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn export(
    Restorer(claim): Restorer,
    Shared(state): Shared<State>,
    Json(request): Json<ExportBackup>,
) -> Result<Answer<Exported>> {
    let places = [
        ("socket", request.socket.is_some()),
        ("listen", request.listen.is_some()),
        ("tls_certificates", request.tls_certificates.is_some()),
        ("overlay_dir", request.overlay_dir.is_some()),
    ];
    if let Some((field, _)) = places.iter().find(|(_, given)| *given && claim.caller.role < Role::Admin) {
        let message = format!("{field}: only an administrator may name a place on the hub's machine");
        return Err(ApiError::new(ErrorCode::Forbidden, message)
            .hint(format!("leave {field} out: a private socket is made then"))
            .into());
    }
    claim.backup(&state.hub, &request.backup_id).await?;
    let exported = state.hub.export(request).await?;
    claim.note.detail(&exported.export_id);
    Ok(Answer(exported))
}

/// Show a restore point that is served
///
/// With who is connected and how much was read and written. Only exports of this hub's process are known here.
#[utoipa::path(get, path = "/api/v1/restore/export/{export_id}", operation_id = "show_export", tag = "restore",
    params(("export_id" = String, Path, description = "The export's id")),
    responses(
        (status = 200, description = "The export", body = Exported),
        (status = "4XX", description = "Refused", body = ErrorBody)))]
pub(crate) async fn exported(
    _: Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<Answer<Exported>> {
    Ok(Answer(state.hub.exported(&id)?))
}
