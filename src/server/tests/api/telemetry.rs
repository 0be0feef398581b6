//! Progress from outside.

use crate::support::{Site, vm};
use api::{StartBackup, VerifyRequest};
use model::{BackupId, Phase, RequestedType, Status};
use serde_json::{Value, json};

fn message(processed: u64) -> Value {
    json!({"job_type": "backup", "status": "running", "current_phase": "transferring",
        "bytes_transferred": processed, "total_bytes": 4 << 20, "transfer_speed_bps": 3, "eta_seconds": 4,
        "progress_percent": 50.0, "timestamp": jiff::Timestamp::now(),
        "disks": [{"disk_index": 0, "disk_key": 2000, "bytes_transferred": processed, "total_bytes": 4 << 20,
            "progress_percent": 50.0, "status": "running"}], "error": null})
}

/// Starts a backup, and waits until its data moves: before that the hub itself still writes down what it is going to do.
async fn moving(site: &Site, request: &StartBackup) -> BackupId {
    let id = site.client.start_backup(request).await.unwrap().backup.id;
    site.until("data to move", async || {
        let now = site.client.backup(&id).await.unwrap();
        (now.current_phase == Phase::Transferring && now.bytes_processed > 0).then_some(())
    })
    .await;
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_never_goes_back_and_an_ended_job_takes_none() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 4096, 1);
    let mut request = site.full("a", &source);
    request.bandwidth_limit_bps = Some(64 << 10);
    let id = moving(&site, &request).await;
    let path = format!("/telemetry/backup/{id}");
    let answer = site.call("POST", &path, message(3 << 20)).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, json!({"success": true})));
    let processed = async || site.client.backup(&id).await.unwrap().bytes_transferred;
    assert!(processed().await >= 3 << 20);
    for late in [message(1 << 20), message(3 << 20)] {
        assert_eq!(site.call("POST", &path, late).await.status, 200);
        assert!(processed().await >= 3 << 20);
    }

    // Who runs a job ends it, and tells its phase.
    for end in ["completed", "failed", "cancelled"] {
        let mut over = message(3 << 20);
        over["status"] = json!(end);
        over["current_phase"] = json!("finalizing");
        site.call("POST", &path, over).await.refused(409, "conflict");
    }
    assert_eq!(site.client.backup(&id).await.unwrap().current_phase, Phase::Transferring);
    site.client.cancel_backup(&id).await.unwrap();
    let ended = site.ended(&id).await;
    assert!(ended.bytes_transferred >= 3 << 20 && ended.progress_percent >= 75.0, "{ended:?}");
    let answer = site.call("POST", &path, message(4 << 20)).await;
    assert_eq!(answer.refused(409, "job_ended")["details"]["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_all_disks_together_counts_and_disks_that_there_are_not_are_refused() {
    let site = Site::new().await;
    let (one, two) = (site.disk("a.raw", 4096, 1), site.disk("b.raw", 4096, 2));
    let mut request =
        StartBackup { sources: vec![one, two], ..StartBackup::new(vm("a"), RequestedType::Full) };
    request.bandwidth_limit_bps = Some(64 << 10);
    let id = moving(&site, &request).await;
    let path = format!("/telemetry/backup/{id}");
    let mut of_all = message(6 << 20);
    of_all["total_bytes"] = json!(8 << 20);
    of_all.as_object_mut().unwrap().remove("disks");
    assert_eq!(site.call("POST", &path, of_all.clone()).await.status, 200);
    let now = site.client.backup(&id).await.unwrap();
    assert!(now.bytes_transferred >= 6 << 20 && now.progress_percent >= 75.0, "{now:?}");
    assert_eq!(
        now.bytes_transferred,
        now.disk_results.iter().map(|disk| disk.bytes_transferred).sum::<u64>()
    );
    // More than there is.
    of_all["bytes_transferred"] = json!(u64::MAX);
    of_all["timestamp"] = json!(jiff::Timestamp::now());
    assert_eq!(site.call("POST", &path, of_all).await.status, 200);
    let now = site.client.backup(&id).await.unwrap();
    assert_eq!((now.bytes_transferred, now.total_bytes, now.progress_percent), (8 << 20, 8 << 20, 100.0));

    let row = |index: u32, key: u32| json!({"disk_index": index, "disk_key": key, "bytes_transferred": 1, "total_bytes": 2, "status": "running"});
    for (rows, told) in [
        (vec![row(0, 2000), row(1, 2000)], "disk_key 2000 is not that of disk_index 1"),
        (vec![row(u32::MAX, 1999)], "disk_key 1999"),
        (vec![row(0, 2000), row(2, 2002)], "which has 0, 1"),
        (vec![row(1, 2001), row(1, 2001)], "told twice"),
    ] {
        let mut wrong = message(1);
        wrong["disks"] = rows.into();
        let answer = site.call("POST", &path, wrong).await;
        let body = answer.refused(400, "invalid_request");
        assert_eq!(body["details"]["field"], "disks");
        assert!(body["error"].as_str().unwrap().contains(told), "{body}");
    }
    site.client.cancel_backup(&id).await.unwrap();
    site.ended(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_takes_nothing_back_of_what_was_told() {
    let site = Site::new().await;
    // Half of it is a hole.
    let source = site.disk("a.raw", 2048, 1);
    std::fs::File::options().write(true).open(site.path("a.raw")).unwrap().set_len(4 << 20).unwrap();
    let mut request = site.full("a", &source);
    request.bandwidth_limit_bps = Some(512 << 10);
    let id = moving(&site, &request).await;
    let path = format!("/telemetry/backup/{id}");
    assert_eq!(site.call("POST", &path, message(3 << 20)).await.status, 200);
    let ended = site.job_ended(&id.clone().into()).await;
    let record = site.client.backup(&id).await.unwrap();
    assert_eq!(record.status, Status::Completed, "{record:?}");
    assert_eq!((record.bytes_transferred, ended.bytes_transferred), (3 << 20, 3 << 20));
    assert_eq!(record.disk_results[0].bytes_transferred, 3 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused() {
    let site = Site::new().await;
    site.call("POST", "/telemetry/backup/backup-x", message(1)).await.refused(404, "job_not_found");
    let answer = site.call("POST", "/telemetry/verify/verify-x", message(1)).await;
    assert_eq!(answer.refused(400, "invalid_request")["details"]["field"], "job_type");
    // Jobs that are no backups: the type is part of the name, and one that has ended says how.
    let point = site.point(&site.full("a", &site.disk("a.raw", 64, 1))).await;
    let job = site.client.verify_backup(&point.id, &VerifyRequest::default()).await.unwrap();
    let ended = site.job_ended(&job.id).await;
    let mut of_job = message(1);
    of_job["job_type"] = json!("verify");
    let told = site.call("POST", &format!("/telemetry/verify/{}", ended.id), of_job.clone()).await;
    assert_eq!(told.refused(409, "job_ended")["details"]["status"], "completed");
    of_job["job_type"] = json!("restore");
    let path = format!("/telemetry/restore/{}", ended.id);
    site.call("POST", &path, of_job).await.refused(404, "job_not_found");
    site.call("POST", "/telemetry/party/x", message(1)).await.refused(400, "invalid_request");
    site.call("POST", "/telemetry/backup/backup-x", json!({})).await.refused(400, "invalid_request");
}
