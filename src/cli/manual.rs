//! Examples and exit codes of a command, written once beside it: its `--help` ends with them, and its
//! manual page has a section for each.

use crate::exit::Exit;
use clap::Command;
use clap::builder::{CommandExt, StyledStr};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};
use std::io;
use std::path::{Path, PathBuf};

/// The day on which the command line last changed, for the pages' foot.
const LAST_CHANGE: &str = "2026-11-29";

/// What a command's help says besides its options. Attached to the command itself, so that the manual page
/// finds it.
#[derive(Debug, Clone, Copy)]
pub struct Manual {
    /// (what for, what to type) pairs.
    pub examples: &'static [(&'static str, &'static str)],
    /// The exit codes it can end with, ascending.
    pub exits: &'static [Exit],
}

impl CommandExt for Manual {}

/// What every command that asks the hub can end with, besides its own codes.
#[macro_export]
macro_rules! exits {
    ($($own:ident),* $(,)?) => {
        &[
            $crate::Exit::Done,
            $crate::Exit::Failed,
            $crate::Exit::Usage,
            $($crate::Exit::$own,)*
        ]
    };
}

impl Manual {
    /// The end of `--help`.
    pub fn help(&self) -> StyledStr {
        let heading = anstyle_heading();
        let mut text = String::new();
        if !self.examples.is_empty() {
            text.push_str(&format!("{heading}Examples:{heading:#}\n"));
            for (purpose, command) in self.examples {
                text.push_str(&format!("  # {purpose}\n  {command}\n"));
            }
            text.push('\n');
        }
        text.push_str(&format!("{heading}Exit codes:{heading:#}\n"));
        for exit in self.exits {
            text.push_str(&format!("  {:>3}  {}\n", exit.number(), exit.meaning()));
        }
        StyledStr::from(text.trim_end().to_owned())
    }
}

/// The style of a heading in help texts.
fn anstyle_heading() -> clap::builder::styling::Style {
    clap::builder::Styles::styled().get_header().to_owned()
}

/// A manual page: its file name (`sendense-ctl-backup-list.1`) and its text.
#[derive(Debug)]
pub struct Page {
    /// File name.
    pub name: String,
    /// roff source.
    pub text: Vec<u8>,
}

/// The manual pages of a command and everything below it, the command itself first.
///
/// # Errors
/// Where rendering fails, which it does not in memory.
pub fn pages(root: &Command) -> io::Result<Vec<Page>> {
    let mut root = root.clone().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    collect(&root, None, &mut pages)?;
    Ok(pages)
}

fn collect(command: &Command, parent: Option<&str>, pages: &mut Vec<Page>) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(LAST_CHANGE)
        .manual("sendense-ctl manual")
        .source("sendense-ctl");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut text)?;
    }
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    let mut more = Roff::default();
    if let Some(manual) = command.get::<Manual>() {
        own_sections(manual, &mut more);
    }
    see_also(command, parent, &mut more);
    more.to_writer(&mut text)?;
    pages.push(Page { name: man.get_filename(), text });
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, Some(name), pages)?;
    }
    Ok(())
}

fn own_sections(manual: &Manual, page: &mut Roff) {
    if !manual.examples.is_empty() {
        page.control("SH", ["EXAMPLES"]);
        for (index, (purpose, command)) in manual.examples.iter().enumerate() {
            if index > 0 {
                page.control("PP", []);
            }
            page.text([roman(*purpose)]);
            page.control("RS", ["4"]);
            page.control("nf", []);
            page.text([bold(*command)]);
            page.control("fi", []);
            page.control("RE", []);
        }
    }
    page.control("SH", ["EXIT STATUS"]);
    for exit in manual.exits {
        page.control("TP", ["6"]);
        page.text([bold(exit.number().to_string())]);
        page.text([roman(exit.meaning())]);
    }
}

fn see_also(command: &Command, parent: Option<&str>, page: &mut Roff) {
    let subs = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set())
        .map(|sub| sub.get_display_name().unwrap_or_else(|| sub.get_name()));
    let names: Vec<String> = parent.into_iter().chain(subs).map(|name| format!("{name}(1)")).collect();
    if !names.is_empty() {
        page.control("SH", ["SEE ALSO"]);
        page.text([roman(names.join(", "))]);
    }
}

/// Writes the pages into `folder`, which is made where it is missing.
///
/// # Errors
/// With the path that could not be written.
pub fn write_pages(root: &Command, folder: &Path) -> Result<Vec<PathBuf>, (PathBuf, io::Error)> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| (path, error)
    };
    let pages = pages(root).map_err(at(folder))?;
    std::fs::create_dir_all(folder).map_err(at(folder))?;
    pages
        .into_iter()
        .map(|page| {
            let path = folder.join(&page.name);
            std::fs::write(&path, &page.text).map_err(at(&path))?;
            Ok(path)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANUAL: Manual = Manual {
        examples: &[("all of one VM", "demo list --vm pg")],
        exits: crate::exits![NotFound, Interrupted],
    };

    fn demo() -> Command {
        Command::new("demo")
            .about("Shows things")
            .subcommand(Command::new("list").about("Lists things").after_long_help(MANUAL.help()).add(MANUAL))
    }

    #[test]
    fn help_ends_with_examples_and_exit_codes() {
        let text = MANUAL.help().to_string();
        assert!(text.contains("  # all of one VM\n  demo list --vm pg\n"), "{text}");
        assert!(text.ends_with("  130  interrupted (Ctrl-C)"), "{text}");
    }

    #[test]
    fn every_command_has_a_page_with_its_sections() {
        let pages = pages(&demo()).unwrap();
        let names: Vec<&str> = pages.iter().map(|page| page.name.as_str()).collect();
        assert_eq!(names, ["demo.1", "demo-list.1"]);
        let text = String::from_utf8(pages[1].text.clone()).unwrap();
        for part in [".SH EXAMPLES", "demo list \\-\\-vm pg", ".SH \"EXIT STATUS\"", "demo(1)"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
