//! Clients that mean harm, or die: the server closes them, keeps its limits, and goes on serving the others.

use crate::negotiation::Raw;
use crate::served::{Served, bytes_of, hasty, patchy};
use crate::support::{open, read_all};
use block::BlockSource;
use nbd::server::{Export, Listen, Server, ServerError, ServerOptions};
use nbd::wire::{self, command};
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::mem::MemSource;
use testkit::wait_until;

const SOON: Duration = Duration::from_secs(20);

/// A well-behaved client gets what it asks for.
fn serves(served: &Served, expected: &[u8]) {
    let source = open(&served.uri("disk0"));
    assert!(read_all(&source) == expected);
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Each test connects more than a thousand times; both ends are this process's files.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

#[test]
fn garbage_closes_its_connection() {
    let disk = patchy(2 << 20);
    let expected = bytes_of(&disk);
    let served = Served::disk(disk);
    let mut noise: Vec<u8> = (0..70_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for beginning in [0u32, 3, 0xffff_ffff] {
        noise[..4].copy_from_slice(&beginning.to_be_bytes());
        let mut client = Raw::connect(&served);
        // The server may have closed it in the middle.
        let _ = client.0.write_all(&noise);
        let mut said = Vec::new();
        let _ = client.0.read_to_end(&mut said);
        assert!(said.len() < 4096, "{} bytes in answer to noise", said.len());
    }
    let mut client = Raw::serving(&served, true);
    client.send(&noise[..28]);
    assert!(client.is_closed());
    // An option that claims to be long, a write that does.
    let mut client = Raw::greeted(&served, 3);
    client.send(
        &[&wire::OPTION_MAGIC.to_be_bytes()[..], &7u32.to_be_bytes(), &u32::MAX.to_be_bytes()].concat(),
    );
    client.take(20 + "this option is longer than the server takes".len());
    assert!(client.is_closed());
    let mut client = Raw::serving(&served, true);
    client.request(command::WRITE, 0, 0, u32::MAX, &[]);
    assert!(client.is_closed());
    serves(&served, &expected);
}

#[test]
fn options_without_end_and_half_a_handshake_come_to_an_end() {
    let served = Served::disk(patchy(1 << 20));
    let mut endless = Raw::greeted(&served, 3);
    let option = wire::encode_option(77, &[]);
    let sent = (0..5000).take_while(|_| endless.0.write_all(&option).is_ok()).count();
    let mut answers = Vec::new();
    let _ = endless.0.read_to_end(&mut answers);
    assert!(sent < 5000 || answers.len() < 5000 * 20, "{sent} options, {} bytes of answers", answers.len());

    let started = Instant::now();
    let mut half = Raw::connect(&served);
    half.take(18);
    half.send(&3u32.to_be_bytes()[..2]);
    assert!(half.is_closed());
    // One byte now and then does not stretch the limit.
    let mut slow = Raw::greeted(&served, 3);
    let byte_by_byte = wait_until(SOON, || slow.0.write_all(b"I").is_err());
    assert!(byte_by_byte && started.elapsed() < SOON);
    assert!(wait_until(SOON, || served.server.connections() == 0));
}

#[test]
fn who_never_reads_is_cut_and_keeps_nobody_up() {
    let disk = MemSource::new(vec![5; 32 << 20]);
    let expected = bytes_of(&disk);
    let served = Served::disk(disk);
    let mut stuck = Raw::serving(&served, true);
    for _ in 0..64 {
        stuck.request(command::READ, 0, 0, 32 << 20, &[]);
    }
    serves(&served, &expected);
    assert!(wait_until(SOON, || served.server.connections() == 0), "it is still connected");
    // Half a request, and half a payload.
    let mut half = Raw::serving(&served, true);
    half.send(&wire::REQUEST_MAGIC.to_be_bytes());
    assert!(half.is_closed());
    // Silence between two requests is allowed, however long.
    let mut idle = Raw::serving(&served, true);
    let mut other = Raw::serving(&served, true);
    other.send(&wire::REQUEST_MAGIC.to_be_bytes());
    assert!(other.is_closed(), "the limit is over");
    idle.request(command::READ, 0, 0, 512, &[]);
    assert_eq!(idle.chunk().2.len(), 520);
}

#[test]
fn a_thousand_connections_cost_a_few_threads_and_keep_nobody_out() {
    allow_many_files();
    let disk = patchy(4 << 20);
    let expected = bytes_of(&disk);
    let export = Export::read_only("disk0", "", Arc::new(disk));
    // Handshakes that would never time out: only the limit helps.
    let options = ServerOptions {
        most_connections: 20,
        handshake_timeout: Duration::from_secs(600),
        ..ServerOptions::default()
    };
    let served = Served::new(vec![export], options);
    let before = threads();
    let mut working = Raw::serving(&served, true);
    working.request(command::READ, 0, 0, 512, &[]);
    working.chunk();
    let mut flood = Vec::new();
    let mut most = 0;
    for number in 0..1000 {
        let mut client = UnixStream::connect(served.socket()).unwrap();
        if number % 2 == 0 {
            // Some of them speak.
            let _ = client.write_all(&3u32.to_be_bytes());
        }
        flood.push(client);
        most = most.max(served.server.connections());
    }
    assert!(most <= 20 + 32, "{most} connections at once");
    // Beside those: their helpers, and threads that are about to end.
    assert!(threads() - before < 128, "{} threads", threads() - before);
    serves(&served, &expected);
    working.request(command::READ, 0, 0, 512, &[]);
    working.chunk();
    drop(flood);
    assert!(wait_until(SOON, || served.server.connections() <= 1), "what has left still counts");
}

#[test]
fn a_client_that_dies_in_the_middle_leaves_nothing() {
    let disk = MemSource::new(vec![5; 32 << 20]);
    let export = Arc::new(Export::read_only("disk0", "", Arc::new(disk)));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let exports = nbd::server::FixedExports::new(vec![Arc::clone(&export)]);
    let server = Server::start(&Listen::Unix(socket.clone()), Arc::new(exports), hasty()).unwrap();
    let served = Served { server, folder };
    for _ in 0..20 {
        let mut client = Raw::serving(&served, true);
        client.request(command::READ, 0, 0, 32 << 20, &[]);
        client.take(100_000);
        client.0.shutdown(Shutdown::Both).unwrap();
    }
    assert!(wait_until(SOON, || served.server.connections() == 0));
    let usage = export.activity().usage();
    assert_eq!((usage.connections, usage.connections_ever), (0, 20));
    assert!(usage.idle.is_some());
    assert_eq!(Arc::strong_count(&export), 2, "a connection still holds the export");
}

#[test]
fn stopping_is_prompt_and_leaves_no_socket() {
    let disk = MemSource::new(vec![5; 32 << 20]);
    let served = Served::disk(disk);
    let socket = served.socket();
    let mut idle = Raw::serving(&served, true);
    let mut stuck = Raw::serving(&served, true);
    stuck.request(command::READ, 0, 0, 32 << 20, &[]);
    let mut half = Raw::connect(&served);
    half.take(18);
    let Served { server, folder } = served;
    let started = Instant::now();
    server.stop();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(!socket.exists());
    assert!(idle.is_closed());
    assert!(half.is_closed());
    drop(folder);
}

#[test]
fn a_socket_that_is_in_use_stays_and_one_that_is_dead_is_replaced() {
    let served = Served::disk(patchy(1 << 20));
    let socket = served.socket();
    let start = |at: &std::path::Path| {
        let source: Arc<dyn BlockSource> = Arc::new(patchy(1 << 20));
        let export = Arc::new(Export::read_only("disk0", "", source));
        let exports = nbd::server::FixedExports::new(vec![export]);
        Server::start(&Listen::Unix(at.to_owned()), Arc::new(exports), hasty())
    };
    let refused = start(&socket).err().unwrap();
    assert!(matches!(refused, ServerError::Listen { .. }), "{refused}");
    serves(&served, &bytes_of(&patchy(1 << 20)));
    let dead = served.folder.path().join("dead");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    start(&dead).unwrap().stop();
    let file = served.folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(start(&file).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
}
