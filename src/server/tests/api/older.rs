//! The older routes, with the exact fields that scripts read.

use crate::backups::BACKUP_KEYS;
use crate::support::{Site, has_keys, vm};
use api::StartBackup;
use model::RequestedType;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_old_gets_what_it_always_got() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 128, 1);
    let body = json!({"vm_name": "pgtest1", "backup_type": "full", "repository": "local", "disk_id": 0,
        "source": source});
    let started = site.call("POST", "/backup/start", body).await;
    assert_eq!(started.status, 202, "{}", started.body);
    has_keys(&started.body, BACKUP_KEYS);
    let id = started.body["backup_id"].as_str().unwrap().to_owned();
    site.ended(&id.parse().unwrap()).await;
    site.disk("a.raw", 128, 2);
    let next = site.point(&StartBackup::new(vm("pgtest1"), RequestedType::Incremental)).await;

    let list = site.call("GET", "/backup/list?vm_name=pgtest1&backup_type=full&status=completed", None).await;
    assert_eq!(list.status, 200, "{}", list.body);
    assert_eq!(list.body["total"], 1);
    assert_eq!(list.body["backups"][0]["backup_id"], json!(id));
    let keys: Vec<&String> = list.body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["backups", "total"]);

    let shown = site.call("GET", &format!("/backup/{id}"), None).await;
    has_keys(&shown.body, BACKUP_KEYS);
    assert_eq!(shown.body["status"], "completed");

    let context = shown.body["vm_context_id"].as_str().unwrap();
    for query in ["vm_name=pgtest1&disk_id=0".to_owned(), format!("vm_context_id={context}")] {
        let chain = site.call("GET", &format!("/backup/chain?{query}"), None).await;
        assert_eq!(chain.status, 200, "{}", chain.body);
        has_keys(
            &chain.body,
            "chain_id vm_context_id disk_id full_backup_id latest_backup_id backups total_size_bytes backup_count",
        );
        assert_eq!(chain.body["full_backup_id"], json!(id));
        assert_eq!(chain.body["latest_backup_id"], json!(next.id));
        assert_eq!(chain.body["backups"][1]["backup_type"], "incremental");
        assert!(chain.body.get("success").is_none());
    }
    site.call("GET", "/backup/chain", None).await.refused(400, "invalid_request");
    site.call("GET", "/backup/chain?vm_context_id=ctx-x", None).await.refused(404, "vm_not_found");

    site.call("DELETE", &format!("/backup/{id}"), None).await.refused(409, "has_dependents");
    let deleted = site.call("DELETE", &format!("/backup/{}", next.id), None).await;
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    assert_eq!(deleted.body, json!({"message": "backup deleted successfully", "backup_id": next.id}));
}
