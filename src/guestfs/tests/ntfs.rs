//! NTFS against ntfs-3g, which fills the images and shows the truth; this kernel has no driver of its own.

use crate::compare::{self, Compared, Count};
use crate::fixture::{can_mount, sh};
use guestfs::{Device, Error, FileDevice, FileKind, GuestFs, MemoryDevice, NodeId, OpenOptions, Place, ntfs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

mod hostile;
mod log;
mod logfile;
mod wof;

const PROGRAMS: [&str; 2] = ["mkntfs", "ntfs-3g"];

/// An image under construction, in a folder of its own.
struct Image {
    folder: TempDir,
    path: PathBuf,
}

impl Image {
    /// An empty volume of `size` (as `truncate` takes it), as `mkntfs` makes it with `options`.
    #[track_caller]
    fn new(size: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.img");
        let shown = path.display();
        sh(&format!("truncate -s {size} {shown}; mkntfs -q -F -Q -p 0 -H 0 -S 0 {options} {shown} 2>&1"));
        Image { folder, path }
    }

    /// Runs a script in the root of the volume, mounted with `options`.
    #[track_caller]
    fn fill(&self, options: &str, script: &str) -> &Self {
        let mounted = Served::new(self, options);
        sh(&format!("cd {}\n{script}", mounted.at.display()));
        self
    }

    fn device(&self) -> Device {
        Arc::new(FileDevice::open(&self.path).unwrap())
    }

    #[track_caller]
    fn open(&self) -> Arc<dyn GuestFs> {
        ntfs::open(self.device(), &OpenOptions::default()).unwrap()
    }

    /// Everything of it must be as ntfs-3g shows it.
    #[track_caller]
    fn assert_same(&self) -> Count {
        self.assert_same_but(Compared { accessed: true, ..Compared::default() })
    }

    #[track_caller]
    fn assert_same_but(&self, what: Compared) -> Count {
        let mounted = Served::new(self, "ro");
        compare::assert_same(&*self.open(), &*self.device(), &mounted.at, what)
    }
}

/// A volume that ntfs-3g serves, until it is dropped.
struct Served {
    at: PathBuf,
    process: Child,
}

impl Served {
    #[track_caller]
    fn new(image: &Image, options: &str) -> Self {
        let at = image.folder.path().join("mounted");
        fs::create_dir_all(&at).unwrap();
        let options = format!("no_detach,noatime,umask=022,{options}");
        let process = Command::new("ntfs-3g")
            .args(["-o", options.trim_end_matches(',')])
            .args([&image.path, &at])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut served = Served { at, process };
        let since = Instant::now();
        while !is_mounted(&served.at) {
            assert!(since.elapsed() < Duration::from_secs(20), "ntfs-3g does not come up");
            let ended = served.process.try_wait().unwrap();
            assert!(ended.is_none(), "ntfs-3g ended: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        served
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == at.to_str())
}

impl Drop for Served {
    fn drop(&mut self) {
        // Something that a script left behind may be in it for a moment.
        for _ in 0..100 {
            if Command::new("umount").arg(&self.at).status().is_ok_and(|status| status.success()) {
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The node at a path with `/` between its names.
#[track_caller]
fn node(fs: &dyn GuestFs, path: &str) -> NodeId {
    path.split('/').fold(fs.root(), |dir, name| fs.lookup(dir, name.as_bytes()).unwrap())
}

#[track_caller]
fn content(fs: &dyn GuestFs, node: NodeId) -> Vec<u8> {
    let mut bytes = vec![0; fs.stat(node).unwrap().size as usize];
    assert_eq!(fs.read_at(node, 0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// Files of all forms, a few of each.
const FILL: &str = r#"
mkdir -p folder/in/folder empty
: > none
echo hello > hello
head -c 600 /dev/urandom > "in the record or not"
head -c 5001 /dev/urandom > folder/some
head -c 1300007 /dev/urandom > folder/in/much
ln hello folder/linked
ln hello "folder/linked again"
truncate -s 3M hole
truncate -s 900000 hole-and-data; echo end >> hole-and-data; echo middle | dd of=hole-and-data bs=1 seek=400000 conv=notrunc status=none
setfattr -n user.short -v value hello
setfattr -n user.long -v $(printf 'x%.0s' $(seq 3000)) hello
setfattr -n user.on-folder -v yes folder
touch -d '1931-05-06 07:08:09' folder/some   # ntfs-3g gives parts of seconds before 1970 to the kernel as negative ones
touch -d '2140-01-02 03:04:05.5' none
touch -d '1605-01-02' empty
for n in $(seq 60); do echo $n > "empty/a rather long name of a file, so that there are blocks $n"; done
"#;

#[test]
fn every_size_of_clusters_and_sectors_reads_as_ntfs_3g_shows_it() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut sizes: Vec<String> = (9..=21).map(|bits| format!("-s 512 -c {}", 1 << bits)).collect();
    sizes.extend(["-s 4096 -c 4096".into(), "-s 4096 -c 65536".into(), "-s 1024 -c 2048".into()]);
    for options in sizes {
        // Large clusters need a large volume for the log to have its least size.
        let large = ["-c 1048576", "-c 2097152"].iter().any(|size| options.ends_with(size));
        let image = Image::new(if large { "6G" } else { "300M" }, &options);
        let count = image.fill("", FILL).assert_same();
        assert_eq!((count.files, count.directories, count.xattrs), (69, 5, 7), "{options}");
        assert!(count.bytes > 1_300_000 && count.holes > 3_000_000, "{options}: {count:?}");
    }
}

#[test]
fn compressed_files_read_as_ntfs_3g_shows_them() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    // The largest clusters that can be compressed, and the smallest.
    for cluster in [4096, 512] {
        let image = Image::new("100M", &format!("-c {cluster} -C"));
        let count = image
            .fill(
                "compression",
                r#"
seq 200000 > text
head -c 3000000 /dev/urandom > noise
# Units of each kind after another: compressed, stored, nothing, a short last one.
(seq 20000; head -c 200000 /dev/urandom; head -c 300000 /dev/zero; seq 3000; head -c 5 /dev/urandom) > mixed
truncate -s 5M holes; seq 30000 > part; dd if=part of=holes bs=64k oflag=seek_bytes seek=1000000 conv=notrunc status=none; rm part
(for n in $(seq 3000); do printf 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%d' $((n % 7)); done) > repeated
(seq 9000; head -c 70000 /dev/zero) > ends-in-zeros
for n in $(seq 4); do seq $n 30000 >> grown; seq 100 >> grown-too; done
head -c 4096 text > one-chunk; head -c 4097 text > one-chunk-more; head -c 65536 text > one-unit; head -c 65537 text > one-unit-more
"#,
            )
            .assert_same();
        assert_eq!(count.files, 12);
        let fs = image.open();
        let [mut hole, mut inside, mut device] = [0; 3];
        for name in ["text", "noise", "mixed", "repeated"] {
            let (node, mut offset) = (node(&*fs, name), 0);
            while let Some(run) = fs.map(node, offset).unwrap() {
                match run.place {
                    Place::Hole => hole += run.length,
                    Place::Inside => inside += run.length,
                    Place::Device(_) => device += run.length,
                }
                offset += run.length;
            }
        }
        assert!(hole > 200_000 && inside > 1_000_000 && device > 3_000_000, "{hole} {inside} {device}");
        // Through the cache of units, at odd places.
        let text = node(&*fs, "text");
        let whole = content(&*fs, text);
        for offset in (0..whole.len()).step_by(70_001) {
            let mut part = [0; 5000];
            let length = fs.read_at(text, offset as u64, &mut part).unwrap();
            assert_eq!(part[..length], whole[offset..(offset + 5000).min(whole.len())]);
        }
    }
}

#[test]
fn a_sparse_file_of_5_gib_and_what_was_never_written() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("300M", "");
    let count = image
        .fill(
            "",
            r#"
truncate -s 5G huge
echo here | dd of=huge bs=1 seek=4294967297 conv=notrunc status=none
truncate -s 6000000 tail; echo data | dd of=tail bs=1 conv=notrunc status=none
"#,
        )
        .assert_same();
    assert_eq!((count.files, count.holes >> 20), (2, 5125));
    // Allocated but not initialised: ntfsfallocate and a shortened initialised size.
    let script = "for n in 1 2 3 4; do head -c 100000 /dev/urandom > file$n; sync; done";
    image.fill("", script);
    sh(&format!("ntfsfallocate -f -l 3000000 {} file2 > /dev/null 2>&1", image.path.display()));
    image.assert_same();
}

#[test]
fn streams_are_attributes_and_files() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("100M", "");
    image.fill(
        "",
        r#"
mkdir folder; echo main > file; echo main > folder/file; echo plain > 'with:colon'
setfattr -n user.small -v 'a small one' file
setfattr -n user.Größe -v 'not ASCII' file
setfattr -n user.of-folder -v 'of a folder' folder
setfattr -n user.of-root -v 'of the root' .
setfattr -n user.full -v "$(head -c 60000 /dev/zero | tr '\0' q)" file
setfattr -n user.empty file
"#,
    );
    // Streams of more than an attribute may have, through the other interface of ntfs-3g.
    image.fill(
        "streams_interface=windows",
        "head -c 3000000 /dev/urandom > file:large; seq 9000 > folder/file:many; head -c 65537 /dev/zero > file:one-more",
    );
    let listed = image.fill("", "rm -f none");
    let fs = listed.open();
    let names = |path: &str| -> Vec<String> {
        let mut names: Vec<String> = fs
            .xattrs(node(&*fs, path))
            .unwrap()
            .into_iter()
            .map(|xattr| String::from_utf8(xattr.name).unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("file"), ["user.Größe", "user.empty", "user.full", "user.small"]);
    assert_eq!(names("folder/file"), ["user.many"]);
    let large = node(&*fs, "file:large");
    assert_eq!((fs.stat(large).unwrap().kind, fs.stat(large).unwrap().size), (FileKind::File, 3_000_000));
    let mounted = Served::new(&image, "ro,streams_interface=windows");
    for (ours, theirs) in [
        ("file:large", "file:large"),
        ("FILE:LARGE", "file:large"),
        ("file:large:$data", "file:large"),
        ("file:small", "file:small"),
        ("file:one-more", "file:one-more"),
        ("folder/file:many", "folder/file:many"),
        ("folder:of-folder", "folder:of-folder"),
        (":of-root", ".:of-root"),
        ("folder/:of-folder", "folder:of-folder"),
    ] {
        let node = node(&*fs, ours);
        assert_eq!(content(&*fs, node), fs::read(mounted.at.join(theirs)).unwrap(), "{ours}");
        assert!(matches!(fs.lookup(node, b"file"), Err(Error::NotADirectory)), "{ours}");
        assert!(fs.map(node, 0).unwrap().is_some());
    }
    assert_eq!(content(&*fs, node(&*fs, "with:colon")), b"plain\n", "a name wins over a stream");
    assert!(matches!(fs.lookup(fs.root(), b"file:none"), Err(Error::NotFound)));
    assert!(matches!(fs.lookup(fs.root(), b"none:small"), Err(Error::NotFound)));
    assert!(matches!(fs.lookup(fs.root(), b"file:"), Err(Error::NotFound)));
    assert!(matches!(fs.stat(NodeId { tree: 1000, ..large }), Err(Error::NotFound)));
    drop(mounted);
    // The large streams are more than an attribute may have; the rest is as it is shown.
    image.fill("streams_interface=windows", "rm file:large file:one-more");
    assert_eq!(image.assert_same().xattrs, 7);
}

#[test]
fn large_folders_are_listed_and_found_in() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("200M", "");
    let count = image
        .fill(
            "",
            r#"
mkdir -p large deep/d1/d2/d3/d4/d5/d6/d7/d8/d9/d10/d11/d12/d13/d14/d15/d16/d17/d18/d19/d20/bottom links
cd large; for n in $(seq 1600); do echo $n > "file number $n, $((n * 7919 % 1601))"; done
mkdir sub; for n in $(seq 1 3 1600); do rm "file number $n, $((n * 7919 % 1601))"; done
for n in $(seq 700); do echo $n > "again $n, $((n * 7919 % 1601)) with a name that is quite a bit longer than others"; done
cd ../links; echo one > first; for n in $(seq 300); do ln first "another name of the same file, number $n"; done
ln first ../large/first-too; mv 'another name of the same file, number 7' ../deep/moved
"#,
        )
        .assert_same();
    assert_eq!((count.files, count.directories), (1066 + 700 + 302, 26));
    let fs = image.open();
    let large = node(&*fs, "large");
    assert_eq!(compare::entries(&*fs, large).unwrap().len(), 1066 + 700 + 2);
    assert_eq!(fs.stat(node(&*fs, "links/first")).unwrap().links, 302);
    // Every position goes on where it should, from a reader that holds nothing.
    let mut from = 0;
    let mut names = Vec::new();
    loop {
        let mut next = 0;
        let small = OpenOptions { cache_bytes: 0, ..OpenOptions::default() };
        let fresh = if from % 500 == 0 { ntfs::open(image.device(), &small).unwrap() } else { fs.clone() };
        fresh
            .readdir(large, from, &mut |entry| {
                names.push(entry.name.to_vec());
                next = entry.next;
                std::ops::ControlFlow::Break(())
            })
            .unwrap();
        if next == 0 {
            break;
        }
        assert!(next > from);
        from = next;
    }
    assert_eq!(names.len(), 1066 + 700 + 2);
    names.dedup();
    assert_eq!(names.len(), 1066 + 700 + 2);
}

#[test]
fn names_of_every_kind_are_listed_and_found() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "");
    image.fill(
        "",
        r#"
mkdir names; cd names
echo 1 > 'Ein Hörnchen ÄÖÜ.txt'; echo 2 > '日本語のファイル'; echo 3 > '😀 non-BMP 𝄞'; echo 4 > 'trailing dot.'; echo 5 > 'a*b?c"d<e>f|g'
echo 6 > case; echo 7 > CASE; echo 8 > Case; echo 9 > 'back\slash'; echo 10 > $'new\nline'
echo 11 > "$(printf 'n%.0s' $(seq 255))"
echo 12 > 'A long name with a short one.text'; echo 13 > only
setfattr -h -v ALONGN~1.TEX -n system.ntfs_dos_name 'A long name with a short one.text'
"#,
    );
    // The short name counts as a link for ntfs-3g, and is none for whoever counts names.
    let count = image.assert_same_but(Compared { links: false, ..Compared::default() });
    assert_eq!(count.files, 13);
    let fs = image.open();
    let read = |name: &str| content(&*fs, node(&*fs, &format!("names/{name}")));
    assert_eq!(read("ein hörnchen äöü.TXT"), b"1\n");
    assert_eq!((read("case"), read("CASE"), read("Case")), (b"6\n".into(), b"7\n".into(), b"8\n".into()));
    assert!([&b"6\n"[..], b"7\n", b"8\n"].contains(&&read("cAsE")[..]));
    assert_eq!(read("alongn~1.tex"), b"12\n", "by the short name");
    assert_eq!(fs.stat(node(&*fs, "names/A long name with a short one.text")).unwrap().links, 1);
    let names = node(&*fs, "names");
    assert!(!compare::entries(&*fs, names).unwrap().contains_key(&b"ALONGN~1.TEX"[..]));
    for none in [&b"\xff\xfe"[..], b"only/", b"onl", b"onlyy", b"\xc0\xaf", b"", b"\xed\xa0\x80"] {
        assert!(matches!(fs.lookup(names, none), Err(Error::NotFound)), "{none:?}");
    }
    assert!(matches!(fs.lookup(node(&*fs, "names/only"), b"x"), Err(Error::NotADirectory)));
    assert!(matches!(fs.readdir(node(&*fs, "names/only"), 0, &mut |_| panic!()), Err(Error::NotADirectory)));
    // The file system's own files are hidden, and found by name.
    assert_eq!(compare::entries(&*fs, fs.root()).unwrap().len(), 1);
    assert!(fs.stat(node(&*fs, "$MFT")).unwrap().size > 20 * 1024);
    assert_eq!(fs.stat(node(&*fs, "$UpCase")).unwrap().size, 131_072);
}

/// A reparse point as `setfattr` takes it.
fn reparse(tag: u32, data: &[u8]) -> String {
    let mut bytes = tag.to_le_bytes().to_vec();
    bytes.extend((data.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(data);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{hex}")
}

/// The data of a junction, or of a symbolic link where there are flags.
fn target(path: &str, flags: Option<u32>) -> Vec<u8> {
    let name: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let length = (name.len() as u16).to_le_bytes();
    let mut data = [[0, 0], length, length, [0, 0]].concat();
    // The print name follows with its terminator.
    data[4..6].copy_from_slice(&(name.len() as u16 + 2).to_le_bytes());
    data[6..8].copy_from_slice(&[0, 0]);
    data.extend(flags.map(u32::to_le_bytes).into_iter().flatten());
    data.extend(name);
    data.extend([0, 0, 0, 0]);
    data
}

#[test]
fn links_and_special_files_are_what_they_mean() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "");
    // Interix' links and devices, which ntfs-3g writes by itself, and those of Linux under Windows.
    image.fill(
        "",
        "mkdir d; echo x > d/file; ln -s d/file interix; ln -s /absolute/ä/😀 d/far; ln -s nowhere broken; mknod null c 1 3; mknod disk b 8 17",
    );
    image.fill(
        "special_files=wsl",
        "ln -s d/file linux; ln -s ../interix d/linux-up; mknod tty c 5 300; mknod vda b 252 16; mkfifo pipe; python3 -c \"
import socket; socket.socket(socket.AF_UNIX).bind('socket')\"",
    );
    let (relative, up, folder) = (
        reparse(0xa000_000c, &target(r"d\file", Some(1))),
        reparse(0xa000_000c, &target(r"..\d\file", Some(1))),
        reparse(0xa000_000c, &target(r"d", Some(1))),
    );
    image.fill(
        "",
        &format!(
            "touch windows d/windows-up; mkdir windows-folder
             setfattr -h -n system.ntfs_reparse_data -v {relative} windows
             setfattr -h -n system.ntfs_reparse_data -v {up} d/windows-up
             setfattr -h -n system.ntfs_reparse_data -v {folder} windows-folder"
        ),
    );
    // ntfs-3g gives what is special for Linux the mode 0.
    let count = image.assert_same_but(Compared { owners: false, ..Compared::default() });
    assert_eq!((count.files, count.links, count.others), (1, 8, 6));

    // Absolute ones are in the guest's terms here; ntfs-3g has the mount's.
    let (junction, absolute, root) = (
        reparse(0xa000_0003, &target(r"\??\C:\Users\All Users", None)),
        reparse(0xa000_000c, &target(r"\??\D:\x", Some(0))),
        reparse(0xa000_000c, &target(r"\d\file", Some(1))),
    );
    image.fill(
        "",
        &format!(
            "mkdir junction d/e d/e/f; touch absolute d/e/f/root root
             setfattr -h -n system.ntfs_reparse_data -v {junction} junction
             setfattr -h -n system.ntfs_reparse_data -v {absolute} absolute
             setfattr -h -n system.ntfs_reparse_data -v {root} root
             setfattr -h -n system.ntfs_reparse_data -v {root} d/e/f/root"
        ),
    );
    let fs = image.open();
    for (path, expected) in [
        ("junction", "/C/Users/All Users"),
        ("absolute", "/D/x"),
        ("root", "d/file"),
        ("d/e/f/root", "../../../d/file"),
    ] {
        let node = node(&*fs, path);
        assert_eq!(fs.readlink(node).unwrap(), expected.as_bytes(), "{path}");
        let stat = fs.stat(node).unwrap();
        assert_eq!((stat.kind, stat.size), (FileKind::Symlink, expected.len() as u64), "{path}");
        assert!(matches!(fs.lookup(node, b"x"), Err(Error::NotADirectory)));
        assert!(fs.read_at(node, 0, &mut [0; 10]).is_err());
    }
    assert!(matches!(fs.readlink(node(&*fs, "d/file")), Err(Error::NotASymlink)));
}

#[test]
fn content_that_a_driver_makes_is_refused_by_its_name() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "");
    let cases = [
        ("wof", 0x8000_0017, &[1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0][..], "inside of a WIM archive"),
        ("dedup", 0x8000_0013, &[0; 8], "deduplication"),
        ("cloud", 0x9000_601a, &[0; 8], "cloud placeholder"),
        ("hsm", 0xc000_0004, &[0; 8], "hierarchical storage"),
        ("unknown", 0x8000_4321, &[0; 8], "0x80004321"),
    ];
    let mut script = String::from("mkdir folder other; echo in > folder/in; touch other/hidden\n");
    for (name, tag, data, _) in cases {
        let value = reparse(tag, data);
        script += &format!(
            "echo content > {name}; setfattr -n user.stream -v value {name}
             setfattr -h -n system.ntfs_reparse_data -v {value} {name}\n"
        );
    }
    let (cloud, projected) = (reparse(0x9000_001a, &[0; 8]), reparse(0x9000_001c, &[0; 8]));
    script += &format!("setfattr -h -n system.ntfs_reparse_data -v {cloud} folder\n");
    script += &format!("setfattr -h -n system.ntfs_reparse_data -v {projected} other\n");
    image.fill("", &script);
    let fs = image.open();
    assert_eq!(compare::entries(&*fs, fs.root()).unwrap().len(), 7);
    for (name, _, _, said) in cases {
        let node = node(&*fs, name);
        let stat = fs.stat(node).unwrap();
        assert_eq!((stat.kind, stat.size), (FileKind::File, 8), "{name}");
        for error in [fs.read_at(node, 0, &mut [0; 10]).unwrap_err(), fs.map(node, 0).unwrap_err()] {
            assert!(matches!(error, Error::Unsupported(_)), "{name}: {error}");
            assert!(error.to_string().contains(said), "{name}: {error}");
        }
        assert_eq!(fs.xattrs(node).unwrap().len(), 1, "{name}");
    }
    assert_eq!(content(&*fs, node(&*fs, "folder/in")), b"in\n", "what is there of a cloud folder");
    let other = node(&*fs, "other");
    assert_eq!(fs.stat(other).unwrap().kind, FileKind::Directory);
    assert!(matches!(fs.readdir(other, 0, &mut |_| panic!()), Err(Error::Unsupported(_))));
    assert!(matches!(fs.lookup(other, b"hidden"), Err(Error::Unsupported(_))));
}

#[test]
fn files_of_many_extents_go_on_in_other_records() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("12M", "-c 512");
    // Half of many small files is deleted; what is made then lies in the holes: $MFT too.
    let count = image
        .fill(
            "",
            r#"
python3 - <<'END'
import os, random
def make(name, size):
    try: open(name, 'wb', 0).write(os.urandom(size))
    except OSError: return False
    return True
os.mkdir('small')
count = 0
while count < 3000 and make('small/%d' % count, 2048): count += 1
pad = open('pad', 'wb', 0)
try:
    while True: pad.write(os.urandom(4096))
except OSError: pass
try: pad.close()
except OSError: pass
random.seed(7)
for n in range(count):
    if random.random() < 0.6: os.unlink('small/%d' % n)
make('many-extents', 2000000)
os.mkdir('names')
for n in range(3000):
    if not make('names/%d' % n, n % 300): break
END
for n in $(seq 20); do setfattr -n user.stream$n -v "$(head -c 300 /dev/zero | tr '\0' a)" many-extents; done
for n in $(seq 30); do ln many-extents "link of a rather long name $n" || break; done
"#,
        )
        .assert_same();
    assert!(count.files > 500 && count.xattrs >= 20, "{count:?}");
    let fs = image.open();
    let runs = |name: &str| {
        let node = node(&*fs, name);
        let (mut runs, mut offset) = (0, 0);
        while let Some(run) = fs.map(node, offset).unwrap() {
            offset += run.length;
            runs += 1;
        }
        runs
    };
    let (file, table) = (runs("many-extents"), runs("$MFT"));
    assert!(file > 150 && table > 200, "{file} runs, $MFT in {table}");
}

#[test]
fn a_damaged_boot_sector_and_a_damaged_table_have_copies() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "-L Größe");
    image.fill("", "echo here > file");
    let good = ntfs::recognise(&*image.device()).unwrap().unwrap();
    assert_eq!((good.kind, good.label.as_deref(), good.size), ("ntfs", Some("Größe"), (60 << 20) - 512));
    let uuid = sh(&format!("blkid -p -o value -s UUID {}", image.path.display()));
    assert_eq!(good.uuid.as_deref(), Some(uuid.trim()));
    let fs = image.open();
    assert_eq!(fs.info().warnings, Vec::<String>::new());
    assert_eq!((fs.info().label.as_deref(), &fs.info().uuid), (Some("Größe"), &good.uuid));
    assert_eq!((fs.info().block_size, fs.info().has_owners), (4096, false));

    let whole = fs::read(&image.path).unwrap();
    let opened = |bytes: Vec<u8>| -> (bool, Result<Arc<dyn GuestFs>, Error>) {
        let device: Device = Arc::new(MemoryDevice(bytes));
        let known = ntfs::recognise(&*device).unwrap().is_some();
        (known, ntfs::open(device, &OpenOptions::default()))
    };
    let warned = |bytes: Vec<u8>, known: bool, said: &str| {
        let (recognised, fs) = opened(bytes);
        assert_eq!(recognised, known, "{said}");
        let fs = fs.unwrap();
        assert!(fs.info().warnings.iter().any(|line| line.contains(said)), "{said}: {:?}", fs.info());
        assert_eq!(content(&*fs, node(&*fs, "file")), b"here\n");
    };
    let mut bytes = whole.clone();
    bytes[..512].fill(0);
    warned(bytes.clone(), true, "boot sector");
    bytes[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    assert!(!opened(bytes).0, "an ext file system where a NTFS was");
    let mut bytes = whole.clone();
    bytes[0x0b..0x0e].fill(0xff);
    warned(bytes, true, "boot sector");
    let mut bytes = whole.clone();
    bytes[..512].fill(0x5a);
    warned(bytes, false, "boot sector");

    let mft = u64::from_le_bytes(whole[0x30..0x38].try_into().unwrap()) as usize * 4096;
    let mut bytes = whole.clone();
    bytes[mft..mft + 1024].fill(0);
    warned(bytes.clone(), true, "$MFTMirr");
    bytes[mft + 3 * 1024 + 510] ^= 1;
    bytes[mft + 2 * 1024 + 1022] ^= 1;
    warned(bytes.clone(), true, "$MFTMirr");
    // The sixth record has no copy.
    bytes[mft + 5 * 1024 + 510] ^= 1;
    let fs = opened(bytes).1.unwrap();
    assert!(matches!(fs.stat(fs.root()), Err(Error::Corrupt { .. })));

    // Dirty, hibernated, of an unknown version.
    sh(&format!("ntfsfix {} > /dev/null", image.path.display()));
    assert!(image.open().info().warnings[0].contains("marked dirty"));
}

#[test]
fn encrypted_files_are_named_as_such() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "");
    // What a backup of an encrypted file restores, as it is stored.
    image.fill(
        "efs_raw",
            "(head -c 5120 /dev/urandom; printf '\\0\\0') > secret; setfattr -n user.ntfs.efsinfo -v 0x20030000$(head -c 796 /dev/zero | od -An -v -tx1 | tr -d ' \\n') secret",
    );
    let fs = image.open();
    let secret = node(&*fs, "secret");
    assert!(fs.stat(secret).unwrap().size > 4000);
    assert!(matches!(fs.read_at(secret, 0, &mut [0; 16]), Err(Error::Encrypted(_))));
    assert!(matches!(fs.map(secret, 0), Err(Error::Encrypted(_))));
}

#[test]
fn a_copy_of_a_volume_that_is_written_holds_what_was_synced() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("100M", "");
    let copy = image.folder.path().join("copy.img");
    let mounted = Served::new(&image, "");
    let at = mounted.at.display();
    sh(&format!(
        "cd {at}; mkdir kept; for n in $(seq 300); do seq $n 400 > kept/$n; done; head -c 3000000 /dev/urandom > kept/large; sync
         cp -a kept {}
         (for n in $(seq 2000); do seq $n 900 > moving$n; [ $((n % 3)) = 0 ] && rm moving$((n / 2)); done) > /dev/null 2>&1 & load=$!
         sleep 0.3; cp --sparse=always {} {}; kill $load; wait $load || true",
        image.folder.path().join("truth").display(),
        image.path.display(),
        copy.display()
    ));
    drop(mounted);
    let fs = ntfs::open(Arc::new(FileDevice::open(&copy).unwrap()), &OpenOptions::default()).unwrap();
    crate::hostile::walk(&*fs);
    let kept = node(&*fs, "kept");
    let names = compare::entries(&*fs, kept).unwrap();
    assert_eq!(names.len(), 301);
    for (name, (node, _)) in names {
        let truth = image.folder.path().join("truth").join(String::from_utf8(name).unwrap());
        assert!(content(&*fs, node) == fs::read(&truth).unwrap(), "{}", truth.display());
    }
}
