//! The server and the clients that others wrote: libnbd's tools, QEMU's, and the client of this crate.

use crate::served::{Served, bytes_of, hasty, patchy};
use crate::support::{failure, read_all, uri};
use crate::tls::{certificates, folder};
use block::{BlockSource, Error, ExtentKind};
use nbd::server::{Export, Listen, Server, ServerOptions, ServerTls};
use nbd::{NbdSource, Options, Overlay};
use std::fs;
use std::process::Command;
use std::sync::Arc;
use testkit::faults::{Faults, On, What};
use testkit::mem::MemSource;
use testkit::{require, run};

const MIB: u64 = 1 << 20;

#[test]
fn nbdinfo_sees_the_export_as_it_is() {
    if !require("nbdinfo") || !require("jq") {
        return;
    }
    let served = Served::disk(patchy(9 * MIB + 512));
    let told = run("nbdinfo", ["--json", &served.uri("disk0")]);
    for part in [
        "\"export-size\": 9437696",
        "\"is_read_only\": true",
        "\"can_multi_conn\": true",
        "\"can_df\": true",
        "\"base:allocation\"",
        "\"description\": \"a disk\"",
        "\"block_size_preferred\": 65536",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    // The only export is the default one, too.
    assert!(run("nbdinfo", ["--size", &served.uri("")]).starts_with("9437696"));
    let refused = Command::new("nbdinfo").arg(served.uri("other")).output().unwrap();
    assert!(!refused.status.success());
}

#[test]
fn nbdinfo_lists_all_exports() {
    if !require("nbdinfo") {
        return;
    }
    let export = |name: &str, size: u64| {
        Export::read_only(name, name.to_uppercase(), Arc::new(MemSource::new(vec![1; size as usize])))
    };
    let served = Served::new(vec![export("disk0", MIB), export("disk1", 2 * MIB)], hasty());
    let told = run("nbdinfo", ["--list", "--json", &served.uri("")]);
    for part in ["\"export-name\": \"disk0\"", "\"export-size\": 2097152", "\"description\": \"DISK1\""] {
        assert!(told.contains(part), "{part} in {told}");
    }
    // Of several none is the default one.
    let refused = Command::new("nbdinfo").args(["--size", &served.uri("")]).output().unwrap();
    assert!(!refused.status.success());
    assert!(run("nbdinfo", ["--size", &served.uri("disk1")]).starts_with("2097152"));
}

#[test]
fn the_map_of_nbdinfo_is_that_of_the_disk() {
    if !require("nbdinfo") {
        return;
    }
    let disk = patchy(40 * MIB);
    let mut expected: Vec<(u64, u64, u64)> = Vec::new();
    let mut at = 0;
    while at < disk.size() {
        for extent in disk.extents(at..disk.size(), None).unwrap() {
            let state = if extent.kind == ExtentKind::Data { 0 } else { 3 };
            match expected.last_mut() {
                Some((_, length, same)) if *same == state => *length += extent.length,
                _ => expected.push((extent.offset, extent.length, state)),
            }
            at = extent.end();
        }
    }
    let served = Served::disk(disk);
    let told = run("nbdinfo", ["--map", &served.uri("disk0")]);
    let found: Vec<(u64, u64, u64)> = told
        .lines()
        .map(|line| {
            let numbers: Vec<u64> = line.split_whitespace().take(3).map(|n| n.parse().unwrap()).collect();
            (numbers[0], numbers[1], numbers[2])
        })
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn nbdcopy_gets_every_byte_over_several_connections() {
    if !require("nbdcopy") {
        return;
    }
    let disk = patchy(100 * MIB + 1024);
    let expected = bytes_of(&disk);
    let served = Served::disk(disk);
    let copy = served.folder.path().join("copy");
    for options in [
        &["--connections=4", "--requests=64"][..],
        &["--connections=1", "--requests=1", "--synchronous"],
        &["--no-extents", "--request-size=33554432", "--connections=2", "--requests=2"],
    ] {
        let mut arguments = options.to_vec();
        let from = served.uri("disk0");
        arguments.extend([from.as_str(), copy.to_str().unwrap()]);
        run("nbdcopy", arguments);
        assert!(fs::read(&copy).unwrap() == expected, "{options:?}");
        fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn qemu_img_reads_and_compares() {
    if !require("qemu-img") {
        return;
    }
    let disk = patchy(70 * MIB);
    let expected = bytes_of(&disk);
    let served = Served::disk(disk);
    let (raw, copy) = (served.folder.path().join("raw"), served.folder.path().join("copy"));
    fs::write(&raw, &expected).unwrap();
    let from = served.uri("disk0");
    run("qemu-img", ["compare", "-q", "-f", "raw", "-F", "raw", &from, raw.to_str().unwrap()]);
    run("qemu-img", ["convert", "-f", "raw", "-O", "raw", "-m", "8", "-W", &from, copy.to_str().unwrap()]);
    assert!(fs::read(&copy).unwrap() == expected);
    // A small file where the disk has holes: they were told as such.
    use std::os::unix::fs::MetadataExt;
    let full = fs::metadata(&raw).unwrap().blocks();
    assert!(fs::metadata(&copy).unwrap().blocks() < full, "holes were not seen");
}

#[test]
fn the_client_of_this_crate_reads_it() {
    let disk = patchy(20 * MIB);
    let expected = bytes_of(&disk);
    let served = Served::disk(disk);
    let source = NbdSource::open(&uri(&served.uri("disk0")), &Options::default()).unwrap();
    assert!(source.connections() > 1);
    assert!(read_all(&source) == expected);
}

#[test]
fn over_tcp() {
    if !require("nbdinfo") {
        return;
    }
    let disk = patchy(3 * MIB);
    let expected = bytes_of(&disk);
    let export = Arc::new(Export::read_only("disk0", "", Arc::new(disk)));
    let exports = nbd::server::FixedExports::new(vec![Arc::clone(&export)]);
    let at = Listen::Tcp("127.0.0.1:0".parse().unwrap());
    let server = Server::start(&at, Arc::new(exports), hasty()).unwrap();
    let address = server.uri("disk0").to_string();
    assert!(address.starts_with("nbd://127.0.0.1:") && !address.contains(":0/"), "{address}");
    assert!(run("nbdinfo", ["--size", &address]).starts_with("3145728"));
    let source = NbdSource::open(&uri(&address), &Options::default()).unwrap();
    assert!(read_all(&source) == expected);
    let usage = export.activity().usage();
    assert!(usage.connections > 0 && usage.connections_ever > 1 && usage.idle.is_none(), "{usage:?}");
    // Holes are told, not sent.
    assert!(usage.bytes_read > 0 && usage.bytes_read < expected.len() as u64, "{usage:?}");
}

#[test]
fn tls_is_required_where_it_is_set_up() {
    if !require("openssl") || !require("nbdcopy") {
        return;
    }
    let root = certificates();
    let ours = root.path().join("server");
    let disk = patchy(30 * MIB);
    let expected = bytes_of(&disk);
    for verify_peer in [false, true] {
        let tls = Some(ServerTls::load(&ours, verify_peer).unwrap());
        let export = Export::read_only("disk0", "", Arc::new(disk.clone()));
        let served = Served::new(vec![export], ServerOptions { tls, ..hasty() });
        let base = served.uri("disk0");
        assert!(base.starts_with("nbds+unix://"), "{base}");
        let client = folder(root.path(), "client");
        let good = format!("{base}&tls-certificates={client}");
        // The client of this crate, over rustls, and libnbd's, over GnuTLS.
        let source = NbdSource::open(&uri(&good), &Options::default()).unwrap();
        assert!(read_all(&source) == expected);
        let copy = served.folder.path().join("copy");
        run(
            "nbdcopy",
            ["--connections=4", &format!("{good}&tls-hostname=localhost"), copy.to_str().unwrap()],
        );
        assert!(fs::read(&copy).unwrap() == expected);

        let plain = failure(NbdSource::open(&uri(&base.replacen("nbds", "nbd", 1)), &Options::default()));
        assert!(plain.contains("requires TLS"), "{plain}");
        // A client without a certificate of the authority.
        let stranger = root.path().join("anonymous");
        fs::create_dir_all(&stranger).unwrap();
        fs::copy(ours.join("ca-cert.pem"), stranger.join("ca-cert.pem")).unwrap();
        let anonymous = format!("{base}&tls-certificates={}", stranger.display());
        let met = NbdSource::open(&uri(&anonymous), &Options::default());
        assert_eq!(met.is_ok(), !verify_peer, "a client without a certificate, verify_peer {verify_peer}");
    }
    let missing = ServerTls::load(&root.path().join("client"), false).err().unwrap().to_string();
    assert!(missing.contains("server-cert.pem"), "{missing}");
}

#[test]
fn an_overlay_takes_all_that_qemu_io_writes() {
    if !require("qemu-io") {
        return;
    }
    let below = patchy(16 * MIB);
    let original = bytes_of(&below);
    let folder = tempfile::tempdir().unwrap();
    let overlay = Arc::new(Overlay::over(Arc::new(below.clone()), folder.path()).unwrap());
    let served = Served::new(vec![Export::writable("disk0", "", Arc::clone(&overlay))], hasty());
    let to = served.uri("disk0");
    let io = |commands: &[&str]| {
        let mut arguments = vec!["-f", "raw"];
        for command in commands {
            arguments.extend(["-c", command]);
        }
        arguments.push(&to);
        let said = run("qemu-io", arguments);
        assert!(!said.contains("rror") && !said.contains("failed"), "{said}");
    };
    io(&[
        "write -P 0xaa 1000 5000",
        "write -P 0xbb 3M 2M",
        "write -z 4M 512k",
        "write -z -u 1001 333",
        "write -f -P 0xcc 16770000 7216",
        "discard 8M 1M",
        "flush",
    ]);
    // Another connection sees it.
    io(&["read -P 0xaa 1334 4666", "read -P 0 1001 333", "read -P 0xbb 3M 1M", "read -P 0 4M 512k"]);
    let mut expected = original.clone();
    expected[1000..6000].fill(0xaa);
    expected[3 << 20..5 << 20].fill(0xbb);
    expected[4 << 20..(4 << 20) + (512 << 10)].fill(0);
    expected[1001..1334].fill(0);
    expected[16_770_000..16_777_216].fill(0xcc);
    let mut found = bytes_of(overlay.as_ref());
    // What was discarded may read as anything.
    found[8 << 20..9 << 20].copy_from_slice(&original[8 << 20..9 << 20]);
    assert!(found == expected);
    assert!(bytes_of(&below) == original, "the disk below was written to");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the overlay has a name");

    // A disk that is read only says no to the same client.
    let read_only = Served::disk(patchy(MIB));
    let refused = Command::new("qemu-io")
        .args(["-f", "raw", "-c", "write 0 512", &read_only.uri("disk0")])
        .output()
        .unwrap();
    assert!(!refused.status.success());
}

#[test]
fn nbdcopy_fills_an_overlay_over_several_connections() {
    if !require("nbdcopy") {
        return;
    }
    let wanted = bytes_of(&patchy(48 * MIB));
    let folder = tempfile::tempdir().unwrap();
    let from = folder.path().join("from");
    fs::write(&from, &wanted).unwrap();
    let below = MemSource::new(vec![0x77; wanted.len()]);
    let overlay = Arc::new(Overlay::over(Arc::new(below), folder.path()).unwrap());
    let served = Served::new(vec![Export::writable("disk0", "", Arc::clone(&overlay))], hasty());
    run("nbdcopy", ["--connections=4", "--requests=16", from.to_str().unwrap(), &served.uri("disk0")]);
    assert!(bytes_of(overlay.as_ref()) == wanted);
    run("nbdcopy", ["--request-size=4194304", "--flush", from.to_str().unwrap(), &served.uri("disk0")]);
    assert!(bytes_of(overlay.as_ref()) == wanted);
}

#[test]
fn a_place_that_can_not_be_read_is_an_error_and_the_rest_is_served() {
    if !require("qemu-io") {
        return;
    }
    let disk = MemSource::new(vec![7; 4 * MIB as usize]);
    let damaged = Faults::new(disk).with(On::Data, MIB..MIB + 512, What::Fail(5), u64::MAX);
    let served = Served::disk(damaged);
    let output = Command::new("qemu-io")
        .args(["-r", "-f", "raw", "-c", "read 1M 64k", "-c", "read -P 7 2M 64k", &served.uri("disk0")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Input/output error"), "{said}");
    assert!(said.contains("read 65536/65536 bytes at offset 2097152"), "{said}");

    let source = NbdSource::open(&uri(&served.uri("disk0")), &Options::default()).unwrap();
    let mut buf = vec![0; 64 << 10];
    assert!(matches!(source.read_at(&mut buf, MIB), Err(Error::Io { .. })));
    source.read_at(&mut buf, 2 * MIB).unwrap();
}

#[test]
fn a_defect_in_a_disk_closes_the_connection_and_no_other() {
    let disk = MemSource::new(vec![7; MIB as usize]);
    let broken = Faults::new(disk).with(On::Data, 0..512, What::Panic, 1);
    let served = Served::disk(broken);
    let options = Options { reconnect: std::time::Duration::ZERO, connections: 1, ..Options::default() };
    let source = NbdSource::open(&uri(&served.uri("disk0")), &options).unwrap();
    let other = NbdSource::open(&uri(&served.uri("disk0")), &options).unwrap();
    let mut buf = vec![0; 512];
    assert!(failure(source.read_at(&mut buf, 0)).contains("lost"));
    other.read_at(&mut buf, 0).unwrap();
    assert_eq!(buf, vec![7; 512]);
}
