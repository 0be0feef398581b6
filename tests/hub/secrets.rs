//! No password and no token stands in a log, an error, an address, the process list or a file, but for the client's own
//! file of tokens.

use super::guarded::{Guarded, PASSWORD};
use crate::harness::{Run, have};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const WRONG: &str = "a-guess-that-is-wrong";
const NEW: &str = "the-password-from-now-on";
const MISPLACED: &str = "typed-into-the-wrong-field";

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() => found.push(path),
                _ => {}
            }
        }
    }
    found
}

fn holds(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

/// The arguments of every program of ours and every curl in the process list, until told to stop.
fn watch(stop: Arc<AtomicBool>) -> std::thread::JoinHandle<BTreeSet<Vec<u8>>> {
    std::thread::spawn(move || {
        let mut found = BTreeSet::new();
        while !stop.load(Ordering::Relaxed) {
            for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                let Ok(line) = std::fs::read(process.path().join("cmdline")) else { continue };
                if holds(&line, "sendense-ctl") || holds(&line, "curl") {
                    found.insert(line);
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        found
    })
}

#[test]
fn secrets_are_where_they_belong_and_nowhere_else() {
    if !have(&["curl"]) {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(Arc::clone(&stop));
    let hub = Guarded::new(&["--log-level", "debug"]);
    let mut runs: Vec<Run> = Vec::new();
    let mut answers: Vec<Vec<u8>> = Vec::new();

    runs.push(hub.hub_login("admin", WRONG));
    runs.push(hub.hub_login("admin", PASSWORD));
    let login = hub.token("admin", PASSWORD);
    let kept = std::fs::read_to_string(hub.config("tokens.toml")).unwrap();
    let kept = kept.split('"').nth(1).unwrap().to_owned();
    let made = hub.site.bare_ok("hub tokens create cron --role operator");
    let api = made.stdout.trim().to_owned();
    assert!(!made.stderr.contains(&api));
    for (name, password) in [("admin", WRONG), (MISPLACED, PASSWORD), ("nobody", WRONG)] {
        answers.push(hub.login(name, password).body);
    }
    for body in
        [json!({"username": "admin", "password": WRONG, "x": 1}), json!({"username": "a", "password": 1})]
    {
        answers.push(hub.post(None, "/auth/login", &body).body);
    }
    let user = |password: &str, role: &str| json!({"name": "j.doe", "password": password, "role": role});
    answers.push(hub.post(Some(&login), "/auth/users", &user("short-pass!", "viewer")).body);
    answers.push(hub.post(Some(&login), "/auth/users", &user(NEW, "no-role")).body);
    answers.push(hub.post(Some(&login), "/auth/users", &user(NEW, "viewer")).body);
    answers.push(hub.curl(Some(&login), &[], "/auth/users").body);
    answers.push(hub.curl(Some(&login), &[], "/auth/tokens?all").body);
    answers.push(hub.curl(Some(&login), &[], "/audit").body);
    answers.push(hub.curl(Some(&format!("{api}0")), &[], "/vms").body);
    runs.push(
        hub.run(&[("SENDENSE_TOKEN", &format!("{api}1"))], &format!("vm list --hub {}", hub.address())),
    );
    for line in
        ["vm list --verbose", "hub list", "hub list --json", "hub status --json", "hub users list --json"]
    {
        runs.push(hub.site.bare_run(line));
    }
    runs.push(hub.site.bare_run("hub tokens list --all --json"));
    runs.push(hub.site.bare_run("hub audit --json --limit 0"));
    runs.push(
        hub.run(&[("SENDENSE_PASSWORD", PASSWORD), ("SENDENSE_NEW_PASSWORD", NEW)], "hub users passwd"),
    );
    runs.push(hub.site.bare_run("vm list"));
    runs.push(hub.site.bare_run("hub logout"));

    stop.store(true, Ordering::Relaxed);
    let listed = watching.join().unwrap();
    for seen in ["sendense-ctl\0hub\0serve", "sendense-ctl\0hub\0login", "curl\0"] {
        assert!(listed.iter().any(|line| holds(line, seen)), "{seen:?} was not seen");
    }
    let secrets = [PASSWORD, WRONG, NEW, MISPLACED, &login, &kept, &api];
    // The token without the word before it, so that a part counts, too.
    let secrets = secrets.map(|secret| secret.strip_prefix("sendense_").unwrap_or(secret));
    for (line, secret) in listed.iter().flat_map(|line| secrets.iter().map(move |secret| (line, secret))) {
        assert!(!holds(line, secret), "in the process list: {}", String::from_utf8_lossy(line));
    }
    for run in &runs {
        for secret in secrets {
            assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{secret} in {run:#?}");
        }
    }
    for answer in &answers {
        for secret in secrets {
            assert!(!holds(answer, secret), "{secret} in {}", String::from_utf8_lossy(answer));
        }
    }
    let log = std::fs::read(hub.site.path("hub.log")).unwrap();
    assert!(holds(&log, "/api/v1/auth/login"), "something is logged");
    let mut looked = 0;
    for file in
        files(&hub.site.state()).into_iter().chain([hub.site.path("hub.log"), hub.config("hubs.toml")])
    {
        let bytes = std::fs::read(&file).unwrap();
        looked += 1;
        for secret in secrets {
            assert!(!holds(&bytes, secret), "{secret} in {}", file.display());
        }
    }
    assert!(looked > 5, "{looked} files");
    let tokens = std::fs::read(hub.config("tokens.toml")).unwrap();
    assert!([PASSWORD, NEW, WRONG].iter().all(|secret| !holds(&tokens, secret)));
}
