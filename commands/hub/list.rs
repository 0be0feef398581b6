//! `hub list`: the hubs that are known.

use cli::profiles::{Profile, Profiles};
use cli::{App, Column, Exit, Manual, Result, TableArgs, tokens};
use jiff::Timestamp;
use serde_json::json;

const MANUAL: Manual = Manual {
    examples: &[("all, the one in use marked", "sendense-ctl hub list")],
    exits: cli::exits![Denied],
};

/// List the hubs that are known
///
/// Nothing is asked of them: hub status does that.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
}

struct Row {
    name: String,
    profile: Profile,
    current: bool,
    logged_in: bool,
}

impl Row {
    fn expired(&self) -> bool {
        self.logged_in && self.profile.expires_at.is_some_and(|at| at <= Timestamp::now())
    }
}

fn word(is: bool) -> String {
    if is { "yes" } else { "" }.to_owned()
}

const COLUMNS: &[Column<Row>] = &[
    Column { name: "name", weight: 9, right: false, cell: |row, _| row.name.clone() },
    Column { name: "url", weight: 8, right: false, cell: |row, _| row.profile.url.clone() },
    Column {
        name: "user",
        weight: 6,
        right: false,
        cell: |row, _| row.profile.user.clone().unwrap_or_default(),
    },
    Column { name: "in-use", weight: 7, right: false, cell: |row, _| word(row.current) },
    Column {
        name: "logged-in",
        weight: 5,
        right: false,
        cell: |row, _| match row.expired() {
            true => "expired".to_owned(),
            false => word(row.logged_in),
        },
    },
    Column {
        name: "certificate",
        weight: 0,
        right: false,
        cell: |row, _| match (&row.profile.fingerprint, &row.profile.ca) {
            (Some(pin), _) => pin.clone(),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => "trusted by this machine".to_owned(),
        },
    },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let Profiles { current, hubs } = Profiles::load()?;
        let mut rows = Vec::new();
        for (name, profile) in hubs {
            rows.push(Row {
                current: current.as_deref() == Some(&*name),
                logged_in: tokens::is_there(&name)?,
                name,
                profile,
            });
        }
        if app.ui.json {
            let hubs: Vec<_> = rows
                .iter()
                .map(|row| {
                    json!({
                        "name": row.name,
                        "url": row.profile.url,
                        "user": row.profile.user,
                        "fingerprint": row.profile.fingerprint,
                        "ca": row.profile.ca,
                        "current": row.current,
                        "logged_in": row.logged_in && !row.expired(),
                        "expires_at": row.profile.expires_at.filter(|_| row.logged_in),
                    })
                })
                .collect();
            app.ui.document(&json!({ "success": true, "current": current, "hubs": hubs }));
            return Ok(Exit::Done);
        }
        app.ui.table(&rows, COLUMNS, &self.table, "no hub is known but that of this machine")?;
        Ok(Exit::Done)
    }
}
