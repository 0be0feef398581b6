//! Tests: nothing leaves a tree, and everything ends.

use super::memory::{Body, Memory, volume, volumes};
use super::{Event, Follow, MAX_NAME, MAX_PATH, MAX_TARGET, Step, Tree, WalkOptions, is_pattern};
use crate::{Error, FileKind, NodeId};
use proptest::prelude::*;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

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
        seen.push(match event {
            Event::Entry(entry) => String::from_utf8_lossy(entry.path).into_owned(),
            Event::Failed { path, error } => format!("{}: {error}", String::from_utf8_lossy(path)),
        });
        assert!(seen.len() < 100_000, "no end");
        Step::Into
    });
    assert!(ended);
    seen
}

fn sorted() -> WalkOptions {
    WalkOptions { sorted: true, ..WalkOptions::default() }
}

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

/// A root with `/boot` of its own, a mount point that is missing, and one volume that nobody names.
fn system() -> (Tree, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
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
    let one = walked(&tree, "/", &WalkOptions { cross_mounts: false, ..sorted() });
    assert!(one.contains(&"/boot".to_owned()) && !one.contains(&"/boot/vmlinuz".to_owned()));
}

fn globbed(tree: &Tree, pattern: &str) -> Vec<String> {
    tree.glob(pattern.as_bytes())
        .map(|found| match found {
            Ok(found) => {
                assert!(tree.resolve(&found.found.path, Follow::AllButLast).unwrap() == found.found);
                String::from_utf8_lossy(&found.path).into_owned()
            }
            Err(error) => error.to_string(),
        })
        .collect()
}

#[test]
fn patterns_name_files() {
    let mut fs = Memory::new("ext4");
    for path in
        ["/usr/bin/ls", "/usr/bin/cat", "/usr/lib/a/x.so", "/usr/lib/b/c/y.so", "/home/u/.rc", "/home/u/[x]"]
    {
        fs.file(path, b"");
    }
    fs.symlink("/bin", "usr/bin");
    fs.symlink("/home/u/bin", "/usr/bin");
    fs.symlink("/home/u/away", "../../../..");
    let tree = single(fs);
    for (pattern, expected) in [
        ("/usr/bin/*", &["/usr/bin/cat", "/usr/bin/ls"][..]),
        ("usr/*/ls", &["/usr/bin/ls"]),
        ("/bin/l?", &["/bin/ls"]),
        ("/b*/cat", &["/bin/cat"]),
        ("/**/*.so", &["/usr/lib/a/x.so", "/usr/lib/b/c/y.so"]),
        ("/usr/**/c/**", &["/usr/lib/b/c/y.so"]),
        (
            "/usr/lib/**",
            &["/usr/lib/a", "/usr/lib/a/x.so", "/usr/lib/b", "/usr/lib/b/c", "/usr/lib/b/c/y.so"],
        ),
        ("/**/**/ls", &["/usr/bin/ls"]),
        ("/home/*/*", &["/home/u/.rc", "/home/u/[x]", "/home/u/away", "/home/u/bin"]),
        ("/home/*/*/", &["/home/u/away", "/home/u/bin"]),
        ("/home/*/\\[x\\]", &["/home/u/[x]"]),
        ("/home/u/\\[x\\]", &["/home/u/[x]"]),
        ("/home/u/[[]x]", &["/home/u/[x]"]),
        ("/home/*/bin/ls", &["/home/u/bin/ls"]),
        ("/home/u/../*/.rc", &["/home/u/.rc"]),
        ("/nothing/*", &[]),
        ("/usr/*/nothing", &[]),
        ("/usr/bin/ls/*", &[]),
        ("/usr/bin/ls", &["/usr/bin/ls"]),
        ("/bin", &["/bin"]),
        ("/bin/", &["/bin"]),
        ("/", &["/"]),
        ("/../usr/bin/../bin/ls", &["/usr/bin/ls"]),
        ("/nothing", &["/nothing: no such file or folder"]),
        ("/*/../x", &[": `..` after a wildcard is not supported"]),
    ] {
        assert_eq!(globbed(&tree, pattern), expected, "{pattern}");
    }
    assert!(globbed(&tree, &"/*".repeat(200))[0].contains("more than 127 components"));
    assert_eq!(globbed(&tree, &format!("/nothing{}", "/*".repeat(127))), [] as [&str; 0]);
    assert!(is_pattern(b"/a*") && !is_pattern(b"/a"));
    // What a link leads to keeps its own path.
    let found = tree.glob(b"/b*/ls").next().unwrap().unwrap();
    assert_eq!((&found.path[..], &found.found.path[..]), (&b"/bin/ls"[..], &b"/usr/bin/ls"[..]));
}

#[test]
fn patterns_end_on_damaged_images() {
    let mut fs = Memory::new("ext4");
    let loops = fs.dir("/loop");
    fs.link("/loop/self", loops);
    fs.file("/loop/file", b"");
    fs.symlink("/loop/link", "/loop");
    fs.put("/broken", Body::Broken);
    let tree = single(fs);
    let found = globbed(&tree, "/**");
    assert!(found.len() < 20, "{found:?}");
    assert!(found.iter().any(|line| line.contains("stands in itself")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("broken on purpose")), "{found:?}");
    assert_eq!(
        globbed(&tree, "/loop/*/*/*/file"),
        [
            "/loop/link/link/link/file",
            "/loop/link/link/self/file",
            "/loop/link/self/link/file",
            "/loop/link/self/self/file",
            "/loop/self/link/link/file",
            "/loop/self/link/self/file",
            "/loop/self/self/link/file",
            "/loop/self/self/self/file",
        ]
    );
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
