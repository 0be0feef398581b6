//! A catalog that is held, damaged or gone: the repository has all of it.

use super::dense;
use crate::harness::{Running, Site, have, scribble};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

#[test]
fn a_catalog_that_another_program_holds() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = dense(&site, "disk.raw", 4, 1);
    let point = site.backup(&format!("--vm pg --source {}", disk.display()));
    let mut command = Command::new("sqlite3");
    command.arg(site.state().join("catalog.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = Running::start(&mut command);
    let mut input = holder.0.stdin.take().unwrap();
    input.write_all(b"BEGIN EXCLUSIVE;\nSELECT 'held';\n").unwrap();
    let mut said = String::new();
    BufReader::new(holder.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "held\n");

    let run = site.run("backup start --vm pg");
    run.failed_with(11, &["catalog.db is locked", "next:"]);
    assert_eq!(run.stderr.lines().count(), 3, "{run:#?}");
    // Reading goes on beside it.
    assert_eq!(site.points().len(), 1);
    drop((input, holder));
    site.assert_nothing_left_over();
    site.backup("--vm pg");
    site.ok(&format!("backup verify {point}"));
}

/// Everything of the catalog's files is moved out of the way, as the error message and the guide advise.
fn move_catalog_away(site: &Site) {
    for ending in ["", "-wal", "-shm"] {
        let from = site.state().join(format!("catalog.db{ending}"));
        if from.exists() {
            fs::rename(&from, site.path(&format!("aside.db{ending}"))).unwrap();
        }
    }
}

#[test]
fn a_catalog_that_is_damaged_or_deleted_is_built_again_from_the_repository() {
    if !have(&["sqlite3", "qemu-img"]) {
        return;
    }
    let site = Site::embedded();
    let disk = dense(&site, "disk.raw", 4, 1);
    site.backup(&format!("--vm pg --source {} --tag tier=1", disk.display()));
    scribble(&disk, 1, 3);
    let last = site.backup("--vm pg");
    site.ok("backup verify --all");
    let before = site.points();

    fs::OpenOptions::new()
        .write(true)
        .open(site.state().join("catalog.db"))
        .unwrap()
        .write_all_at(b"no database at all begins like this", 0)
        .unwrap();
    for line in [
        "backup list",
        "backup start --vm pg",
        "restore disk latest --to {}/x",
        "vm list",
        "repo list",
        "doctor",
    ] {
        site.run(line).failed_with(10, &["catalog.db is damaged", "repo scan"]);
    }
    assert_eq!(site.files_ending(".qcow2").len(), 2);

    for damaged in [true, false] {
        if damaged {
            move_catalog_away(&site);
        } else {
            for ending in ["", "-wal", "-shm"] {
                fs::remove_file(site.state().join(format!("catalog.db{ending}"))).ok();
            }
        }
        assert!(site.points().is_empty());
        site.ok("repo scan default");
        assert_eq!(site.points(), before);
        site.assert_nothing_left_over();
    }
    // In whatever order: other repositories may have been taken in again first.
    move_catalog_away(&site);
    site.ok("repo create other --path {}/other");
    site.ok("repo scan default");
    assert_eq!(site.points(), before);
    move_catalog_away(&site);
    site.ok("repo scan default");
    site.ok("backup verify --all");
    site.assert_point_equals(&last, 0, &disk);
    scribble(&disk, 1, 4);
    let next = site.backup("--vm pg --type incremental");
    let shown = site.json(&format!("backup show {next}"));
    assert_eq!(shown["backup"]["parent_backup_id"], last.as_str(), "{shown:#}");
    site.assert_point_equals(&next, 0, &disk);
}

#[test]
fn doctor_tells_what_it_can_where_the_catalog_is_damaged_inside() {
    if !have(&["sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = dense(&site, "disk.raw", 4, 1);
    site.backup(&format!("--vm pg --source {}", disk.display()));
    let left = site.repository().join("pg/disk-0/full-20200101-000000.qcow2");
    fs::write(&left, "not any point's").unwrap();
    site.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    // SQLite opens it, and trips over the table of backups.
    let number = |query: &str| site.sql(query).parse::<u64>().unwrap();
    let page = number("SELECT rootpage FROM sqlite_schema WHERE name = 'backup_jobs'");
    let size = number("PRAGMA page_size");
    let file = fs::OpenOptions::new().write(true).open(site.state().join("catalog.db")).unwrap();
    file.write_all_at(&vec![0xa5; size as usize], (page - 1) * size).unwrap();

    let run = site.run("doctor --json");
    assert_eq!(run.code, 3, "{run:#?}");
    let report: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of = |check: &str| -> String {
        let wanted = findings.iter().filter(|found| found["check"] == check);
        wanted.map(|found| format!("{} ", found["message"].as_str().unwrap())).collect()
    };
    assert!(of("catalog").contains("damaged") || of("catalog").contains("malformed"), "{report:#}");
    assert!(of("files").contains("full-20200101-000000.qcow2"), "the repository is looked at: {report:#}");
    site.run("backup list").failed_with(10, &["damaged", "repo scan"]);
}
