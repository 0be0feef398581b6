//! What happens to the hub, its clients, the way between them and the catalog's server while something is going on:
//! killed with -9 at any moment, cut for a second, for half a minute and for good, stopped and started. Whatever it is,
//! no completed point is lost, nothing is left over, the error names the cause, and trying again works.

mod catalog;
mod client;
mod hub;
mod net;
mod network;

use crate::harness::{Run, Running, Serving, Site};
use std::process::Command;
use std::time::Duration;

/// Nothing that is waited for takes so long.
const LONG: Duration = Duration::from_secs(120);

/// `agent push` from another machine: all that is known of the hub is its address.
fn agent(site: &Site, line: &str) -> Command {
    let mut command = elsewhere(site, &format!("agent push {line}"));
    command.env("SENDENSE_HUB", format!("unix://{}", site.state().join("hub.sock").display()));
    command
}

/// The program with a state folder that knows nothing; `{}` stands for the site's folder.
fn elsewhere(site: &Site, line: &str) -> Command {
    let folder = site.path("");
    let folder = folder.to_str().unwrap().trim_end_matches('/');
    let words = line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace("{}", folder));
    let mut command = site.bare_command(words);
    command.env("SENDENSE_HOME", site.path("elsewhere"));
    command
}

/// The ids of all points, the newest first.
fn points(site: &Site) -> Vec<String> {
    site.points().iter().map(|point| point["id"].as_str().unwrap().to_owned()).collect()
}

/// Nothing unfinished in the repository, no lease, no job that claims to run, no restore session, and no port but those
/// that the hub itself listens on.
fn assert_nothing_left_over(site: &Site, hub: &Serving) {
    left_over(site, hub, Command::new("ss"));
}

/// The same where the hub has a network of its own.
fn assert_nothing_left_over_on(site: &Site, hub: &Serving, host: &str) {
    let mut ss = Command::new("ss");
    ss.args(["-N", host]);
    left_over(site, hub, ss);
}

fn left_over(site: &Site, hub: &Serving, mut ss: Command) {
    site.assert_nothing_left_over();
    let open = "SELECT count(*) FROM jobs WHERE status NOT IN ('completed','failed','cancelled')";
    assert_eq!(site.sql(open), "0", "a job is neither running nor ended");
    assert_eq!(site.sql("SELECT count(*) FROM restore_mounts"), "0", "a session is left over");
    ss.arg("-ltnpH");
    let listens = Run::finished(ss);
    let own = format!("pid={},", hub.running.0.id());
    let own: Vec<&str> = listens.stdout.lines().filter(|line| line.contains(&own)).collect();
    let api = hub.said["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|at| at.as_str().unwrap().starts_with("http"));
    assert_eq!(own.len(), api.count(), "ports that are left: {own:?}");
}

/// Waits for a run whose hub went away under it: it is done, or says in up to three lines what happened.
fn told(running: Running) -> Run {
    let run = running.wait(LONG);
    if run.code != 0 {
        // 1: the hub is back and says that the job was killed; 10: it does not answer.
        let causes: &[&str] = match run.code {
            1 => &["was killed"],
            10 => &["no hub answers", "broke off", "the hub's export can't be written"],
            code => panic!("{code} is no code for a hub that is gone: {run:#?}"),
        };
        run.failed_with(run.code, &[]);
        assert!(causes.iter().any(|cause| run.stderr.contains(cause)), "it does not say why: {run:#?}");
    }
    run
}
