//! `vm list`: the known VMs.

use api::{Vm, VmList, VmQuery};
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
        let list = hub.wait(all(hub.client()))?;
        if app.ui.json {
            app.ui.document(&list);
        } else {
            app.ui.table(&list.vms, COLUMNS, &self.table, "no VMs yet; add one with: sendense-ctl vm add")?;
        }
        Ok(Exit::Done)
    }
}

/// Every VM, page by page.
pub async fn all(client: &api::Client) -> Result<VmList> {
    let mut all = VmList { success: true, vms: Vec::new(), total: 0 };
    loop {
        let query = VmQuery { limit: Some(api::MAX_LIMIT), offset: Some(all.vms.len() as u64) };
        let page = client.vms(&query).await.during(|| "the VMs could not be listed".to_owned())?;
        all.total = page.total;
        let done = page.vms.is_empty();
        all.vms.extend(page.vms);
        if done || all.vms.len() as u64 >= all.total {
            return Ok(all);
        }
    }
}
