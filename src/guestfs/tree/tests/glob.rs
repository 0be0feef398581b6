//! Patterns.

use super::super::is_pattern;
use super::super::memory::Body;
use super::{Memory, globbed, shown, single};
use std::sync::Arc;
use std::sync::atomic::Ordering;

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
fn a_pattern_that_is_held_goes_on_where_it_was_and_reads_nothing_twice() {
    let mut fs = Memory::new("xfs");
    for folder in 0..200 {
        fs.file(&format!("/{folder:03}/wanted"), b"");
        fs.file(&format!("/{folder:03}/other"), b"");
    }
    fs.put("/100/cut", Body::Cut(Vec::new()));
    fs.symlink("/link", "/007");
    let read = Arc::clone(&fs.listed);
    let tree = single(fs);
    for pattern in
        ["/**/wanted", "/*/w*", "/**", "/0[0-4]?/*", "/*/wanted", "/link/*", "/none*", "/007/wanted"]
    {
        read.store(0, Ordering::SeqCst);
        let whole = globbed(&tree, pattern);
        let once = read.swap(0, Ordering::SeqCst);
        let (mut seen, mut held) = (Vec::new(), tree.glob(pattern.as_bytes()).hold());
        loop {
            let mut glob = tree.glob_on(held.clone());
            let before = seen.len();
            seen.extend(glob.by_ref().take(7).map(shown));
            if seen.len() == before {
                break;
            }
            held = glob.hold();
        }
        assert_eq!(seen, whole, "{pattern}");
        assert_eq!(read.load(Ordering::SeqCst), once, "{pattern}");
    }
}
