//! `kill -9` of the hub at a hundred moments of what its clients ask of it.
//!
//! The moments are drawn at random over an operation's whole length (`SENDENSE_KILLS` in all, 100 unless set); a failure
//! prints the seed that repeats it. The hub is started again at once, as its unit does, so its clients meet either none or
//! the next one.

use super::{agent, assert_nothing_left_over, elsewhere, points, told};
use crate::harness::{MIB, Random, Run, Running, Serving, Site, have, scribble};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One operation under kills.
struct Trial<'a> {
    site: &'a Site,
    serve: &'a [&'a str],
    /// Of a hundred kills.
    share: u64,
    seed: u64,
}

impl Trial<'_> {
    /// `prepare` gives the command that is on its way when the hub is killed; `check` looks at what has become of it,
    /// with the next hub.
    fn run(&self, mut prepare: impl FnMut(u64, &Serving) -> Command, mut check: impl FnMut(&Run, &Serving)) {
        let kills = std::env::var("SENDENSE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(100u64);
        let (rounds, seed) = (kills * self.share / 100, self.seed);
        let mut random = Random(seed);
        let mut hub = self.site.serve(self.serve);
        // One run to its end tells how long it takes.
        let command = prepare(0, &hub);
        let started = Instant::now();
        let run = Run::finished(command);
        let mut usual = started.elapsed();
        assert_eq!(run.code, 0, "{run:#?}");
        check(&run, &hub);
        let mut killed = 0;
        for round in 1..=rounds {
            let mut command = prepare(round, &hub);
            let moment = Duration::from_micros(random.below(usual.as_micros() as u64));
            let started = Instant::now();
            let mut client = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
            // The moment is the point of this test, nothing is waited for.
            while started.elapsed() < moment && client.0.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_micros(200));
            }
            match client.0.try_wait().unwrap() {
                // It was done before its moment came: learn how long it really takes.
                Some(_) => usual = (usual * 3 + started.elapsed()) / 4,
                None => killed += 1,
            }
            // Kills it, and waits until it is gone.
            drop(hub);
            hub = self.site.serve(self.serve);
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let run = told(client);
                assert_nothing_left_over(self.site, &hub);
                check(&run, &hub);
            }));
            assert!(panicked.is_ok(), "round {round}, seed {seed}, killed after {moment:?}");
        }
        assert!(killed * 2 > rounds, "only {killed} of {rounds} in time: the moments are badly drawn");
    }
}

/// Looks after the points of one VM from round to round.
struct Kept<'a> {
    site: &'a Site,
    disks: &'a [PathBuf],
    known: Vec<String>,
}

impl Kept<'_> {
    /// Takes stock after a run: what was there is there, what is new is whole and is the disks as they are. True where
    /// there is a new point.
    fn look(&mut self, run: &Run) -> bool {
        let now = points(self.site);
        assert!(self.known.iter().all(|id| now.contains(id)), "a completed point is gone");
        assert_eq!(self.site.files_ending(".qcow2").len(), now.len() * self.disks.len(), "files of no point");
        let made = now.len() > self.known.len();
        assert!(made || run.code != 0, "nothing was made, and the client says that it was: {run:#?}");
        if made {
            assert_eq!(now.len(), self.known.len() + 1);
            self.site.ok(&format!("backup verify {}", now[0]));
            for (n, disk) in self.disks.iter().enumerate() {
                self.site.assert_point_equals(&now[0], n as u64, disk);
            }
        }
        self.known = now;
        made
    }
}

fn tools() -> bool {
    have(&["sqlite3", "qemu-img", "ss"])
}

fn kind(round: u64) -> &'static str {
    if round.is_multiple_of(6) { "full" } else { "auto" }
}

/// Kills the hub under backups of these two disks, which the command of each round makes.
fn backups(site: &Site, disks: &[PathBuf; 2], share: u64, seed: u64, command: impl Fn(u64) -> Command) {
    let mut kept = Kept { site, disks, known: Vec::new() };
    let trial = Trial { site, serve: &["--no-listen"], share, seed };
    trial.run(
        |round, _| {
            scribble(&disks[(round % 2) as usize], 1, seed + round);
            command(round)
        },
        |run, hub| {
            if !kept.look(run) {
                let again = Run::finished(command(1));
                assert_eq!(again.code, 0, "{again:#?}");
                assert!(kept.look(&again));
                assert_nothing_left_over(site, hub);
            }
        },
    );
    site.ok("backup verify --all");
}

/// Pushes under kills, with a retry of all that came to nothing.
fn pushes(share: u64, seed: u64, more: &'static str) {
    if !tools() {
        return;
    }
    let site = Site::in_memory();
    let disks = [site.disk("a.raw", 16 * MIB, 8, seed), site.disk("b.raw", 8 * MIB + 512, 3, seed + 1)];
    let command = |round: u64| {
        let kind = kind(round);
        agent(&site, &format!("--vm web --source {{}}/a.raw --source {{}}/b.raw --type {kind} {more}"))
    };
    backups(&site, &disks, share, seed, command);
}

#[test]
fn a_hub_killed_under_a_push() {
    pushes(20, 51, "");
}

#[test]
fn a_hub_killed_under_a_compressed_push() {
    pushes(20, 52, "--compress --connections 1");
}

#[test]
fn a_hub_killed_under_a_backup_that_it_reads() {
    if !tools() {
        return;
    }
    let site = Site::in_memory();
    let disks = [site.disk("a.raw", 16 * MIB, 8, 1), site.disk("b.raw", 8 * MIB, 3, 2)];
    site.bare_ok(&format!("vm add pg --disk {} --disk {}", disks[0].display(), disks[1].display()));
    let start = |round: u64| site.bare_command(["backup", "start", "--vm", "pg", "--type", kind(round)]);
    backups(&site, &disks, 25, 53, start);
}

#[test]
fn a_hub_killed_under_a_deletion() {
    if !tools() {
        return;
    }
    let site = Site::in_memory();
    // Three points of a disk of its own for each round.
    let chain = std::cell::RefCell::new(Vec::<(String, PathBuf)>::new());
    // What is deleted of it, how, and what is there afterwards.
    let ways: [(usize, &str, &[usize]); 4] =
        [(1, " --merge", &[0, 2]), (0, " --merge", &[1, 2]), (1, " --cascade", &[0]), (2, "", &[0, 1])];
    let way = std::cell::Cell::new(ways[0]);
    let delete = || {
        let (victim, verb, _) = way.get();
        let line = format!("backup delete {} --yes{verb}", chain.borrow()[victim].0);
        site.bare_command(line.split(' '))
    };
    let trial = Trial { site: &site, serve: &["--no-listen"], share: 20, seed: 54 };
    trial.run(
        |round, _| {
            way.set(ways[(round % 4) as usize]);
            let disk = site.disk(&format!("{round}.raw"), 8 * MIB, 3, round);
            site.ok(&format!("vm add vm{round} --disk {}", disk.display()));
            *chain.borrow_mut() = (0..3)
                .map(|n| {
                    scribble(&disk, 1, n);
                    let kept = site.path(&format!("{round}-{n}.kept"));
                    fs::copy(&disk, &kept).unwrap();
                    (site.backup(&format!("--vm vm{round}")), kept)
                })
                .collect();
            delete()
        },
        |run, hub| {
            let present = || {
                let now = points(&site);
                let present: Vec<usize> = (0..3).filter(|n| now.contains(&chain.borrow()[*n].0)).collect();
                for n in &present {
                    site.assert_point_equals(&chain.borrow()[*n].0, 0, &chain.borrow()[*n].1);
                }
                assert_eq!(site.files_ending(".qcow2").len(), now.len(), "files of no point");
                present
            };
            let (_, _, done) = way.get();
            let now = present();
            assert!(now == [0, 1, 2] || now == done, "half done: {now:?}");
            assert!(now == done || run.code != 0, "nothing is deleted, and the client says it is: {run:#?}");
            if now != done {
                let again = Run::finished(delete());
                assert_eq!(again.code, 0, "{again:#?}");
                assert_eq!(present(), done);
            }
            site.ok("backup verify --all");
            // All that is left of the chain hangs on its first point.
            site.ok(&format!("backup delete {} --cascade --yes", chain.borrow()[done[0]].0));
            assert!(points(&site).is_empty());
            assert_nothing_left_over(&site, hub);
        },
    );
}

#[test]
fn a_hub_killed_under_a_login() {
    if !tools() {
        return;
    }
    const PASSWORD: &str = "correct horse battery";
    let site = Site::in_memory();
    let made = site.bare_command(["hub", "init"]).env("SENDENSE_PASSWORD", PASSWORD).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let login = |hub: &Serving| {
        let line = format!(
            "hub login {} --user admin --name test --fingerprint {}",
            hub.address("https"),
            hub.fingerprint()
        );
        let mut command = elsewhere(&site, &line);
        command.env("SENDENSE_PASSWORD", PASSWORD);
        command
    };
    let trial = Trial { site: &site, serve: &["--listen", "https://127.0.0.1:0"], share: 15, seed: 55 };
    trial.run(
        |_, hub| {
            // Nothing is known of any hub.
            fs::remove_dir_all(site.path("config")).ok();
            login(hub)
        },
        |run, hub| {
            let known = site.path("config").join("sendense/hubs.toml").exists();
            assert!(known || run.code != 0, "{run:#?}");
            let again = Run::finished(login(hub));
            assert_eq!(again.code, 0, "{again:#?}");
            let who = Run::finished(elsewhere(&site, "backup list --json"));
            assert_eq!(who.code, 0, "the login is of no use: {who:#?}");
            assert_eq!(site.sql("SELECT count(*) FROM users"), "1");
        },
    );
}
