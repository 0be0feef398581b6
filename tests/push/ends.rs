//! However a push ends, nothing is left of it but its record, and the next one works.

use super::{Target, id, nbdcopy, ports_and_uris, serve, uri};
use crate::harness::{MIB, Ports, Running, Site, eventually, have};
use serde_json::{Value, json};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A client that is still writing: slowly, so that it is in the middle whenever it is looked at.
fn writer(uri: &str) -> Running {
    let mut client = Command::new("qemu-img");
    client.args([
        "bench",
        "-n",
        "-w",
        "-f",
        "raw",
        "-c",
        "100000000",
        "-s",
        "65536",
        "-d",
        "8",
        "--pattern=7",
        uri,
    ]);
    Running::start(client.stdout(Stdio::null()).stderr(Stdio::null()))
}

fn begun(target: &Target) {
    eventually("a partial file", Duration::from_secs(30), || {
        !target.site.files_ending(".qcow2.partial").is_empty()
    });
}

/// A push that a client is in the middle of.
fn in_the_middle(target: &Target) -> (Value, Running) {
    let backup = target.start("web", "full", &[64 * MIB], json!({}));
    let client = writer(&uri(&backup, 0));
    let id = id(&backup);
    begun(target);
    eventually("bytes arrive", Duration::from_secs(30), || {
        target.backup(&id)["bytes_processed"].as_u64().unwrap() > 0
    });
    (backup, client)
}

/// What was given back can be had again.
fn works_again(target: &Target) {
    let disk = target.site.disk("again.raw", 8 * MIB, 2, 8);
    let backup = target.start("web", "full", &[8 * MIB], json!({}));
    nbdcopy(&disk, &uri(&backup, 0));
    target.finish(&id(&backup));
    target.site.assert_point_equals(&id(&backup), 0, &disk);
    target.assert_given_back(&backup);
}

#[test]
fn a_push_that_is_cancelled_or_given_up_by_its_client_is_gone() {
    if !have(&["qemu-img", "nbdcopy", "curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &[]);
    let (backup, client) = in_the_middle(&target);
    let (status, _) = target.ask("POST", &format!("/backups/{}/cancel", id(&backup)), None);
    assert_eq!(status, 202);
    assert_eq!(target.ended(&id(&backup))["status"], "cancelled");
    target.assert_given_back(&backup);
    assert_ne!(client.wait(Duration::from_secs(20)).code, 0, "the client hears of it");

    let (backup, client) = in_the_middle(&target);
    let message = json!({"job_type": "backup", "status": "failed", "current_phase": "transferring",
        "bytes_transferred": 1, "total_bytes": 2, "timestamp": "2026-01-01T00:00:00Z", "error": "the source's\nsnapshot is gone"});
    let (status, body) = target.ask("POST", &format!("/telemetry/backup/{}", id(&backup)), Some(&message));
    assert_eq!(status, 200, "{body}");
    let ended = target.ended(&id(&backup));
    assert_eq!((&ended["status"], &ended["error_code"]), (&json!("failed"), &json!("source_unavailable")));
    let why = ended["error_message"].as_str().unwrap();
    assert!(why.contains("the source's snapshot is gone"), "{why}");
    target.assert_given_back(&backup);
    drop(client);
    works_again(&target);
}

#[test]
fn a_time_limit_and_a_client_that_never_comes_end_it() {
    if !have(&["nbdcopy", "qemu-img", "curl", "sqlite3"]) {
        return;
    }
    let silence = ["--set", "jobs.stalled_after=1s", "--set", "jobs.failed_after=3s"];
    let target = Target::new(2, &silence);
    let never = target.start("web", "full", &[8 * MIB], json!({}));
    let ended = target.ended(&id(&never));
    assert_eq!(ended["error_code"], "timed_out");
    assert!(ended["error_message"].as_str().unwrap().contains("nothing was heard of it for 3 s"), "{ended}");
    target.assert_given_back(&never);
    // Who tries it again is told where it is written, and what to do about a client that does not come.
    let again = target.site.bare_run(&format!("backup retry {}", id(&never)));
    again.failed_with(1, &["its client writes it to 2000:nbd://", "let it push again"]);
    assert!(!again.stderr.contains("--timeout"), "{again:#?}");
    // One that connects and says nothing is no better.
    let mute = target.start("web", "full", &[8 * MIB], json!({}));
    let held = TcpStream::connect(format!("127.0.0.1:{}", ports_and_uris(&mute)[0].0)).unwrap();
    assert_eq!(target.ended(&id(&mute))["status"], "failed");
    target.assert_given_back(&mute);
    drop(held);
    let limited = target.start("web", "full", &[64 * MIB], json!({"timeout_seconds": 2}));
    let client = writer(&uri(&limited, 0));
    let ended = target.ended(&id(&limited));
    assert!(ended["error_message"].as_str().unwrap().contains("not done within 2 s"), "{ended}");
    target.assert_given_back(&limited);
    drop(client);
    works_again(&target);
}

#[test]
fn a_hub_that_stops_or_is_killed_leaves_no_half_of_a_push() {
    if !have(&["qemu-img", "nbdcopy", "curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &["--set", "stop_timeout=1s"]);
    let (backup, _client) = in_the_middle(&target);
    let Target { hub, site, ports } = target;
    hub.running.signal("TERM");
    hub.running.wait(Duration::from_secs(60));
    assert_eq!(site.bare_json(&format!("backup show {}", id(&backup)))["backup"]["status"], "cancelled");
    let target = restarted(site, ports);
    target.assert_given_back(&backup);

    let (backup, _client) = in_the_middle(&target);
    let Target { hub, site, ports } = target;
    hub.running.signal("KILL");
    hub.running.wait(Duration::from_secs(20));
    assert!(!site.files_ending(".qcow2.partial").is_empty(), "it was in the middle");
    let target = restarted(site, ports);
    let ended = target.backup(&id(&backup));
    assert_eq!(ended["status"], "failed");
    target.assert_given_back(&backup);
    works_again(&target);
}

#[test]
fn a_hub_that_is_to_stop_lets_what_was_sent_be_completed() {
    if !have(&["nbdcopy", "curl", "sqlite3", "qemu-img"]) {
        return;
    }
    let target = Target::new(2, &["--set", "stop_timeout=60s"]);
    let disk = target.site.disk("disk.raw", 8 * MIB, 2, 8);
    let backup = target.start("web", "full", &[8 * MIB], json!({}));
    target.hub.running.signal("TERM");
    eventually("new work is refused", Duration::from_secs(20), || {
        let request = json!({"vm_name": "other", "backup_type": "full", "source": "push"});
        target.ask("POST", "/backups", Some(&request)).0 == 503
    });
    nbdcopy(&disk, &uri(&backup, 0));
    target.complete(&id(&backup));
    let Target { hub, site, .. } = target;
    assert_eq!(hub.running.wait(Duration::from_secs(60)).code, 0);
    assert_eq!(site.bare_json(&format!("backup show {}", id(&backup)))["backup"]["status"], "completed");
    site.assert_point_equals(&id(&backup), 0, &disk);
}

#[test]
fn a_push_that_is_refused_leaves_the_disks_of_the_vm_as_they_are() {
    if !have(&["nbdcopy", "curl", "qemu-img", "sqlite3"]) {
        return;
    }
    let target = Target::new(4, &[]);
    let first = target.start("web", "full", &[MIB, 2 * MIB], json!({}));
    let request = json!({"vm_name": "web", "backup_type": "full", "source": "push", "disks": [{"capacity_bytes": MIB}]});
    let (status, body) = target.ask("POST", "/backups", Some(&request));
    assert_eq!((status, &body["code"]), (423, &json!("locked")), "{body}");
    target.finish(&id(&first));
    // The disks are those of the last push.
    let again = json!({"vm_name": "web", "backup_type": "auto", "source": "push"});
    let (status, body) = target.ask("POST", "/backups", Some(&again));
    assert_eq!(status, 202, "{body}");
    assert_eq!(ports_and_uris(&body["backup"]).len(), 2, "{body}");
    target.finish(&id(&body["backup"]));
    target.assert_given_back(&body["backup"]);
    // Refused by the ports, given up, or cancelled: all of it leaves the disks as they are.
    let busy = target.start("busy", "full", &[MIB, MIB, MIB, MIB], json!({}));
    let (status, refused) = target.ask("POST", "/backups", Some(&request));
    assert_eq!((status, &refused["code"]), (409, &json!("conflict")), "{refused}");
    target.finish(&id(&busy));
    let cancelled = target.start("web", "full", &[MIB], json!({}));
    assert_eq!(target.ask("POST", &format!("/backups/{}/cancel", id(&cancelled)), None).0, 202);
    assert_eq!(target.ended(&id(&cancelled))["status"], "cancelled");
    let (_, web) = target.ask("GET", "/vms/web", None);
    assert_eq!(web["vm"]["disks"].as_array().unwrap().len(), 2, "{web}");
    let (status, body) = target.ask("POST", "/backups", Some(&again));
    assert_eq!((status, ports_and_uris(&body["backup"]).len()), (202, 2), "{body}");
    target.finish(&id(&body["backup"]));
    // One that becomes a point has the disks that it has.
    let fewer = target.start("web", "full", &[MIB], json!({}));
    target.finish(&id(&fewer));
    let (_, web) = target.ask("GET", "/vms/web", None);
    assert_eq!(web["vm"]["disks"].as_array().unwrap().len(), 1, "{web}");
}

fn restarted(site: Site, ports: Ports) -> Target {
    let hub = serve(&site, &ports, &["--set", "stop_timeout=1s"]);
    Target { hub, site, ports }
}

#[test]
fn a_client_that_is_gone_may_come_back_and_one_that_completes_twice_is_told() {
    if !have(&["qemu-img", "nbdcopy", "curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &[]);
    let (backup, client) = in_the_middle(&target);
    // Its process dies, its connections with it; the backup stays, and another one writes all of it.
    drop(client);
    let disk = target.site.disk("disk.raw", 64 * MIB, 10, 4);
    nbdcopy(&disk, &uri(&backup, 0));
    target.finish(&id(&backup));
    target.site.assert_point_equals(&id(&backup), 0, &disk);
    let (status, body) = target.ask("POST", &format!("/backups/{}/complete", id(&backup)), None);
    assert_eq!(
        (status, &body["code"], &body["details"]["status"]),
        (409, &json!("job_ended"), &json!("completed"))
    );
    target.assert_given_back(&backup);
}

#[test]
fn what_is_written_while_it_is_completed_is_there_whole_or_not_at_all() {
    if !have(&["qemu-img", "curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &[]);
    for more in [json!({}), json!({"compression": "zstd"})] {
        let backup = target.start("web", "full", &[64 * MIB], more);
        let clients = [writer(&uri(&backup, 0)), writer(&uri(&backup, 0))];
        let id = id(&backup);
        eventually("bytes arrive", Duration::from_secs(30), || {
            target.backup(&id)["bytes_processed"].as_u64().unwrap() > 0
        });
        target.finish(&id);
        for client in clients {
            assert_ne!(client.wait(Duration::from_secs(20)).code, 0, "the client hears that it is over");
        }
        target.site.ok(&format!("backup verify {id}"));
        let restored = target.site.path("restored.raw");
        target.site.ok(&format!("restore disk {id} --to {}", restored.display()));
        let bytes = std::fs::read(&restored).unwrap();
        let torn = bytes.chunks(65536).position(|c| c.iter().any(|b| *b != c[0]) || ![0, 7].contains(&c[0]));
        assert_eq!(torn, None, "a cluster that was written in part");
        assert!(bytes.contains(&7));
        std::fs::remove_file(restored).unwrap();
        target.assert_given_back(&backup);
    }
}

#[test]
fn a_repository_that_is_full_ends_it_and_the_client_hears_of_it() {
    if !have(&["qemu-img", "nbdcopy", "curl", "sqlite3"]) || !rustix::process::geteuid().is_root() {
        return;
    }
    let target = Target::new(2, &[]);
    let Some(small) = target.small_repository() else { return };
    let disk = target.site.disk("big.raw", 64 * MIB, 60, 5);
    let backup = target.start("web", "full", &[64 * MIB], json!({"repository_id": "small"}));
    let client = Command::new("nbdcopy").arg(&disk).arg(uri(&backup, 0)).output().unwrap();
    assert!(!client.status.success());
    let ended = target.ended(&id(&backup));
    assert_eq!((&ended["status"], &ended["error_code"]), (&json!("failed"), &json!("no_space")), "{ended}");
    target.assert_given_back(&backup);
    small.assert_no_images();
}
