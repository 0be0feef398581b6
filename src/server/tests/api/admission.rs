//! What a caller may no longer have, and what is somebody else's.

use crate::support::{Site, vm};
use api::{Caller, CreateUser, Peer, Role, StartBackup, Who};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";

fn user(name: &str, login: &str, role: Role) -> Caller {
    let who = Who::User { name: name.parse().unwrap(), token_id: login.to_owned() };
    Caller { who, role, ..Caller::local(0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_that_it_was_asked_for_by() {
    let site = Site::new().await;
    let name = "viewer".parse().unwrap();
    let new = CreateUser { name, password: PASSWORD.to_owned(), role: Role::Viewer, first: false };
    site.hub.create_user(new).await.unwrap();
    let source = site.disk("slow.raw", 4096, 1);
    let slow = StartBackup { bandwidth_limit_bps: Some(1 << 16), ..site.full("slow", &source) };
    let id = site.client.start_backup(&slow).await.unwrap().backup.id;
    let login = site.login("viewer", PASSWORD).await;
    let token = login.body["token"].as_str().unwrap();
    let mut request = Request::builder()
        .header("authorization", format!("Bearer {token}"))
        .uri(format!("/api/v1/backups/{id}/events"))
        .body(Body::empty())
        .unwrap();
    request.extensions_mut().insert(Peer::Network { address: [192, 0, 2, 7].into() });
    let mut events = site.router.clone().oneshot(request).await.unwrap().into_body();
    assert!(events.frame().await.unwrap().unwrap().data_ref().unwrap().starts_with(b"event: progress"));

    assert_eq!(site.with_token(token, "POST", "/auth/logout", String::new()).await.status, 200);
    let cut = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            match events.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return error,
                None => panic!("it ended as if the job had"),
            }
        }
    });
    let error = cut.await.unwrap();
    assert!(error.to_string().contains("not valid any more"), "{error}");
    assert!(!site.client.backup(&id).await.unwrap().status.is_final(), "the job goes on");
    site.client.cancel_backup(&id).await.unwrap();
    site.ended(&id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_keys_is_its_openers_and_the_administrators() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 64, 1);
    let point = site.point(&site.full("a", &source)).await;
    let (alice, bob) = (user("alice", "1", Role::Restorer), user("bob", "2", Role::Operator));
    let open = async |body: serde_json::Value| {
        let mounted = site.send(Some(alice.clone()), "POST", "/restore/mount", body.to_string()).await;
        mounted.body["mount_id"].as_str().unwrap().to_owned()
    };
    let keyed = open(json!({"backup_id": point.id, "keys_b64": ["c2VjcmV0"]})).await;
    let plain = open(json!({"backup_id": point.id})).await;
    for (caller, mount, may) in [
        (alice.clone(), &keyed, true),
        (user("alice", "another login", Role::Restorer), &keyed, true),
        (user("carol", "3", Role::Admin), &keyed, true),
        (bob.clone(), &keyed, false),
        (bob.clone(), &plain, true),
    ] {
        // A beginning of the id leads to the same session.
        for id in [mount.as_str(), &mount[..20]] {
            for route in ["files?path=/", "file-info?path=/", "glob?path=/*", "download?path=/x"] {
                let answer =
                    site.send(Some(caller.clone()), "GET", &format!("/restore/{id}/{route}"), "").await;
                if may {
                    assert_ne!(answer.status, 403, "{caller:?} {route}: {answer:?}");
                } else {
                    answer.refused(403, "forbidden");
                }
            }
        }
    }
    let ended = site.send(Some(bob), "DELETE", &format!("/restore/{keyed}"), "").await;
    assert_eq!(ended.status, 200, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn places_on_the_hubs_machine_are_named_by_those_only_who_may_see_everything() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 64, 1);
    let point = site.point(&site.full("mine", &source)).await;
    let path = site.path("mnt");
    let body = json!({"backup_id": point.id, "path": path}).to_string();
    let operator = user("bob", "1", Role::Operator);
    let refused = site.send(Some(operator), "POST", "/restore/mount", body).await;
    assert!(refused.refused(403, "forbidden")["hint"].as_str().unwrap().contains("leave path out"));
    assert!(!path.exists());

    let other = site.disk("secret.raw", 64, 2);
    let only = Some(Arc::new([vm("mine"), vm("new")].into()));
    let filtered = Caller { vms: only, ..user("eve", "2", Role::Operator) };
    for (route, body) in [
        ("/backups", json!({"vm_name": "new", "backup_type": "full", "source": other})),
        ("/backups", json!({"vm_name": "new", "backup_type": "full", "sources": [other]})),
        ("/backup/start", json!({"vm_name": "new", "backup_type": "full", "source": other})),
        ("/vms", json!({"name": "mine", "disks": [{"source": other}], "replace": true})),
    ] {
        let refused = site.send(Some(filtered.clone()), "POST", route, body.to_string()).await;
        assert!(
            refused.refused(403, "forbidden")["error"].as_str().unwrap().contains("where their disks are")
        );
    }
    let body = json!({"vm_name": "mine", "backup_type": "full"}).to_string();
    let started = site.send(Some(filtered), "POST", "/backups", body).await;
    assert_eq!(started.status, 202, "{started:?}");
    site.ended(&started.body["backup"]["id"].as_str().unwrap().parse().unwrap()).await;
    assert!(site.client.vm(&vm("new")).await.is_err());
}
