//! Several runs at once: different VMs side by side, one VM by one run at a time.

use crate::harness::{MIB, Running, Site, eventually, have};
use std::process::Stdio;
use std::time::Duration;

#[test]
fn five_vms_are_backed_up_by_five_processes_at_once() {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disks: Vec<_> = (0..5).map(|n| site.disk(&format!("{n}.raw"), 64 * MIB, 20, n)).collect();
    let runs: Vec<_> = disks
        .iter()
        .enumerate()
        .map(|(n, disk)| {
            let source = disk.display().to_string();
            let mut command =
                site.command(["backup", "start", "--vm", &format!("vm{n}"), "--source", &source]);
            Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        })
        .collect();
    for (disk, run) in disks.iter().zip(runs) {
        let run = run.wait(Duration::from_secs(120));
        assert_eq!(run.code, 0, "{run:#?}");
        site.assert_point_equals(run.summary()["backup_id"].as_str().unwrap(), 0, disk);
    }
    site.assert_nothing_left_over();
}

#[test]
fn one_run_backs_up_several_vms() {
    let site = Site::new();
    for n in 0..3 {
        let disk = site.disk(&format!("{n}.raw"), 16 * MIB, 4, n);
        site.ok(&format!("vm add vm{n} --disk {}", disk.display()));
    }
    site.ok("backup start --vm vm0 --vm vm1");
    assert_eq!(site.points().len(), 2);
    site.ok("backup start --all");
    assert_eq!(site.points().len(), 5);
    std::fs::remove_file(site.path("1.raw")).unwrap();
    let run = site.run("backup start --all");
    assert_eq!(run.code, 3, "some failed: {run:#?}");
    assert_eq!(site.points().len(), 7);
    site.assert_nothing_left_over();
}

/// A backup that takes a few seconds, and is under way when this returns.
fn slow(site: &Site) -> (Running, String) {
    let disk = site.disk("slow.raw", 64 * MIB, 40, 9);
    site.ok(&format!("vm add slow --disk {}", disk.display()));
    let mut command = site.command(["backup", "start", "--vm", "slow", "--bandwidth", "8M"]);
    let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    eventually("the backup transfers", Duration::from_secs(20), || {
        !site.files_ending(".qcow2.partial").is_empty()
    });
    let listed = site.json("backup list --vm slow");
    let id = listed["backups"][0]["id"].as_str().unwrap().to_owned();
    (running, id)
}

#[test]
fn a_second_run_on_the_same_vm_is_told_who_holds_it_or_waits() {
    let site = Site::embedded();
    let (running, _) = slow(&site);
    let pid = running.0.id().to_string();
    site.run("backup start --vm slow").failed_with(11, &[&pid, "--retry-lock"]);
    let second = site.run("backup start --vm slow --retry-lock 1m");
    assert_eq!(second.code, 0, "{second:#?}");
    assert_eq!(running.wait(Duration::from_secs(60)).code, 0);
    assert_eq!(site.points().len(), 2);
    site.assert_nothing_left_over();
}

#[test]
fn another_process_watches_and_cancels_a_running_backup() {
    let site = Site::new();
    let (running, id) = slow(&site);
    let mut command = site.command(["backup", "watch", &id]);
    let watcher = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    site.ok(&format!("backup cancel {id}"));
    let run = running.wait(Duration::from_secs(20));
    assert_eq!(run.code, 130, "cancelled: {run:#?}");
    assert_eq!(watcher.wait(Duration::from_secs(20)).code, 130);
    let shown = site.json(&format!("backup show {id}"));
    assert_eq!(shown["backup"]["status"], "cancelled");
    site.assert_nothing_left_over();
    let retried = site.ok(&format!("backup retry {id}")).summary()["backup_id"].clone();
    assert_ne!(retried, id.as_str());
    assert_eq!(site.points().len(), 1);
}

/// The first moment of a state folder: catalog, default repository and VMs are made by all of them at once.
#[test]
fn processes_that_all_come_first_do_not_trip_over_one_another() {
    for round in 0..6 {
        let site = Site::in_memory();
        let disks: Vec<_> = (0..6).map(|n| site.disk(&format!("{n}.raw"), MIB, 1, n)).collect();
        let run = |line: String| {
            let mut command = site.command(line.split(' '));
            Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        };
        let runs: Vec<_> = disks
            .iter()
            .enumerate()
            .map(|(n, disk)| run(format!("backup start --vm vm{n} --source {}", disk.display())))
            .collect();
        // Two of them come for the same VM: one backs it up, the other is told who does, or comes after it.
        let rival = run(format!("backup start --vm vm0 --source {}", disks[0].display()));
        let mut codes: Vec<_> = runs.into_iter().map(|run| run.wait(Duration::from_secs(60))).collect();
        let first = [codes.remove(0), rival.wait(Duration::from_secs(60))];
        assert!(codes.iter().all(|run| run.code == 0), "round {round}: {codes:#?}");
        assert!(first.iter().all(|run| matches!(run.code, 0 | 11)), "round {round}: {first:#?}");
        assert!(first.iter().any(|run| run.code == 0), "round {round}: {first:#?}");
        assert_eq!(site.json("vm list")["total"], 6);
        site.assert_nothing_left_over();
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_the_next_run_cleans_up() {
    let site = Site::embedded();
    let (running, id) = slow(&site);
    // Both are there when it looks.
    running.signal("STOP");
    running.signal("INT");
    running.signal("TERM");
    running.signal("CONT");
    let began = std::time::Instant::now();
    let run = running.wait(Duration::from_secs(10));
    assert!(matches!(run.code, 130 | 143), "{run:#?}");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let shown = site.json(&format!("backup show {id}"));
    assert!(matches!(shown["backup"]["status"].as_str(), Some("failed" | "cancelled")), "{shown:#}");
    site.assert_nothing_left_over();
    assert!(site.files_ending(".qcow2").is_empty());
    site.ok(&format!("backup retry {id}"));
}

#[test]
fn ctrl_c_sigterm_and_sighup_end_a_backup_cleanly() {
    for &(signal, code) in Site::new().cancelling() {
        let site = Site::new();
        let (running, id) = slow(&site);
        running.signal(signal);
        let run = running.wait(Duration::from_secs(20));
        assert_eq!(run.code, code, "{run:#?}");
        assert_eq!(site.json(&format!("backup show {id}"))["backup"]["status"], "cancelled");
        assert!(site.files_ending(".qcow2").is_empty());
        site.assert_nothing_left_over();
    }
}

#[test]
fn sigusr1_prints_a_status_line() {
    let site = Site::new();
    let (running, id) = slow(&site);
    running.signal("USR1");
    running.signal("INT");
    let run = running.wait(Duration::from_secs(20));
    assert!(run.stderr.contains(&id) && run.stderr.contains('%'), "{run:#?}");
}
