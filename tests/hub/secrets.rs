//! No password and no token stands in a log, an error, an address, the process list or a file, but for the client's own
//! file of tokens.

use super::guarded::{Guarded, PASSWORD};
use crate::harness::{Ports, Run, have};
use crate::push::certificates;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
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

const KEY: &str = "passphrase-of-a-guests-volume";
/// The same in Base64, as it is sent.
const SENT: &str = "cGFzc3BocmFzZS1vZi1hLWd1ZXN0cy12b2x1bWU=";

#[test]
fn a_day_of_work_leaves_no_secret_behind_whatever_is_logged() {
    if !have(&["curl", "openssl", "mke2fs", "sqlite3"]) {
        return;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let watching = watch(Arc::clone(&stop));
    let tls = tempfile::tempdir().unwrap();
    certificates(&tls.path().join("nbd"));
    let nbd = tls.path().join("nbd").display().to_string();
    let certificates = format!("push.tls_certificates={nbd}");
    let restores = format!("restore.folders={}", tls.path().display());
    let free = Ports::take(4);
    let ports = format!("push.ports={}-{}", free.first, free.last);
    let hub = Guarded::new(&[
        "--set",
        &restores,
        "--log-level",
        // Of every crate, not of ours alone.
        "trace,hub=trace",
        "--set",
        "push.listen=0.0.0.0",
        "--set",
        "push.host=localhost",
        "--set",
        &ports,
        "--set",
        &certificates,
    ]);
    let root = hub.site.path("root");
    std::fs::create_dir_all(root.join("etc")).unwrap();
    std::fs::write(root.join("etc/hostname"), "debian\n").unwrap();
    let disk = hub.site.path("web.raw");
    let mut mkfs = Command::new("mke2fs");
    mkfs.args(["-q", "-t", "ext4", "-d"]).arg(&root).arg(&disk).arg("8M");
    assert!(mkfs.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").status().unwrap().success());
    let (disk, out) = (disk.display().to_string(), tls.path().join("out").display().to_string());

    let login = hub.token("admin", PASSWORD);
    let operator = hub.api_token("cron --role operator");
    let mut runs: Vec<Run> = Vec::new();
    let mut work = |token: &str, line: &str| {
        let run = hub.run(&[("SENDENSE_TOKEN", token), ("SENDENSE_HUB", hub.address())], line);
        assert_eq!(run.code, 0, "{run:#?}");
        runs.push(run);
    };
    work(&login, &format!("vm add web --disk {disk}"));
    for line in [
        "backup start --vm web",
        "backup start --vm web --type full --verbose",
        "backup list --json",
        "backup show web@latest --json",
        "backup chain --vm web",
        "backup ls web@latest /",
        "backup volumes web@latest",
        "backup find hostname --vm web",
        "backup verify web@latest",
        "backup diff web@latest~1 web@latest --json",
    ] {
        work(&operator, line);
    }
    work(&operator, &format!("restore disk web@latest --to {out}"));
    let push = format!("agent push --vm pushed --source {disk} --tls-certificates {nbd}");
    work(&operator, &push);
    work(&operator, &format!("{push} --verbose"));
    work(&login, "hub audit --limit 0 --json");

    // What a script sends and gets; what is told only to those who may back up is among it.
    let mut answers: Vec<Vec<u8>> = Vec::new();
    let point = hub.curl(Some(&operator), &[], "/backups?vm_name=web").json()["backups"][0]["id"].clone();
    let keyed = json!({"backup_id": point, "keys_b64": [SENT]});
    let mount = hub.post(Some(&operator), "/restore/mount", &keyed);
    answers.push(mount.body.clone());
    let mount = mount.json()["mount_id"].as_str().unwrap().to_owned();
    answers.push(hub.curl(Some(&operator), &[], &format!("/restore/{mount}/files?path=/")).body);
    let question = json!({"query": {"vm_name": "web", "pattern": "*"}, "keys_b64": [SENT]});
    answers.push(hub.post(Some(&operator), "/search/files", &question).body);
    answers
        .push(hub.post(Some(&operator), "/restore/mount", &json!({"backup_id": 1, "keys_b64": [SENT]})).body);
    let start = json!({"vm_name": "direct", "backup_type": "full", "source": "push",
        "disks": [{"capacity_bytes": 4096}]});
    let started = hub.post(Some(&operator), "/backups", &start).json();
    let id = started["backup"]["id"].as_str().unwrap();
    let name = started["backup"]["nbd_export_name"].as_str().unwrap().to_owned();
    let viewer = hub.api_token("screen --role viewer");
    for path in [
        format!("/backups/{id}"),
        format!("/backup/{id}"),
        "/backups".into(),
        "/backup/list".into(),
        format!("/jobs/{id}"),
        "/jobs".into(),
        "/vms".into(),
        "/restore/mounts".into(),
    ] {
        answers.push(hub.curl(Some(&viewer), &[], &path).body);
    }
    assert_eq!(hub.curl(Some(&operator), &["-X", "POST"], &format!("/backups/{id}/cancel")).status, 202);
    answers.push(hub.curl(Some(&login), &[], "/audit?limit=1000").body);
    hub.hub_login("admin", PASSWORD);
    assert_eq!(
        hub.run(&[("SENDENSE_PASSWORD", PASSWORD), ("SENDENSE_NEW_PASSWORD", NEW)], "hub users passwd").code,
        0
    );

    stop.store(true, Ordering::Relaxed);
    let listed = watching.join().unwrap();
    assert!(listed.iter().any(|line| holds(line, "agent\0push")), "the agent was not seen");
    let secrets = [PASSWORD, NEW, KEY, SENT, &login, &operator, &viewer, &name];
    let secrets = secrets.map(|secret| secret.strip_prefix("sendense_").unwrap_or(secret));
    let nowhere = |bytes: &[u8], place: &str| {
        for secret in secrets {
            assert!(!holds(bytes, secret), "{secret} in {place}: {}", String::from_utf8_lossy(bytes));
        }
    };
    listed.iter().for_each(|line| nowhere(line, "the process list"));
    for run in &runs {
        nowhere(run.stdout.as_bytes(), &run.command);
        nowhere(run.stderr.as_bytes(), &run.command);
    }
    answers.iter().for_each(|answer| nowhere(answer, "an answer"));
    let log = std::fs::read(hub.site.path("hub.log")).unwrap();
    assert!(holds(&log, " DEBUG ") && holds(&log, "/restore/mount"), "it is logged at this level");
    for file in files(&hub.site.state()).into_iter().chain([hub.site.path("hub.log")]) {
        nowhere(&std::fs::read(&file).unwrap(), &file.display().to_string());
    }
}
