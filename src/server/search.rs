//! `/search` and `/backups/{a}/diff/{b}`: what may take long and is told line by line.
//!
//! Who accepts `application/x-ndjson` gets a stream of JSON objects, one a line, with an empty line every 15 seconds at
//! the latest; everyone else a page, for which the hub works a limited time. A client that goes away ends the work.

use crate::caller::{Claim, Restorer};
use crate::extract::{Json, Path, Query, limit, offset};
use crate::failure::Result;
use crate::state::State;
use api::{
    ApiError, DEFAULT_SEARCH_SECONDS, DiffAnswer, DiffLine, DiffQuery, DiffRequest, DiffSummary, ErrorBody,
    FileChange, FoundFile, NDJSON, SearchAnswer, SearchLine, SearchQuery, SearchRequest, SearchSummary,
    Unsearched,
};
use axum::Json as Answer;
use axum::body::{Body, Bytes};
use axum::extract::State as Shared;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};
use hub::Lines;
use model::BackupId;
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long a stream may be silent.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a page may be worked on at most.
const MAX_SECONDS: u64 = 3600;
/// Paths that are held to be put in order for a page.
const MAX_FILES: usize = 100_000;
/// Problems that are told with a page.
const MAX_ERRORS: usize = 100;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(search_files, search_files_with_keys))
        .routes(routes!(diff, diff_with_keys))
}

/// Find files across restore points
///
/// Which of the points hold which version of what matches. As a page, or, where `application/x-ndjson` is accepted, as
/// a stream without limits. A page that could not be finished in time is `truncated`.
#[utoipa::path(get, path = "/api/v1/search/files", operation_id = "search_files", tag = "restore",
    params(SearchQuery),
    responses(
        (status = 200, description = "What was found", content(
            (SearchAnswer = "application/json"), (SearchLine = "application/x-ndjson"))),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn search_files(
    Restorer(claim): Restorer,
    shared: Shared<State>,
    headers: HeaderMap,
    Query(query): Query<SearchQuery>,
) -> Result<Response> {
    search(&shared.0, &claim, &headers, SearchRequest { query, keys_b64: Vec::new() }).await
}

/// Find files across restore points with encrypted volumes
///
/// The same, with keys, which are in no URL.
#[utoipa::path(post, path = "/api/v1/search/files", operation_id = "search_files_with_keys", tag = "restore",
    request_body = SearchRequest,
    responses(
        (status = 200, description = "What was found", content(
            (SearchAnswer = "application/json"), (SearchLine = "application/x-ndjson"))),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn search_files_with_keys(
    Restorer(claim): Restorer,
    shared: Shared<State>,
    headers: HeaderMap,
    Json(request): Json<SearchRequest>,
) -> Result<Response> {
    search(&shared.0, &claim, &headers, request).await
}

async fn search(
    state: &State,
    claim: &Claim,
    headers: &HeaderMap,
    request: SearchRequest,
) -> Result<Response> {
    let SearchRequest { query, keys_b64 } = request;
    let (limit, offset) = (limit(query.limit)?, offset(query.offset)?);
    let deadline = deadline(query.timeout_seconds)?;
    let question =
        SearchQuery { limit: None, offset: None, timeout_seconds: None, cursor: None, ..query.clone() };
    let only = claim.only();
    // What one caller has found is not shown to another who may see other VMs.
    let asked = question_of(&(&question, &only))?;
    if let Some(cursor) = query.cursor.as_deref().filter(|_| !wants_lines(headers))
        && let Some((files, answer)) = state.kept.page(cursor, &asked, offset, limit)
    {
        let cursor = Some(cursor.to_owned());
        let answer: SearchAnswer = SearchAnswer { files, limit, offset, cursor, ..answer };
        return Ok(Answer(answer).into_response());
    }
    let mut lines = state.hub.search(question, &keys_b64, only.as_deref()).await?;
    if wants_lines(headers) {
        return Ok(respond(lines));
    }
    let mut files: Vec<FoundFile> = Vec::new();
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let mut statistics = SearchSummary { truncated: true, ..SearchSummary::default() };
    while files.len() < MAX_FILES
        && let Ok(Some(line)) = timeout_at(deadline, lines.next()).await
    {
        match line {
            SearchLine::Match(file) => files.push(*file),
            SearchLine::Error(error) => keep(&mut errors, error),
            SearchLine::Warning { message } => warnings.push(message),
            SearchLine::Status(status) => {
                statistics.points_searched = status.points_done;
                statistics.entries = status.entries;
                statistics.bytes_read = status.bytes_read;
            }
            SearchLine::Summary(summary) => statistics = summary,
            SearchLine::Fatal(body) => return Err(body.into_error(500).into()),
        }
    }
    files.sort_by(|a, b| (&a.vm_name, &a.path, &a.path_b64).cmp(&(&b.vm_name, &b.path, &b.path_b64)));
    let total = files.len() as u64;
    statistics.files = total;
    let mut answer = SearchAnswer {
        success: true,
        files: Vec::new(),
        total,
        limit,
        offset,
        cursor: None,
        truncated: statistics.truncated,
        errors,
        warnings,
        statistics,
    };
    if offset.saturating_add(u64::from(limit)) < total {
        answer.cursor = state.kept.keep(asked, &files, &answer);
    }
    answer.files = page_of(files, offset, limit);
    Ok(Answer(answer).into_response())
}

/// A question as it is told from others.
fn question_of(question: &impl Serialize) -> Result<String> {
    serde_json::to_string(question)
        .map_err(|error| hub::Error::Internal(format!("a question can't be written: {error}")).into())
}

fn page_of<T>(all: Vec<T>, offset: u64, limit: u32) -> Vec<T> {
    all.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(limit as usize).collect()
}

/// Compare two restore points
///
/// What was added, removed and changed from the first to the second, by path; of the same VM or not. As a page, or,
/// where `application/x-ndjson` is accepted, as a stream without limits. A page that could not be finished in time is
/// `truncated`.
#[utoipa::path(get, path = "/api/v1/backups/{a}/diff/{b}", operation_id = "diff_backups", tag = "restore",
    params(
        ("a" = inline(api::schema::BackupId), Path, description = "The first point's id"),
        ("b" = inline(api::schema::BackupId), Path, description = "The second point's id"),
        DiffQuery),
    responses(
        (status = 200, description = "The differences", content(
            (DiffAnswer = "application/json"), (DiffLine = "application/x-ndjson"))),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn diff(
    Restorer(claim): Restorer,
    shared: Shared<State>,
    headers: HeaderMap,
    Path(points): Path<(BackupId, BackupId)>,
    Query(query): Query<DiffQuery>,
) -> Result<Response> {
    compare(&shared.0, &claim, &headers, points, DiffRequest { query, keys_b64: Vec::new() }).await
}

/// Compare two restore points with encrypted volumes
///
/// The same, with keys, which are in no URL.
#[utoipa::path(post, path = "/api/v1/backups/{a}/diff/{b}", operation_id = "diff_backups_with_keys",
    tag = "restore",
    params(
        ("a" = inline(api::schema::BackupId), Path, description = "The first point's id"),
        ("b" = inline(api::schema::BackupId), Path, description = "The second point's id")),
    request_body = DiffRequest,
    responses(
        (status = 200, description = "The differences", content(
            (DiffAnswer = "application/json"), (DiffLine = "application/x-ndjson"))),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn diff_with_keys(
    Restorer(claim): Restorer,
    shared: Shared<State>,
    headers: HeaderMap,
    Path(points): Path<(BackupId, BackupId)>,
    Json(request): Json<DiffRequest>,
) -> Result<Response> {
    compare(&shared.0, &claim, &headers, points, request).await
}

async fn compare(
    state: &State,
    claim: &Claim,
    headers: &HeaderMap,
    (before, after): (BackupId, BackupId),
    request: DiffRequest,
) -> Result<Response> {
    let DiffRequest { query, keys_b64 } = request;
    let (limit, offset) = (limit(query.limit)?, offset(query.offset)?);
    let deadline = deadline(query.timeout_seconds)?;
    let question =
        DiffQuery { limit: None, offset: None, timeout_seconds: None, cursor: None, ..query.clone() };
    let asked = question_of(&(&before, &after, &question, claim.only()))?;
    if let Some(cursor) = query.cursor.as_deref().filter(|_| !wants_lines(headers))
        && let Some((changes, answer)) = state.kept.page(cursor, &asked, offset, limit)
    {
        let cursor = Some(cursor.to_owned());
        let answer: DiffAnswer = DiffAnswer { changes, limit, offset, cursor, ..answer };
        return Ok(Answer(answer).into_response());
    }
    let mut lines = state.hub.diff(&before, &after, question, &keys_b64).await?;
    if wants_lines(headers) {
        return Ok(respond(lines));
    }
    // As many as are kept; what comes behind them is counted, and found again where somebody wants to see it.
    let (mut first, mut page): (Vec<FileChange>, Vec<FileChange>) = (Vec::new(), Vec::new());
    let (mut errors, mut warnings, mut total) = (Vec::new(), Vec::new(), 0);
    let mut summary = DiffSummary { truncated: true, ..DiffSummary::default() };
    while let Ok(Some(line)) = timeout_at(deadline, lines.next()).await {
        match line {
            DiffLine::Change(change) => {
                total += 1;
                if total > offset && page.len() < limit as usize {
                    page.push((*change).clone());
                }
                if first.len() < MAX_FILES {
                    first.push(*change);
                }
            }
            DiffLine::Error(error) => keep(&mut errors, error),
            DiffLine::Warning { message } => warnings.push(message),
            DiffLine::Status(_) => {}
            DiffLine::Summary(ended) => summary = *ended,
            DiffLine::Fatal(body) => return Err(body.into_error(500).into()),
        }
    }
    let mut answer = DiffAnswer {
        success: true,
        before,
        after,
        changes: Vec::new(),
        total,
        limit,
        offset,
        cursor: None,
        truncated: summary.truncated,
        errors,
        warnings,
        summary,
    };
    if first.len() as u64 == total && offset.saturating_add(u64::from(limit)) < total {
        answer.cursor = state.kept.keep(asked, &first, &answer);
    }
    answer.changes = page;
    Ok(Answer(answer).into_response())
}

fn keep(errors: &mut Vec<Unsearched>, error: Unsearched) {
    if errors.len() < MAX_ERRORS {
        errors.push(error);
    }
}

/// When a page is to be answered.
fn deadline(asked: Option<u64>) -> Result<Instant> {
    let seconds = asked.unwrap_or(DEFAULT_SEARCH_SECONDS);
    if !(1..=MAX_SECONDS).contains(&seconds) {
        let reason = format!("timeout_seconds: {seconds} is not from 1 to {MAX_SECONDS}");
        return Err(ApiError::invalid("timeout_seconds", reason).into());
    }
    Ok(Instant::now() + Duration::from_secs(seconds))
}

fn wants_lines(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(NDJSON)
    })
}

/// Lines as they come.
fn respond<T: Serialize + Send + 'static>(lines: Lines<T>) -> Response {
    let frames = stream::unfold(lines, |mut lines| async move {
        let text = match tokio::time::timeout(KEEP_ALIVE, lines.next()).await {
            Ok(Some(line)) => match serde_json::to_string(&line) {
                Ok(text) => text + "\n",
                Err(error) => {
                    tracing::error!("a line can't be written: {error}");
                    return None;
                }
            },
            Ok(None) => return None,
            Err(_) => "\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(Bytes::from(text)), lines))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
