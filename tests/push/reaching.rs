//! Who reaches an export, and what is refused.

use super::{Target, id, nbdcopy, ports_and_uris, uri};
use crate::harness::{MIB, have};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

#[test]
fn what_can_be_no_push_is_refused_before_anything_is_made() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let target = Target::new("10340-10341", &[]);
    let refused = |request: Value, status: u16, part: &str| {
        let (found, body) = target.ask("POST", "/backups", Some(&request));
        assert_eq!(found, status, "{body}");
        assert!(body["error"].as_str().unwrap().contains(part), "{body}");
    };
    let push =
        |disks: Value| json!({"vm_name": "web", "backup_type": "full", "source": "push", "disks": disks});
    refused(push(json!([])), 400, "how large");
    refused(push(json!([{"capacity_bytes": 0}])), 400, "from 1 byte to 64 TiB");
    refused(push(json!([{"capacity_bytes": 1u64 << 60}])), 400, "64 TiB");
    refused(push(json!([{"disk_id": 1, "capacity_bytes": 5}])), 400, "without gaps");
    refused(push(json!([{"capacity_bytes": 5, "size": 5}])), 400, "size");
    refused(json!({"vm_name": "web", "backup_type": "full", "disks": [{"capacity_bytes": 5}]}), 400, "push");
    refused(json!({"vm_name": "web", "backup_type": "full", "sources": ["push", "push"]}), 400, "source");
    refused(
        json!({"vm_name": "web", "backup_type": "incremental", "source": "push", "disks": [{"capacity_bytes": 5}]}),
        404,
        "no full backup",
    );
    let (_, vms) = target.ask("GET", "/vms", None);
    assert_eq!(vms["total"], 0, "no VM is left behind: {vms}");

    // A VM is either pushed or read, never both.
    let disk = target.site.disk("own.raw", MIB, 1, 1);
    target.site.bare_ok(&format!("vm add own --disk {}", disk.display()));
    refused(
        json!({"vm_name": "own", "backup_type": "full", "source": "push", "disks": [{"capacity_bytes": 5}]}),
        409,
        "by itself",
    );
    let pushed = target.start("web", "full", &[MIB], json!({}));
    nbdcopy(&disk, &uri(&pushed, 0));
    target.finish(&id(&pushed));
    refused(json!({"vm_name": "web", "backup_type": "full"}), 409, "written by a client");
    // The older route takes one, too.
    let request =
        json!({"vm_name": "web", "backup_type": "incremental", "source": "push", "repository": "local"});
    let (status, older) = target.ask("POST", "/backup/start", Some(&request));
    assert_eq!(status, 202, "{older}");
    assert_eq!(ports_and_uris(&older).len(), 1);
    let (status, body) = target.ask("POST", "/backups/backup-none/complete", None);
    assert_eq!((status, &body["code"]), (404, &json!("backup_not_found")));
    target.complete(older["backup_id"].as_str().unwrap());
    let empty = target.ended(older["backup_id"].as_str().unwrap());
    assert_eq!((&empty["status"], &empty["bytes_transferred"]), (&json!("completed"), &json!(0)));
    target.site.assert_point_equals(older["backup_id"].as_str().unwrap(), 0, &disk);
    target.site.assert_nothing_left_over();
}

#[test]
fn as_many_disks_are_written_at_once_as_there_are_ports() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let target = Target::new("10342-10344", &[]);
    let first = target.start("a", "full", &[MIB, MIB], json!({}));
    let request = json!({"vm_name": "b", "backup_type": "full", "source": "push",
        "disks": [{"capacity_bytes": 512}, {"capacity_bytes": 512}]});
    let (status, body) = target.ask("POST", "/backups", Some(&request));
    assert_eq!((status, &body["code"]), (409, &json!("conflict")), "{body}");
    assert!(body["error"].as_str().unwrap().contains("ports from 10342 to 10344"), "{body}");
    let second = target.start("b", "full", &[512], json!({}));
    target.finish(&id(&first));
    target.finish(&id(&second));
    target.assert_given_back(&first);
}

/// A certificate for this machine, made by its own authority.
fn certificates(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let openssl = |line: &str| {
        let done = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca-key.pem -out ca-cert.pem");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server-key.pem -out server.csr");
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    openssl(
        "x509 -req -days 2 -in server.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -extfile names -out server-cert.pem",
    );
}

#[test]
fn off_the_machine_there_is_tls_and_a_name_that_nobody_guesses() {
    if !have(&["nbdcopy", "nbdinfo", "qemu-img", "curl", "sqlite3", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    certificates(&tls);
    let (listen, host) = ("push.listen=0.0.0.0", "push.host=localhost");
    let certificates = format!("push.tls_certificates={}", tls.display());
    let target = Target::new("10350-10351", &["--set", listen, "--set", host, "--set", &certificates]);
    let disk = target.site.disk("disk.raw", 8 * MIB, 4, 6);
    let backup = target.start("web", "full", &[8 * MIB], json!({}));
    let (port, uri) = ports_and_uris(&backup).remove(0);
    assert!(uri.starts_with("nbds://localhost:"), "{uri}");
    let name = backup["nbd_export_name"].as_str().unwrap();
    assert!(uri.ends_with(name) && name.contains("disk0-full"), "{uri} {name}");
    // The catalog, and so every list and sidecar, has the plain one.
    let kept = target.site.sql("SELECT nbd_export_name FROM backup_disks");
    assert!(kept.starts_with("backup-ctx-web-") && !kept.contains(name), "{kept}");

    let query = format!("?tls-certificates={}", tls.display());
    let probe = |uri: &str| Command::new("nbdinfo").arg(uri).output().unwrap().status.success();
    assert!(!probe(&format!("nbd://localhost:{port}/{name}")), "in the clear");
    assert!(!probe(&format!("nbds://localhost:{port}/{kept}{query}")), "by the plain name");
    assert!(!probe(&format!("nbds://localhost:{port}/{query}")), "by no name");
    let listed = Command::new("nbdinfo")
        .arg("--list")
        .arg(format!("nbds://localhost:{port}/{query}"))
        .output()
        .unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains(name), "names are not listed");
    let whole = format!("{uri}{query}");
    assert!(probe(&whole));
    nbdcopy(&disk, &whole);
    target.finish(&id(&backup));
    assert!(!probe(&whole), "it is good for one backup");
    target.site.assert_point_equals(&id(&backup), 0, &disk);
    target.assert_given_back(&backup);
    let log = std::fs::read_to_string(target.site.path("hub.log")).unwrap();
    assert!(!log.contains(name), "the secret is in the log");
}
