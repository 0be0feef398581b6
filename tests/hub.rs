//! The hub as a service: what works with it, who is let in, how it begins and how it ends.

mod connections;
mod guarded;
mod hostile;
mod journal;
mod keyring;
mod life;
mod login;
mod operations;
mod pages;
mod secrets;
mod settings;
mod slow;
mod tls;
mod users;

use crate::harness::{MIB, Running, Serving, Site, eventually};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What curl got.
struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Asks with curl; `arguments` come before the address.
fn curl(arguments: &[&str], address: &str) -> Answer {
    let output = Command::new("curl")
        .args(["-s", "-S", "-i", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .arg(address)
        .output()
        .unwrap();
    assert!(output.status.success(), "curl {address}: {}", String::from_utf8_lossy(&output.stderr));
    let split = output.stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let rest = &output.stdout[split + 4..];
    let end = rest.iter().rposition(|byte| *byte == b'\n').unwrap();
    Answer {
        status: String::from_utf8_lossy(&rest[end + 1..]).trim().parse().unwrap(),
        headers: String::from_utf8_lossy(&output.stdout[..split]).into_owned(),
        body: rest[..end].to_vec(),
    }
}

/// The state folder's socket.
fn socket(site: &Site) -> String {
    site.state().join("hub.sock").display().to_string()
}

/// A site with a VM whose backup takes a few seconds.
fn slow_site() -> Site {
    let site = Site::new();
    let disk = site.disk("slow.raw", 64 * MIB, 40, 9);
    site.bare_ok(&format!("vm add slow --disk {}", disk.display()));
    site
}

/// Starts that backup in the hub, and waits until it transfers.
fn start_slow(site: &Site) -> String {
    let id = site.bare_ok("backup start --vm slow --bandwidth 8M --detach").stdout.trim().to_owned();
    eventually("the backup transfers", Duration::from_secs(30), || {
        !site.files_ending(".qcow2.partial").is_empty()
    });
    id
}

fn stop(site: &Site, hub: Serving) -> i32 {
    hub.running.signal("TERM");
    let run = hub.running.wait(Duration::from_secs(60));
    assert!(!site.state().join("hub.sock").exists(), "the socket is left");
    run.code
}

fn piped(site: &Site, line: &str) -> Running {
    let mut command = site.bare_command(line.split(' '));
    Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}
