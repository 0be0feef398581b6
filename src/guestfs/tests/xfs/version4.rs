//! Version 4, which this kernel does not mount: filled while it is made, from a description of the tree, and by
//! `xfs_db`; compared with what went in, and found sound by `xfs_repair`.

use super::content::noise;
use super::{make, open};
use crate::compare::entries;
use crate::fixture::{can_mount, sh};
use guestfs::{FileKind, GuestFs, NodeId, Place};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// What a description puts into a tree, by path.
#[derive(Debug, Clone, PartialEq)]
enum Made {
    Folder(u32),
    File(u32, u32, Vec<u8>),
    Link(String),
    Device(FileKind, u32, u32),
}

/// A description of a tree for `mkfs.xfs -p`, and what has to be found then.
struct Description {
    text: String,
    made: BTreeMap<String, Made>,
    sources: std::path::PathBuf,
}

impl Description {
    fn file(&mut self, folder: &str, name: &str, owner: u32, content: Vec<u8>) {
        let source = self.sources.join(self.made.len().to_string());
        fs::write(&source, &content).unwrap();
        writeln!(self.text, "{name} -u-640 {owner} 7 {}", source.display()).unwrap();
        self.made.insert(format!("{folder}/{name}"), Made::File(0o4640, owner, content));
    }

    fn folder(&mut self, path: &str, fill: impl FnOnce(&mut Self)) {
        let name = path.rsplit('/').next().unwrap();
        writeln!(self.text, "{name} d--750 3 4").unwrap();
        self.made.insert(path.into(), Made::Folder(0o750));
        fill(self);
        writeln!(self.text, "$").unwrap();
    }
}

fn describe(sources: &Path) -> Description {
    let mut tree = Description {
        text: "/dev/null\n0 0\nd--755 0 0\n".into(),
        made: BTreeMap::new(),
        sources: sources.into(),
    };
    for size in [0usize, 1, 511, 512, 513, 4096, 70_000, 3 << 20] {
        tree.file("", &format!("of-{size}"), 1000, noise(size as u64, size));
    }
    for (name, count, length) in [("/few", 3, 5), ("/block", 12, 12), ("/leaf", 120, 30), ("/node", 2500, 60)]
    {
        tree.folder(name, |tree| {
            for index in 0..count {
                tree.file(name, &format!("{index:0length$}"), index, index.to_string().into_bytes());
            }
        });
    }
    tree.folder("/deep", |tree| {
        tree.folder("/deep/deeper", |tree| tree.folder("/deep/deeper/deepest", |_| {}))
    });
    for length in [1usize, 100, 150, 180, 400, 1000] {
        let target = "t".repeat(length);
        writeln!(tree.text, "link-{length} l--777 0 0 {target}").unwrap();
        tree.made.insert(format!("/link-{length}"), Made::Link(target));
    }
    writeln!(tree.text, "block-device b--600 0 0 8 17\nchar-device c--600 0 0 5 1\nfifo p--600 0 0").unwrap();
    tree.made.insert("/block-device".into(), Made::Device(FileKind::BlockDevice, 8, 17));
    tree.made.insert("/char-device".into(), Made::Device(FileKind::CharDevice, 5, 1));
    tree.made.insert("/fifo".into(), Made::Device(FileKind::Fifo, 0, 0));
    tree.text.push_str("$\n");
    tree
}

/// The tree as the reader shows it.
fn collect(fs: &dyn GuestFs, ftype: bool) -> BTreeMap<String, Made> {
    let mut all = BTreeMap::new();
    let mut waiting: Vec<(NodeId, String)> = vec![(fs.root(), String::new())];
    while let Some((folder, path)) = waiting.pop() {
        for (name, (node, kind)) in entries(fs, folder).unwrap() {
            assert_eq!(fs.lookup(folder, &name).unwrap(), node);
            let stat = fs.stat(node).unwrap();
            assert_eq!(kind, ftype.then_some(stat.kind), "of an entry");
            let path = format!("{path}/{}", String::from_utf8(name).unwrap());
            let made = match stat.kind {
                FileKind::Directory => {
                    waiting.push((node, path.clone()));
                    Made::Folder(stat.mode)
                }
                FileKind::File => {
                    let mut content = vec![0; stat.size as usize + 10];
                    let length = fs.read_at(node, 0, &mut content).unwrap();
                    content.truncate(length);
                    if length > 0 {
                        let run = fs.map(node, 0).unwrap().unwrap();
                        assert!(matches!(run.place, Place::Device(_)) && run.length <= stat.size);
                    }
                    Made::File(stat.mode, stat.uid, content)
                }
                FileKind::Symlink => Made::Link(String::from_utf8(fs.readlink(node).unwrap()).unwrap()),
                kind => {
                    let (major, minor) = stat.device.unwrap_or_default();
                    Made::Device(kind, major, minor)
                }
            };
            all.insert(path, made);
        }
    }
    all
}

/// `attributes` says whether `xfs_db` is able to add some: it ends with a signal where inodes have 256 bytes.
fn made_by_description(name: &str, options: &str, ftype: bool, attributes: bool) {
    if !can_mount(&["mkfs.xfs", "xfs_db", "xfs_repair"]) {
        return;
    }
    let folder = super::folder();
    let tree = describe(folder.path());
    let description = folder.path().join("description");
    fs::write(&description, &tree.text).unwrap();
    let image = make(folder.path(), name, &format!("-m crc=0 {options} -p {}", description.display()));
    let fs = open(&image);
    let number = |path: &str| {
        let node = path.split('/').fold(fs.root(), |node, name| fs.lookup(node, name.as_bytes()).unwrap());
        node.inode
    };
    // In the inode, in a leaf, in a tree of leaves, with a value of its own.
    let (few, leaf, many, large) = (number("of-1"), number("of-511"), number("of-512"), number("of-513"));
    let mut script =
        format!("inode {few}\nattr_set -u -v 20 one\nattr_set -r -v 5 two\nattr_set -s -v 1 three\n");
    for index in 0..8 {
        writeln!(script, "inode {leaf}\nattr_set -u -v 40 a-name-{index}").unwrap();
    }
    for index in 0..200 {
        writeln!(script, "inode {many}\nattr_set -u -v 100 a-longer-name-{index}").unwrap();
    }
    for size in [3000, 10_000, 65_536] {
        writeln!(script, "inode {large}\nattr_set -r -v {size} of-{size}").unwrap();
    }
    let commands = folder.path().join("commands");
    fs::write(&commands, script).unwrap();
    if attributes {
        sh(&format!("xfs_db -x {} < {} > /dev/null", image.display(), commands.display()));
    }
    sh(&format!("xfs_repair -n {} > /dev/null 2>&1", image.display()));

    let fs = open(&image);
    assert_eq!(fs.info().warnings, Vec::<String>::new());
    let found = collect(&*fs, ftype);
    assert_eq!(found.keys().collect::<Vec<_>>(), tree.made.keys().collect::<Vec<_>>());
    for (path, made) in &tree.made {
        assert!(found[path] == *made, "{path}");
    }
    if !attributes {
        return;
    }
    let xattrs = |number: u64| {
        let list = fs.xattrs(NodeId { tree: 0, inode: number }).unwrap();
        list.into_iter()
            .map(|xattr| {
                assert!(xattr.value.iter().all(|&byte| byte == b'v'));
                (String::from_utf8(xattr.name).unwrap(), xattr.value.len())
            })
            .collect::<BTreeMap<_, _>>()
    };
    let expected = [("user.one", 20), ("trusted.two", 5), ("security.three", 1)];
    assert_eq!(xattrs(few), expected.map(|(name, length)| (name.to_owned(), length)).into());
    assert_eq!(xattrs(leaf), (0..8).map(|index| (format!("user.a-name-{index}"), 40)).collect());
    assert_eq!(xattrs(many), (0..200).map(|index| (format!("user.a-longer-name-{index}"), 100)).collect());
    let expected = [3000, 10_000, 65_536].map(|size| (format!("trusted.of-{size}"), size));
    assert_eq!(xattrs(large), expected.into());
}

#[test]
fn version_4_with_the_smallest_blocks_and_inodes_and_the_old_log() {
    made_by_description("v4-small", "-b size=512 -i size=256,attr=1 -l version=1 -n ftype=0", false, false);
}

#[test]
fn version_4_with_blocks_of_1_kib() {
    made_by_description("v4-middle", "-b size=1024 -i size=512 -l version=1 -n ftype=0", false, true);
}

#[test]
fn version_4_with_types_in_folders_of_large_blocks() {
    made_by_description("v4-large", "-n size=16384,ftype=1 -i size=512", true, true);
}

#[test]
fn version_4_that_ignores_case() {
    if !can_mount(&["mkfs.xfs"]) {
        return;
    }
    let folder = super::folder();
    let mut tree = describe(folder.path());
    tree.text = tree.text.replace("of-4096 ", "Of-4096-ABC ");
    let description = folder.path().join("description");
    fs::write(&description, &tree.text).unwrap();
    let options = format!("-m crc=0 -n version=ci -p {}", description.display());
    let image = make(folder.path(), "v4-case", &options);
    let fs = open(&image);
    let exact = fs.lookup(fs.root(), b"Of-4096-ABC").unwrap();
    assert_eq!(fs.lookup(fs.root(), b"oF-4096-abc").unwrap(), exact);
    let node = fs.lookup(fs.root(), b"NODE").unwrap();
    assert!(fs.lookup(node, format!("{:060}", 7).as_bytes()).is_ok());
}
