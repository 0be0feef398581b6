//! Every route with every role, with no credentials, and for a caller for whom the VM does not exist.

use crate::support::{Answer, Site, vm};
use api::{Caller, Role};
use serde_json::{Value, json};
use std::sync::Arc;

/// Every operation of the document: method, path without the base, least role.
fn operations() -> Vec<(String, String, Option<Role>)> {
    let document: Value = serde_json::from_str(&server::document().unwrap()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let role = operation["x-role"].as_str().map(|role| role.parse().unwrap());
            let open = operation["security"] == json!([{}]);
            assert_eq!(open, role.is_none(), "{method} {path}: the document says both");
            all.push((method.to_uppercase(), path.strip_prefix("/api/v1").unwrap().to_owned(), role));
        }
    }
    assert!(all.len() > 60, "{}", all.len());
    all
}

/// A path of a route that names nothing that is there.
fn nothing(path: &str) -> String {
    path.replace("{job_type}", "backup").replace(['{', '}'], "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_for_its_role_and_those_above() {
    let site = Site::new().await;
    let mut checked = 0;
    for (method, path, least) in operations() {
        let route = nothing(&path);
        let nobody = site.send(None, &method, &route, String::new()).await;
        let Some(least) = least else {
            assert!(![401, 403].contains(&nobody.status.as_u16()), "{method} {path}: {nobody:?}");
            continue;
        };
        nobody.refused(401, "unauthorized");
        assert_eq!(nobody.headers["www-authenticate"], "Bearer");
        for role in Role::ALL {
            let caller = Caller { role: *role, ..Caller::local(0) };
            let answer = site.send(Some(caller), &method, &route, String::new()).await;
            if *role < least {
                answer.refused(403, "forbidden");
                assert!(answer.body["error"].as_str().unwrap().contains(least.as_str()), "{answer:?}");
            } else {
                let refused = answer.body["code"] == "forbidden" || answer.status == 401;
                assert!(!refused, "{role} {method} {path}: {answer:?}");
            }
            checked += 1;
        }
    }
    assert!(checked > 240, "{checked}");
}

#[test]
fn what_a_role_may_do_is_what_its_name_says() {
    for (method, path, least) in operations() {
        let Some(least) = least else {
            assert!(["/health", "/openapi.json", "/docs", "/auth/login"].contains(&path.as_str()), "{path}");
            continue;
        };
        let route = format!("{method} {path}");
        if ["/auth/users", "/auth/tokens", "/audit", "/doctor/fix"]
            .iter()
            .any(|start| path.starts_with(start))
        {
            assert_eq!(least, Role::Admin, "{route}");
        }
        let of_files =
            path.starts_with("/restore/{mount_id}/") || path.contains("/diff/") || path.contains("search");
        if of_files {
            assert_eq!(least, Role::Restorer, "{route}");
        }
        let own = ["/auth/logout", "/auth/password"].contains(&path.as_str());
        match method.as_str() {
            "GET" if !of_files && least < Role::Admin => assert_eq!(least, Role::Viewer, "{route}"),
            "DELETE" if !path.starts_with("/restore/") => assert!(least >= Role::Operator, "{route}"),
            "GET" => {}
            _ if own => assert_eq!(least, Role::Viewer, "{route}"),
            _ => assert!(least >= Role::Restorer, "{route}"),
        }
    }
}

/// A VM that some callers may not see, with everything of it that has an id.
struct Hidden {
    site: Site,
    backup: String,
    mount: String,
    export: String,
    job: String,
}

const VM: &str = "hidden-vm";

impl Hidden {
    async fn new() -> Hidden {
        let site = Site::new().await;
        for (name, seed) in [(VM, 1), ("shown-vm", 2), ("other-vm", 3)] {
            let source = site.disk(&format!("{seed}.raw"), 64, seed);
            site.point(&site.full(name, &source)).await;
        }
        let backup =
            site.client.backups(&api::BackupQuery { vm_name: Some(VM.into()), ..Default::default() }).await;
        let backup = backup.unwrap().backups[0].id.to_string();
        let body = json!({"backup_id": backup});
        let mount = site.call("POST", "/restore/mount", body.clone()).await.body["mount_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let export =
            site.call("POST", "/restore/export", body).await.body["export_id"].as_str().unwrap().to_owned();
        let job = site.call("POST", &format!("/backups/{backup}/verify"), None).await;
        let job = job.body["job"]["id"].as_str().unwrap().to_owned();
        site.job_ended(&job.parse().unwrap()).await;
        Hidden { site, backup, mount, export, job }
    }

    fn route(&self, path: &str) -> String {
        let id = match path {
            path if path.starts_with("/jobs/") => &self.job,
            path if path.starts_with("/backup") => &self.backup,
            _ => "local-repo-1",
        };
        path.replace("{id}", id)
            .replace("{a}", &self.backup)
            .replace("{b}", &self.backup)
            .replace("{vm_name}", VM)
            .replace("{name}", VM)
            .replace("{mount_id}", &self.mount)
            .replace("{export_id}", &self.export)
            .replace("{archive_id}", "1")
            .replace("{job_type}", "verify")
            .replace("{job_id}", &self.job)
    }

    /// A body and a query that name the VM, where the route takes one.
    fn named(&self, method: &str, path: &str) -> (String, String) {
        let none = String::new;
        let body = match (method, path) {
            ("POST", "/backups") => json!({"vm_name": VM, "backup_type": "full"}),
            ("POST", "/backup/start") => json!({"vm_name": VM, "backup_type": "full"}),
            ("POST", "/restore/mount" | "/restore/export") => json!({"backup_id": self.backup}),
            ("POST", "/restore/disk") => {
                json!({"backup_id": self.backup, "disk_id": 0, "target": "/nowhere/x", "format": "raw"})
            }
            ("POST", "/vms") => json!({"name": VM, "disks": [{"source": "/nowhere"}], "replace": true}),
            ("POST", "/search/files") => json!({"query": {"vm_name": VM, "pattern": "*"}}),
            ("DELETE", "/vms") => return (format!("?vm_name={VM}"), none()),
            ("GET", "/search/files") => return (format!("?pattern=*&backup_id={}", self.backup), none()),
            ("GET", "/backups/resolve") => return (format!("?address={VM}@latest"), none()),
            ("GET", "/backup/chain") => return (format!("?vm_name={VM}"), none()),
            _ => return (none(), none()),
        };
        (none(), body.to_string())
    }
}

fn for_vms(names: &[&str]) -> Caller {
    let vms = names.iter().map(|name| vm(name)).collect();
    Caller { role: Role::Operator, vms: Some(Arc::new(vms)), ..Caller::local(0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn for_a_caller_who_may_see_some_vms_the_others_do_not_exist_on_any_route() {
    let hidden = Hidden::new().await;
    let site = &hidden.site;
    let caller = for_vms(&["shown-vm", "other-vm"]);
    let mut refused = 0;
    for (method, path, least) in operations() {
        if least.is_none_or(|least| least > Role::Operator) {
            continue;
        }
        let (query, body) = hidden.named(&method, &path);
        let route = format!("{}{query}", hidden.route(&path));
        let answer: Answer = site.send(Some(caller.clone()), &method, &route, body).await;
        match answer.status.as_u16() {
            403 | 404 => refused += 1,
            _ => assert!(!answer.body.to_string().contains(VM), "{method} {route}: {answer:?}"),
        }
        let named = path.contains('{') && !path.starts_with("/repositories");
        if named || !hidden.named(&method, &path).1.is_empty() {
            assert!([403, 404].contains(&answer.status.as_u16()), "{method} {route}: {answer:?}");
        }
    }
    assert!(refused > 35, "{refused}");
    // Nothing of it was touched, and the administrator still sees all of it.
    for path in ["backups", "jobs", "restore/mounts", "vms"] {
        assert!(site.call("GET", &format!("/{path}"), None).await.body.to_string().contains(VM), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_may_see_is_whole() {
    let hidden = Hidden::new().await;
    let site = &hidden.site;
    let both = for_vms(&["shown-vm", VM]);
    for (method, path, least) in operations() {
        let looks = method == "GET" && !path.contains("archives") && !path.contains("download");
        let whole = ["/doctor", "/metrics", "/events"].iter().any(|ending| path.ends_with(ending));
        if !looks || least != Some(Role::Viewer) || whole {
            continue;
        }
        if path.starts_with("/repositories/") || path.starts_with("/backups/resolve") {
            continue;
        }
        let (query, body) = hidden.named(&method, &path);
        let route = format!("{}{query}", hidden.route(&path));
        let answer = site.send(Some(both.clone()), &method, &route, body).await;
        assert_eq!(answer.status, 200, "{method} {route}: {answer:?}");
    }
    let get =
        async |caller: &Caller, path: &str| site.send(Some(caller.clone()), "GET", path, String::new()).await;
    for (path, total) in
        [("/backups", 2), ("/backup/list", 2), ("/vms", 2), ("/jobs", 3), ("/restore/mounts", 2)]
    {
        assert_eq!(get(&both, path).await.body["total"], total, "{path}");
    }
    // What is counted is theirs.
    let seen = for_vms(&[VM]);
    let repository = &get(&seen, "/repositories").await.body["repositories"][0];
    assert_eq!(repository["backup_count"], 1, "{repository}");
    let id = repository["id"].as_str().unwrap();
    let storage = get(&seen, &format!("/repositories/{id}/storage")).await.body;
    let whole = get(&both, &format!("/repositories/{id}/storage")).await.body;
    assert_eq!(
        (&storage["storage"]["backup_count"], &whole["storage"]["backup_count"]),
        (&json!(1), &json!(2))
    );
    let bytes = |answer: &Value| answer["storage"]["backups_size_bytes"].as_u64().unwrap();
    assert!(bytes(&storage) > 0 && bytes(&storage) < bytes(&whole), "{storage} {whole}");
    for name in [VM, "shown-vm"] {
        let seen = for_vms(&[name]);
        let open = get(&seen, "/restore/mounts").await.body["total"].clone();
        let resources = get(&seen, "/restore/resources").await.body;
        assert_eq!((&resources["active_mounts"], &resources["own_mounts"]), (&open, &open), "{name}");
        assert_eq!(get(&seen, "/restore/cleanup-status").await.body["active_mounts"], open, "{name}");
    }
    let listed = get(&both, "/backups?limit=1&offset=1").await.body;
    assert_eq!((&listed["total"], listed["backups"].as_array().unwrap().len()), (&json!(2), 1));
    // `latest` is that of the one VM there is; of several it must be named.
    let one = for_vms(&[VM]);
    let latest = get(&one, "/backups/resolve?address=latest").await;
    assert_eq!(latest.body["backup"]["id"], hidden.backup.as_str(), "{latest:?}");
    get(&both, "/backups/resolve?address=latest").await.refused(400, "invalid_request");
    let prefix = get(&one, "/backups/resolve?address=backup-").await;
    assert_eq!(prefix.body["backup"]["vm_name"], VM, "others are no candidates: {prefix:?}");
    let found = get(&both, "/search/files?pattern=*").await;
    assert_eq!(found.body["statistics"]["points_searched"], 2, "{found:?}");
    let body = json!({"vm_name": "shown-vm", "backup_type": "full"}).to_string();
    let started = site.send(Some(both), "POST", "/backups", body).await;
    assert_eq!(started.status, 202, "{started:?}");
    let id = started.body["backup"]["id"].as_str().unwrap().parse().unwrap();
    site.ended(&id).await;
}
