//! `kill -9` of the client: the hub notices its silence and gives everything back.

use super::{LONG, agent, assert_nothing_left_over, points};
use crate::harness::{MIB, Random, Run, Running, Site, eventually, have};
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn agents_killed_at_any_moment_leave_a_hub_as_if_they_had_not_come() {
    const AGENTS: u64 = 16;
    if !have(&["sqlite3", "qemu-img", "ss"]) {
        return;
    }
    let site = Site::in_memory();
    let silence = ["--set", "jobs.stalled_after=1s", "--set", "jobs.failed_after=2s"];
    let hub = site.serve(&[&["--no-listen"][..], &silence].concat());
    let mut random = Random(61);
    let disks: Vec<_> = (0..AGENTS).map(|n| site.disk(&format!("{n}.raw"), 16 * MIB, 8, n)).collect();
    let push = |n: u64| agent(&site, &format!("--vm vm{n} --source {{}}/{n}.raw"));
    // One to its end: how long it takes where it is alone. All at once, they take their time.
    let started = Instant::now();
    let run = Run::finished(push(0));
    assert_eq!(run.code, 0, "{run:#?}");
    let usual = started.elapsed() * AGENTS as u32 / 4;
    let mut clients: Vec<(Instant, Duration, Running)> = (0..AGENTS)
        .map(|n| {
            let moment = Duration::from_micros(random.below(usual.as_micros() as u64));
            let mut command = push(n);
            (Instant::now(), moment, Running::start(command.stdout(Stdio::null()).stderr(Stdio::null())))
        })
        .collect();
    let mut killed = 0;
    while !clients.is_empty() {
        clients.retain_mut(|(started, moment, client)| {
            let ended = client.0.try_wait().unwrap().is_some();
            let due = started.elapsed() >= *moment;
            killed += u64::from(due && !ended);
            // Dropping is killing.
            !ended && !due
        });
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(killed * 2 > AGENTS, "only {killed} of {AGENTS} were killed: the moments are badly drawn");
    let open = "SELECT count(*) FROM backup_jobs WHERE status NOT IN ('completed','failed','cancelled')";
    eventually("all have ended", LONG, || site.sql(open) == "0");
    eventually("all is given back", LONG, || site.sql("SELECT count(*) FROM leases") == "0");
    assert_nothing_left_over(&site, &hub);
    let why = "SELECT count(*) FROM backup_jobs WHERE status = 'failed' AND error_code != 'timed_out'";
    assert_eq!(site.sql(why), "0", "what has failed has failed for its client's silence");
    // Those that were done are whole, and all others can be done now.
    let before = points(&site);
    for id in &before {
        site.ok(&format!("backup verify {id}"));
    }
    for n in 0..AGENTS {
        let run = Run::finished(push(n));
        assert_eq!(run.code, 0, "{run:#?}");
        let id = run.summary()["backup_id"].as_str().unwrap().to_owned();
        site.assert_point_equals(&id, 0, &disks[n as usize]);
    }
    assert!(before.iter().all(|id| points(&site).contains(id)), "a completed point is gone");
    assert_nothing_left_over(&site, &hub);
}
