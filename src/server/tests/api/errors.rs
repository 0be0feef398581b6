//! Every refusal has the contract's body, whoever refuses.

use crate::support::{Site, vm};
use api::{Caller, StartBackup};
use model::RequestedType;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_router_refuses_in_the_contracts_words() {
    let site = Site::new().await;
    for path in ["/nothing", "/backups/a/b/c", ""] {
        site.call("GET", path, None).await.refused(404, "not_found");
    }
    let answer = site.call("PUT", "/backups", None).await;
    answer.refused(405, "method_not_allowed");
    let allowed = answer.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
    let large = format!("{{\"vm_name\":\"{}\"", "x".repeat(2 << 20));
    let admin = Some(Caller::embedded());
    site.send(admin.clone(), "POST", "/backups", large).await.refused(413, "payload_too_large");
    for body in ["", "{", "null", "[]", "\u{0}"] {
        site.send(admin.clone(), "POST", "/backups", body).await.refused(400, "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_refuses_with_a_code_and_says_what_to_do() {
    let site = Site::new().await;
    let folder = site.path("folder");
    std::fs::create_dir(&folder).unwrap();
    let source = site.disk("a.raw", 64, 1);
    let count = std::cell::Cell::new(0);
    // Each about a VM of its own: one that was registered by a refused request has its disks.
    let start = |extra: serde_json::Value| {
        count.set(count.get() + 1);
        let mut body = json!({"vm_name": format!("vm {}", count.get()), "backup_type": "full"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    for (body, status, code) in [
        (start(json!({})), 404, "vm_not_found"),
        (start(json!({"source": source, "backup_type": "incremental"})), 404, "chain_not_found"),
        (start(json!({"source": source, "repository_id": "no"})), 404, "repository_not_found"),
        (start(json!({"source": source, "disk_id": 5})), 404, "disk_not_found"),
        (start(json!({"source": site.path("none.raw")})), 422, "source_unavailable"),
        (start(json!({"source": folder})), 422, "source_unavailable"),
        (start(json!({"source": "disk.raw"})), 400, "invalid_request"),
        (start(json!({"source": source, "vm_name": "a/b"})), 400, "invalid_request"),
        (start(json!({"source": source, "vm_name": ".."})), 400, "invalid_request"),
        (start(json!({"source": source, "vm_name": "x".repeat(300)})), 400, "invalid_request"),
        (start(json!({"source": source, "timeout_seconds": 0})), 400, "invalid_request"),
        (start(json!({"source": source, "bandwidth_limit_bps": 0})), 400, "invalid_request"),
        (start(json!({"source": source, "policy_id": "p"})), 422, "unsupported"),
    ] {
        let answer = site.call("POST", "/backups", body.clone()).await;
        // Some of it is only found out by the run itself: then the record says so.
        if answer.status == 202 {
            let id = answer.body["backup"]["id"].as_str().unwrap().parse().unwrap();
            let ended = site.ended(&id).await;
            assert_eq!(ended.error_code.as_deref(), Some(code), "{body}: {ended:?}");
            continue;
        }
        let body = answer.refused(status, code);
        assert!(status == 400 || body["hint"].is_string(), "{body}");
    }
    // Valid JSON of another kind than the field's words: the field is named.
    for value in [json!(null), json!(1), json!(["full"]), json!({})] {
        for (method, path, body, field) in [
            ("POST", "/backups", start(json!({"backup_type": value})), "backup_type"),
            ("POST", "/auth/users", json!({"name": "a", "password": "x", "role": value}), "role"),
            (
                "POST",
                "/repositories",
                json!({"name": "a", "type": value, "config": {"disk_path": "/x"}}),
                "type",
            ),
        ] {
            let answer = site.call(method, path, body).await;
            let body = answer.refused(400, "invalid_request");
            assert_eq!(body["details"]["field"], field, "{value}: {body}");
        }
    }
    for (method, path) in [
        ("GET", "/backups/backup-x"),
        ("DELETE", "/backups/backup-x"),
        ("POST", "/backups/backup-x/cancel"),
        ("POST", "/backups/backup-x/retry"),
        ("POST", "/backups/backup-x/verify"),
    ] {
        site.call(method, path, None).await.refused(404, "backup_not_found");
    }
    site.call("GET", "/backups/..%2F..%2Fetc", None).await.refused(400, "invalid_request");
    site.call("GET", "/backups/nobody/chain", None).await.refused(404, "vm_not_found");
    site.call("GET", "/jobs/verify-x", None).await.refused(404, "job_not_found");
    site.call("POST", "/jobs/verify-x/cancel", None).await.refused(404, "job_not_found");
    site.call("GET", "/vms/nobody", None).await.refused(404, "vm_not_found");
    for (route, status, code) in [
        ("/vms/nobody", 404, "vm_not_found"),
        ("/vms?vm_name=nobody", 404, "vm_not_found"),
        ("/vms", 400, "invalid_request"),
    ] {
        site.call("DELETE", route, None).await.refused(status, code);
    }
    site.call("GET", "/repositories/no/storage", None).await.refused(404, "repository_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_repository_is_told_apart_from_a_lost_backup() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 64, 1);
    let point = site.point(&site.full("a", &source)).await;
    let root = site.hub.config().default_repository_path();
    std::fs::rename(&root, site.path("elsewhere")).unwrap();
    let health = site.client.health().await.unwrap();
    assert_eq!(serde_json::to_value(health.status).unwrap(), "degraded");
    site.call("GET", &format!("/repositories/{}/storage", point.repository_id), None)
        .await
        .refused(503, "repository_unavailable");
    let request = StartBackup::new(vm("a"), RequestedType::Full);
    match site.client.start_backup(&request).await {
        Ok(started) => {
            let ended = site.ended(&started.backup.id).await;
            assert_eq!(ended.error_code.as_deref(), Some("repository_unavailable"), "{ended:?}");
        }
        Err(error) => assert_eq!(error.exit_code(), 10, "{error}"),
    }
    std::fs::rename(site.path("elsewhere"), &root).unwrap();
    site.point(&request).await;
}
