//! `agent`: the capture side, on the machine where the disks are.

mod push;

use cli::{App, Exit, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Push(push::Args),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Push(args) => args.run(app),
        }
    }
}
