//! Records for unit tests.

use jiff::Timestamp;
use model::{
    Backup, BackupDisk, BackupId, BackupType, Compression, ContextId, DiskIndex, OnTrackingLoss, Phase,
    Repository, RepositoryId, RepositoryType, RequestedType, SourceUri, Status, VmName,
};
use std::path::Path;

/// A completed point of VM `vm` made at second `at`, with these (disk, type, parent) disks.
pub(crate) fn point(id: &str, at: i64, disks: &[(u32, BackupType, Option<&str>)]) -> Backup {
    let created_at = Timestamp::from_second(at).unwrap();
    let parse = |id: &str| BackupId::new(id).unwrap();
    let disks: Vec<BackupDisk> = disks
        .iter()
        .map(|(index, kind, parent)| BackupDisk {
            index: DiskIndex(*index),
            source: SourceUri::File { path: format!("/d{index}"), format: None },
            backup_type: *kind,
            parent_backup_id: parent.map(parse),
            status: Status::Completed,
            capacity_bytes: 1 << 20,
            size_bytes: 1000,
            bytes_transferred: 500,
            bytes_processed: 1 << 20,
            file: format!("vm/disk-{index}/{}-{id}.qcow2", kind.file_prefix()),
            nbd_export_name: String::new(),
            change_id: None,
            fallback_reason: None,
            blake3: None,
            error_message: None,
        })
        .collect();
    Backup {
        id: parse(id),
        vm_name: VmName::new("vm").unwrap(),
        vm_context_id: ContextId::new("ctx-vm").unwrap(),
        requested_type: RequestedType::Auto,
        backup_type: disks[0].backup_type,
        status: Status::Completed,
        phase: Phase::Completed,
        repository_id: RepositoryId::new("r").unwrap(),
        parent_backup_id: disks[0].parent_backup_id.clone(),
        fallback_reason: None,
        bytes_transferred: 500,
        total_bytes: 1 << 20,
        bytes_processed: 1 << 20,
        transfer_speed_bps: 0,
        eta_seconds: None,
        last_telemetry_at: None,
        error_message: None,
        error_code: None,
        tags: std::collections::BTreeMap::new(),
        notes: None,
        protected: false,
        protect_reason: None,
        compression: Compression::None,
        on_tracking_loss: OnTrackingLoss::Full,
        timeout_seconds: 14_400,
        bandwidth_limit_bps: None,
        created_at,
        started_at: Some(created_at),
        completed_at: Some(created_at),
        verification: None,
        disks,
    }
}

/// The default repository, called `r`, at that path.
pub(crate) fn repository(path: &Path) -> Repository {
    let id = RepositoryId::new("r").unwrap();
    Repository {
        name: id.clone(),
        id,
        kind: RepositoryType::Local,
        path: path.to_str().unwrap().into(),
        enabled: true,
        default: true,
        immutable: false,
        reserve_bytes: None,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
    }
}
