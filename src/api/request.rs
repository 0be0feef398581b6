//! What a client sends to make, change and verify backups.
//!
//! Unknown fields are refused by name, so that a misspelt option is never silently left out.

use crate::{Subset, schema};
use jiff::Timestamp;
use model::{Compression, OnTrackingLoss, RepositoryId, RequestedType, SourceUri, VmName};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// `POST /backups`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartBackup {
    /// Which VM.
    #[schema(value_type = schema::VmName, example = "pgtest1")]
    pub vm_name: VmName,
    /// What to make.
    #[schema(value_type = schema::RequestedType)]
    pub backup_type: RequestedType,
    /// Id or name of the repository; the default one where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::RepositoryId>)]
    pub repository_id: Option<RepositoryId>,
    /// Only this disk; all where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<schema::TagKey, String>)]
    pub tags: BTreeMap<String, String>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Where the disk is read from, for a VM of one disk: registers the VM at its first backup. `push`: the client
    /// writes the disks, to the exports that `nbd_targets_string` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::SourceUri>, example = "file:///vm/disk0.raw")]
    pub source: Option<SourceUri>,
    /// The same for a VM of several disks, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<schema::SourceUri>)]
    pub sources: Vec<SourceUri>,
    /// With `"source": "push"`: the disks that the client is going to write. Where left out, those of the VM's last
    /// such backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "objects")]
    pub disks: Vec<PushDisk>,
    /// How to store clusters; `none` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Compression>)]
    pub compression: Option<Compression>,
    /// What to do where changes can't be told; `full` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::OnTrackingLoss>)]
    pub on_cbt_loss: Option<OnTrackingLoss>,
    /// The policy on whose behalf it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_id: Option<String>,
    /// Time limit; four hours where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub timeout_seconds: Option<u64>,
    /// Most bytes a second to read, over all disks; no limit where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub bandwidth_limit_bps: Option<u64>,
    /// True to be told what would be done instead of doing it.
    #[serde(default)]
    pub dry_run: bool,
}

impl StartBackup {
    /// A backup of that type of a known VM, with everything else as it is by default.
    pub fn new(vm_name: VmName, backup_type: RequestedType) -> Self {
        StartBackup {
            vm_name,
            backup_type,
            repository_id: None,
            disk_id: None,
            tags: BTreeMap::new(),
            notes: None,
            source: None,
            sources: Vec::new(),
            disks: Vec::new(),
            compression: None,
            on_cbt_loss: None,
            policy_id: None,
            timeout_seconds: None,
            bandwidth_limit_bps: None,
            dry_run: false,
        }
    }

    /// True where the client writes the disks.
    pub fn is_push(&self) -> bool {
        self.source == Some(SourceUri::Push)
    }

    /// The disks' sources in their order, whichever of the two fields they came in.
    pub fn all_sources(&self) -> Vec<&SourceUri> {
        self.source.iter().chain(&self.sources).collect()
    }
}

/// A disk that a client is going to write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushDisk {
    /// Position within the VM; that within this list where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// Size in bytes.
    #[schema(minimum = 1)]
    pub capacity_bytes: u64,
    /// The source's own change id as of this point; kept on its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_id: Option<String>,
}

/// `PATCH /backups/{id}`: only what is named changes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchBackup {
    /// Labels to set; one that is null is removed, others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<schema::TagKey, Option<String>>)]
    pub tags: BTreeMap<String, Option<String>>,
    /// Free text; null removes it.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    pub notes: Option<Option<String>>,
    /// True to keep it from being deleted or merged away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected: Option<bool>,
    /// Why it is protected; only together with `protected: true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protect_reason: Option<String>,
}

/// Takes an object within an object. A list would be taken for one otherwise, field by field in their order.
pub(crate) fn object<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let object = Map::<String, Value>::deserialize(deserializer)?;
    T::deserialize(Value::Object(object)).map_err(D::Error::custom)
}

/// The same for a list of objects.
pub(crate) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let objects = Vec::<Map<String, Value>>::deserialize(deserializer)?;
    let read = |(position, object)| {
        T::deserialize(Value::Object(object))
            .map_err(|error| D::Error::custom(format!("[{position}]: {error}")))
    };
    objects.into_iter().enumerate().map(read).collect()
}

/// Tells a field that is null from one that is left out.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

/// `POST /backups/{id}/verify`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyRequest {
    /// How much of the data to read: a percentage, a part or a size. All of it where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "10%")]
    pub subset: Option<Subset>,
}

/// `POST /backups/{vm_name}/chain/consolidate`: keeps the later points of the latest chain of a disk, and merges
/// the earlier ones into them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Consolidate {
    /// The disk whose chain is meant; the first unless given. Points go with all their disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// Points from before then go. Protected ones and the latest stay.
    pub keep_since: Timestamp,
    /// In which repository: its id or name. Where left out, the one with the VM's latest point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::RepositoryId>)]
    pub repository_id: Option<RepositoryId>,
    /// True to be told what would be done instead of doing it.
    #[serde(default)]
    pub dry_run: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_example_reads() {
        let request: StartBackup = serde_json::from_str(
            r#"{"vm_name":"pgtest1","backup_type":"full","repository_id":"local-repo-1","disk_id":0,
                "tags":{"test":"e2e"},"source":"file:///vm/disk0.raw","compression":"zstd","on_cbt_loss":"full",
                "policy_id":null,"timeout_seconds":14400,"bandwidth_limit_bps":null,"dry_run":false}"#,
        )
        .unwrap();
        assert_eq!(request.tags["test"], "e2e");
        assert_eq!(request.all_sources().len(), 1);
        assert_eq!(request.compression, Some(Compression::Zstd));
    }

    #[test]
    fn a_misspelt_field_is_refused_by_name() {
        let error = serde_json::from_str::<StartBackup>(r#"{"vm_name":"a","backup_type":"full","disk":0}"#)
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `disk`"), "{error}");
    }

    #[test]
    fn lists_are_no_objects() {
        for json in [
            r#"{"vm_name":"a","backup_type":"full","source":"push","disks":[[0,5,null]]}"#,
            r#"{"vm_name":"a","backup_type":"full","source":"push","disks":[null]}"#,
        ] {
            assert!(serde_json::from_str::<StartBackup>(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<crate::SearchRequest>(r#"{"query":["*"]}"#).is_err());
        assert!(serde_json::from_str::<crate::SearchRequest>(r#"{"query":{"pattern":"*"}}"#).is_ok());
        let wrong =
            r#"{"vm_name":"a","backup_type":"full","disks":[{"capacity_bytes":5},{"capacity_bytes":-1}]}"#;
        let error = serde_json::from_str::<StartBackup>(wrong).unwrap_err().to_string();
        assert!(error.starts_with("[1]: ") && error.contains("-1"), "{error}");
    }

    #[test]
    fn a_patch_tells_null_from_left_out() {
        let patch: PatchBackup = serde_json::from_str(r#"{"notes":null,"tags":{"a":"1","b":null}}"#).unwrap();
        assert_eq!(patch.notes, Some(None));
        assert_eq!(patch.protected, None);
        assert_eq!(patch.tags["b"], None);
        assert_eq!(serde_json::from_str::<PatchBackup>("{}").unwrap(), PatchBackup::default());
    }
}
