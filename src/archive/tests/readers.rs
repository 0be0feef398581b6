//! What other programs make of our archives: GNU tar, bsdtar, unzip and Python's tarfile and zipfile.

use archive::{AHEAD, Archive, Content, Failure, Format, Kind, Meta, REPORT};
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::require;

/// A file in memory, which may be unreadable from some byte on.
struct Bytes {
    size: u64,
    parts: Vec<(u64, Vec<u8>)>,
    data: Vec<(u64, u64)>,
    readable: u64,
}

impl Bytes {
    fn new(bytes: &[u8]) -> Self {
        Bytes::sparse(bytes.len() as u64, vec![(0, bytes.to_vec())])
    }

    fn sparse(size: u64, parts: Vec<(u64, Vec<u8>)>) -> Self {
        let data = parts.iter().map(|(at, bytes)| (*at, bytes.len() as u64)).collect();
        Bytes { size, parts, data, readable: u64::MAX }
    }
}

impl Content for Bytes {
    fn size(&self) -> u64 {
        self.size
    }

    fn data(&self) -> &[(u64, u64)] {
        &self.data
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), String> {
        let end = offset + buf.len() as u64;
        if end > self.readable {
            return Err("the disk is damaged".to_owned());
        }
        buf.fill(0);
        for (at, bytes) in &self.parts {
            let (from, to) = ((*at).max(offset), (at + bytes.len() as u64).min(end));
            if from < to {
                let part = &bytes[(from - at) as usize..(to - at) as usize];
                buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(part);
            }
        }
        Ok(())
    }
}

fn meta(mode: u32) -> Meta {
    Meta { mode, modified: (1_600_000_000, 123_456_789), accessed: (1_500_000_000, 5), ..Meta::default() }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 7u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .collect()
}

/// Everything that a guest can have.
fn fill<W: Write>(archive: &mut Archive<W>, format: Format) {
    let long = [b"top/".to_vec(), vec![b'n'; 200], b"/".to_vec(), vec![b'm'; 200]].concat();
    archive.entry(b"top", Kind::Folder, &meta(0o750)).unwrap();
    archive.file(b"top/hello.txt", &meta(0o640), &mut Bytes::new(b"hello\n")).unwrap();
    archive.file(b"top/empty", &meta(0o600), &mut Bytes::new(b"")).unwrap();
    archive.file(b"top/large", &meta(0o644), &mut Bytes::new(&noise(AHEAD * 2 + 77))).unwrap();
    archive.entry(&long[..204], Kind::Folder, &meta(0o700)).unwrap();
    archive.file(&long, &meta(0o644), &mut Bytes::new(b"long")).unwrap();
    archive.file("top/grün ß".as_bytes(), &meta(0o644), &mut Bytes::new(b"green")).unwrap();
    archive.entry(b"top/link", Kind::Symlink(b"hello.txt"), &meta(0o777)).unwrap();
    let old = Meta { modified: (-150_000_000, 0), ..meta(0o644) };
    archive.file(b"top/old", &old, &mut Bytes::new(b"1965")).unwrap();
    let parts = vec![(5 << 20, noise(5000)), (9 << 20, vec![7; 100])];
    archive.file(b"top/sparse", &meta(0o644), &mut Bytes::sparse(20 << 20, parts)).unwrap();
    if format.has_hard_links() {
        archive.entry(b"top/other-name", Kind::HardLink(b"top/hello.txt"), &meta(0o640)).unwrap();
        archive.file(b"top/odd \xff", &meta(0o644), &mut Bytes::new(b"odd")).unwrap();
        let xattrs = vec![(b"user.comment".to_vec(), b"a\nb\0c".to_vec())];
        let owned = Meta { uid: 3_000_000, gid: 70, xattrs, ..meta(0o644) };
        archive.file(b"top/owned", &owned, &mut Bytes::new(b"mine")).unwrap();
        archive.entry(b"top/pipe", Kind::Fifo, &meta(0o644)).unwrap();
    }
}

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        Site { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn archive(&self, format: Format) -> PathBuf {
        let path = self.path(&format!("archive.{}", format.word()));
        let mut archive = Archive::new(format, fs::File::create(&path).unwrap()).unwrap();
        fill(&mut archive, format);
        archive.finish(REPORT).unwrap();
        path
    }

    fn out(&self) -> PathBuf {
        let out = self.path("out");
        fs::remove_dir_all(&out).ok();
        fs::create_dir(&out).unwrap();
        out
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
    assert!(said.is_empty(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn check(top: &Path, format: Format, holes: bool) {
    let read = |name: &str| fs::read(top.join(name)).unwrap();
    let stat = |name: &str| fs::symlink_metadata(top.join(name)).unwrap();
    assert_eq!(read("hello.txt"), b"hello\n");
    assert!(read("empty").is_empty() && read("large") == noise(AHEAD * 2 + 77));
    assert_eq!(read(&format!("{}/{}", "n".repeat(200), "m".repeat(200))), b"long");
    assert_eq!(read("grün ß"), b"green");
    assert_eq!(fs::read_link(top.join("link")).unwrap().as_os_str(), "hello.txt");
    assert_eq!(stat("hello.txt").permissions().mode() & 0o7777, 0o640);
    assert_eq!(stat("").permissions().mode() & 0o7777, 0o750);
    assert_eq!(stat("hello.txt").mtime(), 1_600_000_000);
    let mut whole = vec![0; 20 << 20];
    whole[5 << 20..(5 << 20) + 5000].copy_from_slice(&noise(5000));
    whole[9 << 20..(9 << 20) + 100].fill(7);
    assert!(read("sparse") == whole);
    assert!(!holes || stat("sparse").blocks() * 512 < 4 << 20, "{} blocks", stat("sparse").blocks());
    if format.has_hard_links() {
        assert_eq!(stat("hello.txt").mtime_nsec(), 123_456_789);
        assert_eq!((stat("old").mtime(), stat("old").mtime_nsec()), (-150_000_000, 0));
        assert_eq!((stat("other-name").nlink(), stat("other-name").ino()), (2, stat("hello.txt").ino()));
        assert_eq!(fs::read(top.join(std::ffi::OsStr::from_bytes(b"odd \xff"))).unwrap(), b"odd");
    }
}

#[test]
fn gnu_tar_unpacks_all_of_it() {
    let site = Site::new();
    for format in [Format::Tar, Format::TarGz, Format::TarZst] {
        let (archive, out) = (site.archive(format), site.out());
        let mut tar = Command::new("tar");
        tar.args(["--warning=no-timestamp", "--xattrs", "--xattrs-include=*", "--no-same-owner", "-xpf"])
            .arg(&archive);
        run(tar.arg("-C").arg(&out));
        check(&out.join("top"), format, true);
        let listed = run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&archive));
        assert!(listed.contains("3000000/70"), "{listed}");
        if require("getfattr") {
            let shown = run(Command::new("getfattr")
                .args(["--only-values", "-n", "user.comment", "owned"])
                .current_dir(out.join("top")));
            assert_eq!(shown, "a\nb\0c");
        }
    }
}

#[test]
fn bsdtar_unpacks_all_of_it() {
    if !require("bsdtar") {
        return;
    }
    let site = Site::new();
    for format in [Format::Tar, Format::TarGz, Format::TarZst, Format::Zip] {
        let (archive, out) = (site.archive(format), site.out());
        let mut tar = Command::new("bsdtar");
        tar.env("LC_ALL", "C.UTF-8").args(["--no-same-owner", "-xpf"]).arg(&archive);
        run(tar.arg("-C").arg(&out));
        check(&out.join("top"), format, format.has_hard_links());
    }
}

#[test]
fn python_unpacks_all_of_it() {
    if !require("python3") {
        return;
    }
    let site = Site::new();
    for format in [Format::Tar, Format::TarGz, Format::Zip] {
        let (archive, out) = (site.archive(format), site.out());
        let script = match format {
            Format::Zip => {
                "import sys,zipfile\nz=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None\n\
                assert z.read('top/hello.txt') == b'hello\\n' and z.read('top/link') == b'hello.txt'\n\
                assert z.getinfo('top/sparse').file_size == 20 << 20 and z.read('top/gr\\u00fcn \\u00df') == b'green'"
            }
            _ => {
                "import sys,tarfile\nt=tarfile.open(sys.argv[1], errors='surrogateescape')\n\
                assert t.getmember('top/owned').pax_headers['SCHILY.xattr.user.comment'] == 'a\\nb\\0c'\n\
                assert t.getmember('top/pipe').isfifo() and t.getmember('top/sparse').issparse()\n\
                t.extractall(sys.argv[2], filter='fully_trusted' if hasattr(tarfile, 'fully_trusted_filter') else None, numeric_owner=True)\
                if hasattr(tarfile, 'fully_trusted_filter') else t.extractall(sys.argv[2])"
            }
        };
        run(Command::new("python3").args(["-c", script]).arg(&archive).arg(&out));
        if format != Format::Zip {
            assert_eq!(fs::read(out.join("top/hello.txt")).unwrap(), b"hello\n");
            assert_eq!(fs::metadata(out.join("top/sparse")).unwrap().len(), 20 << 20);
        }
    }
}

#[test]
fn unzip_unpacks_all_of_it() {
    if !require("unzip") {
        return;
    }
    let site = Site::new();
    let (archive, out) = (site.archive(Format::Zip), site.out());
    run(Command::new("unzip").arg("-tq").arg(&archive));
    run(Command::new("unzip").env("LC_ALL", "C.UTF-8").args(["-q"]).arg(&archive).arg("-d").arg(&out));
    check(&out.join("top"), Format::Zip, false);
}

#[test]
fn names_that_would_lead_out_are_no_entries() {
    let mut archive = Archive::new(Format::Tar, Vec::new()).unwrap();
    for name in [&b"../out"[..], b"/etc/passwd", b"a/../../b", b"", b"a\0b", b"a//b"] {
        let refused = archive.entry(name, Kind::Folder, &meta(0o755));
        assert!(matches!(refused, Err(Failure::Entry(_))), "{name:?}");
        let refused = archive.file(name, &meta(0o644), &mut Bytes::new(b"x"));
        assert!(matches!(refused, Err(Failure::Entry(_))), "{name:?}");
        let refused = archive.entry(b"fine", Kind::HardLink(name), &meta(0o644));
        assert!(matches!(refused, Err(Failure::Entry(_))), "{name:?}");
    }
    assert_eq!(archive.finish(REPORT).unwrap(), vec![0; 1024], "nothing but the end");
}

#[test]
fn a_zip_for_windows_has_no_separators_and_drives_in_names() {
    if !require("python3") {
        return;
    }
    let site = Site::new();
    let path = site.path("odd.zip");
    let mut archive = Archive::new(Format::Zip, fs::File::create(&path).unwrap()).unwrap();
    for name in [&b"..\\..\\evil"[..], b"C:evil", b"odd \xff", b"plain"] {
        archive.file(name, &meta(0o644), &mut Bytes::new(b"x")).unwrap();
    }
    archive.finish(REPORT).unwrap();
    let script = "import sys,zipfile\nz=zipfile.ZipFile(sys.argv[1])\n\
        assert z.namelist() == ['..%5C..%5Cevil', 'C%3Aevil', 'odd %FF', 'plain', 'SENDENSE-REPORT.txt'], z.namelist()\n\
        print(z.read('SENDENSE-REPORT.txt').decode())";
    let report = run(Command::new("python3").args(["-c", script]).arg(&path));
    assert!(report.contains("..\\..\\evil is ..%5C..%5Cevil") && !report.contains("plain"), "{report}");
}

#[test]
fn what_can_not_be_read_is_left_out_and_told() {
    for format in Format::ALL {
        let mut archive = Archive::new(format, Vec::new()).unwrap();
        archive.file(b"good", &meta(0o644), &mut Bytes::new(b"good")).unwrap();
        let mut bad = Bytes { readable: 10, ..Bytes::new(&noise(5000)) };
        let failed = archive.file(b"bad", &meta(0o644), &mut bad);
        let Err(Failure::Entry(why)) = failed else { panic!("{failed:?}") };
        archive.left_out(b"/var/bad\n", &why);
        archive.file(b"better", &meta(0o644), &mut Bytes::new(b"better")).unwrap();
        let bytes = archive.finish(REPORT).unwrap();
        if format != Format::Tar {
            continue;
        }
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.contains("/var/bad\u{fffd}: the disk is damaged"), "{text}");
        assert!(!text.contains("bad\0"), "no entry of that name");
    }
}

#[test]
fn half_of_a_file_ends_the_archive_without_an_end() {
    let site = Site::new();
    for format in Format::ALL {
        let path = site.path("cut");
        let mut archive = Archive::new(format, fs::File::create(&path).unwrap()).unwrap();
        archive.file(b"good", &meta(0o644), &mut Bytes::new(b"good")).unwrap();
        let mut bad = Bytes { readable: AHEAD as u64 * 2, ..Bytes::new(&noise(AHEAD * 3)) };
        let failed = archive.file(b"bad", &meta(0o644), &mut bad);
        assert!(matches!(failed, Err(Failure::Cut(_))), "{failed:?}");
        drop(archive);
        let reader = match format {
            Format::Zip if !require("unzip") => continue,
            Format::Zip => Command::new("unzip").arg("-tq").arg(&path).output(),
            _ => Command::new("tar").arg("-tf").arg(&path).output(),
        };
        assert!(!reader.unwrap().status.success(), "{format:?} seems whole");
    }
}

#[test]
fn a_file_of_more_than_four_gib_needs_zip64_and_gets_it() {
    if !require("unzip") || !require("python3") {
        return;
    }
    let site = Site::new();
    let path = site.path("large.zip");
    let mut archive = Archive::new(Format::Zip, fs::File::create(&path).unwrap()).unwrap();
    let size = (4 << 30) + 5;
    let mut large = Bytes::sparse(size, vec![(size - 5, b"there".to_vec())]);
    archive.file(b"large", &meta(0o644), &mut large).unwrap();
    archive.file(b"small", &meta(0o644), &mut Bytes::new(b"small")).unwrap();
    archive.finish(REPORT).unwrap();
    let listed = run(Command::new("unzip").arg("-l").arg(&path));
    assert!(listed.contains(&size.to_string()), "{listed}");
    let script = "import sys,zipfile\nz=zipfile.ZipFile(sys.argv[1])\n\
        assert z.getinfo('large').file_size == (4 << 30) + 5 and z.read('small') == b'small'";
    run(Command::new("python3").args(["-c", script]).arg(&path));
}
