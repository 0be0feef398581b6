//! Several hubs on one state folder, jobs that are stopped, and what a killed process leaves.

use crate::support::{Site, finish, open, vm};
use api::{DeleteQuery, StartBackup};
use hub::Error;
use model::{RequestedType, Status};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::image::{mixed, mutate, write_sparse};

/// Slow enough to be met while it runs.
fn slow(site: &Site, name: &str) -> StartBackup {
    StartBackup {
        source: Some(site.source(name)),
        bandwidth_limit_bps: Some(1 << 20),
        ..StartBackup::new(vm("pg"), RequestedType::Full)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_run_on_the_same_vm_is_refused_with_the_holders_name() {
    let site = Site::new().await;
    write_sparse(&site.disk("a.raw"), &mixed(1, 16 << 20));
    let started = site.hub.start_backup(slow(&site, "a.raw")).await.unwrap();
    let other = open(site.folder.path()).await;
    let refused = other.start_backup(StartBackup::new(vm("pg"), RequestedType::Full)).await.unwrap_err();
    let Error::Locked { holder, .. } = &refused else { panic!("{refused}") };
    assert_eq!(holder.pid, std::process::id());
    assert_eq!(holder.job_id.as_deref(), Some(started.id.as_str()));
    assert_eq!(holder.operation, "backup");
    assert!(matches!(other.remove_vm(&vm("pg")).await, Err(Error::Locked { .. })));

    // The other hub sees how far it is, and can stop it.
    other.cancel(started.id.as_str()).await.unwrap();
    let ended = other.wait(started.id.as_str()).await.unwrap();
    assert_eq!(ended.status, Status::Cancelled);
    let ours = site.hub.wait(started.id.as_str()).await.unwrap();
    assert_eq!(ours.error_code.as_deref(), Some("cancelled"));
    assert!(matches!(other.cancel(started.id.as_str()).await, Err(Error::Ended { .. })));
    assert!(site.leftovers().is_empty());
    assert!(!site.repository().join("pg").exists(), "the VM's folder is gone too");

    let again = other.retry_backup(&started.id).await.unwrap();
    other.cancel(again.id.as_str()).await.unwrap();
    assert_eq!(other.wait(again.id.as_str()).await.unwrap().status, Status::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_stops_what_runs_and_waits_for_it() {
    let site = Site::new().await;
    write_sparse(&site.disk("a.raw"), &mixed(1, 16 << 20));
    let started = site.hub.start_backup(slow(&site, "a.raw")).await.unwrap();
    site.hub.shutdown().await;
    let record = site.hub.backup(&started.id).await.unwrap();
    assert_eq!(record.status, Status::Cancelled);
    assert!(site.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_limit_ends_a_backup() {
    let site = Site::new().await;
    write_sparse(&site.disk("a.raw"), &mixed(1, 16 << 20));
    let request = StartBackup { timeout_seconds: Some(1), ..slow(&site, "a.raw") };
    let record = finish(&site.hub, request).await;
    assert_eq!((record.status, record.error_code.as_deref()), (Status::Failed, Some("timed_out")));
    assert!(site.leftovers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_point_that_is_read_is_not_taken_away() {
    let site = Site::new().await;
    let disk = mixed(1, 16 << 20);
    write_sparse(&site.disk("a.raw"), &disk);
    let request =
        StartBackup { source: Some(site.source("a.raw")), ..StartBackup::new(vm("pg"), RequestedType::Full) };
    let full = site.backup(request).await;
    let mut changed = disk.clone();
    mutate(2, &mut changed, 10);
    write_sparse(&site.disk("a.raw"), &changed);
    let child = site.point("pg", RequestedType::Incremental).await;

    let reading = |id: &model::BackupId| api::RestoreDisk {
        backup_id: id.clone(),
        disk_id: None,
        target: site.disk("restored.raw").to_str().unwrap().parse().unwrap(),
        format: None,
        verify: true,
        overwrite: true,
        bandwidth_limit_bps: Some(2 << 20),
    };
    let job = site.hub.start_restore(reading(&full.id), false).await.unwrap();
    let merge = DeleteQuery { merge: true, ..DeleteQuery::default() };
    assert!(matches!(site.hub.delete_backup(&full.id, merge).await, Err(Error::Locked { .. })));
    site.hub.cancel(job.id.as_str()).await.unwrap();
    assert_eq!(site.hub.wait(job.id.as_str()).await.unwrap().status, Status::Cancelled);
    assert!(!site.disk("restored.raw").exists());

    // What is built on it may be read while it is merged away.
    let job = site.hub.start_restore(reading(&child.id), false).await.unwrap();
    let is_copying = || async {
        let seen = site.hub.job(job.id.as_str()).await.unwrap();
        seen.bytes_processed > 0 || seen.status.is_final()
    };
    while !is_copying().await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    site.hub.delete_backup(&full.id, merge).await.unwrap();
    let ended = site.hub.wait(job.id.as_str()).await.unwrap();
    assert_eq!(ended.status, Status::Completed, "{:?}", ended.error_message);
    assert!(std::fs::read(site.disk("restored.raw")).unwrap() == changed);
    assert!(site.restored(&child.id, 0).await == changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_vms_at_once_do_not_disturb_one_another() {
    let site = Site::new().await;
    let mut started = Vec::new();
    for n in 0..5u64 {
        let name = format!("vm-{n}");
        write_sparse(&site.disk(&name), &mixed(n, 2 << 20));
        let request = StartBackup {
            source: Some(site.source(&name)),
            ..StartBackup::new(vm(&name), RequestedType::Auto)
        };
        started.push(site.hub.start_backup(request).await.unwrap());
    }
    for (n, backup) in started.iter().enumerate() {
        let ended = site.hub.wait(backup.id.as_str()).await.unwrap();
        assert_eq!(ended.status, Status::Completed, "{:?}", ended.error_message);
        assert!(site.restored(&backup.id, 0).await == mixed(n as u64, 2 << 20));
    }
}

/// Not a test of its own: the process that is killed by the one below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(folder) = std::env::var_os("SENDENSE_VICTIM") else { return };
    let folder = std::path::PathBuf::from(folder);
    let hub = open(&folder).await;
    let request = StartBackup {
        source: Some(folder.join("a.raw").to_str().unwrap().parse().unwrap()),
        bandwidth_limit_bps: Some(2 << 20),
        ..StartBackup::new(vm("pg"), RequestedType::Full)
    };
    finish(&hub, request).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_leaves_is_put_right_by_the_next() {
    let site = Site::new().await;
    let disk = mixed(1, 32 << 20);
    write_sparse(&site.disk("a.raw"), &disk);
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "together::victim", "--nocapture"])
        .env("SENDENSE_VICTIM", site.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let id = loop {
        let (found, _) = site.hub.backups(&api::BackupQuery::default()).await.unwrap();
        if let Some(running) = found.iter().find(|backup| backup.bytes_processed > 0) {
            break running.id.clone();
        }
        assert!(std::time::Instant::now() < deadline, "the victim makes no progress");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!site.leftovers().is_empty(), "it was killed while it wrote");

    let next = open(site.folder.path()).await;
    let record = next.backup(&id).await.unwrap();
    assert_eq!(record.status, Status::Failed);
    assert!(record.error_message.as_deref().unwrap().contains("killed"), "{record:?}");
    assert!(site.leftovers().is_empty());
    let findings = next.doctor().await.unwrap();
    assert!(findings.iter().all(|found| found.severity == api::Severity::Ok), "{findings:?}");

    let request =
        StartBackup { bandwidth_limit_bps: None, ..StartBackup::new(vm("pg"), RequestedType::Full) };
    let point = finish(&next, request).await;
    assert_eq!(point.status, Status::Completed, "{:?}", point.error_message);
    assert!(site.restored(&point.id, 0).await == disk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_from_outside_never_take_progress_back_and_end_with_the_job() {
    let site = Site::new().await;
    write_sparse(&site.disk("a.raw"), &mixed(1, 16 << 20));
    let started = site.hub.start_backup(slow(&site, "a.raw")).await.unwrap();
    let other = open(site.folder.path()).await;
    // Until the disks are moving, the runner itself sets the record up.
    while other.backup(&started.id).await.unwrap().phase != model::Phase::Transferring {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let report = |bytes: u64, at: jiff::Timestamp| api::Telemetry {
        job_type: model::JobType::Backup,
        status: Status::Running,
        current_phase: model::Phase::Transferring,
        bytes_transferred: bytes,
        bytes_processed: Some(bytes),
        total_bytes: 16 << 20,
        transfer_speed_bps: 1,
        eta_seconds: None,
        progress_percent: 0.0,
        timestamp: at,
        disks: Vec::new(),
        error: None,
    };
    let kind = model::JobType::Backup;
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(5);
    // The runner may write its own progress in the same moment; the older of two reports then changes nothing, and
    // whoever reports does so again a little later.
    for _ in 0..100 {
        other.take_telemetry(kind, started.id.as_str(), report(15 << 20, ahead)).await.unwrap();
        if other.backup(&started.id).await.unwrap().bytes_processed >= 15 << 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(other.backup(&started.id).await.unwrap().bytes_processed >= 15 << 20);
    other.take_telemetry(kind, started.id.as_str(), report(5, jiff::Timestamp::now())).await.unwrap();
    assert!(other.backup(&started.id).await.unwrap().bytes_processed >= 15 << 20);
    let unknown = other.take_telemetry(kind, "backup-none", report(1, ahead)).await.unwrap_err();
    assert_eq!(unknown.code().as_str(), "job_not_found");
    site.hub.shutdown().await;
    let late = other.take_telemetry(kind, started.id.as_str(), report(1, ahead)).await.unwrap_err();
    assert!(matches!(late, Error::Ended { status: Status::Cancelled, .. }), "{late}");
}
