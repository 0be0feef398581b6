//! Backups that a client writes: real clients fill the hub's exports, QEMU and a restore judge what became of it, and
//! whatever ends one leaves no port, no file and no lease.

mod agent;
mod ends;
mod filling;
mod reaching;
mod silence;

use crate::harness::{Serving, Site, eventually};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// A site whose hub is served, with ports of its own so that tests don't meet.
struct Target {
    // Ended before its folder goes.
    hub: Serving,
    site: Site,
}

impl Target {
    /// `ports` are `first-last`.
    fn new(ports: &str, arguments: &[&str]) -> Target {
        let site = Site::new();
        let hub = serve(&site, ports, arguments);
        Target { hub, site }
    }

    /// A request as an administrator's script makes it; the status and the body.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-S", "--max-time", "60", "-X", method, "-w", "\n%{http_code}"]);
        curl.arg("--unix-socket").arg(self.site.state().join("hub.sock"));
        if let Some(body) = body {
            curl.args(["-H", "Content-Type: application/json", "-d", &body.to_string()]);
        }
        let output = curl.arg(format!("http://localhost/api/v1{path}")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{method} {path}: {text:?}"));
        let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() };
        (status.parse().unwrap(), body)
    }

    /// Starts a push of disks of these sizes.
    fn start(&self, vm: &str, kind: &str, sizes: &[u64], more: Value) -> Value {
        let disks: Vec<Value> = sizes.iter().map(|size| json!({"capacity_bytes": size})).collect();
        let mut request = json!({"vm_name": vm, "backup_type": kind, "source": "push", "disks": disks});
        request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let (status, body) = self.ask("POST", "/backups", Some(&request));
        assert_eq!(status, 202, "{body}");
        body["backup"].clone()
    }

    fn backup(&self, id: &str) -> Value {
        let (status, body) = self.ask("GET", &format!("/backups/{id}"), None);
        assert_eq!(status, 200, "{body}");
        body["backup"].clone()
    }

    fn complete(&self, id: &str) {
        let (status, body) = self.ask("POST", &format!("/backups/{id}/complete"), None);
        assert_eq!(status, 202, "{body}");
    }

    /// Waits for the end, and gives the record.
    fn ended(&self, id: &str) -> Value {
        let mut last = Value::Null;
        eventually("the backup's end", Duration::from_secs(60), || {
            last = self.backup(id);
            ["completed", "failed", "cancelled"].contains(&last["status"].as_str().unwrap())
        });
        last
    }

    /// Completes, and waits until it is a point.
    fn finish(&self, id: &str) -> Value {
        self.complete(id);
        let ended = self.ended(id);
        assert_eq!(ended["status"], "completed", "{ended}");
        ended
    }

    /// Nothing listens on the ports of that backup, nothing is left of its files, no lease is held.
    fn assert_given_back(&self, backup: &Value) {
        for (port, _) in ports_and_uris(backup) {
            let address = format!("127.0.0.1:{port}");
            assert!(std::net::TcpListener::bind(&address).is_ok(), "{address} is still in use");
        }
        self.site.assert_nothing_left_over();
    }
}

fn serve(site: &Site, ports: &str, arguments: &[&str]) -> Serving {
    let ports = format!("push.ports={ports}");
    site.serve(&[&["--no-listen", "--set", &*ports][..], arguments].concat())
}

/// Port and URI of each disk, from the fields that scripts use.
fn ports_and_uris(backup: &Value) -> Vec<(u64, String)> {
    let targets = backup["nbd_targets_string"].as_str().unwrap();
    let disks = backup["disk_results"].as_array().unwrap();
    assert!(!targets.is_empty(), "no targets: {backup}");
    let targets: Vec<&str> = targets.split(',').collect();
    assert_eq!(targets.len(), disks.len());
    targets
        .iter()
        .zip(disks)
        .map(|(target, disk)| {
            let (key, uri) = target.split_once(':').unwrap();
            assert_eq!(key, disk["disk_key"].to_string());
            assert!(disk["nbd_export_name"].as_str().unwrap().len() < 64);
            (disk["nbd_port"].as_u64().unwrap(), uri.to_owned())
        })
        .collect()
}

fn uri(backup: &Value, disk: usize) -> String {
    ports_and_uris(backup)[disk].1.clone()
}

fn id(backup: &Value) -> String {
    backup["id"].as_str().unwrap().to_owned()
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn nbdcopy(from: &Path, to: &str) {
    run("nbdcopy", &["--connections=4", "--flush", from.to_str().unwrap(), to]);
}

fn convert(from: &Path, to: &str) {
    run(
        "qemu-img",
        &["convert", "-n", "-W", "-m", "8", "-f", "raw", "-O", "raw", from.to_str().unwrap(), to],
    );
}
