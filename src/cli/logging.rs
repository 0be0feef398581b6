//! Log events of all crates in the style of the command line: `warning: …` on stderr.
//!
//! Shown are warnings of our own crates, with `--verbose` their notes too, and whatever `SENDENSE_LOG` asks
//! for in the syntax of tracing's filters (`SENDENSE_LOG=debug,sqlx=info`). The hub's notices for a person
//! (a default repository was made) are informational events with the target `notice`: shown unless `--quiet`.

use crate::failure::Paint;
use crate::screen::Screen;
use crate::show::one_line;
use crate::ui::Ui;
use std::fmt::{self, Write as _};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// The target of what a person should know although nothing is wrong.
const NOTICE: &str = "notice";
const OURS: [&str; 11] = [
    "sendense_ctl",
    "api",
    "cli",
    "server",
    "service",
    "hub",
    "catalog",
    "repository",
    "nbd",
    "qcow2",
    "block",
];

/// Sends log events to the screen from now on. A second call changes nothing.
pub fn init(ui: &Ui) {
    let layer = Lines { screen: ui.screen.clone(), paint: ui.paint() };
    let wanted = std::env::var("SENDENSE_LOG").ok().filter(|text| !text.is_empty());
    if let Some(filter) = wanted.and_then(|text| EnvFilter::try_new(text).ok()) {
        drop(tracing::subscriber::set_global_default(Registry::default().with(layer.with_filter(filter))));
        return;
    }
    let level = match (ui.quiet, ui.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, true) => LevelFilter::INFO,
        (false, false) => LevelFilter::WARN,
    };
    let notices = if ui.quiet { LevelFilter::WARN } else { LevelFilter::INFO };
    let filter = Targets::new()
        .with_default(LevelFilter::ERROR)
        .with_targets(OURS.map(|target| (target, level)))
        // What a request has failed with is the command's own error: once is enough.
        .with_target("server", if ui.verbose { level } else { LevelFilter::ERROR })
        .with_target(NOTICE, notices);
    drop(tracing::subscriber::set_global_default(Registry::default().with(layer.with_filter(filter))));
}

struct Lines {
    screen: Screen,
    paint: Paint,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let level = match *event.metadata().level() {
            Level::ERROR => self.paint.error("error: "),
            Level::WARN => self.paint.warning("warning: "),
            Level::INFO => String::new(),
            _ => self.paint.dim("debug: "),
        };
        self.screen.line(&format!("{level}{}", one_line(&text.whole())));
    }
}

/// The message, then the fields as `name=value`.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn whole(self) -> String {
        if self.fields.is_empty() { self.message } else { format!("{} ({})", self.message, self.fields) }
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let written = if field.name() == "message" {
            write!(self.message, "{value}")
        } else {
            let comma = if self.fields.is_empty() { "" } else { ", " };
            write!(self.fields, "{comma}{}={value}", field.name())
        };
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}
