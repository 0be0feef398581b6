//! What a command may say, and where: results to stdout, the rest to stderr.
//!
//! [`GlobalArgs`] are the wishes on the command line, [`Ui`] what they come to on this terminal. A reader of
//! stdout that goes away ends the output silently: what is still written is dropped, the work goes on, and
//! the exit code is that of the work (0 for a list that was cut off by `head`). Any other failure to write is
//! kept and makes the command fail at its end, see [`Ui::finish`].

use crate::exit::Exit;
use crate::failure::{Failure, Paint, Result};
use crate::screen::Screen;
use crate::show::{Show, one_line};
use crate::table::{self, Column, Room, TableArgs};
use clap::Args;
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Options that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Print JSON: one document for a result, one object a line for what runs long
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    /// Say nothing unless it fails
    #[arg(short, long, global = true, display_order = 901)]
    pub quiet: bool,
    /// Say more; with an error, what lies under it
    #[arg(short, long, global = true, display_order = 902, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Use no colours (also: NO_COLOR in the environment)
    #[arg(long, global = true, display_order = 903)]
    pub no_color: bool,
    /// Show sizes as exact numbers of bytes
    #[arg(long, global = true, display_order = 904)]
    pub bytes: bool,
    /// Show times in UTC
    #[arg(long, global = true, display_order = 905)]
    pub utc: bool,
    /// Answer yes to every question
    #[arg(short, long, global = true, display_order = 906)]
    pub yes: bool,
    /// Which hub: a URL, a name that hub login has given, local, or embedded
    #[arg(
        long,
        global = true,
        display_order = 907,
        value_name = "HUB",
        env = "SENDENSE_HUB",
        hide_env_values = true,
        add = clap_complete::engine::ArgValueCompleter::new(crate::complete::hubs)
    )]
    pub hub: Option<String>,
    /// Folder of the catalog and the default repository of the local hub
    #[arg(
        long,
        global = true,
        display_order = 908,
        value_name = "DIR",
        env = "SENDENSE_HOME",
        hide_env_values = true,
        value_hint = clap::ValueHint::DirPath
    )]
    pub state_dir: Option<PathBuf>,
    /// The catalog, where it is not in that folder: a file or mysql://USER@HOST/DATABASE (its password:
    /// SENDENSE_CATALOG_PASSWORD or SENDENSE_CATALOG_PASSWORD_FILE)
    #[arg(
        long,
        global = true,
        display_order = 908,
        value_name = "CATALOG",
        env = "SENDENSE_CATALOG",
        hide_env_values = true
    )]
    pub catalog: Option<String>,
}

/// The user's side of a command.
#[derive(Debug)]
pub struct Ui {
    /// Print JSON.
    pub json: bool,
    /// Say nothing unless it fails.
    pub quiet: bool,
    /// Say more.
    pub verbose: bool,
    /// Every question is answered.
    pub yes: bool,
    /// How values look.
    pub show: Show,
    /// Stderr.
    pub screen: Screen,
    stdout_paint: Paint,
    stderr_paint: Paint,
    stdout: Mutex<Stdout>,
}

/// What has become of stdout.
#[derive(Debug, Default)]
struct Stdout {
    /// The reader is gone.
    closed: bool,
    /// The first failure to write.
    error: Option<io::Error>,
}

impl Ui {
    /// Settles the wishes with what the terminal can do.
    pub fn new(args: &GlobalArgs) -> Self {
        let colours = !args.no_color && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ui {
            json: args.json,
            quiet: args.quiet,
            verbose: args.verbose,
            yes: args.yes,
            show: Show::new(args.bytes, args.utc),
            screen: Screen::default(),
            stdout_paint: Paint(colours && !is_dumb() && io::stdout().is_terminal()),
            stderr_paint: Paint(colours && stderr_is_live()),
            stdout: Mutex::default(),
        }
    }

    /// Colours for stderr.
    pub fn paint(&self) -> Paint {
        self.stderr_paint
    }

    /// Colours for stdout.
    pub fn stdout_paint(&self) -> Paint {
        self.stdout_paint
    }

    /// Writes one line of a result to stdout.
    pub fn line(&self, text: &str) {
        let mut text = text.to_owned();
        text.push('\n');
        self.raw(text.as_bytes());
    }

    /// Says on stdout what was done, unless nothing is to be said.
    pub fn done(&self, text: &str) {
        if !self.quiet {
            self.line(&one_line(text));
        }
    }

    /// Writes a result to stdout as it is.
    pub fn raw(&self, bytes: &[u8]) {
        let mut state = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return;
        }
        let written = self.screen.aside(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        });
        if let Err(error) = written {
            state.closed = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                state.error = Some(error);
            }
        }
    }

    /// Writes a result as one JSON document: over several lines for a person, on one for a program.
    pub fn document(&self, value: &impl Serialize) {
        let text = if io::stdout().is_terminal() {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        // The wire types serialise by construction: maps have text keys, numbers are finite.
        self.line(&text.unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
    }

    /// Writes one object of a stream of JSON lines.
    pub fn json_line(&self, value: &serde_json::Value) {
        self.line(&value.to_string());
    }

    /// Writes a table to stdout; with no rows, `nothing` goes to stderr instead.
    ///
    /// # Errors
    /// Where a column that was asked for does not exist.
    pub fn table<T>(&self, rows: &[T], columns: &[Column<T>], args: &TableArgs, nothing: &str) -> Result<()> {
        let width = comfy_table::Table::new().width().map(usize::from);
        let room = Room { width, paint: self.stdout_paint };
        let mut text = table::lines(rows, columns, args, &self.show, room)?.join("\n");
        if rows.is_empty() {
            self.note(nothing);
        } else {
            text.push('\n');
            self.raw(text.as_bytes());
        }
        Ok(())
    }

    /// Writes the fields of one thing, names in a column, to stdout; empty values are left out.
    pub fn fields(&self, fields: &[(&str, String)]) {
        let plain: Vec<(&str, String)> =
            fields.iter().map(|(name, value)| (*name, one_line(value))).collect();
        self.painted_fields(&plain);
    }

    /// The same of values that are fit for a terminal already: of one line, and painted where that is wanted.
    pub fn painted_fields(&self, fields: &[(&str, String)]) {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
            let label = format!("{name:width$}");
            self.line(&format!("{}  {value}", self.stdout_paint.dim(&label)));
        }
    }

    /// Tells a person something besides the result, on stderr.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.screen.line(&one_line(text));
        }
    }

    /// Warns, on stderr, `--quiet` or not.
    pub fn warn(&self, text: &str) {
        self.screen.line(&format!("{} {}", self.stderr_paint.warning("warning:"), one_line(text)));
    }

    /// Shows a failure: on stderr, or as an object on stdout with `--json`.
    pub fn fail(&self, failure: &Failure) {
        if self.json {
            self.json_line(&failure.json());
            return;
        }
        for line in failure.lines(self.stderr_paint, self.verbose) {
            self.screen.line(&line);
        }
    }

    /// Ends the output: the exit code of the command, unless its result could not be written.
    pub fn finish(&self, exit: Exit) -> Exit {
        self.screen.clear();
        let error = self.stdout.lock().unwrap_or_else(PoisonError::into_inner).error.take();
        let Some(error) = error else { return exit };
        let failure = Failure::local("the result could not be written to stdout", &error);
        for line in failure.lines(self.stderr_paint, self.verbose) {
            self.screen.line(&line);
        }
        if exit == Exit::Done { Exit::Failed } else { exit }
    }
}

/// True where stderr is a terminal that can move its cursor: only that gets bars and colours.
pub fn stderr_is_live() -> bool {
    io::stderr().is_terminal() && !is_dumb()
}

fn is_dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty())
}
