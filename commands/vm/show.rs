//! `vm show`: one VM and its disks.

use super::VmArg;
use api::VmDisk;
use cli::{App, Column, During, Exit, Manual, Result, TableArgs, Work};

const MANUAL: Manual = Manual {
    examples: &[("its disks and where they are read from", "sendense-ctl vm show web")],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Show a VM and its disks
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    vm: VmArg,
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<VmDisk>] = &[
    Column { name: "disk", weight: 9, right: true, cell: |disk, _| disk.disk_id.to_string() },
    Column { name: "source", weight: 8, right: false, cell: |disk, _| disk.source.to_string() },
    Column { name: "format", weight: 6, right: false, cell: |disk, _| disk.format.to_string() },
    Column {
        name: "capacity",
        weight: 5,
        right: true,
        cell: |disk, show| disk.capacity_bytes.map(|size| show.size(size)).unwrap_or_default(),
    },
    Column {
        name: "tracking",
        weight: 3,
        right: false,
        cell: |disk, _| if disk.change_tracking { "source" } else { "compare" }.to_owned(),
    },
    Column { name: "key", weight: 0, right: true, cell: |disk, _| disk.disk_key.to_string() },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let name = self.vm.vm;
        let hub = app.connect(Work::Requests)?;
        let vm = hub.wait(hub.client().vm(&name)).during(|| format!("the VM {name} can't be shown"))?;
        if app.ui.json {
            app.ui.document(&api::VmAnswer { success: true, vm });
            return Ok(Exit::Done);
        }
        app.ui.fields(&[
            ("name", vm.name.to_string()),
            ("id", vm.context_id.to_string()),
            ("added", app.ui.show.time(vm.created_at)),
            ("changed", app.ui.show.time(vm.updated_at)),
        ]);
        app.ui.line("");
        app.ui.table(&vm.disks, COLUMNS, &self.table, "no disks")?;
        Ok(Exit::Done)
    }
}
