//! `man`: the manual pages, printed or written to a folder.

use crate::Cli;
use clap::CommandFactory;
use cli::{App, Exit, Failure, Manual, Result};
use std::path::PathBuf;

pub const MANUAL: Manual = Manual {
    examples: &[
        ("read the page of a command", "sendense-ctl man backup start | man -l -"),
        ("write all pages", "sendense-ctl man --dir /usr/local/share/man/man1"),
    ],
    exits: cli::exits![NotFound],
};

/// Print a manual page, or write them all to a folder
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// The command whose page to print, such as: backup start
    command: Vec<String>,
    /// Write every page into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let root = Cli::command();
        if let Some(folder) = self.dir {
            let written = cli::write_pages(&root, &folder).map_err(|(path, error)| {
                Failure::local(format!("{} was not written", path.display()), &error)
            })?;
            if app.ui.json {
                app.ui.document(&serde_json::json!({ "success": true, "pages": written }));
            } else {
                app.ui.note(&format!("{} pages written to {}", written.len(), folder.display()));
            }
            return Ok(Exit::Done);
        }
        let name = std::iter::once("sendense-ctl".to_owned()).chain(self.command).collect::<Vec<_>>();
        let file = format!("{}.1", name.join("-"));
        let pages =
            cli::pages(&root).map_err(|error| Failure::local("the manual page was not made", &error))?;
        let page = pages.iter().find(|page| page.name == file).ok_or_else(|| {
            Failure::new(
                Exit::NotFound,
                "not_found",
                format!("there is no command {:?}", name[1..].join(" ")),
            )
            .next("sendense-ctl --help lists the commands")
        })?;
        app.ui.raw(&page.text);
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `man/` in the tree is what the program would write; `cargo xtask generate` renews it.
    #[test]
    fn the_pages_in_the_tree_are_those_of_the_program() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("man");
        let pages = cli::pages(&Cli::command()).unwrap();
        for page in &pages {
            let kept = std::fs::read(folder.join(&page.name)).unwrap_or_default();
            assert!(kept == page.text, "man/{} is not up to date: run cargo xtask generate", page.name);
        }
        let kept = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(kept, pages.len(), "man/ holds pages of commands that are gone: run cargo xtask generate");
    }

    #[test]
    fn every_command_has_help_with_examples_and_exit_codes() {
        fn look(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            assert!(command.get_about().is_some(), "{path} has no description");
            if command.get_subcommands().next().is_none() {
                let manual = command.get::<Manual>().unwrap_or_else(|| panic!("{path} has no manual"));
                assert!(!manual.examples.is_empty(), "{path} has no examples");
                assert!(manual.exits.is_sorted(), "{path}: exit codes are in no order");
                for (_, example) in manual.examples {
                    assert!(example.contains(path.trim()), "{path}: {example:?} is not about it");
                }
            }
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{path}: {} has no help", argument.get_id());
            }
            for sub in command.get_subcommands() {
                look(sub, &path);
            }
        }
        look(&Cli::command(), "");
        Cli::command().debug_assert();
    }
}
