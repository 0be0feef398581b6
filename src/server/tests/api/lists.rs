//! What all lists have in common: pages, newest first, and how many there are.

use crate::support::Site;
use api::MountBackup;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The lists, where their rows are, what tells rows apart, and when a row was made.
const LISTS: [(&str, &str, &str, &str); 9] = [
    ("/auth/users", "users", "name", "created_at"),
    ("/auth/tokens", "tokens", "id", "created_at"),
    ("/repositories", "repositories", "id", "created_at"),
    ("/vms", "vms", "name", "created_at"),
    ("/restore/mounts", "mounts", "mount_id", "created_at"),
    ("/backups", "backups", "id", "created_at"),
    ("/backup/list", "backups", "id", "created_at"),
    ("/jobs", "jobs", "id", "created_at"),
    ("/audit", "entries", "object", "at"),
];

/// Three of everything.
async fn filled() -> Site {
    let site = Site::new().await;
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1);
    for (n, name) in ["b", "c", "a"].into_iter().enumerate() {
        let user = json!({"name": name, "password": "correct horse battery", "role": "viewer"});
        assert_eq!(site.call("POST", "/auth/users", user).await.status, 201);
        let token = json!({"name": name, "role": "viewer", "expires_at": soon});
        let made = site.call("POST", "/auth/tokens", token).await;
        assert_eq!(made.status, 201, "{made:?}");
        let folder = site.path(name);
        let repository = json!({"name": name, "type": "local", "config": {"disk_path": folder}});
        assert_eq!(site.call("POST", "/repositories", repository).await.status, 201);
        let disk = site.disk(&format!("{name}.raw"), 64, n as u64 + 1);
        let mut request = site.full(name, &disk);
        request.repository_id = Some("a".parse().unwrap()).filter(|_| name == "a");
        let point = site.point(&request).await;
        site.client.mount(&MountBackup::of(point.id)).await.unwrap();
    }
    site
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_has_pages_newest_first_and_tells_how_many_there_are() {
    let site = filled().await;
    for (route, rows, key, at) in LISTS {
        let page = async |query: &str| -> (Vec<Value>, Value) {
            let answer = site.call("GET", &format!("{route}?{query}"), None).await;
            assert_eq!(answer.status, 200, "{route}: {}", answer.body);
            (answer.body[rows].as_array().unwrap().clone(), answer.body["total"].clone())
        };
        let (all, total) = page("").await;
        assert_eq!(json!(all.len()), total, "{route}");
        assert!(all.len() >= 3, "{route}: {all:?}");
        let made: Vec<&str> = all.iter().map(|row| row[at].as_str().unwrap()).collect();
        assert!(made.is_sorted_by(|a, b| a >= b), "{route}: {made:?}");
        let keys: Vec<&Value> = all.iter().map(|row| &row[key]).collect();
        for (position, expected) in keys.iter().enumerate() {
            let (one, same) = page(&format!("limit=1&offset={position}")).await;
            assert_eq!((one.len(), &one[0][key], &same), (1, *expected, &total), "{route} {position}");
        }
        assert_eq!(page(&format!("offset={}", all.len())).await, (Vec::new(), total.clone()), "{route}");
        assert_eq!(page("limit=0").await, (Vec::new(), total.clone()), "{route}");
        assert_eq!(page("limit=1000").await.1, total, "{route}");
        for (query, field) in [
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=many", "limit"),
            ("offset=1000000000001", "offset"),
            ("bogus=1", "bogus"),
        ] {
            // The older route takes what older scripts send.
            if (route, field) == ("/backup/list", "bogus") {
                continue;
            }
            let answer = site.call("GET", &format!("{route}?{query}"), None).await;
            let body = answer.refused(400, "invalid_request");
            assert_eq!(body["details"]["field"], field, "{route}?{query}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_list_is_without_pages() {
    let site = Site::new().await;
    let document = site.call("GET", "/openapi.json", None).await.body;
    let mut lists = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let answer = &operations["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        let Some(name) = answer.as_str().and_then(|name| name.strip_prefix("#/components/schemas/")) else {
            continue;
        };
        let shape = &document["components"]["schemas"][name]["properties"];
        if shape.get("total").is_none() {
            continue;
        }
        lists.insert(path.trim_start_matches("/api/v1").to_owned());
        let parameters = operations["get"]["parameters"].as_array().unwrap();
        for (name, most) in [("limit", 1000_u64), ("offset", 1_000_000_000_000)] {
            let found = parameters.iter().find(|parameter| parameter["name"] == name);
            let found = found.unwrap_or_else(|| panic!("{path} has no {name}"));
            assert_eq!(found["schema"]["maximum"], most, "{path}");
        }
    }
    for (route, ..) in LISTS {
        assert!(lists.contains(route), "{route} is none of {lists:?}");
    }
}
