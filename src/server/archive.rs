//! `/restore/{mount_id}`: many files at once, as archives, counts and contents.

use crate::browse::{needed_path, path_of};
use crate::caller::Restorer;
use crate::download::disposition;
use crate::extract::{Json, Path, Query};
use crate::failure::Result;
use crate::state::State;
use crate::stream;
use api::schema::Bytes;
use api::{
    ARCHIVE_HEADER, ArchiveProgress, CONTENTS_TYPE, ContentsRequest, DirectoryQuery, ErrorBody, FileCount,
    MakeArchive, PathQuery, Selection,
};
use axum::Json as Answer;
use axum::extract::State as Shared;
use axum::response::Response;
use http::{HeaderName, HeaderValue, header};
use hub::{ArchiveOrder, PreparedArchive};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(download_directory))
        .routes(routes!(make_archive))
        .routes(routes!(archive_progress))
        .routes(routes!(count_files))
        .routes(routes!(file_contents))
}

/// All words of a selection, exactly.
fn words(paths: Vec<String>, paths_b64: &[String]) -> Result<Vec<Vec<u8>>> {
    let mut words: Vec<Vec<u8>> = paths.into_iter().map(String::into_bytes).collect();
    for text in paths_b64 {
        words.extend(path_of(None, Some(text))?);
    }
    Ok(words)
}

fn answer(archive: PreparedArchive) -> Result<Response> {
    let headers = [
        (header::CONTENT_TYPE, archive.content_type().to_owned()),
        (header::CONTENT_DISPOSITION, disposition(&archive.name)),
        (HeaderName::from_static(ARCHIVE_HEADER), archive.id.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let mut response = Response::new(stream::body("archive", move |out| archive.write(out))?);
    for (name, value) in headers {
        // All values are made of visible ASCII here.
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

/// Download a folder of a restore session as an archive
///
/// Streamed while it is read. What can't be read is left out and told in `SENDENSE-REPORT.txt`, the archive's last
/// entry. Where a file can't be read on from its middle, the answer is cut off, so that no part is taken for the whole;
/// `/archives/{archive_id}` then tells which.
#[utoipa::path(get, path = "/api/v1/restore/{mount_id}/download-directory", operation_id = "download_directory",
    tag = "restore", params(("mount_id" = String, Path, description = "The session's id"), DirectoryQuery),
    responses(
        (status = 200, description = "The archive; its id in X-Sendense-Archive", content(
            (Bytes = "application/zip"), (Bytes = "application/x-tar"), (Bytes = "application/gzip"),
            (Bytes = "application/zstd"))),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn download_directory(
    Restorer(claim): Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Query(query): Query<DirectoryQuery>,
) -> Result<Response> {
    let path = needed_path(PathQuery { path: query.path, path_b64: query.path_b64, no_follow: None })?;
    claim.note.detail(String::from_utf8_lossy(&path));
    let order = ArchiveOrder {
        paths: vec![path],
        patterns: false,
        format: query.format.unwrap_or_default(),
        special: query.special.unwrap_or(false),
    };
    answer(state.hub.prepare_archive(&id, order).await?)
}

/// Download several files and folders of a restore session as one archive
///
/// As `download-directory`, of any number of paths and patterns. What is chosen stands side by side at the top of the
/// archive.
#[utoipa::path(post, path = "/api/v1/restore/{mount_id}/archive", operation_id = "make_archive", tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id")), request_body = MakeArchive,
    responses(
        (status = 200, description = "The archive; its id in X-Sendense-Archive", content(
            (Bytes = "application/zip"), (Bytes = "application/x-tar"), (Bytes = "application/gzip"),
            (Bytes = "application/zstd"))),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn make_archive(
    Restorer(claim): Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Json(request): Json<MakeArchive>,
) -> Result<Response> {
    let paths = words(request.paths, &request.paths_b64)?;
    let shown: Vec<_> = paths.iter().take(8).map(|path| String::from_utf8_lossy(path)).collect();
    claim.note.detail(shown.join(", "));
    let order = ArchiveOrder { paths, patterns: true, format: request.format, special: request.special };
    answer(state.hub.prepare_archive(&id, order).await?)
}

/// How far an archive is, or how it ended
#[utoipa::path(get, path = "/api/v1/restore/{mount_id}/archives/{archive_id}", operation_id = "archive_progress",
    tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id"),
        ("archive_id" = String, Path, description = "The archive's id, from X-Sendense-Archive")),
    responses(
        (status = 200, description = "As it is now", body = ArchiveProgress),
        (status = "4XX", description = "Refused", body = ErrorBody)))]
pub(crate) async fn archive_progress(
    _: Restorer,
    Shared(state): Shared<State>,
    Path((id, archive)): Path<(String, String)>,
) -> Result<Answer<ArchiveProgress>> {
    Ok(Answer(state.hub.archive_progress(&id, &archive).await?))
}

/// Count files of a restore session
///
/// Streamed as lines of JSON: the numbers so far, a few times a second, and at the end those of all (`done`).
#[utoipa::path(post, path = "/api/v1/restore/{mount_id}/count", operation_id = "count_files", tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id")), request_body = Selection,
    responses(
        (status = 200, description = "Lines of numbers", body = FileCount, content_type = "application/x-ndjson"),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn count_files(
    _: Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Json(request): Json<Selection>,
) -> Result<Response> {
    let count = state.hub.count(&id, words(request.paths, &request.paths_b64)?).await?;
    let mut response = Response::new(stream::body("count", move |out| count(out))?);
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Download the contents of many files of a restore session
///
/// Streamed one after the other, in frames: a byte that tells which (1 bytes of the file, 2 its end, 3 why it can't be
/// read), a length in four bytes, least significant first, and that many bytes.
#[utoipa::path(post, path = "/api/v1/restore/{mount_id}/contents", operation_id = "file_contents", tag = "restore",
    params(("mount_id" = String, Path, description = "The session's id")), request_body = ContentsRequest,
    responses(
        (status = 200, description = "The contents", content_type = "application/vnd.sendense.contents"),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn file_contents(
    Restorer(claim): Restorer,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
    Json(request): Json<ContentsRequest>,
) -> Result<Response> {
    claim.note.detail(format!("{} files", request.nodes.len()));
    let contents = state.hub.contents(&id, &request.nodes).await?;
    let send = move |out: &mut stream::Chunks| {
        contents.write(out).map_err(|error| hub::Error::Internal(error.to_string()))
    };
    let mut response = Response::new(stream::body("contents", send)?);
    let kind = HeaderValue::from_static(CONTENTS_TYPE);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
