//! The query parts of routes. Unknown parameters are refused by name.

use crate::schema;
use jiff::Timestamp;
use model::{BackupId, BackupType, JobType, Status, VmName};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use utoipa::IntoParams;

/// How long a page is where nothing is said.
pub const DEFAULT_LIMIT: u32 = 100;

/// How long a page may be.
pub const MAX_LIMIT: u32 = 1000;

/// How many may be skipped; nothing has as many.
pub const MAX_OFFSET: u64 = 1_000_000_000_000;

/// `GET /backups`: everything given must match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BackupQuery {
    /// Of that VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::VmName>, inline)]
    pub vm_name: Option<String>,
    /// Of the VM of that context id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::ContextId>, inline)]
    pub vm_context_id: Option<String>,
    /// In that repository: its id or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::RepositoryId>, inline)]
    pub repository_id: Option<String>,
    /// Of that type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::BackupType>, inline)]
    pub backup_type: Option<BackupType>,
    /// In that state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Status>, inline)]
    pub status: Option<Status>,
    /// With that label: `key` or `key=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Accepted at that moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Accepted at that moment or earlier.
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

/// `GET /jobs`: everything given must match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct JobQuery {
    /// Of that kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::JobType>, inline)]
    pub job_type: Option<JobType>,
    /// In that state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Status>, inline)]
    pub status: Option<Status>,
    /// About that backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::BackupId>, inline)]
    pub backup_id: Option<BackupId>,
    /// How many at most: 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1000)]
    pub limit: Option<u32>,
    /// How many to skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1_000_000_000_000_u64)]
    pub offset: Option<u64>,
}

/// A page of a list: `GET /vms`, `/repositories`, `/auth/users`, `/restore/mounts`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// How many at most: 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1000)]
    pub limit: Option<u32>,
    /// How many to skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1_000_000_000_000_u64)]
    pub offset: Option<u64>,
}

/// `DELETE /vms`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VmNameQuery {
    /// Which VM.
    #[param(value_type = schema::VmName, inline)]
    pub vm_name: VmName,
}

/// `GET /backups/resolve`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AddressQuery {
    /// An id, a unique prefix of one, `latest`, `latest~2`, `VM@latest`, `VM@2025-10-06`.
    #[param(min_length = 1)]
    pub address: String,
    /// Only points of that VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::VmName>, inline)]
    pub vm_name: Option<String>,
    /// The time zone that days and hours without one are meant in: an IANA name; UTC unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tz: Option<String>,
}

/// `GET /backups/{vm_name}/chain`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChainQuery {
    /// Which disk; the first unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// In which repository: its id or name. Where left out, the one with the VM's latest point.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::RepositoryId>, inline)]
    pub repository_id: Option<String>,
}

/// `DELETE /backups/{id}`. A flag is set by its name alone (`?cascade`) as by `?cascade=true`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DeleteQuery {
    /// Delete what is built on it too.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_not")]
    pub cascade: bool,
    /// Give its data to what is built on it, and delete only it.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_not")]
    pub merge: bool,
    /// Only say what would be done.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_not")]
    pub dry_run: bool,
}

pub(crate) fn is_not(flag: &bool) -> bool {
    !flag
}

pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    deserializer.deserialize_any(Flag)
}

/// Takes the words of a query, and what JSON has.
struct Flag;

impl Visitor<'_> for Flag {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<bool, E> {
        Ok(value)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        match text {
            "" | "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            other => Err(E::invalid_value(Unexpected::Str(other), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_set_by_its_name_alone() {
        let read = |query: &str| serde_urlencoded::from_str::<DeleteQuery>(query);
        let cascade = DeleteQuery { cascade: true, ..DeleteQuery::default() };
        for query in ["cascade", "cascade=true", "cascade=1&merge=false"] {
            assert_eq!(read(query), Ok(cascade), "{query}");
        }
        assert_eq!(read(""), Ok(DeleteQuery::default()));
        assert!(read("cascade=maybe").is_err());
        assert!(read("casacde").is_err());
        assert_eq!(serde_urlencoded::to_string(cascade).unwrap(), "cascade=true");
        assert_eq!(serde_json::from_str::<DeleteQuery>("{\"cascade\":true}").unwrap(), cascade);
    }
}
