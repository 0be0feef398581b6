//! The catalog's server stopped, or killed with -9, and started again, under what a hub that serves does for its clients.

use super::{LONG, agent, elsewhere, points};
use crate::harness::{MIB, Random, Run, Running, Serving, Site, eventually, have, scribble};
use crate::mariadb::assert_tidy;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use testkit::mariadb::Server;

const PASSWORD: &str = "correct horse battery";

/// A hub whose catalog is on a server of its own.
struct Place {
    // Ended before its folder goes.
    hub: Serving,
    site: Site,
    server: Server,
}

impl Place {
    fn new() -> Option<Place> {
        let server = Server::start()?;
        if !have(&["qemu-img"]) {
            return None;
        }
        let site = Site::in_memory().with_catalog(&server.database());
        let hub = site.serve(&["--listen", "https://127.0.0.1:0"]);
        Some(Place { hub, site, server })
    }

    /// Ends the server as its administrator would, or not.
    fn end_server(&mut self, kindly: bool) {
        if kindly { self.server.stop() } else { self.server.kill() }
    }

    fn login(&self) -> Command {
        let address = self.hub.address("https");
        let line =
            format!("hub login {address} --user admin --name test --fingerprint {}", self.hub.fingerprint());
        let mut command = elsewhere(&self.site, &line);
        command.env("SENDENSE_PASSWORD", PASSWORD);
        command
    }
}

fn piped(command: &mut Command) -> Running {
    Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Pushes and backups that go on while the server is away: for a moment in the middle, or past their end.
#[test]
fn what_is_under_way_is_completed_when_the_server_is_back() {
    let Some(mut place) = Place::new() else { return };
    let disk = place.site.disk("a.raw", 16 * MIB, 14, 1);
    let own = place.site.disk("b.raw", 16 * MIB, 14, 2);
    place.site.ok(&format!("vm add pg --disk {}", own.display()));
    for round in 0..4 {
        let (kindly, past_the_end) = (round % 2 == 0, round >= 2);
        scribble(&disk, 1, round);
        scribble(&own, 1, round + 10);
        let mut push =
            piped(&mut agent(&place.site, "--vm web --source {}/a.raw --type full --bandwidth 6M"));
        let line = "backup start --vm pg --type full --bandwidth 6M";
        let pull = piped(&mut place.site.bare_command(line.split(' ')));
        eventually("both transfer", LONG, || place.site.files_ending(".qcow2.partial").len() == 2);
        place.end_server(kindly);
        // Whoever asks now is told, and what for.
        for line in ["backup list", "backup start --vm pg"] {
            place.site.bare_run(line).failed_with(10, &["catalog", "can't be reached"]);
        }
        if past_the_end {
            // The hub has all of its own backup; its row waits.
            eventually("the backup's files are complete", LONG, || {
                place.site.files_ending(".qcow2.partial").len() <= 1
            });
        }
        assert!(push.0.try_wait().unwrap().is_none(), "a push has ended without its catalog");
        place.server.start_again();
        let (push, pull) = (push.wait(LONG), pull.wait(LONG));
        for (run, disk) in [(&push, &disk), (&pull, &own)] {
            assert_eq!(run.code, 0, "round {round}: {run:#?}");
            let id = run.summary()["backup_id"].as_str().unwrap().to_owned();
            assert_eq!(place.site.json(&format!("backup show {id}"))["backup"]["status"], "completed");
            place.site.assert_point_equals(&id, 0, disk);
        }
        assert_eq!(points(&place.site).len(), 2 * (round as usize + 1));
        assert_tidy(&place.site);
    }
    place.site.ok("backup verify --all");
}

#[test]
fn deletions_and_logins_while_the_server_goes_and_comes_work_or_can_be_tried_again() {
    let Some(mut place) = Place::new() else { return };
    let init = place.site.bare_command(["hub", "init"]).env("SENDENSE_PASSWORD", PASSWORD).output().unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let disk = place.site.disk("a.raw", 8 * MIB, 4, 1);
    place.site.ok(&format!("vm add pg --disk {}", disk.display()));
    let mut kept: Vec<PathBuf> = Vec::new();
    for n in 0..6u64 {
        scribble(&disk, 1, n);
        place.site.ok(&format!("backup start --vm pg --type {}", if n == 3 { "full" } else { "auto" }));
        let copy = place.site.path(&format!("{n}.kept"));
        std::fs::copy(&disk, &copy).unwrap();
        kept.push(copy);
    }
    let mut random = Random(71);
    let mut known = points(&place.site);
    known.reverse();
    let all = known.clone();
    while known.len() > 1 {
        let (victim, kindly) = (known[0].clone(), random.below(2) == 0);
        let verb = if kindly { "--merge" } else { "--cascade" };
        let delete = piped(&mut place.site.bare_command(["backup", "delete", &victim, verb, "--yes"]));
        let login = piped(&mut place.login());
        // The moment is the point of this test, nothing is waited for.
        let moment = Instant::now() + Duration::from_millis(random.below(400));
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        place.end_server(kindly);
        place.server.start_again();
        for (what, run, again) in
            [("delete", delete.wait(LONG), None), ("login", login.wait(LONG), Some(place.login()))]
        {
            if run.code != 0 {
                run.failed_with(10, &["catalog"]);
            }
            if let Some(again) = again {
                let again = Run::finished(again);
                assert_eq!(again.code, 0, "{what}: {again:#?}");
                let list = Run::finished(elsewhere(&place.site, "backup list --json"));
                assert_eq!(list.code, 0, "{list:#?}");
            } else if run.code != 0 && points(&place.site).contains(&victim) {
                place.site.bare_ok(&format!("backup delete {victim} {verb} --yes"));
            }
        }
        let mut now = points(&place.site);
        now.reverse();
        assert!(!now.contains(&victim) && now.iter().all(|id| known.contains(id)), "{now:?} of {known:?}");
        for id in &now {
            let n = all.iter().position(|one| one == id).unwrap();
            place.site.assert_point_equals(id, 0, &kept[n]);
        }
        assert_tidy(&place.site);
        known = now;
    }
}

/// The last writes of a job fail while its hub lives on: it does them later, and holds nothing until its own end.
#[test]
fn what_can_not_be_written_at_the_end_of_a_job_is_written_later() {
    if !have(&["sqlite3", "qemu-img"]) {
        return;
    }
    let site = Site::in_memory();
    let disk = site.disk("a.raw", 8 * MIB, 4, 1);
    site.bare_ok(&format!("vm add pg --disk {}", disk.display()));
    let silence = ["--no-listen", "--set", "jobs.stalled_after=1s", "--set", "jobs.failed_after=3s"];
    let _hub = site.serve(&silence);
    site.ok("backup start --vm pg");
    let no = "BEGIN SELECT RAISE(ABORT, 'not now'); END";
    for (name, on) in [
        ("release", "BEFORE DELETE ON leases"),
        ("end", "BEFORE UPDATE OF status ON backup_jobs WHEN NEW.status = 'completed'"),
    ] {
        scribble(&disk, 1, 7);
        site.sql(&format!("CREATE TRIGGER no_{name} {on} {no}"));
        let run = site.run("backup start --vm pg");
        assert_eq!(run.code, 0, "the point is there: {run:#?}");
        let id = run.summary()["backup_id"].as_str().unwrap().to_owned();
        if name == "release" {
            assert_eq!(site.sql("SELECT count(*) FROM leases"), "1");
            site.run("backup start --vm pg").failed_with(11, &["VM pg"]);
        } else {
            assert_ne!(site.sql(&format!("SELECT status FROM backup_jobs WHERE id = '{id}'")), "completed");
        }
        site.sql(&format!("DROP TRIGGER no_{name}"));
        eventually("it is written", LONG, || {
            site.sql("SELECT count(*) FROM leases") == "0"
                && site.sql(&format!("SELECT status FROM backup_jobs WHERE id = '{id}'")) == "completed"
        });
        site.assert_nothing_left_over();
        site.assert_point_equals(&id, 0, &disk);
        site.ok("backup start --vm pg");
    }
    site.ok("backup verify --all");
}
