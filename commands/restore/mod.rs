//! `restore`: getting data back out of restore points.

mod disk;

use cli::{App, Exit, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Disk(disk::Args),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Disk(args) => args.run(app),
        }
    }
}
