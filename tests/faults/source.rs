//! Sources that fail: at the start, in the middle, or by saying nothing for too long.

use super::{dense, failed_record, start, transferring};
use crate::harness::{MIB, Run, Running, Site, eventually, have};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use testkit::proc::Server;

/// A VM whose disk comes from that URI: its backup fails in the middle, by `fault`; `heal` ends the fault.
fn fails_in_the_middle(
    site: &Site,
    uri: &str,
    disk: &Path,
    fault: impl FnOnce(&Running),
    heal: impl FnOnce(),
) {
    site.ok(&format!("vm add pg --disk {uri}"));
    let running = start(site, "backup start --vm pg --bandwidth 8M");
    transferring(&site.repository());
    fault(&running);
    running.wait(Duration::from_secs(100)).failed_with(13, &["disk 0", "next:"]);
    let id = failed_record(site, "pg", "source_unavailable", "disk 0");
    site.assert_nothing_left_over();
    assert!(site.files_ending(".qcow2").is_empty());
    heal();
    let retried = site.ok(&format!("backup retry {id} --json"));
    assert!(retried.stdout.lines().last().unwrap().contains("\"summary\""), "{retried:#?}");
    let point = site.points()[0]["id"].as_str().unwrap().to_owned();
    site.assert_point_equals(&point, 0, disk);
}

#[test]
fn a_source_that_begins_to_fail_in_the_middle() {
    if !have(&["nbdkit", "qemu-img", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = dense(&site, "disk.raw", 24, 1);
    let trigger = site.path("fail");
    let server = Server::nbdkit(&[
        "--filter=error",
        "file",
        &disk.display().to_string(),
        "error-pread-rate=100%",
        &format!("error-file={}", trigger.display()),
    ]);
    let fault = |_: &Running| fs::write(&trigger, "").unwrap();
    fails_in_the_middle(&site, &server.uri(""), &disk, fault, || fs::remove_file(&trigger).unwrap());
}

#[test]
fn a_source_with_errors_here_and_there_is_no_source() {
    if !have(&["nbdkit", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = dense(&site, "disk.raw", 32, 1);
    let path = disk.display().to_string();
    let server = Server::nbdkit(&["--filter=error", "file", &path, "error-pread-rate=30%"]);
    site.run(&format!("backup start --vm pg --source {}", server.uri(""))).failed_with(13, &["disk 0"]);
    failed_record(&site, "pg", "source_unavailable", "input/output error");
    site.assert_nothing_left_over();
}

#[test]
fn a_slow_source_is_waited_for_and_ends_at_the_time_limit() {
    if !have(&["nbdkit", "qemu-img", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = dense(&site, "disk.raw", 16, 1);
    let path = disk.display().to_string();
    let slow = Server::nbdkit(&["--filter=delay", "file", &path, "rdelay=100ms"]);
    let id = site.backup(&format!("--vm slow --source {}", slow.uri("")));
    site.assert_point_equals(&id, 0, &disk);

    let slower = Server::nbdkit(&["--filter=delay", "file", &path, "rdelay=2"]);
    let run = site.run(&format!("backup start --vm slower --timeout 1s --source {}", slower.uri("")));
    run.failed_with(1, &["slower", "not done within 1 s", "--timeout"]);
    failed_record(&site, "slower", "timed_out", "not done within");
    site.assert_nothing_left_over();
    site.ok(&format!("backup verify {id}"));
}

#[test]
fn an_nbd_server_that_is_killed_and_comes_back_is_read_on() {
    if !have(&["qemu-nbd", "qemu-img", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = dense(&site, "disk.raw", 24, 1);
    let socket = site.path("qemu.sock");
    let serve = || {
        let mut command = Command::new("qemu-nbd");
        command.args(["--persistent", "--read-only", "--format=raw", "--shared=8", "--socket"]);
        let server = Running::start(command.arg(&socket).arg(&disk));
        eventually("qemu-nbd listens", Duration::from_secs(10), || socket.exists());
        server
    };
    let server = serve();
    site.ok(&format!("vm add pg --disk nbd+unix:///?socket={}", socket.display()));
    let running = start(&site, "backup start --vm pg --bandwidth 8M");
    transferring(&site.repository());
    drop(server);
    fs::remove_file(&socket).ok();
    let _again = serve();
    let run = running.wait(Duration::from_secs(60));
    assert_eq!(run.code, 0, "{run:#?}");
    site.assert_point_equals(run.summary()["backup_id"].as_str().unwrap(), 0, &disk);
    site.assert_nothing_left_over();
}

#[test]
fn an_nbd_server_that_stays_away_is_waited_for_until_the_limit_or_ctrl_c() {
    if !have(&["nbdkit", "sqlite3"]) {
        return;
    }
    for (timeout, signal, code, status) in [("6s", None, 1, "failed"), ("1h", Some("INT"), 130, "cancelled")]
    {
        let site = Site::new();
        let disk = dense(&site, "disk.raw", 24, 1);
        let path = disk.display().to_string();
        let mut server = Server::nbdkit(&["-r", "file", &path]);
        site.ok(&format!("vm add pg --disk {}", server.uri("")));
        let running = start(&site, &format!("backup start --vm pg --bandwidth 8M --timeout {timeout}"));
        transferring(&site.repository());
        server.kill();
        if let Some(signal) = signal {
            running.signal(signal);
        }
        let run = running.wait(Duration::from_secs(30));
        assert_eq!(run.code, code, "{run:#?}");
        let listed = site.json("backup list --vm pg");
        assert_eq!(listed["backups"][0]["status"], status, "{listed:#}");
        assert!(site.files_ending(".qcow2").is_empty());
        site.assert_nothing_left_over();
        site.ok(&format!("vm add pg --replace --disk {path}"));
        site.backup("--vm pg");
    }
}

#[test]
fn the_qemu_nbd_behind_an_image_file_is_killed() {
    if !have(&["qemu-nbd", "qemu-img", "sqlite3", "pgrep"]) {
        return;
    }
    let site = Site::embedded();
    let disk = dense(&site, "disk.raw", 24, 1);
    let image = site.path("disk.vmdk");
    let done =
        Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "vmdk"]).args([&disk, &image]).status();
    assert!(done.unwrap().success());
    let fault = |running: &Running| {
        let children = Command::new("pgrep")
            .args(["-x", "-P", &running.0.id().to_string(), "qemu-nbd"])
            .output()
            .unwrap();
        let pid = String::from_utf8(children.stdout).unwrap().trim().to_owned();
        assert!(!pid.is_empty() && !pid.contains('\n'), "the backup's own qemu-nbd: {pid:?}");
        assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    };
    fails_in_the_middle(&site, &image.display().to_string(), &disk, fault, || ());
}

#[test]
fn a_file_that_is_truncated_while_it_is_read() {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = dense(&site, "disk.raw", 24, 1);
    let kept = site.path("kept.raw");
    fs::copy(&disk, &kept).unwrap();
    let cut =
        |_: &Running| fs::OpenOptions::new().write(true).open(&disk).unwrap().set_len(12 * MIB).unwrap();
    fails_in_the_middle(&site, &disk.display().to_string(), &kept, cut, || {
        fs::copy(&kept, &disk).unwrap();
    });
}

#[test]
fn one_disk_of_three_fails_and_there_is_no_point() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disks: Vec<_> = (0..3).map(|n| dense(&site, &format!("d{n}.raw"), 8, n)).collect();
    let listed: String = disks.iter().map(|disk| format!(" --disk {}", disk.display())).collect();
    site.ok(&format!("vm add trio{listed}"));
    let first = site.backup("--vm trio");
    fs::rename(&disks[1], site.path("away")).unwrap();
    site.run("backup start --vm trio").failed_with(13, &["disk 1", "d1.raw"]);
    let id = failed_record(&site, "trio", "source_unavailable", "disk 1");
    site.assert_nothing_left_over();
    assert_eq!(site.files_ending(".qcow2").len(), 3);
    fs::rename(site.path("away"), &disks[1]).unwrap();
    site.ok(&format!("backup retry {id}"));
    site.ok(&format!("backup verify {first}"));
    assert_eq!(site.files_ending(".qcow2").len(), 6);
}

#[test]
fn a_source_path_that_is_no_disk() {
    let site = Site::new();
    fs::create_dir(site.path("folder")).unwrap();
    fs::write(site.path("empty"), "").unwrap();
    for (name, why) in [("none", "No such file"), ("folder", "directory"), ("empty", "empty")] {
        let path = site.path(name).display().to_string();
        let run = site.run(&format!("backup start --vm pg-{name} --source {path}"));
        run.failed_with(13, &[&path, why, "next:"]);
        site.run(&format!("vm add pg-{name} --disk {path}")).failed_with(13, &[&path, why]);
        assert!(site.points().is_empty());
        site.assert_nothing_left_over();
    }
    assert!(site.json("vm list")["vms"].as_array().unwrap().is_empty(), "none of them is a VM");
    let uris = [("http://x/y", 2), ("nbd+unix:///?socket={}/none", 13), ("nbd://127.0.0.1:1/x", 13)];
    for (n, (uri, code)) in uris.into_iter().enumerate() {
        let run = site.run(&format!("backup start --vm pg{n} --source {uri} --timeout 10s"));
        run.failed_with(code, &[]);
    }
    site.assert_nothing_left_over();
}

#[test]
fn a_source_or_a_state_folder_that_this_user_may_not_read() {
    if !have(&["setpriv"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run the program as another user");
        return;
    }
    let site = Site::embedded();
    let folder = site.path("");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let secret = dense(&site, "secret.raw", 1, 1);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let own = site.path("own");
    fs::create_dir(&own).unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    // A copy: the folder of the build may be closed to others.
    let program = site.path("sendense-ctl");
    fs::copy(env!("CARGO_BIN_EXE_sendense-ctl"), &program).unwrap();
    let as_nobody = |state: &Path, line: &str| {
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(line.split(' '))
            .env("SENDENSE_HOME", state)
            .env_remove("NO_COLOR")
            .current_dir("/")
            .output()
            .unwrap();
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: line.to_owned(),
        }
    };
    let run = as_nobody(&own, &format!("backup start --vm pg --source {}", secret.display()));
    run.failed_with(13, &["secret.raw", "Permission denied", "next:"]);
    let run = as_nobody(&own, "backup list");
    assert!(run.code == 0 && run.stderr.contains("no backups"), "{run:#?}");

    // Root's state folder is closed to others, and says so instead of making a new one.
    site.backup(&format!("--vm pg --source {}", secret.display()));
    let run = as_nobody(&site.state(), "backup list");
    run.failed_with(12, &["Permission denied", "--state-dir"]);

    // A target that may not be written.
    let id = site.points()[0]["id"].as_str().unwrap().to_owned();
    let disk = own.join("disk.raw");
    fs::copy(&secret, &disk).unwrap();
    std::os::unix::fs::chown(&disk, Some(65534), None).unwrap();
    let run = as_nobody(&own, &format!("backup start --vm pg --source {}", disk.display()));
    assert_eq!(run.code, 0, "{run:#?}");
    let target = site.path("out.raw");
    let run = as_nobody(&own, &format!("restore disk latest --to {}", target.display()));
    run.failed_with(12, &["out.raw"]);
    assert!(!target.exists());
    site.ok(&format!("restore disk {id} --to {}", target.display()));
}
