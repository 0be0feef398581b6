//! Image formats through a private qemu-nbd.

use crate::support::failure;
use block::{BlockSource, Error};
use nbd::{Options, qemu_nbd};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::image::{mixed, write_sparse};
use testkit::{conformance, require, run, wait_until};

/// An image of a disk, with a name that tries to be more than a name.
fn image(format: &str, options: &[&str], size: u64) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let disk = mixed(size, size);
    let raw = folder.path().join("disk.raw");
    write_sparse(&raw, &disk);
    // qemu-img itself can't be given such a name.
    let plain = folder.path().join(format!("disk.{format}"));
    let mut args = vec!["convert", "-f", "raw", "-O", format];
    args.extend(options);
    args.extend([raw.to_str().unwrap(), plain.to_str().unwrap()]);
    run("qemu-img", &args);
    (folder, plain, disk)
}

/// Processes whose command line contains `text`.
fn processes(text: &str) -> Vec<u32> {
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(b"qemu-nbd\0") && String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

fn open(path: &Path, format: &str) -> block::Result<Box<dyn BlockSource>> {
    qemu_nbd::open(path, format, &Options::default())
}

#[test]
fn every_format_reads_as_the_disk_it_holds() {
    if !require("qemu-nbd") || !require("qemu-img") {
        return;
    }
    let formats: [(&str, &[&str]); 6] = [
        ("vmdk", &[]),
        ("vmdk", &["-o", "subformat=streamOptimized"]),
        ("vmdk", &["-o", "subformat=twoGbMaxExtentFlat"]),
        ("vhdx", &[]),
        ("vdi", &[]),
        ("qed", &[]),
    ];
    for (format, options) in formats {
        // VHDX counts in megabytes.
        let (_folder, path, disk) = image(format, options, 6 << 20);
        let source = open(&path, format).unwrap_or_else(|error| panic!("{format} {options:?}: {error}"));
        conformance::source(&*source, &disk);
        let name = path.display().to_string();
        assert_eq!(processes(&name).len(), 1);
        drop(source);
        assert!(processes(&name).is_empty(), "{format}: qemu-nbd is still there");
    }
}

#[test]
fn a_name_is_only_a_name() {
    if !require("qemu-nbd") || !require("qemu-img") {
        return;
    }
    let (folder, path, disk) = image("vmdk", &[], 1 << 20);
    for name in [
        "a b,driver=raw,read-only=off.vmdk",
        "--persistent",
        "json:{\"driver\":\"null-co\"}",
        "nbd:localhost:10809",
        "fat:rw:x%20y",
        "ünïcödé\n\t'\"$(x);,,=.vmdk",
    ] {
        let odd = folder.path().join(name);
        fs::rename(&path, &odd).unwrap();
        let source = open(&odd, "vmdk").unwrap_or_else(|error| panic!("{name:?}: {error}"));
        let mut bytes = vec![0; disk.len()];
        source.read_at(&mut bytes, 0).unwrap();
        assert!(bytes == disk, "{name:?}");
        drop(source);
        fs::rename(&odd, &path).unwrap();
    }
}

#[test]
fn what_qemu_nbd_says_is_in_the_error() {
    if !require("qemu-nbd") || !require("qemu-img") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.vhdx");
    fs::write(&path, vec![0x55; 1 << 20]).unwrap();
    let message = failure(open(&path, "vhdx"));
    assert!(message.contains("broken.vhdx: qemu-nbd: "), "{message}");
    assert!(message.contains("not in VHDX format") || message.contains("vhdx"), "{message}");
    let message = failure(open(&path, "nonsense"));
    assert!(message.contains("Unknown driver 'nonsense'"), "{message}");
}

#[test]
fn a_child_that_is_killed_is_the_cause_of_the_error() {
    if !require("qemu-nbd") || !require("qemu-img") {
        return;
    }
    let (_folder, path, _) = image("vdi", &[], 4 << 20);
    let source = open(&path, "vdi").unwrap();
    for pid in processes(&path.display().to_string()) {
        run("kill", ["-9", &pid.to_string()]);
    }
    let error = source.read_at(&mut vec![0; 1 << 20], 0).unwrap_err();
    assert!(matches!(&error, Error::Peer { transient: false, .. }), "{error:?}");
    assert!(error.to_string().contains("qemu-nbd: it was killed"), "{error}");
}

#[test]
fn an_interrupt_ends_it_too() {
    if !require("qemu-nbd") || !require("qemu-img") {
        return;
    }
    let (_folder, path, _) = image("vdi", &[], 4 << 20);
    let options = Options::default();
    let source = qemu_nbd::open(&path, "vdi", &options).unwrap();
    options.interrupt.stop();
    assert!(matches!(source.read_at(&mut [0; 512], 0), Err(Error::Cancelled)));
    assert!(matches!(qemu_nbd::open(&path, "vdi", &options), Err(Error::Cancelled)));
}

/// The variable that makes [`this_process_holds_an_image`] do what it says.
const HOLD: &str = "SENDENSE_TEST_HOLD_IMAGE";

/// Not a test by itself: run by others in a process of its own.
#[test]
fn this_process_holds_an_image() {
    let Some(path) = std::env::var_os(HOLD) else { return };
    match open(Path::new(&path), "vdi") {
        Ok(_source) => {
            println!("\nholding");
            // Until killed, or until the test that started it is gone.
            let _ = std::io::stdin().read_line(&mut String::new());
        }
        Err(error) => println!("\n{error}"),
    }
}

fn holder(path: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "images::this_process_holds_an_image", "--nocapture"]).env(HOLD, path);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

#[test]
fn a_process_that_is_killed_leaves_no_child_behind() {
    if !require("qemu-nbd") || !require("qemu-img") {
        return;
    }
    let (_folder, path, _) = image("vdi", &[], 1 << 20);
    let name = path.display().to_string();
    let mut process = holder(&path).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"));
    assert_eq!(processes(&name).len(), 1);
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(wait_until(Duration::from_secs(10), || processes(&name).is_empty()), "qemu-nbd outlived it");
}

#[test]
fn a_missing_qemu_nbd_is_told_with_what_to_install() {
    if !require("qemu-img") {
        return;
    }
    let (folder, path, _) = image("vdi", &[], 1 << 20);
    let output = holder(&path).env("PATH", folder.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("install qemu-utils"), "{said}");
}
