//! Paths: links and dots lead nowhere but into the tree.

use super::super::memory::Body;
use super::super::{Follow, MAX_NAME, MAX_PATH, MAX_TARGET};
use super::{Memory, all, resolved, single};
use crate::{Error, FileKind};
use proptest::prelude::*;

#[test]
fn dots_and_links_never_lead_above_the_root() {
    let mut fs = Memory::new("ext4");
    fs.file("/etc/passwd", b"guest");
    fs.symlink("/abs", "/etc/passwd");
    fs.symlink("/up", "../../../../etc/passwd");
    fs.symlink("/a/b/up", "../../../../../etc");
    fs.symlink("/a/b/root", "/");
    fs.symlink("/a/b/dots", "..");
    fs.symlink("/proc-trick", "/proc/self/root/etc/passwd");
    fs.symlink("/dangling", "/nowhere/else");
    fs.dir("/a/c");
    fs.put("/dev/null", Body::Other(FileKind::CharDevice));
    let tree = single(fs);
    for (path, expected) in [
        ("/dev/null", "/dev/null"),
        ("/dev/null/x", "/dev/null: not a folder"),
        ("/../../..", "/"),
        ("..", "/"),
        ("", "/"),
        ("/", "/"),
        ("/../etc/./../../etc//passwd", "/etc/passwd"),
        ("/abs", "/etc/passwd"),
        ("abs", "/etc/passwd"),
        ("/up", "/etc/passwd"),
        ("/a/b/up/passwd", "/etc/passwd"),
        ("/a/b/root/../../etc", "/etc"),
        ("/a/b/dots/c", "/a/c"),
        ("/a/b/dots/../etc", "/etc"),
        ("/proc-trick", "/proc: no such file or folder"),
        ("/dangling", "/nowhere: no such file or folder"),
        ("/etc/passwd/", "/etc/passwd: not a folder"),
        ("/etc/passwd/..", "/etc/passwd: not a folder"),
        ("/etc/passwd/.", "/etc/passwd: not a folder"),
        ("/abs/", "/etc/passwd: not a folder"),
        ("/missing/../etc", "/missing: no such file or folder"),
        ("/etc/pass\0wd", "/etc/pass\0wd: no such file or folder"),
    ] {
        assert_eq!(all(&tree, path), expected, "{path}");
    }
    for (path, expected) in [
        ("/abs", "/abs"),
        ("/dangling", "/dangling"),
        ("/a/b/up", "/a/b/up"),
        ("/a/b/up/", "/etc"),
        ("/a/b/root/abs", "/abs"),
    ] {
        assert_eq!(resolved(&tree, path, Follow::AllButLast), expected, "{path}");
    }
    assert_eq!(tree.parent(b"/a/b/up").unwrap().path, b"/a/b");
    assert_eq!(tree.parent(b"/a/b/up/passwd").unwrap().path, b"/etc");
    assert_eq!(tree.parent(b"/").unwrap().path, b"/");
    assert_eq!(tree.parent(b"/etc").unwrap().path, b"/");
}

#[test]
fn links_paths_and_names_are_bounded() {
    let mut fs = Memory::new("ext4");
    fs.symlink("/self", "self");
    fs.symlink("/ping", "pong");
    fs.symlink("/pong", "/ping");
    fs.symlink("/tail", "tail/tail/tail");
    fs.file("/end", b"");
    for link in 0..50 {
        let target = if link == 0 { "end".to_owned() } else { format!("chain{}", link - 1) };
        fs.symlink(&format!("/chain{link}"), &target);
    }
    fs.symlink("/empty", "");
    fs.symlink("/long", &"./".repeat(MAX_TARGET));
    let loops = fs.dir("/loop");
    fs.link("/loop/in", loops);
    let tree = single(fs);
    for path in ["/self", "/ping", "/tail", "/chain40", "/chain49", "/self/x"] {
        assert!(all(&tree, path).contains("more than 40 symbolic links"), "{path}");
    }
    assert_eq!(all(&tree, "/chain39"), "/end");
    assert_eq!(all(&tree, "/empty"), "/empty: no such file or folder");
    assert!(all(&tree, "/long").contains("target is longer"));
    assert!(all(&tree, "/x".repeat(MAX_PATH)).contains("the path is longer"));
    assert!(all(&tree, "x".repeat(MAX_NAME + 1)).contains("the name is longer"));
    // A folder that contains itself is as long as the path.
    let deep = format!("/loop{}", "/in".repeat(1000));
    assert_eq!(all(&tree, &deep), deep);
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0"] {
        assert!(matches!(tree.lookup(tree.root(), name), Err(Error::NotFound)), "{name:?}");
    }
}

/// A shape of a tree: names in folders that were made before.
#[derive(Debug, Clone)]
enum Made {
    Folder,
    File,
    Link(String),
}

fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "..", ".", ""]), 0..7).prop_flat_map(
        |names| {
            let joined = names.join("/");
            prop_oneof![Just(joined.clone()), Just(format!("/{joined}")), Just(format!("{joined}/"))]
        },
    )
}

fn made() -> impl Strategy<Value = Vec<(usize, &'static str, Made)>> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let what = prop_oneof![
        3 => Just(Made::Folder),
        1 => Just(Made::File),
        3 => paths().prop_filter("a link has a target", |path| !path.is_empty()).prop_map(Made::Link),
    ];
    prop::collection::vec((0usize..8, name, what), 0..14)
}

#[test]
fn a_slash_at_the_end_of_a_links_target_asks_nothing_of_what_comes_behind_the_link() {
    let mut fs = Memory::new("ext4");
    fs.dir("/srv");
    fs.file("/srv/page", b"");
    fs.symlink("/www", "srv/");
    let tree = single(fs);
    for follow in [Follow::All, Follow::AllButLast] {
        assert_eq!(tree.resolve(b"/www/page", follow).unwrap().path, b"/srv/page");
        assert!(tree.resolve(b"/www/page/", follow).is_err(), "a file is no folder");
    }
}

proptest! {
    /// The kernel's `openat2` with `RESOLVE_IN_ROOT` is the model.
    #[test]
    fn paths_lead_where_the_kernel_would_lead_them(
        made in made(),
        asked in prop::collection::vec((paths(), any::<bool>()), 1..12),
    ) {
        use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
        let real = tempfile::tempdir().unwrap();
        let top = real.path().canonicalize().unwrap();
        let mut fs = Memory::new("ext4");
        let mut folders = vec![String::new()];
        for (parent, name, what) in made {
            let path = format!("{}/{name}", folders[parent % folders.len()]);
            let at = top.join(&path[1..]);
            if at.symlink_metadata().is_ok() {
                continue;
            }
            match what {
                Made::Folder => {
                    std::fs::create_dir(&at).unwrap();
                    fs.dir(&path);
                    folders.push(path);
                }
                Made::File => {
                    std::fs::write(&at, b"").unwrap();
                    fs.file(&path, b"");
                }
                Made::Link(target) => {
                    std::os::unix::fs::symlink(&target, &at).unwrap();
                    fs.symlink(&path, &target);
                }
            }
        }
        let tree = single(fs);
        let root = std::fs::File::open(&top).unwrap();
        for (path, follow) in asked {
            // The kernel has no empty path; ours is the root.
            let path = if path.is_empty() { "/".to_owned() } else { path };
            let flags = OFlags::PATH | if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
            let theirs = match openat2(&root, &path, flags, Mode::empty(), ResolveFlags::IN_ROOT) {
                Ok(file) => {
                    use std::os::fd::AsRawFd;
                    let at = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
                    format!("/{}", at.strip_prefix(&top).unwrap().display())
                }
                Err(rustix::io::Errno::NOENT) => "not found".into(),
                Err(rustix::io::Errno::NOTDIR) => "not a folder".into(),
                Err(rustix::io::Errno::LOOP) => "a loop".into(),
                Err(other) => panic!("{path}: {other}"),
            };
            let follow = if follow { Follow::All } else { Follow::AllButLast };
            let ours = match tree.resolve(path.as_bytes(), follow) {
                Ok(found) => {
                    // A canonical path leads to itself.
                    prop_assert_eq!(&tree.resolve(&found.path, Follow::AllButLast).unwrap(), &found);
                    String::from_utf8(found.path).unwrap()
                }
                Err(error) => match error.source {
                    Error::NotFound => "not found".into(),
                    Error::NotADirectory => "not a folder".into(),
                    Error::Limit(_) => "a loop".into(),
                    other => panic!("{path}: {other}"),
                },
            };
            prop_assert_eq!(ours, theirs, "{} {:?}", path, follow);
        }
    }
}
