//! `repo list`: the repositories.

use api::Repository;
use cli::{App, Column, During, Exit, Manual, Result, Show, TableArgs, Work};

const MANUAL: Manual = Manual {
    examples: &[
        ("all repositories", "sendense-ctl repo list"),
        ("exact sizes", "sendense-ctl repo list --bytes --columns name,available"),
    ],
    exits: cli::exits![Unreachable, Locked, Denied],
};

/// List the repositories
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
}

fn size(bytes: Option<u64>, show: &Show) -> String {
    bytes.map(|bytes| show.size(bytes)).unwrap_or_else(|| "unreachable".to_owned())
}

const COLUMNS: &[Column<Repository>] = &[
    Column { name: "name", weight: 9, right: false, cell: |repo, _| repo.name.to_string() },
    Column { name: "type", weight: 3, right: false, cell: |repo, _| repo.kind.to_string() },
    Column {
        name: "default",
        weight: 4,
        right: false,
        cell: |repo, _| if repo.default { "yes" } else { "" }.to_owned(),
    },
    Column { name: "backups", weight: 6, right: true, cell: |repo, _| repo.backup_count.to_string() },
    Column { name: "total", weight: 5, right: true, cell: |repo, show| size(repo.total_size_bytes, show) },
    Column {
        name: "available",
        weight: 8,
        right: true,
        cell: |repo, show| size(repo.available_size_bytes, show),
    },
    Column {
        name: "path",
        weight: 7,
        right: false,
        cell: |repo, _| repo.config.disk_path.clone().unwrap_or_default(),
    },
    Column { name: "id", weight: 0, right: false, cell: |repo, _| repo.id.to_string() },
    Column {
        name: "enabled",
        weight: 0,
        right: false,
        cell: |repo, _| if repo.enabled { "yes" } else { "no" }.to_owned(),
    },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let list = hub
            .wait(hub.client().all_repositories())
            .during(|| "the repositories could not be listed".to_owned())?;
        if app.ui.json {
            app.ui.document(&list);
        } else {
            app.ui.table(
                &list.repositories,
                COLUMNS,
                &self.table,
                "no repositories yet; the first backup makes one, or: sendense-ctl repo create",
            )?;
        }
        Ok(Exit::Done)
    }
}
