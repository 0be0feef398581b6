//! `vm remove`: forgets a VM.

use super::VmArg;
use cli::{App, During, Exit, Manual, Result, Work};

const MANUAL: Manual = Manual {
    examples: &[("without being asked", "sendense-ctl vm remove web --yes")],
    exits: cli::exits![NotFound, Refused, Unreachable, Locked, Denied],
};

/// Forget a VM; refused while it has backups
///
/// Its disks are not touched.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    vm: VmArg,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let name = self.vm.vm;
        let hub = app.connect(Work::Requests)?;
        hub.wait(hub.client().vm(&name)).during(|| format!("the VM {name} was not removed"))?;
        cli::confirm(&app.ui, &format!("Forget the VM {name}?"))?;
        let removed =
            hub.wait(hub.client().delete_vm(&name)).during(|| format!("the VM {name} was not removed"))?;
        if app.ui.json {
            app.ui.document(&removed);
        } else {
            app.ui.note(&format!("{name} removed"));
        }
        Ok(Exit::Done)
    }
}
