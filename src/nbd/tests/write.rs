//! Writing to servers that others wrote.

use crate::support::{failure, hasty, open, uri};
use block::{BlockSink, ExtentKind};
use nbd::{NbdSink, Options};
use std::cell::RefCell;
use std::fs::{self, File};
use std::path::Path;
use testkit::image::{mixed, write_sparse};
use testkit::proc::Server;
use testkit::{conformance, require, run};

fn sink(text: &str, size: u64) -> block::Result<NbdSink> {
    NbdSink::open(&uri(text), size, &Options::default())
}

fn empty(path: &Path, size: u64) {
    File::create(path).unwrap().set_len(size).unwrap();
}

/// Runs the suite for sinks against fresh files behind servers made by `serve`.
fn suite(serve: impl Fn(&Path) -> Server) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("target.raw");
    let server = RefCell::new(None);
    conformance::sink(
        |size| {
            drop(server.take());
            // An export has whole sectors, and more than the disk.
            empty(&path, size.next_multiple_of(512));
            let new = serve(&path);
            let sink = sink(&new.uri(""), size).unwrap_or_else(|error| panic!("{error}"));
            server.replace(Some(new));
            Box::new(sink)
        },
        |size| {
            let mut bytes = fs::read(&path).unwrap();
            bytes.truncate(size as usize);
            bytes
        },
        || true,
    );
}

#[test]
fn qemu_nbd_raw() {
    if require("qemu-nbd") {
        suite(|path| Server::qemu_nbd(&["-f", "raw", "--discard=unmap", path.to_str().unwrap()]));
    }
}

#[test]
fn nbdkit_with_and_without_zeroing() {
    if !require("nbdkit") {
        return;
    }
    suite(|path| Server::nbdkit(&["file", path.to_str().unwrap()]));
    suite(|path| Server::nbdkit(&["--filter=nozero", "file", path.to_str().unwrap()]));
    suite(|path| {
        Server::nbdkit(&[
            "--filter=nozero",
            "file",
            path.to_str().unwrap(),
            "zeromode=plugin",
            "fastzeromode=slow",
        ])
    });
    suite(|path| Server::nbdkit(&["--no-sr", "file", path.to_str().unwrap()]));
}

#[test]
fn nbdkit_with_block_sizes() {
    if !require("nbdkit") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("target.raw");
    let size = (3 << 20) + 1000;
    let before = mixed(9, 4 << 20);
    fs::write(&path, &before).unwrap();
    let server = Server::nbdkit(&[
        "--filter=blocksize-policy",
        "file",
        path.to_str().unwrap(),
        "blocksize-error-policy=error",
        "blocksize-minimum=8192",
        "blocksize-preferred=8192",
        "blocksize-maximum=128K",
    ]);
    let target = sink(&server.uri(""), size).unwrap();
    assert_eq!((target.granularity(), target.export_size()), (8192, 4 << 20));
    let disk = mixed(10, size);
    target.write_at(&disk[..1 << 20], 0).unwrap();
    target.zero(1 << 20, 1 << 20).unwrap();
    target.write_at(&disk[2 << 20..], 2 << 20).unwrap();
    assert!(failure(target.write_at(&[0; 4096], 4096)).contains("blocks of 8192"));
    Box::new(target).finish().unwrap();
    let after = fs::read(&path).unwrap();
    assert!(after[..1 << 20] == disk[..1 << 20] && after[2 << 20..size as usize] == disk[2 << 20..]);
    assert!(block::is_zero(&after[1 << 20..2 << 20]));
    assert!(after[size as usize..] == before[size as usize..], "what lies behind the disk's end stays");
}

#[test]
fn qcow2_behind_qemu_nbd_equals_the_disk_and_stays_sparse() {
    if !require("qemu-nbd") || !require("qemu-img") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (raw, qcow2) = (folder.path().join("disk.raw"), folder.path().join("target.qcow2"));
    let size = (16 << 20) + 512;
    let disk = mixed(11, size);
    write_sparse(&raw, &disk);
    let (raw, qcow2) = (raw.to_str().unwrap(), qcow2.to_str().unwrap());
    run("qemu-img", ["create", "-f", "qcow2", qcow2, &size.to_string()]);
    let server = Server::qemu_nbd(&["-f", "qcow2", "--discard=unmap", qcow2]);
    let target = sink(&server.uri(""), size).unwrap();
    for (number, piece) in disk.chunks(65_536).enumerate() {
        let offset = number as u64 * 65_536;
        if block::is_zero(piece) {
            target.zero(offset, piece.len() as u64).unwrap();
        } else {
            target.write_at(piece, offset).unwrap();
        }
    }
    Box::new(target).finish().unwrap();
    let source = open(&server.uri(""));
    let extents = block::BlockSource::extents(&source, 0..size, None).unwrap();
    assert!(extents.iter().any(|extent| extent.kind != ExtentKind::Data), "{extents:?}");
    drop((source, server));
    run("qemu-img", ["check", qcow2]);
    run("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", raw, qcow2]);
}

#[test]
fn what_can_not_be_written_is_refused_before_anything_is() {
    if !require("nbdkit") {
        return;
    }
    let server = Server::nbdkit(&["-r", "memory", "1M"]);
    assert!(failure(sink(&server.uri(""), 1 << 20)).contains("read-only"));
    let server = Server::nbdkit(&["memory", "1M"]);
    let message = failure(sink(&server.uri(""), (1 << 20) + 1));
    assert!(message.contains("1048576 bytes, the disk needs 1048577"), "{message}");
}

#[test]
fn a_full_target_says_so() {
    if !require("nbdkit") {
        return;
    }
    let server =
        Server::nbdkit(&["--filter=error", "memory", "64M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%"]);
    let target = NbdSink::open(&uri(&server.uri("")), 64 << 20, &hasty()).unwrap();
    let error = target.write_at(&vec![1; 4 << 20], 1 << 20).unwrap_err();
    assert!(error.is_no_space(), "{error}");
    assert!(error.to_string().contains("at byte 1048576"), "{error}");
    // The connection is still in step: what the server does allow goes on.
    target.zero(0, 1 << 20).unwrap();
}

#[test]
fn a_lost_server_ends_a_sink() {
    if !require("nbdkit") {
        return;
    }
    let mut server = Server::nbdkit(&["memory", "64M"]);
    let target = NbdSink::open(&uri(&server.uri("")), 64 << 20, &hasty()).unwrap();
    target.write_at(&[1; 4096], 0).unwrap();
    server.kill();
    assert!(failure(target.write_at(&[1; 4096], 0)).contains("lost"));
    let connections = 16;
    for _ in 0..connections {
        assert!(failure(target.write_at(&[1; 4096], 0)).contains("lost"));
    }
    assert!(failure(Box::new(target).finish()).contains("lost"));
}
