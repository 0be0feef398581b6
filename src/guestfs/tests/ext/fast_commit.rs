//! Fast commits, against the kernel's own replay of them.
//!
//! What the kernel takes from the moment of its mount (times of folders and of new links), and sizes of folders that it
//! enlarges then, are left out of the comparison.

use super::tree::{bytes, fill};
use super::{copy, make, same_as_kernel};
use crate::compare::{Compared, Count};
use crate::fixture::{Mounted, can_mount, sh};
use guestfs::{Device, Error, FileDevice, OpenOptions, ext};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What of a replayed file system is certain.
fn certain() -> Compared {
    Compared { time_grain: 1_000_000_000_000_000_000, directory_sizes: false, ..Compared::default() }
}

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// An image captured after `work` on a file system that was whole on the disk before. `work` has to flush something.
#[track_caller]
fn captured(dir: &Path, mkfs: &str, work: impl FnOnce(&Path)) -> PathBuf {
    let image = make(dir, "live.img", "96M", &format!("mkfs.ext4 -O fast_commit {mkfs}"));
    let mounted = Mounted::new(&image, "noatime,commit=900");
    fill(&mounted.0, 60, false);
    fs::write(mounted.0.join("before"), bytes(1, 200_000)).unwrap();
    fs::create_dir(mounted.0.join("old folder")).unwrap();
    for index in 0..20 {
        fs::write(mounted.0.join(format!("old folder/o{index}")), bytes(index, 3000)).unwrap();
    }
    // A whole commit, after which fast ones may come.
    rustix::fs::syncfs(File::open(&mounted.0).unwrap()).unwrap();
    rustix::fs::syncfs(File::open(&mounted.0).unwrap()).unwrap();
    let before = commits(&mounted.0);
    work(&mounted.0);
    let after = commits(&mounted.0);
    assert!(after > before, "{after} fast commits, {before} before");
    let captured = copy(&image, "captured.img");
    drop(mounted);
    captured
}

/// How many fast commits the kernel counts at a mount.
fn commits(mounted: &Path) -> u64 {
    let device = sh(&format!("basename $(findmnt -no SOURCE '{}')", mounted.display()));
    let info = fs::read_to_string(format!("/proc/fs/ext4/{}/fc_info", device.trim())).unwrap();
    let line = info.lines().find(|line| line.contains("commits")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[track_caller]
fn replayed(mkfs: &str, work: impl FnOnce(&Path)) -> Count {
    if !can_mount(&["mkfs.ext4", "setfacl"]) {
        return Count::default();
    }
    let dir = tempfile::tempdir().unwrap();
    let captured = captured(dir.path(), mkfs, work);
    let count = same_as_kernel(&captured, certain());
    assert!(count.files > 110 && count.bytes > 900_000, "{count:?}");
    count
}

#[test]
fn new_files_and_their_bytes_are_there() {
    for mkfs in ["", "-O ^metadata_csum", "-b 1024", "-O inline_data"] {
        replayed(mkfs, |root| {
            for index in 0..30u64 {
                let path = root.join(format!("new {index}"));
                fs::write(&path, bytes(index, 100 + index as usize * 3000)).unwrap();
                sync(&path);
            }
        });
    }
}

#[test]
fn links_renames_and_removals_are_replayed() {
    replayed("", |root| {
        let folder = root.join("old folder");
        fs::hard_link(folder.join("o1"), folder.join("linked")).unwrap();
        fs::rename(folder.join("o2"), root.join("moved")).unwrap();
        fs::rename(folder.join("o3"), folder.join("o4")).unwrap();
        fs::remove_file(folder.join("o5")).unwrap();
        fs::write(folder.join("o5"), b"again").unwrap();
        sync(&folder.join("o5"));
        fs::remove_file(folder.join("o6")).unwrap();
        fs::hard_link(folder.join("o7"), folder.join("o6")).unwrap();
        fs::write(root.join("short"), b"lived").unwrap();
        fs::remove_file(root.join("short")).unwrap();
        sync(&folder.join("o7"));
    });
}

#[test]
fn contents_that_change_are_replayed() {
    replayed("", |root| {
        let file = File::options().read(true).write(true).open(root.join("before")).unwrap();
        file.write_all_at(&bytes(5, 9000), 300_000).unwrap();
        file.sync_all().unwrap();
        file.write_all_at(&bytes(6, 100), 100).unwrap();
        file.set_len(350_000).unwrap();
        file.sync_all().unwrap();
        file.set_len(60_001).unwrap();
        file.sync_all().unwrap();
        let holes = File::create(root.join("new with holes")).unwrap();
        for index in 0..200 {
            holes.write_all_at(&bytes(index, 4096), index * 12_288).unwrap();
            if index % 40 == 0 {
                holes.sync_all().unwrap();
            }
        }
        holes.sync_all().unwrap();
        let old = File::options().write(true).open(root.join("some of all/allocated")).unwrap();
        old.write_all_at(&bytes(7, 30_000), 100_000).unwrap();
        old.sync_all().unwrap();
    });
}

#[test]
fn new_folders_and_what_is_in_them_are_replayed() {
    replayed("", |root| {
        let folder = root.join("new folder");
        fs::create_dir(&folder).unwrap();
        for index in 0..40 {
            fs::write(folder.join(format!("inside {index}")), bytes(index, 500)).unwrap();
        }
        fs::create_dir(folder.join("deeper")).unwrap();
        fs::write(folder.join("deeper/file"), b"deep").unwrap();
        fs::remove_dir(root.join("some of all/default acl")).unwrap_err();
        sync(&folder.join("deeper/file"));
    });
}

#[test]
fn a_full_commit_between_fast_ones_makes_the_old_ones_void() {
    replayed("", |root| {
        for round in 0..4 {
            for index in 0..10u64 {
                let path = root.join(format!("r{round} {index}"));
                fs::write(&path, bytes(index, 5000)).unwrap();
                sync(&path);
            }
            if round % 2 == 0 {
                rustix::fs::syncfs(File::open(root).unwrap()).unwrap();
            }
        }
    });
}

#[test]
fn a_damaged_fast_commit_is_not_trusted() {
    if !can_mount(&["mkfs.ext4", "setfacl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let captured = captured(dir.path(), "-b 4096 -J size=16", |root| {
        fs::write(root.join("new"), b"x").unwrap();
        sync(&root.join("new"));
    });
    let log = sh(&format!("dumpe2fs -h '{}' 2>/dev/null", captured.display()));
    let number = |name: &str| {
        let line = log.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    let first = number("Total journal blocks") - number("Fast commit length") + 1;
    let place = sh(&format!("debugfs -R 'bmap <8> {first}' '{}' 2>/dev/null", captured.display()));
    let at = place.trim().parse::<u64>().unwrap() * 4096 + 20;
    let file = File::options().read(true).write(true).open(&captured).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    let device: Device = Arc::new(FileDevice::open(&captured).unwrap());
    let strict = ext::open(device.clone(), &OpenOptions::default()).map(|_| ());
    assert!(matches!(&strict, Err(Error::Untrusted(why)) if why.contains("fast commits")), "{strict:?}");
    let options = OpenOptions { ignore_journal: true, ..OpenOptions::default() };
    let fs = ext::open(device, &options).unwrap();
    assert_eq!(fs.info().warnings.len(), 1);
    assert!(fs.lookup(fs.root(), b"before").is_ok() && fs.lookup(fs.root(), b"new").is_err());
}
