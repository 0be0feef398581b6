//! `catalog`: the catalog itself.

mod migrate;

use cli::{App, Exit, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Migrate(migrate::Args),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Migrate(args) => args.run(app),
        }
    }
}
