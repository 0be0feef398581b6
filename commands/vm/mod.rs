//! `vm`: the VMs to back up, each a name and its disks' sources.

mod add;
pub mod list;
mod remove;
mod show;

use clap_complete::engine::ArgValueCompleter;
use cli::{App, Exit, Result};
use model::VmName;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Add(add::Args),
    List(list::Args),
    Show(show::Args),
    Remove(remove::Args),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Add(args) => args.run(app),
            Command::List(args) => args.run(app),
            Command::Show(args) => args.run(app),
            Command::Remove(args) => args.run(app),
        }
    }
}

/// The VM that a command is about.
#[derive(Debug, clap::Args)]
pub struct VmArg {
    /// Which VM
    #[arg(value_name = "VM", add = ArgValueCompleter::new(cli::complete::vms))]
    vm: VmName,
}
