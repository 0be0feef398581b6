//! `hub`: serving the hub, and the ways to hubs elsewhere.

mod config;
mod list;
mod login;
mod logout;
mod serve;
mod status;
mod use_hub;

use cli::{App, Exit, Result};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Serve(serve::Args),
    /// The settings of hub serve
    #[command(subcommand)]
    Config(config::Command),
    Status(status::Args),
    Login(login::Args),
    Logout(logout::Args),
    Use(use_hub::Args),
    List(list::Args),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Serve(args) => args.run(app),
            Command::Config(command) => command.run(app),
            Command::Status(args) => args.run(app),
            Command::Login(args) => args.run(app),
            Command::Logout(args) => args.run(app),
            Command::Use(args) => args.run(app),
            Command::List(args) => args.run(app),
        }
    }
}
