//! `repo`: the places where backups are kept.

mod create;
mod delete;
mod list;
mod scan;
mod show;
mod storage;
mod test;

use clap_complete::engine::ArgValueCompleter;
use cli::{App, Exit, Result};
use model::RepositoryId;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Create(create::Args),
    List(list::Args),
    Show(show::Args),
    Storage(storage::Args),
    Test(test::Args),
    Scan(scan::Args),
    Delete(delete::Args),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Create(args) => args.run(app),
            Command::List(args) => args.run(app),
            Command::Show(args) => args.run(app),
            Command::Storage(args) => args.run(app),
            Command::Test(args) => args.run(app),
            Command::Scan(args) => args.run(app),
            Command::Delete(args) => args.run(app),
        }
    }
}

/// The repository that a command is about.
#[derive(Debug, clap::Args)]
pub struct RepoArg {
    /// Which repository: its name or id
    #[arg(value_name = "REPO", add = ArgValueCompleter::new(cli::complete::repositories))]
    repo: RepositoryId,
}
