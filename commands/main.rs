//! sendense-ctl: back up virtual machines into plain QCOW2 chains, and get their disks back.
//!
//! The table of commands, and nothing else: each is a file of its own with its arguments and what it does.
//! Parsing never acts; every way to end goes through [`end`].

mod agent;
mod backup;
mod catalog;
mod completions;
mod doctor;
mod hub;
mod man;
mod repo;
mod restore;
mod support_bundle;
mod vm;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use cli::{App, Exit, Failure, GlobalArgs, Result};
use std::ffi::OsString;
use std::process::ExitCode;

/// Back up virtual machines into plain QCOW2 chains, and get their disks back
///
/// A backup is a QCOW2 file a disk that qemu-img can read without this program. Nothing has to be set up: the
/// first backup makes a catalog and a repository, and says where.
#[derive(Debug, Parser)]
#[command(
    name = "sendense-ctl",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_long_help = MANUAL.help(),
    add = MANUAL
)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

const MANUAL: cli::Manual = cli::Manual {
    examples: &[
        ("the first backup of a VM with one disk", "sendense-ctl backup start --vm web --source /vm/web.raw"),
        ("from then on: incremental where possible", "sendense-ctl backup start --vm web"),
        ("what there is", "sendense-ctl backup list --vm web"),
        ("get a disk back", "sendense-ctl restore disk web@latest --to /vm/web-restored.raw"),
    ],
    exits: &Exit::ALL,
};

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, list, check and delete backups
    #[command(subcommand)]
    Backup(backup::Command),
    /// Get disks back
    #[command(subcommand)]
    Restore(restore::Command),
    /// The places where backups are kept
    #[command(subcommand)]
    Repo(repo::Command),
    /// The VMs to back up, and their disks
    #[command(subcommand)]
    Vm(vm::Command),
    /// The capture side: push disks of this machine into a hub elsewhere
    #[command(subcommand)]
    Agent(agent::Command),
    /// The catalog itself: move it to another place
    #[command(subcommand)]
    Catalog(catalog::Command),
    /// The hub as a service, its users and tokens, and hubs elsewhere
    #[command(subcommand)]
    Hub(hub::Command),
    Doctor(doctor::Args),
    SupportBundle(support_bundle::Args),
    Completions(completions::Args),
    Man(man::Args),
}

fn run(command: Command, app: &App) -> Result<Exit> {
    match command {
        Command::Backup(command) => command.run(app),
        Command::Restore(command) => command.run(app),
        Command::Repo(command) => command.run(app),
        Command::Vm(command) => command.run(app),
        Command::Agent(command) => command.run(app),
        Command::Catalog(command) => command.run(app),
        Command::Hub(command) => command.run(app),
        Command::Doctor(args) => args.run(app),
        Command::SupportBundle(args) => args.run(app),
        Command::Completions(args) => args.run(app),
        Command::Man(args) => args.run(app),
    }
}

fn main() -> ExitCode {
    if let Some(answered) = cli::complete::answer(Cli::command) {
        return answered.into();
    }
    cli::no_panic_dumps();
    let given: Vec<OsString> = std::env::args_os().collect();
    let parsed = cli::usage::command(Cli::command(), &given)
        .try_get_matches_from(&given)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let Cli { global, command } = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return cli::usage::report(&error, &Cli::command(), &given).into(),
    };
    let app = App::new(&global);
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(command, &app)));
    end(&app, ended.unwrap_or_else(|_| Err(Failure::fault()))).into()
}

/// The one place where a command's end becomes output and a number.
fn end(app: &App, ended: Result<Exit>) -> Exit {
    let exit = match ended {
        Ok(exit) => exit,
        Err(failure) => {
            app.ui.fail(&failure);
            failure.exit
        }
    };
    app.ui.finish(exit)
}
