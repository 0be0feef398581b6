//! Users, logins, tokens and the audit log, as a script sees them.

use crate::support::{Site, has_keys};
use api::{AuditQuery, Caller, CreateToken, Role};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";

impl Site {
    async fn user(&self, name: &str, role: &str) {
        let body = json!({"name": name, "password": PASSWORD, "role": role});
        let made = self.call("POST", "/auth/users", body).await;
        assert_eq!(made.status, 201, "{made:?}");
        has_keys(&made.body["user"], "name role disabled created_at updated_at last_login_at");
        assert!(!made.body.to_string().contains("argon2"), "{made:?}");
    }

    /// The token of a fresh login.
    async fn token_of(&self, name: &str) -> String {
        let answer = self.login(name, PASSWORD).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        has_keys(&answer.body, "token expires_at role");
        answer.body["token"].as_str().unwrap().to_owned()
    }

    async fn whoami(&self, token: &str) -> u16 {
        self.with_token(token, "GET", "/auth/whoami", String::new()).await.status.as_u16()
    }

    async fn audited(&self, query: AuditQuery) -> Vec<Value> {
        let list = self.client.audit(&query).await.unwrap();
        list.entries.iter().map(|entry| serde_json::to_value(entry).unwrap()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_logs_in_works_and_logs_out() {
    let site = Site::new().await;
    site.user("j.doe", "operator").await;
    let token = site.token_of("j.doe").await;
    let who = site.with_token(&token, "GET", "/auth/whoami", String::new()).await;
    assert_eq!((&who.body["username"], &who.body["role"]), (&json!("j.doe"), &json!("operator")), "{who:?}");
    assert!(who.body["expires_at"].is_string());
    assert_eq!(site.with_token(&token, "GET", "/backups", String::new()).await.status, 200);
    site.with_token(&token, "GET", "/auth/users", String::new()).await.refused(403, "forbidden");
    let other = site.token_of("j.doe").await;
    assert_ne!(token, other);
    let out = site.with_token(&token, "POST", "/auth/logout", String::new()).await;
    assert_eq!(out.body, json!({"success": true}));
    site.with_token(&token, "GET", "/backups", String::new()).await.refused(401, "unauthorized");
    assert_eq!(site.whoami(&other).await, 200, "the other login goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_known_is_told_nothing() {
    let site = Site::new().await;
    site.user("admin", "admin").await;
    let mut told = Vec::new();
    for (name, password) in
        [("admin", "wrong horse battery"), ("nobody", PASSWORD), ("Admin", PASSWORD), ("admin", "")]
    {
        let answer = site.login(name, password).await;
        answer.refused(401, "unauthorized");
        told.push(answer.body);
    }
    assert!(told.iter().all(|body| body == &told[0]), "{told:?}");
    for token in ["x", "sendense_", &format!("sendense_{}", "0".repeat(64)), &"x".repeat(5000)] {
        site.with_token(token, "GET", "/backups", String::new()).await.refused(401, "unauthorized");
    }
    // What anybody may do, anybody may do with a token that has ended, too.
    assert_eq!(site.with_token("x", "GET", "/health", String::new()).await.status, 200);
    for body in ["", "{}", r#"{"username":"a","password":"b","x":1}"#, r#"{"username":1,"password":"b"}"#] {
        let answer = site.with_token("x", "POST", "/auth/login", body).await;
        answer.refused(400, "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_whatever_it_stands_on() {
    let site = Site::new().await;
    site.user("admin", "admin").await;
    for (name, change) in [
        ("a", json!({"disabled": true})),
        ("b", json!({"password": "another horse battery"})),
        ("c", Value::Null),
    ] {
        site.user(name, "viewer").await;
        let token = site.token_of(name).await;
        assert_eq!(site.whoami(&token).await, 200);
        let path = format!("/auth/users/{name}");
        let (method, body) = if change.is_null() { ("DELETE", None) } else { ("PATCH", Some(change)) };
        let answer = site.call(method, &path, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(site.whoami(&token).await, 401, "{name}");
        site.login(name, PASSWORD).await.refused(401, "unauthorized");
    }
    assert_eq!(site.login("b", "another horse battery").await.status, 200);
    site.call("PATCH", "/auth/users/a", json!({"disabled": false})).await;
    assert_eq!(site.login("a", PASSWORD).await.status, 200);
    site.call("PATCH", "/auth/users/nobody", json!({"disabled": false})).await.refused(404, "user_not_found");
    site.call("DELETE", "/auth/users/nobody", None).await.refused(404, "user_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_taken_away_is_gone_at_once_and_the_last_administrator_stays() {
    let site = Site::new().await;
    site.user("one", "admin").await;
    site.user("two", "admin").await;
    let token = site.token_of("two").await;
    let made = site.with_token(
        &token,
        "POST",
        "/auth/tokens",
        json!({"name": "cron", "role": "operator"}).to_string(),
    );
    let api = made.await.body["token"].as_str().unwrap().to_owned();
    let role = async |token: &str| {
        site.with_token(token, "GET", "/auth/whoami", String::new()).await.body["role"].clone()
    };
    site.call("PATCH", "/auth/users/two", json!({"role": "viewer"})).await;
    assert_eq!((role(&token).await, role(&api).await), (json!("viewer"), json!("viewer")));
    site.with_token(&token, "GET", "/audit", String::new()).await.refused(403, "forbidden");
    for (method, body) in [
        ("PATCH", Some(json!({"role": "operator"}))),
        ("PATCH", Some(json!({"disabled": true}))),
        ("DELETE", None),
    ] {
        let answer = site.call(method, "/auth/users/one", body).await;
        answer.refused(409, "conflict");
        assert!(answer.body["error"].as_str().unwrap().contains("last administrator"), "{answer:?}");
    }
    assert_eq!(site.login("one", PASSWORD).await.status, 200);
    let first = json!({"name": "three", "password": PASSWORD, "role": "admin", "first": true});
    site.call("POST", "/auth/users", first).await.refused(409, "already_exists");
    site.call("DELETE", "/auth/users/two", None).await;
    assert_eq!(role(&api).await, Value::Null, "the token of a user who is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_hold_the_rules_and_are_changed_by_who_knows_them() {
    let site = Site::new().await;
    for password in ["", "short", "eleven char"] {
        let body = json!({"name": "a", "password": password, "role": "viewer"});
        let answer = site.call("POST", "/auth/users", body).await;
        assert_eq!(answer.refused(400, "invalid_request")["details"]["field"], "password");
        assert!(password.is_empty() || !answer.body.to_string().contains(password), "{answer:?}");
    }
    site.user("viewer", "viewer").await;
    let token = site.token_of("viewer").await;
    let change = async |token: &str, current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new}).to_string();
        site.with_token(token, "POST", "/auth/password", body).await
    };
    let wrong = change(&token, "wrong horse battery", "a new horse battery").await;
    assert_eq!(wrong.refused(400, "invalid_request")["details"]["field"], "current_password");
    change(&token, PASSWORD, "short").await.refused(400, "invalid_request");
    assert_eq!(change(&token, PASSWORD, "a new horse battery").await.status, 200);
    assert_eq!(site.whoami(&token).await, 401);
    site.login("viewer", PASSWORD).await.refused(401, "unauthorized");
    assert_eq!(site.login("viewer", "a new horse battery").await.status, 200);
    site.call("POST", "/auth/password", json!({"current_password": "a", "new_password": "another password"}))
        .await
        .refused(409, "conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn api_tokens_are_made_listed_and_revoked() {
    let site = Site::new().await;
    let request = CreateToken {
        name: "nightly backup".into(),
        role: Role::Operator,
        vms: Some(vec!["web".parse().unwrap(), "db".parse().unwrap()]),
        expires_at: None,
    };
    let made = site.client.create_token(&request).await.unwrap();
    let who = site.with_token(&made.token, "GET", "/auth/whoami", String::new()).await;
    assert_eq!(
        (&who.body["name"], &who.body["username"], &who.body["vms"]),
        (&json!("token nightly backup"), &Value::Null, &json!(["db", "web"])),
        "{who:?}"
    );
    site.with_token(&made.token, "GET", "/doctor", String::new()).await.refused(403, "forbidden");
    site.with_token(&made.token, "POST", "/auth/logout", String::new()).await.refused(409, "conflict");
    site.call("POST", "/auth/tokens", json!({"name": "nightly backup", "role": "viewer"}))
        .await
        .refused(409, "already_exists");
    for (body, field) in [
        (json!({"name": "", "role": "viewer"}), "name"),
        (json!({"name": " a", "role": "viewer"}), "name"),
        (json!({"name": "a\nb", "role": "viewer"}), "name"),
        (json!({"name": "a", "role": "root"}), "role"),
        (json!({"name": "a", "role": "viewer", "vms": []}), "vms"),
        (json!({"name": "a", "role": "viewer", "vms": ["../x"]}), "vms[0]"),
        (json!({"name": "a", "role": "admin", "vms": ["x"]}), "vms"),
        (json!({"name": "a", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}), "expires_at"),
        (json!({"name": "a", "role": "viewer", "expires_at": "2999-01-01T00:00:00Z"}), "expires_at"),
    ] {
        let answer = site.call("POST", "/auth/tokens", body).await;
        assert_eq!(answer.refused(400, "invalid_request")["details"]["field"], field);
    }
    let listed = site.call("GET", "/auth/tokens?kind=api", None).await;
    assert_eq!(listed.body["total"], 1);
    let token = &listed.body["tokens"][0];
    has_keys(
        token,
        "id name kind state role vms username created_by created_at expires_at last_used_at revoked_at",
    );
    assert_eq!((&token["state"], &token["kind"]), (&json!("valid"), &json!("api")));
    assert!(token["created_by"].as_str().unwrap().starts_with("uid "), "{token}");
    assert!(!listed.body.to_string().contains(&made.token[9..]), "{listed:?}");
    site.until("the use is noted", async || {
        let listed = site.call("GET", "/auth/tokens", None).await;
        listed.body["tokens"][0]["last_used_at"].is_string().then_some(())
    })
    .await;
    let revoked = site.client.revoke_token(&made.api_token.id).await.unwrap();
    assert_eq!(revoked.token_id, made.api_token.id);
    assert_eq!(site.whoami(&made.token).await, 401);
    assert_eq!(site.call("GET", "/auth/tokens", None).await.body["total"], 0);
    let all = site.call("GET", "/auth/tokens?all", None).await;
    assert_eq!(all.body["tokens"][0]["state"], "revoked");
    site.call("DELETE", "/auth/tokens/nothing", None).await.refused(404, "token_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_waits() {
    let site = Site::new().await;
    site.user("admin", "admin").await;
    for _ in 0..5 {
        site.login("admin", "wrong horse battery").await.refused(401, "unauthorized");
    }
    let answer = site.login("admin", PASSWORD).await;
    answer.refused(429, "too_many_requests");
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(answer.body["details"]["retry_after_seconds"], 1);
    site.until("the wait is over", async || {
        (site.login("admin", PASSWORD).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_and_restores_are_in_the_audit_log_with_who_and_how_it_ended() {
    let site = Site::new().await;
    site.user("admin", "admin").await;
    site.user("viewer", "viewer").await;
    let (admin, viewer) = (site.token_of("admin").await, site.token_of("viewer").await);
    site.login("admin", "wrong horse battery").await;
    site.login("hunter2hunter2", PASSWORD).await;
    let source = site.disk("a.raw", 64, 1);
    let point = site.point(&site.full("web", &source)).await;
    let path = format!("/backups/{}", point.id);
    site.with_token(&viewer, "DELETE", &path, String::new()).await.refused(403, "forbidden");
    site.with_token("x", "DELETE", &path, String::new()).await.refused(401, "unauthorized");
    site.with_token(&admin, "DELETE", &format!("{path}?dry_run"), String::new()).await;
    let mounted = json!({"backup_id": point.id}).to_string();
    let mounted = site.with_token(&admin, "POST", "/restore/mount", mounted).await;
    let mount = mounted.body["mount_id"].as_str().unwrap();
    site.with_token(&admin, "GET", &format!("/restore/{mount}/download?path=/nothing"), String::new()).await;
    site.with_token(&admin, "DELETE", &format!("/restore/{mount}"), String::new()).await;
    site.with_token(&admin, "DELETE", &path, String::new()).await;
    site.with_token(&admin, "POST", "/auth/tokens", json!({"name": "t", "role": "viewer"}).to_string()).await;

    let entries = site.audited(AuditQuery::default()).await;
    let local = format!("uid {}", rustix_uid());
    let id = point.id.as_str();
    let told: Vec<[&str; 5]> = entries
        .iter()
        .rev()
        .map(|entry| {
            ["actor", "origin", "action", "object", "outcome"].map(|key| entry[key].as_str().unwrap_or("-"))
        })
        .collect();
    let network = "192.0.2.7";
    let expected = [
        [&*local, "process", "user_create", "admin", "ok"],
        [&local, "process", "user_create", "viewer", "ok"],
        ["admin", network, "login", "admin", "ok"],
        ["viewer", network, "login", "viewer", "ok"],
        ["admin", network, "login", "admin", "unauthorized"],
        ["unknown", network, "login", "unknown", "unauthorized"],
        [&local, "process", "backup_start", id, "ok"],
        ["viewer", network, "backup_delete", id, "forbidden"],
        ["admin", network, "restore_mount", id, "ok"],
        ["admin", network, "file_download", mount, "file_not_found"],
        ["admin", network, "restore_unmount", mount, "ok"],
        ["admin", network, "backup_delete", id, "ok"],
        ["admin", network, "token_create", "t", "ok"],
    ];
    assert_eq!(told, expected);
    let text = serde_json::to_string(&entries).unwrap();
    for secret in [PASSWORD, "wrong horse", "hunter2", &admin[9..], "argon2"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let of = async |query: AuditQuery| site.audited(query).await.len();
    assert_eq!(of(AuditQuery { actor: Some("viewer".into()), ..AuditQuery::default() }).await, 2);
    assert_eq!(of(AuditQuery { object: Some(id.into()), ..AuditQuery::default() }).await, 4);
    assert_eq!(of(AuditQuery { action: Some("login".into()), ..AuditQuery::default() }).await, 4);
    let page = site.call("GET", "/audit?limit=3&offset=2", None).await;
    assert_eq!((page.body["entries"].as_array().unwrap().len(), &page.body["total"]), (3, &json!(13)));
    site.call("GET", "/audit?limit=1001", None).await.refused(400, "invalid_request");
    let viewer = Caller { role: Role::Operator, ..Caller::local(0) };
    site.send(Some(viewer), "GET", "/audit", String::new()).await.refused(403, "forbidden");
}

fn rustix_uid() -> String {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid().to_string()
}
