//! Catalogs in temporary folders, and records to put in.

use catalog::{
    Catalog, JobRecord, LeaseMode, LeaseRequest, Location, Owner, Progress, Resource, Token, TokenKind, User,
};
use jiff::{SignedDuration, Timestamp};
use model::{
    Backup, BackupDisk, BackupId, BackupType, Compression, ContextId, DiskIndex, JobId, JobType,
    OnTrackingLoss, Phase, PointName, Repository, RepositoryId, RepositoryType, RequestedType, Role,
    SourceUri, Stamp, Status, UserName, Vm, VmDisk, VmName,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A new catalog with the repository `default`.
pub struct Fixture {
    /// The folder of its file; lives as long as this.
    pub folder: Option<TempDir>,
    pub catalog: Catalog,
    location: Location,
}

impl Fixture {
    /// In a file.
    pub async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::File(folder.path().join("catalog.db"));
        Fixture::at(Some(folder), location).await
    }

    /// In a database of the server that the tests share; `None` where there is none here.
    pub async fn on_server() -> Option<Fixture> {
        let address = testkit::mariadb::database()?;
        Some(Fixture::at(None, address.parse().unwrap()).await)
    }

    async fn at(folder: Option<TempDir>, location: Location) -> Fixture {
        let catalog = Catalog::open_at(&location).await.unwrap();
        catalog.insert_repository(&repository("default")).await.unwrap();
        Fixture { folder, catalog, location }
    }

    pub fn location(&self) -> &Location {
        &self.location
    }

    pub fn path(&self) -> PathBuf {
        self.location.file().unwrap().to_path_buf()
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }
}

pub fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// So many seconds after the first of October 2025.
pub fn second(n: i64) -> Timestamp {
    time("2025-10-01T00:00:00Z") + SignedDuration::from_secs(n)
}

pub fn vm_name(name: &str) -> VmName {
    VmName::new(name).unwrap()
}

pub fn context(vm: &str) -> ContextId {
    ContextId::new(format!("ctx-{vm}-20251001-000000")).unwrap()
}

pub fn backup_id(text: &str) -> BackupId {
    BackupId::new(text).unwrap()
}

pub fn user_name(name: &str) -> UserName {
    UserName::new(name).unwrap()
}

pub fn user(name: &str, role: Role) -> User {
    User {
        name: user_name(name),
        role,
        password_hash: format!("$argon2id$of-{name}"),
        disabled: false,
        created_at: second(0),
        updated_at: second(0),
        last_login_at: None,
    }
}

/// A token that is valid for an hour, of a user or of none.
pub fn token(id: &str, kind: TokenKind, user: Option<&str>) -> Token {
    Token {
        id: id.to_owned(),
        hash: format!("hash of {id}"),
        kind,
        label: id.to_owned(),
        role: Role::Operator,
        vms: None,
        user: user.map(user_name),
        created_by: user.unwrap_or("uid 0").to_owned(),
        created_at: second(0),
        expires_at: second(3600),
        last_used_at: None,
        revoked_at: None,
    }
}

pub fn repository(id: &str) -> Repository {
    Repository {
        id: RepositoryId::new(id).unwrap(),
        name: RepositoryId::new(id).unwrap(),
        kind: RepositoryType::Local,
        path: format!("/srv/{id}"),
        enabled: true,
        default: id == "default",
        immutable: false,
        reserve_bytes: None,
        created_at: second(0),
        updated_at: second(0),
    }
}

pub fn vm(name: &str) -> Vm {
    Vm {
        context_id: context(name),
        name: vm_name(name),
        disks: (0..2)
            .map(|index| VmDisk {
                index: DiskIndex(index),
                source: format!("/srv/images/{name}-{index}.raw").parse().unwrap(),
                capacity_bytes: (index == 0).then_some((10 << 30) + 1),
            })
            .collect(),
        created_at: second(0),
        updated_at: second(1),
    }
}

/// A completed full of one disk, made in the given second.
pub fn point(vm: &str, n: i64) -> Backup {
    point_on(vm, n, None)
}

/// A completed point of one disk; incremental where it has a parent.
pub fn point_on(vm: &str, n: i64, parent: Option<&Backup>) -> Backup {
    let name = PointName { vm: vm_name(vm), stamp: Stamp::new(second(n)) };
    let kind = if parent.is_some() { BackupType::Incremental } else { BackupType::Full };
    Backup {
        id: name.backup_id().unwrap(),
        vm_name: vm_name(vm),
        vm_context_id: context(vm),
        requested_type: RequestedType::Auto,
        backup_type: kind,
        status: Status::Completed,
        phase: Phase::Completed,
        repository_id: RepositoryId::new("default").unwrap(),
        parent_backup_id: parent.map(|p| p.id.clone()),
        fallback_reason: None,
        bytes_transferred: 1 << 20,
        total_bytes: 10 << 30,
        bytes_processed: 10 << 30,
        transfer_speed_bps: 1 << 30,
        eta_seconds: None,
        last_telemetry_at: Some(second(n + 9)),
        error_message: None,
        error_code: None,
        tags: BTreeMap::new(),
        notes: None,
        protected: false,
        protect_reason: None,
        compression: Compression::Zstd,
        on_tracking_loss: OnTrackingLoss::Full,
        timeout_seconds: 14_400,
        bandwidth_limit_bps: None,
        created_at: second(n),
        started_at: Some(second(n)),
        completed_at: Some(second(n + 10)),
        verification: None,
        disks: vec![disk(&name, 0, parent)],
    }
}

pub fn disk(name: &PointName, index: u32, parent: Option<&Backup>) -> BackupDisk {
    let kind = if parent.is_some() { BackupType::Incremental } else { BackupType::Full };
    BackupDisk {
        index: DiskIndex(index),
        source: SourceUri::File { path: format!("/srv/images/{index}.raw"), format: None },
        backup_type: kind,
        parent_backup_id: parent.map(|p| p.id.clone()),
        status: Status::Completed,
        capacity_bytes: 10 << 30,
        size_bytes: 2 << 20,
        bytes_transferred: 1 << 20,
        bytes_processed: 10 << 30,
        file: name.relative_path(DiskIndex(index), kind),
        nbd_export_name: format!("backup-ctx-disk{index}"),
        change_id: None,
        fallback_reason: None,
        blake3: Some("ab".repeat(32)),
        error_message: None,
    }
}

/// The same, accepted but not begun.
pub fn pending(vm: &str, n: i64) -> Backup {
    let mut backup = point(vm, n);
    backup.status = Status::Pending;
    backup.phase = Phase::Pending;
    (backup.bytes_transferred, backup.bytes_processed, backup.transfer_speed_bps) = (0, 0, 0);
    (backup.started_at, backup.completed_at, backup.last_telemetry_at) = (None, None, None);
    for disk in &mut backup.disks {
        disk.status = Status::Pending;
        (disk.bytes_transferred, disk.bytes_processed, disk.size_bytes) = (0, 0, 0);
        disk.blake3 = None;
    }
    backup
}

pub fn request(resource: Resource, mode: LeaseMode, owner: &Owner) -> LeaseRequest<'_> {
    LeaseRequest { resource, mode, owner, operation: "test", job_id: None }
}

/// A verification that waits to be run; accepted in second `n`.
pub fn job(n: i64) -> JobRecord {
    JobRecord {
        id: JobId::new(format!("verify-{n:04}")).unwrap(),
        job_type: JobType::Verify,
        status: Status::Pending,
        phase: Phase::Pending,
        backup_id: None,
        vm_name: None,
        repository_id: None,
        bytes_transferred: 0,
        bytes_processed: 0,
        total_bytes: 0,
        transfer_speed_bps: 0,
        eta_seconds: None,
        last_telemetry_at: None,
        error_message: None,
        error_code: None,
        request: None,
        result: None,
        cancel_requested: false,
        created_at: second(n),
        started_at: None,
        completed_at: None,
    }
}

/// The first sign of life of a backup, in that second.
pub fn progress(at: i64) -> Progress {
    Progress {
        at: second(at),
        phase: Phase::Transferring,
        bytes_transferred: 1,
        bytes_processed: 1,
        total_bytes: 2,
        transfer_speed_bps: 1,
        eta_seconds: None,
        disks: Vec::new(),
    }
}
