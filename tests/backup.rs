//! Backing up: true bytes at every point, by QEMU's reading and by our own restore.

use crate::harness::{MIB, Site, have, scribble};
use std::fs;

/// Five points of one disk (full, two incrementals, a differential, an incremental on it), with the disk as it
/// was at each; changes, discards and zeros between them.
fn cycle(options: &str, size: u64) {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("disk.raw", size, 12, 1);
    let mut points = Vec::new();
    for (round, kind) in
        ["full", "incremental", "incremental", "differential", "auto"].into_iter().enumerate()
    {
        if round > 0 {
            scribble(&disk, 2, 100 + round as u64);
            let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
            let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&file, hole, (round as u64 * 3) * MIB, MIB + 4096).unwrap();
        }
        let source = if round == 0 { format!("--source {}", disk.display()) } else { String::new() };
        let id = site.backup(&format!("--vm pg {source} --type {kind} {options}"));
        let kept = site.path(&format!("as-of-{round}.raw"));
        fs::copy(&disk, &kept).unwrap();
        points.push((id, kept));
    }
    for (id, kept) in &points {
        site.assert_point_equals(id, 0, kept);
        site.assert_restores_to(id, 0, kept);
    }
    let types: Vec<_> = site.points().iter().map(|p| p["backup_type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["incremental", "differential", "incremental", "incremental", "full"]);
    site.ok("backup verify --all");
    site.assert_nothing_left_over();
}

#[test]
fn every_point_of_a_chain_is_the_disk_as_it_was() {
    cycle("", 64 * MIB);
}

#[test]
fn every_point_of_a_zstd_chain_is_the_disk_as_it_was() {
    cycle("--compress", 64 * MIB);
}

#[test]
fn every_point_of_a_zlib_chain_of_an_odd_sized_disk_is_the_disk_as_it_was() {
    cycle("--compress zlib", 40 * MIB + 512);
}

#[test]
fn an_incremental_stores_only_what_changed_and_an_unchanged_disk_stores_nothing() {
    let site = Site::new();
    let disk = site.disk("disk.raw", 256 * MIB, 100, 2);
    site.backup(&format!("--vm pg --source {}", disk.display()));
    scribble(&disk, 2, 3);
    site.backup("--vm pg");
    site.backup("--vm pg");
    let points = site.points();
    let stored = |n: usize| points[n]["bytes_transferred"].as_u64().unwrap();
    assert!(stored(2) > 60 * MIB, "{points:#?}");
    assert!((2 * MIB..10 * MIB).contains(&stored(1)), "{points:#?}");
    assert_eq!(stored(0), 0, "{points:#?}");
    assert!(points[0]["size_bytes"].as_u64().unwrap() < MIB);
}

#[test]
fn a_vm_of_several_disks_is_one_point_and_each_disk_has_its_own_file() {
    if !have(&["qemu-img"]) {
        return;
    }
    let site = Site::new();
    let disks: Vec<_> = (0..3).map(|n| site.disk(&format!("d{n}.raw"), (20 + n) * MIB, 5, n)).collect();
    let listed: String = disks.iter().map(|disk| format!(" --disk {}", disk.display())).collect();
    site.ok(&format!("vm add trio{listed}"));
    let full = site.backup("--vm trio --type full");
    for (n, disk) in disks.iter().enumerate() {
        site.assert_point_equals(&full, n as u64, disk);
    }
    let shown = site.json(&format!("backup show {full}"));
    let results = shown["backup"]["disk_results"].as_array().unwrap();
    let keys: Vec<_> = results.iter().map(|d| d["disk_key"].as_u64().unwrap()).collect();
    assert_eq!(keys, [2000, 2001, 2002]);
    assert_eq!(site.files_ending(".qcow2").len(), 3);
}

#[test]
fn a_disk_that_grows_shrinks_or_joins_is_handled_and_recorded() {
    if !have(&["qemu-img"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("a.raw", 32 * MIB, 30, 7);
    let second = site.disk("b.raw", 8 * MIB, 4, 8);
    let mut points = Vec::new();
    let mut back_up = |site: &Site, options: &str| {
        let id = site.backup(&format!("--vm pg {options}"));
        let kept = site.path(&format!("kept-{}.raw", points.len()));
        fs::copy(&disk, &kept).unwrap();
        points.push((id.clone(), kept));
        id
    };
    back_up(&site, &format!("--source {}", disk.display()));
    let resize = |to: u64| fs::OpenOptions::new().write(true).open(&disk).unwrap().set_len(to).unwrap();
    resize(20 * MIB + 1024);
    back_up(&site, "");
    resize(48 * MIB);
    let regrown = back_up(&site, "");
    let reason =
        site.json(&format!("backup show {regrown}"))["backup"]["disk_results"][0]["fallback_reason"].clone();
    assert!(reason.as_str().is_some_and(|r| r.contains("size")), "a changed size is recorded: {reason}");
    for (id, kept) in &points {
        site.assert_point_equals(id, 0, kept);
        site.assert_restores_to(id, 0, kept);
    }

    site.ok(&format!("vm add pg --replace --disk {} --disk {}", disk.display(), second.display()));
    let joined = site.backup("--vm pg --type incremental");
    site.assert_point_equals(&joined, 1, &second);
    let shown = site.json(&format!("backup show {joined}"));
    assert_eq!(shown["backup"]["disk_results"][1]["backup_type"], "full", "{shown:#}");

    site.ok(&format!("vm add pg --replace --disk {}", disk.display()));
    let gone = site.backup("--vm pg --type incremental");
    let shown = site.json(&format!("backup show {gone}"));
    assert!(shown["backup"]["fallback_reason"].as_str().is_some_and(|r| r.contains("disk 1")), "{shown:#}");
    site.ok("backup verify --all");
}

#[test]
fn a_file_that_is_no_whole_number_of_sectors_is_filled_up_with_zeros_as_qemu_does() {
    if !have(&["qemu-img"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("odd.raw", 3 * MIB + 77, 3, 1);
    let id = site.backup(&format!("--vm pg --source {}", disk.display()));
    let padded = site.path("padded.raw");
    fs::copy(&disk, &padded).unwrap();
    fs::OpenOptions::new().write(true).open(&padded).unwrap().set_len(3 * MIB + 512).unwrap();
    site.assert_point_equals(&id, 0, &padded);
    site.assert_restores_to(&id, 0, &padded);
}

#[test]
fn incremental_without_a_full_says_what_to_do() {
    let site = Site::new();
    let disk = site.disk("a.raw", 4 * MIB, 1, 1);
    site.ok(&format!("vm add pg --disk {}", disk.display()));
    site.run("backup start --vm pg --type incremental").failed_with(4, &["pg", "--type full"]);
    site.run("backup start --vm nobody --type full").failed_with(4, &["nobody", "--source"]);
}

#[test]
fn a_damaged_parent_begins_a_new_chain_or_fails_as_the_user_chose() {
    let site = Site::new();
    let disk = site.disk("a.raw", 16 * MIB, 8, 1);
    let first = site.backup(&format!("--vm pg --source {}", disk.display()));
    let file = fs::OpenOptions::new().write(true).open(site.top_of(&first, 0)).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();

    site.run("backup start --vm pg --on-cbt-loss fail").failed_with(13, &[&first]);
    let second = site.backup("--vm pg --type incremental");
    let shown = site.json(&format!("backup show {second}"));
    assert_eq!(shown["backup"]["backup_type"], "full");
    assert!(shown["backup"]["fallback_reason"].as_str().is_some_and(|r| r.contains(&first)), "{shown:#}");
    site.assert_point_equals(&second, 0, &disk);
    site.assert_nothing_left_over();
}

#[test]
fn a_dry_run_says_what_would_happen_and_leaves_nothing() {
    let site = Site::new();
    let disk = site.disk("a.raw", 16 * MIB, 8, 1);
    let run = site.ok(&format!("backup start --vm pg --source {} --dry-run", disk.display()));
    assert!(run.stdout.contains("full"), "{run:#?}");
    assert!(site.points().is_empty());
    assert!(site.files_ending(".qcow2").is_empty());
}

#[test]
fn tags_notes_and_protection_stay_with_the_point() {
    let site = Site::new();
    let disk = site.disk("a.raw", 4 * MIB, 2, 1);
    let id = site.backup(&format!("--vm pg --source {} --tag env=prod", disk.display()));
    site.ok(&format!("backup tag {id} --set tier=1 --remove env"));
    site.ok(&format!("backup protect {id} --reason audit"));
    let shown = site.json(&format!("backup show {id}"));
    assert_eq!(shown["backup"]["tags"], serde_json::json!({"tier": "1"}));
    assert_eq!(shown["backup"]["protected"], true);
    site.run(&format!("backup delete {id} --yes")).failed_with(5, &["protected", "unprotect"]);
    site.ok(&format!("backup unprotect {id}"));
    site.ok(&format!("backup delete {id} --yes"));
    assert!(site.files_ending(".qcow2").is_empty());
}

#[test]
fn a_backup_that_is_refused_registers_no_vm_and_a_first_one_has_nothing_to_explain() {
    let site = Site::new();
    let disk = site.disk("disk.raw", 4 * MIB, 1, 1);
    let start = format!("backup start --vm pg --source {}", disk.display());
    for (options, code) in [("--type incremental", 4), ("--disk 3", 4), ("--repo none", 4), ("--tag =x", 2)] {
        site.run(&format!("{start} {options}")).failed_with(code, &[]);
        assert_eq!(site.json("vm list")["total"], 0, "{options}");
        assert_eq!(site.json("backup list")["total"], 0, "{options}");
    }
    site.run("backup start --vm pg --source {}/none").failed_with(13, &["none"]);
    let run = site.ok(&start);
    assert!(!run.stderr.contains("note:"), "{run:#?}");
    assert_eq!(site.points()[0]["fallback_reason"], serde_json::Value::Null);
}
