//! Large folders, their hashes, and folders that ignore case.

use super::{make, open};
use crate::fixture::{Mounted, can_mount, sh};
use guestfs::{Error, FileKind, GuestFs};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// All names of a folder and their inodes, by listing and by looking up each, are the mount's.
fn compare_names(fs: &dyn GuestFs, folder: &str, real: &Path) -> usize {
    let dir = fs.lookup(fs.root(), folder.as_bytes()).unwrap();
    let mut ours = BTreeMap::new();
    fs.readdir(dir, 0, &mut |entry| {
        assert!(ours.insert(entry.name.to_vec(), entry.node.inode).is_none());
        ControlFlow::Continue(())
    })
    .unwrap();
    let theirs: BTreeMap<_, _> = fs::read_dir(real.join(folder))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().as_bytes().to_vec(), std::os::unix::fs::DirEntryExt::ino(&entry)))
        .collect();
    assert_eq!(ours, theirs);
    for (name, inode) in &ours {
        assert_eq!(fs.lookup(dir, name).unwrap().inode, *inode, "{}", String::from_utf8_lossy(name));
        let mut other = name.clone();
        other.push(b'?');
        assert!(matches!(fs.lookup(dir, &other), Err(Error::NotFound)));
    }
    ours.len()
}

#[test]
fn names_are_found_by_every_hash() {
    if !can_mount(&["mkfs.ext4", "tune2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (index, (hash, sign)) in
        [("half_md4", 1), ("half_md4", 2), ("tea", 1), ("tea", 2), ("legacy", 1), ("legacy", 2)]
            .into_iter()
            .enumerate()
    {
        let image = make(dir.path(), &format!("{index}.img"), "32M", "mkfs.ext4 -b 1024");
        sh(&format!(
            "tune2fs -E hash_alg={hash} '{0}' && debugfs -w -R 'ssv flags {sign}' '{0}'",
            image.display()
        ));
        let mounted = Mounted::new(&image, "noatime");
        let folder = mounted.0.join("many");
        fs::create_dir(&folder).unwrap();
        let first = folder.join("first");
        fs::write(&first, b"").unwrap();
        for number in 0..2000u32 {
            let mut name = format!("{number}-").into_bytes();
            name.extend((0..number % 90).map(|byte| 0x80 | (byte as u8).wrapping_mul(7)));
            fs::hard_link(&first, folder.join(OsStr::from_bytes(&name))).unwrap();
        }
        drop(mounted);
        let mounted = Mounted::new(&image, "ro,noatime");
        assert_eq!(compare_names(&*open(&image).1, "many", &mounted.0), 2001, "{hash} {sign}");
    }
}

#[test]
fn an_index_of_three_levels_is_searched() {
    if !can_mount(&["mkfs.ext4"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "128M", "mkfs.ext4 -b 1024 -O large_dir,^has_journal");
    let mounted = Mounted::new(&image, "noatime");
    let folder = mounted.0.join("many");
    fs::create_dir(&folder).unwrap();
    let first = folder.join("first");
    fs::write(&first, b"").unwrap();
    for number in 0..42_000u32 {
        fs::hard_link(&first, folder.join(format!("{number}-{}", "n".repeat(240)))).unwrap();
    }
    drop(mounted);
    let levels = sh(&format!("debugfs -R 'htree_dump /many' '{}' 2>/dev/null | head -8", image.display()));
    assert!(levels.contains("Indirect levels: 2"), "{levels}");
    let mounted = Mounted::new(&image, "ro,noatime");
    assert_eq!(compare_names(&*open(&image).1, "many", &mounted.0), 42_001);
}

#[test]
fn a_folder_ignores_case_where_it_is_told_to() {
    if !can_mount(&["mkfs.ext4", "debugfs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "16M", "mkfs.ext4 -O casefold -E encoding=utf8");
    // This kernel may have no casefold: debugfs makes the folder.
    let file = dir.path().join("content");
    fs::write(&file, b"content").unwrap();
    sh(&format!(
        "printf 'mkdir d\\nsif d flags 0x40080000\\ncd d\\nwrite {0} ReadMe\\nwrite {0} stra\u{df}e\\nwrite {0} readme\\n' > '{1}/c'
        debugfs -w -f '{1}/c' '{2}'",
        file.display(),
        dir.path().display(),
        image.display()
    ));
    let (_, fs) = open(&image);
    let folder = fs.lookup(fs.root(), b"d").unwrap();
    let node = |name: &str| fs.lookup(folder, name.as_bytes()).ok();
    assert!(node("ReadMe").is_some() && node("ReadMe") != node("readme"), "an exact match first");
    assert!(node("README").is_some());
    assert!(node("STRASSE").is_some() && node("STRASSE") == node("stra\u{df}e"));
    assert_eq!(node("other"), None);
    assert_eq!(fs.lookup(fs.root(), b"D").ok(), None, "another folder does not");
    let found = node("STRASSE").unwrap();
    let mut buf = [0; 16];
    assert_eq!(fs.read_at(found, 0, &mut buf).unwrap(), 7);
    assert_eq!((fs.stat(found).unwrap().kind, &buf[..7]), (FileKind::File, &b"content"[..]));
}

#[test]
fn listing_goes_on_where_it_ended() {
    if !can_mount(&["mkfs.ext4"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "32M", "mkfs.ext4 -O inline_data");
    let mounted = Mounted::new(&image, "noatime");
    for (folder, count) in [("few", 5), ("many", 3000)] {
        fs::create_dir(mounted.0.join(folder)).unwrap();
        for number in 0..count {
            fs::write(mounted.0.join(folder).join(format!("f{number}")), b"").unwrap();
        }
    }
    assert!(fs::metadata(mounted.0.join("few")).unwrap().size() < 4096, "inline");
    drop(mounted);
    let (_, fs) = open(&image);
    for (folder, count) in [("few", 5), ("many", 3000)] {
        let dir = fs.lookup(fs.root(), folder.as_bytes()).unwrap();
        let (mut from, mut seen) = (0, 0);
        loop {
            let mut step = None;
            fs.readdir(dir, from, &mut |entry| {
                step = Some(entry.next);
                ControlFlow::Break(())
            })
            .unwrap();
            let Some(next) = step else { break };
            assert!(next > from);
            (from, seen) = (next, seen + 1);
        }
        assert_eq!(seen, count, "{folder}, one at a time");
    }
}
