//! A private MariaDB server for tests: in a folder of its own in memory, on a Unix socket, with no network.
//!
//! The model: making a server takes seconds, so most tests share one ([`database`]): the first test process
//! that wants it starts it, under a lock, and it ends by itself soon after the program that runs the tests (the parent of
//! them all). Each test gets a database of its own in it. A test that stops or kills its server has one to itself
//! ([`Server`]).
//!
//! Durability is off (`innodb_flush_log_at_trx_commit=2` writes to the kernel, which outlives a killed server).
//!
//! Not here: anything that speaks SQL but the `mariadb` client.

use crate::program::{require, run, wait_until};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// How long a server may take until it answers; the machine may be busy.
const READY: Duration = Duration::from_secs(90);

/// A server of one test, gone when dropped.
#[derive(Debug)]
pub struct Server {
    folder: TempDir,
    child: Option<Child>,
}

impl Server {
    /// A running server without databases; `None` where the programs are missing, which has been said.
    ///
    /// # Panics
    /// Where it does not come up; so for all that follows.
    pub fn start() -> Option<Server> {
        if !installed() {
            return None;
        }
        let folder = match tempfile::Builder::new().prefix("sendense-mariadb-").tempdir_in(memory()) {
            Ok(folder) => folder,
            Err(error) => panic!("a folder for mariadbd: {error}"),
        };
        install(folder.path());
        let mut server = Server { folder, child: None };
        server.start_again();
        Some(server)
    }

    /// Starts it where it was stopped or killed.
    pub fn start_again(&mut self) {
        self.begin_to_start();
        wait_for(self.folder.path());
    }

    /// Starts it without waiting until it answers.
    pub fn begin_to_start(&mut self) {
        self.child = match command(self.folder.path()).spawn() {
            Ok(child) => Some(child),
            Err(error) => panic!("mariadbd: {error}"),
        };
    }

    /// Ends it as its administrator would, and waits until it is gone.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        run("kill", ["-TERM", &child.id().to_string()]);
        drop(child.wait());
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        drop(child.kill());
        drop(child.wait());
    }

    /// Its process id; 0 while it is stopped.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// A new database, as an address of the catalog.
    pub fn database(&self) -> String {
        new_database(self.folder.path())
    }

    /// Runs statements as its administrator; gives back what they print, tab separated.
    pub fn sql(&self, statements: &str) -> String {
        sql(self.folder.path(), statements)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A database of the server that all tests of this run share, as an address of the catalog. It is never
/// removed: the server ends with the run. `None` where the programs are missing, which has been said.
///
/// # Panics
/// Where the server does not come up.
pub fn database() -> Option<String> {
    if !installed() {
        return None;
    }
    Some(new_database(&shared()))
}

/// Runs statements on the shared server; gives back what they print, tab separated.
///
/// # Panics
/// Where it does not take them.
pub fn shared_sql(statements: &str) -> String {
    sql(&shared(), statements)
}

fn installed() -> bool {
    // All of one package.
    require("mariadbd") && require("mariadb-install-db") && require("mariadb")
}

/// The folder of the shared server, which runs.
fn shared() -> PathBuf {
    let runner = std::os::unix::process::parent_id();
    let folder = memory().join(format!("sendense-mariadb-of-{runner}"));
    if let Err(error) = fs::create_dir_all(&folder) {
        panic!("{}: {error}", folder.display());
    }
    let lock = match File::create(folder.join("lock")) {
        Ok(lock) => lock,
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    if let Err(error) = lock.lock() {
        panic!("{}: {error}", folder.display());
    }
    if !folder.join(SOCKET).exists() {
        install(&folder);
        // A shell of its own session that outlives this test and not the runner.
        let script = "\"$@\" & server=$!; while kill -0 \"$RUNNER\" 2>/dev/null; do sleep 1; done; \
                      kill -KILL $server; wait $server; rm -rf \"$FOLDER\"";
        let inner = command(&folder);
        let mut outer = Command::new("setsid");
        outer.args(["sh", "-c", script, "sh"]).arg(inner.get_program()).args(inner.get_args());
        outer.env("RUNNER", runner.to_string()).env("FOLDER", &folder);
        outer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Err(error) = outer.spawn() {
            panic!("mariadbd: {error}");
        }
        wait_for(&folder);
    }
    folder
}

fn memory() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

fn install(folder: &Path) {
    let data = folder.join(DATA);
    let mut args = vec![
        "--no-defaults".to_owned(),
        format!("--datadir={}", data.display()),
        "--auth-root-authentication-method=normal".to_owned(),
        "--skip-test-db".to_owned(),
        "--innodb-log-file-size=8M".to_owned(),
    ];
    args.extend(as_root());
    run("mariadb-install-db", args);
}

/// The server refuses to run as root unless it is told to.
fn as_root() -> Option<String> {
    (run("id", ["-u"]).trim() == "0").then(|| "--user=root".to_owned())
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new("mariadbd");
    if !Path::new("/usr/bin/mariadbd").exists() && Path::new("/usr/sbin/mariadbd").exists() {
        command = Command::new("/usr/sbin/mariadbd");
    }
    let log = folder.join("log");
    command.arg("--no-defaults").args(as_root());
    command.arg(format!("--datadir={}", folder.join(DATA).display()));
    command.arg(format!("--socket={}", folder.join(SOCKET).display()));
    command.arg(format!("--pid-file={}", folder.join("pid").display()));
    command.arg(format!("--log-error={}", log.display()));
    command.args([
        "--skip-networking",
        "--skip-log-bin",
        "--skip-name-resolve",
        "--performance-schema=OFF",
        "--max-connections=2000",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=8M",
        "--innodb-flush-log-at-trx-commit=2",
        "--innodb-doublewrite=OFF",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn wait_for(folder: &Path) {
    let socket = folder.join(SOCKET);
    let ready = wait_until(READY, || std::os::unix::net::UnixStream::connect(&socket).is_ok());
    let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
    assert!(ready, "mariadbd does not come up: {log}");
}

/// A database of its own. Process ids come around again within one run of all tests, so the moment is in its name.
fn new_database(folder: &Path) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let moment = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_nanos();
    let name = format!("test_{}_{}_{moment}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    sql(folder, &format!("CREATE DATABASE {name}"));
    format!("mysql://root@localhost/{name}?socket={}", folder.join(SOCKET).display())
}

fn sql(folder: &Path, statements: &str) -> String {
    let socket = format!("--socket={}", folder.join(SOCKET).display());
    run(
        "mariadb",
        ["--no-defaults", "--user=root", &socket, "--batch", "--skip-column-names", "-e", statements],
    )
}

const DATA: &str = "data";
const SOCKET: &str = "socket";
