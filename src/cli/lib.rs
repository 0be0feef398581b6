//! What the commands share: the way to the hub, output, progress, questions, failures and their numbers.
//!
//! The model: `main` parses the command line into a command and [`GlobalArgs`], makes an [`App`] of the latter,
//! and runs the command, which ends in an [`Exit`] or a [`Failure`]. A command talks to the hub through a
//! [`Connection`], whose other end is the engine inside this process or a hub elsewhere: the command can't tell. Jobs are followed to their end by [`Follow`], which shows progress and obeys signals. Results go
//! to stdout, everything a person reads meanwhile to stderr.
//!
//! What is *not* here: the commands themselves (`commands/`), the wire types (`api`), the engine (`hub`).

pub mod archive;
mod arguments;
pub mod backup_job;
pub mod browse;
pub mod bundle;
pub mod catalog_place;
pub mod complete;
mod confirm;
mod connect;
pub mod detach;
mod duration;
mod exit;
pub mod extract;
mod failure;
mod follow;
mod interrupt;
mod journal;
mod logging;
mod manual;
pub mod mounting;
pub mod place;
pub mod profiles;
mod progress;
pub mod pushing;
mod screen;
pub mod secret;
pub mod serve;
mod service_log;
mod show;
mod state_dir;
pub mod stream;
pub mod summary;
mod table;
pub mod tokens;
mod ui;
pub mod usage;

pub use arguments::{BackupArg, duration, source, tag, words};
pub use confirm::{ask, confirm, confirm_plan};
pub use connect::{App, Connection, During, Work, remote, wait};
pub use duration::{Span, SpanError, short as short_duration};
pub use exit::Exit;
pub use failure::{Failure, Paint, Result, SCHEMA_VERSION, no_panic_dumps};
pub use follow::{Follow, OnStop, ended_badly};
pub use interrupt::{Interrupts, Wish};
pub use manual::{Manual, Page, pages, write_pages};
pub use model::shell_word;
pub use progress::{Reporter, Task};
pub use screen::Screen;
pub use show::{Show, one_line, percent, saved_percent, span};
pub use table::{Column, TableArgs};
pub use ui::{GlobalArgs, Ui};
