//! `restore`: getting data back out of restore points, and what is open for that.

mod disk;
mod mounts;
mod resources;
mod unmount;

use cli::{App, Exit, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Disk(disk::Args),
    Mounts(mounts::Args),
    Unmount(unmount::Args),
    Resources(resources::Args),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Disk(args) => args.run(app),
            Command::Mounts(args) => args.run(app),
            Command::Unmount(args) => args.run(app),
            Command::Resources(args) => args.run(app),
        }
    }
}
