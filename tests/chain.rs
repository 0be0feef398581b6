//! Chains: showing, deleting, merging; and the catalog rebuilt from the repository alone.

use crate::harness::{MIB, Running, Site, eventually, have, scribble};
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

/// A chain with the disk as it was at each point: full, incr, incr, diff, incr on the diff; oldest first.
fn chain(site: &Site, options: &str) -> Vec<(String, PathBuf)> {
    let disk = site.disk("disk.raw", 24 * MIB, 10, 5);
    let mut points = Vec::new();
    for (round, kind) in
        ["full", "incremental", "incremental", "differential", "incremental"].into_iter().enumerate()
    {
        if round > 0 {
            scribble(&disk, 2, 50 + round as u64);
        }
        let source = if round == 0 { format!("--source {}", disk.display()) } else { String::new() };
        let id = site.backup(&format!("--vm pg {source} --type {kind} {options}"));
        let kept = site.path(&format!("as-of-{round}.raw"));
        fs::copy(&disk, &kept).unwrap();
        points.push((id, kept));
    }
    points
}

fn assert_all_true(site: &Site, points: &[(String, PathBuf)]) {
    for (id, kept) in points {
        site.assert_point_equals(id, 0, kept);
        site.assert_restores_to(id, 0, kept);
    }
    assert_eq!(site.points().len(), points.len());
    assert_eq!(site.files_ending(".qcow2").len(), points.len());
    site.ok("backup verify --all");
    site.assert_nothing_left_over();
}

#[test]
fn the_chain_shows_every_point_with_its_parent() {
    let site = Site::new();
    let points = chain(&site, "");
    let chain = site.json("backup chain --vm pg");
    assert_eq!(chain["chain_length"], 5);
    assert_eq!(chain["full_backup_id"], points[0].0.as_str());
    assert_eq!(chain["latest_backup_id"], points[4].0.as_str());
    let parents: Vec<_> =
        chain["chain"].as_array().unwrap().iter().map(|p| p["parent_backup_id"].as_str()).collect();
    let id = |n: usize| Some(points[n].0.as_str());
    assert_eq!(parents, [None, id(0), id(1), id(0), id(3)]);
    let text = site.ok("backup chain --vm pg").stdout;
    assert!(points.iter().all(|(id, _)| text.contains(id.as_str())), "{text}");
}

#[test]
fn deleting_a_point_with_dependents_is_refused_with_their_list() {
    let site = Site::new();
    let points = chain(&site, "");
    let run = site.run(&format!("backup delete {} --yes", points[3].0));
    run.failed_with(5, &[&points[4].0, "--cascade"]);
    let run = site.run(&format!("backup delete {} --yes --json", points[0].0));
    assert_eq!(run.code, 5, "{run:#?}");
    assert!(
        points[1..]
            .iter()
            .all(|(id, _)| run.stdout.contains(id.as_str()) || run.stderr.contains(id.as_str())),
        "{run:#?}"
    );
    assert_eq!(site.points().len(), 5);
}

#[test]
fn deleting_asks_and_without_a_terminal_needs_yes() {
    let site = Site::new();
    let points = chain(&site, "");
    site.run(&format!("backup delete {}", points[4].0)).failed_with(2, &["--yes"]);
    let dry = site.ok(&format!("backup delete {} --cascade --dry-run", points[3].0));
    assert!(dry.stdout.contains(&points[3].0) && dry.stdout.contains(&points[4].0), "{dry:#?}");
    assert_eq!(site.points().len(), 5);
}

#[test]
fn a_cascade_takes_the_dependents_and_tells_the_freed_bytes() {
    let site = Site::new();
    let points = chain(&site, "");
    let before: u64 = site.files_ending(".qcow2").iter().map(|f| f.metadata().unwrap().len()).sum();
    let done = site.json(&format!("backup delete {} --cascade --yes", points[3].0));
    let after: u64 = site.files_ending(".qcow2").iter().map(|f| f.metadata().unwrap().len()).sum();
    let freed = done["freed_bytes"].as_u64().unwrap();
    assert!(freed >= before - after && freed < before - after + 1024 * 1024, "{freed} of {before} - {after}");
    assert_all_true(&site, &points[..3]);
}

#[test]
fn merging_any_point_away_leaves_all_later_ones_as_they_were() {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    for (options, victim) in [("", 1), ("", 3), ("--compress", 0), ("", 0)] {
        let site = Site::new();
        let mut points = chain(&site, options);
        site.ok(&format!("backup delete {} --merge --yes", points[victim].0));
        points.remove(victim);
        assert_all_true(&site, &points);
        // And the chain goes on.
        let disk = site.path("disk.raw");
        scribble(&disk, 1, 99);
        let id = site.backup("--vm pg --type incremental");
        site.assert_point_equals(&id, 0, &disk);
    }
}

#[test]
fn a_point_nothing_is_built_on_has_nothing_to_merge_into() {
    let site = Site::new();
    let points = chain(&site, "");
    site.run(&format!("backup delete {} --merge --yes", points[2].0)).failed_with(5, &[&points[2].0]);
}

#[test]
fn a_lost_catalog_is_rebuilt_exactly_from_the_repository() {
    let site = Site::embedded();
    let points = chain(&site, "--tag env=prod");
    site.ok(&format!("backup protect {} --reason audit", points[1].0));
    site.ok(&format!("backup tag {} --set kept=yes --notes before-upgrade", points[2].0));
    site.ok(&format!("backup delete {} --cascade --yes", points[3].0));
    // When a VM was made known is not part of any point, so that alone can't come back.
    let known = |site: &Site| {
        let mut vm = site.json("vm show pg");
        for time in ["created_at", "updated_at"] {
            vm["vm"].as_object_mut().unwrap().remove(time).unwrap();
        }
        [site.json("backup list"), site.json("backup chain --vm pg"), vm]
    };
    let before = known(&site);
    for file in fs::read_dir(site.state()).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("catalog.db") {
            fs::remove_file(file.path()).unwrap();
        }
    }
    assert_eq!(site.json("backup list")["total"], 0);
    site.ok("repo scan default");
    assert!(before == known(&site), "not what it was; before: {before:#?}");
    let id = site.backup("--vm pg");
    site.assert_point_equals(&id, 0, &site.path("disk.raw"));
    assert_eq!(site.json("backup list")["backups"][0]["backup_type"], "incremental");
}

#[test]
fn a_clock_that_was_set_back_does_not_turn_the_order_of_points() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("disk.raw", 4 * MIB, 4, 5);
    let full = site.backup(&format!("--vm pg --source {}", disk.display()));
    // As if it had been made an hour later than it is now.
    let later = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 hour')";
    site.sql(&format!("UPDATE backup_jobs SET created_at = {later} WHERE id = '{full}'"));
    for round in 0..2 {
        scribble(&disk, 1, 70 + round);
        let made = site.backup("--vm pg");
        let latest = site.json("backup show pg@latest");
        assert_eq!(latest["backup"]["id"], made.as_str(), "{latest}");
        assert_eq!(latest["backup"]["backup_type"], "incremental", "{latest}");
    }
    let chain = site.json("backup chain --vm pg");
    assert_eq!(chain["full_backup_id"], full.as_str(), "{chain}");
    let newest = site.points()[0]["id"].as_str().unwrap().to_owned();
    site.assert_restores_to(&newest, 0, &disk);
    assert_eq!(chain["chain"][0]["backup_id"], full.as_str(), "{chain}");
    let doctor = site.run("doctor");
    assert!(doctor.stdout.contains("2 points of pg are of later than now"), "{doctor:#?}");
}

#[test]
fn points_are_addressed_as_people_think_of_them() {
    let site = Site::new();
    let points = chain(&site, "");
    let shown = |address: &str| {
        site.json(&format!("backup show {address}"))["backup"]["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(shown("latest"), points[4].0);
    assert_eq!(shown("pg@latest"), points[4].0);
    assert_eq!(shown("latest~2"), points[2].0);
    assert_eq!(shown(&points[1].0), points[1].0);
    let day = &points[0].0["backup-pg-".len()..][..8];
    assert_eq!(shown(&format!("pg@{}-{}-{}", &day[..4], &day[4..6], &day[6..])), points[4].0);
    let run = site.run("backup show backup-pg-");
    assert_eq!(run.code, 4, "{run:#?}");
    assert!(points.iter().any(|(id, _)| run.stderr.contains(id.as_str())), "candidates are listed: {run:#?}");
    site.run("backup show backup-nothing").failed_with(4, &["backup-nothing"]);
}

/// A VM of one disk whose full takes a while to merge away: much data, compressed.
fn slow_to_merge(site: &Site) -> Vec<(String, PathBuf)> {
    let disk = site.disk("disk.raw", 128 * MIB, 96, 7);
    let mut points = Vec::new();
    for round in 0..3u64 {
        let source = if round == 0 { format!("--source {}", disk.display()) } else { String::new() };
        let id = site.backup(&format!("--vm pg {source} --compress"));
        let kept = site.path(&format!("as-of-{round}.raw"));
        fs::copy(&disk, &kept).unwrap();
        points.push((id, kept));
        scribble(&disk, 1, 60 + round);
    }
    points
}

fn merging(site: &Site, line: &str) -> Running {
    let mut command = site.command(line.split(' '));
    let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    eventually("the merge writes", Duration::from_secs(30), || {
        !site.files_ending(".qcow2.partial").is_empty()
    });
    running
}

#[test]
fn a_merge_tells_how_far_it_is_and_a_cancelled_one_loses_nothing() {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let mut points = slow_to_merge(&site);
    let line = format!("backup delete {} --merge --yes", points[0].0);
    for &(signal, code) in site.cancelling() {
        let running = merging(&site, &line);
        running.signal(signal);
        let run = running.wait(Duration::from_secs(30));
        assert_eq!(run.code, code, "{signal}: {run:#?}");
        assert!(run.stderr.contains("are whole"), "{run:#?}");
        assert_eq!(site.points().len(), 3);
        site.assert_nothing_left_over();
    }
    let run = site.ok(&format!("{line} --json"));
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["message_type"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"status") && kinds.last() == Some(&"summary"), "{kinds:?}");
    let status = lines.iter().find(|line| line["total_bytes"].as_u64() > Some(0)).unwrap();
    assert_eq!(status["backup_id"], points[0].0.as_str(), "{status:#}");
    let last = lines.last().unwrap();
    assert_eq!(last["deleted"], serde_json::json!([points[0].0]));
    assert_eq!(last["rewritten"], serde_json::json!([points[1].0]));
    assert!(last["freed_bytes"].as_u64() > Some(0), "{last:#}");
    points.remove(0);
    assert_all_true(&site, &points);
}

#[test]
fn a_restore_and_a_verify_that_begin_while_a_merge_runs_are_not_kept_waiting() {
    let site = Site::new();
    let points = slow_to_merge(&site);
    let running = merging(&site, &format!("backup delete {} --merge --yes", points[0].0));
    site.assert_restores_to(&points[2].0, 0, &points[2].1);
    site.ok(&format!("backup verify {}", points[1].0));
    assert_eq!(running.wait(Duration::from_secs(60)).code, 0);
    assert_all_true(&site, &points[1..]);
}

#[test]
fn a_chain_is_consolidated_into_a_rolling_full() {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    for options in ["", "--compress"] {
        let site = Site::new();
        let points = chain(&site, options);
        site.ok(&format!("backup protect {} --reason audit", points[1].0));
        let since = site.json(&format!("backup show {}", points[4].0))["backup"]["created_at"].clone();
        let line = format!("backup consolidate --vm pg --keep-since {}", since.as_str().unwrap());
        site.run(&line).failed_with(2, &["--yes"]);
        let dry = site.json(&format!("{line} --dry-run"));
        let going = serde_json::json!([points[3].0, points[2].0, points[0].0]);
        assert_eq!((&dry["deleted"], &dry["backup_id"]), (&going, &points[1].0.as_str().into()));
        assert_eq!(site.points().len(), 5);

        // The full has two children left: a protected point, and the latest that took the differential over.
        let run = site.ok(&format!("{line} --yes"));
        assert!(run.stderr.contains("merging started") && run.stdout.contains("freed"), "{run:#?}");
        let left = [points[1].clone(), points[4].clone()];
        assert_all_true(&site, &left);
        let chain = site.json("backup chain --vm pg");
        assert_eq!((&chain["chain_length"], &chain["chain"][0]["type"]), (&1.into(), &"full".into()));

        // Once more: nothing is older, nothing is done. And the chain goes on.
        site.ok(&format!("{line} --yes"));
        let disk = site.path("disk.raw");
        scribble(&disk, 1, 99);
        let id = site.backup("--vm pg --type incremental");
        site.assert_point_equals(&id, 0, &disk);
        site.run("backup consolidate --vm none --keep-since 1d --yes").failed_with(4, &["none"]);
        site.run("backup consolidate --vm pg --keep-since soon --yes").failed_with(2, &["soon"]);
    }
}
