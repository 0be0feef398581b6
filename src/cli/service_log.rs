//! The log of a service: a line an event on stderr, as words or as JSON objects, with a level that can be changed while
//! it runs.
//!
//! Where the journal reads stderr, words go to the journal itself, with their fields (`journal`), and without a time, which it
//! keeps; what it does not take goes to stderr, behind its priority (sd-daemon(3)).

use crate::failure::{Failure, Result};
use crate::journal::{self, Entry, Journal};
use crate::show::one_line;
use jiff::Timestamp;
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;

/// Our crates, and the lines of requests.
const OURS: [&str; 11] =
    ["access", "api", "block", "catalog", "cli", "hub", "nbd", "qcow2", "repository", "server", "service"];

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A line of words.
    Words,
    /// Words and fields, for the journal.
    Journal,
    /// A JSON object.
    Json,
}

impl Form {
    /// Words, as who reads stderr wants them.
    pub fn words() -> Self {
        if journal::reads_stderr() { Form::Journal } else { Form::Words }
    }
}

/// The log's level.
pub struct ServiceLog {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl ServiceLog {
    /// Sends log events to stderr from now on.
    ///
    /// # Errors
    /// A level that is none.
    pub fn start(form: Form, level: &str) -> Result<Self> {
        let (filter, handle) = reload::Layer::new(filter(level)?);
        let journal = if form == Form::Journal { Journal::open().ok() } else { None };
        // Refused only where a log was begun before, which no command does that comes here.
        drop(tracing::subscriber::set_global_default(
            Registry::default().with(Log { form, journal }.with_filter(filter)),
        ));
        Ok(ServiceLog { filter: handle })
    }

    /// Changes the level; what is no level changes nothing and is logged.
    pub fn set(&self, level: &str) {
        match filter(level) {
            Ok(fresh) => {
                if let Err(error) = self.filter.reload(fresh) {
                    tracing::error!(%error, "the log's level was not changed");
                }
            }
            Err(failure) => tracing::error!("the log's level was not changed: {}", failure.message()),
        }
    }
}

/// A level for our crates, or a filter in the syntax of tracing.
///
/// # Errors
/// What is neither.
pub fn filter(level: &str) -> Result<EnvFilter> {
    let wrong = || {
        Failure::usage(format!("log.level: {level:?} is no level"))
            .next("choose error, warn, info, debug or trace, or a filter such as info,hub=debug")
    };
    let directives = match level.parse::<Level>() {
        Ok(level) => {
            let ours: Vec<String> = OURS.iter().map(|target| format!("{target}={level}")).collect();
            format!("{},{}", level.min(Level::WARN), ours.join(","))
        }
        // A bare word would be taken for the name of a crate.
        Err(_) if level.contains(['=', ',']) => level.to_owned(),
        Err(_) => return Err(wrong()),
    };
    EnvFilter::try_new(directives).map_err(|_| wrong())
}

struct Log {
    form: Form,
    journal: Option<Journal>,
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if let Some(journal) = &self.journal
            && journal.send(&entry(level, target, &fields.0)).is_ok()
        {
            return;
        }
        let mut line = line(self.form, level, target, fields.0, Timestamp::now());
        line.push('\n');
        // Nobody reads any more: the work goes on.
        drop(std::io::stderr().lock().write_all(line.as_bytes()));
    }
}

fn line(form: Form, level: Level, target: &str, mut fields: Map<String, Value>, now: Timestamp) -> String {
    if form == Form::Json {
        fields.insert("timestamp".into(), now.to_string().into());
        fields.insert("level".into(), level.as_str().to_lowercase().into());
        fields.insert("target".into(), target.into());
        return Value::Object(fields).to_string();
    }
    let begin = match form {
        Form::Journal => format!("<{}>", priority(level)),
        _ => format!("{} {:5} ", now.strftime("%FT%T%.3fZ"), level.as_str()),
    };
    begin + &words(target, fields)
}

/// An event for the journal: its line, and each of its fields.
fn entry(level: Level, target: &str, fields: &Map<String, Value>) -> Entry {
    let mut entry = Entry::new(&words(target, fields.clone()), priority(level));
    entry.field("target", target);
    for (name, value) in fields.iter().filter(|(name, _)| *name != "message") {
        match value {
            Value::String(value) => entry.field(name, value),
            other => entry.field(name, &other.to_string()),
        }
    }
    entry
}

/// The message and the fields of an event, in one line.
fn words(target: &str, mut fields: Map<String, Value>) -> String {
    let mut text = String::new();
    if target == "access" {
        text.push_str("request");
    }
    if let Some(message) = fields.remove("message") {
        text.push_str(&one_line(message.as_str().unwrap_or_default()));
    }
    for (name, value) in &fields {
        let value = match value {
            Value::String(value) => one_line(value),
            other => other.to_string(),
        };
        let quoted = value.is_empty() || value.contains([' ', '"', '=']);
        let written =
            if quoted { write!(text, " {name}={value:?}") } else { write!(text, " {name}={value}") };
        debug_assert!(written.is_ok(), "writing to a string does not fail");
    }
    text
}

/// syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.0.insert(field.name().to_owned(), u64::try_from(value).unwrap_or(u64::MAX).into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.0.insert(field.name().to_owned(), value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let fields = json!({"message": "a\nb", "path": "/x y", "status": 200});
        let Value::Object(fields) = fields else { panic!("an object") };
        let now: Timestamp = "2026-10-06T12:00:00.5Z".parse().unwrap();
        let words = line(Form::Words, Level::INFO, "hub", fields.clone(), now);
        assert!(words.starts_with("2026-10-06T12:00:00.500Z INFO "), "{words}");
        assert!(words.ends_with(r#"path="/x y" status=200"#) && !words.contains('\n'), "{words}");
        assert!(line(Form::Journal, Level::WARN, "hub", fields.clone(), now).starts_with("<4>a"));
        let json: Value = serde_json::from_str(&line(Form::Json, Level::INFO, "hub", fields, now)).unwrap();
        assert_eq!(
            (&json["status"], &json["level"], &json["message"]),
            (&200.into(), &"info".into(), &"a\nb".into())
        );
    }

    #[test]
    fn a_level_is_a_word_or_a_filter() {
        for level in ["info", "WARN", "info,hub=debug", "hub=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["", "loud", "hub=loud"] {
            assert!(filter(level).is_err(), "{level}");
        }
    }
}
