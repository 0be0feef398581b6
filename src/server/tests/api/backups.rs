//! Backups, their chains and what may be done to them.

use crate::support::{Site, has_keys, vm};
use api::{
    AddressQuery, BackupQuery, ChainQuery, DeleteQuery, ErrorCode, JobQuery, JobResult, PatchBackup,
    RestoreDisk, StartBackup, Subset, VerifyRequest,
};
use model::{BackupType, JobType, RequestedType, Status};
use serde_json::json;

/// The keys of the contract's backup object.
pub const BACKUP_KEYS: &str = "id backup_id vm_name vm_context_id disk_id backup_type status current_phase \
    repository_id file_path qcow2_path nbd_export_name nbd_targets_string parent_backup_id change_id \
    fallback_reason bytes_transferred total_bytes size_bytes progress_percent transfer_speed_bps eta_seconds \
    last_telemetry_at error_message tags notes protected compression_enabled created_at started_at \
    completed_at disk_results";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_accepted_at_once_and_ends_as_a_point() {
    let site = Site::new().await;
    let source = site.disk("disk0.raw", 512, 1);
    let body = json!({"vm_name": "pgtest1", "backup_type": "full", "disk_id": 0, "tags": {"test": "e2e"},
        "source": source, "compression": "zstd", "on_cbt_loss": "full", "policy_id": null,
        "timeout_seconds": 14400, "bandwidth_limit_bps": null, "dry_run": false});
    let answer = site.call("POST", "/backups", body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.body["success"], true);
    assert_eq!(answer.body["message"], "Backup started successfully");
    let backup = &answer.body["backup"];
    has_keys(backup, BACKUP_KEYS);
    has_keys(
        &backup["disk_results"][0],
        "disk_id disk_key name status size_bytes capacity_bytes bytes_transferred progress_percent file_path \
         nbd_export_name nbd_port change_id blake3 error_message",
    );
    assert_eq!(backup["id"], backup["backup_id"]);
    assert_eq!(backup["file_path"], backup["qcow2_path"]);
    assert_eq!(backup["disk_results"][0]["disk_key"], 2000);
    let id = backup["id"].as_str().unwrap();
    assert!(id.starts_with("backup-pgtest1-"), "{id}");

    let done = site.ended(&id.parse().unwrap()).await;
    assert_eq!(done.status, Status::Completed, "{:?}", done.error_message);
    assert_eq!(done.progress_percent, 100.0);
    assert_eq!(done.bytes_transferred, 512 << 10);
    assert!(done.compression_enabled);
    assert_eq!(done.tags["test"], "e2e");
    let file = std::path::Path::new(&done.file_path);
    assert!(file.is_file(), "{file:?}");
    assert_eq!(std::fs::metadata(file).unwrap().len(), done.size_bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_makes_nothing() {
    let site = Site::new().await;
    let source = site.disk("disk0.raw", 256, 1);
    let mut request = site.full("a", &source);
    request.dry_run = true;
    let body = serde_json::to_value(&request).unwrap();
    let answer = site.call("POST", "/backups", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    has_keys(&answer.body["plan"], "estimated_bytes available_bytes fits disks");
    assert_eq!(answer.body["backup"]["backup_type"], "full");
    assert_eq!(site.client.backups(&BackupQuery::default()).await.unwrap().total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_shows_a_full_and_what_is_built_on_it() {
    let site = Site::new().await;
    let source = site.disk("disk0.raw", 256, 1);
    let full = site.point(&site.full("a", &source)).await;
    site.disk("disk0.raw", 256, 2);
    let next = site.point(&StartBackup::new(vm("a"), RequestedType::Incremental)).await;
    assert_eq!(next.parent_backup_id.as_ref(), Some(&full.id));

    let answer = site.call("GET", "/backups/a/chain?disk_id=0", None).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    has_keys(
        &answer.body,
        "success vm_name disk_id chain_id vm_context_id full_backup_id latest_backup_id chain total_size_bytes \
         chain_length backup_count",
    );
    let points = answer.body["chain"].as_array().unwrap();
    for point in points {
        has_keys(
            point,
            "backup_id type backup_type parent_backup_id backing_file size_bytes bytes_transferred status created_at",
        );
    }
    assert_eq!(points[0]["backing_file"], json!(null));
    assert_eq!(points[1]["backing_file"], json!(full.file_path));
    assert_eq!(points[1]["type"], "incremental");
    assert_eq!(answer.body["chain_length"], 2);
    assert_eq!(answer.body["chain_id"], json!(format!("{}-disk0-chain", full.vm_context_id)));

    let chain = site.client.chain(&vm("a"), &ChainQuery::default()).await.unwrap();
    assert_eq!(chain.total_size_bytes, full.size_bytes + next.size_bytes);
    let missing = ChainQuery { disk_id: Some(7), ..ChainQuery::default() };
    let error = site.client.chain(&vm("a"), &missing).await.unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_newest_first_and_come_in_pages() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 64, 1);
    let other = site.disk("b.raw", 64, 2);
    let mut ids = Vec::new();
    for tag in ["one", "two", "three"] {
        let mut request = site.full("a", &source);
        request.tags.insert("n".into(), tag.into());
        ids.push(site.point(&request).await.id);
    }
    site.point(&site.full("b", &other)).await;

    let list = async |query: BackupQuery| site.client.backups(&query).await.unwrap();
    let all = list(BackupQuery::default()).await;
    assert_eq!((all.total, all.backups.len(), all.limit, all.offset), (4, 4, 100, 0));
    let of_a = list(BackupQuery { vm_name: Some("a".into()), ..Default::default() }).await;
    let newest_first: Vec<_> = of_a.backups.iter().map(|backup| backup.id.clone()).collect();
    assert_eq!(newest_first, ids.iter().rev().cloned().collect::<Vec<_>>());
    let page = list(BackupQuery {
        vm_name: Some("a".into()),
        limit: Some(1),
        offset: Some(1),
        ..Default::default()
    })
    .await;
    assert_eq!((page.total, &page.backups[0].id), (3, &ids[1]));
    let none = list(BackupQuery { limit: Some(0), ..Default::default() }).await;
    assert_eq!((none.total, none.backups.len()), (4, 0));
    let tagged = list(BackupQuery { tag: Some("n=two".into()), ..Default::default() }).await;
    assert_eq!((tagged.total, &tagged.backups[0].id), (1, &ids[1]));
    let with_tag = list(BackupQuery { tag: Some("n".into()), ..Default::default() }).await;
    assert_eq!(with_tag.total, 3);
    let failed = list(BackupQuery { status: Some(Status::Failed), ..Default::default() }).await;
    assert_eq!(failed.total, 0);
    let incremental = BackupQuery { backup_type: Some(BackupType::Incremental), ..Default::default() };
    assert_eq!(list(incremental).await.total, 0);
    let in_default = BackupQuery { repository_id: Some("default".into()), ..Default::default() };
    assert_eq!(list(in_default).await.total, 4);
    let since = BackupQuery { since: Some(all.backups[0].created_at), ..Default::default() };
    assert_eq!(list(since).await.total, 1);
    let until = BackupQuery { until: Some(all.backups[1].created_at), ..Default::default() };
    assert_eq!(list(until).await.total, 3);

    for (query, field) in [
        ("limit=1001", "limit"),
        ("limit=-1", "limit"),
        ("status=done", "status"),
        ("backup_type=fulll", "backup_type"),
        ("since=yesterday", "since"),
        ("vm=a", "vm"),
    ] {
        let answer = site.call("GET", &format!("/backups?{query}"), None).await;
        let body = answer.refused(400, "invalid_request");
        assert_eq!(body["details"]["field"], field, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_and_protection_change_one_by_one() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 64, 1);
    let id = site.point(&site.full("a", &source)).await.id;
    let path = format!("/backups/{id}");
    let body = json!({"tags": {"a": "1", "b": "2"}, "notes": "before the move", "protected": true,
        "protect_reason": "audit"});
    let answer = site.call("PATCH", &path, body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer = site.call("PATCH", &path, json!({"tags": {"a": null}, "notes": null})).await;
    let backup = &answer.body["backup"];
    assert_eq!(backup["tags"], json!({"b": "2"}));
    assert_eq!(backup["notes"], json!(null));
    assert_eq!((&backup["protected"], &backup["protect_reason"]), (&json!(true), &json!("audit")));

    site.call("DELETE", &path, None).await.refused(409, "protected");
    let patch = PatchBackup { protected: Some(false), ..PatchBackup::default() };
    let backup = site.client.patch_backup(&id, &patch).await.unwrap();
    assert_eq!((backup.protected, backup.protect_reason), (false, None));
    let deleted = site.client.delete_backup(&id, DeleteQuery::default()).await.unwrap();
    assert_eq!(deleted.deleted, std::slice::from_ref(&id));
    assert!(deleted.freed_bytes > 0);
    site.call("GET", &path, None).await.refused(404, "backup_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_depend_on_goes_only_with_them_or_into_them() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 128, 1);
    let full = site.point(&site.full("a", &source)).await.id;
    let incremental = StartBackup::new(vm("a"), RequestedType::Incremental);
    site.disk("a.raw", 128, 2);
    let second = site.point(&incremental).await.id;
    site.disk("a.raw", 128, 3);
    let third = site.point(&incremental).await.id;

    let answer = site.call("DELETE", &format!("/backups/{full}"), None).await;
    let body = answer.refused(409, "has_dependents");
    assert_eq!(body["details"]["dependents"], json!([second, third]));
    assert!(body["hint"].is_string());

    let answer = site.call("DELETE", &format!("/backups/{full}?cascade&dry_run"), None).await;
    assert_eq!(answer.body["deleted"], json!([third, second, full]), "{}", answer.body);
    assert_eq!(answer.body["dry_run"], true);

    let merge = DeleteQuery { merge: true, ..DeleteQuery::default() };
    let merged = site.client.delete_backup(&full, merge).await.unwrap();
    assert_eq!((merged.deleted, merged.rewritten), (vec![full], vec![second.clone()]));
    assert_eq!(site.client.backup(&second).await.unwrap().backup_type, BackupType::Full);

    let cascade = DeleteQuery { cascade: true, ..DeleteQuery::default() };
    let gone = site.client.delete_backup(&second, cascade).await.unwrap();
    assert_eq!(gone.deleted, [third, second]);
    assert_eq!(site.client.backups(&BackupQuery::default()).await.unwrap().total, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_means_one_backup_or_lists_the_candidates() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 64, 1);
    let first = site.point(&site.full("a", &source)).await.id;
    let second = site.point(&site.full("a", &source)).await.id;
    let resolve = async |address: &str| {
        let query = AddressQuery { address: address.into(), ..AddressQuery::default() };
        site.client.resolve(&query).await.map(|backup| backup.id)
    };
    assert_eq!(resolve("latest").await.unwrap(), second);
    assert_eq!(resolve("a@latest~1").await.unwrap(), first);
    assert_eq!(resolve(first.as_str()).await.unwrap(), first);
    let ambiguous = resolve("backup-a-").await.unwrap_err();
    assert_eq!((ambiguous.code(), ambiguous.exit_code()), (ErrorCode::Ambiguous, 4));
    assert_eq!(ambiguous.details().unwrap()["candidates"], json!([second, first]));
    assert_eq!(resolve("backup-x").await.unwrap_err().code(), ErrorCode::BackupNotFound);
    assert_eq!(resolve("a@soon").await.unwrap_err().code(), ErrorCode::InvalidRequest);
    site.call("GET", "/backups/resolve", None).await.refused(400, "invalid_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_backup_can_be_cancelled_and_retried() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 4096, 1);
    let mut request = site.full("a", &source);
    request.bandwidth_limit_bps = Some(64 << 10);
    let started = site.client.start_backup(&request).await.unwrap().backup;
    let again = site.client.start_backup(&request).await.unwrap_err();
    assert_eq!((again.code(), again.exit_code()), (ErrorCode::Locked, 11), "{again}");
    has_keys(&again.details().unwrap()["holder"], "host pid operation");

    let answer = site.call("POST", &format!("/backups/{}/cancel", started.id), None).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let ended = site.ended(&started.id).await;
    assert_eq!(ended.status, Status::Cancelled);
    assert!(!std::path::Path::new(&ended.file_path).exists());
    let answer = site.call("POST", &format!("/backups/{}/cancel", started.id), None).await;
    assert_eq!(answer.refused(409, "job_ended")["details"]["status"], "cancelled");

    let retried = site.client.retry_backup(&started.id).await.unwrap().backup;
    assert_ne!(retried.id, started.id);
    assert_eq!(retried.bandwidth_limit_bps, Some(64 << 10));
    site.client.cancel_job(&retried.id.clone().into()).await.unwrap();
    site.ended(&retried.id).await;
    let point = site.point(&site.full("a", &source)).await;
    site.call("POST", &format!("/backups/{}/retry", point.id), None).await.refused(409, "conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_and_restore_are_jobs_with_results() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 256, 1);
    let point = site.point(&site.full("a", &source)).await;

    let answer = site.call("POST", &format!("/backups/{}/verify", point.id), None).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(answer.body["job"]["job_type"], "verify");
    let job = site.job_ended(&answer.body["job"]["id"].as_str().unwrap().parse().unwrap()).await;
    match job.result {
        Some(JobResult::Verify(report)) => {
            assert!(report.ok && report.whole, "{report:?}");
            assert_eq!(report.bytes_checked, 256 << 10);
        }
        other => panic!("{other:?}"),
    }
    let sample = VerifyRequest { subset: Some(Subset::Percent(10.0)) };
    let job = site.client.verify_backup(&point.id, &sample).await.unwrap();
    assert_eq!(site.job_ended(&job.id).await.status, Status::Completed);
    let verified = site.client.backup(&point.id).await.unwrap();
    assert!(verified.verification.unwrap().ok);

    let target = site.path("restored.raw");
    let body = json!({"backup_id": point.id, "disk_id": 0, "format": "raw",
        "target": format!("file://{}", target.display()), "verify": true, "overwrite": false});
    let answer = site.call("POST", "/restore/disk", body.clone()).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let job = site.job_ended(&answer.body["job"]["id"].as_str().unwrap().parse().unwrap()).await;
    assert_eq!(job.status, Status::Completed, "{:?}", job.error_message);
    assert!(matches!(job.result, Some(JobResult::Restore(report)) if report.verified));
    assert_eq!(std::fs::read(&target).unwrap(), std::fs::read(site.path("a.raw")).unwrap());
    site.call("POST", "/restore/disk", body).await.refused(409, "already_exists");
    let request = RestoreDisk {
        backup_id: point.id.clone(),
        disk_id: Some(3),
        target: "/nowhere".parse().unwrap(),
        format: None,
        verify: true,
        overwrite: false,
        bandwidth_limit_bps: None,
    };
    let error = site.client.restore_disk(&request).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DiskNotFound);

    let jobs = site.client.jobs(&JobQuery::default()).await.unwrap();
    assert_eq!(jobs.total, 4, "{jobs:?}");
    for (job_type, count) in [(JobType::Verify, 2), (JobType::Restore, 1), (JobType::Backup, 1)] {
        let query = JobQuery { job_type: Some(job_type), ..JobQuery::default() };
        assert_eq!(site.client.jobs(&query).await.unwrap().total, count, "{job_type}");
    }
}
