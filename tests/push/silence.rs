//! What clients tell of themselves, and what becomes of those that tell nothing.

use super::{Target, id, nbdcopy, uri};
use crate::harness::{MIB, Running, eventually, have};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;

fn message(second: u32, done: u64) -> Value {
    json!({"job_type": "backup", "status": "running", "current_phase": "transferring",
        "bytes_transferred": done, "total_bytes": 8 * MIB, "transfer_speed_bps": 7, "eta_seconds": 9,
        "progress_percent": 50.0, "timestamp": format!("2020-01-01T00:00:{second:02}Z"),
        "disks": [{"disk_index": 0, "disk_key": 2000, "bytes_transferred": done, "total_bytes": 8 * MIB,
            "progress_percent": 50.0, "status": "running"}], "error": null})
}

fn tell(target: &Target, id: &str, message: &Value) -> (u16, Value) {
    target.ask("POST", &format!("/telemetry/backup/{id}"), Some(message))
}

#[test]
fn a_silent_push_is_stalled_and_runs_again_when_it_speaks() {
    if !have(&["curl", "sqlite3", "nbdcopy", "qemu-img"]) {
        return;
    }
    let silence = ["--set", "jobs.stalled_after=1s", "--set", "jobs.failed_after=10s"];
    let target = Target::new(2, &silence);
    let backup = target.start("web", "full", &[8 * MIB], json!({}));
    let id = id(&backup);
    let is = |status: &str| {
        eventually(status, Duration::from_secs(8), || target.backup(&id)["status"] == status);
    };
    is("stalled");
    assert_eq!(target.site.sql("SELECT status FROM backup_disks"), "stalled");
    let (status, body) = tell(&target, &id, &message(5, MIB));
    assert_eq!(status, 200, "{body}");
    is("running");
    // A message that is older, or the same once more, is no sign of life.
    is("stalled");
    for late in [message(4, 2 * MIB), message(5, 3 * MIB)] {
        assert_eq!(tell(&target, &id, &late).0, 200);
    }
    assert_eq!(target.backup(&id)["status"], "stalled");
    assert_eq!(target.backup(&id)["bytes_processed"], MIB);
    // Nor is it only telemetry that counts: whoever writes is there.
    let disk = target.site.disk("disk.raw", 8 * MIB, 2, 1);
    nbdcopy(&disk, &uri(&backup, 0));
    is("running");
    is("stalled");
    let (status, body) = tell(
        &target,
        &id,
        &json!({"job_type": "backup", "status": "completed",
        "current_phase": "completed", "bytes_transferred": 8 * MIB, "total_bytes": 8 * MIB,
        "timestamp": "2020-01-01T00:01:00Z"}),
    );
    assert_eq!(status, 200, "{body}");
    let done = target.ended(&id);
    assert_eq!(done["status"], "completed", "{done}");
    let stored = done["size_bytes"].as_u64().unwrap();
    assert!(stored > MIB && stored < 4 * MIB, "what is stored is counted, not believed: {stored}");
    assert_eq!(done["bytes_transferred"], 8 * MIB, "what was told is not taken back");
    assert_eq!(tell(&target, &id, &message(59, MIB)).0, 409);
    target.site.assert_point_equals(&id, 0, &disk);
    target.assert_given_back(&backup);
}

#[test]
fn telemetry_is_taken_disk_by_disk_never_goes_back_and_goes_out_as_events() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &[]);
    let backup = target.start("web", "full", &[8 * MIB], json!({}));
    let id = id(&backup);
    let socket = target.site.state().join("hub.sock");
    let events = std::process::Command::new("curl")
        .args(["-s", "-N", "--max-time", "60", "--unix-socket"])
        .arg(socket)
        .arg(format!("http://localhost/api/v1/backups/{id}/events"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for second in 0..20 {
        assert_eq!(tell(&target, &id, &message(second, MIB + u64::from(second))).0, 200);
    }
    let told = || target.backup(&id)["disk_results"][0]["bytes_processed"].as_u64().unwrap();
    assert_eq!(told(), MIB + 19);
    // Hostile: a disk that is not there; less than before, more than there is, a clock that is ahead.
    let mut wild = message(30, u64::MAX / 2);
    wild["disks"][0]["bytes_transferred"] = json!(5);
    wild["timestamp"] = json!("2999-01-01T00:00:00Z");
    let mut unknown = wild.clone();
    unknown["disks"].as_array_mut().unwrap().push(json!({"disk_index": 9, "disk_key": 2009,
        "bytes_transferred": 1, "total_bytes": 1, "status": "running"}));
    let (status, body) = tell(&target, &id, &unknown);
    assert_eq!((status, &body["details"]["field"]), (400, &json!("disks")), "{body}");
    assert_eq!(tell(&target, &id, &wild).0, 200);
    assert_eq!(told(), MIB + 19);
    let now = target.backup(&id);
    assert!(now["progress_percent"].as_f64().unwrap() <= 100.0, "{now}");
    assert_eq!((&now["transfer_speed_bps"], &now["eta_seconds"]), (&json!(7), &json!(9)));
    target.finish(&id);
    let said = String::from_utf8(events.wait_with_output().unwrap().stdout).unwrap();
    assert!(
        said.contains("event: progress") && said.contains(&format!("\"bytes_processed\":{}", MIB + 19)),
        "{said}"
    );
    assert!(said.trim_end().rsplit("\n\n").next().unwrap().starts_with("event: final"), "{said}");
    let mut before = 0;
    for event in said.split("\n\n").filter(|event| event.starts_with("event: ")) {
        assert!(event.len() < 1024 || event.starts_with("event: final"), "{} bytes: {event}", event.len());
        let (_, data) = event.split_once("data: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        let now = data["bytes_transferred"].as_u64().unwrap();
        assert!(now >= before, "{now} after {before}: {said}");
        before = now;
    }
}

#[test]
fn the_last_word_counts_whatever_its_time_is_and_a_clock_that_was_ahead_mutes_nobody() {
    if !have(&["curl", "sqlite3", "date"]) {
        return;
    }
    let target = Target::new(2, &[]);
    let last = |status: &str, second: u32| {
        let mut message = message(second, MIB);
        message["status"] = json!(status);
        message
    };
    // Clocks that show seconds: the last word has the time of the one before it.
    for (status, ended, second) in [
        ("completed", "completed", 5),
        ("cancelled", "cancelled", 5),
        ("failed", "failed", 5),
        ("completed", "completed", 3),
    ] {
        let backup = target.start("web", "full", &[8 * MIB], json!({}));
        let id = id(&backup);
        assert_eq!(tell(&target, &id, &message(5, MIB)).0, 200);
        let (taken, body) = tell(&target, &id, &last(status, second));
        assert_eq!(taken, 200, "{body}");
        assert_eq!(target.ended(&id)["status"], ended);
        target.assert_given_back(&backup);
    }
    // A clock that was put right: what is said with it is news.
    let backup = target.start("web", "full", &[8 * MIB], json!({}));
    let id = id(&backup);
    let at = |time: &str, done: u64| {
        let mut message = message(0, done);
        message["timestamp"] = json!(time);
        assert_eq!(tell(&target, &id, &message).0, 200);
    };
    at("2999-01-01T00:00:00Z", MIB);
    let now = std::process::Command::new("date").args(["-u", "+%FT%T.%NZ"]).output().unwrap();
    at(String::from_utf8(now.stdout).unwrap().trim(), 2 * MIB);
    assert_eq!(target.backup(&id)["bytes_processed"], 2 * MIB);
    target.finish(&id);
}

/// A backup that another process runs, slowly, on the state folder of the hub.
fn elsewhere(target: &Target, vm: &str) -> (String, Running) {
    let disk = target.site.disk(&format!("{vm}.raw"), 64 * MIB, 60, 3);
    let line = format!("backup start --hub embedded --vm {vm} --source {} --bandwidth 8M", disk.display());
    let mut command = target.site.bare_command(line.split(' '));
    let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut id = String::new();
    eventually("data moves", Duration::from_secs(40), || {
        let (_, list) = target.ask("GET", &format!("/backups?vm_name={vm}&status=running"), None);
        id = list["backups"][0]["id"].as_str().unwrap_or_default().to_owned();
        list["backups"][0]["bytes_processed"].as_u64().unwrap_or(0) > 0
    });
    (id, running)
}

#[test]
fn a_hub_that_stays_cleans_up_after_other_processes() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let silence = ["--set", "jobs.stalled_after=1s", "--set", "jobs.failed_after=3s"];
    let target = Target::new(2, &silence);
    let (id, running) = elsewhere(&target, "killed");
    running.signal("KILL");
    running.wait(Duration::from_secs(20));
    assert_ne!(target.site.sql("SELECT count(*) FROM leases"), "0", "it was in the middle");
    // Nobody asks anything of the hub but how the backup is.
    let ended = target.ended(&id);
    assert_eq!(ended["status"], "failed", "{ended}");
    // The lease is the last of it: it guards what is being cleaned up.
    eventually("all is given back", Duration::from_secs(10), || {
        target.site.sql("SELECT count(*) FROM leases") == "0"
    });
    target.site.assert_nothing_left_over();
}

#[test]
fn a_process_that_stands_still_is_stalled_and_runs_again() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &["--set", "jobs.stalled_after=2s"]);
    let (id, running) = elsewhere(&target, "stopped");
    running.signal("STOP");
    eventually("stalled", Duration::from_secs(20), || target.backup(&id)["status"] == "stalled");
    running.signal("CONT");
    eventually("running", Duration::from_secs(20), || target.backup(&id)["status"] == "running");
    running.signal("INT");
    assert_eq!(running.wait(Duration::from_secs(30)).code, 130);
    assert_eq!(target.ended(&id)["status"], "cancelled");
    target.site.assert_nothing_left_over();
}
