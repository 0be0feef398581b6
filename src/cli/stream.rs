//! Searches and comparisons as they run: what they find, how far they are, and their end by a signal.

use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure::{Failure, Result, SCHEMA_VERSION};
use crate::interrupt::{Interrupts, Wish};
use crate::ui::{Ui, stderr_is_live};
use api::{ClientError, Line, LineStream, SearchStatus, Unsearched};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::cell::RefCell;
use std::future::Future;

/// Follows lines to their end, each of them given to `take`. Returns the exit code where a signal ended it before.
///
/// # Errors
/// What `open` or the hub says; what `take` fails with.
pub fn follow<L: Line>(
    hub: &Connection,
    ui: &Ui,
    open: impl Future<Output = Result<LineStream<L>, ClientError>>,
    take: &mut dyn FnMut(L, &Progress) -> Result<()>,
) -> Result<Option<Exit>> {
    let progress = Progress::new(ui);
    let ended = hub.wait(async {
        let mut interrupts = Interrupts::listen()?;
        let mut open = std::pin::pin!(open);
        let mut lines: Option<LineStream<L>> = None;
        loop {
            let next = async {
                match &mut lines {
                    Some(lines) => Ok(Next::Line(lines.next().await?)),
                    None => Ok::<_, ClientError>(Next::Opened((&mut open).await?)),
                }
            };
            tokio::select! {
                wish = interrupts.next() => match wish {
                    Wish::Stop(exit) => return Ok(Some(exit)),
                    Wish::Status => ui.screen.line(&progress.sentence(ui)),
                },
                next = next => match next? {
                    Next::Opened(opened) => lines = Some(opened),
                    Next::Line(None) => return Ok(None),
                    Next::Line(Some(line)) => take(line, &progress)?,
                },
            }
        }
    });
    match ended {
        Ok(Some(_)) => ui.screen.abandon(),
        _ => ui.screen.clear(),
    }
    ended
}

enum Next<L> {
    Opened(LineStream<L>),
    Line(Option<L>),
}

/// How far a search is: one line on a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    last: RefCell<SearchStatus>,
}

impl Progress {
    fn new(ui: &Ui) -> Self {
        let bar = (!ui.quiet && !ui.json && stderr_is_live()).then(|| {
            let bar = ui.screen.raise().add(ProgressBar::new_spinner());
            let style = ProgressStyle::with_template("{spinner} {wide_msg}");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Progress { bar, last: RefCell::default() }
    }

    /// Shows it.
    pub fn show(&self, ui: &Ui, status: SearchStatus) {
        self.last.replace(status);
        if let Some(bar) = &self.bar {
            bar.set_message(self.sentence(ui));
            bar.tick();
        }
    }

    fn sentence(&self, ui: &Ui) -> String {
        let now = self.last.borrow();
        let points = match now.points_total {
            0 | 1 => String::new(),
            total if now.phase == "walking" => format!(", {} of {total} backups", now.points_done),
            total => format!(", {total} backups"),
        };
        let (phase, entries, found) = (&now.phase, now.entries, now.found);
        let phase = if phase.is_empty() { "opening" } else { phase };
        format!("{phase}{points}, {entries} files, {} read, {found} found", ui.show.size(now.bytes_read))
    }
}

/// Prints a line of a search as JSON.
pub fn json_line(ui: &Ui, line: &impl Serialize) -> Result<()> {
    let mut value = serde_json::to_value(line)
        .map_err(|error| Failure::local("a result could not be written as JSON", &error))?;
    if let Some(object) = value.as_object_mut() {
        object.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
    }
    ui.json_line(&value);
    Ok(())
}

/// Warns of what could not be searched or compared.
pub fn warn_unsearched(ui: &Ui, error: &Unsearched) {
    let place = match &error.path {
        Some(path) => format!("{} {path}", error.backup_id),
        None => error.backup_id.to_string(),
    };
    ui.warn(&format!("{place}: {}", error.error));
}
