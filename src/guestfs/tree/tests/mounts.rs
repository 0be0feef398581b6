//! Several volumes: they stand where the guest has them, and are opened when somebody goes there.

use super::super::Follow;
use super::{Memory, all, names, single, sorted, system, walked};
use crate::{Error, NodeId};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

#[test]
fn volumes_stand_where_the_fstab_has_them() {
    let (tree, opened) = system();
    assert_eq!(tree.system().name.as_deref(), Some("Test"));
    let looked_at = opened.load(Ordering::SeqCst);
    assert_eq!(looked_at, 7, "all that may hold a root, and not the EFI partition");
    assert_eq!(names(&tree, "/boot"), ["vmlinuz", "efi", "grub", "abs", "up"]);
    assert_eq!(names(&tree, "/boot/efi"), ["EFI"], "the volume covers the folder");
    assert_eq!(all(&tree, "/boot/efi/efi/boot.efi"), "/boot/efi/efi/boot.efi");
    assert_eq!(names(&tree, "/srv"), ["file", "missing"]);
    assert_eq!(names(&tree, "/srv/missing"), ["deep"]);
    assert_eq!(names(&tree, "/srv/missing/deep"), ["file"]);
    assert_eq!(names(&tree, "/target/here"), ["found"], "the mount point's links were followed");
    assert_eq!(names(&tree, "/links/here"), ["found"]);
    assert_eq!(names(&tree, "/var"), ["etc", "out", "grub"]);
    assert_eq!(names(&tree, "/var/etc"), ["os-release", "fstab"]);
    assert_eq!(names(&tree, "/var/grub"), ["grub.cfg"]);
    assert_eq!(
        names(&tree, "/"),
        ["etc", "bin", "boot", "srv", "broken", "target", "links", "var", "@volumes"],
        "the guest's own `@volumes` is covered"
    );
    assert_eq!(names(&tree, "/@volumes"), ["disk9"]);
    assert_eq!(opened.load(Ordering::SeqCst), 8, "each once");
    let volumes = tree.volumes();
    let boot = volumes.iter().find(|state| state.volume.id == "disk0/part2").unwrap();
    assert_eq!(boot.mounts, [&b"/boot"[..], b"/var/grub"]);
    assert_eq!(boot.opened.as_ref().unwrap().as_ref().unwrap().kind, "ext4");
    let found = tree.resolve(b"/boot/vmlinuz", Follow::All).unwrap();
    assert_eq!(tree.volume_of(found.node).unwrap().id, "disk0/part2");
    let mut content = [0; 10];
    assert_eq!(tree.read_at(found.node, 0, &mut content).unwrap(), 6);
    let synthetic = tree.resolve(b"/srv/missing", Follow::All).unwrap().node;
    assert!(tree.volume_of(synthetic).is_none());
    assert!(matches!(tree.read_at(synthetic, 0, &mut content), Err(Error::IsADirectory)));
    assert!(matches!(tree.readlink(synthetic), Err(Error::NotASymlink)));
    assert_eq!(tree.stat(synthetic).unwrap().mode, 0o555);
    assert_eq!(tree.xattrs(synthetic).unwrap(), []);
}

#[test]
fn a_volume_that_can_not_be_opened_fails_when_it_is_entered() {
    let (tree, _) = system();
    let broken = tree.lookup(tree.root(), b"broken").unwrap();
    assert_eq!(tree.stat(broken).unwrap().mode, 0o555, "it can be listed");
    for _ in 0..2 {
        let error = tree.readdir(broken, 0, &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(error.to_string(), "the superblock is damaged: broken");
    }
    assert_eq!(all(&tree, "/broken/x"), "/broken/x: the superblock is damaged: broken");
    assert_eq!(names(&tree, "/broken/inside"), ["reached"], "what stands below is there");
    assert!(tree.system().notes.iter().any(|note| note.contains("disk2") && note.contains("broken")));
    let seen = walked(&tree, "/broken", &sorted());
    assert_eq!(
        seen,
        ["/broken", "/broken/inside", "/broken/inside/reached", "/broken: the superblock is damaged: broken"]
    );
}

#[test]
fn many_threads_open_a_volume_once() {
    let (tree, opened) = system();
    let before = opened.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                assert_eq!(names(&tree, "/boot/efi"), ["EFI"]);
                assert_eq!(all(&tree, "/@volumes/disk9/data/abs"), "/@volumes/disk9/data/passwd");
            });
        }
    });
    assert_eq!(opened.load(Ordering::SeqCst), before + 1, "the EFI partition; others were looked at before");
}

#[test]
fn links_of_another_systems_volume_stay_in_it() {
    let (tree, _) = system();
    assert_eq!(all(&tree, "/boot/abs"), "/etc/os-release");
    assert_eq!(all(&tree, "/boot/up"), "/etc/os-release");
    assert_eq!(all(&tree, "/boot/efi/../../etc"), "/etc");
    assert_eq!(all(&tree, "/@volumes/disk9/data/abs"), "/@volumes/disk9/data/passwd");
    assert_eq!(all(&tree, "/@volumes/disk9/data/up"), "/etc/os-release", "up to the tree's root");
    assert_eq!(all(&tree, "/var/out/passwd"), "/@volumes/disk9/data/passwd");
}

#[test]
fn a_folder_can_be_read_from_any_position() {
    let (tree, _) = system();
    let root = tree.root();
    let mut entries = Vec::new();
    tree.readdir(root, 0, &mut |entry| {
        entries.push((entry.name.to_vec(), entry.next));
        ControlFlow::Continue(())
    })
    .unwrap();
    for (position, (name, next)) in entries.iter().enumerate() {
        assert!(*next > 0 && *next < i64::MAX as u64);
        assert!(tree.lookup(root, name).is_ok());
        let mut rest = Vec::new();
        tree.readdir(root, *next, &mut |entry| {
            rest.push((entry.name.to_vec(), entry.next));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(rest, entries[position + 1..]);
    }
}

#[test]
fn a_single_btrfs_shows_all_its_subvolumes() {
    let mut fs = Memory::new("btrfs");
    fs.subvolume("/@", 256);
    fs.file("/@/file", b"");
    fs.root = NodeId { tree: 256, inode: 256 };
    let tree = single(fs);
    assert_eq!(names(&tree, "/"), ["@"]);
    assert_eq!(names(&tree, "/@"), ["file"]);
}
