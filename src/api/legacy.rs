//! The shapes of the older routes (`/backup/…`): the same content, flat, under the names of their time.
//!
//! Scripts against them exist, so nothing here is ever renamed. The object itself is the [`Backup`] of
//! today without its envelope, so it has no type of its own.

use crate::{Backup, Chain, ChainPoint, PushDisk, StartBackup, schema};
use model::{
    BackupId, BackupType, Compression, ContextId, OnTrackingLoss, RepositoryId, RequestedType, SourceUri,
    Status, VmName,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// The name that the default repository went by.
const DEFAULT_REPOSITORY: &str = "local";

/// `POST /backup/start`. Fields that are not known are ignored, as they always were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LegacyStartBackup)]
pub struct Start {
    /// Which VM.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
    /// What to make.
    #[schema(value_type = schema::RequestedType)]
    pub backup_type: RequestedType,
    /// Id or name of the repository, `local` meaning the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::RepositoryId>)]
    pub repository: Option<RepositoryId>,
    /// The same by its later name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::RepositoryId>)]
    pub repository_id: Option<RepositoryId>,
    /// Only this disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// Labels.
    #[serde(default)]
    #[schema(value_type = BTreeMap<schema::TagKey, String>)]
    pub tags: BTreeMap<String, String>,
    /// Where the disk is read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::SourceUri>)]
    pub source: Option<SourceUri>,
    /// With `"source": "push"`: the disks that the client is going to write.
    #[serde(default, deserialize_with = "crate::request::objects")]
    pub disks: Vec<PushDisk>,
    /// How to store clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Compression>)]
    pub compression: Option<Compression>,
    /// What to do where changes can't be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::OnTrackingLoss>)]
    pub on_cbt_loss: Option<OnTrackingLoss>,
    /// Time limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
}

impl From<Start> for StartBackup {
    fn from(old: Start) -> StartBackup {
        let repository = old.repository_id.or(old.repository);
        StartBackup {
            repository_id: repository.filter(|name| name.as_str() != DEFAULT_REPOSITORY),
            disk_id: old.disk_id,
            tags: old.tags,
            source: old.source,
            disks: old.disks,
            compression: old.compression,
            on_cbt_loss: old.on_cbt_loss,
            timeout_seconds: old.timeout_seconds,
            ..StartBackup::new(old.vm_name, old.backup_type)
        }
    }
}

/// `GET /backup/list`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// Of that VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::VmName>, inline)]
    pub vm_name: Option<String>,
    /// Of the VM of that context id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::ContextId>, inline)]
    pub vm_context_id: Option<String>,
    /// In that repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::RepositoryId>, inline)]
    pub repository_id: Option<String>,
    /// The same by its older name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::RepositoryId>, inline)]
    pub repository: Option<String>,
    /// Of that type.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::BackupType>, inline)]
    pub backup_type: Option<BackupType>,
    /// In that state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::Status>, inline)]
    pub status: Option<Status>,
    /// How many at most: 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1000)]
    pub limit: Option<u32>,
    /// How many to skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1_000_000_000_000_u64)]
    pub offset: Option<u64>,
}

impl From<ListQuery> for crate::BackupQuery {
    fn from(old: ListQuery) -> crate::BackupQuery {
        crate::BackupQuery {
            vm_name: old.vm_name,
            vm_context_id: old.vm_context_id,
            repository_id: old.repository_id.or(old.repository),
            backup_type: old.backup_type,
            status: old.status,
            limit: old.limit,
            offset: old.offset,
            ..Default::default()
        }
    }
}

/// The answer to `GET /backup/list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LegacyBackupList)]
pub struct List {
    /// This page, newest first.
    pub backups: Vec<Backup>,
    /// How many match in all.
    pub total: u64,
}

/// `GET /backup/chain`: one of the two names is needed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ChainQuery {
    /// Of that VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::VmName>, inline)]
    pub vm_name: Option<String>,
    /// Of the VM of that context id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::ContextId>, inline)]
    pub vm_context_id: Option<String>,
    /// Which disk; the first unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
}

/// The answer to `GET /backup/chain`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LegacyChain)]
pub struct FlatChain {
    /// `{vm_context_id}-disk{n}-chain`.
    pub chain_id: String,
    /// The VM's stable id.
    #[schema(value_type = schema::ContextId)]
    pub vm_context_id: ContextId,
    /// The VM.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
    /// The disk.
    pub disk_id: u32,
    /// The chain's full.
    #[schema(value_type = schema::BackupId)]
    pub full_backup_id: BackupId,
    /// Its latest point.
    #[schema(value_type = schema::BackupId)]
    pub latest_backup_id: BackupId,
    /// The points, oldest first.
    pub backups: Vec<ChainPoint>,
    /// Sum of the points' sizes, in bytes.
    pub total_size_bytes: u64,
    /// How many points.
    pub backup_count: u64,
    /// The same.
    pub chain_length: u64,
}

impl From<Chain> for FlatChain {
    fn from(chain: Chain) -> FlatChain {
        FlatChain {
            chain_id: chain.chain_id,
            vm_context_id: chain.vm_context_id,
            vm_name: chain.vm_name,
            disk_id: chain.disk_id,
            full_backup_id: chain.full_backup_id,
            latest_backup_id: chain.latest_backup_id,
            backups: chain.chain,
            total_size_bytes: chain.total_size_bytes,
            backup_count: chain.backup_count,
            chain_length: chain.chain_length,
        }
    }
}

/// The answer to `DELETE /backup/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = LegacyDeleted)]
pub struct Deleted {
    /// Always the same sentence.
    pub message: String,
    /// Which one.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
}

impl From<crate::Deleted> for Deleted {
    fn from(deleted: crate::Deleted) -> Deleted {
        Deleted { message: "backup deleted successfully".to_owned(), backup_id: deleted.backup_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_means_the_default_repository_and_the_older_name_is_taken() {
        let start = |json: &str| StartBackup::from(serde_json::from_str::<Start>(json).unwrap());
        let local = start(r#"{"vm_name":"a","backup_type":"full","repository":"local"}"#);
        assert_eq!(local.repository_id, None);
        let named = start(r#"{"vm_name":"a","backup_type":"full","repository":"nas","extra":1}"#);
        assert_eq!(named.repository_id.unwrap().as_str(), "nas");
    }
}
