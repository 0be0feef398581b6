//! `/repositories`: where backups are kept.

use crate::caller::{Admin, Operator, Viewer};
use crate::extract::{Json, Part, Path, Query};
use crate::failure::Result;
use crate::state::State;
use api::{
    ApiError, CreateRepository, ErrorBody, ErrorCode, PageQuery, PatchRepository, Repository,
    RepositoryAnswer, RepositoryDeleted, RepositoryList, RepositoryStorage, ScanReport, StorageAnswer,
    TestReport, TestRepository,
};
use axum::extract::State as Shared;
use axum::{Json as Answer, http::StatusCode};
use hub::RepositoryStatus;
use model::{RepositoryId, shell_word};
use std::cmp::Reverse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(create, list))
        .routes(routes!(test))
        .routes(routes!(show, patch, delete))
        .routes(routes!(storage))
        .routes(routes!(scan))
}

/// The wire's object.
fn object(status: &RepositoryStatus) -> Repository {
    Repository::new(&status.repository, status.space, status.backup_count)
}

fn answer(status: &RepositoryStatus) -> Answer<RepositoryAnswer> {
    Answer(RepositoryAnswer { success: true, repository: object(status) })
}

/// Create a repository
///
/// A folder that was a repository before is taken up again under its old id.
#[utoipa::path(post, path = "/api/v1/repositories", operation_id = "create_repository", tag = "repositories",
    request_body = CreateRepository,
    responses(
        (status = 201, description = "The repository", body = RepositoryAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn create(
    Admin(claim): Admin,
    Shared(state): Shared<State>,
    Json(request): Json<CreateRepository>,
) -> Result<(StatusCode, Answer<RepositoryAnswer>)> {
    claim.note.object(&request.name);
    let made = state.hub.create_repository(request).await?;
    Ok((StatusCode::CREATED, answer(&made)))
}

/// List repositories
#[utoipa::path(get, path = "/api/v1/repositories", operation_id = "list_repositories", tag = "repositories",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of them, newest first", body = RepositoryList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn list(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<RepositoryList>> {
    let part = Part::of(&query)?;
    let mut all = state.hub.repositories().await?;
    all.sort_by_key(|status| Reverse(status.repository.created_at));
    let (page, total) = part.cut(all);
    let only = claim.only();
    let mut repositories = Vec::with_capacity(page.len());
    for status in page {
        repositories.push(object(&state.hub.seen_by(status, only.as_deref()).await?));
    }
    Ok(Answer(RepositoryList { success: true, repositories, total }))
}

/// Show a repository
#[utoipa::path(get, path = "/api/v1/repositories/{id}", operation_id = "show_repository", tag = "repositories",
    params(("id" = inline(api::schema::RepositoryId), Path, description = "The repository's id or name")),
    responses(
        (status = 200, description = "The repository", body = RepositoryAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn show(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<RepositoryId>,
) -> Result<Answer<RepositoryAnswer>> {
    let status = state.hub.repository(id.as_str()).await?;
    Ok(answer(&state.hub.seen_by(status, claim.only().as_deref()).await?))
}

/// Change a repository's settings
///
/// Only what is named changes.
#[utoipa::path(patch, path = "/api/v1/repositories/{id}", operation_id = "patch_repository", tag = "repositories",
    params(("id" = inline(api::schema::RepositoryId), Path, description = "The repository's id or name")),
    request_body = PatchRepository,
    responses(
        (status = 200, description = "The repository as it is now", body = RepositoryAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn patch(
    _: Admin,
    Shared(state): Shared<State>,
    Path(id): Path<RepositoryId>,
    Json(patch): Json<PatchRepository>,
) -> Result<Answer<RepositoryAnswer>> {
    Ok(answer(&state.hub.update_repository(id.as_str(), patch).await?))
}

/// Forget a repository
///
/// Refused while it holds backups. The folder stays.
#[utoipa::path(delete, path = "/api/v1/repositories/{id}", operation_id = "delete_repository", tag = "repositories",
    params(("id" = inline(api::schema::RepositoryId), Path, description = "The repository's id or name")),
    responses(
        (status = 200, description = "It is forgotten", body = RepositoryDeleted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn delete(
    _: Admin,
    Shared(state): Shared<State>,
    Path(id): Path<RepositoryId>,
) -> Result<Answer<RepositoryDeleted>> {
    let repository_id = state.hub.delete_repository(id.as_str()).await?.id;
    let message = "Repository deleted successfully; its folder is left as it is".to_owned();
    Ok(Answer(RepositoryDeleted { success: true, message, repository_id }))
}

/// Show the room of a repository
#[utoipa::path(get, path = "/api/v1/repositories/{id}/storage", operation_id = "show_storage", tag = "repositories",
    params(("id" = inline(api::schema::RepositoryId), Path, description = "The repository's id or name")),
    responses(
        (status = 200, description = "The room", body = StorageAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn storage(
    Viewer(claim): Viewer,
    Shared(state): Shared<State>,
    Path(id): Path<RepositoryId>,
) -> Result<Answer<StorageAnswer>> {
    let status = state.hub.repository(id.as_str()).await?;
    let status = state.hub.seen_by(status, claim.only().as_deref()).await?;
    let Some(space) = status.space else {
        let message = format!("repository {} can't be reached", status.repository.name);
        return Err(ApiError::new(ErrorCode::RepositoryUnavailable, message)
            .hint(format!(
                "see what is wrong: sendense-ctl repo test {}",
                shell_word(status.repository.name.as_str())
            ))
            .into());
    };
    let storage = RepositoryStorage {
        repository_id: status.repository.id.clone(),
        total_size_bytes: space.total,
        used_size_bytes: space.total.saturating_sub(space.available),
        available_size_bytes: space.available,
        reserve_bytes: status.reserve_bytes(),
        backups_size_bytes: status.backups_size_bytes,
        backup_count: status.backup_count,
    };
    Ok(Answer(StorageAnswer { success: true, storage }))
}

/// Test a repository, or a config that is not saved yet
///
/// 200 whether all is well or not; `success` says.
#[utoipa::path(post, path = "/api/v1/repositories/test", operation_id = "test_repository", tag = "repositories",
    request_body = TestRepository,
    responses(
        (status = 200, description = "What was found", body = TestReport),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn test(
    _: Operator,
    Shared(state): Shared<State>,
    Json(request): Json<TestRepository>,
) -> Result<Answer<TestReport>> {
    Ok(Answer(state.hub.test_repository(request).await?))
}

/// Bring the catalog in line with what a repository holds
#[utoipa::path(post, path = "/api/v1/repositories/{id}/scan", operation_id = "scan_repository", tag = "repositories",
    params(("id" = inline(api::schema::RepositoryId), Path, description = "The repository's id or name")),
    responses(
        (status = 200, description = "What was found and done", body = ScanReport),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn scan(
    _: Operator,
    Shared(state): Shared<State>,
    Path(id): Path<RepositoryId>,
) -> Result<Answer<ScanReport>> {
    Ok(Answer(state.hub.scan_repository(id.as_str()).await?))
}
