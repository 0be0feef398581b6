//! `support-bundle`: what somebody who helps wants to see, in one file, without secrets.

use api::{BackupQuery, Client, ClientError, JobQuery, ServiceHealth};
use cli::bundle::{self, Redaction};
use cli::place::Place;
use cli::{App, Exit, Failure, Manual, Result, serve};
use jiff::Timestamp;
use model::Status;
use serde::Serialize;
use serde_json::{Value, json};
use std::future::Future;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const MANUAL: Manual = Manual {
    examples: &[
        ("in this folder", "sendense-ctl support-bundle"),
        (
            "without names of VMs, repositories, paths and addresses",
            "sendense-ctl support-bundle --anonymous",
        ),
        ("of another hub", "sendense-ctl support-bundle --hub prod --output prod.tar.gz"),
    ],
    exits: cli::exits![Incomplete, Refused, Denied, NoSpace],
};

/// Lines of the journal.
const LOG_LINES: &str = "2000";
/// Rows of each list.
const ROWS: u32 = 200;

/// Collect what somebody who helps wants to see, without secrets
///
/// A tar.gz of texts: version, system, settings, health, doctor's findings, repositories, VMs, the latest jobs and failed
/// backups, metrics, and the service's journal. Passwords, tokens and what looks like them are taken out; what guests
/// hold is never in it. Look at it before you send it. Ends with 3 where some of it could not be had, which is said in
/// errors.txt.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// The file [default: sendense-support-DATE-TIME.tar.gz in this folder]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Put words such as vm-1 in place of names of VMs and repositories, of paths and addresses
    #[arg(long)]
    anonymous: bool,
}

/// The texts so far, and what could not be had.
#[derive(Default)]
struct Collected {
    texts: Vec<(String, String)>,
    errors: Vec<String>,
    names: Vec<(&'static str, String)>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let now = Timestamp::now();
        let folder = format!("sendense-support-{}", now.strftime("%Y%m%d-%H%M%S"));
        let path = self.output.unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
        let mut collected = Collected::default();
        let place = app.said.place();
        let local = place.as_ref().map_or(true, is_local);
        collected.text("about.json", &pretty(&about(now, place.as_ref().ok())));
        collected.text("environment.txt", &variables());
        if local {
            collected.settings(app);
            collected.journal();
        }
        match place.and_then(|_| app.connect_to_examine()) {
            Ok(hub) => hub.wait(collected.ask(hub.client())),
            Err(failure) => collected.errors.push(format!("the hub: {}", said(&failure))),
        }
        let Collected { mut texts, errors, names } = collected;
        if !errors.is_empty() {
            texts.push(("errors.txt".to_owned(), errors.join("\n") + "\n"));
        }
        texts.insert(0, ("README.txt".to_owned(), readme(self.anonymous)));
        let mut redaction = if self.anonymous {
            Redaction::anonymous(names.iter().map(|(kind, name)| (*kind, name.as_str())))
        } else {
            Redaction::new()
        };
        for (_, text) in &mut texts {
            *text = redaction.apply(text);
        }
        let size = bundle::write(&path, &folder, &texts, now).map_err(|error| {
            let failure = Failure::local(format!("{} can't be written", path.display()), &error);
            match error.kind() {
                std::io::ErrorKind::AlreadyExists => Failure::new(
                    Exit::Refused,
                    "already_exists",
                    format!("{} exists already", path.display()),
                )
                .next("choose another file with --output FILE"),
                _ => failure,
            }
        })?;
        if app.ui.json {
            let files: Vec<&str> = texts.iter().map(|(name, _)| name.as_str()).collect();
            app.ui.document(&json!({
                "success": true,
                "path": path,
                "size_bytes": size,
                "files": files,
                "missing": errors,
            }));
        } else {
            app.ui.done(&format!("{} ({}, {} files)", path.display(), app.ui.show.size(size), texts.len()));
            for error in &errors {
                app.ui.warn(&cli::one_line(error));
            }
            app.ui.note(&format!("look at it before you send it: tar -xOzf {} | less", path.display()));
        }
        Ok(if errors.is_empty() { Exit::Done } else { Exit::Incomplete })
    }
}

fn is_local(place: &Place) -> bool {
    match place {
        Place::Embedded(_) => true,
        Place::Served(served) => matches!(served.address, api::HubAddress::Socket(_)),
    }
}

fn said(failure: &Failure) -> String {
    [Some(failure.what.as_str()), failure.why.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(": ")
}

fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

impl Collected {
    fn text(&mut self, name: &str, text: &str) {
        self.texts.push((name.to_owned(), text.to_owned()));
    }

    /// What `hub config show` shows.
    fn settings(&mut self, app: &App) {
        let resolved = serve::source(app, serve::named_file().as_deref(), Vec::new())
            .and_then(|source| serve::resolve(&source));
        match resolved {
            Ok(resolved) => {
                let lines = resolved
                    .all()
                    .map(|(setting, value, origin)| format!("{} = {value}  # {origin}\n", setting.key));
                let lines: String = lines.collect();
                self.text("settings.txt", &lines);
            }
            Err(failure) => self.errors.push(format!("settings.txt: {}", said(&failure))),
        }
    }

    /// The service's log, where the machine keeps one.
    fn journal(&mut self) {
        let asked = Command::new("journalctl")
            .args(["--unit", "sendense-hub", "--lines", LOG_LINES, "--no-pager", "--output", "short-iso"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        // A machine without a journal has its log elsewhere.
        if let Ok(output) = asked
            && output.status.success()
        {
            self.text("journal.txt", &String::from_utf8_lossy(&output.stdout));
        }
    }

    /// What the hub tells.
    async fn ask(&mut self, client: &Client) {
        // A hub that does not answer is asked once.
        let Some(health) = self.json("health.json", client.health()).await else { return };
        self.json("doctor.json", client.doctor()).await;
        self.metrics(client).await;
        if health.catalog == ServiceHealth::Unhealthy {
            self.errors.push("what is in the catalog: it does not answer".to_owned());
            return;
        }
        if let Some(found) = self.json("repositories.json", client.all_repositories()).await {
            self.names.extend(found.repositories.iter().map(|found| ("repository", found.name.to_string())));
        }
        if let Some(found) = self.json("vms.json", client.all_vms()).await {
            self.names.extend(found.vms.iter().map(|vm| ("vm", vm.vm_name.to_string())));
        }
        let jobs = JobQuery { limit: Some(ROWS), ..JobQuery::default() };
        self.json("jobs.json", client.jobs(&jobs)).await;
        let failed =
            BackupQuery { status: Some(Status::Failed), limit: Some(ROWS), ..BackupQuery::default() };
        self.json("failed-backups.json", client.backups(&failed)).await;
        self.json("mounts.json", client.all_mounts()).await;
        self.json("resources.json", client.restore_resources()).await;
    }

    async fn metrics(&mut self, client: &Client) {
        match client.metrics().await {
            Ok(text) => self.text("metrics.txt", &text),
            Err(error) => self.errors.push(format!("metrics.txt: {error}")),
        }
    }

    async fn json<T: Serialize>(
        &mut self,
        name: &str,
        asked: impl Future<Output = std::result::Result<T, ClientError>>,
    ) -> Option<T> {
        match asked.await {
            Ok(answer) => {
                self.text(name, &pretty(&answer));
                Some(answer)
            }
            Err(error) => {
                self.errors.push(format!("{name}: {error}"));
                None
            }
        }
    }
}

/// The program and the machine that it runs on.
fn about(now: Timestamp, place: Option<&Place>) -> Value {
    let line = |path: &str, key: &str| {
        let text = std::fs::read_to_string(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches([' ', '\t', ':', '=', '"']).to_owned())
    };
    let hub = place.map(|place| match place {
        Place::Embedded(_) => "inside of the command",
        Place::Served(served) => match &served.address {
            api::HubAddress::Socket(_) => "a service of this machine",
            api::HubAddress::Network { .. } => {
                "elsewhere; the rest of this file is of the machine of the command"
            }
        },
    });
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "made_at": now,
        "hub": hub,
        "architecture": std::env::consts::ARCH,
        "system": line("/etc/os-release", "PRETTY_NAME="),
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
        "processors": std::thread::available_parallelism().ok().map(usize::from),
        "memory": line("/proc/meminfo", "MemTotal:"),
        "memory_available": line("/proc/meminfo", "MemAvailable:"),
        "qemu-img": version_of("qemu-img"),
        "qemu-nbd": version_of("qemu-nbd"),
        "fusermount3": version_of("fusermount3"),
    })
}

/// The first line that a program says of its version.
fn version_of(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// Which of our variables are set; not what to.
fn variables() -> String {
    let mut names: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| name.starts_with("SENDENSE_"))
        .collect();
    names.sort();
    names.iter().map(|name| format!("{name} is set\n")).collect()
}

fn readme(anonymous: bool) -> String {
    let names = if anonymous {
        "Names of VMs and repositories, paths and addresses are words such as vm-1; the same word is the same name."
    } else {
        "Names of VMs, repositories, paths and users are in it; support-bundle --anonymous leaves them out."
    };
    format!(
        "Made by sendense-ctl support-bundle.\n\nPasswords, tokens and what looks like them are shown as ***. What guests hold is \
         not in it.\n{names}\n\nabout.json           the program and the machine\nenvironment.txt      which SENDENSE_ variables are set\n\
         settings.txt         settings of hub serve, and where each comes from\njournal.txt          the last lines of the service's log\n\
         health.json          GET /health\ndoctor.json          GET /doctor\nrepositories.json    GET /repositories\nvms.json             \
         GET /vms\njobs.json            the latest jobs\nfailed-backups.json  the latest failed backups\nmounts.json          what is open\n\
         resources.json       what that takes\nmetrics.txt          GET /metrics\nerrors.txt           what could not be had, and why\n"
    )
}
