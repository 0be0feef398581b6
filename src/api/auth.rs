//! Logging in and out, who one is, and who may: users, API tokens, the audit log.
//!
//! Passwords and tokens are in requests and in the one answer that hands a token out, and nowhere else: what is shown for
//! debugging leaves them out.

use crate::query::flag;
use crate::schema;
use jiff::Timestamp;
use model::{Role, UserName, VmName};
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::{IntoParams, ToSchema};

/// `POST /auth/login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Who.
    pub username: String,
    /// The password.
    pub password: String,
}

/// The answer to `POST /auth/login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// What goes with every further request, as `Authorization: Bearer`.
    pub token: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// What may be done with it.
    #[schema(value_type = schema::Role)]
    pub role: Role,
}

/// `GET /auth/whoami`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhoAmI {
    /// The user, where the credentials are a user's.
    #[serde(default)]
    pub username: Option<String>,
    /// The same for a person: also what the token is called, or which user of the hub's machine it is.
    #[serde(default)]
    pub name: String,
    /// What the caller may do.
    #[schema(value_type = schema::Role)]
    pub role: Role,
    /// The only VMs that the token is for; all where left out.
    #[serde(default)]
    #[schema(value_type = Option<Vec<schema::VmName>>)]
    pub vms: Option<Vec<VmName>>,
    /// Until when the token is valid, where there is one.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// `POST /auth/password`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password until now.
    pub current_password: String,
    /// The password from now on: at least 12 characters.
    #[schema(min_length = 12, max_length = 1024)]
    pub new_password: String,
}

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The name.
    #[schema(value_type = schema::UserName, example = "admin")]
    pub name: UserName,
    /// What they may do.
    #[schema(value_type = schema::Role)]
    pub role: Role,
    /// True where they may not log in.
    pub disabled: bool,
    /// When they were added.
    pub created_at: Timestamp,
    /// When role, password or the like last changed.
    pub updated_at: Timestamp,
    /// When they last logged in.
    pub last_login_at: Option<Timestamp>,
}

/// `POST /auth/users`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// The name: small letters, digits, dots, dashes and underscores.
    #[schema(value_type = schema::UserName, example = "admin")]
    pub name: UserName,
    /// The password: at least 12 characters.
    #[schema(min_length = 12, max_length = 1024)]
    pub password: String,
    /// What they may do.
    #[schema(value_type = schema::Role)]
    pub role: Role,
    /// True to be refused where there is an administrator already.
    #[serde(default)]
    pub first: bool,
}

/// `PATCH /auth/users/{name}`: only what is named changes.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchUser {
    /// What they may do from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Role>)]
    pub role: Option<Role>,
    /// Another password. All logins of theirs end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 12, max_length = 1024)]
    pub password: Option<String>,
    /// True: they may no longer log in, and all of their tokens are revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserAnswer {
    /// True.
    pub success: bool,
    /// The user.
    pub user: User,
}

/// A page of the users, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserList {
    /// True.
    pub success: bool,
    /// The users.
    pub users: Vec<User>,
    /// How many there are.
    pub total: u64,
}

/// A user is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserDeleted {
    /// True.
    pub success: bool,
    /// For a person.
    pub message: String,
    /// Who it was.
    #[schema(value_type = schema::UserName)]
    pub name: UserName,
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenKind {
    /// A user who has logged in.
    Login,
    /// A program.
    Api,
}

/// Whether a token is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenState {
    /// It is.
    Valid,
    /// Its time is over.
    Expired,
    /// Somebody has revoked it.
    Revoked,
}

/// What is known of a token; never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// By which it is revoked.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub kind: TokenKind,
    /// Whether it is of use.
    pub state: TokenState,
    /// What may be done with it, as far as its user may do as much.
    #[schema(value_type = schema::Role)]
    pub role: Role,
    /// The only VMs that it is for; all where null.
    #[schema(value_type = Option<Vec<schema::VmName>>)]
    pub vms: Option<Vec<VmName>>,
    /// The user who has logged in, or made it.
    #[schema(value_type = Option<schema::UserName>)]
    pub username: Option<UserName>,
    /// Who has made it, also where that is no user.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// `POST /auth/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it is called, from 1 to 64 characters.
    #[schema(example = "nightly backup", min_length = 1, max_length = 64)]
    pub name: String,
    /// What may be done with it.
    #[schema(value_type = schema::Role)]
    pub role: Role,
    /// The only VMs that it is for; all where left out. Not for an administrator's token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<schema::VmName>>, min_items = 1, max_items = 1000)]
    pub vms: Option<Vec<VmName>>,
    /// When it ends: within ten years; in a year where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// A new token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// True.
    pub success: bool,
    /// The token. It is shown here and never again.
    pub token: String,
    /// What is known of it.
    pub api_token: Token,
}

/// `GET /auth/tokens`: everything given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct TokenQuery {
    /// Of that kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub kind: Option<TokenKind>,
    /// Of that user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::UserName>, inline)]
    pub username: Option<UserName>,
    /// Those that have ended or were revoked, too.
    #[serde(default, deserialize_with = "flag", skip_serializing_if = "crate::query::is_not")]
    #[param(required = false)]
    pub all: bool,
    /// How many at most: 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1000)]
    pub limit: Option<u32>,
    /// How many to skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1_000_000_000_000_u64)]
    pub offset: Option<u64>,
}

/// A page of tokens, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// True.
    pub success: bool,
    /// The tokens.
    pub tokens: Vec<Token>,
    /// How many match.
    pub total: u64,
    /// How many this page may have.
    pub limit: u32,
    /// How many were skipped.
    pub offset: u64,
}

/// A token is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenRevoked {
    /// True.
    pub success: bool,
    /// For a person.
    pub message: String,
    /// Which it was.
    pub token_id: String,
}

/// `GET /audit`: everything given must match.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditQuery {
    /// By that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Of that kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Done to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// At that moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// At that moment or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How many at most: 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1000)]
    pub limit: Option<u32>,
    /// How many to skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1_000_000_000_000_u64)]
    pub offset: Option<u64>,
}

/// One thing that was done, or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: a user, `token NAME`, `uid N` for a user of the hub's machine, `hub` for the hub itself.
    pub actor: String,
    /// From where: an address, `socket`, `process`; null for the hub itself.
    pub origin: Option<String>,
    /// What.
    pub action: String,
    /// To what.
    pub object: String,
    /// `ok`, or the error code that says why it was not done.
    pub outcome: Option<String>,
    /// More for a person.
    pub detail: Option<String>,
    /// The request's id.
    pub request_id: Option<String>,
}

/// A page of the audit log, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditList {
    /// True.
    pub success: bool,
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// How many match.
    pub total: u64,
    /// How many this page may have.
    pub limit: u32,
    /// How many were skipped.
    pub offset: u64,
}

/// Shows a type without its secrets.
macro_rules! debug {
    ($($name:ident: $($field:ident),*;)+) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    )+};
}

debug! {
    Login: username;
    LoggedIn: expires_at, role;
    ChangePassword:;
    CreateUser: name, role, first;
    PatchUser: role, disabled;
    TokenCreated: api_token;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_for_debugging() {
        let secret = "correct horse battery";
        let login = Login { username: "a".into(), password: secret.into() };
        let password = ChangePassword { current_password: secret.into(), new_password: secret.into() };
        let patch = PatchUser { password: Some(secret.into()), ..PatchUser::default() };
        let name = UserName::new("a").unwrap();
        let create = CreateUser { name, password: secret.into(), role: Role::Viewer, first: false };
        let logged_in =
            LoggedIn { token: secret.into(), expires_at: Timestamp::UNIX_EPOCH, role: Role::Viewer };
        let shown = format!("{login:?} {password:?} {patch:?} {create:?} {logged_in:?}");
        assert!(!shown.contains("horse"), "{shown}");
        assert!(shown.contains("CreateUser") && shown.contains("Viewer"), "{shown}");
    }
}
