//! Subvolumes, snapshots, and which of them a mount shows.

use super::image::{Image, PROGRAMS, content, node};
use crate::compare::{self, Compared};
use crate::fixture::{can_mount, sh};
use guestfs::{Error, GuestFs, NodeId};

const SUBVOLUMES: &str = r#"
btrfs subvolume create @ > /dev/null
btrfs subvolume create @home > /dev/null
mkdir -p @/var/lib; echo one > @/file; echo user > @home/user
btrfs subvolume create @/var/lib/nested > /dev/null
echo deep > @/var/lib/nested/deep
mkdir @/folder; btrfs subvolume create @/folder/inner > /dev/null; echo inner > @/folder/inner/file
btrfs subvolume snapshot -r @ before > /dev/null
echo two > @/file; echo new > @/new
btrfs subvolume snapshot @ @home/writable > /dev/null
echo three > @home/writable/file
btrfs subvolume create gone > /dev/null; echo x > gone/x; btrfs subvolume delete -c gone > /dev/null
chown 7:8 before/var 2> /dev/null || true
"#;

#[test]
fn snapshots_and_nested_subvolumes_read_as_the_kernel_shows_them() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut image = Image::new(1, "300M", "");
    image.fill("", SUBVOLUMES);
    // The kernel gives the folders that stand for subvolumes the time of the look.
    let count = image.assert_same_but(Compared { time_grain: i128::MAX, ..Compared::default() });
    assert!(count.files == 8 && count.directories >= 20, "{count:?}");
    let (fs, _) = image.open();
    assert_eq!(content(&*fs, node(&*fs, "@/file")), b"two\n");
    assert_eq!(content(&*fs, node(&*fs, "before/file")), b"one\n");
    assert_eq!(content(&*fs, node(&*fs, "@home/writable/file")), b"three\n");
    let nested = node(&*fs, "@/var/lib/nested");
    assert_eq!(nested.inode, 256);
    // A snapshot does not hold the subvolumes of what it was taken of.
    let empty = node(&*fs, "before/var/lib/nested");
    assert_eq!(compare::entries(&*fs, empty).unwrap().len(), 0);
    assert!(matches!(fs.lookup(empty, b"deep"), Err(Error::NotFound)));
    assert!(matches!(fs.read_at(empty, 0, &mut [0]), Err(Error::IsADirectory)));
}

#[test]
fn subvolumes_are_listed_and_found_by_number_and_path() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut image = Image::new(1, "300M", "");
    image.fill("", SUBVOLUMES);
    let mounted = image.mount("ro");
    let listed = sh(&format!("btrfs subvolume list {}", mounted.at().display()));
    let mut theirs: Vec<(u64, String)> = listed
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[1].parse().unwrap(), words[8].to_owned())
        })
        .collect();
    theirs.insert(0, (5, String::new()));
    let (fs, _) = image.open();
    let ours = fs.subvolumes().unwrap();
    let mut found: Vec<(u64, String)> =
        ours.iter().map(|one| (one.id, String::from_utf8(one.path.clone().unwrap()).unwrap())).collect();
    found.sort();
    theirs.sort();
    assert_eq!(found, theirs);
    assert_eq!(found.len(), 7);
    let by_path = |path: &str| ours.iter().find(|one| one.path.as_deref() == Some(path.as_bytes())).unwrap();
    let (root, before) = (by_path("@"), by_path("before"));
    assert!(before.read_only && !root.read_only && by_path("").default);
    assert!(before.parent_uuid == root.uuid && root.uuid.is_some() && root.created.is_some());
    for (id, path) in &found {
        let node = fs.subvolume_root(*id).unwrap();
        assert_eq!(node, NodeId { tree: *id, inode: 256 });
        assert_eq!(fs.subvolume_at(path.as_bytes()).unwrap(), node);
        assert_eq!(fs.subvolume_at(format!("/{path}").as_bytes()).unwrap(), node);
    }
    assert!(matches!(fs.subvolume_root(999), Err(Error::NotFound)));
    assert!(matches!(fs.subvolume_root(7), Err(Error::NotFound)));
    assert!(matches!(fs.subvolume_at(b"@/var"), Err(Error::NotFound)));
    assert!(matches!(fs.subvolume_at(b"gone"), Err(Error::NotFound)));
}

#[test]
fn the_default_subvolume_is_the_root() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut image = Image::new(1, "300M", "");
    image.fill("", &format!("{SUBVOLUMES}\nbtrfs subvolume set-default $PWD/@"));
    let count = image.assert_same();
    assert_eq!(count.files, 4, "{count:?}");
    let (fs, _) = image.open();
    assert_eq!(content(&*fs, node(&*fs, "new")), b"new\n");
    assert!(fs.default_subvolume() > 255);
    // The others are there as before.
    let home = fs.subvolume_at(b"@home").unwrap();
    assert!(fs.lookup(home, b"user").is_ok());
    let mounted = image.mount("ro,subvolid=5");
    let ours = fs.stat(fs.subvolume_root(5).unwrap()).unwrap();
    let theirs = std::fs::metadata(mounted.at()).unwrap();
    assert_eq!(ours.size, std::os::unix::fs::MetadataExt::size(&theirs));
    drop(mounted);
    let mounted = image.mount("ro,subvol=/@/folder/inner");
    assert!(mounted.at().join("file").exists());
    assert!(fs.lookup(fs.subvolume_at(b"@/folder/inner").unwrap(), b"file").is_ok());
}
