//! `backup chain`: what builds on what.

use api::{ChainPoint, ChainQuery};
use clap_complete::engine::ArgValueCompleter;
use cli::{App, Column, During, Exit, Manual, Result, TableArgs, Work};
use model::{RepositoryId, VmName};

const MANUAL: Manual = Manual {
    examples: &[
        ("of the first disk", "sendense-ctl backup chain --vm pgtest2"),
        (
            "of the second disk, with the files",
            "sendense-ctl backup chain --vm pgtest2 --disk 1 --columns id,file",
        ),
    ],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Show the latest chain of a VM's disk: a full backup and what is built on it
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which VM
    #[arg(long, add = ArgValueCompleter::new(cli::complete::vms))]
    vm: VmName,
    /// Which of its disks, from 0
    #[arg(long, value_name = "N")]
    disk: Option<u32>,
    /// In which repository, where not in the one with the VM's latest backup
    #[arg(long, add = ArgValueCompleter::new(cli::complete::repositories))]
    repo: Option<RepositoryId>,
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<ChainPoint>] = &[
    Column { name: "id", weight: 9, right: false, cell: |point, _| point.backup_id.to_string() },
    Column { name: "type", weight: 8, right: false, cell: |point, _| point.kind.to_string() },
    Column {
        name: "parent",
        weight: 6,
        right: false,
        cell: |point, _| point.parent_backup_id.as_ref().map(ToString::to_string).unwrap_or_default(),
    },
    Column { name: "stored", weight: 7, right: true, cell: |point, show| show.size(point.size_bytes) },
    Column { name: "created", weight: 5, right: false, cell: |point, show| show.minute(point.created_at) },
    Column {
        name: "protected",
        weight: 0,
        right: false,
        cell: |point, _| if point.protected { "yes" } else { "" }.to_owned(),
    },
    Column { name: "capacity", weight: 0, right: true, cell: |point, show| show.size(point.capacity_bytes) },
    Column { name: "file", weight: 0, right: false, cell: |point, _| point.file_path.clone() },
    Column {
        name: "backing",
        weight: 0,
        right: false,
        cell: |point, _| point.backing_file.clone().unwrap_or_default(),
    },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let vm = self.vm;
        let query = ChainQuery { disk_id: self.disk, repository_id: self.repo.map(String::from) };
        let hub = app.connect(Work::Requests)?;
        let chain = hub
            .wait(hub.client().chain(&vm, &query))
            .during(|| format!("the chain of {vm} can't be shown"))?;
        if app.ui.json {
            app.ui.document(&chain);
            return Ok(Exit::Done);
        }
        app.ui.table(&chain.chain, COLUMNS, &self.table, "no backups")?;
        app.ui.note(&format!(
            "{vm} disk {}: {} in {}",
            chain.disk_id,
            app.ui.show.size(chain.total_size_bytes),
            if chain.chain_length == 1 {
                "1 backup".to_owned()
            } else {
                format!("{} backups", chain.chain_length)
            },
        ));
        Ok(Exit::Done)
    }
}
