//! Backups as folders: what is in them, who uses them, how they end, and what is left when they are killed.

mod history;
mod hostile;
mod life;
mod many;
mod reading;
mod users;

use crate::harness::{Site, eventually, have};
use serde_json::Value;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long anything here may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a shell script, which must succeed, and gives what it printed.
#[track_caller]
fn sh(script: &str) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let done = Command::new("bash").args(["-ec", script]).env("PATH", path).output().unwrap();
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Whether FUSE and these programs are here; otherwise says so, and fails where nothing may be skipped.
fn can_mount(programs: &[&str]) -> bool {
    if !have(programs) || !have(&["mke2fs", "fusermount3", "sqlite3"]) {
        return false;
    }
    if Path::new("/dev/fuse").exists() {
        return true;
    }
    assert!(
        std::env::var_os("SENDENSE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "there is no /dev/fuse"
    );
    eprintln!("SKIPPED: there is no /dev/fuse");
    false
}

/// Whether this is root; otherwise says so, and fails where nothing may be skipped.
fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("SENDENSE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "this needs root, and nothing may be skipped"
    );
    eprintln!("SKIPPED: this needs root");
    false
}

/// A disk with one ext4 on it: a Linux with these files.
fn guest(site: &Site, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let (folder, disk) = (site.path(&format!("{name}.files")), site.path(&format!("{name}.raw")));
    let system = [
        ("usr/lib/os-release", "ID=testix\nPRETTY_NAME=Testix\n"),
        ("etc/fstab", "/dev/vda / ext4 defaults 0 1\n"),
    ];
    for (file, content) in system.iter().chain(files) {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    sh(&format!("mke2fs -q -t ext4 -d '{}' '{}' 16M", folder.display(), disk.display()));
    disk
}

/// A site with one point of one VM, which has a file or two.
fn one_point(site: &Site) -> String {
    let disk = guest(site, "web", &[("etc/hostname", "web\n"), ("var/www/index.php", "<?php\n")]);
    site.backup(&format!("--vm web --source {}", disk.display()))
}

/// What is open, as `restore mounts --json` has it.
fn mounts(site: &Site) -> Vec<Value> {
    site.json("restore mounts")["mounts"].as_array().unwrap().clone()
}

fn is_mounted(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    table.lines().any(|line| line.split(' ').nth(1) == path.to_str())
}

/// Unmounts everything of a site when the test ends, whatever happened, so that its folder can be removed.
struct Unmounts<'a>(&'a Site);

impl Drop for Unmounts<'_> {
    fn drop(&mut self) {
        let _ = self.0.run("restore unmount --all --force");
    }
}

/// A site with one point of the VM `web`, and a folder to mount it at. Everything of it is unmounted when the test ends.
struct Ground {
    site: Site,
    point: String,
    mnt: PathBuf,
}

impl Ground {
    /// `None` where nothing can be mounted.
    fn new() -> Option<Ground> {
        Ground::of(Site::new)
    }

    /// One whose mounts are processes of their own, whatever the suite runs with.
    fn embedded() -> Option<Ground> {
        Ground::of(Site::embedded)
    }

    fn of(site: impl FnOnce() -> Site) -> Option<Ground> {
        if !can_mount(&[]) {
            return None;
        }
        let site = site();
        let (point, mnt) = (one_point(&site), site.path("mnt"));
        Some(Ground { site, point, mnt })
    }
}

impl Deref for Ground {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        drop(Unmounts(&self.site));
    }
}

/// A process that stands in a folder until it is dropped.
struct Standing(Child);

impl Standing {
    fn in_folder(path: &Path) -> Standing {
        let child = Command::new("sleep").arg("600").current_dir(path).stdin(Stdio::null()).spawn().unwrap();
        Standing(child)
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Waits until nothing of a mount is left: not in the kernel's table, not in the catalog, not in the leases.
fn gone(site: &Site, path: &Path) {
    eventually("the mount is gone", PATIENCE, || {
        !is_mounted(path)
            && site.sql("SELECT count(*) FROM restore_mounts") == "0"
            && site.sql("SELECT count(*) FROM leases") == "0"
    });
}
