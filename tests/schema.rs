//! What the API says of itself: schemathesis makes requests out of the served document, fitting and not, and compares the
//! answers with it. The hub is an ordinary user's, so that whatever path is asked for stays on its own ground.

use crate::harness::{MIB, Serving, Site, have};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PROGRAMS: [&str; 5] = ["schemathesis", "setpriv", "mke2fs", "curl", "debugfs"];
/// A user of no name and no rights.
const NOBODY: &str = "65534";
const PASSWORD: &str = "correct horse battery";

/// A hub with something of everything.
struct Prepared {
    // Ended before its folder goes.
    hub: Serving,
    site: Site,
    token: String,
}

fn run(command: &mut Command) -> String {
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
    command
}

/// As root, the same command as somebody who may do nothing.
fn confined(command: &mut Command) {
    if run(tool("id").arg("-u")).trim() != "0" {
        return;
    }
    let mut inner = Command::new("setpriv");
    inner.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"]);
    inner.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inner.env(name, value),
            None => inner.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        inner.current_dir(folder);
    }
    *command = inner;
}

impl Prepared {
    fn new() -> Prepared {
        let site = Site::new();
        let root = site.path("root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/hostname"), "debian\n").unwrap();
        let disk = site.path("web.raw");
        run(tool("mke2fs").args(["-q", "-t", "ext4", "-d"]).arg(&root).arg(&disk).arg("8M"));
        site.disk("db.raw", MIB, 1, 1);
        let program = site.path("sendense-ctl");
        fs::copy(env!("CARGO_BIN_EXE_sendense-ctl"), &program).unwrap();
        let log = fs::File::create(site.path("hub.log")).unwrap();
        let folder = site.path("");
        if run(tool("id").arg("-u")).trim() == "0" {
            run(tool("chown").args(["-R", &format!("{NOBODY}:{NOBODY}")]).arg(&folder));
        }
        let served = [
            "--listen",
            "http://127.0.0.1:0",
            "--log-level",
            "debug",
            "--set",
            "limits.requests_per_second=0",
            "--set",
            "push.ports=10800-10899",
        ];
        let hub = site.serve_with(&served, |command| {
            let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
            let mut own = Command::new(&program);
            own.args(arguments).current_dir(&folder);
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => own.env(name, value),
                    None => own.env_remove(name),
                };
            }
            confined(&mut own);
            own.stdout(std::process::Stdio::piped()).stderr(log).stdin(std::process::Stdio::null());
            *command = own;
        });
        let mut init = site.bare_command(["hub", "init"]);
        run(init.env("SENDENSE_PASSWORD", PASSWORD));
        for (vm, disk) in [("web", "web.raw"), ("db", "db.raw")] {
            site.bare_ok(&format!("vm add {vm} --disk {}", site.path(disk).display()));
            site.bare_ok(&format!("backup start --vm {vm}"));
        }
        site.bare_ok("backup start --vm web");
        let token = site.bare_ok("hub tokens create run --role admin").stdout.trim().to_owned();
        Prepared { hub, site, token }
    }

    fn base(&self) -> &str {
        self.hub.address("http:")
    }

    fn ask(&self, path: &str, body: Option<Value>) -> Value {
        let mut curl = tool("curl");
        curl.args(["-sS", "--fail-with-body", "-H", &format!("Authorization: Bearer {}", self.token)]);
        if let Some(body) = body {
            curl.args(["-d", &body.to_string()]);
        }
        serde_json::from_str(&run(curl.arg(format!("{}/api/v1{path}", self.base())))).unwrap()
    }

    /// Runs schemathesis with the kept settings and these more.
    fn check(&self, settings: &str, arguments: &[&str]) -> Output {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schema");
        let config = self.site.path("schemathesis.toml");
        let text = fs::read_to_string(kept.join("schemathesis.toml")).unwrap();
        fs::write(&config, format!("{text}\n{settings}\n")).unwrap();
        let tokens = self.ask("/auth/tokens", None);
        let tokens = tokens["tokens"].as_array().unwrap();
        let own = tokens.iter().find(|token| token["name"] == "run").unwrap();
        let mut command = tool("schemathesis");
        command.arg("--config-file").arg(&config).args(["run", "--no-color", "--checks", "all"]);
        command.args(["--continue-on-failure", "--max-failures", "40"]).args(arguments);
        command.arg(format!("{}/api/v1/openapi.json", self.base()));
        command.env("SCHEMATHESIS_HOOKS", kept.join("hooks.py"));
        command.env("SENDENSE_SCHEMA_TOKEN_ID", own["id"].as_str().unwrap());
        command.current_dir(self.site.path("root")).output().unwrap()
    }

    /// Fails with what it found; the hub must have stood it.
    fn passed(&self, output: &Output) {
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{errors}");
        let tail = said.lines().rev().find(|line| line.contains("generated")).unwrap_or_default();
        let number = |word: &str| {
            let text = tail.split(&[' ', ','][..]).zip(tail.split(&[' ', ','][..]).skip(1));
            text.filter(|(_, next)| *next == word).find_map(|(number, _)| number.parse::<u64>().ok())
        };
        assert_eq!(number("generated"), number("passed"), "{said}");
        assert!(number("generated") > Some(50), "{said}");
        assert_eq!(self.ask("/health", None)["catalog"], "healthy");
        let log = fs::read_to_string(self.site.path("hub.log")).unwrap();
        let faults: Vec<_> =
            log.lines().filter(|line| line.contains("panicked") || line.contains("has failed:")).collect();
        assert!(faults.is_empty(), "{faults:#?}");
    }
}

#[test]
fn every_answer_is_what_the_document_says() {
    if !have(&PROGRAMS) {
        return;
    }
    let hub = Prepared::new();
    let header = format!("Authorization: Bearer {}", hub.token);
    hub.passed(&hub.check("", &["-H", &header]));
}

/// The same with what is there, which ids made up don't lead to.
#[test]
fn what_is_there_is_shown_as_the_document_says() {
    if !have(&PROGRAMS) {
        return;
    }
    let hub = Prepared::new();
    let points = hub.ask("/backups?vm_name=web", None);
    let id = |position: usize| points["backups"][position]["id"].as_str().unwrap().to_owned();
    let mount = hub.ask("/restore/mount", Some(json!({"backup_id": id(0)})));
    let export = hub.ask("/restore/export", Some(json!({"backup_id": id(0)})));
    let verify = hub.ask(&format!("/backups/{}/verify", id(0)), Some(json!({})));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let settings = [
        ("mount_id", text(&mount["mount_id"])),
        ("export_id", text(&export["export_id"])),
        ("a", id(1)),
        ("b", id(0)),
        ("vm_name", "web".to_owned()),
        ("job_id", text(&verify["job"]["id"])),
    ];
    let settings: Vec<String> =
        settings.iter().map(|(name, value)| format!("\"path.{name}\" = \"{value}\"")).collect();
    let settings = format!("[parameters]\n{}", settings.join("\n"));
    let header = format!("Authorization: Bearer {}", hub.token);
    let output = hub.check(
        &settings,
        &[
            "-H",
            &header,
            "--phases",
            "coverage,fuzzing",
            "--include-path-regex",
            "/restore/\\{|/restore/export/|/diff/|/chain$",
            "--exclude-method",
            "DELETE",
        ],
    );
    hub.passed(&output);
    // They were there to the end.
    assert_eq!(hub.ask(&format!("/restore/{}", text(&mount["mount_id"])), None)["status"], "mounted");
}

#[test]
fn without_credentials_nothing_else_is_answered_than_the_document_says() {
    if !have(&PROGRAMS) {
        return;
    }
    let hub = Prepared::new();
    hub.passed(&hub.check("", &["--phases", "examples,fuzzing"]));
    assert_eq!(hub.ask("/backups", None)["total"], 3);
    assert_eq!(hub.ask("/auth/users", None)["total"], 1);
}
