//! Servers that fail, go away, come back, or fall silent.

use crate::support::{Door, failure, hasty, open, read_all, uri};
use block::{BlockSource, Error};
use nbd::{Interrupt, NbdSource, Options};
use std::fs;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use testkit::image::mixed;
use testkit::proc::Server;
use testkit::{require, wait_until};

fn pattern() -> Server {
    Server::nbdkit(&["pattern", "size=8M"])
}

#[test]
fn a_server_that_comes_back_is_found_again() {
    if !require("nbdkit") {
        return;
    }
    let mut first = pattern();
    let door = Door::to(&first.socket());
    let source = NbdSource::open(&uri(&door.uri("")), &Options { connections: 2, ..hasty() }).unwrap();
    let before = read_all(&source);
    first.kill();
    door.lead_to(None);
    let tried = door.accepted();
    let second = thread::scope(|scope| {
        let read = scope.spawn(|| read_all(&source));
        assert!(wait_until(Duration::from_secs(2), || door.accepted() > tried), "it dials again");
        let second = pattern();
        door.lead_to(Some(&second.socket()));
        assert!(read.join().unwrap() == before);
        second
    });
    assert!(read_all(&source) == before);
    drop(second);
}

#[test]
fn connections_that_break_all_the_time_lose_nothing() {
    if !require("nbdkit") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let disk = mixed(20, 16 << 20);
    fs::write(&path, &disk).unwrap();
    let server = Server::nbdkit(&["--filter=delay", "-r", "file", path.to_str().unwrap(), "rdelay=1ms"]);
    let door = Door::to(&server.socket());
    let options = Options { reconnect: Duration::from_secs(20), ..hasty() };
    let source = NbdSource::open(&uri(&door.uri("")), &options).unwrap();
    let opened = door.accepted();
    let (done, stop) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let door = &door;
        scope.spawn(move || {
            while stop.recv_timeout(Duration::from_millis(40)) == Err(mpsc::RecvTimeoutError::Timeout) {
                door.cut();
            }
        });
        thread::scope(|readers| {
            for reader in 0..3 {
                let (source, disk) = (&source, &disk);
                readers.spawn(move || {
                    for (number, expected) in disk.chunks(1 << 19).enumerate().skip(reader).step_by(3) {
                        let mut piece = vec![0xA5; expected.len()];
                        source.read_at(&mut piece, (number as u64) << 19).unwrap();
                        assert!(piece == expected, "piece {number}");
                    }
                });
            }
        });
        drop(done);
    });
    assert!(door.accepted() > opened, "a connection was cut while it was needed");
}

#[test]
fn a_server_that_is_gone_for_good_is_an_error_in_time() {
    if !require("nbdkit") {
        return;
    }
    let mut server = pattern();
    let source =
        NbdSource::open(&uri(&server.uri("")), &Options { reconnect: Duration::from_millis(700), ..hasty() })
            .unwrap();
    server.kill();
    let started = Instant::now();
    let error = source.read_at(&mut [0; 4096], 0).unwrap_err();
    let took = started.elapsed();
    assert!(matches!(&error, Error::Peer { transient: true, .. }), "{error:?}");
    assert!(error.to_string().contains("did not come back within"), "{error}");
    assert!((Duration::from_millis(600)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert!(failure(source.extents(0..4096, None)).contains("did not come back"));
}

#[test]
fn another_disk_in_its_place_is_not_taken() {
    if !require("nbdkit") {
        return;
    }
    let mut first = pattern();
    let door = Door::to(&first.socket());
    let source = NbdSource::open(&uri(&door.uri("")), &hasty()).unwrap();
    let second = Server::nbdkit(&["pattern", "size=16M"]);
    door.lead_to(Some(&second.socket()));
    first.kill();
    let error = source.read_at(&mut [0; 4096], 0).unwrap_err();
    assert!(matches!(&error, Error::Peer { transient: false, .. }), "{error:?}");
    assert!(error.to_string().contains("changed"), "{error}");
}

#[test]
fn a_read_error_is_told_with_its_place_and_the_connection_goes_on() {
    if !require("nbdkit") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trigger = folder.path().join("fail");
    for extra in ["--threads=16", "--no-sr"] {
        let _ = fs::remove_file(&trigger);
        let file = format!("error-file={}", trigger.display());
        let server = Server::nbdkit(&[
            extra,
            "--filter=error",
            "pattern",
            "size=8M",
            "error-pread=EIO",
            "error-pread-rate=100%",
            &file,
        ]);
        let door = Door::to(&server.socket());
        let source = open(&door.uri(""));
        let connections = door.accepted();
        fs::write(&trigger, "").unwrap();
        for _ in 0..8 {
            let error = source.read_at(&mut vec![0; 3 << 20], 1 << 20).unwrap_err();
            assert!(matches!(&error, Error::Io { offset: 1_048_576, operation: "read", .. }), "{error:?}");
            assert!(error.to_string().contains("input/output error"), "{error}");
        }
        fs::remove_file(&trigger).unwrap();
        let mut bytes = [0; 8];
        source.read_at(&mut bytes, 4096).unwrap();
        assert_eq!(u64::from_be_bytes(bytes), 4096);
        assert_eq!(door.accepted(), connections, "no connection was made anew");
    }
}

#[test]
fn block_status_that_fails_is_no_failure() {
    if !require("nbdkit") {
        return;
    }
    let server =
        Server::nbdkit(&["--filter=error", "memory", "8M", "error-extents=EIO", "error-extents-rate=100%"]);
    let source = open(&server.uri(""));
    let extents = source.extents(512..1 << 20, None).unwrap();
    assert_eq!(extents, [block::Extent::new(512..1 << 20, block::ExtentKind::Data)]);
}

#[test]
fn a_server_that_is_silent_from_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silent");
    let _listener = UnixListener::bind(&path).unwrap();
    let options = Options { handshake_timeout: Duration::from_millis(300), ..hasty() };
    let started = Instant::now();
    let error = failure(NbdSource::open(&nbd::Uri::unix(&path, ""), &options));
    assert!(error.contains("did not answer"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn a_server_that_falls_silent() {
    if !require("nbdkit") {
        return;
    }
    let server = Server::nbdkit(&["--filter=delay", "memory", "8M", "rdelay=60"]);
    let options = Options {
        reply_timeout: Duration::from_millis(300),
        reconnect: Duration::from_millis(500),
        ..hasty()
    };
    let source = NbdSource::open(&uri(&server.uri("")), &options).unwrap();
    let started = Instant::now();
    let error = source.read_at(&mut [0; 4096], 0).unwrap_err();
    assert!(matches!(&error, Error::Peer { transient: true, .. }), "{error:?}");
    assert!(error.to_string().contains("did not answer"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
    // Not waited for: nbdkit sleeps in the filter.
    drop(source);
}

/// Runs `call` in a thread, stops the interrupt while it is blocked, and returns its error.
fn interrupted(
    interrupt: &Interrupt,
    blocked: impl Fn() -> bool,
    call: impl FnOnce() -> Error + Send,
) -> Error {
    thread::scope(|scope| {
        let call = scope.spawn(call);
        assert!(wait_until(Duration::from_secs(5), blocked), "the call is under way");
        assert!(!call.is_finished());
        let stopped = Instant::now();
        interrupt.stop();
        let error = call.join().unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
        error
    })
}

#[test]
fn an_interrupt_ends_blocked_reads_and_all_that_follow() {
    if !require("nbdkit") {
        return;
    }
    let server = Server::nbdkit(&["--filter=delay", "memory", "8M", "rdelay=60"]);
    let options = Options::default();
    let source = NbdSource::open(&uri(&server.uri("")), &options).unwrap();
    let error = interrupted(
        &options.interrupt,
        || server_has_a_request(&server),
        || source.read_at(&mut [0; 4096], 0).unwrap_err(),
    );
    assert!(matches!(error, Error::Cancelled), "{error:?}");
    assert!(matches!(source.read_at(&mut [0; 4096], 0), Err(Error::Cancelled)));
    assert!(matches!(NbdSource::open(&uri(&server.uri("")), &options), Err(Error::Cancelled)));
}

/// True once nbdkit sleeps in its delay filter; its thread's wait channel tells.
fn server_has_a_request(server: &Server) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("syscall")).ok()).any(|call| {
        // nanosleep, clock_nanosleep, and ppoll with a time limit, on x86-64 and arm64.
        let number = call.split(' ').next().and_then(|n| n.parse::<u32>().ok());
        matches!(number, Some(35 | 230 | 271 | 101 | 115 | 73))
    })
}

#[test]
fn an_interrupt_ends_waiting_for_a_lost_server() {
    if !require("nbdkit") {
        return;
    }
    let server = pattern();
    let door = Door::to(&server.socket());
    let options = Options { reconnect: Duration::from_secs(60), ..Options::default() };
    let source = NbdSource::open(&uri(&door.uri("")), &options).unwrap();
    door.lead_to(None);
    door.cut();
    let tried = door.accepted();
    let error = interrupted(
        &options.interrupt,
        || door.accepted() > tried + 1,
        || source.read_at(&mut [0; 4096], 0).unwrap_err(),
    );
    assert!(matches!(error, Error::Cancelled), "{error:?}");
}

#[test]
fn an_interrupt_ends_a_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silent");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let held = std::cell::RefCell::new(None);
    let options = Options::default();
    let error = interrupted(
        &options.interrupt,
        || {
            let accepted = listener.accept().ok();
            held.replace(accepted).is_some() || held.borrow().is_some()
        },
        || match NbdSource::open(&nbd::Uri::unix(&path, ""), &options) {
            Ok(_) => panic!("it opened"),
            Err(error) => error,
        },
    );
    assert!(matches!(error, Error::Cancelled), "{error:?}");
}
