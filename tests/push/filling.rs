//! What real clients write is what the point holds.

use super::{Target, convert, id, nbdcopy, ports_and_uris, run, uri};
use crate::harness::{MIB, Random, have, scribble};
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[test]
fn nbdcopy_fills_a_full_of_two_disks_over_several_connections() {
    if !have(&["nbdcopy", "qemu-img", "curl", "sqlite3"]) {
        return;
    }
    let target = Target::new(10, &[]);
    let site = &target.site;
    // An odd size: the last cluster is a short one.
    let disks = [site.disk("a.raw", 40 * MIB + 1536, 20, 1), site.disk("b.raw", 600 * MIB, 5, 2)];
    let backup = target.start("web", "full", &[40 * MIB + 1536, 600 * MIB], json!({}));
    let id = id(&backup);
    let targets = ports_and_uris(&backup);
    assert!(targets[0].0 != targets[1].0 && target.ports.has(targets[0].0), "{targets:?}");
    let keys: Vec<_> = backup["disk_results"].as_array().unwrap().iter().map(|d| &d["disk_key"]).collect();
    assert_eq!(keys, [2000, 2001]);
    let name = backup["nbd_export_name"].as_str().unwrap();
    assert!(name.starts_with("backup-ctx-web-") && name.contains("-disk0-full-"), "{name}");
    std::thread::scope(|scope| {
        for (disk, (_, uri)) in disks.iter().zip(&targets) {
            scope.spawn(move || nbdcopy(disk, uri));
        }
    });
    let done = target.finish(&id);
    assert_eq!(done["nbd_targets_string"], "");
    assert_eq!(done["progress_percent"], 100.0);
    let stored = done["bytes_transferred"].as_u64().unwrap();
    let sum: u64 = done["disk_results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["bytes_transferred"].as_u64().unwrap())
        .sum();
    assert!(stored == sum && stored < 40 * MIB, "zeros are not stored: {stored}");
    for (n, disk) in disks.iter().enumerate() {
        site.assert_point_equals(&id, n as u64, disk);
        site.assert_restores_to(&id, n as u64, disk);
    }
    site.ok(&format!("backup verify {id}"));
    target.assert_given_back(&backup);
}

#[test]
fn an_incremental_stores_what_differs_whatever_is_sent_and_how() {
    if !have(&["nbdcopy", "qemu-img", "curl"]) {
        return;
    }
    for compression in ["none", "zstd"] {
        let target = Target::new(2, &[]);
        let site = &target.site;
        let disk = site.disk("a.raw", 64 * MIB, 30, 3);
        let more = json!({ "compression": compression });
        let full = target.start("web", "full", &[64 * MIB], more.clone());
        convert(&disk, &uri(&full, 0));
        let full_size = target.finish(&id(&full))["size_bytes"].as_u64().unwrap();
        site.assert_point_equals(&id(&full), 0, &disk);

        // Everything is sent again, with a few changes, and a stretch of zeros over data.
        scribble(&disk, 1, 4);
        File::options().write(true).open(&disk).unwrap().write_all_at(&[0; 300_000], 5 << 20).unwrap();
        let second = target.start("web", "incremental", &[64 * MIB], more.clone());
        assert_eq!(second["parent_backup_id"], full["id"]);
        nbdcopy(&disk, &uri(&second, 0));
        let done = target.finish(&id(&second));
        let size = done["size_bytes"].as_u64().unwrap();
        assert!(size < full_size / 3, "{size} of {full_size}");

        // Only what has changed is sent.
        let before = std::fs::read(&disk).unwrap();
        scribble(&disk, 1, 5);
        let third = target.start("web", "incremental", &[64 * MIB], more.clone());
        let uri = uri(&third, 0);
        let now = std::fs::read(&disk).unwrap();
        let changed = (0..now.len()).step_by(4096).filter(|at| before[*at..at + 4096] != now[*at..at + 4096]);
        let commands: Vec<String> = changed
            .map(|at| format!("write -q -s {} {at} 4096", piece(&target, &now[at..at + 4096], at)))
            .collect();
        assert!(!commands.is_empty());
        qemu_io(&uri, &commands);
        target.finish(&id(&third));
        for point in [&id(&second), &id(&third)] {
            site.ok(&format!("backup verify {point}"));
        }
        site.assert_point_equals(&id(&third), 0, &disk);
        site.assert_restores_to(&id(&third), 0, &disk);

        // A disk that grew: its chain goes on.
        let grown = File::options().write(true).open(&disk).unwrap();
        grown.set_len(70 * MIB + 512).unwrap();
        drop(grown);
        let fourth = target.start("web", "auto", &[70 * MIB + 512], more);
        nbdcopy(&disk, &super::uri(&fourth, 0));
        let done = target.finish(&id(&fourth));
        assert_eq!(done["backup_type"], "incremental");
        site.assert_point_equals(&id(&fourth), 0, &disk);
        site.assert_restores_to(&id(&fourth), 0, &disk);
    }
}

/// A disk whose last cluster is a short one, which then grows and shrinks, and of which nothing is sent: what is there
/// is what was there, and zeros.
#[test]
fn a_disk_that_grows_and_shrinks_keeps_what_is_not_sent() {
    if !have(&["nbdcopy", "qemu-img", "curl"]) {
        return;
    }
    let target = Target::new(2, &[]);
    let site = &target.site;
    let disk = site.disk("a.raw", 4 * MIB + 1536, 6, 3);
    let full = target.start("web", "full", &[4 * MIB + 1536], json!({}));
    nbdcopy(&disk, &uri(&full, 0));
    target.finish(&id(&full));
    let file = File::options().write(true).open(&disk).unwrap();
    for size in [6 * MIB + 512, 4 * MIB + 40_960, 3 * MIB + 512, 5 * MIB, MIB + 65_024, 4 * MIB + 1536] {
        file.set_len(size).unwrap();
        let next = target.start("web", "incremental", &[size], json!({}));
        // It reads as it will be.
        let (raw, export) = (disk.to_str().unwrap(), uri(&next, 0));
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", raw, &export]);
        let done = target.finish(&id(&next));
        assert_eq!(done["backup_type"], "incremental", "{done}");
        site.assert_point_equals(&id(&next), 0, &disk);
        site.ok(&format!("backup verify {}", id(&next)));
        site.assert_restores_to(&id(&next), 0, &disk);
    }
    // A few bytes of the cluster in which it ended once.
    file.write_all_at(&[7; 512], 4 * MIB + 1024).unwrap();
    let last = target.start("web", "incremental", &[4 * MIB + 1536], json!({}));
    qemu_io(&uri(&last, 0), &[format!("write -q -P 7 {} 512", 4 * MIB + 1024)]);
    target.finish(&id(&last));
    site.assert_point_equals(&id(&last), 0, &disk);
    site.ok(&format!("backup verify {}", id(&last)));
    site.assert_restores_to(&id(&last), 0, &disk);
}

/// A file with these bytes, for qemu-io to write.
fn piece(target: &Target, bytes: &[u8], at: usize) -> String {
    let path = target.site.path(&format!("piece-{at}"));
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

fn qemu_io(image: &str, commands: &[String]) {
    for some in commands.chunks(400) {
        let mut arguments = vec!["-f", "raw", "-t", "writeback", "-d", "unmap"];
        for command in some {
            arguments.extend(["-c", command]);
        }
        arguments.push(image);
        run("qemu-io", &arguments);
    }
}

/// What a guest does to a disk: writes of any size anywhere, again and again, zeros and discards.
fn wild(random: &mut Random, size: u64) -> Vec<String> {
    let mut commands = Vec::new();
    for _ in 0..350 {
        let length = match random.below(4) {
            0 => 512 * (1 + random.below(7)),
            1 => 4096 * (1 + random.below(40)),
            2 => 65536 * (1 + random.below(12)),
            _ => 512 * (1 + random.below(900)),
        };
        // Mostly in one place, so that clusters come again.
        let span = if random.below(3) == 0 { size } else { 3 * MIB };
        let offset = random.below((span - length) / 512) * 512;
        let what = match random.below(8) {
            0 => "write -q -z".to_owned(),
            1 => "write -q -z -u".to_owned(),
            2 => "discard -q".to_owned(),
            3 => "write -q -P 0".to_owned(),
            _ => format!("write -q -P {}", 1 + random.below(255)),
        };
        // QEMU's discard is for whole clusters; what it leaves may be anything.
        let (offset, length) = if what.starts_with("discard") {
            let first = offset.next_multiple_of(65536);
            (first, (offset + length).saturating_sub(first) / 65536 * 65536)
        } else {
            (offset, length)
        };
        if length > 0 {
            commands.push(format!("{what} {offset} {length}"));
        }
    }
    commands
}

/// The same to a plain file, where a discard makes zeros as it does in a backup.
fn mirror(raw: &Path, commands: &[String]) {
    let commands: Vec<String> =
        commands.iter().map(|command| command.replace("discard -q", "write -q -z")).collect();
    qemu_io(raw.to_str().unwrap(), &commands);
}

#[test]
fn a_guest_that_writes_everything_again_and_again_leaves_what_it_wrote_last() {
    if !have(&["qemu-io", "qemu-img", "nbdcopy", "curl"]) {
        return;
    }
    let size = 24 * MIB + 512;
    for (compression, seed) in [("none", 1), ("zstd", 2), ("zlib", 3)] {
        let target = Target::new(2, &[]);
        let site = &target.site;
        let disk = site.disk("a.raw", size, 10, seed);
        let more = json!({ "compression": compression });
        let mut random = Random(seed);
        let full = target.start("web", "full", &[size], more.clone());
        nbdcopy(&disk, &uri(&full, 0));
        let commands = wild(&mut random, size);
        qemu_io(&uri(&full, 0), &commands);
        mirror(&disk, &commands);
        // It can be read, too, and is what was written.
        let (raw, export) = (disk.to_str().unwrap(), uri(&full, 0));
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", raw, &export]);
        target.finish(&id(&full));
        site.assert_point_equals(&id(&full), 0, &disk);

        let next = target.start("web", "incremental", &[size], more);
        // Two clients at once, on halves of the disk.
        let export = uri(&next, 0);
        let (left, right) = (wild(&mut random, size / 2), wild(&mut random, size / 2));
        let half = size / 2 / 65536 * 65536;
        let right: Vec<String> = right.iter().map(|command| moved(command, half)).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| qemu_io(&export, &left));
            scope.spawn(|| qemu_io(&export, &right));
        });
        mirror(&disk, &left);
        mirror(&disk, &right);
        run("qemu-img", &["compare", "-f", "raw", "-F", "raw", raw, &export]);
        target.finish(&id(&next));
        site.assert_point_equals(&id(&next), 0, &disk);
        site.assert_restores_to(&id(&next), 0, &disk);
        site.ok(&format!("backup verify {}", id(&next)));
        target.assert_given_back(&next);
    }
}

/// The command at another place, still inside of the disk.
fn moved(command: &str, by: u64) -> String {
    let words: Vec<&str> = command.split(' ').collect();
    let (offset, length) = (words[words.len() - 2], words[words.len() - 1]);
    let offset = offset.parse::<u64>().unwrap() + by;
    format!("{} {offset} {length}", words[..words.len() - 2].join(" "))
}
