//! Progress from outside.

use crate::support::Site;
use model::Phase;
use serde_json::{Value, json};

fn message(processed: u64) -> Value {
    json!({"job_type": "backup", "status": "running", "current_phase": "transferring",
        "bytes_transferred": processed, "total_bytes": 4 << 20, "transfer_speed_bps": 3, "eta_seconds": 4,
        "progress_percent": 50.0, "timestamp": jiff::Timestamp::now(),
        "disks": [{"disk_index": 0, "disk_key": 2000, "bytes_transferred": processed, "total_bytes": 4 << 20,
            "progress_percent": 50.0, "status": "running"}], "error": null})
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_never_goes_back_and_an_ended_job_takes_none() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 4096, 1);
    let mut request = site.full("a", &source);
    request.bandwidth_limit_bps = Some(64 << 10);
    let id = site.client.start_backup(&request).await.unwrap().backup.id;
    // Before that the hub itself still writes down what it is going to do.
    site.until("data to move", async || {
        let now = site.client.backup(&id).await.unwrap();
        (now.current_phase == Phase::Transferring && now.bytes_processed > 0).then_some(())
    })
    .await;
    let path = format!("/telemetry/backup/{id}");
    let answer = site.call("POST", &path, message(3 << 20)).await;
    assert_eq!((answer.status.as_u16(), answer.body), (200, json!({"success": true})));
    let processed = async || site.client.backup(&id).await.unwrap().bytes_transferred;
    assert!(processed().await >= 3 << 20);
    for late in [message(1 << 20), message(3 << 20)] {
        assert_eq!(site.call("POST", &path, late).await.status, 200);
        assert!(processed().await >= 3 << 20);
    }

    site.client.cancel_backup(&id).await.unwrap();
    site.ended(&id).await;
    let answer = site.call("POST", &path, message(4 << 20)).await;
    assert_eq!(answer.refused(409, "job_ended")["details"]["status"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused() {
    let site = Site::new().await;
    site.call("POST", "/telemetry/backup/backup-x", message(1)).await.refused(404, "job_not_found");
    let answer = site.call("POST", "/telemetry/verify/verify-x", message(1)).await;
    assert_eq!(answer.refused(400, "invalid_request")["details"]["field"], "job_type");
    site.call("POST", "/telemetry/party/x", message(1)).await.refused(400, "invalid_request");
    site.call("POST", "/telemetry/backup/backup-x", json!({})).await.refused(400, "invalid_request");
}
