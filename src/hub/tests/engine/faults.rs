//! What goes wrong outside: sources that are not there, repositories that are gone, full or read-only. Each has
//! its code, a record, and nothing left behind.

use crate::support::{Site, vm};
use api::StartBackup;
use hub::Error;
use model::{RequestedType, Status};
use std::fs;
use testkit::image::{mixed, write_sparse};

fn first(site: &Site, name: &str) -> StartBackup {
    StartBackup { source: Some(site.source(name)), ..StartBackup::new(vm("pg"), RequestedType::Full) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_can_not_be_met_are_refused_at_once() {
    let site = Site::new().await;
    let code = |error: Error| error.code().as_str().to_owned();
    let start = |request: StartBackup| async { code(site.hub.start_backup(request).await.unwrap_err()) };
    assert_eq!(start(StartBackup::new(vm("none"), RequestedType::Full)).await, "vm_not_found");
    assert_eq!(start(first(&site, "none.raw")).await, "source_unavailable");
    fs::create_dir(site.disk("folder")).unwrap();
    assert_eq!(start(first(&site, "folder")).await, "source_unavailable");
    assert!(site.hub.vms(10, 0).await.unwrap().0.is_empty(), "nothing was registered");

    write_sparse(&site.disk("a.raw"), &mixed(1, 1 << 20));
    let based = StartBackup { backup_type: RequestedType::Incremental, ..first(&site, "a.raw") };
    assert_eq!(start(based).await, "chain_not_found");
    assert!(site.hub.vms(10, 0).await.unwrap().0.is_empty(), "nothing was registered");

    let point = site.backup(first(&site, "a.raw")).await;
    assert_eq!(point.status, Status::Completed, "{:?}", point.error_message);
    write_sparse(&site.disk("b.raw"), &mixed(1, 1 << 20));
    assert_eq!(start(first(&site, "b.raw")).await, "conflict");
    let disk = StartBackup { disk_id: Some(7), ..StartBackup::new(vm("pg"), RequestedType::Full) };
    assert_eq!(start(disk).await, "disk_not_found");
    let nowhere = StartBackup {
        repository_id: Some(model::RepositoryId::new("nowhere").unwrap()),
        ..StartBackup::new(vm("pg"), RequestedType::Full)
    };
    assert_eq!(start(nowhere).await, "repository_not_found");
    assert_eq!(code(site.hub.remove_vm(&vm("pg")).await.unwrap_err()), "not_empty");
    assert_eq!(code(site.hub.delete_repository("default").await.unwrap_err()), "not_empty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_goes_leaves_a_failed_record_and_nothing_else() {
    let site = Site::new().await;
    write_sparse(&site.disk("a.raw"), &mixed(1, 1 << 20));
    site.backup(first(&site, "a.raw")).await;
    fs::remove_file(site.disk("a.raw")).unwrap();
    let failed = site.backup(StartBackup::new(vm("pg"), RequestedType::Auto)).await;
    assert_eq!((failed.status, failed.error_code.as_deref()), (Status::Failed, Some("source_unavailable")));
    assert!(failed.error_message.unwrap().contains("a.raw"));
    assert!(site.leftovers().is_empty());
    fs::write(site.disk("a.raw"), b"").unwrap();
    let failed = site.backup(StartBackup::new(vm("pg"), RequestedType::Auto)).await;
    assert_eq!(failed.error_code.as_deref(), Some("source_unavailable"));

    write_sparse(&site.disk("a.raw"), &mixed(1, 1 << 20));
    let again = site.hub.retry_backup(&failed.id).await.unwrap();
    assert_eq!(site.hub.wait(again.id.as_str()).await.unwrap().status, Status::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_is_gone_or_another_one_is_told() {
    let site = Site::new().await;
    write_sparse(&site.disk("a.raw"), &mixed(1, 1 << 20));
    let point = site.backup(first(&site, "a.raw")).await;
    let aside = site.state().join("aside");
    fs::rename(site.repository(), &aside).unwrap();
    for make in [None, Some(false), Some(true)] {
        match make {
            None => {}
            Some(false) => fs::write(site.repository(), b"a file").unwrap(),
            Some(true) => {
                fs::remove_file(site.repository()).unwrap();
                fs::create_dir(site.repository()).unwrap();
            }
        }
        let failed = site.backup(StartBackup::new(vm("pg"), RequestedType::Full)).await;
        assert_eq!(
            failed.error_code.as_deref(),
            Some("repository_unavailable"),
            "{:?}",
            failed.error_message
        );
        let job = site.restore(&point.id, 0, &site.disk("restored.raw")).await;
        assert_eq!(job.error_code.as_deref(), Some("repository_unavailable"), "{:?}", job.error_message);
    }
    fs::remove_dir(site.repository()).unwrap();
    fs::rename(&aside, site.repository()).unwrap();
    site.point("pg", RequestedType::Incremental).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_is_checked_before_and_the_reserve_is_kept() {
    let site = Site::new().await;
    write_sparse(&site.disk("a.raw"), &mixed(1, 1 << 20));
    site.backup(first(&site, "a.raw")).await;
    let patch =
        api::PatchRepository { reserve_bytes: Some(Some(1 << 60)), ..api::PatchRepository::default() };
    site.hub.update_repository("default", patch).await.unwrap();
    let failed = site.backup(StartBackup::new(vm("pg"), RequestedType::Full)).await;
    assert_eq!(failed.error_code.as_deref(), Some("no_space"), "{:?}", failed.error_message);
    let (_, plan) = site.hub.plan_backup(StartBackup::new(vm("pg"), RequestedType::Full)).await.unwrap();
    assert!(!plan.fits && plan.estimated_bytes > 0);
    assert!(site.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_writes_over_nothing_unasked() {
    let site = Site::new().await;
    let disk = mixed(1, 1 << 20);
    write_sparse(&site.disk("a.raw"), &disk);
    let point = site.backup(first(&site, "a.raw")).await;
    let request = |target: &std::path::Path, overwrite| api::RestoreDisk {
        backup_id: point.id.clone(),
        disk_id: None,
        target: target.to_str().unwrap().parse().unwrap(),
        format: None,
        verify: true,
        overwrite,
        bandwidth_limit_bps: None,
    };
    let refused = |target: std::path::PathBuf, overwrite| {
        let (hub, request) = (site.hub.clone(), request(&target, overwrite));
        async move { hub.start_restore(request, false).await.unwrap_err().code().as_str().to_owned() }
    };
    assert_eq!(refused(site.disk("a.raw"), false).await, "already_exists");
    assert_eq!(refused(site.repository().join("x.raw"), true).await, "conflict");
    assert_eq!(refused(site.disk("none/x.raw"), false).await, "target_unavailable");

    fs::write(site.disk("a.raw"), b"overwritten").unwrap();
    let job = site.hub.start_restore(request(&site.disk("a.raw"), true), false).await.unwrap();
    assert_eq!(site.hub.wait(job.id.as_str()).await.unwrap().status, Status::Completed);
    assert!(fs::read(site.disk("a.raw")).unwrap() == disk);

    let image = site.disk("image.qcow2");
    let job = site.hub.start_restore(request(&image, false), false).await.unwrap();
    assert_eq!(site.hub.wait(job.id.as_str()).await.unwrap().status, Status::Completed);
    crate::support::same_for_qemu(&image, &site.disk("a.raw"));
}

/// A small file system of its own, gone with the value.
struct Tmpfs(std::path::PathBuf);

impl Tmpfs {
    /// `None` where this process may not mount.
    fn mount(at: std::path::PathBuf, size: &str) -> Option<Tmpfs> {
        fs::create_dir(&at).unwrap();
        let options = format!("size={size}");
        let done = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(&at)
            .status();
        done.is_ok_and(|status| status.success()).then_some(Tmpfs(at))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a failed test may still have files open there.
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_runs_full_at_any_fill_keeps_its_points_and_nothing_else() {
    let site = Site::new().await;
    let Some(small) = Tmpfs::mount(site.disk("small"), "24m") else {
        assert!(
            std::env::var_os("SENDENSE_REQUIRE_ALL").is_none_or(|value| value != "1"),
            "mount is not permitted"
        );
        eprintln!("SKIPPED: mount is not permitted");
        return;
    };
    let create = api::CreateRepository {
        name: model::RepositoryId::new("small").unwrap(),
        kind: model::RepositoryType::Local,
        config: api::RepositoryConfig::local(small.0.to_str().unwrap()),
        immutable: false,
        default: true,
        reserve_bytes: Some(0),
    };
    site.hub.create_repository(create).await.unwrap();
    let random = |seed: u64| {
        let mut disk = vec![0; 4 << 20];
        testkit::image::Rng::new(seed).fill(&mut disk);
        disk
    };
    let first_content = random(1);
    write_sparse(&site.disk("a.raw"), &first_content);
    let point = site.backup(first(&site, "a.raw")).await;
    assert_eq!(point.status, Status::Completed, "{:?}", point.error_message);
    let changed = random(2);
    write_sparse(&site.disk("a.raw"), &changed);
    let filler = small.0.join("filler");
    for left in [0u64, 1, 20, 100, 500, 1000, 2000, 3000, 4000, 4090].map(|kib| kib << 10) {
        let stat = rustix::fs::statvfs(&small.0).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        fs::write(&filler, vec![1; (free - left) as usize]).unwrap();
        let failed = site.backup(StartBackup::new(vm("pg"), RequestedType::Incremental)).await;
        assert_eq!(failed.error_code.as_deref(), Some("no_space"), "{left}: {:?}", failed.error_message);
        fs::remove_file(&filler).unwrap();
        let names = |folder: &std::path::Path| {
            let mut names: Vec<_> =
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&small.0.join("pg/disk-0")).len(), 3, "{left}");
        assert!(
            names(&small.0.join(".sendense")).iter().all(|name| !name.to_string_lossy().starts_with("txn-"))
        );
    }
    assert!(site.restored(&point.id, 0).await == first_content);
    let then = site.point("pg", RequestedType::Incremental).await;
    assert!(site.restored(&then.id, 0).await == changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_that_fails_in_the_middle_fails_the_backup_and_all_its_disks() {
    if !testkit::require("nbdkit") {
        return;
    }
    let site = Site::new().await;
    let socket = site.disk("nbd.sock");
    let broken = site.disk("broken");
    let mut server = std::process::Command::new("nbdkit")
        .args(["--foreground", "--no-sr", "--filter=error", "-U"])
        .arg(&socket)
        .args(["pattern", "64M", "error-pread-rate=100%"])
        .arg(format!("error-file={}", broken.display()))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    assert!(testkit::wait_until(std::time::Duration::from_secs(20), || socket.exists()));
    write_sparse(&site.disk("a.raw"), &mixed(1, 4 << 20));
    let export = format!("nbd+unix:///?socket={}", socket.display()).parse().unwrap();
    let request = StartBackup {
        sources: vec![site.source("a.raw"), export],
        bandwidth_limit_bps: Some(16 << 20),
        ..StartBackup::new(vm("pg"), RequestedType::Full)
    };
    let started = site.hub.start_backup(request).await.unwrap();
    loop {
        let job = site.hub.job(started.id.as_str()).await.unwrap();
        assert!(!job.status.is_final(), "{:?}", job.error_message);
        if job.disks.get(1).is_some_and(|disk| disk.bytes_processed > 0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    fs::write(&broken, b"").unwrap();
    let ended = site.hub.wait(started.id.as_str()).await.unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(ended.error_code.as_deref(), Some("source_unavailable"), "{:?}", ended.error_message);
    let record = site.hub.backup(&started.id).await.unwrap();
    assert!(record.error_message.unwrap().starts_with("disk 1: the source nbd+unix:"));
    assert!(record.disks[0].error_message.is_none() && record.disks[1].error_message.is_some());
    assert!(!site.repository().join("pg").exists());
}
