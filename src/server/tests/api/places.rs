//! Repositories, VMs, health and doctor.

use crate::support::{Site, has_keys, vm};
use api::{CreateVm, CreateVmDisk, DoctorFix, ErrorCode, PageQuery, PatchRepository};
use model::RepositoryId;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_made_tested_changed_and_forgotten() {
    let site = Site::new().await;
    let folder = site.path("nas");
    let config = json!({"disk_path": folder});
    let test = site.call("POST", "/repositories/test", json!({"type": "local", "config": config})).await;
    assert_eq!(test.status, 200, "{}", test.body);
    for check in test.body["checks"].as_array().unwrap() {
        has_keys(check, "name ok detail");
    }

    let body =
        json!({"name": "nas", "type": "local", "config": config, "immutable": false, "default": false});
    let made = site.call("POST", "/repositories", body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.body);
    has_keys(
        &made.body["repository"],
        "id name type repository_type config enabled total_size_bytes available_size_bytes used_size_bytes \
         backup_count created_at updated_at",
    );
    assert_eq!(made.body["repository"]["config"], json!({"disk_path": folder}));
    site.call("POST", "/repositories", body).await.refused(409, "already_exists");

    let name = RepositoryId::new("nas").unwrap();
    let shown = site.client.repository(&name).await.unwrap();
    assert_eq!(made.body["repository"]["id"], json!(shown.id));
    assert_eq!(site.client.all_repositories().await.unwrap().repositories.len(), 1);
    let storage = site.client.repository_storage(&shown.id).await.unwrap();
    assert!(storage.total_size_bytes >= storage.used_size_bytes && storage.reserve_bytes > 0);
    let test = site.call("POST", "/repositories/test", json!({"repository_id": "nas"})).await;
    assert_eq!(test.body["success"], true, "{}", test.body);
    let patch = PatchRepository { reserve_bytes: Some(Some(5 << 20)), ..PatchRepository::default() };
    assert_eq!(site.client.patch_repository(&name, &patch).await.unwrap().reserve_bytes, Some(5 << 20));
    let patch = PatchRepository { reserve_bytes: Some(None), ..PatchRepository::default() };
    assert_eq!(site.client.patch_repository(&name, &patch).await.unwrap().reserve_bytes, None);

    let source = site.disk("a.raw", 64, 1);
    let point =
        site.point(&api::StartBackup { repository_id: Some(name.clone()), ..site.full("a", &source) }).await;
    assert_eq!(point.repository_id, shown.id);
    let scan = site.client.scan_repository(&name).await.unwrap();
    assert_eq!((scan.found, scan.added, scan.problems.len()), (1, 0, 0), "{scan:?}");
    let error = site.client.delete_repository(&name).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::NotEmpty, 5));
    site.client.delete_backup(&point.id, api::DeleteQuery::default()).await.unwrap();
    assert_eq!(site.client.delete_repository(&name).await.unwrap().repository_id, shown.id);
    assert!(folder.is_dir());
    site.call("GET", "/repositories/nas", None).await.refused(404, "repository_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_repository_of_this_build_is_refused() {
    let site = Site::new().await;
    for (body, status, code) in [
        (json!({"name": "s", "type": "s3", "config": {"bucket": "b"}}), 422, "unsupported"),
        (json!({"name": "s", "type": "tape", "config": {}}), 400, "invalid_request"),
        (json!({"name": "s", "type": "local", "config": {}}), 400, "invalid_request"),
        (json!({"name": "s", "type": "local", "config": {"disk_path": "a/b"}}), 400, "invalid_request"),
        (json!({"name": "../s", "type": "local", "config": {"disk_path": "/x"}}), 400, "invalid_request"),
    ] {
        site.call("POST", "/repositories", body).await.refused(status, code);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_is_registered_shown_and_forgotten() {
    let site = Site::new().await;
    let (one, two) = (site.disk("1.raw", 64, 1), site.disk("2.raw", 64, 2));
    let name = "Web Server/01";
    let body = json!({"name": name, "disks": [{"source": one}]});
    site.call("POST", "/vms", body).await.refused(400, "invalid_request");
    let name = vm("büro 🐘 100%");
    let disks = [&one, &two].map(|source| CreateVmDisk { source: source.clone() }).to_vec();
    let request = CreateVm { name: name.clone(), disks, replace: false };
    let made = site.client.create_vm(&request).await.unwrap();
    assert_eq!(made.disks.iter().map(|disk| disk.disk_key).collect::<Vec<_>>(), [2000, 2001]);
    assert_eq!(site.client.create_vm(&request).await.unwrap_err().code(), ErrorCode::AlreadyExists);
    assert_eq!(site.client.vm(&name).await.unwrap(), made);
    assert_eq!(site.client.vms(&PageQuery::default()).await.unwrap().total, 1);
    assert_eq!(site.client.delete_vm(&name).await.unwrap().vm_name, name);
    assert_eq!(site.client.vm(&name).await.unwrap_err().code(), ErrorCode::VmNotFound);
    let plain = CreateVm { name: vm("plain"), ..request };
    site.client.create_vm(&plain).await.unwrap();
    let gone = site.call("DELETE", "/vms?vm_name=plain", None).await;
    assert_eq!((gone.status.as_u16(), &gone.body["vm_name"]), (200, &json!("plain")), "{gone:?}");
    assert_eq!(site.client.vm(&plain.name).await.unwrap_err().code(), ErrorCode::VmNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_hub_is_healthy() {
    let site = Site::new().await;
    let answer = site.send(None, "GET", "/health", String::new()).await;
    assert_eq!(answer.status, 200);
    has_keys(&answer.body, "status version catalog repositories uptime_seconds");
    assert_eq!(answer.body["status"], "healthy");
    let report = site.client.doctor().await.unwrap();
    assert!(report.healthy, "{report:?}");
    assert!(site.client.doctor_fix(&DoctorFix::default()).await.unwrap().healthy);
}
