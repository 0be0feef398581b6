//! `backup list`: the backups, newest first.

use api::{Backup, BackupList, BackupQuery, Client};
use clap_complete::engine::ArgValueCompleter;
use cli::{App, Column, During, Exit, Failure, Manual, Result, TableArgs, Work, percent, saved_percent};
use jiff::{SignedDuration, Timestamp};
use model::{BackupType, RepositoryId, Status, VmName};

const MANUAL: Manual = Manual {
    examples: &[
        ("of one VM", "sendense-ctl backup list --vm pgtest2"),
        ("what failed in the last day", "sendense-ctl backup list --status failed --since 1d"),
        (
            "ids of the fulls, for a script",
            "sendense-ctl backup list --type full --columns id --no-headers --limit 0",
        ),
    ],
    exits: cli::exits![Unreachable, Locked, Denied],
};

/// List backups, newest first
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Only of this VM
    #[arg(long, add = ArgValueCompleter::new(cli::complete::vms))]
    vm: Option<VmName>,
    /// Only in this repository
    #[arg(long, add = ArgValueCompleter::new(cli::complete::repositories))]
    repo: Option<RepositoryId>,
    /// Only of this type
    #[arg(long = "type", value_name = "TYPE",
        value_parser = cli::words(BackupType::ALL, BackupType::as_str))]
    kind: Option<BackupType>,
    /// Only in this state
    #[arg(long, value_parser = cli::words(Status::ALL, Status::as_str))]
    status: Option<Status>,
    /// Only with this label: KEY or KEY=VALUE
    #[arg(long, value_name = "TAG", add = ArgValueCompleter::new(cli::complete::tags))]
    tag: Option<String>,
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

const COLUMNS: &[Column<Backup>] = &[
    Column { name: "id", weight: 9, right: false, cell: |backup, _| backup.id.to_string() },
    Column { name: "vm", weight: 0, right: false, cell: |backup, _| backup.vm_name.to_string() },
    Column { name: "type", weight: 8, right: false, cell: |backup, _| backup.backup_type.to_string() },
    Column { name: "status", weight: 7, right: false, cell: |backup, _| backup.status.to_string() },
    Column { name: "stored", weight: 6, right: true, cell: |backup, show| show.size(backup.size_bytes) },
    Column { name: "capacity", weight: 2, right: true, cell: |backup, show| show.size(backup.total_bytes) },
    Column { name: "created", weight: 5, right: false, cell: |backup, show| show.minute(backup.created_at) },
    Column {
        name: "duration",
        weight: 0,
        right: true,
        cell: |backup, show| show.between(backup.started_at, backup.completed_at).unwrap_or_default(),
    },
    Column {
        name: "saved",
        weight: 0,
        right: true,
        cell: |backup, _| {
            let saved = saved_percent(backup.size_bytes, backup.total_bytes);
            saved.filter(|_| backup.status == Status::Completed).map(percent).unwrap_or_default()
        },
    },
    Column { name: "disks", weight: 0, right: true, cell: |backup, _| backup.disk_results.len().to_string() },
    Column {
        name: "parent",
        weight: 0,
        right: false,
        cell: |backup, _| backup.parent_backup_id.as_ref().map(ToString::to_string).unwrap_or_default(),
    },
    Column {
        name: "repository",
        weight: 0,
        right: false,
        cell: |backup, _| backup.repository_id.to_string(),
    },
    Column {
        name: "protected",
        weight: 0,
        right: false,
        cell: |backup, _| if backup.protected { "yes" } else { "" }.to_owned(),
    },
    Column {
        name: "verified",
        weight: 0,
        right: false,
        cell: |backup, show| match &backup.verification {
            Some(found) if found.ok => show.minute(found.verified_at),
            Some(_) => "damaged".to_owned(),
            None => String::new(),
        },
    },
    Column { name: "tags", weight: 0, right: false, cell: |backup, _| super::show::tags(backup) },
    Column {
        name: "notes",
        weight: 0,
        right: false,
        cell: |backup, _| backup.notes.clone().unwrap_or_default(),
    },
    Column {
        name: "error",
        weight: 0,
        right: false,
        cell: |backup, _| backup.error_message.clone().unwrap_or_default(),
    },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let now = Timestamp::now();
        let moment = |text: Option<String>| {
            text.map(|text| app.ui.show.moment(&text, now).map_err(Failure::usage)).transpose()
        };
        let query = BackupQuery {
            vm_name: self.vm.map(String::from),
            repository_id: self.repo.map(String::from),
            backup_type: self.kind,
            status: self.status,
            tag: self.tag,
            since: moment(self.since)?,
            until: moment(self.until)?,
            ..BackupQuery::default()
        };
        let hub = app.connect(Work::Requests)?;
        let list = hub.wait(page_by_page(hub.client(), query, self.limit))?;
        if app.ui.json {
            app.ui.document(&list);
            return Ok(Exit::Done);
        }
        app.ui.table(&list.backups, COLUMNS, &self.table, "no backups")?;
        let shown = list.backups.len() as u64;
        if shown < list.total {
            app.ui.note(&format!("the newest {shown} of {}; --limit 0 shows all", list.total));
        }
        Ok(Exit::Done)
    }
}

/// The newest `limit` that match, all for 0.
///
/// Page after page goes back in time from the last one's oldest: a catalog finds a moment at once, but has to count
/// its way to an offset.
pub async fn page_by_page(client: &Client, mut query: BackupQuery, limit: u64) -> Result<BackupList> {
    let wanted = if limit == 0 { u64::MAX } else { limit };
    let mut all = BackupList { success: true, backups: Vec::new(), total: 0, limit: 0, offset: 0 };
    let mut first = true;
    loop {
        let have = all.backups.len() as u64;
        // Those of the oldest moment come again with the next page.
        let again = all.backups.last().map_or(0, |last| {
            all.backups.iter().rev().take_while(|backup| backup.created_at == last.created_at).count() as u64
        });
        let ask = wanted.saturating_sub(have).saturating_add(again).min(u64::from(api::MAX_LIMIT));
        query.limit = Some(u32::try_from(ask).unwrap_or(api::MAX_LIMIT));
        if again >= ask {
            // More of one moment than a page holds: nothing but counting leads past them.
            query.offset = Some(again);
        } else if let Some(last) = all.backups.last() {
            query.until = last.created_at.checked_add(SignedDuration::from_nanos(1)).ok().or(query.until);
            query.offset = None;
        }
        let page = client.backups(&query).await.during(|| "the backups could not be listed".to_owned())?;
        if first {
            all.total = page.total;
            first = false;
        }
        let is_last = (page.backups.len() as u64) < ask;
        let known = all.backups.len().saturating_sub(usize::try_from(again).unwrap_or(usize::MAX));
        let fresh: Vec<Backup> = page
            .backups
            .into_iter()
            .filter(|backup| !all.backups[known..].iter().any(|seen| seen.id == backup.id))
            .collect();
        let stuck = fresh.is_empty();
        all.backups.extend(fresh);
        let have = all.backups.len() as u64;
        if is_last || stuck || have >= wanted {
            all.limit = u32::try_from(have).unwrap_or(u32::MAX);
            return Ok(all);
        }
    }
}
