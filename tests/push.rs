//! Backups that a client writes: real clients fill the hub's exports, QEMU and a restore judge what became of it, and
//! whatever ends one leaves no port, no file and no lease.

mod agent;
mod ends;
mod filling;
mod reaching;
mod silence;

pub use reaching::certificates;

use crate::harness::{Ports, Serving, Site, eventually};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// A site whose hub is served, with ports of its own so that tests don't meet.
struct Target {
    // Ended before its folder goes.
    hub: Serving,
    site: Site,
    ports: Ports,
}

impl Target {
    /// With that many ports.
    fn new(ports: u16, arguments: &[&str]) -> Target {
        let (site, ports) = (Site::new(), Ports::take(ports));
        let hub = serve(&site, &ports, arguments);
        Target { hub, site, ports }
    }

    /// A repository `small` on 24 MiB of a file system of its own, until what is given back is dropped; `None` where none can be
    /// mounted.
    fn small_repository(&self) -> Option<Unmount> {
        let small = self.site.path("small");
        std::fs::create_dir(&small).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "none"]).arg(&small).status();
        if !mount.unwrap().success() {
            eprintln!("SKIPPED: no tmpfs can be mounted here");
            return None;
        }
        self.site.bare_ok(&format!("repo create small --path {}", small.join("r").display()));
        Some(Unmount(small))
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

fn serve(site: &Site, ports: &Ports, arguments: &[&str]) -> Serving {
    let ports = format!("push.ports={}-{}", ports.first, ports.last);
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

/// What is mounted there is not any more when this is dropped.
struct Unmount(std::path::PathBuf);

impl Unmount {
    /// Neither images nor hashes are left there, finished or not.
    fn assert_no_images(&self) {
        let mut find = Command::new("find");
        find.arg(&self.0).args(["-name", "*.qcow2*", "-o", "-name", "*.b3*"]);
        let left = find.output().unwrap();
        assert!(left.stdout.is_empty(), "{}", String::from_utf8_lossy(&left.stdout));
    }
}

impl Drop for Unmount {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}
