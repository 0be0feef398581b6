//! The network cut in each direction under a push, a backup that is watched, an extraction and a login, all over TLS: for a
//! second, which nobody notices; for half a minute, which is waited out or said clearly; for good, which ends everybody.
//!
//! All of it goes on at once, because most of it is waiting. `SENDENSE_CUTS` (`Extract`, say, or `HalfMinute`) leaves those
//! cases out in whose names it is not.

use super::net::{Cut, HUB, Net, on, serve_on};
use super::{LONG, elsewhere};
use crate::harness::{MIB, Run, Running, Serving, Site, eventually, have, same_bytes};
use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

const PASSWORD: &str = "correct horse battery";
/// A client gives up a job after two minutes in which the hub does not answer.
const UNTIL_GIVEN_UP: Duration = Duration::from_secs(400);
/// `limits.write_timeout`.
const UNTIL_A_DOWNLOAD_IS_GIVEN_UP: Duration = Duration::from_secs(60);
/// `client_timeout_seconds` of the commands.
const UNTIL_GONE: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Push,
    Watch,
    Extract,
    Login,
}

/// For how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Second,
    HalfMinute,
    ForGood,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    work: Work,
    cut: Cut,
    length: Length,
}

/// What all cases share.
struct World {
    // Ended before its site and its network go.
    hub: Serving,
    site: Site,
    net: Net,
    token: String,
    /// Few start at a time: it is about their cuts, not about load.
    turns: Mutex<()>,
}

#[test]
fn cuts_of_a_second_half_a_minute_and_for_good() {
    if !have(&["sqlite3", "qemu-img", "openssl", "curl", "mkfs.ext4"]) {
        return;
    }
    let mut cases = Vec::new();
    for work in [Work::Push, Work::Watch, Work::Extract, Work::Login] {
        for cut in Cut::ALL {
            for length in [Length::ForGood, Length::HalfMinute, Length::Second] {
                cases.push(Case { work, cut, length });
            }
        }
    }
    let wanted = std::env::var("SENDENSE_CUTS").unwrap_or_default();
    cases.retain(|case| format!("{case:?}").contains(&wanted));
    // Those that wait for longest begin.
    cases.sort_by_key(|case| std::cmp::Reverse(case.length as u8));
    let Some(net) = Net::new(cases.len() + 1) else { return };
    let world = World::new(net);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let world = &world;
        let running: Vec<_> = cases
            .iter()
            .enumerate()
            .map(|(n, case)| (case, scope.spawn(move || world.run(n, *case))))
            .collect();
        let blind = scope.spawn(|| a_way_that_takes_everything_and_passes_nothing_on(world));
        let slow = scope.spawn(|| a_reader_that_stands_still_is_not_gone(world, cases.len()));
        let ends = running.into_iter().map(|(case, thread)| (format!("{case:?}"), thread.join()));
        let ends = ends
            .chain([("a blind way".to_owned(), blind.join()), ("a slow reader".to_owned(), slow.join())])
            .collect::<Vec<_>>();
        ends.into_iter().filter(|(_, end)| end.is_err()).map(|(case, _)| case).collect()
    });
    assert!(failures.is_empty(), "see above: {failures:#?}");
    // What was begun for those who never came back is over.
    let open = "SELECT count(*) FROM backup_jobs WHERE status NOT IN ('completed','failed','cancelled')";
    eventually("all has ended", LONG, || world.site.sql(open) == "0");
    eventually("sessions of those who are gone are closed", LONG, || {
        world.site.json("restore mounts")["mounts"].as_array().is_some_and(Vec::is_empty)
    });
    eventually("all is given back", LONG, || world.site.sql("SELECT count(*) FROM leases") == "0");
    super::assert_nothing_left_over_on(&world.site, &world.hub, &world.net.hub_host());
    world.site.ok("backup verify --all");
}

impl World {
    fn new(net: Net) -> World {
        let site = Site::new();
        certificates(&site.path("tls"));
        let host = format!("push.host={HUB}");
        let tls = format!("push.tls_certificates={}", site.path("tls").display());
        let arguments = [
            "--listen",
            "https://0.0.0.0:0",
            "--set",
            "push.listen=0.0.0.0",
            "--set",
            &host,
            "--set",
            &tls,
            "--set",
            "jobs.stalled_after=5s",
            "--set",
            "jobs.failed_after=80s",
            "--set",
            "limits.requests_per_second=0",
        ];
        let log = site.path("hub.log");
        let hub = site.serve_with(&arguments, |command| serve_on(&net.hub_host(), command, &log));
        let init = site.bare_command(["hub", "init"]).env("SENDENSE_PASSWORD", PASSWORD).output().unwrap();
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        let token = site.bare_ok("hub tokens create t --role admin").stdout.trim().to_owned();
        // A guest with one large file.
        let root = site.path("root");
        ["etc", "usr"].iter().for_each(|name| fs::create_dir_all(root.join(name)).unwrap());
        fs::write(root.join("etc/fstab"), "/dev/vda / ext4 defaults 0 1\n").unwrap();
        fs::write(root.join("etc/os-release"), "ID=testix\n").unwrap();
        let large = site.disk("root/large", 160 * MIB, 150, 9);
        let image = site.disk("guest.raw", 200 * MIB, 0, 0);
        let made = Command::new("mkfs.ext4").args(["-q", "-d"]).arg(&root).arg(&image).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        site.ok(&format!("vm add guest --disk {}", image.display()));
        site.ok("backup start --vm guest");
        assert!(large.exists());
        World { hub, site, net, token, turns: Mutex::default() }
    }

    fn url(&self) -> String {
        format!("https://{HUB}:{}", self.hub.address("https").rsplit_once(':').unwrap().1)
    }

    /// The program at a client's place.
    fn client(&self, n: usize, line: &str) -> Command {
        let mut command = elsewhere(&self.site, line);
        command.env("XDG_CONFIG_HOME", self.site.path(&format!("config-{n}")));
        command.env("SENDENSE_HOME", self.site.path(&format!("home-{n}")));
        command.env("SENDENSE_FINGERPRINT", self.hub.fingerprint());
        if line.starts_with("hub login") {
            command.env("SENDENSE_PASSWORD", PASSWORD);
        } else {
            command.env("SENDENSE_HUB", self.url()).env("SENDENSE_TOKEN", &self.token);
        }
        on(&self.net.client_host(n), &command)
    }

    fn run(&self, n: usize, case: Case) {
        let turn = self.turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let client = self.in_the_middle(n, case);
        self.net.cut(n, case.cut);
        drop(turn);
        // How long is the point of this test.
        match case.length {
            Length::Second => std::thread::sleep(Duration::from_secs(1)),
            Length::HalfMinute => std::thread::sleep(Duration::from_secs(30)),
            Length::ForGood => {
                // A login may have been through.
                let run = client.wait(UNTIL_GIVEN_UP);
                if case.work != Work::Login || run.code != 0 {
                    run.failed_with(10, &[]);
                }
                self.ended_by_itself(n, case);
                self.net.mend(n, case.cut);
                return self.again(n, case, &run);
            }
        }
        self.net.mend(n, case.cut);
        let run = client.wait(UNTIL_GIVEN_UP);
        // Half a minute is waited out by who has something under way that can wait; a login is soon asked for again.
        if run.code != 0 {
            assert!(case.length == Length::HalfMinute, "a second was noticed: {run:#?}");
            assert!(matches!(case.work, Work::Login | Work::Push | Work::Extract), "{run:#?}");
            run.failed_with(10, &[]);
        }
        eprintln!("{case:?} ended with {}", run.code);
        self.again(n, case, &run);
    }

    /// The command when it is on its way.
    fn in_the_middle(&self, n: usize, case: Case) -> Running {
        let (site, vm) = (&self.site, format!("vm{n}"));
        let folder = site.path(&format!("out-{n}"));
        match case.work {
            Work::Push | Work::Watch => {
                let disk = site.disk(&format!("{vm}.raw"), 12 * MIB, 11, n as u64);
                if case.work == Work::Watch {
                    site.ok(&format!("vm add {vm} --disk {}", disk.display()));
                }
            }
            Work::Extract => fs::create_dir(&folder).unwrap(),
            Work::Login => {}
        }
        let mut command = self.client(n, &self.line(n, case));
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let moves = || match case.work {
            Work::Push | Work::Watch => {
                let bytes = format!("SELECT sum(bytes_processed) FROM backup_jobs WHERE vm_name = '{vm}'");
                site.sql(&bytes).parse().unwrap_or(0u64) > 0
            }
            Work::Extract => {
                let files = fs::read_dir(&folder).unwrap().flatten();
                files.map(|file| file.metadata().map_or(0, |known| known.len())).sum::<u64>() > 0
            }
            Work::Login => self.net.is_connected(n),
        };
        let mut ended = false;
        eventually("it is in the middle", LONG, || {
            ended = running.0.try_wait().unwrap().is_some();
            ended || moves()
        });
        // A login is soon over.
        if ended && case.work != Work::Login {
            panic!("it has ended before it began: {:#?}", running.wait(LONG));
        }
        running
    }

    fn line(&self, n: usize, case: Case) -> String {
        match case.work {
            Work::Push => {
                format!(
                    "agent push --vm vm{n} --source {{}}/vm{n}.raw --bandwidth 2M --tls-certificates {{}}/tls"
                )
            }
            Work::Watch => format!("backup start --vm vm{n} --bandwidth 2M"),
            Work::Extract => format!("backup extract guest@latest --file /large --output {{}}/out-{n}/large"),
            Work::Login => {
                let url = self.url();
                format!("hub login {url} --user admin --name test --fingerprint {}", self.hub.fingerprint())
            }
        }
    }

    /// What the hub makes of a client that is cut off for good, before the way is mended.
    fn ended_by_itself(&self, n: usize, case: Case) {
        let newest = |field: &str| {
            self.site.sql(&format!(
                "SELECT {field} FROM backup_jobs WHERE vm_name = 'vm{n}' ORDER BY created_at DESC LIMIT 1"
            ))
        };
        match case.work {
            // Nobody sends any more: it has failed, says why, and holds nothing.
            Work::Push => {
                eventually("the push has ended", LONG, || newest("status") == "failed");
                assert_eq!(newest("error_code"), "timed_out");
                let held = format!("SELECT count(*) FROM leases WHERE job_id = '{}'", newest("id"));
                eventually("its lease is given back", LONG, || self.site.sql(&held) == "0");
            }
            // What the hub does by itself goes on.
            Work::Watch => eventually("the backup is done", LONG, || newest("status") == "completed"),
            Work::Extract | Work::Login => {}
        }
        eventually("its connections are given up", LONG, || !self.net.is_held(n));
    }

    /// Everything is as it should be, and the same once more works.
    fn again(&self, n: usize, case: Case, run: &Run) {
        let again = if run.code == 0 && case.work != Work::Login {
            None
        } else {
            let overwrite = if case.work == Work::Extract { " --overwrite always" } else { "" };
            let again = self.client(n, &format!("{}{overwrite}", self.line(n, case)).replace("2M", "1G"));
            let again = Run::finished(again);
            assert_eq!(again.code, 0, "{again:#?}");
            Some(again)
        };
        match case.work {
            Work::Push | Work::Watch => {
                let made = again.as_ref().unwrap_or(run);
                let id = made.summary()["backup_id"].as_str().unwrap().to_owned();
                self.site.assert_point_equals(&id, 0, &self.site.path(&format!("vm{n}.raw")));
            }
            Work::Extract => {
                let (got, wanted) = (format!("out-{n}/large"), "root/large");
                assert!(same_bytes(&self.site.path(&got), &self.site.path(wanted)));
                let files = fs::read_dir(self.site.path(&format!("out-{n}"))).unwrap().count();
                assert_eq!(files, 1, "something is left beside the file");
            }
            Work::Login => {
                let mut list = self.client(n, "backup list --json --limit 1");
                list.env_remove("SENDENSE_HUB")
                    .env_remove("SENDENSE_TOKEN")
                    .env_remove("SENDENSE_FINGERPRINT");
                let list = Run::finished(list);
                assert_eq!(list.code, 0, "{list:#?}");
                let said: Value = serde_json::from_str(&list.stdout).unwrap();
                assert!(said["total"].as_u64().unwrap() > 0, "{said}");
            }
        }
    }
}

/// Somebody between client and hub whose kernel takes everything: only that no answer comes shows that nobody is there.
fn a_way_that_takes_everything_and_passes_nothing_on(world: &World) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let taken = std::thread::spawn(move || {
        let mut all: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // The first one says that it is over.
            let mut first = [0];
            if stream.read(&mut first).unwrap_or(0) == 1 && first == *b"." {
                return all.len();
            }
            all.push(stream);
        }
        all.len()
    });
    let mut command = elsewhere(&world.site, "backup delete guest@latest --cascade --yes");
    command.env("SENDENSE_HUB", &address).env("SENDENSE_TOKEN", &world.token);
    let run = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())).wait(UNTIL_GIVEN_UP);
    run.failed_with(10, &["no hub answers", "nothing for 60 seconds"]);
    TcpStream::connect(address.trim_start_matches("http://")).unwrap().write_all(b".").unwrap();
    assert!(taken.join().unwrap() >= 2, "it was asked whether anybody is there");
}

/// Somebody who reads a little and comes back when the hub has given up the download, and later whoever is gone: the command in
/// between has said that it is there, and goes on.
fn a_reader_that_stands_still_is_not_gone(world: &World, n: usize) {
    let mut command = world.client(n, "backup cat guest@latest /large");
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut output = running.0.stdout.take().unwrap();
    let mut read = vec![0; 4096];
    output.read_exact(&mut read).unwrap();
    // How long is the point.
    std::thread::sleep(UNTIL_A_DOWNLOAD_IS_GIVEN_UP + UNTIL_GONE + Duration::from_secs(10));
    output.read_to_end(&mut read).unwrap();
    let run = running.wait(LONG);
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(read == fs::read(world.site.path("root/large")).unwrap(), "other bytes");
}

/// A certificate for the hub's address, made by an authority of its own.
fn certificates(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let openssl = |line: &str| {
        let done = Command::new("openssl").args(line.split(' ')).current_dir(folder).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca-key.pem -out ca-cert.pem");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=hub -keyout server-key.pem -out server.csr");
    fs::write(folder.join("names"), format!("subjectAltName=IP:{HUB}\n")).unwrap();
    openssl(
        "x509 -req -days 2 -in server.csr -CA ca-cert.pem -CAkey ca-key.pem -CAcreateserial -extfile names -out server-cert.pem",
    );
}
