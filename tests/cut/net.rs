//! A network for one test: a host where the hub is and one for each client, in network namespaces of their own, each client
//! on a cable of its own. A cable can be cut in one direction or in both: what comes is dropped without a word where it
//! arrives, as if it had been lost on the way.

use crate::harness::have;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The hub's address, for all clients.
pub const HUB: &str = "10.90.0.1";

/// Which way nothing comes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    ToHub,
    FromHub,
    Both,
}

impl Cut {
    pub const ALL: [Cut; 3] = [Cut::ToHub, Cut::FromHub, Cut::Both];
}

/// The hosts, gone when dropped with all that runs on them ended before.
pub struct Net {
    name: String,
    clients: usize,
}

impl Net {
    /// `None` where there can't be one, which has been said.
    pub fn new(clients: usize) -> Option<Net> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !have(&["ip", "nsenter", "ss"]) {
            return None;
        }
        sweep();
        let name = format!("cut{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let net = Net { name, clients };
        let made = net.make();
        if let Err(reason) = &made {
            // Said of a machine, not of a program: in CI this is root, and can.
            let demanded = std::env::var_os("SENDENSE_REQUIRE_ALL").is_some_and(|value| value == "1");
            assert!(!demanded, "no network namespaces, and SENDENSE_REQUIRE_ALL=1 demands them: {reason}");
            eprintln!("SKIPPED: no network namespaces can be made here: {reason}");
        }
        made.ok().map(|()| net)
    }

    fn make(&self) -> Result<(), String> {
        let hub = self.hub_host();
        self.host(&hub)?;
        ip(&format!("-n {hub} addr add {HUB}/32 dev lo"))?;
        for n in 0..self.clients {
            let client = self.client_host(n);
            self.host(&client)?;
            ip(&format!("-n {hub} link add v{n} type veth peer name wire netns {client}"))?;
            ip(&format!("-n {hub} addr add 10.91.{n}.1/30 dev v{n}"))?;
            ip(&format!("-n {client} addr add 10.91.{n}.2/30 dev wire"))?;
            ip(&format!("-n {hub} link set v{n} up"))?;
            ip(&format!("-n {client} link set wire up"))?;
            ip(&format!("-n {client} route add default via 10.91.{n}.1"))?;
        }
        Ok(())
    }

    fn host(&self, name: &str) -> Result<(), String> {
        ip(&format!("netns add {name}"))?;
        ip(&format!("-n {name} link set lo up"))?;
        // What is dropped is decided by rules, so all that comes is looked up, and what is this host's own comes second.
        let early = format!("--net=/run/netns/{name} sh -c");
        let mut command = Command::new("nsenter");
        command.args(early.split(' ')).arg("echo 0 > /proc/sys/net/ipv4/ip_early_demux");
        run(command)?;
        ip(&format!("-n {name} rule add pref 100 lookup local"))?;
        ip(&format!("-n {name} rule del pref 0"))
    }

    pub fn hub_host(&self) -> String {
        format!("{}h", self.name)
    }

    pub fn client_host(&self, n: usize) -> String {
        format!("{}c{n}", self.name)
    }

    /// Cuts a client's cable.
    pub fn cut(&self, n: usize, cut: Cut) {
        self.change(n, cut, "add");
    }

    /// Mends what was cut so.
    pub fn mend(&self, n: usize, cut: Cut) {
        self.change(n, cut, "del");
    }

    fn change(&self, n: usize, cut: Cut, verb: &str) {
        let (hub, client) = (self.hub_host(), self.client_host(n));
        if cut != Cut::FromHub {
            ip(&format!("-n {hub} rule {verb} pref 10 iif v{n} blackhole")).unwrap();
        }
        if cut != Cut::ToHub {
            ip(&format!("-n {client} rule {verb} pref 10 iif wire blackhole")).unwrap();
        }
    }

    /// True where a client has a connection to the hub.
    pub fn is_connected(&self, n: usize) -> bool {
        let mut command = Command::new("ss");
        command.args(["-N", &self.client_host(n), "-tnH", "state", "established"]);
        !command.output().unwrap().stdout.is_empty()
    }

    /// True where the hub's kernel has a connection to a client.
    pub fn is_held(&self, n: usize) -> bool {
        let mut command = Command::new("ss");
        command.args([
            "-N",
            &self.hub_host(),
            "-tnH",
            "state",
            "established",
            "dst",
            &format!("10.91.{n}.2"),
        ]);
        !command.output().unwrap().stdout.is_empty()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        // Cables go with the hosts that they end at.
        for host in (0..self.clients).map(|n| self.client_host(n)).chain([self.hub_host()]) {
            ip(&format!("netns del {host}")).ok();
        }
    }
}

/// The same command on a host. Where its output goes is not taken along.
pub fn on(host: &str, command: &Command) -> Command {
    let mut there = Command::new("nsenter");
    there.arg(format!("--net=/run/netns/{host}")).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => there.env(name, value),
            None => there.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        there.current_dir(folder);
    }
    there.stdin(Stdio::null());
    there
}

/// A hub's command on a host, with its output where [`Site::serve`](crate::harness::Site::serve) wants it.
pub fn serve_on(host: &str, command: &mut Command, log: &Path) {
    let mut there = on(host, command);
    there.stdout(Stdio::piped()).stderr(OpenOptions::new().create(true).append(true).open(log).unwrap());
    *command = there;
}

/// Removes what tests have left that were killed.
fn sweep() {
    for host in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = host.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix("cut").and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if process.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            ip(&format!("netns del {name}")).ok();
        }
    }
}

fn ip(line: &str) -> Result<(), String> {
    let mut command = Command::new("ip");
    command.args(line.split(' '));
    run(command)
}

fn run(mut command: Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}
