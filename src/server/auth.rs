//! `/auth`: logging in and out, users, API tokens; and `/audit`.

use crate::caller::{Admin, Viewer};
use crate::extract::{Json, Part, Path, Query, limit, offset};
use crate::failure::{Failure, Result};
use crate::guard::Note;
use crate::state::State;
use api::{
    AuditList, AuditQuery, ChangePassword, CreateToken, CreateUser, ErrorBody, LoggedIn, Login, PageQuery,
    PatchUser, Peer, Success, TokenCreated, TokenList, TokenQuery, TokenRevoked, UserAnswer, UserDeleted,
    UserList, Who, WhoAmI,
};
use axum::extract::State as Shared;
use axum::{Extension, Json as Answer, http::StatusCode};
use model::UserName;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::default()
        .routes(routes!(login))
        .routes(routes!(logout))
        .routes(routes!(whoami))
        .routes(routes!(password))
        .routes(routes!(users, create_user))
        .routes(routes!(patch_user, delete_user))
        .routes(routes!(tokens, create_token))
        .routes(routes!(revoke_token))
        .routes(routes!(audit))
}

/// Log in
///
/// Needs no credentials. The token goes with every further request, as `Authorization: Bearer TOKEN`, and is valid for
/// `auth.login_lifetime`. Who fails several times has to wait (429, or 423 where the user is locked), as long as
/// `Retry-After` says.
#[utoipa::path(post, path = "/api/v1/auth/login", operation_id = "login", tag = "auth", request_body = Login,
    security(()),
    responses(
        (status = 200, description = "The token", body = LoggedIn),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn login(
    peer: Option<Extension<Peer>>,
    Extension(note): Extension<Note>,
    Shared(state): Shared<State>,
    Json(request): Json<Login>,
) -> Result<Answer<LoggedIn>> {
    let peer = peer.map_or(Peer::Process, |Extension(peer)| peer);
    let done = state.hub.login(&request, peer).await;
    // Only names of users: a password that was written into the wrong field is in no log.
    let tried = match &done {
        Ok(_) => Some(request.username.as_str()),
        Err(hub::Error::WrongPassword { user: Some(user) }) => Some(user.as_str()),
        Err(hub::Error::WrongPassword { user: None }) => Some("unknown"),
        Err(_) => None,
    };
    match tried {
        Some(user) => {
            note.actor(user);
            note.object(user);
        }
        None => note.skip(),
    }
    Ok(Answer(done?))
}

/// Log out
///
/// The token of this request is not valid any more.
#[utoipa::path(post, path = "/api/v1/auth/logout", operation_id = "logout", tag = "auth",
    responses(
        (status = 200, description = "Logged out", body = Success),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn logout(Viewer(claim): Viewer, Shared(state): Shared<State>) -> Result<Answer<Success>> {
    claim.note.object(&claim.caller.who);
    state.hub.logout(&claim.caller).await?;
    Ok(Answer(Success { success: true }))
}

/// Who makes this request
#[utoipa::path(get, path = "/api/v1/auth/whoami", operation_id = "whoami", tag = "auth",
    responses(
        (status = 200, description = "The caller", body = WhoAmI),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn whoami(Viewer(claim): Viewer) -> Answer<WhoAmI> {
    let vms = claim.only();
    let caller = claim.caller;
    let username = match &caller.who {
        Who::User { name, .. } => Some(name.to_string()),
        Who::Local { .. } | Who::Token { .. } => None,
    };
    let name = caller.who.to_string();
    Answer(WhoAmI { username, name, role: caller.role, vms, expires_at: caller.expires_at })
}

/// Change the own password
///
/// For users who have logged in. All of their logins end, this one too.
#[utoipa::path(post, path = "/api/v1/auth/password", operation_id = "change_password", tag = "auth",
    request_body = ChangePassword,
    responses(
        (status = 200, description = "Changed", body = Success),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn password(
    Viewer(claim): Viewer,
    peer: Option<Extension<Peer>>,
    Shared(state): Shared<State>,
    Json(request): Json<ChangePassword>,
) -> Result<Answer<Success>> {
    claim.note.object(&claim.caller.who);
    let peer = peer.map_or(Peer::Process, |Extension(peer)| peer);
    state.hub.change_password(&claim.caller, &request, peer).await.map_err(wrong_field)?;
    Ok(Answer(Success { success: true }))
}

/// A wrong password of somebody who is logged in is a wrong field, not a lack of credentials.
fn wrong_field(error: hub::Error) -> Failure {
    match error {
        hub::Error::WrongPassword { .. } => {
            api::ApiError::invalid("current_password", "current_password: it is wrong").into()
        }
        other => other.into(),
    }
}

/// List users
#[utoipa::path(get, path = "/api/v1/auth/users", operation_id = "list_users", tag = "auth", params(PageQuery),
    responses(
        (status = 200, description = "A page of them, newest first", body = UserList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn users(
    _: Admin,
    Shared(state): Shared<State>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<UserList>> {
    let part = Part::of(&query)?;
    let (users, total) = part.cut(state.hub.users().await?);
    Ok(Answer(UserList { success: true, users, total }))
}

/// Add a user
#[utoipa::path(post, path = "/api/v1/auth/users", operation_id = "create_user", tag = "auth",
    request_body = CreateUser,
    responses(
        (status = 201, description = "The user", body = UserAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn create_user(
    Admin(claim): Admin,
    Shared(state): Shared<State>,
    Json(request): Json<CreateUser>,
) -> Result<(StatusCode, Answer<UserAnswer>)> {
    claim.note.object(&request.name);
    claim.note.detail(format!("role {}", request.role));
    let user = state.hub.create_user(request).await?;
    Ok((StatusCode::CREATED, Answer(UserAnswer { success: true, user })))
}

/// Change a user
///
/// Only what is named changes. With another password all logins of theirs end; a user who is disabled loses every
/// token. The last administrator stays one.
#[utoipa::path(patch, path = "/api/v1/auth/users/{name}", operation_id = "patch_user", tag = "auth",
    params(("name" = inline(api::schema::UserName), Path, description = "The user's name")), request_body = PatchUser,
    responses(
        (status = 200, description = "The user as it is now", body = UserAnswer),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn patch_user(
    Admin(claim): Admin,
    Shared(state): Shared<State>,
    Path(name): Path<UserName>,
    Json(patch): Json<PatchUser>,
) -> Result<Answer<UserAnswer>> {
    let changes = [
        patch.role.map(|role| format!("role {role}")),
        patch.password.as_ref().map(|_| "another password".to_owned()),
        patch.disabled.map(|disabled| if disabled { "disabled" } else { "enabled" }.to_owned()),
    ];
    let changes: Vec<String> = changes.into_iter().flatten().collect();
    claim.note.detail(changes.join(", "));
    let user = state.hub.change_user(&name, patch).await?;
    Ok(Answer(UserAnswer { success: true, user }))
}

/// Remove a user
///
/// All of their tokens are revoked. The last administrator stays.
#[utoipa::path(delete, path = "/api/v1/auth/users/{name}", operation_id = "delete_user", tag = "auth",
    params(("name" = inline(api::schema::UserName), Path, description = "The user's name")),
    responses(
        (status = 200, description = "They are gone", body = UserDeleted),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn delete_user(
    _: Admin,
    Shared(state): Shared<State>,
    Path(name): Path<UserName>,
) -> Result<Answer<UserDeleted>> {
    state.hub.remove_user(&name).await?;
    let message = "User removed successfully; all tokens of theirs are revoked".to_owned();
    Ok(Answer(UserDeleted { success: true, message, name }))
}

/// List tokens
///
/// Those of logins and of programs, newest first; everything given must match. The tokens themselves are shown to nobody.
#[utoipa::path(get, path = "/api/v1/auth/tokens", operation_id = "list_tokens", tag = "auth", params(TokenQuery),
    responses(
        (status = 200, description = "A page of them", body = TokenList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn tokens(
    _: Admin,
    Shared(state): Shared<State>,
    Query(mut query): Query<TokenQuery>,
) -> Result<Answer<TokenList>> {
    let limit = limit(query.limit)?;
    query.limit = Some(limit);
    let offset = offset(query.offset)?;
    let (tokens, total) = state.hub.tokens(&query).await?;
    Ok(Answer(TokenList { success: true, tokens, total, limit, offset }))
}

/// Make a token for a program
///
/// The answer has the token, which is shown here and never again. It does no more than who has made it may do at any
/// time, and ends with them.
#[utoipa::path(post, path = "/api/v1/auth/tokens", operation_id = "create_token", tag = "auth",
    request_body = CreateToken,
    responses(
        (status = 201, description = "The token", body = TokenCreated),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn create_token(
    Admin(claim): Admin,
    Shared(state): Shared<State>,
    Json(request): Json<CreateToken>,
) -> Result<(StatusCode, Answer<TokenCreated>)> {
    claim.note.object(&request.name);
    claim.note.detail(format!("role {}", request.role));
    let made = state.hub.create_token(request, &claim.caller).await?;
    Ok((StatusCode::CREATED, Answer(made)))
}

/// Revoke a token
///
/// Of a program or of a login. It is refused from now on.
#[utoipa::path(delete, path = "/api/v1/auth/tokens/{id}", operation_id = "revoke_token", tag = "auth",
    params(("id" = String, Path, description = "The token's id")),
    responses(
        (status = 200, description = "It is revoked", body = TokenRevoked),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn revoke_token(
    Admin(claim): Admin,
    Shared(state): Shared<State>,
    Path(id): Path<String>,
) -> Result<Answer<TokenRevoked>> {
    let name = state.hub.revoke_token(&id).await?;
    claim.note.detail(name);
    let message = "Token revoked successfully".to_owned();
    Ok(Answer(TokenRevoked { success: true, message, token_id: id }))
}

/// Read the audit log
///
/// Every change and every restore, also those that were refused, newest first; everything given must match.
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "read_audit_log", tag = "auth", params(AuditQuery),
    responses(
        (status = 200, description = "A page of it", body = AuditList),
        (status = "4XX", description = "Refused", body = ErrorBody),
        (status = "5XX", description = "Failed", body = ErrorBody)))]
pub(crate) async fn audit(
    _: Admin,
    Shared(state): Shared<State>,
    Query(mut query): Query<AuditQuery>,
) -> Result<Answer<AuditList>> {
    let limit = limit(query.limit)?;
    query.limit = Some(limit);
    let offset = offset(query.offset)?;
    let (entries, total) = state.hub.audit_log(&query).await?;
    Ok(Answer(AuditList { success: true, entries, total, limit, offset }))
}
