//! A disk that is one file system, changed through the kernel's mount between backups, and what the kernel shows of it.

use crate::harness::{Site, have};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a script with `set -eu`.
#[track_caller]
pub fn sh(script: &str) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let done = Command::new("bash").args(["-euc", script]).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
}

/// Whether these programs are there and this user may mount.
pub fn can_mount(programs: &[&str]) -> bool {
    if !have(programs) {
        return false;
    }
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var("SENDENSE_REQUIRE_ALL").is_err(),
        "mounting needs root, and nothing may be skipped"
    );
    eprintln!("SKIPPED: mounting needs root");
    false
}

/// The disk.
pub struct Volume {
    pub disk: PathBuf,
    pub kind: &'static str,
}

/// A mount, at its folder and of its disk, that is taken down when it is dropped.
pub struct Mounted(pub PathBuf, PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
        // A daemon behind the mount goes after it, and only then is everything in the file.
        for _ in 0..2000 {
            if !is_attached(&self.1) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        eprintln!("{} is still attached", self.1.display());
    }
}

/// Whether a loop device is on that file.
fn is_attached(disk: &Path) -> bool {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let files = devices.filter_map(|device| fs::read(device.path().join("loop/backing_file")).ok());
    files.into_iter().any(|file| file.strip_suffix(b"\n") == Some(disk.as_os_str().as_bytes()))
}

impl Volume {
    /// A new file system.
    pub fn new(site: &Site, kind: &'static str) -> Volume {
        let disk = site.path(&format!("{kind}.raw"));
        fs::File::create(&disk).unwrap().set_len(320 << 20).unwrap();
        let make = match kind {
            "ext4" => "mke2fs -q -t ext4 -F",
            "xfs" => "mkfs.xfs -q -f",
            "btrfs" => "mkfs.btrfs -q -f",
            "ntfs" => "mkntfs -q -F -f",
            other => panic!("no {other} here"),
        };
        sh(&format!("{make} '{}'", disk.display()));
        Volume { disk, kind }
    }

    /// The program that makes it.
    pub fn maker(kind: &str) -> &'static str {
        match kind {
            "ext4" => "mke2fs",
            "xfs" => "mkfs.xfs",
            "btrfs" => "mkfs.btrfs",
            _ => "mkntfs",
        }
    }

    /// Mounts it, to be changed.
    pub fn mount(&self) -> Mounted {
        mount(&self.disk, self.kind)
    }

    /// Runs a script inside of it, mounted.
    #[track_caller]
    pub fn change(&self, script: &str) {
        let mounted = self.mount();
        sh(&format!("cd '{}'\n{script}", mounted.0.display()));
    }

    /// What a kernel's mount of a copy of it shows, by path.
    pub fn seen(&self, site: &Site) -> BTreeMap<Vec<u8>, Seen> {
        let copy = site.path(&format!("copy.{}", self.kind));
        sh(&format!("cp --sparse=always '{}' '{}'", self.disk.display(), copy.display()));
        let mounted = mount(&copy, self.kind);
        let mut seen = BTreeMap::new();
        look(&mounted.0, b"", &mut seen);
        drop(mounted);
        fs::remove_file(copy).unwrap();
        seen
    }
}

fn mount(disk: &Path, kind: &str) -> Mounted {
    let at = disk.with_extension("mnt");
    fs::create_dir_all(&at).unwrap();
    let (shown, at_shown) = (disk.display(), at.display());
    sh(&match kind {
        "ntfs" => format!("mount -t ntfs-3g -o loop '{shown}' '{at_shown}'"),
        "xfs" => format!("mount -o loop,nouuid '{shown}' '{at_shown}'"),
        // The kernel may still know another copy of it, or what was before under its loop device: it says that this one
        // exists already, until it has forgotten the other.
        "btrfs" => format!(
            "for _ in $(seq 50); do
                 ! mount -o loop '{shown}' '{at_shown}' || exit 0
                 btrfs device scan --forget || true
                 sleep 0.1
             done
             exit 1"
        ),
        _ => format!("mount -o loop '{shown}' '{at_shown}'"),
    });
    Mounted(at, disk.to_owned())
}

/// What a kernel shows of a file.
#[derive(Debug, PartialEq)]
pub struct Seen {
    pub kind: char,
    pub content: Vec<u8>,
    pub meta: (u32, u32, u32),
    pub modified: (i64, i64),
}

fn look(folder: &Path, above: &[u8], seen: &mut BTreeMap<Vec<u8>, Seen>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let path = [above, b"/", name.as_bytes()].concat();
        if path == b"/lost+found" {
            continue;
        }
        let stat = fs::symlink_metadata(entry.path()).unwrap();
        let (kind, content) = match stat.file_type() {
            kind if kind.is_dir() => {
                look(&entry.path(), &path, seen);
                ('d', Vec::new())
            }
            kind if kind.is_symlink() => {
                ('l', fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec())
            }
            kind if kind.is_fifo() => ('p', Vec::new()),
            _ => ('f', fs::read(entry.path()).unwrap()),
        };
        let modified = if kind == 'd' { (0, 0) } else { (stat.mtime(), stat.mtime_nsec()) };
        let meta = (stat.mode() & 0o7777, stat.uid(), stat.gid());
        seen.insert(path, Seen { kind, content, meta, modified });
    }
}
