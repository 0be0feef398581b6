//! From the start to the end: commands find the hub by themselves, and its jobs are its own.

use super::{piped, slow_site, socket, start_slow, stop};
use crate::harness::{MIB, Site, eventually, have};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

#[test]
fn commands_find_the_hub_of_their_state_folder_and_it_does_the_work() {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    let site = slow_site();
    assert!(site.bare_ok("hub status").stdout.contains("inside this command"));
    let hub = site.serve(&["--no-listen"]);
    let status = site.bare_json("hub status");
    assert_eq!(status["hub"], format!("unix://{}", socket(&site)));
    assert_eq!(status["health"]["status"], "healthy");

    let id = start_slow(&site);
    let pid = hub.running.0.id();
    assert_eq!(site.sql("SELECT DISTINCT pid FROM leases"), pid.to_string(), "the hub runs it");
    let watched = site.bare_run(&format!("backup watch {id}"));
    assert_eq!(watched.code, 0, "{watched:#?}");
    let disk = site.path("slow.raw");
    site.assert_point_equals(&id, 0, &disk);

    // Embedded all the same, where that is said.
    assert!(site.bare_ok("hub status --hub embedded").stdout.contains("inside this command"));
    assert_eq!(site.bare_json("backup list --hub embedded")["total"], 1);
    assert_eq!(site.bare_json(&format!("backup list --hub unix://{}", socket(&site)))["total"], 1);
    assert_eq!(stop(&site, hub), 0);
    assert!(site.bare_ok("hub status").stdout.contains("inside this command"), "nothing serves any more");
    site.assert_nothing_left_over();
}

#[test]
fn a_second_hub_on_the_same_state_folder_is_told_who_serves_it() {
    let site = Site::new();
    let hub = site.serve(&["--no-listen"]);
    let pid = hub.running.0.id().to_string();
    site.bare_run("hub serve --no-listen").failed_with(11, &["another hub serves", &pid, "hub status"]);
    assert_eq!(site.bare_json("hub status")["health"]["status"], "healthy", "the first one is undisturbed");
    assert_eq!(stop(&site, hub), 0);
    let again = site.serve(&["--no-listen"]);
    assert_eq!(stop(&site, again), 0);
}

#[test]
fn a_closed_terminal_ends_no_job_of_a_service_and_ctrl_c_does() {
    let site = slow_site();
    let hub = site.serve(&["--no-listen"]);
    for (signal, code, ended) in [("HUP", 129, "completed"), ("INT", 130, "cancelled")] {
        let client = piped(&site, "backup start --vm slow --bandwidth 8M --type full");
        let running = || site.bare_json("backup list --status running")["total"] == 1;
        eventually("it runs", Duration::from_secs(20), running);
        client.signal(signal);
        assert_eq!(client.wait(Duration::from_secs(30)).code, code);
        let newest = || site.bare_json("backup list --limit 1")["backups"][0]["status"].clone();
        eventually(ended, Duration::from_secs(60), || newest() == ended);
    }
    assert_eq!(stop(&site, hub), 0);
    site.assert_nothing_left_over();
}

#[test]
fn a_killed_hub_starts_again_and_a_watcher_hears_what_became_of_its_job() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = slow_site();
    let mut hub = site.serve(&["--no-listen"]);
    let id = start_slow(&site);
    let watcher = piped(&site, &format!("backup watch {id}"));
    eventually("somebody watches", Duration::from_secs(20), || {
        std::fs::read_to_string(site.path("hub.log")).unwrap().contains("/events")
    });
    hub.running.0.kill().unwrap();
    hub.running.0.wait().unwrap();
    assert!(site.state().join("hub.sock").exists(), "killed, it left its socket");
    let hub = site.serve(&["--no-listen"]);
    let watched = watcher.wait(Duration::from_secs(60));
    assert_eq!(watched.code, 1, "{watched:#?}");
    site.assert_nothing_left_over();
    let retried = site.bare_run(&format!("backup retry {id}"));
    assert_eq!(retried.code, 0, "{retried:#?}");
    assert_eq!(stop(&site, hub), 0);
}

#[test]
fn a_stopped_hub_lets_its_jobs_end_or_cancels_them_cleanly() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = slow_site();
    for (limit, status) in [("60s", "completed"), ("100ms", "cancelled")] {
        let hub = site.serve(&["--no-listen", "--stop-timeout", limit]);
        let id = start_slow(&site);
        hub.running.signal("TERM");
        if status == "completed" {
            eventually("new work is refused, and looking goes on", Duration::from_secs(20), || {
                site.bare_run("backup start --vm slow --hub local --detach").stderr.contains("about to end")
            });
            assert_eq!(site.bare_json(&format!("backup show {id}"))["backup"]["status"], "running");
        }
        assert_eq!(hub.running.wait(Duration::from_secs(60)).code, 0);
        let ended = &site.bare_json(&format!("backup show {id}"))["backup"];
        assert_eq!(ended["status"], status);
        if status == "cancelled" {
            assert_eq!(ended["error_message"], "the hub that ran it was stopped");
            let watched = site.bare_run(&format!("backup watch {id}"));
            watched.failed_with(130, &["the hub that ran it was stopped; nothing of it is left"]);
        }
        site.assert_nothing_left_over();
    }
}

#[test]
fn who_follows_the_last_job_of_a_hub_hears_that_it_completed() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = slow_site();
    let hub = site.serve(&["--no-listen", "--stop-timeout", "60s"]);
    let client = piped(&site, "backup start --vm slow --bandwidth 8M --hub local --json");
    eventually("it runs", Duration::from_secs(20), || !site.files_ending(".qcow2.partial").is_empty());
    hub.running.signal("TERM");
    assert_eq!(hub.running.wait(Duration::from_secs(60)).code, 0);
    let run = client.wait(Duration::from_secs(30));
    assert_eq!(run.code, 0, "{run:#?}");
    let summary: Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["message_type"], &summary["status"]), (&"summary".into(), &"completed".into()));
    assert_eq!(summary["backup"]["disk_results"][0]["status"], "completed", "{summary}");
}

#[test]
fn a_second_signal_ends_a_hub_at_once_and_the_next_one_cleans_up() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = slow_site();
    let hub = site.serve(&["--no-listen"]);
    let id = start_slow(&site);
    hub.running.signal("STOP");
    hub.running.signal("TERM");
    hub.running.signal("INT");
    hub.running.signal("CONT");
    let run = hub.running.wait(Duration::from_secs(10));
    assert!(matches!(run.code, 130 | 143), "{run:#?}");
    let hub = site.serve(&["--no-listen"]);
    assert_eq!(site.bare_json(&format!("backup show {id}"))["backup"]["status"], "failed");
    site.assert_nothing_left_over();
    assert_eq!(stop(&site, hub), 0);
}

#[test]
fn a_service_manager_is_told_how_the_hub_is() {
    let site = Site::new();
    let path = site.path("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = |wanted: &str| loop {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.contains(wanted) {
            return text;
        }
    };
    let hub = site.serve_with(&["--no-listen"], |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    });
    assert!(next("READY=1").contains("STATUS=serves at unix://"));
    next("WATCHDOG=1");
    hub.running.signal("HUP");
    next("RELOADING=1");
    next("READY=1");
    hub.running.signal("TERM");
    assert!(next("STOPPING=1").contains("EXTEND_TIMEOUT_USEC="));
    assert_eq!(hub.running.wait(Duration::from_secs(20)).code, 0);
}

#[test]
fn the_units_are_what_systemd_understands() {
    if !have(&["systemd-analyze"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let units = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let mut files = Vec::new();
    for unit in std::fs::read_dir(units).unwrap().flatten() {
        let text = std::fs::read_to_string(unit.path()).unwrap();
        let here = text.replace("/usr/bin/sendense-ctl", env!("CARGO_BIN_EXE_sendense-ctl"));
        let file = folder.path().join(unit.file_name());
        std::fs::write(&file, here).unwrap();
        files.push(file);
    }
    assert_eq!(files.len(), 5);
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(files).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn only_the_owner_and_root_reach_the_socket_and_others_need_credentials() {
    if !have(&["setpriv", "curl"]) || !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let folder = tempfile::Builder::new().prefix("sendense-door-").tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let door = folder.path().join("hub.sock");
    let hub = site.serve(&["--listen", &format!("unix://{}", door.display())]);
    let own = site.state().join("hub.sock");
    assert_eq!(own.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(site.state().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let nobody = |socket: &std::path::Path, path: &str| {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "-s", "--max-time", "10"])
            .args(["-o", "/dev/null", "-w", "%{http_code}", "--unix-socket"])
            .arg(socket)
            .arg(format!("http://localhost/api/v1{path}"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(nobody(&own, "/health"), "000", "the kernel refuses it");
    assert_eq!(nobody(&door, "/health"), "200");
    assert_eq!(nobody(&door, "/backups"), "401");
    assert_eq!(site.bare_json(&format!("backup list --hub unix://{}", door.display()))["total"], 0);
    assert_eq!(stop(&site, hub), 0);
    assert!(!door.exists());
}

#[test]
fn backups_of_several_vms_run_in_the_hub_at_once() {
    let site = Site::new();
    for n in 0..3 {
        let disk = site.disk(&format!("{n}.raw"), 16 * MIB, 4, n);
        site.bare_ok(&format!("vm add vm{n} --disk {}", disk.display()));
    }
    let hub = site.serve(&["--no-listen"]);
    site.bare_ok("backup start --all");
    assert_eq!(site.bare_json("backup list")["total"], 3);
    assert_eq!(stop(&site, hub), 0);
}
