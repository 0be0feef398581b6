//! Health, the list of endpoints, and the bare success.

use crate::schema;
use model::RepositoryId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An answer that says no more than that it worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Success {
    /// Always true.
    pub success: bool,
}

/// How a part of the hub is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceHealth {
    /// All works.
    Healthy,
    /// Some of it does not.
    Degraded,
    /// It does not.
    Unhealthy,
}

/// `GET /health`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The whole.
    pub status: ServiceHealth,
    /// The program's version.
    pub version: String,
    /// The catalog.
    pub catalog: ServiceHealth,
    /// Each repository.
    pub repositories: Vec<RepositoryHealth>,
    /// Since the hub was opened.
    pub uptime_seconds: u64,
}

/// How a repository is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryHealth {
    /// Which one.
    #[schema(value_type = schema::RepositoryId)]
    pub id: RepositoryId,
    /// Its name.
    #[schema(value_type = schema::RepositoryId)]
    pub name: RepositoryId,
    /// How it is.
    pub status: ServiceHealth,
}

/// `GET /debug/endpoints`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DebugEndpoints {
    /// Always true.
    pub success: bool,
    /// The list.
    pub debug_data: DebugData,
}

/// What `GET /debug/endpoints` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DebugData {
    /// Every route, by path.
    pub endpoints: Vec<Endpoint>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// In capitals.
    pub method: String,
    /// With its parameters in braces.
    pub path: String,
}
