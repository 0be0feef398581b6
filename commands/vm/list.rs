//! `vm list`: the known VMs.

use api::Vm;
use cli::{App, Column, During, Exit, Manual, Result, TableArgs, Work};

const MANUAL: Manual = Manual {
    examples: &[
        ("all VMs", "sendense-ctl vm list"),
        ("only their names", "sendense-ctl vm list --columns name --no-headers"),
    ],
    exits: cli::exits![Unreachable, Locked, Denied],
};

/// List the known VMs
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<Vm>] = &[
    Column { name: "name", weight: 9, right: false, cell: |vm, _| vm.name.to_string() },
    Column { name: "disks", weight: 7, right: true, cell: |vm, _| vm.disks.len().to_string() },
    Column {
        name: "capacity",
        weight: 6,
        right: true,
        cell: |vm, show| {
            let sizes: Option<u64> = vm.disks.iter().map(|disk| disk.capacity_bytes).sum();
            sizes.map(|size| show.size(size)).unwrap_or_default()
        },
    },
    Column { name: "added", weight: 4, right: false, cell: |vm, show| show.minute(vm.created_at) },
    Column { name: "id", weight: 0, right: false, cell: |vm, _| vm.context_id.to_string() },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let list = hub.wait(hub.client().all_vms()).during(|| "the VMs could not be listed".to_owned())?;
        if app.ui.json {
            app.ui.document(&list);
        } else {
            app.ui.table(&list.vms, COLUMNS, &self.table, "no VMs yet; add one with: sendense-ctl vm add")?;
        }
        Ok(Exit::Done)
    }
}
