//! `hub`: serving the hub, who may log in to it, and the ways to hubs elsewhere.

mod audit;
mod config;
mod init;
mod list;
mod login;
mod logout;
mod serve;
mod status;
mod tokens;
mod use_hub;
mod users;

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
    Init(init::Args),
    /// Who may log in to the hub
    #[command(subcommand)]
    Users(users::Command),
    /// Tokens that let programs in
    #[command(subcommand)]
    Tokens(tokens::Command),
    Audit(audit::Args),
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
            Command::Init(args) => args.run(app),
            Command::Users(command) => command.run(app),
            Command::Tokens(command) => command.run(app),
            Command::Audit(args) => args.run(app),
        }
    }
}
