//! Repositories over the wire.

use crate::schema;
use jiff::Timestamp;
use model::{RepositoryId, RepositoryType, Space};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A repository. Sizes in bytes; null where the place can't be reached now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Repository {
    /// Stable id, also kept in the repository itself.
    #[schema(value_type = schema::RepositoryId)]
    pub id: RepositoryId,
    /// Unique name.
    #[schema(value_type = schema::RepositoryId)]
    pub name: RepositoryId,
    /// Kind of storage.
    #[serde(rename = "type")]
    #[schema(value_type = schema::RepositoryType)]
    pub kind: RepositoryType,
    /// The same as `type`.
    #[schema(value_type = schema::RepositoryType)]
    pub repository_type: RepositoryType,
    /// Where it is, without secrets.
    pub config: RepositoryConfig,
    /// False where it takes no new backups.
    pub enabled: bool,
    /// True for the one that is used where none is named.
    pub default: bool,
    /// True where points can't be changed or deleted before their time.
    pub immutable: bool,
    /// What a backup must leave free; null for the built-in rule.
    pub reserve_bytes: Option<u64>,
    /// Size of the file system.
    pub total_size_bytes: Option<u64>,
    /// What may still be written.
    pub available_size_bytes: Option<u64>,
    /// What is taken, by whatever.
    pub used_size_bytes: Option<u64>,
    /// How many restore points it holds.
    pub backup_count: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings last changed.
    pub updated_at: Timestamp,
}

impl Repository {
    /// The object of a record; `space` is `None` where the place can't be reached.
    pub fn new(record: &model::Repository, space: Option<Space>, backup_count: u64) -> Self {
        Repository {
            id: record.id.clone(),
            name: record.name.clone(),
            kind: record.kind,
            repository_type: record.kind,
            config: RepositoryConfig { disk_path: Some(record.path.clone()), other: Map::new() },
            enabled: record.enabled,
            default: record.default,
            immutable: record.immutable,
            reserve_bytes: record.reserve_bytes,
            total_size_bytes: space.map(|space| space.total),
            available_size_bytes: space.map(|space| space.available),
            used_size_bytes: space.map(|space| space.total.saturating_sub(space.available)),
            backup_count,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// Where a repository is; which keys there are depends on its type.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryConfig {
    /// For `local`: the absolute path of its folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_path: Option<String>,
    /// The keys of other types.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub other: Map<String, Value>,
}

impl RepositoryConfig {
    /// The config of a local repository in that folder.
    pub fn local(path: impl Into<String>) -> Self {
        RepositoryConfig { disk_path: Some(path.into()), other: Map::new() }
    }
}

/// `POST /repositories`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRepository {
    /// Unique name.
    #[schema(value_type = schema::RepositoryId)]
    pub name: RepositoryId,
    /// Kind of storage.
    #[serde(rename = "type")]
    #[schema(value_type = schema::RepositoryType)]
    pub kind: RepositoryType,
    /// Where it is.
    pub config: RepositoryConfig,
    /// True where points can't be changed or deleted before their time.
    #[serde(default)]
    pub immutable: bool,
    /// True to use it where none is named.
    #[serde(default)]
    pub default: bool,
    /// What a backup must leave free; the built-in rule where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserve_bytes: Option<u64>,
}

/// `PATCH /repositories/{id}`: only what is named changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchRepository {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::RepositoryId>)]
    pub name: Option<RepositoryId>,
    /// False to take no new backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// True to use it where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// What a backup must leave free; null for the built-in rule.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::request::present")]
    #[schema(value_type = Option<u64>)]
    pub reserve_bytes: Option<Option<u64>>,
}

/// `POST /repositories/test`: one that is known, or a config not saved yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRepository {
    /// The known one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::RepositoryId>)]
    pub repository_id: Option<RepositoryId>,
    /// What the new one would be called; not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kind of storage of the new one.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::RepositoryType>)]
    pub kind: Option<RepositoryType>,
    /// Where the new one would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RepositoryConfig>,
}

/// What a test found: 200 whether all is well or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TestReport {
    /// True where every check is well.
    pub success: bool,
    /// One by one, in the order they were made; none follows one that makes it pointless.
    pub checks: Vec<Check>,
}

/// One check of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// `reachable`, `writable`, `space`, `speed` …
    pub name: String,
    /// True where it is well.
    pub ok: bool,
    /// What was found, for a person.
    pub detail: String,
}

/// An answer that is one repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryAnswer {
    /// Always true.
    pub success: bool,
    /// The repository.
    pub repository: Repository,
}

/// A page of the repositories.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryList {
    /// Always true.
    pub success: bool,
    /// Newest first.
    pub repositories: Vec<Repository>,
    /// How many there are.
    #[serde(default)]
    pub total: u64,
}

/// The answer to a removal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryDeleted {
    /// Always true.
    pub success: bool,
    /// What was done, for a person.
    pub message: String,
    /// Which one.
    #[schema(value_type = schema::RepositoryId)]
    pub repository_id: RepositoryId,
}

/// The room of a repository, in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryStorage {
    /// Which one.
    #[schema(value_type = schema::RepositoryId)]
    pub repository_id: RepositoryId,
    /// Size of the file system.
    pub total_size_bytes: u64,
    /// What is taken, by whatever.
    pub used_size_bytes: u64,
    /// What may still be written.
    pub available_size_bytes: u64,
    /// What a backup must leave free.
    pub reserve_bytes: u64,
    /// What the restore points' files take.
    pub backups_size_bytes: u64,
    /// How many restore points there are.
    pub backup_count: u64,
}

/// An answer that is the room of a repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StorageAnswer {
    /// Always true.
    pub success: bool,
    /// The room.
    pub storage: RepositoryStorage,
}

/// What bringing the catalog in line with a repository's sidecars has done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScanReport {
    /// Always true.
    pub success: bool,
    /// Which repository.
    #[schema(value_type = schema::RepositoryId)]
    pub repository_id: RepositoryId,
    /// Restore points found.
    pub found: u64,
    /// Of these, not in the catalog before.
    pub added: u64,
    /// Of these, different in the catalog before.
    pub updated: u64,
    /// Rows of the catalog whose files are gone: set to failed.
    pub missing: u64,
    /// What could not be taken, for a person.
    pub problems: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_example_reads_and_keys_of_other_types_are_kept() {
        let request: CreateRepository = serde_json::from_str(
            r#"{"name":"a","type":"nfs","config":{"server":"h","export":"/x"},"immutable":false,"default":false}"#,
        )
        .unwrap();
        assert_eq!(request.kind, RepositoryType::Nfs);
        assert_eq!(request.config.other["server"], "h");
        let patch: PatchRepository = serde_json::from_str(r#"{"reserve_bytes":null}"#).unwrap();
        assert_eq!(patch.reserve_bytes, Some(None));
    }
}
