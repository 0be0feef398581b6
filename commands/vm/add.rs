//! `vm add`: makes a VM known.

use api::{CreateVm, CreateVmDisk};
use cli::{App, During, Exit, Manual, Result, Work};
use model::{SourceUri, VmName};

const MANUAL: Manual = Manual {
    examples: &[
        (
            "a VM with two disks",
            "sendense-ctl vm add web --disk /vm/web-system.raw --disk /vm/web-data.qcow2",
        ),
        ("a disk that an NBD server exports", "sendense-ctl vm add db --disk nbd://nbdhost:10809/db"),
        (
            "a raw image that the name says nothing about",
            "sendense-ctl vm add old --disk 'file:///vm/old.img?format=vmdk'",
        ),
    ],
    exits: cli::exits![Refused, Unreachable, Locked, Denied, Source],
};

/// Make a VM and its disks known
///
/// The sources are opened once, to learn that they are there; nothing is read. A disk's format is told by the
/// name of its file, or by ?format= at the end of a file:// URI.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// What to call it
    name: VmName,
    /// Where a disk is read from, as the hub sees it: a path, file://, nbd://, nbds:// or nbd+unix:// (repeat for more disks)
    #[arg(long = "disk", value_name = "URI", required = true, value_parser = cli::source,
        value_hint = clap::ValueHint::FilePath)]
    disks: Vec<SourceUri>,
    /// Give a VM that is known already these disks instead of its own
    #[arg(long)]
    replace: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let disks = self.disks.into_iter().map(|source| CreateVmDisk { source }).collect();
        let request = CreateVm { name: self.name, disks, replace: self.replace };
        let vm = hub
            .wait(hub.client().create_vm(&request))
            .during(|| format!("the VM {} was not added", request.name))?;
        if app.ui.json {
            app.ui.document(&api::VmAnswer { success: true, vm });
        } else {
            let count = vm.disks.len();
            app.ui.note(&format!(
                "{} added with {count} {}",
                vm.name,
                if count == 1 { "disk" } else { "disks" }
            ));
        }
        Ok(Exit::Done)
    }
}
