//! Who makes a request, as an extension of it.
//!
//! A transport that knows its peer puts a [`Caller`] into the request's extensions; the router refuses
//! requests that have none. Extensions are not part of the wire, so nobody can send one. In-process the
//! peer is the program itself: admin. How a token or a socket's peer becomes a caller is not here.

use serde::{Deserialize, Serialize};

/// What a caller may do; each role includes the ones before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May look.
    Viewer,
    /// May restore too.
    Restorer,
    /// May back up, delete and change VMs too.
    Operator,
    /// May do everything.
    Admin,
}

/// The peer of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What it may do.
    pub role: Role,
}

impl Caller {
    /// The program that the hub is embedded in.
    pub fn embedded() -> Self {
        Caller { role: Role::Admin }
    }
}
