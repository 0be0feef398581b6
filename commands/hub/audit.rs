//! `hub audit`: who did what.

use api::{AuditEntry, AuditList, AuditQuery, Client};
use cli::{App, Column, During, Exit, Failure, Manual, Result, TableArgs, Work};
use jiff::Timestamp;

const MANUAL: Manual = Manual {
    examples: &[
        ("the latest", "sendense-ctl hub audit"),
        ("what somebody did this week", "sendense-ctl hub audit --actor admin --since 7d"),
        ("who deleted backups", "sendense-ctl hub audit --action backup_delete --limit 0"),
        ("all of it, for another program", "sendense-ctl hub audit --limit 0 --json"),
    ],
    exits: cli::exits![Unreachable, Locked, Denied],
};

/// Show who did what: every change and every restore, newest first
///
/// Those that were refused, too. For administrators.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Only of this one: a user, "token NAME", or "uid N" for a user of the hub's machine
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only of this kind, such as backup_delete, restore_disk or login
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what was done to this: the id or name of a backup, VM, user …
    #[arg(long, value_name = "ID")]
    object: Option<String>,
    /// Only since then: 2025-10-06, 2025-10-06T03:00 or a time ago such as 7d
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// Only before then
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,
    /// How many at most; 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<AuditEntry>] = &[
    Column { name: "time", weight: 7, right: false, cell: |entry, show| show.time(entry.at) },
    Column { name: "actor", weight: 9, right: false, cell: |entry, _| entry.actor.clone() },
    Column {
        name: "origin",
        weight: 4,
        right: false,
        cell: |entry, _| entry.origin.clone().unwrap_or_default(),
    },
    Column { name: "action", weight: 9, right: false, cell: |entry, _| entry.action.clone() },
    Column { name: "object", weight: 8, right: false, cell: |entry, _| entry.object.clone() },
    Column {
        name: "outcome",
        weight: 9,
        right: false,
        cell: |entry, _| entry.outcome.clone().unwrap_or_default(),
    },
    Column {
        name: "detail",
        weight: 3,
        right: false,
        cell: |entry, _| entry.detail.clone().unwrap_or_default(),
    },
    Column {
        name: "request",
        weight: 0,
        right: false,
        cell: |entry, _| entry.request_id.clone().unwrap_or_default(),
    },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let now = Timestamp::now();
        let moment = |text: Option<String>| {
            text.map(|text| app.ui.show.moment(&text, now).map_err(Failure::usage)).transpose()
        };
        let query = AuditQuery {
            actor: self.actor,
            action: self.action,
            object: self.object,
            since: moment(self.since)?,
            // What is written meanwhile would move the pages.
            until: Some(moment(self.until)?.unwrap_or(now)),
            ..AuditQuery::default()
        };
        let hub = app.connect(Work::Requests)?;
        let list = hub.wait(pages(hub.client(), query, self.limit))?;
        if app.ui.json {
            app.ui.document(&list);
            return Ok(Exit::Done);
        }
        app.ui.table(&list.entries, COLUMNS, &self.table, "nothing was done")?;
        let shown = list.entries.len() as u64;
        if shown < list.total {
            app.ui.note(&format!("the newest {shown} of {}; --limit 0 shows all", list.total));
        }
        Ok(Exit::Done)
    }
}

/// The newest `limit` that match, all for 0.
async fn pages(client: &Client, mut query: AuditQuery, limit: u64) -> Result<AuditList> {
    let wanted = if limit == 0 { u64::MAX } else { limit };
    let mut all = AuditList { success: true, entries: Vec::new(), total: 0, limit: 0, offset: 0 };
    loop {
        let have = all.entries.len() as u64;
        let ask = wanted.saturating_sub(have).min(u64::from(api::MAX_LIMIT));
        query.limit = Some(u32::try_from(ask).unwrap_or(api::MAX_LIMIT));
        query.offset = Some(have);
        let page = client.audit(&query).await.during(|| "the audit log could not be read".to_owned())?;
        all.total = page.total;
        let is_last = (page.entries.len() as u64) < ask;
        all.entries.extend(page.entries);
        let have = all.entries.len() as u64;
        if is_last || have >= wanted {
            all.limit = u32::try_from(have).unwrap_or(u32::MAX);
            return Ok(all);
        }
    }
}
