//! `hub status`: which hub commands work with, and how it is.

use api::{BackupQuery, Client, Health, HubAddress, JobQuery, ServiceHealth};
use cli::place::Place;
use cli::{App, During, Exit, Manual, Result, one_line};
use model::Status;
use serde_json::json;
use std::time::Duration;

const MANUAL: Manual = Manual {
    examples: &[
        ("the one in use", "sendense-ctl hub status"),
        ("another", "sendense-ctl hub status --hub prod"),
    ],
    exits: cli::exits![Incomplete, Unreachable, Locked, Denied],
};

/// Show which hub commands work with, and how it is
///
/// Ends with 3 where something of it does not work, with 10 where it does not answer.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let place = app.said.place()?;
        let hub = app.connect_to(&place)?;
        let health = hub.wait(hub.client().health()).during(|| "the hub can't be looked at".to_owned())?;
        let seen = match health.catalog {
            ServiceHealth::Unhealthy => Seen { denied: Some(NO_CATALOG.to_owned()), ..Seen::default() },
            _ => hub.wait(Seen::of(hub.client())),
        };
        if app.ui.json {
            app.ui.document(&json!({
                "success": true,
                "hub": shown(&place),
                "name": name(&place),
                "health": health,
                "client_version": env!("CARGO_PKG_VERSION"),
                "running_jobs": seen.running,
                "backups": seen.backups,
                "latest_backup": seen.latest,
                "denied": seen.denied,
            }));
        } else if !app.ui.quiet {
            show(app, &place, &health, &seen);
        }
        Ok(if health.status == ServiceHealth::Healthy { Exit::Done } else { Exit::Incomplete })
    }
}

const NO_CATALOG: &str = "the catalog does not answer";

/// What who may look can see.
#[derive(Default)]
struct Seen {
    running: Option<u64>,
    backups: Option<u64>,
    latest: Option<api::Backup>,
    /// Why the rest is not known.
    denied: Option<String>,
}

impl Seen {
    async fn of(client: &Client) -> Seen {
        let running = JobQuery { status: Some(Status::Running), limit: Some(1), ..JobQuery::default() };
        let completed =
            BackupQuery { status: Some(Status::Completed), limit: Some(1), ..BackupQuery::default() };
        let mut seen = Seen::default();
        match client.jobs(&running).await {
            Ok(jobs) => seen.running = Some(jobs.total),
            Err(error) => seen.denied = Some(error.to_string()),
        }
        if let Ok(backups) = client.backups(&completed).await {
            seen.backups = Some(backups.total);
            seen.latest = backups.backups.into_iter().next();
        }
        seen
    }
}

fn shown(place: &Place) -> String {
    match place {
        Place::Embedded(folder) => format!("inside this command, on {}", folder.display()),
        Place::Served(served) => served.address.to_string(),
    }
}

fn name(place: &Place) -> Option<&str> {
    match place {
        Place::Served(served) => served.name.as_deref(),
        Place::Embedded(_) => None,
    }
}

fn show(app: &App, place: &Place, health: &Health, seen: &Seen) {
    let paint = app.ui.stdout_paint();
    let state = |health: ServiceHealth| match health {
        ServiceHealth::Healthy => paint.good("works"),
        ServiceHealth::Degraded => paint.warning("works in part"),
        ServiceHealth::Unhealthy => paint.error("does not work"),
    };
    let served = matches!(place, Place::Served(served) if !matches!(served.address, HubAddress::Socket(_)));
    let up = match place {
        Place::Embedded(_) => String::new(),
        Place::Served(_) => cli::short_duration(Duration::from_secs(health.uptime_seconds)),
    };
    let version = if health.version == env!("CARGO_PKG_VERSION") {
        health.version.clone()
    } else {
        format!("{} (this program: {})", health.version, env!("CARGO_PKG_VERSION"))
    };
    let broken: Vec<String> = health
        .repositories
        .iter()
        .filter(|repository| repository.status != ServiceHealth::Healthy)
        .map(|repository| repository.name.to_string())
        .collect();
    let repositories = match (health.repositories.len(), broken.is_empty()) {
        (0, _) if health.catalog == ServiceHealth::Unhealthy => String::new(),
        (0, _) => "none yet; the first backup makes one".to_owned(),
        (count, true) => format!("{count}, all reachable"),
        (count, false) => format!("{count}, not reachable: {}", broken.join(", ")),
    };
    let latest = seen.latest.as_ref().map(|latest| {
        format!("{}, {}", latest.id, app.ui.show.time(latest.completed_at.unwrap_or(latest.created_at)))
    });
    app.ui.painted_fields(&[
        ("hub", one_line(&shown(place))),
        ("name", one_line(name(place).unwrap_or_default())),
        ("status", state(health.status)),
        ("version", one_line(&version)),
        ("up", up),
        ("catalog", state(health.catalog)),
        ("repositories", one_line(&repositories)),
        ("running jobs", seen.running.map(|count| count.to_string()).unwrap_or_default()),
        ("backups", seen.backups.map(|count| count.to_string()).unwrap_or_default()),
        ("latest", one_line(&latest.unwrap_or_default())),
    ]);
    if let Some(why) = &seen.denied {
        let next = if why == NO_CATALOG {
            "; see what is wrong: sendense-ctl doctor"
        } else if served {
            "; log in: sendense-ctl hub login"
        } else {
            ""
        };
        app.ui.note(&format!("more is not shown: {why}{next}"));
    }
}
