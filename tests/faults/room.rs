//! No room: the repository, or the place that is restored to, is full or becomes so.

use super::{Tmpfs, dense, failed_record, start, transferring, unfinished};
use crate::harness::{MIB, Site, have, same_bytes};
use std::fs;
use std::time::Duration;

/// Backups into a repository with ever more room, and never enough: full and incremental in turn.
fn ten_fills(reserve: &str, options: &str) {
    let site = Site::new();
    let Some(small) = Tmpfs::mount(site.path("small"), 48) else { return };
    let root = small.0.join("r");
    site.ok(&format!("repo create small --path {} --reserve {reserve}", root.display()));
    let disk = dense(&site, "disk.raw", 8, 1);
    let first = site.backup(&format!("--vm f --source {} --repo small {options}", disk.display()));
    let kept = site.path("kept.raw");
    fs::copy(&disk, &kept).unwrap();
    dense(&site, "disk.raw", 8, 2);
    let mut last = String::new();
    for fill in 0..10 {
        let filler = small.fill(fill * 780_000);
        let kind = if fill % 2 == 0 { "incremental" } else { "full" };
        let run = site.run(&format!("backup start --vm f --repo small --type {kind} {options}"));
        run.failed_with(14, &["small", "next:"]);
        last = failed_record(&site, "f", "no_space", "small");
        assert!(unfinished(&root).is_empty(), "fill {fill}: {:?}", unfinished(&root));
        site.assert_nothing_left_over();
        // With no room at all the points that exist can still be read and checked.
        if fill % 4 == 0 {
            site.ok(&format!("backup verify {first}"));
        }
        fs::remove_file(filler).unwrap();
    }
    site.assert_restores_to(&first, 0, &kept);
    let retried = site.ok(&format!("backup retry {last}")).summary()["backup_id"].clone();
    site.assert_point_equals(retried.as_str().unwrap(), 0, &disk);
    site.ok("backup verify --all");
}

#[test]
fn a_full_repository_at_ten_fills() {
    if have(&["qemu-img", "sqlite3"]) {
        ten_fills("1M", "");
    }
}

#[test]
fn a_full_repository_at_ten_fills_without_a_reserve() {
    if have(&["qemu-img", "sqlite3"]) {
        ten_fills("0", "");
    }
}

#[test]
fn a_full_repository_at_ten_fills_compressed() {
    if have(&["qemu-img", "sqlite3"]) {
        ten_fills("0", "--compress");
    }
}

#[test]
fn a_repository_that_fills_up_while_it_is_written() {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    for (reserve, left) in [("1M", 900_000), ("0", 0)] {
        let site = Site::new();
        let Some(small) = Tmpfs::mount(site.path("small"), 64) else { return };
        let root = small.0.join("r");
        site.ok(&format!("repo create small --path {} --reserve {reserve}", root.display()));
        let disk = dense(&site, "disk.raw", 8, 1);
        let first = site.backup(&format!("--vm f --source {} --repo small", disk.display()));
        dense(&site, "disk.raw", 8, 2);
        let running = start(&site, "backup start --vm f --repo small --bandwidth 4M");
        transferring(&root);
        let filler = small.fill(left);
        running.wait(Duration::from_secs(30)).failed_with(14, &["small", "next:"]);
        let id = failed_record(&site, "f", "no_space", "small");
        assert!(unfinished(&root).is_empty(), "{:?}", unfinished(&root));
        site.assert_nothing_left_over();
        site.ok(&format!("backup verify {first}"));
        fs::remove_file(filler).unwrap();
        site.ok(&format!("backup retry {id}"));
        site.ok("backup verify --all");
    }
}

#[test]
fn points_are_deleted_where_not_a_byte_is_free() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = Site::new();
    let Some(small) = Tmpfs::mount(site.path("small"), 32) else { return };
    site.ok(&format!("repo create small --path {}/r --reserve 0", small.0.display()));
    let disk = dense(&site, "disk.raw", 8, 1);
    let first = site.backup(&format!("--vm f --source {} --repo small", disk.display()));
    let second = site.backup("--vm f --repo small --type full");
    small.fill(0);
    site.ok(&format!("backup delete {first} --yes"));
    site.ok(&format!("backup verify {second}"));
    site.assert_nothing_left_over();
    assert!(small.free() > 8 * MIB);
}

#[test]
fn a_restore_to_a_full_disk_leaves_nothing() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = Site::new();
    let Some(small) = Tmpfs::mount(site.path("small"), 4) else { return };
    let disk = dense(&site, "disk.raw", 8, 1);
    let id = site.backup(&format!("--vm f --source {}", disk.display()));
    for name in ["out.raw", "out.qcow2"] {
        let target = small.0.join(name);
        let run = site.run(&format!("restore disk {id} --to {}", target.display()));
        run.failed_with(14, &[&target.display().to_string()]);
        assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0, "something is left at the target");
        site.assert_nothing_left_over();
        let open = "SELECT count(*) FROM jobs WHERE status NOT IN ('completed','failed','cancelled')";
        assert_eq!(site.sql(open), "0");
    }
    small.remount("size=16m");
    let target = small.0.join("out.raw");
    site.ok(&format!("restore disk {id} --to {}", target.display()));
    assert!(same_bytes(&target, &disk));
}
