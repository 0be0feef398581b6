//! Walks: complete, in order, bounded, and held in the middle.

use super::super::memory::Body;
use super::super::{Event, Step, Tree, WalkOptions};
use super::{Memory, single, sorted, system, told, volume, volumes, walked};
use crate::FileKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_walk_of_a_damaged_image_ends() {
    let mut fs = Memory::new("ext4");
    let root = fs.root;
    let loops = fs.dir("/loop");
    fs.link("/loop/self", loops);
    fs.link("/loop/root", root);
    // Thirty folders, each twice in the one above: 2³⁰ paths.
    let mut path = String::new();
    for level in 0..30 {
        let below = fs.dir(&format!("{path}/l{level}"));
        fs.link(&format!("{path}/r{level}"), below);
        path = format!("{path}/l{level}");
    }
    fs.put("/broken", Body::Broken);
    fs.put("/cut", Body::Cut(Vec::new()));
    fs.file("/cut/first", b"");
    fs.symlink("/link", "/loop");
    let tree = single(fs);
    let seen = walked(&tree, "/", &sorted());
    assert_eq!(
        seen[..8],
        [
            "/",
            "/broken: the node is damaged: broken on purpose",
            "/cut",
            "/cut/first",
            "/cut: the folder is damaged: cut on purpose",
            "/l0",
            "/l0/l1",
            "/l0/l1/l2"
        ]
    );
    assert_eq!(seen.iter().filter(|line| line.contains("it stands in two folders")).count(), 32);
    assert!(seen.contains(&"/link".to_owned()), "a link is seen, and not followed");
    assert_eq!(walked(&tree, "/", &WalkOptions { depth: Some(0), ..sorted() }), ["/"]);
    assert_eq!(
        walked(&tree, "/loop", &WalkOptions { depth: Some(1), ..sorted() }),
        ["/loop", "/loop/root", "/loop/self"]
    );
    let limited = walked(&tree, "/", &WalkOptions { max_folders: 3, ..sorted() });
    assert!(limited.iter().any(|line| line.contains("more than 3 folders")), "{limited:?}");
    let shallow = walked(&tree, "/", &WalkOptions { max_depth: 2, ..sorted() });
    assert!(shallow.iter().any(|line| line.contains("more than 2 deep")), "{shallow:?}");
}

#[test]
fn a_walk_goes_as_deep_as_its_bound_and_tells_more() {
    let mut fs = Memory::new("xfs");
    fs.file(&format!("{}/file", "/d".repeat(1100)), b"");
    let tree = single(fs);
    let seen = walked(&tree, "/", &sorted());
    assert_eq!(seen.len(), 1 + 1024 + 1);
    assert!(seen.last().unwrap().ends_with("/d: folders are more than 1024 deep"));
}

#[test]
fn a_walk_takes_large_folders_in_parts_and_sorts_when_asked() {
    let mut fs = Memory::new("xfs");
    for number in (0..3000).rev() {
        fs.file(&format!("/dir/{number:04}"), b"");
    }
    fs.file("/dir-first", b"");
    let tree = single(fs);
    let seen = walked(&tree, "/", &sorted());
    assert_eq!(seen.len(), 3003);
    assert_eq!(seen[..3], ["/", "/dir", "/dir/0000"]);
    assert!(seen[2..3002].is_sorted());
    let unsorted = walked(&tree, "/", &WalkOptions::default());
    assert_eq!((unsorted.len(), &unsorted[2][..], &unsorted[3001][..]), (3003, "/dir/2999", "/dir/0000"));
    let root = tree.root();
    let mut count = 0;
    let ended = tree.walk(b"/", root, &sorted(), &mut |event| {
        count += 1;
        match event {
            Event::Entry(entry) if entry.name == b"dir" => {
                assert_eq!((entry.depth, entry.kind), (1, FileKind::Directory));
                assert_eq!(entry.stat().unwrap().kind, FileKind::Directory);
                Step::Over
            }
            Event::Entry(entry) if entry.name == b"dir-first" => Step::Stop,
            _ => Step::Into,
        }
    });
    assert!(!ended);
    assert_eq!(count, 3);
}

#[test]
fn a_walk_goes_by_what_a_file_is_and_not_by_what_its_folder_says() {
    let mut fs = Memory::new("ext4");
    fs.file("/folder/inside", b"");
    fs.lies.insert(b"folder".to_vec());
    let tree = single(fs);
    let mut seen = Vec::new();
    tree.walk(b"/", tree.root(), &sorted(), &mut |event| {
        if let Event::Entry(entry) = &event {
            entry.stat().unwrap();
        }
        seen.push(told(event));
        Step::Into
    });
    assert_eq!(seen, ["/", "/folder", "/folder/inside"]);
}

#[test]
fn a_walk_crosses_into_volumes_as_it_is_asked() {
    let (tree, _) = system();
    let everything = walked(&tree, "/", &sorted());
    for path in [
        "/boot/efi/EFI/BOOT.EFI",
        "/srv/missing/deep/file",
        "/@volumes/disk9/data/passwd",
        "/var/grub/grub.cfg",
    ] {
        assert!(everything.contains(&path.to_owned()), "{path}");
    }
    assert!(!everything.contains(&"/boot/hidden".to_owned()));
    let own = walked(&tree, "/", &WalkOptions { other_volumes: false, ..sorted() });
    assert!(
        own.contains(&"/boot/vmlinuz".to_owned()) && !own.iter().any(|path| path.starts_with("/@volumes"))
    );
    // A disk that no system mounts anywhere: what it holds is all that there is.
    let mut data = Memory::new("ext4");
    data.file("/folder/file", b"");
    let tree = Tree::from_volumes(volumes(vec![(volume("disk0", "ext4", None, None), Ok(data))]).0);
    let all = walked(&tree, "/", &WalkOptions { other_volumes: false, ..sorted() });
    assert!(all.contains(&"/@volumes/disk0/folder/file".to_owned()), "{all:?}");
    let (tree, _) = system();
    let one = walked(&tree, "/", &WalkOptions { cross_mounts: false, ..sorted() });
    assert!(one.contains(&"/boot".to_owned()) && !one.contains(&"/boot/vmlinuz".to_owned()));
}

/// A tree of `folders` folders of ten files each, and how many entries were read of it.
fn counted(folders: usize) -> (Tree, Arc<AtomicUsize>) {
    let mut fs = Memory::new("ext4");
    for folder in 0..folders {
        for file in 0..10 {
            fs.file(&format!("/a/{folder:04}/{file}"), b"");
        }
    }
    fs.put("/a/0050/broken", Body::Broken);
    fs.put("/b", Body::Cut(Vec::new()));
    fs.file("/b/first", b"");
    let read = Arc::clone(&fs.listed);
    (single(fs), read)
}

#[test]
fn a_walk_that_is_held_goes_on_where_it_was_and_reads_nothing_twice() {
    let (tree, read) = counted(300);
    let whole = walked(&tree, "/", &sorted());
    let once = read.swap(0, Ordering::SeqCst);
    assert!(once > 3300, "{once}");
    for page in [1, 7, 100] {
        let mut walk = tree.begin_walk(b"/", tree.root(), &sorted());
        let mut seen = Vec::new();
        let (mut ended, mut largest) = (false, 0);
        while !ended {
            let before = read.load(Ordering::SeqCst);
            let mut left = page;
            // What is held is all there is of it: a copy goes the same way.
            walk = walk.clone();
            ended = walk.go_on(&tree, &mut |event| {
                seen.push(told(event));
                left -= 1;
                if left == 0 { Step::Hold } else { Step::Into }
            });
            largest = largest.max(read.load(Ordering::SeqCst) - before);
        }
        assert_eq!(seen, whole, "pages of {page}");
        assert_eq!(read.swap(0, Ordering::SeqCst), once, "all pages together read what one walk does");
        // The folder of three hundred, and then those that the page is of.
        assert!(largest <= 310 + 2 * page + 20, "a page of {page} read {largest} entries");
    }
}
