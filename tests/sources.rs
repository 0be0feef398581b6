//! Sources: every kind of disk that others' programs make or serve.

use crate::harness::{MIB, Running, Site, eventually, have};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn convert(site: &Site, raw: &Path, format: &str, options: &[&str]) -> PathBuf {
    let target = site.path(&format!("disk.{format}"));
    let done = Command::new("qemu-img")
        .args(["convert", "-f", "raw", "-O", format])
        .args(options)
        .arg(raw)
        .arg(&target)
        .status();
    assert!(done.unwrap().success(), "qemu-img convert to {format}");
    target
}

#[test]
fn image_files_of_other_programs_are_read() {
    if !have(&["qemu-img", "qemu-nbd"]) {
        return;
    }
    for format in ["qcow2", "vmdk", "vhdx", "vdi"] {
        let site = Site::new();
        let disk = site.disk("disk.raw", 32 * MIB, 8, 4);
        let image = convert(&site, &disk, format, &[]);
        let id = site.backup(&format!("--vm {format} --source {}", image.display()));
        site.assert_point_equals(&id, 0, &disk);
    }
}

#[test]
fn a_qcow2_chain_is_read_through_its_backing_file() {
    if !have(&["qemu-img", "qemu-io"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("disk.raw", 32 * MIB, 8, 4);
    let base = convert(&site, &disk, "qcow2", &["-o", "compression_type=zstd", "-c"]);
    let top = site.path("top.qcow2");
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"])
        .args([&base, &top])
        .status();
    assert!(made.unwrap().success());
    let wrote = Command::new("qemu-io")
        .args(["-c", "write -P 7 1M 300k", "-c", "write -z 9M 2M"])
        .arg(&top)
        .output()
        .unwrap();
    assert!(wrote.status.success());
    let expected = site.path("expected.raw");
    let done = Command::new("qemu-img").args(["convert", "-O", "raw"]).args([&top, &expected]).status();
    assert!(done.unwrap().success());
    let id = site.backup(&format!("--vm pg --source {}", top.display()));
    site.assert_point_equals(&id, 0, &expected);
}

#[test]
fn a_raw_file_that_looks_like_an_image_is_not_guessed_at() {
    if !have(&["qemu-img"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("disk.raw", 4 * MIB, 2, 4);
    let image = convert(&site, &disk, "qcow2", &[]);
    let hidden = site.path("hidden.img");
    fs::rename(&image, &hidden).unwrap();
    let run = site.run(&format!("backup start --vm pg --source {}", hidden.display()));
    run.failed_with(2, &["qcow2", "?format="]);
    let id = site.backup(&format!("--vm pg --source file://{}?format=qcow2", hidden.display()));
    site.assert_point_equals(&id, 0, &disk);
}

#[test]
fn exports_of_other_servers_are_read() {
    if !have(&["qemu-nbd", "nbdkit", "qemu-img"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("disk.raw", 32 * MIB, 8, 4);
    let socket = site.path("qemu.sock");
    let _qemu = Running::start(
        Command::new("qemu-nbd")
            .args(["--persistent", "--read-only", "--format=raw", "--shared=8", "-x", "web disk", "--socket"])
            .arg(&socket)
            .arg(&disk),
    );
    let second = site.path("kit.sock");
    let _kit =
        Running::start(Command::new("nbdkit").args(["-f", "-r", "-U"]).arg(&second).arg("file").arg(&disk));
    for path in [&socket, &second] {
        eventually("the server listens", Duration::from_secs(10), || path.exists());
    }
    for (vm, uri) in [
        ("qemu", format!("nbd+unix:///web%20disk?socket={}", socket.display())),
        ("kit", format!("nbd+unix:///?socket={}", second.display())),
    ] {
        let id = site.backup(&format!("--vm {vm} --source {uri}"));
        site.assert_point_equals(&id, 0, &disk);
    }
}
