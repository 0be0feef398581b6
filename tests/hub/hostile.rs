//! Names, paths and headers that were made to lead somewhere else.

use super::{Answer, curl};
use crate::harness::{MIB, Serving, Site, have};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

struct Hub {
    serving: Serving,
    site: Site,
    header: String,
}

impl Hub {
    fn new() -> Hub {
        let site = Site::new();
        let serving = site.serve(&["--listen", "http://127.0.0.1:0", "--log-level", "debug"]);
        let token = site.bare_ok("hub tokens create t --role admin").stdout.trim().to_owned();
        Hub { serving, site, header: format!("Authorization: Bearer {token}") }
    }

    fn base(&self) -> String {
        format!("{}/api/v1", self.serving.address("http:"))
    }

    fn get(&self, path: &str) -> Answer {
        self.send(&[], path)
    }

    fn send(&self, arguments: &[&str], path: &str) -> Answer {
        let all = [&["--path-as-is", "-g", "-H", &self.header], arguments].concat();
        curl(&all, &format!("{}{path}", self.base()))
    }

    fn post(&self, path: &str, body: &serde_json::Value) -> Answer {
        self.send(&["-d", &body.to_string()], path)
    }

    /// What comes for these bytes until the hub ends the connection.
    fn raw(&self, bytes: &[u8]) -> String {
        let address = self.serving.address("http:").strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                panic!("still open: {error}: {}", String::from_utf8_lossy(&answer))
            }
            _ => String::from_utf8_lossy(&answer).into_owned(),
        }
    }

    /// Everything in the site's folder but the hub's own.
    fn around(&self) -> BTreeSet<String> {
        let folder = self.site.path("");
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

fn refused(answer: &Answer, what: &str) {
    let body = answer.json();
    assert!([400, 404, 405, 409].contains(&answer.status), "{what}: {} {body}", answer.status);
    assert!(body["success"] == false && body["code"].is_string(), "{what}: {body}");
    let message = body["error"].as_str().unwrap();
    assert!(!message.contains(['\n', '\r', '\u{1b}', '\0']) && message.len() < 1000, "{what}: {message:?}");
}

#[test]
fn names_lead_nowhere() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Hub::new();
    let disk = hub.site.disk("a.raw", MIB, 1, 1);
    let before = hub.around();
    let hostile = [
        "..",
        "../../x",
        "/etc",
        "a/b",
        "a\\b",
        "a\0b",
        "a\nb",
        "\r\nX: 1",
        ".hidden",
        "-rf",
        "~root",
        "a@b",
        "\u{202e}gnp",
        " a",
        "",
        "\u{1b}[2J",
        &"x".repeat(5000),
    ];
    for name in hostile {
        let vm = json!({"name": name, "disks": [{"source": disk}]});
        refused(&hub.post("/vms", &vm), name);
        let backup = json!({"vm_name": name, "backup_type": "full", "source": disk});
        refused(&hub.post("/backups", &backup), name);
        refused(&hub.post("/backup/start", &backup), name);
        let folder = hub.site.path("new");
        let repository = json!({"name": name, "type": "local", "config": {"disk_path": folder}});
        refused(&hub.post("/repositories", &repository), name);
        refused(&hub.post("/restore/mount", &json!({"backup_id": name})), name);
        refused(&hub.post("/restore/export", &json!({"backup_id": name})), name);
        let target = json!({"backup_id": name, "target": "/nowhere/x"});
        refused(&hub.post("/restore/disk", &target), name);
    }
    for name in ["%2e%2e", "..%2f..%2fetc", "%00", "a%2fb", "%0d%0aX:%201", "%1b%5b2J", "%ff%fe", "x%00.json"]
    {
        for route in [
            "/backups/{}",
            "/backup/{}",
            "/backups/{}/chain",
            "/backups/{}/events",
            "/vms/{}",
            "/jobs/{}",
            "/repositories/{}",
            "/repositories/{}/storage",
            "/restore/{}",
            "/restore/{}/files?path=/",
            "/restore/export/{}",
            "/backups/{}/diff/{}",
        ] {
            refused(&hub.get(&route.replace("{}", name)), &route.replace("{}", name));
        }
        for route in
            ["/backups/{}?cascade", "/vms/{}", "/repositories/{}", "/auth/users/{}", "/auth/tokens/{}"]
        {
            refused(&hub.send(&["-X", "DELETE"], &route.replace("{}", name)), &route.replace("{}", name));
        }
    }
    for path in
        ["/../../../etc/passwd", "/%2e%2e/health", "//health", "/backups/../health", "/health/", "/./health"]
    {
        assert_eq!(hub.get(path).status, 404, "{path}");
    }
    assert_eq!(hub.around(), before, "something was made");
    // What was tried is shown to an administrator as text.
    let audit = hub.site.bare_ok("hub audit --limit 0").stdout;
    assert!(audit.contains("\\u{1b}[2J") && !audit.contains('\u{1b}'), "{audit:?}");
    let log = std::fs::read_to_string(hub.site.path("hub.log")).unwrap();
    assert!(!log.contains('\u{1b}') && !log.lines().any(|line| line.starts_with("X: 1")), "{log}");
}

#[test]
fn a_repository_has_a_folder_of_its_own() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Hub::new();
    let make = |name: &str, path: &Path| {
        let body = json!({"name": name, "type": "local", "config": {"disk_path": path}});
        hub.post("/repositories", &body)
    };
    let at = |name: &str| hub.site.path(name);
    assert_eq!(make("nas", &at("nas")).status, 201);
    std::os::unix::fs::symlink(at("nas"), at("link")).unwrap();
    let before = hub.around();
    let (state, inside) = (hub.site.state(), hub.site.state().join("tls"));
    let places = ["/", "/etc", "/etc/sendense", "/usr/lib/x", "relative", "/tmp/a\0b"].map(Path::new);
    let near = ["nas/inner", "link/inner", ".", "none/../nas/inner"].map(at);
    for place in places.into_iter().chain(near.iter().map(AsRef::as_ref)).chain([&*state, &*inside]) {
        refused(&make("other", place), &place.display().to_string());
    }
    assert_eq!(hub.around(), before);
    for stray in ["/.sendense", "/etc/.sendense", "/etc/sendense/.sendense"] {
        assert!(!Path::new(stray).exists(), "{stray}");
    }
    assert_eq!(make("beside", &at("beside")).status, 201);
}

#[test]
fn a_guests_paths_and_names_stay_the_guests() {
    if !have(&["curl", "mke2fs"]) {
        return;
    }
    let hub = Hub::new();
    let root = hub.site.path("root");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    let secret = hub.site.path("secret");
    std::fs::write(&secret, "of the hub's machine").unwrap();
    let up = format!("{}{}", "../".repeat(30), secret.strip_prefix("/").unwrap().display());
    std::os::unix::fs::symlink(&secret, root.join("absolute")).unwrap();
    std::os::unix::fs::symlink(&up, root.join("sub/relative")).unwrap();
    std::os::unix::fs::symlink("/", root.join("sub/slash")).unwrap();
    let evil = "a\r\nX-Evil: 1\r\n\r\n\"; filename=\"x.sh";
    std::fs::write(root.join(evil), "harmless").unwrap();
    let disk = hub.site.path("disk.raw");
    let mut mkfs = Command::new("mke2fs");
    mkfs.args(["-q", "-t", "ext4", "-d"]).arg(&root).arg(&disk).arg("8M");
    assert!(mkfs.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").status().unwrap().success());
    hub.site.bare_ok(&format!("backup start --vm web --source {}", disk.display()));
    let id = hub.get("/backups").json()["backups"][0]["id"].as_str().unwrap().to_owned();
    let mount = hub.post("/restore/mount", &json!({"backup_id": id})).json();
    let at = mount["volumes"][0]["mount_point"].as_str().unwrap().trim_end_matches('/');
    let mount = mount["mount_id"].as_str().unwrap();
    let ask = |route: &str, path: &str| {
        let encoded = format!("path={path}");
        hub.send(&["-G", "--data-urlencode", &encoded], &format!("/restore/{mount}/{route}"))
    };
    let absolute = secret.display().to_string();
    let paths = [
        format!("{at}/absolute"),
        format!("{at}/sub/relative"),
        format!("{at}/sub/slash{absolute}"),
        format!("{at}/{up}"),
        format!("/{up}"),
        absolute.clone(),
        format!("/@volumes/../..{absolute}"),
        format!("{at}/sub/..//../..{absolute}"),
    ];
    for path in &paths {
        for route in ["download", "file-info", "files", "download-directory"] {
            let answer = ask(route, path);
            let body = String::from_utf8_lossy(&answer.body);
            assert!([400, 404, 409].contains(&answer.status), "{route} {path:?}: {} {body}", answer.status);
            assert!(!body.contains("of the hub's machine"), "{route} {path:?}");
        }
    }
    refused(&hub.get(&format!("/restore/{mount}/download?path={at}/%00")), "a zero byte");
    let answer = ask("download", &format!("{at}/{evil}"));
    assert_eq!((answer.status, &*answer.body), (200, &b"harmless"[..]), "{}", answer.headers);
    assert_eq!(answer.header("x-evil"), None, "{}", answer.headers);
    let shown = answer.header("content-disposition").unwrap();
    assert!(shown.starts_with("attachment; filename=\"") && shown.matches('"').count() == 2, "{shown}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let listed = ask("files", &format!("{at}/")).json();
    assert!(listed["files"].as_array().unwrap().iter().any(|file| file["name"] == evil), "{listed}");
}

#[test]
fn heads_of_requests_are_one_request_or_none() {
    let hub = Hub::new();
    let head = "Host: x\r\nConnection: close\r\n";
    for (request, status) in [
        // Two lengths, or two ways to tell it: what follows is never taken for a request of its own.
        (
            format!(
                "POST /api/v1/auth/login HTTP/1.1\r\n{head}Content-Length: 2\r\nContent-Length: 30\r\n\r\n{{}}"
            ),
            "400",
        ),
        (format!("POST /api/v1/auth/login HTTP/1.1\r\n{head}Content-Length: -1\r\n\r\n"), "400"),
        (
            format!("POST /api/v1/auth/login HTTP/1.1\r\n{head}Transfer-Encoding: x, chunked, y\r\n\r\n"),
            "400",
        ),
        (format!("GET /api/v1/health HTTP/1.1\r\n{head}X-Request-Id: a\r\n forged: 1\r\n\r\n"), "400"),
        (format!("GET /api/v1/health HTTP/1.1\r\n{head}X-Request-Id: a\0b\r\n\r\n"), "400"),
        (format!("GET /api/v1/health\nX: 1 HTTP/1.1\r\n{head}\r\n"), "400"),
        (format!("GET /api/v1/health\0 HTTP/1.1\r\n{head}\r\n"), "400"),
        (
            format!(
                "GET /api/v1/backups HTTP/1.1\r\n{head}Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"
            ),
            "401",
        ),
        (format!("GET http://evil.example/api/v1/backups HTTP/1.1\r\n{head}\r\n"), "401"),
        (format!("GET /api/v1/{} HTTP/1.1\r\n{head}\r\n", "x".repeat(100_000)), "4"),
        (format!("GET /api/v1/health?{} HTTP/1.1\r\n{head}\r\n", "x".repeat(100_000)), "4"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), "4"),
    ] {
        let answer = hub.raw(request.as_bytes());
        let shown = request.chars().take(200).collect::<String>();
        // A head that is too long may be cut before its answer is read; another protocol gets none.
        let cut = answer.is_empty() && (request.len() > 60_000 || request.starts_with("PRI"));
        assert!(cut || answer.starts_with(&format!("HTTP/1.1 {status}")), "{shown:?}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{shown:?}: {answer}");
    }
    let both = "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                0\r\n\r\nGET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = hub.raw(both.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(!answer.contains("\"status\":\"healthy\""), "a second request was smuggled in: {answer}");
    let log = std::fs::read_to_string(hub.site.path("hub.log")).unwrap();
    assert!(!log.contains("forged"), "{log}");
}
