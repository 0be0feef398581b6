//! Killed anywhere: after `kill -9` at any moment the next run recovers by itself, nothing that was completed is
//! lost, nothing unfinished is left, and a retry works.
//!
//! The moments are drawn at random over the run's whole length (`SENDENSE_KILLS` in all, 200 unless set); a
//! failure prints the seed that repeats it.

use crate::harness::{MIB, Random, Running, Site, have, scribble};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Kills of one operation. `prepare` is run before each; it gives the command to kill. `check` after recovery.
fn kill_often(
    site: &Site,
    share: u64,
    seed: u64,
    mut prepare: impl FnMut(u64) -> String,
    mut check: impl FnMut(bool),
) {
    let rounds =
        std::env::var("SENDENSE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(200u64) * share / 100;
    let mut random = Random(seed);
    // One run to its end tells how long it takes.
    let line = prepare(0);
    let started = Instant::now();
    site.ok(&line);
    let mut usual = started.elapsed();
    check(true);
    let mut killed = 0;
    for round in 1..=rounds {
        let line = prepare(round);
        let started = Instant::now();
        let mut command = site.command(line.split(' ').filter(|word| !word.is_empty()));
        let mut child = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let moment = Duration::from_micros(random.below(usual.as_micros() as u64));
        while started.elapsed() < moment && child.0.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        let ended = child.0.try_wait().unwrap();
        drop(child);
        if ended.is_some() {
            // It was done before its moment came: learn how long it really takes.
            usual = (usual * 3 + started.elapsed()) / 4;
        } else {
            killed += 1;
        }
        // The next run, whatever it is, recovers.
        let run = site.run("backup list --json");
        assert_eq!(run.code, 0, "round {round}, seed {seed}, killed after {moment:?}: {run:#?}");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            site.assert_nothing_left_over();
            check(ended.is_some());
        }));
        assert!(panicked.is_ok(), "round {round}, seed {seed}, killed after {moment:?}: {line}");
    }
    assert!(
        killed * 2 > rounds,
        "only {killed} of {rounds} were killed in time: the moments are badly drawn"
    );
}

#[test]
fn backups_killed_at_any_moment() {
    if !have(&["sqlite3", "qemu-img"]) {
        return;
    }
    let site = Site::in_memory();
    let disks = [site.disk("a.raw", 32 * MIB, 16, 1), site.disk("b.raw", 16 * MIB, 6, 2)];
    site.ok(&format!("vm add pg --disk {} --disk {}", disks[0].display(), disks[1].display()));
    let mut completed = Vec::new();
    let points =
        |site: &Site| site.points().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    kill_often(
        &site,
        50,
        11,
        |round| {
            scribble(&disks[(round % 2) as usize], 1, round);
            format!("backup start --vm pg --type {}", if round % 5 == 0 { "full" } else { "auto" })
        },
        |_| {
            let now = points(&site);
            assert!(completed.iter().all(|id| now.contains(id)), "a completed point is gone");
            assert_eq!(site.files_ending(".qcow2").len(), now.len() * 2, "files of no point");
            let newest = now.first().cloned();
            if completed.len() != now.len() {
                // A point that exists is whole, however its run ended.
                let newest = newest.unwrap();
                site.ok(&format!("backup verify {newest}"));
                for (n, disk) in disks.iter().enumerate() {
                    site.assert_point_equals(&newest, n as u64, disk);
                }
            }
            completed = now;
        },
    );
    site.ok("backup start --vm pg");
    site.ok("backup verify --all");
    site.assert_nothing_left_over();
}

/// A chain of four points on a disk of its own, each with the disk as it was.
fn fresh_chain(site: &Site, vm: &str) -> Vec<(String, std::path::PathBuf)> {
    let disk = site.disk(&format!("{vm}.raw"), 16 * MIB, 6, 3);
    site.ok(&format!("vm add {vm} --disk {}", disk.display()));
    (0..4)
        .map(|n| {
            scribble(&disk, 1, n);
            let kept = site.path(&format!("{vm}-{n}.kept"));
            fs::copy(&disk, &kept).unwrap();
            (site.backup(&format!("--vm {vm}")), kept)
        })
        .collect()
}

/// Merge or cascade on a fresh chain each round.
fn removals(verb: &'static str, victim: usize, survivors_if_done: &'static [usize], share: u64, seed: u64) {
    if !have(&["sqlite3", "qemu-img"]) {
        return;
    }
    let site = Site::in_memory();
    let current = std::cell::RefCell::new(Vec::new());
    kill_often(
        &site,
        share,
        seed,
        |round| {
            let vm = format!("vm{round}");
            *current.borrow_mut() = fresh_chain(&site, &vm);
            format!("backup delete {} {verb} --yes", current.borrow()[victim].0)
        },
        |_| {
            let chain = current.borrow();
            let now: Vec<_> = site.points().iter().map(|p| p["id"].as_str().unwrap().to_owned()).collect();
            let present: Vec<_> = (0..4).filter(|n| now.contains(&chain[*n].0)).collect();
            assert!(present == [0, 1, 2, 3] || present == survivors_if_done, "half done: {present:?}");
            for n in &present {
                site.assert_point_equals(&chain[*n].0, 0, &chain[*n].1);
            }
            if present.len() == 4 {
                site.ok(&format!("backup delete {} {verb} --yes", chain[victim].0));
            }
            site.ok("backup verify --all");
            site.ok(&format!("backup delete {} --cascade --yes", chain[if victim == 0 { 1 } else { 0 }].0));
            assert!(site.files_ending(".qcow2").is_empty());
        },
    );
}

#[test]
fn merges_killed_at_any_moment() {
    removals("--merge", 1, &[0, 2, 3], 15, 21);
}

#[test]
fn merges_of_the_full_killed_at_any_moment() {
    removals("--merge", 0, &[1, 2, 3], 10, 22);
}

#[test]
fn deletes_killed_at_any_moment() {
    removals("--cascade", 2, &[0, 1], 10, 23);
}

#[test]
fn restores_killed_at_any_moment() {
    if !have(&["sqlite3", "qemu-img"]) {
        return;
    }
    let site = Site::in_memory();
    let chain = fresh_chain(&site, "pg");
    let (id, kept) = &chain[2];
    let target = site.path("target.raw");
    kill_often(
        &site,
        15,
        31,
        |_| {
            fs::remove_file(&target).ok();
            format!("restore disk {id} --to {}", target.display())
        },
        |_| {
            if target.exists() {
                assert!(
                    crate::harness::same_bytes(&target, kept),
                    "a half restored file under the final name"
                );
            }
            site.assert_restores_to(id, 0, kept);
        },
    );
    let left: Vec<_> = fs::read_dir(site.path("")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains(".partial")), "{left:?}");
    site.ok("backup verify --all");
}
