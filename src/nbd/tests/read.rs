//! Reading from servers that others wrote, of all ages and abilities.

use crate::support::{Door, failure, hasty, open, read_all, uri};
use block::{BlockSource, ExtentKind};
use nbd::{NbdSource, Options};
use std::path::PathBuf;
use testkit::image::{mixed, write_sparse};
use testkit::proc::Server;
use testkit::{conformance, require, run};

/// A disk of no round size, as a file in a folder.
fn disk(seed: u64, size: u64) -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.raw");
    let bytes = mixed(seed, size);
    write_sparse(&path, &bytes);
    (folder, path, bytes)
}

#[test]
fn qemu_nbd_raw_and_qcow2() {
    if !require("qemu-nbd") || !require("qemu-img") {
        return;
    }
    let (folder, path, bytes) = disk(1, (9 << 20) + 512);
    let raw = path.to_str().unwrap();
    let server = Server::qemu_nbd(&["-r", "-f", "raw", raw]);
    let source = open(&server.uri(""));
    assert!(source.connections() > 1, "a read-only qemu-nbd allows several connections");
    conformance::source(&source, &bytes);

    let qcow2 = folder.path().join("disk.qcow2");
    run("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, qcow2.to_str().unwrap()]);
    let server = Server::qemu_nbd(&["-r", "-f", "qcow2", qcow2.to_str().unwrap()]);
    let source = open(&server.uri(""));
    conformance::source(&source, &bytes);
    let extents = source.extents(0..source.size(), None).unwrap();
    assert!(extents.iter().any(|extent| extent.kind == ExtentKind::Hole), "{extents:?}");
}

#[test]
fn storage_daemon_with_a_named_export() {
    if !require("qemu-storage-daemon") {
        return;
    }
    let (_folder, path, bytes) = disk(2, 3 << 20);
    let blockdev = format!("driver=file,filename={},node-name=d,read-only=on", path.display());
    let server = Server::storage_daemon(&[
        "--blockdev",
        &blockdev,
        "--export",
        "type=nbd,id=e,node-name=d,name=a disk/ü%",
    ]);
    let source = open(&server.uri("a%20disk/%C3%BC%25"));
    conformance::source(&source, &bytes);
    drop(source);
    let message = failure(NbdSource::open(&uri(&server.uri("other")), &hasty()));
    assert!(message.contains("no export named 'other'"), "{message}");
}

#[test]
fn nbdkit_in_every_dress() {
    if !require("nbdkit") {
        return;
    }
    let (_folder, path, bytes) = disk(3, (5 << 20) + 8192);
    let file = path.to_str().unwrap();
    let policy = ["--filter=blocksize-policy", "-r", "file", file, "blocksize-error-policy=error"];
    let dresses: [(&str, Vec<&str>); 10] = [
        ("plain", vec!["-r", "file", file]),
        ("no structured replies", vec!["--no-sr", "-r", "file", file]),
        ("oldstyle", vec!["-o", "-r", "file", file]),
        ("newstyle that is not fixed", vec!["--mask-handshake=0", "-r", "file", file]),
        ("padding kept", vec!["--mask-handshake=1", "-r", "file", file]),
        ("no extents", vec!["--filter=noextents", "-r", "file", file]),
        ("one connection", vec!["--filter=multi-conn", "-r", "file", file, "multi-conn-mode=disable"]),
        ("large minimum", [&policy[..], &["blocksize-minimum=8192", "blocksize-preferred=8192"]].concat()),
        ("small maximum", [&policy[..], &["blocksize-minimum=512", "blocksize-maximum=65536"]].concat()),
        ("slow", vec!["--filter=delay", "-r", "file", file, "delay-read=3ms"]),
    ];
    for (dress, args) in dresses {
        eprintln!("{dress}");
        let server = Server::nbdkit(&args);
        let source = open(&server.uri(""));
        let single = dress == "one connection";
        assert_eq!(source.connections() == 1, single, "{dress}: {} connections", source.connections());
        conformance::source(&source, &bytes);
        assert!(read_all(&source) == bytes, "{dress}");
    }
}

#[test]
fn nbdkit_with_a_size_of_no_whole_sectors() {
    if !require("nbdkit") {
        return;
    }
    for size in [1, 511, 1_000_003] {
        let (_folder, path, bytes) = disk(size, size);
        let server = Server::nbdkit(&["-r", "file", path.to_str().unwrap()]);
        conformance::source(&open(&server.uri("")), &bytes);
    }
}

#[test]
fn large_and_sparse() {
    if !require("nbdkit") {
        return;
    }
    let server = Server::nbdkit(&["sparse-random", "size=128G", "percent=0.1", "seed=7"]);
    let source = open(&server.uri(""));
    let (mut at, mut questions, mut data) = (0, 0, 0);
    while at < source.size() {
        let extents = source.extents(at..source.size(), None).unwrap();
        at = extents.last().unwrap().end();
        let full = extents.iter().filter(|extent| extent.kind == ExtentKind::Data);
        data += full.map(|extent| extent.length).sum::<u64>();
        questions += 1;
    }
    assert_eq!((at, questions), (128 << 30, 128), "one question a GiB");
    assert!((1 << 26..1 << 28).contains(&data), "{data} bytes of data");
}

#[test]
fn an_empty_export() {
    if !require("nbdkit") {
        return;
    }
    let server = Server::nbdkit(&["null", "size=0"]);
    let source = open(&server.uri(""));
    assert_eq!(source.size(), 0);
    source.read_at(&mut [], 0).unwrap();
    assert!(source.read_at(&mut [0], 0).is_err());
}

#[test]
fn over_tcp_by_name_and_address() {
    if !require("nbdkit") {
        return;
    }
    let server = Server::nbdkit(&["pattern", "size=4M"]);
    let door = Door::to(&server.socket());
    for text in [door.uri(""), format!("nbd://localhost:{}", door.port())] {
        let bytes = read_all(&open(&text));
        let right = bytes
            .chunks_exact(8)
            .enumerate()
            .all(|(n, eight)| u64::from_be_bytes(eight.try_into().unwrap()) == 8 * n as u64);
        assert!(right, "the pattern over {text}");
    }
}

#[test]
fn a_socket_in_a_folder_with_odd_characters() {
    if !require("nbdkit") {
        return;
    }
    let folder = tempfile::Builder::new().prefix("a b,c=%?&ü").tempdir().unwrap();
    let server = Server::nbdkit(&["pattern", "size=1M"]);
    let link = folder.path().join("my socket");
    std::os::unix::fs::symlink(server.socket(), &link).unwrap();
    let location = nbd::Uri::unix(link, "");
    let source = NbdSource::open(&uri(&location.to_string()), &Options::default()).unwrap();
    assert_eq!(source.size(), 1 << 20);
}

#[test]
fn a_server_that_allows_fewer_connections_than_it_says() {
    if !require("qemu-nbd") {
        return;
    }
    let (folder, path, bytes) = disk(4, 2 << 20);
    // Says that several connections are fine, and serves two at once.
    let server = Server::start("qemu-nbd", |private, command| {
        command.args(["-r", "-t", "-f", "raw", "--shared=2", "-k"]).arg(private.join("socket"));
        command.arg(format!("--pid-file={}", private.join("pid").display())).arg(&path);
    });
    let options = Options { connections: 4, ..hasty() };
    let source = NbdSource::open(&uri(&server.uri("")), &options).unwrap();
    assert!((1..=2).contains(&source.connections()), "{} connections", source.connections());
    assert!(read_all(&source) == bytes);
    drop((source, folder));
}

#[test]
fn nobody_there() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none");
    let missing = failure(NbdSource::open(&nbd::Uri::unix(socket, "x"), &hasty()));
    assert!(missing.starts_with("connect to nbd+unix:///x?socket=/"), "{missing}");
    assert!(missing.contains("No such file"), "{missing}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let refused = failure(NbdSource::open(&uri(&format!("nbd://127.0.0.1:{port}/")), &hasty()));
    assert!(refused.contains("refused"), "{refused}");
}
