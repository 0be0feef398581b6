//! The client over services that answer as told: hubs, broken hubs, and what is no hub.

use api::{
    BackupQuery, Caller, Client, ClientError, ErrorCode, InProcess, RequestBody, ResponseBody, Role,
    StartBackup, Transport, TransportError,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use model::RequestedType;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

/// What a service has seen of a request.
#[derive(Debug, Clone)]
struct Seen {
    method: String,
    path: String,
    body: Bytes,
    caller: Option<Caller>,
}

/// A client of a service that always answers with that, and the requests it has seen.
fn hub(status: u16, body: &'static str) -> (Client, Arc<Mutex<Vec<Seen>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let log = log.clone();
        async move {
            let (parts, sent) = request.into_parts();
            let body_sent = sent.collect().await.unwrap().to_bytes();
            log.lock().unwrap().push(Seen {
                method: parts.method.to_string(),
                path: parts.uri.to_string(),
                caller: parts.extensions.get().cloned(),
                body: body_sent,
            });
            Ok::<_, Infallible>(Response::builder().status(status).body(Full::from(body)).unwrap())
        }
    });
    (Client::new(InProcess::new(service)), seen)
}

#[tokio::test]
async fn a_request_goes_out_as_the_contract_says_and_by_the_program_itself() {
    let (client, seen) = hub(200, r#"{"success":true,"backups":[],"total":7}"#);
    let query = BackupQuery { vm_name: Some("büro pc".into()), ..BackupQuery::default() };
    assert_eq!(client.backups(&query).await.unwrap().total, 7);
    let one = seen.lock().unwrap()[0].clone();
    assert_eq!((one.method.as_str(), one.path.as_str()), ("GET", "/api/v1/backups?vm_name=b%C3%BCro+pc"));
    assert_eq!(one.caller.unwrap().role, Role::Admin);
    assert!(one.body.is_empty());

    let request = StartBackup::new("a".parse().unwrap(), RequestedType::Auto);
    client.start_backup(&request).await.unwrap_err();
    let sent = seen.lock().unwrap()[1].body.clone();
    assert_eq!(serde_json::from_slice::<StartBackup>(&sent).unwrap(), request);
}

#[tokio::test]
async fn a_refusal_keeps_its_code_hint_and_details() {
    let body = r#"{"success":false,"error":"VM a is in use","code":"locked","hint":"wait","details":{"holder":{"pid":7}}}"#;
    let (client, _) = hub(423, body);
    let error = client.backups(&BackupQuery::default()).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::Locked, 11));
    assert_eq!((error.to_string().as_str(), error.hint()), ("VM a is in use", Some("wait")));
    assert_eq!(error.details().unwrap()["holder"]["pid"], 7);
}

#[tokio::test]
async fn what_is_no_hub_is_told_as_such() {
    for (status, body, exit) in [
        (502, "<html>Bad gateway</html>", 10),
        (404, "<html>Not found</html>", 4),
        (200, "<html>Welcome</html>", 10),
        (200, "{}", 10),
        (500, "", 1),
    ] {
        let (client, _) = hub(status, body);
        let error = client.backups(&BackupQuery::default()).await.unwrap_err();
        assert_eq!(error.exit_code(), exit, "{status} {body}: {error}");
        assert!(!error.to_string().contains("html"), "{error}");
    }
}

#[derive(Debug)]
struct Nowhere;

impl Transport for Nowhere {
    fn send(&self, _: Request<Bytes>) -> BoxFuture<'_, Result<Response<ResponseBody>, TransportError>> {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        Box::pin(async { Err(TransportError::unreachable("https://hub.example:8082", refused)) })
    }
}

#[tokio::test]
async fn a_hub_that_does_not_answer_is_named() {
    let error = Client::new(Nowhere).health().await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), (ErrorCode::HubUnreachable, 10));
    assert!(matches!(error, ClientError::Transport(_)));
    assert_eq!(error.to_string(), "no hub answers at https://hub.example:8082: the connection was refused");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("refused"));
}

#[tokio::test]
async fn a_stream_that_breaks_off_before_the_end_is_an_error() {
    let (client, _) = hub(200, ": hello\n\nevent: news\ndata: {}\n\n");
    let mut events = client.job_events(&"verify-1".parse().unwrap()).await.unwrap();
    let error = events.next().await.unwrap_err();
    assert_eq!(error.exit_code(), 10, "{error}");
    let (client, _) = hub(200, "event: progress\ndata: {\"x\":1}\n\n");
    let mut events = client.job_events(&"verify-1".parse().unwrap()).await.unwrap();
    assert!(matches!(events.next().await, Err(ClientError::Answer(_))));
}
