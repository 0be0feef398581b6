//! TLS, against GnuTLS in nbdkit and qemu-nbd.

use crate::support::{Door, failure, hasty, read_all, uri};
use nbd::{NbdSink, NbdSource};
use std::fs;
use std::path::Path;
use testkit::proc::Server;
use testkit::{require, run};

/// Folders `server` and `client` with certificates of one authority, and `stranger` with another's.
pub fn certificates() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("openssl.cnf");
    fs::write(&config, "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
    for folder in ["server", "client", "stranger"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    let make = |folder: &str, name: &str, subject: &str, extensions: &[&str], authority: Option<&str>| {
        let folder = root.path().join(folder);
        let path = |suffix: &str| folder.join(format!("{name}-{suffix}.pem")).display().to_string();
        let (key, certificate) = (path("key"), path("cert"));
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        args.extend(["-days", "2", "-config", config.to_str().unwrap(), "-subj", subject]);
        args.extend(["-keyout", &key, "-out", &certificate]);
        for extension in extensions {
            args.extend(["-addext", extension]);
        }
        let authority = authority.map(|at| (format!("{at}/ca-cert.pem"), format!("{at}/ca-key.pem")));
        if let Some((certificate, key)) = &authority {
            args.extend(["-CA", certificate, "-CAkey", key]);
        }
        run("openssl", &args);
    };
    let ca = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"];
    make("server", "ca", "/CN=test authority", &ca, None);
    make("stranger", "ca", "/CN=another authority", &ca, None);
    let authority = root.path().join("server").display().to_string();
    let end = ["basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature,keyEncipherment"];
    let server = [
        &end[..],
        &["subjectAltName=DNS:localhost,DNS:backup.example,IP:127.0.0.1", "extendedKeyUsage=serverAuth"],
    ]
    .concat();
    make("server", "server", "/CN=localhost", &server, Some(&authority));
    let client = [&end[..], &["extendedKeyUsage=clientAuth"]].concat();
    make("client", "client", "/CN=client", &client, Some(&authority));
    fs::copy(root.path().join("server/ca-cert.pem"), root.path().join("client/ca-cert.pem")).unwrap();
    root
}

pub fn folder(root: &Path, name: &str) -> String {
    root.join(name).display().to_string()
}

#[test]
fn nbdkit_that_requires_tls() {
    if !require("nbdkit") || !require("openssl") {
        return;
    }
    let root = certificates();
    let (ours, theirs) = (folder(root.path(), "client"), folder(root.path(), "server"));
    let server = Server::nbdkit(&["--tls=require", "--tls-certificates", &theirs, "pattern", "size=4M"]);
    let door = Door::to(&server.socket());
    let over_unix = server.uri("").replacen("nbd", "nbds", 1);
    let over_tcp = door.uri("").replacen("nbd", "nbds", 1);
    for text in [
        format!("{over_unix}&tls-certificates={ours}"),
        format!("{over_unix}&tls-certificates={ours}&tls-hostname=backup.example"),
        format!("{over_tcp}?tls-certificates={ours}&tls-verify-peer=1"),
    ] {
        let source = NbdSource::open(&uri(&text), &hasty()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(source.connections() > 1, "TLS on each of several connections");
        let bytes = read_all(&source);
        let number = |n: usize| u64::from_be_bytes(bytes[8 * n..8 * n + 8].try_into().unwrap());
        assert!((0..bytes.len() / 8).all(|n| number(n) == 8 * n as u64));
    }

    let refused = |text: &str| failure(NbdSource::open(&uri(text), &hasty()));
    let plain = refused(&server.uri(""));
    assert!(plain.contains("requires TLS: write nbds://"), "{plain}");
    let stranger = refused(&format!("{over_unix}&tls-certificates={}", folder(root.path(), "stranger")));
    assert!(stranger.contains("not signed by an authority that is trusted"), "{stranger}");
    let name = refused(&format!("{over_unix}&tls-certificates={ours}&tls-hostname=other.example"));
    assert!(name.contains("not for 'other.example'"), "{name}");
    let missing = refused(&format!("{over_unix}&tls-certificates=/nonexistent"));
    assert!(missing.contains("/nonexistent/ca-cert.pem"), "{missing}");
}

#[test]
fn a_server_without_tls_is_refused_by_nbds() {
    if !require("nbdkit") || !require("openssl") {
        return;
    }
    let root = certificates();
    let server = Server::nbdkit(&["--tls=off", "memory", "1M"]);
    let text = server.uri("").replacen("nbd", "nbds", 1);
    let text = format!("{text}&tls-certificates={}", folder(root.path(), "client"));
    let message = failure(NbdSource::open(&uri(&text), &hasty()));
    assert!(message.contains("has no TLS"), "{message}");
    let old = Server::nbdkit(&["-o", "memory", "1M"]);
    let text = old.uri("").replacen("nbd", "nbds", 1);
    let text = format!("{text}&tls-certificates={}", folder(root.path(), "client"));
    let message = failure(NbdSource::open(&uri(&text), &hasty()));
    assert!(message.contains("too old for TLS"), "{message}");
}

#[test]
fn qemu_nbd_that_wants_to_know_its_clients() {
    if !require("qemu-nbd") || !require("openssl") {
        return;
    }
    let root = certificates();
    let disk = root.path().join("disk.raw");
    fs::write(&disk, vec![7; 3 << 20]).unwrap();
    let credentials = format!(
        "tls-creds-x509,id=tls0,endpoint=server,verify-peer=on,dir={}",
        folder(root.path(), "server")
    );
    let server = Server::qemu_nbd(&[
        "--object",
        &credentials,
        "--tls-creds",
        "tls0",
        "-f",
        "raw",
        disk.to_str().unwrap(),
    ]);
    let base = server.uri("").replacen("nbd", "nbds", 1);
    let ours = uri(&format!("{base}&tls-certificates={}", folder(root.path(), "client")));
    let sink = NbdSink::open(&ours, 3 << 20, &hasty()).unwrap_or_else(|error| panic!("{error}"));
    block::BlockSink::write_at(&sink, &[9; 2 << 20], 0).unwrap();
    block::BlockSink::finish(Box::new(sink)).unwrap();
    let source = NbdSource::open(&ours, &hasty()).unwrap_or_else(|error| panic!("{error}"));
    assert!(read_all(&source) == [vec![9; 2 << 20], vec![7; 1 << 20]].concat());
    drop(source);

    for secret in ["client-cert.pem", "client-key.pem"] {
        fs::remove_file(root.path().join("client").join(secret)).unwrap();
        let message = failure(NbdSource::open(&ours, &hasty()));
        let expected = if secret == "client-cert.pem" { "client-cert.pem is missing" } else { "" };
        assert!(message.contains(expected), "{message}");
    }
}
