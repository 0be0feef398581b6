//! What clients may take: time, connections, requests, bytes; and what every answer carries.

use super::guarded::with;
use super::{curl, socket};
use crate::harness::{MIB, Serving, Site, have};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A hub on plain HTTP, which makes hostile clients easy to write.
fn plain(site: &Site, arguments: &[&str]) -> (Serving, String) {
    let hub = site.serve(&[&["--listen", "http://127.0.0.1:0"][..], arguments].concat());
    let address = hub.address("http:").strip_prefix("http://").unwrap().to_owned();
    (hub, address)
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// What comes until the hub ends the connection.
fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("still open: {error}"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

#[test]
fn a_client_that_dawdles_is_given_up() {
    let site = Site::new();
    let (_hub, address) =
        plain(&site, &["--set", "limits.header_timeout=1s", "--set", "limits.body_timeout=1s"]);
    let begun = Instant::now();
    let mut head = connect(&address);
    head.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nX-A: ").unwrap();
    let idle = connect(&address);
    let mut body = UnixStream::connect(socket(&site)).unwrap();
    body.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    body.write_all(b"POST /api/v1/vms HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{").unwrap();
    // Meanwhile others are served.
    let mut other = connect(&address);
    other.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(rest(other).starts_with("HTTP/1.1 200"));
    rest(head);
    rest(idle);
    let mut refused = String::new();
    body.read_to_string(&mut refused).unwrap();
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}

#[test]
fn too_much_is_refused_by_its_kind() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let (_hub, address) = plain(&site, &[]);
    let own = socket(&site);
    let large = site.path("large.json");
    std::fs::write(&large, format!("{{\"name\":\"{}\"}}", "x".repeat(2 << 20))).unwrap();
    let body = format!("@{}", large.display());
    let answer = curl(
        &["--unix-socket", &own, "-X", "POST", "-H", "Expect:", "--data-binary", &body],
        "http://localhost/api/v1/vms",
    );
    assert_eq!((answer.status, &answer.json()["code"]), (413, &"payload_too_large".into()));
    let mut headers = connect(&address);
    headers.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n").unwrap();
    let line = format!("X-A: {}\r\n", "a".repeat(1000));
    for _ in 0..200 {
        if headers.write_all(line.as_bytes()).is_err() {
            break;
        }
    }
    let refused = rest(headers);
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
}

#[test]
fn one_address_has_a_share_of_connections_and_of_requests_and_the_administrator_stays_in() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let (_hub, address) =
        plain(&site, &["--set", "limits.connections_per_client=3", "--set", "limits.requests_per_second=2"]);
    let held: Vec<_> = (0..3).map(|_| connect(&address)).collect();
    assert_eq!(rest(connect(&address)), "", "the fourth is closed");
    drop(held);
    let url = format!("http://{address}/api/v1/health");
    let refused = (0..50).map(|_| ask_once(&url)).find(|answer| answer.starts_with("HTTP/1.1 429"));
    let refused = refused.expect("too many requests are refused");
    assert!(refused.to_lowercase().contains("retry-after: 1"), "{refused}");
    for _ in 0..20 {
        let answer = curl(&["--unix-socket", &socket(&site)], "http://localhost/api/v1/health");
        assert_eq!(answer.status, 200);
    }
}

/// A request on a connection of its own, which may be refused; all of what comes.
fn ask_once(url: &str) -> String {
    let address = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = connect(address);
    let sent = stream.write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    if sent.is_err() { String::new() } else { rest(stream) }
}

#[test]
fn every_answer_has_an_id_and_the_version_and_texts_are_compressed() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let _hub = site.serve(&["--no-listen"]);
    let own = socket(&site);
    let get = |arguments: &[&str], path: &str| {
        curl(&[&["--unix-socket", &*own][..], arguments].concat(), &format!("http://localhost/api/v1{path}"))
    };
    let answer = get(&["-H", "X-Request-Id: my-id.1"], "/health");
    assert_eq!(answer.header("x-request-id"), Some("my-id.1"));
    assert_eq!(answer.header("x-sendense-version"), Some(env!("CARGO_PKG_VERSION")));
    let answer = get(&["-H", "X-Request-Id: not plain"], "/no/such");
    assert_eq!(answer.status, 404);
    assert_eq!(answer.header("x-request-id").map(str::len), Some(36), "one of its own");
    assert!(std::fs::read_to_string(site.path("hub.log")).unwrap().contains("id=my-id.1"));

    let plain = get(&[], "/openapi.json");
    assert_eq!(plain.header("content-encoding"), None);
    for coding in ["gzip", "zstd"] {
        let packed = get(&["-H", &format!("Accept-Encoding: {coding}")], "/openapi.json");
        assert_eq!(packed.header("content-encoding"), Some(coding));
        assert!(packed.body.len() * 3 < plain.body.len(), "{coding}: {}", packed.body.len());
    }
    assert_eq!(get(&["--compressed"], "/openapi.json").body, plain.body);
}

#[test]
fn a_download_is_never_compressed_and_keeps_its_ranges() {
    if !have(&["curl", "mkfs.ext4"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("disk.raw", 16 * MIB, 0, 1);
    let folder = site.path("content");
    std::fs::create_dir(&folder).unwrap();
    let text = "a line of a log\n".repeat(10_000);
    std::fs::write(folder.join("log.txt"), &text).unwrap();
    let mut mkfs = std::process::Command::new("mkfs.ext4");
    mkfs.arg("-q").arg("-d").arg(&folder).arg(&disk).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    assert!(mkfs.status().unwrap().success());
    let _hub = site.serve(&["--no-listen"]);
    site.bare_ok(&format!("backup start --vm web --source {}", disk.display()));
    let own = socket(&site);
    let id = site.bare_json("backup show web@latest")["backup"]["id"].as_str().unwrap().to_owned();
    let body = format!("{{\"backup_id\":\"{id}\"}}");
    let base = "http://localhost/api/v1/restore";
    let mounted = curl(&["--unix-socket", &own, "-d", &body], &format!("{base}/mount")).json();
    let mount = mounted["mount_id"].as_str().unwrap();
    let root = mounted["volumes"][0]["mount_point"].as_str().unwrap().trim_end_matches('/');
    let url = format!("{base}/{mount}/download?path={root}/log.txt");
    let whole = curl(&["--unix-socket", &own, "-H", "Accept-Encoding: gzip, zstd"], &url);
    assert_eq!((whole.header("content-encoding"), &whole.body[..]), (None, text.as_bytes()));
    let part = curl(&["--unix-socket", &own, "-H", "Accept-Encoding: gzip", "-r", "100-199"], &url);
    assert_eq!((part.status, &part.body[..]), (206, &text.as_bytes()[100..200]));
}

/// A way to a hub that drops its first connections, and says another version than the hub's. Counts the connections.
fn relay(hub: &str, dropped: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (hub, taken) = (hub.to_owned(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&taken);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if count.fetch_add(1, Ordering::SeqCst) < dropped {
                continue;
            }
            let server = connect(&hub);
            let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut asks, &mut asked));
            std::thread::spawn(move || answers(server, client));
        }
    });
    (address, taken)
}

/// Passes on what a hub answers, as if it were of another version.
fn answers(mut server: TcpStream, mut client: TcpStream) {
    let (ours, theirs) = (env!("CARGO_PKG_VERSION"), OTHER_VERSION);
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = server.read(&mut bytes) {
        let mut part = bytes[..length].to_vec();
        let header = format!("x-sendense-version: {ours}").into_bytes();
        if let Some(at) = part.windows(header.len()).position(|found| found.eq_ignore_ascii_case(&header)) {
            part.splice(at..at + header.len(), format!("x-sendense-version: {theirs}").into_bytes());
        }
        if client.write_all(&part).is_err() {
            return;
        }
    }
}

const OTHER_VERSION: &str = "99.1.2";

#[test]
fn what_only_asks_is_asked_again_and_another_version_is_told() {
    let site = Site::new();
    let (_hub, own) = plain(&site, &[]);
    let (address, taken) = relay(&own, 2);
    let run = site.bare_run(&format!("hub status --hub {address}"));
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(taken.load(Ordering::SeqCst) > 2, "the first two were dropped");
    let told = format!("is version {OTHER_VERSION}, this program is {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(run.stderr.matches(&told).count(), 1, "{run:#?}");
    // What may have been done is not done twice.
    let (address, taken) = relay(&own, 1);
    let password = [("SENDENSE_PASSWORD", "correct horse battery")];
    let login = with(&site, &password, &format!("hub login {address} --user admin"));
    login.failed_with(10, &["no hub answers"]);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
}
