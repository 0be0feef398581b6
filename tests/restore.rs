//! Getting a disk back: to files, devices and exports, whole and checked.

use crate::harness::{MIB, Site, have, same_bytes};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

fn backed_up(options: &str) -> (Site, std::path::PathBuf, String) {
    let site = Site::new();
    let disk = site.disk("disk.raw", 48 * MIB + 512, 12, 3);
    let id = site.backup(&format!("--vm pg --source {} {options}", disk.display()));
    (site, disk, id)
}

#[test]
fn a_restored_raw_file_is_equal_and_sparse() {
    let (site, disk, id) = backed_up("");
    let target = site.path("out.raw");
    site.ok(&format!("restore disk {id} --to {}", target.display()));
    assert!(same_bytes(&disk, &target));
    let stored = target.metadata().unwrap().blocks() * 512;
    assert!(stored < 24 * MIB, "{stored} bytes on disk for 12 MiB of data");
}

#[test]
fn what_exists_is_not_overwritten_unasked() {
    let (site, disk, id) = backed_up("--compress");
    let target = site.path("out.raw");
    fs::write(&target, "precious").unwrap();
    site.run(&format!("restore disk {id} --to {}", target.display())).failed_with(5, &["--overwrite"]);
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    site.ok(&format!("restore disk {id} --to {} --overwrite --yes", target.display()));
    assert!(same_bytes(&disk, &target));
}

#[test]
fn a_restored_qcow2_stands_alone() {
    if !have(&["qemu-img"]) {
        return;
    }
    let (site, disk, id) = backed_up("");
    let target = site.path("out.qcow2");
    site.ok(&format!("restore disk {id} --to {} --format qcow2", target.display()));
    for arguments in [vec!["check", "-q", "-f", "qcow2"], vec!["compare", "-q", "-f", "qcow2", "-F", "raw"]] {
        let mut command = Command::new("qemu-img");
        command.args(&arguments).arg(&target);
        if arguments[0] == "compare" {
            command.arg(&disk);
        }
        assert!(command.status().unwrap().success(), "{command:?}");
    }
}

#[test]
fn an_export_is_written_to() {
    if !have(&["qemu-nbd", "qemu-img"]) {
        return;
    }
    let (site, disk, id) = backed_up("");
    let target = site.path("target.raw");
    fs::File::create(&target).unwrap().set_len(48 * MIB + 512).unwrap();
    let socket = site.path("nbd.sock");
    let _server = crate::harness::Running::start(
        Command::new("qemu-nbd")
            .args(["--persistent", "--format=raw", "--shared=4", "--socket"])
            .arg(&socket)
            .arg(&target),
    );
    crate::harness::eventually("qemu-nbd listens", std::time::Duration::from_secs(10), || socket.exists());
    site.ok(&format!("restore disk {id} --to nbd+unix:///?socket={} --overwrite --yes", socket.display()));
    assert!(same_bytes(&disk, &target));
}

#[test]
fn a_device_that_is_too_small_is_refused_and_one_that_fits_is_written() {
    if !have(&["losetup"]) {
        return;
    }
    let (site, disk, id) = backed_up("");
    for (size, fits) in [(48 * MIB, false), (64 * MIB, true)] {
        let backing = site.path(&format!("loop-{size}.raw"));
        fs::write(&backing, vec![0xa5; size as usize]).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&backing).output().unwrap();
        if !output.status.success() {
            assert!(std::env::var_os("SENDENSE_REQUIRE_ALL").is_none(), "losetup failed: {output:?}");
            eprintln!("SKIPPED: losetup does not work here");
            return;
        }
        let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        let run = site.run(&format!("restore disk {id} --to {device} --overwrite --yes"));
        assert!(Command::new("losetup").args(["--detach", &device]).status().unwrap().success());
        if fits {
            assert_eq!(run.code, 0, "{run:#?}");
            let (restored, original) = (fs::read(&backing).unwrap(), fs::read(&disk).unwrap());
            assert!(restored[..original.len()] == original[..]);
        } else {
            run.failed_with(1, &["the disk needs"]);
            assert!(fs::read(&backing).unwrap().iter().all(|byte| *byte == 0xa5), "nothing was written");
        }
    }
}
