//! Tests: which of several systems is taken, and where volumes stand, on file systems in memory.

mod windows;

use super::{MountPoint, Root, Subvolume, System, SystemKind, find};
use crate::tree::Follow;
use crate::tree::Tree;
use crate::tree::memory::{Memory, volume, volumes};
use crate::{Content, Error, NodeId, Partition, Result, Volume};
use std::sync::Arc;

fn found(all: Vec<(Volume, Result<Memory>)>) -> System {
    find(&Arc::new(volumes(all).0))
}

/// A Linux with this fstab and name, used last at this second.
fn linux(kind: &'static str, fstab: &str, name: &str, used: i64) -> Memory {
    let mut fs = Memory::new(kind);
    fill(&mut fs, "", fstab, name, used);
    fs
}

fn fill(fs: &mut Memory, below: &str, fstab: &str, name: &str, used: i64) {
    fs.file(&format!("{below}/etc/fstab"), fstab.as_bytes());
    fs.symlink(&format!("{below}/etc/os-release"), "../usr/lib/os-release");
    fs.file(&format!("{below}/usr/lib/os-release"), format!("PRETTY_NAME=\"{name}\"\n").as_bytes());
    let log = fs.dir(&format!("{below}/var/log"));
    fs.modified.insert(log, used);
}

fn ext4(id: &str, uuid: &str) -> Volume {
    volume(id, "ext4", None, Some(uuid))
}

fn shown(mounts: &[MountPoint]) -> Vec<String> {
    let one = |mount: &MountPoint| {
        let subvolume = match &mount.subvolume {
            None => String::new(),
            Some(Subvolume::Path(path)) => format!(" [{}]", String::from_utf8_lossy(path)),
            Some(Subvolume::Id(id)) => format!(" [{id}]"),
        };
        let folder = String::from_utf8_lossy(&mount.folder).into_owned();
        format!("{} {}{subvolume}{folder}", String::from_utf8_lossy(&mount.path), mount.volume)
    };
    mounts.iter().map(one).collect()
}

fn root(system: &System) -> &str {
    system.root.as_ref().map_or("none", |root| &root.volume)
}

#[test]
fn the_root_is_the_one_that_says_so_of_itself() {
    let system = found(vec![
        // A copy of the root, on another disk, used later.
        (ext4("disk1/part1", "copy"), Ok(linux("ext4", "UUID=root / ext4", "Copy", 900))),
        (
            ext4("disk0/part2", "root"),
            Ok(linux("ext4", "UUID=root / ext4\nUUID=home /home ext4", "Real", 100)),
        ),
        (ext4("disk0/part3", "home"), Ok(Memory::new("ext4"))),
        // A rescue system, used later, whose fstab says nothing.
        (ext4("disk0/part4", "rescue"), Ok(linux("ext4", "", "Rescue", 800))),
    ]);
    assert_eq!(root(&system), "disk0/part2");
    assert_eq!((system.kind, system.name.as_deref()), (SystemKind::Linux, Some("Real")));
    let others: Vec<_> =
        system.others.iter().map(|other| (&other.volume[..], other.name.as_deref())).collect();
    assert_eq!(others, [("disk0/part4", Some("Rescue")), ("disk1/part1", Some("Copy"))]);
    assert_eq!(
        shown(&system.mounts),
        [
            "/ disk0/part2",
            "/home disk0/part3",
            "/@volumes/disk1/part1 disk1/part1",
            "/@volumes/disk0/part4 disk0/part4",
        ]
    );
}

#[test]
fn of_two_systems_the_one_that_was_used_last_is_taken() {
    let first = || (ext4("disk0/part1", "a"), Ok(linux("ext4", "UUID=a / ext4", "A", 100)));
    let second = |used| (ext4("disk0/part2", "b"), Ok(linux("ext4", "UUID=b / ext4", "B", used)));
    assert_eq!(root(&found(vec![first(), second(200)])), "disk0/part2");
    assert_eq!(root(&found(vec![first(), second(50)])), "disk0/part1");
    assert_eq!(root(&found(vec![first(), second(100)])), "disk0/part1", "of equals the first");
}

#[test]
fn what_is_no_system_is_no_root() {
    let mut data = Memory::new("ext4");
    data.file("/etc/os-release", b"PRETTY_NAME=backup");
    let mut tree = Memory::new("ext4");
    tree.dir("/usr");
    let system = found(vec![
        (ext4("disk0", "a"), Ok(data)),
        (ext4("disk1", "b"), Ok(tree)),
        (ext4("disk2", "c"), Err(Error::unsupported("the feature `future`"))),
    ]);
    assert_eq!((system.kind, &system.root, &system.name), (SystemKind::Unknown, &None, &None));
    assert_eq!(system.notes, ["disk2: ext4 could not be opened: the feature `future` is not supported"]);
    assert_eq!(
        shown(&system.mounts),
        ["/@volumes/disk0 disk0", "/@volumes/disk1 disk1", "/@volumes/disk2 disk2"]
    );
    assert_eq!(found(vec![]), System::unknown());
}

#[test]
fn what_is_not_placed_is_told_with_its_reason() {
    let fstab = "UUID=r / ext4\nUUID=gone /a ext4\nhost:/x /b nfs\n/dev/mapper/data /c xfs\nUUID=swap /d ext4\n\
        /dev/sda1 /../e ext4\nUUID=v /f ext4\nUUID=v /@volumes/x ext4\nUUID=w /f ext4\nUUID=u /link ext4\n";
    let mut fs = linux("ext4", fstab, "x", 1);
    fs.file("/etc/crypttab", b"data UUID=locked none luks\n");
    fs.symlink("/link", "/f");
    let mut locked = ext4("disk0/part5", "");
    locked.content =
        Content::Locked { kind: "LUKS2", uuid: Some("LOCKED".into()), reason: "no key was given".into() };
    let mut swap = ext4("disk0/part6", "");
    swap.content = Content::Swap { label: None, uuid: Some("swap".into()) };
    let system = found(vec![
        (ext4("disk0/part1", "r"), Ok(fs)),
        (locked, Err(Error::NotFound)),
        (swap, Err(Error::NotFound)),
        (ext4("disk0/part7", "v"), Ok(Memory::new("ext4"))),
        (ext4("disk0/part8", "w"), Ok(Memory::new("ext4"))),
        (ext4("disk0/part9", "u"), Ok(Memory::new("ext4"))),
    ]);
    assert_eq!(
        system.notes,
        [
            "disk0/part5: LUKS2, and locked: no key was given",
            "/a (UUID=gone) is not placed: no volume of this point has this UUID",
            "/b (host:/x) is not placed: it is on the network",
            "/c (/dev/mapper/data) is not placed: it is in disk0/part5, which is LUKS2: no key was given",
            "/d (UUID=swap) is not placed: no volume of this point has this UUID",
            "disk0/part7 at /f is covered by disk0/part8",
            "disk0/part8 at /f is covered by disk0/part9",
            "/../e (/dev/sda1) is not placed: its mount point is no absolute path that can be shown",
            "/@volumes/x (UUID=v) is not placed: this is the place of something else",
        ]
    );
    assert_eq!(
        shown(&system.mounts),
        [
            "/ disk0/part1",
            "/f disk0/part9",
            "/@volumes/disk0/part7 disk0/part7",
            "/@volumes/disk0/part8 disk0/part8",
        ]
    );
}

#[test]
fn a_separate_usr_has_the_name() {
    let mut root = Memory::new("xfs");
    root.file("/etc/fstab", b"/dev/sda2 /usr xfs\n/dev/sda1 / xfs\n");
    root.symlink("/etc/os-release", "../usr/lib/os-release");
    root.symlink("/bin", "usr/bin");
    root.dir("/usr");
    let mut usr = Memory::new("xfs");
    usr.file("/lib/os-release", b"PRETTY_NAME=Split\n");
    let part = |number| {
        let mut volume = volume(&format!("disk0/part{number}"), "xfs", None, None);
        volume.partition = Some(Partition {
            disk: 0,
            number,
            offset: u64::from(number) << 20,
            kind: "0x83".into(),
            name: None,
            uuid: None,
        });
        volume
    };
    let system = found(vec![(part(1), Ok(root)), (part(2), Ok(usr))]);
    assert_eq!(system.name.as_deref(), Some("Split"));
    assert_eq!(system.root.unwrap().name.as_deref(), Some("Split"));
    assert_eq!(shown(&system.mounts), ["/ disk0/part1", "/usr disk0/part2"]);
}

fn btrfs() -> Volume {
    volume("disk0/part2", "btrfs", None, Some("b"))
}

#[test]
fn a_btrfs_has_its_subvolumes_where_the_fstab_says() {
    let fstab = "UUID=b / btrfs subvol=@\nUUID=b /home btrfs subvol=/@home,compress=zstd\nUUID=b /var btrfs subvolid=259\n\
        UUID=b /all btrfs subvolid=5\n";
    let make = |fstab: &str| {
        let mut fs = Memory::new("btrfs");
        for (name, id) in [("/@", 256), ("/@home", 257), ("/@old", 258), ("/@var", 259)] {
            fs.subvolume(name, id);
        }
        fill(&mut fs, "/@", fstab, "New", 100);
        // A snapshot of it, used as late.
        fill(&mut fs, "/@old", fstab, "Old", 100);
        fs.file("/@home/me/file", b"home");
        fs.file("/@var/log", b"");
        fs
    };
    let system = found(vec![(btrfs(), Ok(make(fstab)))]);
    assert_eq!(system.name.as_deref(), Some("New"));
    assert_eq!(
        system.others,
        [Root {
            volume: "disk0/part2".into(),
            subvolume: Some(Subvolume::Path(b"@old".to_vec())),
            kind: SystemKind::Linux,
            name: Some("Old".into()),
        }]
    );
    assert_eq!(
        shown(&system.mounts),
        ["/ disk0/part2 [@]", "/home disk0/part2 [/@home]", "/var disk0/part2 [259]", "/all disk0/part2 [5]",]
    );
    let tree = Tree::from_volumes(volumes(vec![(btrfs(), Ok(make(fstab)))]).0);
    for path in ["/home/me/file", "/var/log", "/all/@old/etc/fstab", "/etc/os-release"] {
        assert!(tree.resolve(path.as_bytes(), Follow::All).is_ok(), "{path}");
    }
    // Where nothing shows the top, it is below the other volumes.
    let system = found(vec![(btrfs(), Ok(make("UUID=b / btrfs subvol=@\n")))]);
    assert_eq!(shown(&system.mounts), ["/ disk0/part2 [@]", "/@volumes/disk0/part2 disk0/part2 [5]"]);
}

#[test]
fn the_default_subvolume_is_a_root_too() {
    let mut fs = Memory::new("btrfs");
    fs.dir("/snapshots");
    fs.subvolume("/snapshots/1", 300);
    fill(&mut fs, "/snapshots/1", "UUID=b / btrfs defaults\n", "Default", 1);
    fs.root = NodeId { tree: 300, inode: 256 };
    let system = found(vec![(btrfs(), Ok(fs))]);
    assert_eq!(shown(&system.mounts), ["/ disk0/part2", "/@volumes/disk0/part2 disk0/part2 [5]"]);
    assert_eq!(system.name.as_deref(), Some("Default"));
}

#[test]
fn binds_and_nested_points_come_in_their_order() {
    let fstab = "UUID=deep /srv/a/b/c ext4\nUUID=a /srv/a ext4\n/srv/a/b /mnt/b none bind\n/mnt/b/c /mnt/c none bind\n\
        /etc /mnt/etc none rbind\n/nowhere/x /mnt/x none bind\nUUID=r / ext4\n";
    let make = || {
        let mut a = Memory::new("ext4");
        a.file("/b/file", b"");
        let mut deep = Memory::new("ext4");
        deep.file("/deepest", b"");
        vec![
            (ext4("disk0", "r"), Ok(linux("ext4", fstab, "x", 1))),
            (ext4("disk1", "a"), Ok(a)),
            (ext4("disk2", "deep"), Ok(deep)),
        ]
    };
    assert_eq!(
        shown(&found(make()).mounts),
        [
            "/ disk0",
            "/srv/a disk1",
            "/srv/a/b/c disk2",
            "/mnt/b disk1/b",
            "/mnt/c disk1/b/c",
            "/mnt/etc disk0/etc",
            "/mnt/x disk0/nowhere/x",
        ]
    );
    let tree = Tree::from_volumes(volumes(make()).0);
    for path in ["/srv/a/b/file", "/srv/a/b/c/deepest", "/mnt/b/file", "/mnt/etc/fstab"] {
        assert!(tree.resolve(path.as_bytes(), Follow::All).is_ok(), "{path}");
    }
    let missing = tree.resolve(b"/mnt/x/y", Follow::All).unwrap_err();
    assert_eq!(missing.to_string(), "/mnt/x/y: no such file or folder");
}

#[test]
fn hostile_texts_are_only_text() {
    let mut fs = Memory::new("ext4");
    fs.dir("/usr");
    fs.file("/etc/os-release", b"PRETTY_NAME=\"\x1b]0;evil\x07\xff\xfe\"");
    fs.file(
        "/etc/fstab",
        &[
            &b"\xff\\\\777 /\x1b[2J ext4\n= / =\nUUID= /x\n/dev/ /y ext4\n/dev/disk/by- /z a\n"[..],
            &[0; 500],
            b"\n\\ \\ \\ \\",
        ]
        .concat(),
    );
    fs.file("/etc/crypttab", b"a /dev/mapper/b\nb /dev/mapper/a\n= = =");
    let system = found(vec![(ext4("disk0", "r"), Ok(fs))]);
    assert_eq!(root(&system), "disk0");
    assert!(
        system.notes.iter().chain(&system.name).all(|note| !note.chars().any(char::is_control)),
        "{system:?}"
    );
    assert_eq!(shown(&system.mounts), ["/ disk0"]);
}

#[test]
fn files_that_are_too_large_are_not_read() {
    let mut fs = linux("ext4", "", "x", 1);
    let fstab = fs.node("/etc/fstab");
    fs.nodes.insert(fstab, crate::tree::memory::Body::File(1 << 50, Default::default()));
    let system = found(vec![(ext4("disk0", "r"), Ok(fs))]);
    assert_eq!(system.name.as_deref(), Some("x"));
    assert!(system.notes[0].contains("has more than"), "{:?}", system.notes);
}
