//! Files and devices against the suites of every source and sink.

use block::{
    BlockSink, BlockSource, CancelToken, CopyOptions, Counters, DeviceSink, FileSink, FileSource, Mode,
    NullSink, Overwrite, Side, copy,
};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::tempdir;
use testkit::image::{mixed, write_sparse};
use testkit::{conformance, require, run};

#[test]
fn a_raw_file_is_a_source() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("disk");
    for (seed, size) in [(1, 1), (2, 4096), (3, (3 << 20) + 1), (4, 20 << 20)] {
        let disk = mixed(seed, size);
        write_sparse(&path, &disk);
        conformance::source(&FileSource::open(&path).unwrap(), &disk);
    }
}

#[test]
fn a_new_file_is_a_sink() {
    // On a disk and in memory: direct writes differ.
    for folder in [tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap()] {
        let target = folder.path().join("disk");
        conformance::sink(
            |size| Box::new(FileSink::create(&target, size, Overwrite::Replace).unwrap()),
            |_| {
                let bytes = fs::read(&target).unwrap();
                fs::remove_file(&target).unwrap();
                bytes
            },
            || fs::read_dir(folder.path()).unwrap().count() == 0,
        );
    }
}

/// A loop device over a file, detached when dropped.
struct Loop(PathBuf);

impl Loop {
    /// `None` where this machine or user has no loop devices.
    fn over(file: &Path) -> Option<Loop> {
        if !require("losetup") {
            return None;
        }
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        if !output.status.success() {
            eprintln!("SKIPPED: no loop device: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Loop(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", [Path::new("--detach"), &self.0]);
    }
}

#[test]
fn a_block_device_is_a_source_and_a_sink() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("disk");
    let disk = mixed(5, 6 << 20);
    fs::write(&path, &disk).unwrap();
    let Some(device) = Loop::over(&path) else { return };
    conformance::source(&FileSource::open(&device.0).unwrap(), &disk);
    let target = DeviceSink::open(&device.0).unwrap();
    assert!(DeviceSink::open(&device.0).is_err(), "opened twice for writing");
    let source = FileSource::open(&path).unwrap();
    let sink: Box<dyn BlockSink> = Box::new(target);
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let other = mixed(6, 6 << 20);
    let from = folder.path().join("other");
    write_sparse(&from, &other);
    let mode = Mode::Restore { expected: None };
    let options = CopyOptions::new("other", mode, &counters, &cancel);
    copy(&FileSource::open(&from).unwrap(), &*sink, options).unwrap();
    sink.finish().unwrap();
    let mut back = vec![0; other.len()];
    source.read_at(&mut back, 0).unwrap();
    File::open(&path).unwrap().sync_all().unwrap();
    assert!(fs::read(&path).unwrap() == other);
}

/// A small file system in memory, unmounted when dropped.
struct Mount(tempfile::TempDir);

impl Mount {
    /// `None` where this user may not mount.
    fn new(options: &str) -> Option<Mount> {
        if !require("mount") {
            return None;
        }
        let folder = tempdir().unwrap();
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "none"])
            .arg(folder.path())
            .output()
            .unwrap();
        if !output.status.success() {
            eprintln!("SKIPPED: no mounting: {}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        Some(Mount(folder))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        run("umount", [self.0.path()]);
    }
}

#[test]
fn a_full_file_system_is_said_to_be_full_and_left_clean() {
    let Some(mount) = Mount::new("size=2m") else { return };
    let folder = tempdir().unwrap();
    let path = folder.path().join("disk");
    fs::write(&path, mixed(7, 16 << 20)).unwrap();
    let source = FileSource::open(&path).unwrap();
    let sink = FileSink::create(&mount.0.path().join("disk"), 16 << 20, Overwrite::Refuse).unwrap();
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let mode = Mode::Restore { expected: None };
    let failure = copy(&source, &sink, CopyOptions::new("disk", mode, &counters, &cancel)).unwrap_err();
    assert_eq!(failure.side, Side::Sink);
    assert!(failure.error.is_no_space(), "{failure}");
    drop(sink);
    assert_eq!(fs::read_dir(mount.0.path()).unwrap().count(), 0);
}

#[test]
fn a_file_that_is_cut_off_during_a_copy_is_the_source_s_fault() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("cut off");
    fs::write(&path, mixed(8, 8 << 20)).unwrap();
    let source = FileSource::open(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(5 << 20).unwrap();
    let (counters, cancel) = (Counters::new(), CancelToken::new());
    let mode = Mode::Store { keep_zeros: false };
    let options = CopyOptions::new("disk", mode, &counters, &cancel);
    let failure = copy(&source, &NullSink::new(8 << 20), options).unwrap_err();
    assert_eq!(failure.side, Side::Source);
    let text = failure.to_string();
    assert!(text.contains("cut off") && text.contains("has 5242880 now"), "{text}");
}
