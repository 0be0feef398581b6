//! `backup show`: one backup and its disks.

use api::{Backup, BackupAnswer, BackupDisk};
use cli::{App, BackupArg, Column, During, Exit, Manual, Result, TableArgs, Work, percent, saved_percent};
use model::Status;

const MANUAL: Manual = Manual {
    examples: &[
        ("the newest of a VM", "sendense-ctl backup show pgtest2@latest"),
        ("why one failed", "sendense-ctl backup show backup-pgtest2-20251006-120000"),
        ("the files of its disks", "sendense-ctl backup show latest --columns disk,file"),
    ],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Show a backup and its disks
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    backup: BackupArg,
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<BackupDisk>] = &[
    Column { name: "disk", weight: 9, right: true, cell: |disk, _| disk.disk_id.to_string() },
    Column { name: "type", weight: 8, right: false, cell: |disk, _| disk.backup_type.to_string() },
    Column { name: "status", weight: 3, right: false, cell: |disk, _| disk.status.to_string() },
    Column { name: "stored", weight: 7, right: true, cell: |disk, show| show.size(disk.size_bytes) },
    Column { name: "capacity", weight: 5, right: true, cell: |disk, show| show.size(disk.capacity_bytes) },
    Column { name: "file", weight: 6, right: false, cell: |disk, _| disk.file_path.clone() },
    Column { name: "source", weight: 2, right: false, cell: |disk, _| disk.source.to_string() },
    Column { name: "key", weight: 0, right: true, cell: |disk, _| disk.disk_key.to_string() },
    Column {
        name: "parent",
        weight: 0,
        right: false,
        cell: |disk, _| disk.parent_backup_id.as_ref().map(ToString::to_string).unwrap_or_default(),
    },
    Column {
        name: "reason",
        weight: 0,
        right: false,
        cell: |disk, _| disk.fallback_reason.clone().unwrap_or_default(),
    },
    Column {
        name: "blake3",
        weight: 0,
        right: false,
        cell: |disk, _| disk.blake3.clone().unwrap_or_default(),
    },
    Column { name: "export", weight: 0, right: false, cell: |disk, _| disk.nbd_export_name.clone() },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let address = self.backup.address();
        let hub = app.connect(Work::Requests)?;
        let backup = hub.resolve(app, address).during(|| format!("{address} can't be shown"))?;
        if app.ui.json {
            app.ui.document(&BackupAnswer { success: true, backup });
            return Ok(Exit::Done);
        }
        // Its name says more than its id; one that is gone has none.
        let repository = hub.wait(hub.client().repository(&backup.repository_id));
        let repository = repository.map_or(backup.repository_id.to_string(), |found| found.name.to_string());
        app.ui.fields(&fields(&backup, repository, app));
        if !backup.disk_results.is_empty() {
            app.ui.line("");
            app.ui.table(&backup.disk_results, COLUMNS, &self.table, "")?;
        }
        Ok(Exit::Done)
    }
}

fn fields(backup: &Backup, repository: String, app: &App) -> Vec<(&'static str, String)> {
    let show = &app.ui.show;
    let time = |time: Option<jiff::Timestamp>| time.map(|time| show.time(time)).unwrap_or_default();
    let mut stored = format!("{} of {}", show.size(backup.size_bytes), show.size(backup.total_bytes));
    if backup.status == Status::Completed
        && let Some(saved) = saved_percent(backup.size_bytes, backup.total_bytes)
    {
        stored.push_str(&format!(" ({} saved)", percent(saved)));
    }
    let progress = match backup.status {
        Status::Running | Status::Stalled => {
            let speed = show.speed(backup.transfer_speed_bps);
            format!("{}, {}, {speed}", backup.current_phase, percent(backup.progress_percent))
        }
        _ => String::new(),
    };
    let protected = match (backup.protected, &backup.protect_reason) {
        (false, _) => String::new(),
        (true, Some(reason)) => format!("yes: {reason}"),
        (true, None) => "yes".to_owned(),
    };
    let verified = match &backup.verification {
        None => String::new(),
        Some(found) if found.ok => {
            let how = if found.whole { "whole" } else { "in part" };
            format!("sound, {how}, {}", show.time(found.verified_at))
        }
        Some(found) => format!("damaged, {}: {}", show.time(found.verified_at), found.problems.join("; ")),
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![
        ("id", backup.id.to_string()),
        ("vm", backup.vm_name.to_string()),
        ("type", backup.backup_type.to_string()),
        ("status", backup.status.to_string()),
        ("progress", progress),
        ("error", text(&backup.error_message)),
        ("reason", text(&backup.fallback_reason)),
        ("parent", backup.parent_backup_id.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("stored", stored),
        ("compression", backup.compression.to_string()),
        ("repository", repository),
        ("created", show.time(backup.created_at)),
        ("started", time(backup.started_at)),
        ("ended", time(backup.completed_at)),
        ("duration", show.between(backup.started_at, backup.completed_at).unwrap_or_default()),
        ("verified", verified),
        ("protected", protected),
        ("tags", tags(backup)),
        ("notes", text(&backup.notes)),
    ]
}

/// `key=value, …`.
pub fn tags(backup: &Backup) -> String {
    backup.tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}
