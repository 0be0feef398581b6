//! A hub on a folder of its own, disks to back up, and comparisons with what others read.

use api::{JobView, RestoreDisk, StartBackup};
use hub::{Hub, HubConfig};
use model::{Backup, BackupId, DiskIndex, ImageFormat, RequestedType, SourceUri, Status, VmName};
use std::path::{Path, PathBuf};

/// A folder with a hub's state and the disks of its VMs.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub hub: Hub,
}

pub fn vm(name: &str) -> VmName {
    VmName::new(name).unwrap()
}

impl Site {
    /// A fresh one, on tmpfs where there is one.
    pub async fn new() -> Site {
        let folder = if Path::new("/dev/shm").is_dir() {
            tempfile::tempdir_in("/dev/shm").unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let hub = open(folder.path()).await;
        Site { folder, hub }
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn repository(&self) -> PathBuf {
        self.state().join("repository")
    }

    /// Where a disk of that name lies.
    pub fn disk(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn source(&self, name: &str) -> SourceUri {
        self.disk(name).to_str().unwrap().parse().unwrap()
    }

    /// Starts a backup and waits for its end.
    pub async fn backup(&self, request: StartBackup) -> Backup {
        finish(&self.hub, request).await
    }

    /// A backup that must succeed.
    pub async fn point(&self, vm_name: &str, kind: RequestedType) -> Backup {
        let point = self.backup(StartBackup::new(vm(vm_name), kind)).await;
        assert_eq!(point.status, Status::Completed, "{:?}", point.error_message);
        point
    }

    /// The file of one disk of a point.
    pub fn file(&self, point: &Backup, disk: u32) -> PathBuf {
        self.repository().join(&point.disk(DiskIndex(disk)).unwrap().file)
    }

    /// What `restore disk` writes as raw.
    pub async fn restored(&self, id: &BackupId, disk: u32) -> Vec<u8> {
        let target = self.folder.path().join(format!("restored-{id}-{disk}"));
        let job = self.restore(id, disk, &target).await;
        assert_eq!(job.status, Status::Completed, "{:?}", job.error_message);
        let bytes = std::fs::read(&target).unwrap();
        std::fs::remove_file(&target).unwrap();
        bytes
    }

    pub async fn restore(&self, id: &BackupId, disk: u32, target: &Path) -> JobView {
        let target = target.to_str().unwrap().parse().unwrap();
        let request = RestoreDisk { disk_id: Some(disk), overwrite: false, ..restore_of(id, target) };
        let job = self.hub.start_restore(request, false).await.unwrap();
        self.hub.wait(job.id.as_str()).await.unwrap()
    }

    /// The file names below the repository that say that work was left undone.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.repository()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let name = entry.file_name().to_string_lossy().into_owned();
                if path.is_dir() {
                    open.push(path);
                } else if name.ends_with(".partial") || name.starts_with("txn-") {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// A hub on the state below `folder`.
pub async fn open(folder: &Path) -> Hub {
    Hub::open(HubConfig::new(folder.join("state"))).await.unwrap()
}

/// A restore of the only disk of a point to a raw file, over whatever is there.
pub fn restore_of(id: &BackupId, target: SourceUri) -> RestoreDisk {
    RestoreDisk {
        backup_id: id.clone(),
        disk_id: None,
        target,
        format: Some(ImageFormat::Raw),
        verify: true,
        overwrite: true,
        bandwidth_limit_bps: None,
    }
}

/// Starts a backup and waits for its end.
pub async fn finish(hub: &Hub, request: StartBackup) -> Backup {
    let started = hub.start_backup(request).await.unwrap();
    let job = hub.wait(started.id.as_str()).await.unwrap();
    assert!(job.status.is_final());
    hub.backup(&started.id).await.unwrap()
}

/// Proves with `qemu-img` that `top` and its chain are sound and hold what the raw file holds.
pub fn same_for_qemu(top: &Path, raw: &Path) {
    if !testkit::require("qemu-img") {
        return;
    }
    let (top, raw) = (top.to_str().unwrap(), raw.to_str().unwrap());
    testkit::run("qemu-img", ["check", "-q", "-f", "qcow2", top]);
    testkit::run("qemu-img", ["compare", "-q", "-f", "qcow2", "-F", "raw", top, raw]);
}
