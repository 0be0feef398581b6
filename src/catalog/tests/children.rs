//! Other processes beside the test: this test binary again, running one ignored test that plays a role.
//!
//! A child says what it did in lines that begin with `child: `, and does the next step when it is told to by a
//! line on its standard input, so nobody waits by the clock.

use crate::samples::{context, pending, point, request, second};
use catalog::{Acquired, Catalog, DiskProgress, LeaseMode, Location, Owner, Progress, Resource};
use model::{DiskIndex, Phase, Status};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROLE: &str = "SENDENSE_TEST_ROLE";
const CATALOG: &str = "SENDENSE_TEST_CATALOG";

/// A running child; killed when dropped.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(role: &str, catalog: &Location) -> Process {
        Process::spawn(Command::new(std::env::current_exe().unwrap()), role, catalog)
    }

    /// As another user, who owns nothing here.
    pub fn start_as_nobody(role: &str, catalog: &Location) -> Process {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.arg(std::env::current_exe().unwrap());
        Process::spawn(command, role, catalog)
    }

    fn spawn(mut command: Command, role: &str, catalog: &Location) -> Process {
        command.args(["--ignored", "--exact", "children::play_a_role", "--nocapture"]);
        command.env(ROLE, role).env(CATALOG, catalog.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Process { child, input, output }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it says next; `None` where it has ended.
    pub fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // The test harness may leave the first one on a line of its own.
            if let Some((_, said)) = line.split_once("child: ") {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    pub fn expect(&mut self, said: &str) {
        assert_eq!(self.hear().as_deref(), Some(said));
    }

    /// Lets it do its next step.
    pub fn go(&mut self) {
        self.input.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// kill -9, and waited for.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it end by itself.
    pub fn finish(mut self) {
        drop(self.input.take());
        while self.hear().is_some() {}
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "child: {what}").unwrap();
    out.flush().unwrap();
}

/// False where the parent has closed our input.
fn told_to_go() -> bool {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap() > 0
}

#[tokio::test]
#[ignore = "played by the other tests' children"]
async fn play_a_role() {
    let (Ok(role), Ok(path)) = (std::env::var(ROLE), std::env::var(CATALOG)) else {
        panic!("set {ROLE} and {CATALOG}");
    };
    let path: Location = path.parse().unwrap();
    let path = &path;
    match role.as_str() {
        "open" => {
            say("ready");
            told_to_go();
            match Catalog::open_at(path).await {
                Ok(catalog) => say(&format!("opened, new: {}", catalog.created())),
                Err(error) => say(&format!("error: {error}")),
            }
            told_to_go();
        }
        "race" => race(path).await,
        "hold a point" => hold_a_point(path).await,
        "insert" => insert(path).await,
        "report" => report(path).await,
        "list" => match Catalog::open_at(path).await {
            Ok(catalog) => {
                let page = catalog.backups(&Default::default()).await.unwrap();
                let change = catalog.insert_backup(&pending("pg", 9_999), None).await.unwrap_err();
                say(&format!("{} listed, writable: {}, {change}", page.total, catalog.is_writable()));
            }
            Err(error) => say(&format!("error: {error}")),
        },
        other => panic!("no such role: {other}"),
    }
}

/// Asks for the lease of one VM each time it is told to.
async fn race(path: &Location) {
    let catalog = Catalog::open_at(path).await.unwrap();
    let me = Owner::current().unwrap();
    say("ready");
    while told_to_go() {
        let wanted = request(Resource::Vm(context("pg")), LeaseMode::Exclusive, &me);
        match catalog.acquire(&wanted).await.unwrap() {
            Acquired::Yes(lease) => {
                say("acquired");
                told_to_go();
                assert!(catalog.release(&lease).await.unwrap());
                say("released");
            }
            Acquired::Held(holders) => say(&format!("held by {}", holders[0].owner.pid)),
        }
    }
}

async fn hold_a_point(path: &Location) {
    let catalog = Catalog::open_at(path).await.unwrap();
    let me = Owner::current().unwrap();
    let wanted = request(Resource::Point(point("pg", 0).id), LeaseMode::Shared, &me);
    assert!(matches!(catalog.acquire(&wanted).await.unwrap(), Acquired::Yes(_)));
    say("reading");
    told_to_go();
}

/// Inserts point after point until it is killed, saying each id once it is durable.
async fn insert(path: &Location) {
    let catalog = Catalog::open_at(path).await.unwrap();
    let vm = format!("vm-{}", std::process::id());
    for n in 0.. {
        let backup = point(&vm, n);
        catalog.insert_backup(&backup, None).await.unwrap();
        say(backup.id.as_str());
    }
}

/// Reports progress until it is asked to stop.
async fn report(path: &Location) {
    let catalog = Catalog::open_at(path).await.unwrap();
    let id = pending("pg", 0).id;
    say("running");
    for n in 1u32.. {
        let progress = Progress {
            at: second(n.into()),
            phase: Phase::Transferring,
            bytes_transferred: n.into(),
            bytes_processed: n.into(),
            total_bytes: 10 << 30,
            transfer_speed_bps: 1,
            eta_seconds: None,
            disks: vec![DiskProgress {
                index: DiskIndex(0),
                status: Status::Running,
                bytes_transferred: n.into(),
                bytes_processed: n.into(),
                capacity_bytes: 10 << 30,
            }],
        };
        let heard = catalog.record_progress(&id, &progress).await.unwrap();
        if heard.cancel_requested {
            say("asked to stop");
            return;
        }
    }
}
