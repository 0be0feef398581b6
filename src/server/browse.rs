//! `/restore`: sessions on restore points, and the files in them.

use crate::caller::{Restorer, Viewer};
use crate::download;
use crate::extract::{Json, Part, Path, Query, limit, offset};
use crate::failure::Result;
use crate::state::State;
use api::{
    ApiError, CleanupStatus, ErrorBody, ErrorCode, FileInfo, FileList, FilesQuery, Mount, MountBackup,
    MountList, PageQuery, PathQuery, Resources, UnmountQuery, Unmounted, from_base64,
};
use axum::Json as Answer;
use axum::extract::State as Shared;
use axum::response::Response;
use http::HeaderMap;
use hub::Page;
use model::Role;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(mount))
        .routes(routes!(mounts))
        .routes(routes!(resources))
        .routes(routes!(cleanup_status))
        .routes(routes!(mounted, unmount))
        .routes(routes!(files))
        .routes(routes!(glob))
        .routes(routes!(file_info))
        .routes(routes!(download_file))
}

/// The bytes of a path that was given as text or in Base64.
pub(crate) fn path_of(path: Option<String>, path_b64: Option<&str>) -> Result<Option<Vec<u8>>> {
    match (path, path_b64) {
        (Some(_), Some(_)) => Err(ApiError::invalid("path_b64", "give path or path_b64, not both").into()),
        (Some(path), None) => Ok(Some(path.into_bytes())),
        (None, Some(text)) => match from_base64(text) {
            Ok(path) => Ok(Some(path)),
            Err(error) => Err(ApiError::invalid("path_b64", format!("path_b64: {error}")).into()),
        },
        (None, None) => Ok(None),
    }
}

fn page(query: &FilesQuery) -> Result<Page> {
    Ok(Page {
        recursive: query.recursive.unwrap_or(false),
        xattrs: query.xattrs.unwrap_or(false),
        count: query.count.unwrap_or(true),
        limit: limit(query.limit)? as usize,
        offset: offset(query.offset)?,
    })
}

pub(crate) fn needed_path(query: PathQuery) -> Result<Vec<u8>> {
    path_of(query.path, query.path_b64.as_deref())?
        .ok_or_else(|| ApiError::invalid("path", "path: name a file of the restore point").into())
}

/// Open a restore point
///
/// Finds its volumes and the guest's system, and opens them for reading. Closed when nobody has used it for its idle
/// time. The point can't be deleted meanwhile. With `path`, its files are mounted there on the hub's machine; with
/// `vm_name` instead of a point, all points of that VM, each in a folder of its time.
#[utoipa::path(post, path = "/api/v1/restore/mount", operation_id = "mount_backup", tag = "restore",
    request_body = MountBackup,
    responses(
        (status = 200, description = "The session", body = Mount),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn mount(
    Restorer(claim): Restorer,
    Shared(state): Shared<State>,
    Json(request): Json<MountBackup>,
) -> Result<Answer<Mount>> {
    if request.path.is_some() && claim.caller.role < Role::Admin {
        let message = "path: only an administrator may name a place on the hub's machine";
        return Err(ApiError::new(ErrorCode::Forbidden, message)
            .hint("leave path out: the files are then read over the API")
            .into());
    }
    if let Some(vm) = &request.vm_name {
        claim.vm(vm)?;
    }
    if let Some(id) = &request.backup_id {
        claim.backup(&state.hub, id).await?;
    }
    let keyed = !request.keys_b64.is_empty();
    let mount = state.hub.mount(request).await?;
    claim.note.detail(&mount.mount_id);
    if keyed {
        // First of all: nobody else may use it in between.
        state.keyed.opened(&mount.mount_id, &claim.caller.who);
        let known = state.keyed.known();
        // What is remembered too long does no harm; a session that its opener does not hear of would.
        if let Ok(mounts) = state.hub.mounts().await {
            let open = mounts.into_iter().map(|mount| mount.mount_id).collect();
            state.keyed.forget(&known, &open);
        }
    }
    Ok(Answer(mount))
}

/// List what is open: restore sessions, mounts and exports
///
/// Those of all processes on this hub's state folder. Sessions of other processes are listed from their third second on.
#[utoipa::path(get, path = "/api/v1/restore/mounts", operation_id = "list_mounts", tag = "restore", params(PageQuery),
    responses(
        (status = 200, description = "A page of them, newest first", body = MountList),
        (status = "4XX", description = "Refused", body = ErrorBody)))]
pub(crate) async fn mounts(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<MountList>> {
    let part = Part::of(&query)?;
    let mounts = state.hub.mounts().await?;
    let seen = mounts.into_iter().rev().filter(|mount| claim.caller.sees(&mount.vm_name));
    let (mounts, total) = part.cut(seen);
    Ok(Answer(MountList { mounts, total }))
}

/// What restore sessions take
#[utoipa::path(get, path = "/api/v1/restore/resources", operation_id = "restore_resources", tag = "restore",
    responses(
        (status = 200, description = "Sessions, memory, devices and limits", body = Resources),
        (status = "4XX", description = "Refused", body = ErrorBody)))]
pub(crate) async fn resources(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
) -> Result<Answer<Resources>> {
    Ok(Answer(state.hub.restore_resources(claim.only().as_deref()).await?))
}

/// How idle restore sessions are closed
#[utoipa::path(get, path = "/api/v1/restore/cleanup-status", operation_id = "cleanup_status", tag = "restore",
    responses(
        (status = 200, description = "As it is now", body = CleanupStatus),
        (status = "4XX", description = "Refused", body = ErrorBody)))]
pub(crate) async fn cleanup_status(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
) -> Result<Answer<CleanupStatus>> {
    Ok(Answer(state.hub.cleanup_status(claim.only().as_deref()).await?))
}

/// Show a restore session
#[utoipa::path(get, path = "/api/v1/restore/{mount_id}", operation_id = "show_mount", tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id")),
    responses(
        (status = 200, description = "The session", body = Mount),
        (status = "4XX", description = "Refused", body = ErrorBody)))]
pub(crate) async fn mounted(
    _: Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<Answer<Mount>> {
    Ok(Answer(state.hub.mounted(&id).await?))
}

/// Close a restore session, a mount or an export
///
/// Of whatever process; the answer comes when it is gone. Refused with 409 and the processes that use it, unless `lazy` or
/// `force` is given. Downloads that run come to their end. The id may also be the path of a mount.
#[utoipa::path(delete, path = "/api/v1/restore/{mount_id}", operation_id = "unmount", tag = "restore",
    params(("mount_id" = String, Path, description = "Its id"), UnmountQuery),
    responses(
        (status = 200, description = "It is closed", body = Unmounted),
        (status = "4XX", description = "Refused", body = ErrorBody)))]
pub(crate) async fn unmount(
    _: Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Query(how): Query<UnmountQuery>,
) -> Result<Answer<Unmounted>> {
    let ended = state.hub.unmount(&id, how).await?;
    let message = match ended.status.as_str() {
        "unmounting" => "the backup is out of sight, and unmounted when nobody uses it any more",
        _ => "backup unmounted successfully",
    };
    Ok(Answer(Unmounted { message: message.to_owned(), mount_id: ended.mount_id }))
}

/// List a folder of a restore session
///
/// Paths are the guest's. Links on the way are followed, and never lead out of the restore point.
#[utoipa::path(get, path = "/api/v1/restore/{mount_id}/files", operation_id = "list_files", tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id"), FilesQuery),
    responses(
        (status = 200, description = "A page of the folder; of a file, the file", body = FileList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn files(
    _: Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Query(query): Query<FilesQuery>,
) -> Result<Answer<FileList>> {
    let page = page(&query)?;
    let path = path_of(query.path, query.path_b64.as_deref())?.unwrap_or_else(|| b"/".to_vec());
    Ok(Answer(state.hub.with_session(&id, move |session| session.files(&path, page)).await?))
}

/// Find what matches a pattern in a restore session
///
/// `path` is the pattern: `*`, `?`, `[…]`, and `**` over folders.
#[utoipa::path(get, path = "/api/v1/restore/{mount_id}/glob", operation_id = "glob_files", tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id"), FilesQuery),
    responses(
        (status = 200, description = "A page of what matches", body = FileList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn glob(
    _: Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Query(query): Query<FilesQuery>,
) -> Result<Answer<FileList>> {
    let page = page(&query)?;
    let pattern = path_of(query.path, query.path_b64.as_deref())?.unwrap_or_default();
    Ok(Answer(state.hub.with_session(&id, move |session| session.glob(&pattern, page)).await?))
}

/// Everything about one file of a restore session
#[utoipa::path(get, path = "/api/v1/restore/{mount_id}/file-info", operation_id = "file_info", tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id"), PathQuery),
    responses(
        (status = 200, description = "The file", body = FileInfo),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn file_info(
    _: Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Query(query): Query<PathQuery>,
) -> Result<Answer<FileInfo>> {
    let follow = !query.no_follow.unwrap_or(false);
    let path = needed_path(query)?;
    Ok(Answer(state.hub.with_session(&id, move |session| session.info(&path, follow)).await?))
}

/// Download a file of a restore session
///
/// Streamed; a range of bytes may be asked for (RFC 9110, section 14), and the ETag of an earlier answer compared.
#[utoipa::path(get, path = "/api/v1/restore/{mount_id}/download", operation_id = "download_file", tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id"), PathQuery),
    responses(
        (status = 200, description = "The file's bytes", content_type = "*/*"),
        (status = 206, description = "Those that were asked for", content_type = "*/*"),
        (status = 304, description = "It is what the caller has"),
        (status = 416, description = "The file has no such range"),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn download_file(
    Restorer(claim): Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Query(query): Query<PathQuery>,
    headers: HeaderMap,
) -> Result<Response> {
    let path = needed_path(query)?;
    claim.note.detail(String::from_utf8_lossy(&path));
    let file = state.hub.with_session(&id, move |session| session.open_file(&path)).await?;
    download::respond(file, &headers).await
}
