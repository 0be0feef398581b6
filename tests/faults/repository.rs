//! A repository that is read-only, not there, or no folder.

use super::{Tmpfs, dense, failed_record, start, transferring, unfinished};
use crate::harness::{Site, have, scribble};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// What a user does with a repository that is away or may not be written, and how each ends.
fn unusable(site: &Site, point: &str, cause: &str, readable: bool) {
    let run = site.run("backup start --vm pg --repo side");
    run.failed_with(10, &["side", cause, "repo test", "backup retry"]);
    assert_eq!(run.stderr.matches(cause).count(), 1, "the cause is told once: {run:#?}");
    failed_record(site, "pg", "repository_unavailable", cause);
    site.assert_nothing_left_over();
    let target = site.path("out.raw");
    let restore = site.run(&format!("restore disk {point} --to {}", target.display()));
    let verify = site.run(&format!("backup verify {point}"));
    if readable {
        assert_eq!((restore.code, verify.code), (0, 0), "{restore:#?}{verify:#?}");
        fs::remove_file(&target).unwrap();
    } else {
        restore.failed_with(10, &["side", cause, "repo test"]);
        verify.failed_with(10, &["side", cause, "repo test"]);
        assert!(!target.exists());
    }
    site.run(&format!("backup delete {point} --yes")).failed_with(10, &["side", "next:"]);
    assert_eq!(site.run("repo test side").code, 10);
    // What the catalog knows can be seen all the same.
    let shown = site.json(&format!("backup show {point}"));
    assert_eq!(shown["backup"]["status"], "completed");
    site.ok("repo list");
    site.assert_nothing_left_over();
}

#[test]
fn a_repository_that_is_read_only_or_gone_or_a_file() {
    if !have(&["sqlite3", "qemu-img"]) {
        return;
    }
    let site = Site::new();
    let Some(small) = Tmpfs::mount(site.path("small"), 48) else { return };
    let root = small.0.join("r");
    site.ok(&format!("repo create side --path {} --reserve 0", root.display()));
    let disk = dense(&site, "disk.raw", 4, 1);
    let point = site.backup(&format!("--vm pg --source {} --repo side", disk.display()));

    small.remount("ro");
    unusable(&site, &point, "read-only", true);
    small.remount("rw");

    let aside = small.0.join("aside");
    fs::rename(&root, &aside).unwrap();
    unusable(&site, &point, "does not exist", false);
    assert!(!root.exists(), "it is not made anew: the real one may just not be mounted");

    fs::write(&root, "a file").unwrap();
    unusable(&site, &point, "not a folder", false);
    fs::remove_file(&root).unwrap();

    // An empty folder, as a mount point without its mount is one.
    fs::create_dir(&root).unwrap();
    site.run("backup start --vm pg --repo side").failed_with(10, &["side"]);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "nothing was written beside the mount");
    fs::remove_dir(&root).unwrap();

    fs::rename(&aside, &root).unwrap();
    scribble(&disk, 1, 5);
    let last = site.backup("--vm pg --repo side");
    site.assert_point_equals(&last, 0, &disk);
    site.ok("backup verify --all");
    assert!(unfinished(&root).is_empty());
}

#[test]
fn a_repository_that_goes_away_in_the_middle_of_a_backup() {
    if !have(&["sqlite3", "qemu-img"]) {
        return;
    }
    let site = Site::new();
    let Some(small) = Tmpfs::mount(site.path("small"), 96) else { return };
    let root = small.0.join("r");
    site.ok(&format!("repo create side --path {} --reserve 0", root.display()));
    let disk = dense(&site, "disk.raw", 24, 1);
    let point = site.backup(&format!("--vm pg --source {} --repo side", disk.display()));
    scribble(&disk, 20, 5);
    let line = "backup start --vm pg --repo side --type full --bandwidth 8M";

    // The folder is renamed away: the open folder would take everything, and nobody would find it.
    let aside = small.0.join("aside");
    let running = start(&site, line);
    transferring(&root);
    fs::rename(&root, &aside).unwrap();
    running.wait(Duration::from_secs(60)).failed_with(10, &["side", "does not exist"]);
    assert!(!root.exists(), "it is not made anew");
    // Another one has taken its place meanwhile. What the last run could not reach is cleaned up first.
    fs::rename(&aside, &root).unwrap();
    site.ok("doctor --fix");
    assert!(unfinished(&root).is_empty(), "{:?}", unfinished(&root));
    let running = start(&site, line);
    transferring(&root);
    fs::rename(&root, &aside).unwrap();
    fs::create_dir(&root).unwrap();
    running.wait(Duration::from_secs(60)).failed_with(10, &["side", "replaced"]);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    fs::remove_dir(&root).unwrap();
    fs::rename(&aside, &root).unwrap();
    // What lay out of reach is removed by the next run on the VM.
    let failed = failed_record(&site, "pg", "repository_unavailable", "replaced");
    site.ok(&format!("backup retry {failed}"));
    site.assert_nothing_left_over();
    assert!(unfinished(&root).is_empty(), "{:?}", unfinished(&root));

    // Unmounted under it: the same, with the mount point empty where it was.
    let running = start(&site, line);
    transferring(&root);
    assert!(Command::new("umount").arg("--lazy").arg(&small.0).status().unwrap().success());
    running.wait(Duration::from_secs(60)).failed_with(10, &["side", "next:"]);
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0, "nothing was written beside the mount");
    site.run(&format!("backup verify {point}")).failed_with(10, &["side"]);
    site.ok("backup list");
    site.assert_nothing_left_over();
}
