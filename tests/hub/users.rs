//! Users, roles and tokens with the program, from elsewhere.

use super::guarded::{Guarded, PASSWORD};
use crate::harness::{MIB, have};
use serde_json::json;

const OTHER: &str = "another horse battery";

#[test]
fn users_are_added_changed_and_removed_from_elsewhere() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Guarded::new(&[]);
    assert_eq!(hub.hub_login("admin", PASSWORD).code, 0);
    let site = &hub.site;
    let secret = [("SENDENSE_PASSWORD", PASSWORD)];
    hub.ok(&secret, "hub users add j.doe --role restorer");
    hub.run(&secret, "hub users add j.doe --role restorer").failed_with(5, &["j.doe", "exists already"]);
    hub.run(&secret, "hub users add J.Doe --role restorer").failed_with(2, &["small letters"]);
    hub.run(&secret, "hub users add x --role root").failed_with(2, &["root"]);
    hub.run(&[], "hub users add x --role viewer").failed_with(2, &["SENDENSE_PASSWORD"]);
    let listed = site.bare_json("hub users list");
    let names: Vec<_> =
        listed["users"].as_array().unwrap().iter().map(|u| (&u["name"], &u["role"])).collect();
    assert_eq!(names, [(&json!("admin"), &json!("admin")), (&json!("j.doe"), &json!("restorer"))]);
    let table = site.bare_ok("hub users list");
    assert!(table.stdout.contains("NAME") && table.stdout.contains("j.doe"), "{table:#?}");

    let token = hub.token("j.doe", PASSWORD);
    assert_eq!((hub.status(&token, "/vms"), hub.status(&token, "/audit")), (200, 403));
    site.bare_ok("hub users role j.doe admin");
    assert_eq!(hub.status(&token, "/audit"), 403, "a login is for the role that it began with");
    assert_eq!(hub.status(&hub.token("j.doe", PASSWORD), "/audit"), 200);
    site.bare_ok("hub users role j.doe viewer");
    assert_eq!(hub.status(&hub.token("j.doe", PASSWORD), "/audit"), 403);
    hub.ok(&[("SENDENSE_NEW_PASSWORD", OTHER)], "hub users passwd j.doe");
    assert_eq!(hub.status(&token, "/vms"), 401);
    assert_eq!(hub.login("j.doe", PASSWORD).status, 401);
    let token = hub.token("j.doe", OTHER);
    site.bare_ok("hub users disable j.doe");
    assert_eq!((hub.status(&token, "/vms"), hub.login("j.doe", OTHER).status), (401, 401));
    site.bare_ok("hub users enable j.doe");
    assert_eq!(hub.login("j.doe", OTHER).status, 200);
    site.bare_run("hub users remove j.doe").failed_with(2, &["--yes"]);
    site.bare_ok("hub users remove j.doe --yes");
    site.bare_run("hub users remove j.doe --yes").failed_with(4, &["there is no user j.doe"]);
    for line in ["role admin operator", "disable admin", "remove admin --yes"] {
        site.bare_run(&format!("hub users {line}")).failed_with(5, &["last administrator"]);
    }
}

#[test]
fn who_changes_the_own_password_stays_logged_in_and_is_nowhere_else() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Guarded::new(&[]);
    let elsewhere = hub.token("admin", PASSWORD);
    assert_eq!(hub.hub_login("admin", PASSWORD).code, 0);
    let change = |current: &str, new: &str| {
        hub.run(&[("SENDENSE_PASSWORD", current), ("SENDENSE_NEW_PASSWORD", new)], "hub users passwd")
    };
    change("wrong horse battery", OTHER).failed_with(2, &["current_password"]);
    change(PASSWORD, "short").failed_with(2, &["at least 12"]);
    assert_eq!(hub.status(&elsewhere, "/vms"), 200);
    let run = change(PASSWORD, OTHER);
    assert_eq!(run.code, 0, "{run:#?}");
    hub.site.bare_ok("hub users list");
    assert_eq!(hub.status(&elsewhere, "/vms"), 401);
    hub.site.bare_run("hub users passwd --hub local").failed_with(2, &["has no password", "passwd NAME"]);
}

#[test]
fn a_token_for_one_vm_sees_that_vm_only_and_does_what_its_role_does() {
    if !have(&["curl"]) {
        return;
    }
    let restores = tempfile::tempdir().unwrap();
    let hub = Guarded::new(&["--set", &format!("restore.folders={}", restores.path().display())]);
    let site = &hub.site;
    for (name, seed) in [("web", 1), ("db", 2)] {
        let disk = site.disk(&format!("{name}.raw"), 2 * MIB, 1, seed);
        site.bare_ok(&format!("backup start --hub local --vm {name} --source {}", disk.display()));
    }
    let web = hub.api_token("web-team --role restorer --vm web");
    let operator = hub.api_token("web-cron --role operator --vm web");
    let address = hub.address();
    let as_web = |line: &str| hub.run(&[("SENDENSE_TOKEN", &web)], &format!("{line} --hub {address}"));
    let as_operator =
        |line: &str| hub.run(&[("SENDENSE_TOKEN", &operator)], &format!("{line} --hub {address}"));
    let listed = as_web("backup list --json");
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!((&listed["total"], &listed["backups"][0]["vm_name"]), (&json!(1), &json!("web")));
    assert_eq!(as_web("vm list --columns name --no-headers").stdout.trim(), "web");
    as_web("vm show db").failed_with(4, &["there is no VM db"]);
    as_web("backup show db@latest").failed_with(4, &["there is no VM db"]);
    as_web("backup chain --vm db").failed_with(4, &["there is no VM db"]);
    assert_eq!(as_web("backup show latest").code, 0, "the latest of what there is");
    let elsewhere = site.path("restored.raw").display().to_string();
    let listed = restores.path().display().to_string();
    as_web(&format!("restore disk latest --to {elsewhere}")).failed_with(12, &["administrator", &listed]);
    let target = restores.path().join("restored.raw").display().to_string();
    let restored = as_web(&format!("restore disk latest --to {target}"));
    assert_eq!(restored.code, 0, "{restored:#?}");
    assert!(std::fs::read(&target).unwrap() == std::fs::read(site.path("web.raw")).unwrap());
    as_web("backup start --vm web").failed_with(12, &["role operator"]);
    as_web("backup delete latest --yes").failed_with(12, &["role operator"]);
    as_web("doctor").failed_with(12, &["whole hub"]);
    as_operator("backup start --vm db").failed_with(12, &["not for the VM db"]);
    let more = as_operator("backup start --vm web");
    assert_eq!(more.code, 0, "{more:#?}");
    as_operator("repo create other --path /tmp/other").failed_with(12, &["role admin"]);
    // The audit log says who it was.
    let log = site.bare_json("hub audit --hub local --limit 0");
    let entries = log["entries"].as_array().unwrap();
    let told = |actor: &str, action: &str, outcome: &str| {
        entries.iter().any(|e| e["actor"] == actor && e["action"] == action && e["outcome"] == outcome)
    };
    assert!(told("token web-team", "restore_disk", "ok"), "{log:#}");
    assert!(told("token web-team", "backup_start", "forbidden"), "{log:#}");
    assert!(told("token web-cron", "backup_start", "ok"), "{log:#}");
    let by_request = entries.iter().find(|e| e["action"] == "restore_disk").unwrap();
    let id = by_request["request_id"].as_str().unwrap();
    assert!(std::fs::read_to_string(site.path("hub.log")).unwrap().contains(id), "the log has the same id");
    let filtered = site.bare_json("hub audit --hub local --action backup_start --since 1h --limit 2");
    assert_eq!(filtered["entries"].as_array().unwrap().len(), 2);
    assert!(filtered["total"].as_u64().unwrap() >= 4, "{filtered}");
}

#[test]
fn tokens_are_listed_and_revoked_by_name_and_by_id() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Guarded::new(&[]);
    let site = &hub.site;
    let made = site.bare_json("hub tokens create cron --role operator --expires 30d");
    let (token, id) = (made["token"].as_str().unwrap(), made["api_token"]["id"].as_str().unwrap());
    let login = hub.token("admin", PASSWORD);
    assert_eq!(hub.status(token, "/vms"), 200);
    site.bare_run("hub tokens create cron --role viewer").failed_with(5, &["cron", "exists already"]);
    site.bare_run("hub tokens create x --role admin --vm web").failed_with(2, &["whole hub"]);
    let listed = site.bare_ok("hub tokens list");
    assert!(listed.stdout.contains("cron") && listed.stdout.contains("admin"), "{listed:#?}");
    assert!(!listed.stdout.contains(token) && !listed.stdout.contains(&login));
    site.bare_run("hub tokens revoke cron").failed_with(2, &["--yes"]);
    site.bare_ok(&format!("hub tokens revoke {} --yes", &id[..13]));
    assert_eq!(hub.status(token, "/vms"), 401);
    let all = site.bare_json("hub tokens list --all");
    let state = |name: &str| {
        all["tokens"].as_array().unwrap().iter().find(|t| t["name"] == name).map(|t| t["state"].clone())
    };
    assert_eq!((state("cron"), state("admin")), (Some(json!("revoked")), Some(json!("valid"))));
    let logins = site.bare_json("hub tokens list --user admin");
    let id = logins["tokens"][0]["id"].as_str().unwrap();
    site.bare_ok(&format!("hub tokens revoke {id} --yes"));
    assert_eq!(hub.status(&login, "/vms"), 401);
}
