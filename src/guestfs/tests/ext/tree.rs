//! A tree with everything that a file system of Linux can hold.

use crate::fixture::sh;
use rustix::fs::{AtFlags, CWD, FallocateFlags, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

/// Bytes that are not the same anywhere.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut all = Vec::with_capacity(length + 8);
    while all.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend_from_slice(&state.to_le_bytes());
    }
    all.truncate(length);
    all
}

/// Sets both times of a path itself.
pub fn set_times(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Sets an extended attribute of a path itself.
pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).unwrap();
}

/// `files` small files in folders of a hundred, and one of everything else. `large` with files that need room: a
/// sparse one of 5 GiB, one of many extents.
pub fn fill(root: &Path, files: usize, large: bool) {
    for index in 0..files {
        let folder = root.join(format!("folder {}", index / 100));
        if index % 100 == 0 {
            fs::create_dir(&folder).unwrap();
        }
        let path = folder.join(format!("file-{index}-{}", "n".repeat(index % 60)));
        fs::write(&path, bytes(index as u64, (index * 37) % 9000)).unwrap();
        if index % 10 == 0 {
            fs::hard_link(&path, folder.join(format!("link to {index}"))).unwrap();
            set_xattr(&path, "user.number", index.to_string().as_bytes());
        }
    }
    let some = root.join("some of all");
    fs::create_dir(&some).unwrap();
    names(&some);
    nodes(&some);
    holes(&some, large);
    attributes(&some);
    times(&some);
}

/// Names that are no text, and long ones.
fn names(root: &Path) {
    for name in [&b"\xff\xfe\x80 not UTF-8"[..], "Ünïcödé ✓".as_bytes(), b"a\nb\tc", b"\\", &[b'x'; 255]]
    {
        fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
}

/// Links, devices, pipes, owners and modes.
fn nodes(root: &Path) {
    for length in [1, 59, 60, 61, 200, 1023] {
        symlink("t".repeat(length), root.join(format!("symlink {length}"))).unwrap();
    }
    let rw = Mode::RUSR | Mode::WUSR;
    for (name, kind, major, minor) in [
        ("char", FileType::CharacterDevice, 5, 1),
        ("char of large numbers", FileType::CharacterDevice, 500, 70000),
        ("block", FileType::BlockDevice, 259, 300),
        ("pipe", FileType::Fifo, 0, 0),
        ("socket", FileType::Socket, 0, 0),
    ] {
        rustix::fs::mknodat(CWD, root.join(name), kind, rw, rustix::fs::makedev(major, minor)).unwrap();
    }
    for (index, mode) in [0o4755, 0o2711, 0o1777, 0o000].into_iter().enumerate() {
        let path = root.join(format!("mode {mode:o}"));
        fs::write(&path, b"").unwrap();
        std::os::unix::fs::lchown(&path, Some(70_000 + index as u32), Some(4_000_000_000)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// Files that are not whole.
fn holes(root: &Path, large: bool) {
    let file = File::create(root.join("fragments")).unwrap();
    for index in 0..if large { 2000 } else { 60 } {
        file.write_all_at(&bytes(index, 4096), index * 8192).unwrap();
    }
    let file = File::create(root.join("hole at the end")).unwrap();
    file.write_all_at(&bytes(1, 5000), 100_000).unwrap();
    file.set_len(1_000_001).unwrap();
    let file = File::create(root.join("empty but long")).unwrap();
    file.set_len(12_345_678).unwrap();
    if large {
        let file = File::create(root.join("sparse")).unwrap();
        for at in [0, 70 << 20, (1 << 30) + 12345, (5 << 30) - 5000] {
            file.write_all_at(&bytes(at, 5000), at).unwrap();
        }
    }
    let file = File::create(root.join("allocated")).unwrap();
    if rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 300_000).is_ok() {
        file.write_all_at(&bytes(3, 10_000), 50_000).unwrap();
    }
    fs::write(root.join("whole"), bytes(9, 700_000)).unwrap();
    for length in [1, 59, 60, 61, 100, 155, 160] {
        fs::write(root.join(format!("tiny {length}")), bytes(length as u64, length)).unwrap();
    }
}

/// Extended attributes and ACLs.
fn attributes(root: &Path) {
    let path = root.join("with attributes");
    fs::write(&path, b"content").unwrap();
    set_xattr(&path, "user.empty", b"");
    set_xattr(&path, "user.some", b"value");
    set_xattr(&path, "trusted.thing", b"\0\x01\x02");
    set_xattr(&path, "security.capability", &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    set_xattr(&path, "user.longer", &bytes(5, 600));
    let folder = root.join("folder with attributes");
    fs::create_dir(&folder).unwrap();
    set_xattr(&folder, "user.comment", &bytes(6, 200));
    let link = root.join("symlink with attributes");
    symlink("somewhere", &link).unwrap();
    set_xattr(&link, "trusted.of.a.link", b"yes");
    sh(&format!(
        "cd '{}'; touch acl; setfacl -m u:1000:rw,u:123456:r,g:70000:rwx,m::rw acl; mkdir 'default acl'
        setfacl -m u:5:x -d -m u:1000:rwx,g:5:r 'default acl'; echo x > 'default acl/inherits'",
        root.display()
    ));
}

/// Moments that do not fit into 32 bits.
fn times(root: &Path) {
    let moments = [
        (-2_000_000_000, 1),
        (-1, 999_999_999),
        (0, 0),
        (2_147_483_647, 5),
        (2_147_483_648, 6),
        (6_000_000_000, 123_456_789),
        (15_032_385_535, 7),
    ];
    for (seconds, nanos) in moments {
        let path = root.join(format!("at {seconds}"));
        fs::write(&path, b"").unwrap();
        set_times(&path, seconds, nanos);
    }
    let link = root.join("an old link");
    symlink("x", &link).unwrap();
    set_times(&link, -77, 77);
}
