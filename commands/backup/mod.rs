//! `backup`: restore points, from their making to their end.

mod cancel;
mod cat;
mod chain;
mod consolidate;
mod delete;
mod diff;
mod extract;
mod find;
mod list;
mod ls;
mod mount;
mod protect;
mod retry;
mod serve;
mod show;
mod start;
mod stat;
mod tag;
mod verify;
mod volumes;
mod watch;

use cli::{App, Exit, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Start(Box<start::Args>),
    List(list::Args),
    Show(show::Args),
    Chain(chain::Args),
    Watch(watch::Args),
    Cancel(cancel::Args),
    Retry(retry::Args),
    Delete(delete::Args),
    Consolidate(consolidate::Args),
    Verify(verify::Args),
    Tag(tag::Args),
    Protect(protect::Args),
    Unprotect(protect::UnprotectArgs),
    Ls(ls::Args),
    Cat(cat::Args),
    Stat(stat::Args),
    Volumes(volumes::Args),
    Mount(mount::Args),
    Extract(Box<extract::Args>),
    Find(Box<find::Args>),
    Diff(diff::Args),
    Serve(serve::Args),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Start(args) => args.run(app),
            Command::List(args) => args.run(app),
            Command::Show(args) => args.run(app),
            Command::Chain(args) => args.run(app),
            Command::Watch(args) => args.run(app),
            Command::Cancel(args) => args.run(app),
            Command::Retry(args) => args.run(app),
            Command::Delete(args) => args.run(app),
            Command::Consolidate(args) => args.run(app),
            Command::Verify(args) => args.run(app),
            Command::Tag(args) => args.run(app),
            Command::Protect(args) => args.run(app),
            Command::Unprotect(args) => args.run(app),
            Command::Ls(args) => args.run(app),
            Command::Cat(args) => args.run(app),
            Command::Stat(args) => args.run(app),
            Command::Volumes(args) => args.run(app),
            Command::Mount(args) => args.run(app),
            Command::Extract(args) => args.run(app),
            Command::Find(args) => args.run(app),
            Command::Diff(args) => args.run(app),
            Command::Serve(args) => args.run(app),
        }
    }
}
