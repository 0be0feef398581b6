//! Clients that are slow on purpose, many of them: slow heads, slow bodies, answers that nobody takes. Others are
//! answered meanwhile, and all of the slow ones are given up.

use super::curl;
use crate::harness::{Site, eventually, have};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Of each kind, from one address.
const EACH: usize = 60;
const PATIENCE: Duration = Duration::from_secs(120);

/// Connections, and what drips into them as long as they last.
struct Slow {
    open: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Slow {
    fn new() -> Slow {
        Slow { open: Arc::default(), stop: Arc::default(), threads: Vec::new() }
    }

    /// Sends `first` at once, and then `drop` for ever, without taking anything.
    fn start(&mut self, address: &str, first: &[u8], drop: Option<&'static [u8]>) {
        let mut streams: Vec<TcpStream> = (0..EACH)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nonblocking(true).unwrap();
                // What does not fit into the buffers is not sent: it is enough.
                drop_blocked(stream.write(first));
                stream
            })
            .collect();
        let (open, stop) = (Arc::clone(&self.open), Arc::clone(&self.stop));
        open.fetch_add(streams.len(), Ordering::SeqCst);
        self.threads.push(thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) && !streams.is_empty() {
                let before = streams.len();
                streams.retain_mut(|stream| match drop {
                    // A reset, or an end behind the answer, is what a drip gets.
                    Some(drop) => drop_blocked(stream.write(drop)) && !ended(stream),
                    // Who takes nothing sees a reset only by looking at the socket's error.
                    None => matches!(stream.take_error(), Ok(None)) && drop_blocked(stream.write(b"")),
                });
                open.fetch_sub(before - streams.len(), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(50));
            }
        }));
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
    }
}

/// Whether the connection is still there.
fn drop_blocked(written: std::io::Result<usize>) -> bool {
    match written {
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

fn ended(stream: &mut TcpStream) -> bool {
    let mut buf = [0; 4096];
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() != ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn slow_clients_are_given_up_and_others_are_answered_meanwhile() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let limits = ["header_timeout=5s", "body_timeout=5s", "write_timeout=5s", "requests_per_second=0"];
    let limits = limits.map(|limit| format!("limits.{limit}"));
    let mut arguments = vec!["--listen", "http://127.0.0.1:0", "--listen", "https://127.0.0.1:0"];
    limits.iter().for_each(|limit| arguments.extend(["--set", limit]));
    let hub = site.serve(&arguments);
    let plain = hub.address("http:").strip_prefix("http://").unwrap().to_owned();
    let tls = hub.address("https:").strip_prefix("https://").unwrap().to_owned();

    let mut slow = Slow::new();
    slow.start(&plain, b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nX-Slow: ", Some(b"x"));
    let body = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{";
    slow.start(&plain, body, Some(b" "));
    slow.start(&tls, b"\x16\x03\x01", Some(b"\x02"));
    let large = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n".repeat(64);
    slow.start(&plain, &large, None);

    // From another address, and by the administrator's socket: answered while the slow ones are there.
    let own = site.state().join("hub.sock").display().to_string();
    let mut meanwhile = 0;
    eventually("the slow clients are given up", PATIENCE, || {
        let there = slow.open();
        let other = curl(&["--interface", "127.0.0.2"], &format!("http://{plain}/api/v1/health"));
        let local = curl(&["--unix-socket", &own], "http://localhost/api/v1/health");
        assert_eq!((other.status, local.status), (200, 200));
        meanwhile += usize::from(there >= 4 * EACH);
        // Who takes nothing is not told; the hub is asked below.
        there <= EACH
    });
    assert!(meanwhile > 0, "nobody was answered while all of them were there");
    // The hub holds none of them any more, those neither that take nothing.
    let pid = hub.running.0.id();
    let sockets = || {
        let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        files
            .filter(|file| {
                std::fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket"))
            })
            .count()
    };
    eventually("the hub holds no slow connection", PATIENCE, || sockets() < EACH);
}

#[test]
fn one_address_can_not_take_all_places() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let set = ["--set", "limits.connections=12", "--set", "limits.connections_per_client=8"];
    let hub = site.serve(&[&["--listen", "http://127.0.0.1:0"][..], &set].concat());
    let address = hub.address("http:").strip_prefix("http://").unwrap().to_owned();
    let held: Vec<TcpStream> = (0..40).filter_map(|_| TcpStream::connect(&address).ok()).collect();
    for _ in 0..20 {
        let other = curl(&["--interface", "127.0.0.3"], &format!("http://{address}/api/v1/health"));
        assert_eq!(other.status, 200);
    }
    drop(held);
}

#[test]
fn who_reads_a_long_file_page_by_page_gets_all_of_it() {
    if !have(&["mke2fs"]) {
        return;
    }
    let site = Site::embedded();
    let _hub = site.serve(&["--no-listen", "--set", "limits.write_timeout=1s"]);
    let mut content = vec![0; 32 << 20];
    for (number, piece) in content.chunks_exact_mut(8).enumerate() {
        piece.copy_from_slice(&(number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    }
    let (root, disk) = (site.path("root"), site.path("disk.raw"));
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("long"), &content).unwrap();
    let made =
        Command::new("mke2fs").args(["-q", "-t", "ext4", "-d"]).args([&root, &disk]).arg("64M").status();
    assert!(made.unwrap().success());
    site.bare_ok(&format!("vm add a --disk {}", disk.display()));
    site.bare_ok("backup start --vm a --quiet");
    let mut cat = site.bare_command(["backup", "cat", "a@latest", "--volume", "disk0", "/long"]);
    let mut cat = cat.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pages = cat.stdout.take().unwrap();
    let mut read = vec![0; 4096];
    pages.read_exact(&mut read).unwrap();
    // Longer than the hub waits for who takes nothing.
    thread::sleep(Duration::from_secs(3));
    pages.read_to_end(&mut read).unwrap();
    let mut said = String::new();
    cat.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        cat.wait().unwrap().success() && read == content,
        "{} of {} bytes, {said}",
        read.len(),
        content.len()
    );
}
