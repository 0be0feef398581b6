//! Faults from outside: the room, the source, the repository, the catalog or a file of the chain fails. Each ends
//! with its exit code and an error of three lines, leaves a record that names the cause and nothing half-made,
//! touches no completed point, and a retry works once the cause is gone.

mod catalog;
mod chain;
mod repository;
mod room;
mod source;

use crate::harness::{MIB, Random, Running, Site, eventually};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A file system in memory of its own, so that it can be full or read-only. Unmounted when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None`, said loudly, where this user may not mount.
    fn mount(at: PathBuf, mib: u64) -> Option<Tmpfs> {
        fs::create_dir_all(&at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "sendense-test"])
            .arg(&at)
            .output()
            .unwrap();
        if !done.status.success() {
            let strict = std::env::var_os("SENDENSE_REQUIRE_ALL").is_some_and(|value| value == "1");
            assert!(!strict, "mount: {}", String::from_utf8_lossy(&done.stderr));
            eprintln!("SKIPPED: no file system can be mounted here");
            return None;
        }
        Some(Tmpfs(at))
    }

    fn remount(&self, option: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{option}")]).arg(&self.0).status();
        assert!(done.unwrap().success(), "remount,{option}");
    }

    fn free(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Takes room until so many bytes are left; the file given back is to be removed again.
    fn fill(&self, left: u64) -> PathBuf {
        let path = self.0.join("filler");
        let file = fs::File::create(&path).unwrap();
        // A backup may take some of it meanwhile.
        eventually("the room is taken", Duration::from_secs(5), || {
            let length = self.free().saturating_sub(left);
            let take = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length.max(1));
            length == 0 || take.is_ok()
        });
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

/// Files below `root` that no completed point owns: unfinished ones, and transactions that wait.
fn unfinished(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(".partial") || name.ends_with(".tmp") || name.starts_with("txn-") {
                found.push(path);
            }
        }
    }
    found
}

/// A disk that holds nothing twice and no zeros, so that its size is what a full stores.
fn dense(site: &Site, name: &str, mib: u64, seed: u64) -> PathBuf {
    let path = site.path(name);
    fs::write(&path, Random(seed).bytes((mib * MIB) as usize)).unwrap();
    path
}

/// The newest record of the VM, which must be a failed one that names the cause; its id.
fn failed_record(site: &Site, vm: &str, code: &str, cause: &str) -> String {
    let listed = site.json(&format!("backup list --vm {vm} --limit 1"));
    let id = listed["backups"][0]["id"].as_str().unwrap().to_owned();
    let record = &site.json(&format!("backup show {id}"))["backup"];
    assert_eq!(record["status"], "failed", "{record:#}");
    assert_eq!(record["error_code"], code, "{record:#}");
    let message = record["error_message"].as_str().unwrap_or_default();
    assert!(message.contains(cause), "no {cause:?} in {message:?}");
    assert!(record["completed_at"].is_string(), "{record:#}");
    id
}

/// Waits until the backup of the child writes, so that what is done next happens in the middle of it.
fn transferring(root: &Path) {
    let writes = |path: &PathBuf| path.to_string_lossy().ends_with(".qcow2.partial");
    eventually("the backup writes", Duration::from_secs(20), || unfinished(root).iter().any(writes));
}

fn start(site: &Site, line: &str) -> Running {
    let mut command = site.command(line.split(' '));
    Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}
