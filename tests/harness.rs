//! A machine for one test: a state folder, disks, and the program run as a user runs it.
//!
//! `SENDENSE_TEST_HUB` chooses what the program works with: `embedded` (as unless set), the engine inside each command,
//! `unix`, a hub that serves the site's state folder and is started with the first command, or `tls`, the same over TLS with
//! an administrator's token.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A temporary folder with a `state` folder that the program is pointed at.
pub struct Site {
    // Ended before its folder goes.
    hub: OnceLock<Serving>,
    token: OnceLock<String>,
    folder: tempfile::TempDir,
    catalog: Option<String>,
    embedded: bool,
}

/// A hub that serves a site.
pub struct Serving {
    pub running: Running,
    /// What it said when it was ready: `addresses`, `fingerprint`.
    pub said: serde_json::Value,
}

/// What one run of the program left.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub command: String,
}

pub const MIB: u64 = 1 << 20;

impl Site {
    pub fn new() -> Site {
        Site::of(tempfile::Builder::new().prefix("sendense-test-").tempdir().unwrap())
    }

    /// A site whose folder lies on tmpfs: for tests that run the program hundreds of times.
    pub fn in_memory() -> Site {
        let folder = tempfile::Builder::new().prefix("sendense-test-").tempdir_in("/dev/shm").unwrap();
        Site::of(folder)
    }

    /// A site whose commands have the engine in themselves whatever the suite runs with: for tests of just that, its
    /// process, its rights, its catalog that is taken away.
    pub fn embedded() -> Site {
        Site { embedded: true, ..Site::new() }
    }

    fn of(folder: tempfile::TempDir) -> Site {
        Site { hub: OnceLock::new(), token: OnceLock::new(), folder, catalog: None, embedded: false }
    }

    /// The same with its catalog on a server.
    pub fn with_catalog(self, address: &str) -> Site {
        Site { catalog: Some(address.to_owned()), ..self }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The default repository's folder.
    pub fn repository(&self) -> PathBuf {
        self.state().join("repository")
    }

    /// A raw disk of that size: sparse, with `data` MiB of reproducible content spread over it.
    pub fn disk(&self, name: &str, size: u64, data: u64, seed: u64) -> PathBuf {
        let path = self.path(name);
        let file = fs::File::create(&path).unwrap();
        file.set_len(size).unwrap();
        drop(file);
        scribble(&path, data, seed);
        path
    }

    /// The program with these arguments, its surroundings cleaned of anything that would reach it.
    pub fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = self.bare_command(arguments);
        let hub = std::env::var("SENDENSE_TEST_HUB").ok().filter(|_| !self.embedded);
        match hub.as_deref() {
            None | Some("" | "embedded") => {}
            Some("unix") => {
                self.hub.get_or_init(|| self.serve(&["--no-listen"]));
            }
            Some("tls") => {
                let served = ["--listen", "https://127.0.0.1:0", "--set", "limits.requests_per_second=0"];
                let hub = self.hub.get_or_init(|| self.serve(&served));
                let token = self.token.get_or_init(|| {
                    let made =
                        Run::finished(self.bare_command(["hub", "tokens", "create", "t", "--role", "admin"]));
                    assert_eq!(made.code, 0, "{made:#?}");
                    made.stdout.trim().to_owned()
                });
                command.env("SENDENSE_HUB", hub.address("https"));
                command.env("SENDENSE_FINGERPRINT", hub.fingerprint()).env("SENDENSE_TOKEN", token);
            }
            Some(other) => panic!("SENDENSE_TEST_HUB is {other:?}: embedded, unix and tls are known"),
        }
        command
    }

    /// Signals by which a command that follows a job cancels it, and what it ends with. A terminal that is closed ends
    /// nothing that runs elsewhere.
    pub fn cancelling(&self) -> &'static [(&'static str, i32)] {
        let served = std::env::var("SENDENSE_TEST_HUB").is_ok_and(|hub| hub == "unix" || hub == "tls");
        match served && !self.embedded {
            true => &[("INT", 130), ("TERM", 143)],
            false => &[("INT", 130), ("TERM", 143), ("HUP", 129)],
        }
    }

    /// As [`command`](Self::command), with whatever hub there is.
    pub fn bare_command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sendense-ctl"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SENDENSE_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("SENDENSE_HOME", self.state()).env("TZ", "UTC").env_remove("NO_COLOR");
        if let Some(catalog) = &self.catalog {
            command.env("SENDENSE_CATALOG", catalog);
        }
        command.env("XDG_CONFIG_HOME", self.path("config"));
        // Nobody's keyring but that of a test.
        command.env_remove("DBUS_SESSION_BUS_ADDRESS").env_remove("XDG_RUNTIME_DIR");
        command.stdin(Stdio::null()).current_dir(self.folder.path());
        command
    }

    /// Starts a hub that serves this site, and waits until it is ready. Its log is in the file `hub.log`.
    pub fn serve(&self, arguments: &[&str]) -> Serving {
        self.serve_with(arguments, |_| {})
    }

    /// The same, with more said to its process.
    pub fn serve_with(&self, arguments: &[&str], more: impl FnOnce(&mut Command)) -> Serving {
        let mut command = self.bare_command(["hub", "serve", "--json"].iter().chain(arguments));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("hub.log")).unwrap();
        command.stdout(Stdio::piped()).stderr(log);
        more(&mut command);
        let mut running = Running::start(&mut command);
        let mut line = String::new();
        BufReader::new(running.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("{error}: the hub said {line:?}: {}", fs::read_to_string(self.path("hub.log")).unwrap())
        });
        Serving { running, said }
    }

    /// Runs the program; `line` is split at spaces, `{}` in it stands for the site's folder.
    pub fn run(&self, line: &str) -> Run {
        let folder = self.folder.path().to_str().unwrap();
        self.run_args(line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace("{}", folder)))
    }

    pub fn run_args(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Run {
        Run::finished(self.command(arguments))
    }

    /// As [`run`](Self::run), with whatever hub there is.
    pub fn bare_run(&self, line: &str) -> Run {
        let folder = self.folder.path().to_str().unwrap();
        let words = line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace("{}", folder));
        Run::finished(self.bare_command(words))
    }

    /// The same, and expects it to end well.
    pub fn bare_ok(&self, line: &str) -> Run {
        let run = self.bare_run(line);
        assert_eq!(run.code, 0, "{run:#?}");
        run
    }

    /// The same, and gives its one document.
    pub fn bare_json(&self, line: &str) -> serde_json::Value {
        let run = self.bare_ok(&format!("{line} --json"));
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:#?}"))
    }

    /// Runs the program and expects it to end well.
    pub fn ok(&self, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, 0, "{run:#?}");
        run
    }

    /// Runs the program with `--json` and gives its one document.
    pub fn json(&self, line: &str) -> serde_json::Value {
        let run = self.ok(&format!("{line} --json"));
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:#?}"))
    }

    /// Backs up and gives the new point's id.
    pub fn backup(&self, line: &str) -> String {
        self.ok(&format!("backup start {line}")).summary()["backup_id"].as_str().unwrap().to_owned()
    }

    /// The completed points, newest first, as `backup list --json` has them.
    pub fn points(&self) -> Vec<serde_json::Value> {
        let listed = self.json("backup list");
        let backups = listed["backups"].as_array().unwrap();
        backups.iter().filter(|backup| backup["status"] == "completed").cloned().collect()
    }

    /// Everything in the repository whose name ends so.
    pub fn files_ending(&self, ending: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut open = vec![self.repository()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    open.push(path);
                } else if path.to_string_lossy().ends_with(ending) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// Fails unless nothing unfinished lies in the repository and no lease is held.
    pub fn assert_nothing_left_over(&self) {
        let mut left = self.files_ending(".partial");
        left.extend(self.files_ending(".tmp"));
        left.extend(
            self.files_ending(".json").into_iter().filter(|path| {
                path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("txn-"))
            }),
        );
        assert!(left.is_empty(), "left over: {left:?}");
        // A hub that serves gives them back when the end of the job has been told.
        let given_back = || self.sql("SELECT count(*) FROM leases") == "0";
        eventually("no lease is left over", Duration::from_secs(10), given_back);
        let open = "SELECT count(*) FROM backup_jobs WHERE status NOT IN ('completed','failed','cancelled')";
        assert_eq!(self.sql(open), "0", "a job is neither running nor ended");
    }

    /// One value from the catalog, read by SQLite's own shell.
    pub fn sql(&self, query: &str) -> String {
        let output = Command::new("sqlite3")
            .args(["-cmd", ".timeout 10000"])
            .arg(self.state().join("catalog.db"))
            .arg(query)
            .output()
            .unwrap();
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The newest file of a disk's chain.
    pub fn top_of(&self, id: &str, disk: u64) -> PathBuf {
        // Not split at spaces: an id holds its VM's name.
        let shown = self.run_args(["backup", "show", id, "--json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        let disks = shown["backup"]["disk_results"].as_array().unwrap();
        let disk = disks.iter().find(|d| d["disk_id"] == disk).unwrap();
        PathBuf::from(disk["file_path"].as_str().unwrap())
    }

    /// The point's disk is, by QEMU's own reading, clean and equal to the raw file.
    pub fn assert_point_equals(&self, id: &str, disk: u64, raw: &Path) {
        let top = self.top_of(id, disk);
        qemu(["check", "-q", "-f", "qcow2"], &[&top]);
        // Strict: sizes must agree too. Only zero and hole may differ in kind, which compare looks through.
        qemu(["compare", "-q", "-f", "qcow2", "-F", "raw"], &[&top, raw]);
        let sizes = [(&top, "qcow2"), (&raw.to_path_buf(), "raw")].map(|(path, format)| {
            let output = Command::new("qemu-img")
                .args(["info", "--output=json", "-f", format])
                .arg(path)
                .output()
                .unwrap();
            serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["virtual-size"].as_u64()
        });
        assert_eq!(sizes[0], sizes[1], "virtual size of {id}");
    }

    /// Restores the point to a new raw file and compares it byte for byte.
    pub fn assert_restores_to(&self, id: &str, disk: u64, raw: &Path) {
        let target = self.path(&format!("restored-{id}-{disk}.raw"));
        self.ok(&format!("restore disk {id} --disk {disk} --to {}", target.display()));
        assert!(same_bytes(&target, raw), "{id} disk {disk} restored differs from {}", raw.display());
        fs::remove_file(target).unwrap();
    }
}

impl Run {
    /// Runs a command to its end.
    pub fn finished(mut command: Command) -> Run {
        let shown = format!("{command:?}");
        Run::of(shown, command.output().unwrap())
    }

    fn of(command: String, output: Output) -> Run {
        use std::os::unix::process::ExitStatusExt;
        Run {
            code: output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command,
        }
    }

    /// Fails unless the program ended with that code and an error of at most three lines that contains these.
    pub fn failed_with(&self, code: i32, parts: &[&str]) -> &Run {
        assert_eq!(self.code, code, "{self:#?}");
        let lines: Vec<_> = self.stderr.lines().skip_while(|line| !line.starts_with("error")).collect();
        assert!((1..=3).contains(&lines.len()), "an error is one to three lines: {self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// The summary of a run without `--json`: what `backup start` says of the new point. Read from the id in it.
    pub fn summary(&self) -> serde_json::Value {
        let id = self
            .stdout
            .split(|c: char| c.is_whitespace() || "(),:".contains(c))
            .find(|word| word.starts_with("backup-"))
            .unwrap_or_else(|| panic!("no backup id on stdout of {}: {self:#?}", self.command));
        serde_json::json!({ "backup_id": id })
    }
}

impl Serving {
    /// The address of that scheme.
    pub fn address(&self, scheme: &str) -> &str {
        let addresses = self.said["addresses"].as_array().unwrap();
        let mut texts = addresses.iter().map(|address| address.as_str().unwrap());
        texts.find(|address| address.starts_with(scheme)).unwrap()
    }

    pub fn fingerprint(&self) -> &str {
        self.said["fingerprint"].as_str().unwrap()
    }
}

/// A child that is killed when the test ends, whatever happens.
pub struct Running(pub Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    pub fn signal(&self, signal: &str) {
        let done =
            Command::new("kill").arg(format!("-{signal}")).arg(self.0.id().to_string()).status().unwrap();
        assert!(done.success(), "kill -{signal}");
    }

    /// Waits for the end, at most that long.
    pub fn wait(mut self, limit: Duration) -> Run {
        let end = Instant::now() + limit;
        while self.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "still running after {limit:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.0.wait().unwrap();
        let read = |pipe: Option<&mut dyn std::io::Read>| {
            let mut bytes = Vec::new();
            if let Some(pipe) = pipe {
                pipe.read_to_end(&mut bytes).unwrap();
            }
            bytes
        };
        let stdout = read(self.0.stdout.as_mut().map(|p| p as &mut dyn std::io::Read));
        let stderr = read(self.0.stderr.as_mut().map(|p| p as &mut dyn std::io::Read));
        Run::of("(started earlier)".into(), Output { status, stdout, stderr })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Ports of this machine that nothing listens on, and no other test has.
pub struct Ports {
    pub first: u16,
    pub last: u16,
    /// Who has this one has the block.
    _block: TcpListener,
}

impl Ports {
    const BLOCK: u16 = 16;

    /// As many as that, fewer than a block.
    pub fn take(count: u16) -> Ports {
        let free = |port: u16| TcpListener::bind(("0.0.0.0", port));
        // Below those that the kernel gives to clients.
        for first in (10_300..32_000).step_by(usize::from(Ports::BLOCK)) {
            let Ok(block) = free(first + Ports::BLOCK - 1) else { continue };
            if (first..first + count).all(|port| free(port).is_ok()) {
                return Ports { first, last: first + count - 1, _block: block };
            }
        }
        panic!("all ports of this machine are in use");
    }

    pub fn has(&self, port: u64) -> bool {
        (u64::from(self.first)..=u64::from(self.last)).contains(&port)
    }
}

/// Waits until it holds.
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn qemu<const N: usize>(arguments: [&str; N], paths: &[&Path]) {
    let output = Command::new("qemu-img").args(arguments).args(paths).output().unwrap();
    assert!(
        output.status.success(),
        "qemu-img {arguments:?} {paths:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

pub fn same_bytes(a: &Path, b: &Path) -> bool {
    Command::new("cmp").arg("-s").args([a, b]).status().unwrap().success()
}

/// A small generator of reproducible bytes (splitmix64), so that a seed in a failure is enough to repeat it.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Writes about `mib` MiB over the file, in pieces of odd sizes at odd places; half of it compresses well.
pub fn scribble(path: &Path, mib: u64, seed: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let mut random = Random(seed);
    let mut left = mib * MIB;
    while left > 0 && size > 0 {
        let length = (random.below(700_000) + 1).min(left).min(size);
        let offset = random.below(size - length + 1);
        let bytes = if random.below(2) == 0 {
            random.bytes(length as usize)
        } else {
            let line = random.bytes(16);
            line.iter().copied().cycle().take(length as usize).collect()
        };
        file.write_all_at(&bytes, offset).unwrap();
        left -= length;
    }
}

/// True where all these programs are installed. Otherwise says so, and fails where nothing may be skipped.
pub fn have(programs: &[&str]) -> bool {
    programs.iter().all(|program| testkit::require(program))
}
