//! Who reaches an export, and what is refused.

use super::{Target, id, nbdcopy, ports_and_uris, uri};
use crate::harness::{MIB, Run, eventually, have};
use serde_json::{Value, json};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

#[test]
fn what_can_be_no_push_is_refused_before_anything_is_made() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &[]);
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
    let target = Target::new(3, &[]);
    let said = format!("ports from {} to {}", target.ports.first, target.ports.last);
    let first = target.start("a", "full", &[MIB, MIB], json!({}));
    let request = json!({"vm_name": "b", "backup_type": "full", "source": "push",
        "disks": [{"capacity_bytes": 512}, {"capacity_bytes": 512}]});
    let (status, body) = target.ask("POST", "/backups", Some(&request));
    assert_eq!((status, &body["code"]), (409, &json!("conflict")), "{body}");
    assert!(body["error"].as_str().unwrap().contains(&said), "{body}");
    let second = target.start("b", "full", &[512], json!({}));
    target.finish(&id(&first));
    target.finish(&id(&second));
    target.assert_given_back(&first);
}

/// A certificate for this machine, made by its own authority.
pub fn certificates(folder: &Path) {
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
    let target = Target::new(2, &["--set", listen, "--set", host, "--set", &certificates]);
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
    let log = || std::fs::read_to_string(target.site.path("hub.log")).unwrap();
    assert!(!log().contains(name), "the secret is in the log");

    // `agent push`: by the machine's authorities, those of a folder, or not at all.
    let push = |vm: &str, authorities: &str, more: &[&str]| {
        let mut command = target.site.bare_command(["agent", "push", "--vm", vm, "--source"]);
        command.arg(&disk).args(more).env("SSL_CERT_FILE", authorities).env("HOME", target.site.path("home"));
        Run::finished(command)
    };
    let authority = tls.join("ca-cert.pem");
    let trusted = push("pushed", authority.to_str().unwrap(), &[]);
    assert_eq!(trusted.code, 0, "{trusted:#?}");
    assert_eq!(push("pushed", "/none", &["--tls-certificates", tls.to_str().unwrap()]).code, 0);
    let before = target.site.sql("SELECT COUNT(*) FROM backup_jobs");
    push("pushed", "/none", &["--tls-certificates", "/none"]).failed_with(2, &["/none holds no ca-cert.pem"]);
    assert_eq!(target.site.sql("SELECT COUNT(*) FROM backup_jobs"), before, "nothing was begun");
    push("pushed", "/none", &[]).failed_with(10, &["certificate", "--tls-certificates DIR"]);

    // A request that fails stands in the log, and so does what it was for; the name does not.
    let top = std::fs::File::options().write(true).open(target.site.top_of(&id(&backup), 0)).unwrap();
    top.write_all_at(&[0xaa; 256 << 10], 512 << 10).unwrap();
    let next = target.start("web", "incremental", &[8 * MIB], json!({}));
    let (_, uri) = ports_and_uris(&next).remove(0);
    let read = Command::new("nbdcopy").arg(format!("{uri}{query}")).arg("null:").output().unwrap();
    assert!(!read.status.success(), "what is damaged is no data");
    eventually("the failure is in the log", Duration::from_secs(20), || {
        log().contains("a client's request failed: read") && log().contains(&id(&next))
    });
    let secret = next["nbd_export_name"].as_str().unwrap();
    assert!(!log().contains(secret), "the secret is in the log");
    target.ask("POST", &format!("/backups/{}/cancel", id(&next)), None);
    target.ended(&id(&next));
}

#[test]
fn a_name_is_good_for_its_backup_only_however_that_ends() {
    if !have(&["nbdcopy", "nbdinfo", "curl", "sqlite3", "openssl"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tls = folder.path().join("tls");
    certificates(&tls);
    let certificates = format!("push.tls_certificates={}", tls.display());
    // One port: each backup has the same, one after the other.
    let target = Target::new(
        1,
        &["--set", "push.listen=0.0.0.0", "--set", "push.host=localhost", "--set", &certificates],
    );
    let query = format!("?tls-certificates={}", tls.display());
    let server = format!("nbds://localhost:{}", target.ports.first);
    let probe = |name: &str| {
        let uri = format!("{server}/{name}{query}");
        Command::new("nbdinfo").arg(uri).output().unwrap().status.success()
    };
    let disk = target.site.disk("disk.raw", MIB, 1, 6);
    let mut over: Vec<String> = Vec::new();
    for end in ["complete", "cancel", "fail", "complete"] {
        let backup = target.start("web", "full", &[MIB], json!({}));
        let name = backup["nbd_export_name"].as_str().unwrap().to_owned();
        assert!(probe(&name), "its own");
        for old in &over {
            assert!(!probe(old), "that of an earlier backup, at the same port");
        }
        // A part of it, more than it, and another letter of it are no names.
        let other = if name.ends_with('a') { "b" } else { "a" };
        for wrong in
            [&name[..name.len() - 1], &format!("{name}a"), &format!("{}{other}", &name[..name.len() - 1])]
        {
            assert!(!probe(wrong), "{wrong}");
        }
        nbdcopy(&disk, &format!("{server}/{name}{query}"));
        let path = format!("/backups/{}", id(&backup));
        match end {
            "complete" => drop(target.finish(&id(&backup))),
            "cancel" => assert_eq!(target.ask("POST", &format!("{path}/cancel"), None).0, 202),
            _ => {
                let message = json!({"job_type": "backup", "status": "failed", "current_phase": "failed",
                    "bytes_transferred": 0, "total_bytes": MIB, "timestamp": "2026-01-01T00:00:00Z", "error": "gave up"});
                let job = format!("/telemetry/backup/{}", id(&backup));
                assert_eq!(target.ask("POST", &job, Some(&message)).0, 200);
            }
        }
        target.ended(&id(&backup));
        assert!(!probe(&name), "after its end: {end}");
        // Nobody is told it any more.
        let (_, list) = target.ask("GET", "/backups", None);
        assert!(!list.to_string().contains(&name), "{list}");
        over.push(name);
    }
    let log = std::fs::read_to_string(target.site.path("hub.log")).unwrap();
    assert!(over.iter().all(|name| !log.contains(name.as_str())), "a secret is in the log");
}
