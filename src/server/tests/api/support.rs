//! A hub on a fresh folder, its router, a client of it, and requests as a script would write them.

use api::{Backup, Caller, Client, InProcess, JobView, Peer, StartBackup};
use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::BodyExt;
use hub::{Hub, HubConfig};
use model::{BackupId, JobId, RequestedType, SourceUri, Status, VmName};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tower::ServiceExt;

pub struct Site {
    folder: tempfile::TempDir,
    pub hub: Hub,
    pub router: Router,
    pub client: Client,
}

/// An answer with its body read as JSON; `Null` where it is empty, text where it says that it is a page.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Site {
    pub async fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub::open(HubConfig::new(folder.path().join("state"))).await.unwrap();
        let router = server::router(hub.clone());
        let client = Client::new(InProcess::new(router.clone()));
        Site { folder, hub, router, client }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A raw disk of that many KiB whose every 64 KiB differ from each other and from those of other seeds.
    pub fn disk(&self, name: &str, kib: usize, seed: u64) -> SourceUri {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .take(kib * 128)
        .flatten()
        .collect();
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().parse().unwrap()
    }

    pub fn full(&self, name: &str, source: &SourceUri) -> StartBackup {
        StartBackup { source: Some(source.clone()), ..StartBackup::new(vm(name), RequestedType::Full) }
    }

    /// Runs a backup to its end.
    pub async fn run(&self, request: &StartBackup) -> Backup {
        let started = self.client.start_backup(request).await.unwrap();
        self.ended(&started.backup.id).await
    }

    /// A backup that must become a point.
    pub async fn point(&self, request: &StartBackup) -> Backup {
        let backup = self.run(request).await;
        assert_eq!(backup.status, Status::Completed, "{:?}", backup.error_message);
        backup
    }

    /// Waits for the end of a backup.
    pub async fn ended(&self, id: &BackupId) -> Backup {
        self.job_ended(&id.clone().into()).await;
        self.client.backup(id).await.unwrap()
    }

    /// Waits for the end of a job.
    pub async fn job_ended(&self, id: &JobId) -> JobView {
        self.until("the job's end", async || {
            let job = self.client.job(id).await.unwrap();
            job.status.is_final().then_some(job)
        })
        .await
    }

    /// Asks again until there is an answer, at most 30 s.
    pub async fn until<T>(&self, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "waited for {what} in vain");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A request by the embedding program, with that JSON as its body.
    pub async fn call(&self, method: &str, path: &str, body: impl Into<Option<Value>>) -> Answer {
        let body = body.into().map(|value| value.to_string()).unwrap_or_default();
        self.send(Some(Caller::embedded()), method, path, body).await
    }

    /// A request over the network with that token.
    pub async fn with_token(&self, token: &str, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().header("authorization", format!("Bearer {token}"));
        let mut request = request.method(method).uri(format!("/api/v1{path}")).body(body.into()).unwrap();
        request.extensions_mut().insert(Peer::Network { address: [192, 0, 2, 7].into() });
        self.answer(request).await
    }

    /// Logs in over the network.
    pub async fn login(&self, username: &str, password: &str) -> Answer {
        let body = serde_json::json!({"username": username, "password": password}).to_string();
        self.with_token("none", "POST", "/auth/login", body).await
    }

    /// A request by whomever, with whatever as its body.
    pub async fn send(
        &self,
        caller: Option<Caller>,
        method: &str,
        path: &str,
        body: impl Into<Body>,
    ) -> Answer {
        let mut request =
            Request::builder().method(method).uri(format!("/api/v1{path}")).body(body.into()).unwrap();
        request.extensions_mut().extend(
            caller
                .map(|caller| {
                    let mut extensions = http::Extensions::new();
                    extensions.insert(caller);
                    extensions
                })
                .unwrap_or_default(),
        );
        self.answer(request).await
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let body = match kind {
            _ if bytes.is_empty() => Value::Null,
            text if text.starts_with("text/") => String::from_utf8(bytes.to_vec()).unwrap().into(),
            _ => serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}")),
        };
        Answer { status, headers, body }
    }
}

impl Answer {
    /// Checks that this is the contract's refusal.
    pub fn refused(&self, status: u16, code: &str) -> &Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.body["code"], code, "{}", self.body);
        assert_eq!(self.body["success"], false);
        let message = self.body["error"].as_str().unwrap();
        assert!(!message.is_empty() && !message.contains('\n'), "{message}");
        assert!(self.body["details"].is_object());
        &self.body
    }
}

pub fn vm(name: &str) -> VmName {
    VmName::new(name).unwrap()
}

/// Checks that an object has at least these keys.
#[track_caller]
pub fn has_keys(object: &Value, keys: &str) {
    for key in keys.split_whitespace() {
        assert!(object.get(key).is_some(), "no {key} in {object}");
    }
}
