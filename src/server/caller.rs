//! Who may call what: a handler names the least role as an argument.
//!
//! The transport knows its peer and puts an [`api::Caller`] into the request; one without is refused with
//! 401, one whose role is too low with 403. There is no handler without such an argument but for health and
//! the OpenAPI document; a test walks the document to prove it. How a token or a socket's peer becomes a
//! caller is the transport's, not here.

use crate::failure::Failure;
use api::{ApiError, Caller, ErrorCode, Role};
use axum::extract::FromRequestParts;
use http::request::Parts;

macro_rules! roles {
    ($($(#[$meta:meta])* $name:ident = $role:expr;)+) => {$(
        $(#[$meta])*
        pub(crate) struct $name;

        impl<S: Sync> FromRequestParts<S> for $name {
            type Rejection = Failure;

            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
                check(parts, $role).map(|()| $name)
            }
        }
    )+};
}

roles! {
    /// The caller may look.
    Viewer = Role::Viewer;
    /// The caller may restore.
    Restorer = Role::Restorer;
    /// The caller may back up, delete, and change VMs.
    Operator = Role::Operator;
    /// The caller may do everything.
    Admin = Role::Admin;
}

fn check(parts: &Parts, least: Role) -> Result<(), Failure> {
    match parts.extensions.get::<Caller>() {
        Some(caller) if caller.role >= least => Ok(()),
        Some(caller) => Err(ApiError::new(
            ErrorCode::Forbidden,
            format!("this needs the role {least:?}, and the caller's is {:?}", caller.role).to_lowercase(),
        )
        .hint("ask an administrator of the hub")
        .into()),
        None => Err(ApiError::new(ErrorCode::Unauthorized, "this needs credentials")
            .hint("log in first: sendense-ctl hub login")
            .into()),
    }
}
