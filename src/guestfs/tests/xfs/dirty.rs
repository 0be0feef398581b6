//! Images whose log was not finished, against the kernel's mount of a copy, which replays it.
//!
//! The file system is under load, some of it synced, and is then either shut down as by a power cut
//! (`XFS_IOC_GOINGDOWN`, with or without the last of the log) or copied while it goes on.

use super::content::noise;
use super::{make_of, mount, same_after_replay};
use crate::fixture::{can_mount, sh};
use rustix::fs::XattrFlags;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

/// Changes of all kinds, which depend on `seed` and on nothing else. Whatever is not possible is left out.
fn load(root: &Path, seed: u64, count: usize) {
    let mut random = noise(seed, count * 8).into_iter();
    let mut number = |below: usize| {
        let bytes = [random.next().unwrap_or(0), random.next().unwrap_or(0)];
        usize::from(u16::from_le_bytes(bytes)) % below
    };
    for step in 0..count {
        let (operation, one, other) = (number(16), number(400), number(400));
        let folder = root.join(format!("folder {}", one % 7));
        let path = folder.join(format!("file with a name of some length {one}"));
        let second = root
            .join(format!("folder {}", other % 7))
            .join(format!("file with a name of some length {other}"));
        let content = noise(step as u64 + seed, 100 + one * 53);
        let _ = match operation {
            0..=3 => fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &content)),
            4 => fs::remove_file(&path),
            5 => fs::rename(&path, &second),
            6 => fs::hard_link(&path, &second),
            7 => symlink("y".repeat(1 + one * 2), &second),
            8 => OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|file| file.write_all_at(&content[..100], other as u64 * 8192)),
            9 => OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(one as u64 * 100)),
            10 => rustix::fs::setxattr(
                &path,
                format!("user.{other}"),
                &content[..one % 300],
                XattrFlags::empty(),
            )
            .map_err(Into::into),
            11 => {
                rustix::fs::setxattr(&path, "user.large", &content, XattrFlags::empty()).map_err(Into::into)
            }
            12 => rustix::fs::removexattr(&path, "user.large").map_err(Into::into),
            13 => fs::create_dir_all(folder.join(format!("{other}/{one}"))),
            14 => fs::remove_dir_all(folder.join(format!("{other}"))),
            _ => fs::File::open(&path).and_then(|file| file.sync_all()),
        };
    }
}

/// Several rounds of load and power cuts on one file system of these options, all of them compared.
fn power_cuts(name: &str, options: &str, mount_options: &str, rounds: u64) {
    if !can_mount(&["mkfs.xfs", "xfs_io"]) {
        return;
    }
    let folder = super::folder();
    let image = make_of(folder.path(), name, options, 160);
    let mut files = 0;
    for round in 0..rounds {
        let mounted = crate::fixture::Mounted::new(&image, &format!("nouuid{mount_options}"));
        load(&mounted.0, round * 1000 + 1, 1500);
        // Half of it is on the disk, the other half perhaps in the log, or nowhere.
        sh(&format!("sync -f '{}'", mounted.0.display()));
        load(&mounted.0, round * 1000 + 2, 1500);
        let flag = if round % 3 == 2 { "" } else { "-f" };
        sh(&format!("xfs_io -x -c 'shutdown {flag}' '{}'", mounted.0.display()));
        drop(mounted);
        files += same_after_replay(&image).files;
    }
    assert!(files > 100 * rounds as usize, "{files} files");
}

#[test]
fn replays_the_log_after_power_cuts() {
    power_cuts("cut", "-l size=10m", "", 4);
}

#[test]
fn replays_large_records_of_large_blocks_of_folders() {
    power_cuts(
        "cut-large",
        "-b size=1024 -n size=8192 -m rmapbt=1 -i nrext64=1 -l size=20m",
        ",logbsize=256k",
        3,
    );
}

#[test]
fn replays_a_striped_log_of_large_sectors() {
    power_cuts(
        "cut-striped",
        "-s size=4096 -l su=32768 -m bigtime=0 -d agcount=4 -i size=1024 -l size=16m",
        "",
        3,
    );
}

#[test]
fn replays_a_log_that_went_round_several_times() {
    if !can_mount(&["mkfs.xfs", "xfs_io"]) {
        return;
    }
    let folder = super::folder();
    let image = make_of(folder.path(), "round", "-l size=10m", 160);
    let mounted = mount(&image);
    load(&mounted.0, 5, 2000);
    let many = mounted.0.join("many");
    for round in 0..14 {
        fs::create_dir(&many).unwrap();
        for index in 0..2000 {
            let name = format!("{round} a name that takes place in the log {index:0100}");
            fs::File::create(many.join(name)).unwrap();
        }
        sh(&format!("sync -f '{}'", mounted.0.display()));
        if round < 13 {
            fs::remove_dir_all(&many).unwrap();
        }
    }
    load(&mounted.0, 6, 1000);
    sh(&format!("xfs_io -x -c 'shutdown -f' '{}'", mounted.0.display()));
    drop(mounted);
    let round = super::log_round(&image);
    assert!(round > 2, "the log is in its round {round}");
    let count = same_after_replay(&image);
    assert!(count.files > 2000, "{count:?}");
}

#[test]
fn replays_copies_that_were_made_under_load() {
    if !can_mount(&["mkfs.xfs"]) {
        return;
    }
    let folder = super::folder();
    let image = make_of(folder.path(), "live", "-l size=10m", 160);
    let mounted = mount(&image);
    let mut files = 0;
    for round in 0..3 {
        load(&mounted.0, 100 + round, 2000);
        sh(&format!("sync -f '{}'", mounted.0.display()));
        load(&mounted.0, 200 + round, 500);
        let file = mounted.0.join("synced");
        fs::write(&file, round.to_string()).unwrap();
        fs::File::open(&file).unwrap().sync_all().unwrap();
        let copy = folder.path().join("copied.img");
        sh(&format!("cp --sparse=always '{}' '{}'", image.display(), copy.display()));
        files += same_after_replay(&copy).files;
    }
    assert!(files > 300, "{files} files");
}
