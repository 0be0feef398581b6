//! The chain of one disk of a VM: a full and what is built on it.

use crate::schema;
use jiff::Timestamp;
use model::{BackupId, BackupType, ContextId, DiskIndex, Status, VmName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The latest chain of one disk, oldest point first. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Chain {
    /// Always true.
    pub success: bool,
    /// The VM.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
    /// The disk.
    pub disk_id: u32,
    /// `{vm_context_id}-disk{n}-chain`.
    pub chain_id: String,
    /// The VM's stable id.
    #[schema(value_type = schema::ContextId)]
    pub vm_context_id: ContextId,
    /// The chain's full.
    #[schema(value_type = schema::BackupId)]
    pub full_backup_id: BackupId,
    /// Its latest point.
    #[schema(value_type = schema::BackupId)]
    pub latest_backup_id: BackupId,
    /// The points.
    pub chain: Vec<ChainPoint>,
    /// Sum of the points' sizes.
    pub total_size_bytes: u64,
    /// How many points.
    pub chain_length: u64,
    /// The same.
    pub backup_count: u64,
}

/// One point of a chain, seen from one disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChainPoint {
    /// The point.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// The type of this disk's file.
    #[serde(rename = "type")]
    #[schema(value_type = schema::BackupType)]
    pub kind: BackupType,
    /// The same as `type`.
    #[schema(value_type = schema::BackupType)]
    pub backup_type: BackupType,
    /// The point this disk's file is built on; null for a full.
    #[schema(value_type = Option<schema::BackupId>)]
    pub parent_backup_id: Option<BackupId>,
    /// The backing file's path; null for a full.
    pub backing_file: Option<String>,
    /// The file's path.
    pub file_path: String,
    /// The file's size.
    pub size_bytes: u64,
    /// Data stored, before compression, or what its client has said that it sent where that is more.
    pub bytes_transferred: u64,
    /// Virtual size.
    pub capacity_bytes: u64,
    /// State.
    #[schema(value_type = schema::Status)]
    pub status: Status,
    /// When the point was accepted.
    pub created_at: Timestamp,
    /// True where it may not be deleted.
    pub protected: bool,
}

impl Chain {
    /// The chain of `disk` made of `points` (the full and all that is built on it, any order) in the
    /// repository whose root is `root`. `None` where no point has a full of that disk.
    pub fn new(points: &[&model::Backup], disk: DiskIndex, root: &str) -> Option<Chain> {
        let mut points: Vec<_> =
            points.iter().filter_map(|point| Some((*point, point.disk(disk)?))).collect();
        points.sort_by_key(|(point, _)| (point.created_at, point.id.clone()));
        let (full, _) = points.iter().find(|(_, on)| on.backup_type == BackupType::Full)?;
        let (latest, _) = points.last()?;
        let root = root.trim_end_matches('/');
        let chain: Vec<ChainPoint> = points
            .iter()
            .map(|(point, on)| ChainPoint {
                backup_id: point.id.clone(),
                kind: on.backup_type,
                backup_type: on.backup_type,
                parent_backup_id: on.parent_backup_id.clone(),
                backing_file: on.parent_backup_id.as_ref().and_then(|parent| {
                    let (_, below) = points.iter().find(|(point, _)| point.id == *parent)?;
                    Some(format!("{root}/{}", below.file))
                }),
                file_path: format!("{root}/{}", on.file),
                size_bytes: on.size_bytes,
                bytes_transferred: on.bytes_transferred,
                capacity_bytes: on.capacity_bytes,
                status: point.status,
                created_at: point.created_at,
                protected: point.protected,
            })
            .collect();
        let length = chain.len() as u64;
        Some(Chain {
            success: true,
            vm_name: latest.vm_name.clone(),
            disk_id: disk.0,
            chain_id: format!("{}-disk{disk}-chain", latest.vm_context_id),
            vm_context_id: latest.vm_context_id.clone(),
            full_backup_id: full.id.clone(),
            latest_backup_id: latest.id.clone(),
            total_size_bytes: chain.iter().map(|point| point.size_bytes).sum(),
            chain,
            chain_length: length,
            backup_count: length,
        })
    }
}
