//! `restore mounts`: what is open.

use api::Mount;
use cli::{App, Column, During, Exit, Manual, Result, TableArgs, Work, mounting, one_line};
use std::time::Duration;

const MANUAL: Manual = Manual {
    examples: &[
        ("what is mounted or served", "sendense-ctl restore mounts"),
        ("with the process that serves each", "sendense-ctl restore mounts --columns all"),
    ],
    exits: cli::exits![Unreachable, Locked, Denied],
};

/// List mounts, exports and restore sessions that are open
///
/// Those of all processes. The backups that they show can't be deleted meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<Mount>] = &[
    Column {
        name: "mount",
        weight: 9,
        right: false,
        cell: |mount, _| mounting::short_id(&mount.mount_id).to_owned(),
    },
    Column {
        name: "backup",
        weight: 8,
        right: false,
        cell: |mount, _| match &mount.backup_id {
            Some(id) => id.to_string(),
            None => format!("all of {}", mount.vm_name),
        },
    },
    Column { name: "kind", weight: 5, right: false, cell: |mount, _| mount.kind.to_string() },
    Column {
        name: "path",
        weight: 8,
        right: false,
        cell: |mount, _| {
            one_line(mount.mount_path.as_deref().or(mount.nbd_uri.as_deref()).unwrap_or_default())
        },
    },
    Column { name: "state", weight: 6, right: false, cell: |mount, _| mount.status.clone() },
    Column { name: "closes", weight: 4, right: false, cell: |mount, show| show.minute(mount.expires_at) },
    Column {
        name: "process",
        weight: 3,
        right: false,
        cell: |mount, _| format!("{} on {}", mount.pid, one_line(&mount.host)),
    },
    Column { name: "vm", weight: 0, right: false, cell: |mount, _| mount.vm_name.to_string() },
    Column {
        name: "type",
        weight: 0,
        right: false,
        cell: |mount, _| mount.filesystem_type.clone().unwrap_or_default(),
    },
    Column {
        name: "device",
        weight: 0,
        right: false,
        cell: |mount, _| mount.nbd_device.clone().unwrap_or_default(),
    },
    Column { name: "opened", weight: 0, right: false, cell: |mount, show| show.time(mount.created_at) },
    Column { name: "used", weight: 0, right: false, cell: |mount, show| show.time(mount.used_at) },
    Column {
        name: "idle",
        weight: 0,
        right: true,
        cell: |mount, _| cli::short_duration(Duration::from_secs(mount.idle_seconds)),
    },
    Column { name: "id", weight: 0, right: false, cell: |mount, _| mount.mount_id.clone() },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let list =
            hub.wait(hub.client().all_mounts()).during(|| "what is open could not be listed".to_owned())?;
        if app.ui.json {
            app.ui.document(&list);
        } else {
            let nothing = "nothing is open; `sendense-ctl backup mount BACKUP DIR` mounts a backup";
            app.ui.table(&list.mounts, COLUMNS, &self.table, nothing)?;
        }
        Ok(Exit::Done)
    }
}
