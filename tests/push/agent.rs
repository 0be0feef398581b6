//! `agent push`: from this machine's disks to a point in the hub, and what stops it on the way.

use super::{Target, id};
use crate::harness::{MIB, Run, Running, eventually, have, scribble};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

fn agent(target: &Target, line: &str) -> Command {
    let words = line
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(|word| word.replace("{}", target.site.path("").to_str().unwrap().trim_end_matches('/')));
    let mut command =
        target.site.bare_command(["agent", "push"].iter().map(ToString::to_string).chain(words));
    // As on another machine: nothing is known of the hub but its address.
    let hub = format!("unix://{}", target.site.state().join("hub.sock").display());
    command.env("SENDENSE_HOME", target.site.path("elsewhere")).env("SENDENSE_HUB", hub);
    command
}

fn pushed(target: &Target, line: &str) -> Value {
    let run = Run::finished(agent(target, &format!("{line} --json")));
    assert_eq!(run.code, 0, "{run:#?}");
    let last = run.stdout.lines().last().unwrap();
    let summary: Value = serde_json::from_str(last).unwrap();
    assert_eq!(summary["message_type"], "summary", "{run:#?}");
    target.backup(summary["backup_id"].as_str().unwrap())
}

#[test]
fn disks_of_this_machine_become_points_full_and_incremental() {
    if !have(&["qemu-img", "curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(4, &[]);
    let site = &target.site;
    let (raw, other) = (site.disk("a.raw", 48 * MIB + 512, 20, 1), site.disk("b.raw", 300 * MIB, 4, 2));
    let image = site.path("b.qcow2");
    let convert = |from: &std::path::Path| {
        super::run("qemu-img", &["convert", "-O", "qcow2", from.to_str().unwrap(), image.to_str().unwrap()]);
    };
    convert(&other);
    let line = "--vm db --source {}/a.raw --source {}/b.qcow2 --tag from=agent";
    let full = pushed(&target, line);
    assert_eq!((&full["backup_type"], &full["tags"]["from"]), (&"full".into(), &"agent".into()));
    assert_eq!(full["disk_results"][1]["disk_key"], 2001);
    site.assert_point_equals(&id(&full), 0, &raw);
    site.assert_point_equals(&id(&full), 1, &other);

    // What is said of a source is wrong, as for `backup start`.
    std::fs::copy(&image, site.path("misnamed.raw")).unwrap();
    let misnamed = Run::finished(agent(&target, "--vm other --source {}/misnamed.raw"));
    misnamed.failed_with(2, &["begins like a qcow2 image", "?format=qcow2"]);
    // The nightly line is for those that are read from here.
    let nightly = site.bare_run("backup start --all");
    assert_eq!(nightly.code, 0, "{nightly:#?}");
    assert!(nightly.stderr.contains("db: left out, a client writes its disks"), "{nightly:#?}");
    assert_eq!(site.bare_run("backup start --all --quiet").stderr, "");
    for (round, more) in [(3, ""), (4, "--compress --connections 1")] {
        scribble(&raw, 1, round);
        scribble(&other, 1, round + 10);
        convert(&other);
        let next = pushed(&target, &format!("{line} {more}"));
        assert_eq!(next["backup_type"], "incremental");
        assert!(next["size_bytes"].as_u64().unwrap() < full["size_bytes"].as_u64().unwrap() / 3, "{next}");
        site.assert_point_equals(&id(&next), 0, &raw);
        site.assert_restores_to(&id(&next), 0, &raw);
        site.assert_restores_to(&id(&next), 1, &other);
        site.ok(&format!("backup verify {}", id(&next)));
    }
    site.assert_nothing_left_over();
    // The plain form, for a person.
    let run = Run::finished(agent(&target, line));
    assert!(run.stdout.contains("incremental,") && run.stderr.contains("started"), "{run:#?}");
}

#[test]
fn the_engine_in_the_same_process_takes_a_push_too() {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    let site = crate::harness::Site::new();
    let raw = site.disk("a.raw", 8 * MIB, 3, 1);
    let run = site.bare_ok("agent push --vm a --source {}/a.raw");
    let id = run.summary()["backup_id"].as_str().unwrap().to_owned();
    site.assert_point_equals(&id, 0, &raw);
    site.assert_nothing_left_over();
}

#[test]
fn what_is_no_source_is_told_before_the_hub_is_asked() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &[]);
    let missing = Run::finished(agent(&target, "--vm a --source {}/none.raw"));
    missing.failed_with(13, &["none.raw", "No such file"]);
    assert_eq!(target.ask("GET", "/backups", None).1["total"], 0);
    let own = target.site.disk("own.raw", MIB, 1, 1);
    target.site.bare_ok(&format!("vm add own --disk {}", own.display()));
    Run::finished(agent(&target, "--vm own --source {}/own.raw")).failed_with(5, &["by itself"]);
}

/// A push that is in the middle: slowed down, and some of it there.
fn in_the_middle(target: &Target) -> (String, Running) {
    target.site.disk("slow.raw", 64 * MIB, 50, 7);
    let mut command = agent(target, "--vm slow --source {}/slow.raw --bandwidth 4M");
    let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut found = String::new();
    eventually("bytes arrive", Duration::from_secs(40), || {
        let (_, list) = target.ask("GET", "/backups?status=running", None);
        let backup = &list["backups"][0];
        found = backup["id"].as_str().unwrap_or_default().to_owned();
        backup["bytes_processed"].as_u64().unwrap_or(0) > 0
    });
    (found, running)
}

#[test]
fn ctrl_c_and_a_request_to_cancel_end_both_sides() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &[]);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (id, running) = in_the_middle(&target);
        running.signal(signal);
        running.wait(Duration::from_secs(30)).failed_with(code, &["asked to end"]);
        assert_eq!(target.ended(&id)["status"], "cancelled");
        target.site.assert_nothing_left_over();
    }
    let (id, running) = in_the_middle(&target);
    assert_eq!(target.ask("POST", &format!("/backups/{id}/cancel"), None).0, 202);
    running.wait(Duration::from_secs(30)).failed_with(130, &["asked to end"]);
    target.site.assert_nothing_left_over();
}

#[test]
fn an_agent_whose_backup_somebody_else_completes_does_not_say_that_all_is_there() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(2, &[]);
    let (id, running) = in_the_middle(&target);
    target.finish(&id);
    running.wait(Duration::from_secs(30)).failed_with(3, &["before all was sent", &id]);
    target.site.ok(&format!("backup verify {id}"));
    target.site.assert_nothing_left_over();
}

#[test]
fn an_agent_that_is_killed_is_noticed_and_one_whose_hub_is_killed_gives_up() {
    if !have(&["curl", "sqlite3"]) {
        return;
    }
    let silence = ["--set", "jobs.stalled_after=1s", "--set", "jobs.failed_after=3s"];
    let target = Target::new(2, &silence);
    let (id, running) = in_the_middle(&target);
    running.signal("KILL");
    let ended = target.ended(&id);
    assert_eq!(ended["error_code"], "timed_out", "{ended}");
    target.site.assert_nothing_left_over();

    let (id, running) = in_the_middle(&target);
    let Target { hub, site, ports } = target;
    hub.running.signal("KILL");
    hub.running.wait(Duration::from_secs(20));
    let run = running.wait(Duration::from_secs(60));
    run.failed_with(10, &["export"]);
    let hub = super::serve(&site, &ports, &silence);
    let target = Target { hub, site, ports };
    assert_eq!(target.backup(&id)["status"], "failed");
    target.site.assert_nothing_left_over();
}

#[test]
fn a_repository_that_runs_full_is_what_the_agent_says() {
    if !have(&["curl", "sqlite3"]) || !rustix::process::geteuid().is_root() {
        return;
    }
    let target = Target::new(2, &[]);
    let big = target.site.disk("big.raw", 64 * MIB, 60, 5);
    let line = "--vm web --source {}/big.raw --source {}/big.raw";
    // The default repository is the first one.
    pushed(&target, line);
    let Some(small) = target.small_repository() else { return };
    for _ in 0..5 {
        // Whoever notices first, the hub or its client: it is the same cause.
        let run = Run::finished(agent(&target, &format!("{line} --repo small --type full")));
        run.failed_with(14, &["small", "push again"]);
        // Both disks went to it, one met the end first: nothing is left of either.
        target.site.assert_nothing_left_over();
    }
    small.assert_no_images();
    // The same disks, where there is room.
    let made = pushed(&target, line);
    target.site.assert_point_equals(&id(&made), 1, &big);
}

#[test]
fn the_hub_is_told_every_five_seconds_how_far_it_is() {
    let target = Target::new(2, &[]);
    target.site.disk("slow.raw", 12 * MIB, 12, 1);
    pushed(&target, "--vm slow --source {}/slow.raw --bandwidth 1M");
    let log = std::fs::read_to_string(target.site.path("hub.log")).unwrap();
    let told =
        log.lines().filter(|line| line.contains("POST") && line.contains("/telemetry/backup/")).count();
    assert!((2..=6).contains(&told), "{told}: {log}");
}
