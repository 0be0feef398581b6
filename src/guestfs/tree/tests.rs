//! Tests of trees, over file systems in memory: nothing leaves a tree, and everything ends.

mod containment;
mod glob;
mod mounts;
mod walk;

use super::memory::{Memory, volume, volumes};
use super::{Event, Follow, Match, PathError, Step, Tree, WalkOptions};
use crate::Error;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// The tree of one volume.
pub(super) fn single(fs: Memory) -> Tree {
    Tree::of_one(volumes(vec![(volume("disk0", fs.info.kind, None, None), Ok(fs))]).0, "disk0").unwrap()
}

/// What a path is resolved to: the canonical path, or the error with the component.
fn resolved(tree: &Tree, path: impl AsRef<[u8]>, follow: Follow) -> String {
    match tree.resolve(path.as_ref(), follow) {
        Ok(found) => String::from_utf8_lossy(&found.path).into_owned(),
        Err(error) => error.to_string(),
    }
}

fn all(tree: &Tree, path: impl AsRef<[u8]>) -> String {
    resolved(tree, path, Follow::All)
}

fn names(tree: &Tree, path: &str) -> Vec<String> {
    let dir = tree.resolve(path.as_bytes(), Follow::All).unwrap().node;
    let mut names = Vec::new();
    tree.readdir(dir, 0, &mut |entry| {
        names.push(String::from_utf8_lossy(entry.name).into_owned());
        ControlFlow::Continue(())
    })
    .unwrap();
    names
}

fn walked(tree: &Tree, path: &str, options: &WalkOptions) -> Vec<String> {
    let found = tree.resolve(path.as_bytes(), Follow::All).unwrap();
    let mut seen = Vec::new();
    let ended = tree.walk(&found.path, found.node, options, &mut |event| {
        seen.push(told(event));
        assert!(seen.len() < 100_000, "no end");
        Step::Into
    });
    assert!(ended);
    seen
}

/// A walk's event in a line.
fn told(event: Event<'_>) -> String {
    match event {
        Event::Entry(entry) => String::from_utf8_lossy(entry.path).into_owned(),
        Event::Failed { path, error } => format!("{}: {error}", String::from_utf8_lossy(path)),
    }
}

fn sorted() -> WalkOptions {
    WalkOptions { sorted: true, ..WalkOptions::default() }
}

fn globbed(tree: &Tree, pattern: &str) -> Vec<String> {
    tree.glob(pattern.as_bytes())
        .map(|found| {
            if let Ok(found) = &found {
                assert!(tree.resolve(&found.found.path, Follow::AllButLast).unwrap() == found.found);
            }
            shown(found)
        })
        .collect()
}

/// A match in a line.
fn shown(found: Result<Match, PathError>) -> String {
    match found {
        Ok(found) => String::from_utf8_lossy(&found.path).into_owned(),
        Err(error) => error.to_string(),
    }
}

/// A root with `/boot` of its own, a mount point that is missing, and one volume that nobody names.
fn system() -> (Tree, Arc<AtomicUsize>) {
    let mut root = Memory::new("ext4");
    root.file("/etc/os-release", b"PRETTY_NAME=Test");
    root.file(
        "/etc/fstab",
        b"UUID=r / ext4\nUUID=e /boot/efi vfat\nUUID=b /boot ext4\nUUID=m /srv/missing/deep ext4\nUUID=x /broken ext4\n\
          UUID=i /broken/inside ext4\nUUID=l /links/here ext4\n/etc /var/etc none bind\n/boot/grub /var/grub none bind\n",
    );
    root.dir("/bin");
    root.file("/boot/hidden", b"under the mount");
    root.file("/srv/file", b"");
    root.dir("/broken/inside");
    root.dir("/target/here");
    root.symlink("/links", "/target");
    root.dir("/var/etc");
    root.symlink("/var/out", "/@volumes/disk9/data");
    root.file("/@volumes/fake", b"the guest's own");
    let mut boot = Memory::new("ext4");
    boot.file("/vmlinuz", b"kernel");
    boot.dir("/efi/old");
    boot.file("/grub/grub.cfg", b"");
    boot.symlink("/abs", "/etc/os-release");
    boot.symlink("/up", "../etc/os-release");
    let mut efi = Memory::new("vfat");
    efi.ignores_case = true;
    efi.file("/EFI/BOOT.EFI", b"");
    let mut other = Memory::new("ext4");
    other.file("/data/passwd", b"its own");
    other.symlink("/data/abs", "/data/passwd");
    other.symlink("/data/up", "../../../etc/os-release");
    let mut links = Memory::new("ext4");
    links.file("/found", b"");
    let mut inside = Memory::new("ext4");
    inside.file("/reached", b"");
    let mut missing = Memory::new("ext4");
    missing.file("/file", b"");
    let (volumes, opened) = volumes(vec![
        (volume("disk0/part1", "vfat", None, Some("e")), Ok(efi)),
        (volume("disk0/part2", "ext4", None, Some("b")), Ok(boot)),
        (volume("disk0/part3", "ext4", None, Some("r")), Ok(root)),
        (volume("disk1", "ext4", None, Some("m")), Ok(missing)),
        (volume("disk2", "ext4", None, Some("x")), Err(Error::corrupt("the superblock", "broken"))),
        (volume("disk3", "ext4", None, Some("i")), Ok(inside)),
        (volume("disk4", "ext4", None, Some("l")), Ok(links)),
        (volume("disk9", "ext4", None, Some("o")), Ok(other)),
    ]);
    (Tree::from_volumes(volumes), opened)
}
