//! Files of the chain that are damaged when something is to be built on them, or restored.

use super::{dense, failed_record};
use crate::harness::{MIB, Site, have, same_bytes, scribble};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

/// What happens to a file, and how to do it.
type Damage = (&'static str, fn(&Path));

/// Ways to damage a file so that its structure no longer holds.
const DAMAGES: [Damage; 4] = [
    ("truncated", |path| {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    }),
    ("emptied", |path| fs::write(path, "").unwrap()),
    ("flipped in the header", |path| flip(path, 1)),
    ("missing", |path| fs::remove_file(path).unwrap()),
];

/// One that only the hashes tell.
const FLIPPED: Damage = ("flipped", |path| flip(path, MIB));

#[test]
fn an_incremental_on_a_damaged_file_begins_anew_or_fails_as_asked() {
    if !have(&["sqlite3", "qemu-img"]) {
        return;
    }
    // The file of the parent itself, and one that the parent is built on.
    for (n, (what, damage)) in DAMAGES.iter().enumerate() {
        let site = Site::new();
        let disk = dense(&site, "disk.raw", 4, 1);
        let full = site.backup(&format!("--vm pg --source {}", disk.display()));
        let files = site.top_of(&full, 0);
        scribble(&disk, 1, 3);
        let parent = site.backup("--vm pg");
        let victim = if n % 2 == 0 { site.top_of(&parent, 0) } else { files };
        damage(&victim);
        scribble(&disk, 1, 4);

        let run = site.run("backup start --vm pg --type incremental --on-cbt-loss fail");
        run.failed_with(13, &[&parent, "next:"]);
        failed_record(&site, "pg", "tracking_lost", &parent);
        site.assert_nothing_left_over();

        let next = site.backup("--vm pg --type incremental");
        let record = &site.json(&format!("backup show {next}"))["backup"];
        assert_eq!(record["backup_type"], "full", "{what}: {record:#}");
        let reason = record["fallback_reason"].as_str().unwrap_or_default();
        assert!(reason.contains(&parent), "{what}: {reason}");
        site.assert_point_equals(&next, 0, &disk);
        site.ok(&format!("backup verify {next}"));
        assert_eq!(site.run("backup verify --all").code, 6, "{what}");
        site.assert_nothing_left_over();
    }
}

#[test]
fn a_restore_from_a_damaged_chain_says_which_file_and_leaves_nothing() {
    if !have(&["sqlite3"]) {
        return;
    }
    for (what, damage) in DAMAGES.into_iter().chain([FLIPPED]) {
        let site = Site::new();
        let disk = dense(&site, "disk.raw", 4, 1);
        let full = site.backup(&format!("--vm pg --source {}", disk.display()));
        let kept = site.path("kept.raw");
        fs::copy(&disk, &kept).unwrap();
        scribble(&disk, 1, 3);
        let top = site.backup("--vm pg");
        let victim = site.top_of(&full, 0);
        damage(&victim);
        for (id, as_it_was) in [(&full, &kept), (&top, &disk)] {
            let target = site.path("out.raw");
            let run = site.run(&format!("restore disk {id} --to {}", target.display()));
            if what == "flipped" && id == &top && run.code == 0 {
                // The flipped byte may be one that the later point no longer needs.
                assert!(same_bytes(&target, as_it_was));
                fs::remove_file(target).unwrap();
                continue;
            }
            run.failed_with(6, &[id]);
            let left = fs::read_dir(site.path("")).unwrap().flatten().map(|e| e.file_name());
            let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("out")).collect();
            assert!(left.is_empty(), "{what}: left at the target: {left:?}");
        }
        site.assert_nothing_left_over();
        // What is over that file is not touched by what has happened.
        assert_eq!(site.points().len(), 2);
    }
}
