//! How a command fails: what failed, why, what to do next, and the number for the shell.
//!
//! A [`Failure`] is made once, at the place that knows what was attempted, and shown once, by `main`: as three
//! lines at most on stderr, or with `--json` as one object on stdout. It never holds a debug dump; what
//! lies under the reason is kept apart in `causes` and shown with `--verbose` only.

use crate::exit::Exit;
use crate::show::one_line;
use serde_json::{Map, Value, json};

/// The version of the JSON lines this program prints.
pub const SCHEMA_VERSION: u32 = 1;

/// Result of a command and of everything that serves one.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command did not do what it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// What failed, as a sentence without a full stop: "the backup of pgtest2 was not started".
    pub what: String,
    /// Why.
    pub why: Option<String>,
    /// What to do next, with a command to type where there is one.
    pub next: Option<String>,
    /// The API's stable word for the reason.
    pub code: Box<str>,
    /// The number for the shell.
    pub exit: Exit,
    /// What the API said besides.
    pub details: Option<Box<Value>>,
    /// What lies under the reason, outermost first.
    pub causes: Box<[String]>,
}

impl Failure {
    /// A failure with its code and number.
    pub fn new(exit: Exit, code: &str, what: impl Into<String>) -> Self {
        Failure {
            what: what.into(),
            why: None,
            next: None,
            code: code.into(),
            exit,
            details: None,
            causes: Box::default(),
        }
    }

    /// The command line asks for something that makes no sense.
    pub fn usage(what: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, "invalid_request", what)
    }

    /// Something of this machine failed: a file, a thread.
    pub fn local(what: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut failure = Failure::new(Exit::Failed, "internal", what).why(error.to_string());
        failure.causes = chain(error).into();
        failure
    }

    /// The engine of this process could not be opened on its catalog.
    pub fn engine(catalog: &hub::CatalogLocation, error: &hub::Error) -> Self {
        let code = error.code();
        let mut failure = Failure::new(
            Exit::from_number(code.exit_code()),
            code.as_str(),
            match catalog.file().and_then(std::path::Path::parent) {
                Some(folder) => format!("the catalog in {} could not be opened", folder.display()),
                None => format!("the catalog {catalog} could not be opened"),
            },
        )
        .why(error.to_string());
        failure.next = error.hint();
        failure.causes = chain(error).into();
        failure
    }

    /// A fault of this program: a thread panicked, [`no_panic_dumps`] has told where.
    pub fn fault() -> Self {
        Failure::new(Exit::Failed, "internal", "sendense-ctl stopped because of a fault in itself")
            .next("run it again; if it stays, report it with the lines above")
    }

    /// Adds why.
    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Headline and reason in one sentence, for where it is one of many.
    pub fn message(&self) -> String {
        match &self.why {
            Some(why) => format!("{}: {why}", self.what),
            None => self.what.clone(),
        }
    }

    /// Says what was attempted: what was the headline so far becomes the reason.
    #[must_use]
    pub fn during(mut self, attempt: impl Into<String>) -> Self {
        let reason = std::mem::replace(&mut self.what, attempt.into());
        self.why = Some(match self.why.take() {
            Some(why) => format!("{reason}: {why}"),
            None => reason,
        });
        self
    }

    /// The lines for a person: at most three, and the causes below where they are wanted.
    pub fn lines(&self, paint: Paint, verbose: bool) -> Vec<String> {
        let mut lines = vec![format!("{} {}", paint.error("error:"), one_line(&self.what))];
        if let Some(why) = &self.why {
            let why = one_line(&format!("{why}{}", self.named(why)));
            lines.push(format!("  {} {why}", paint.dim("why:")));
        }
        if let Some(next) = &self.next {
            lines.push(format!(" {} {}", paint.dim("next:"), one_line(next)));
        }
        if verbose {
            lines.extend(
                self.causes.iter().map(|cause| format!("{} {}", paint.dim("cause:"), one_line(cause))),
            );
            lines.push(format!("{} {} (exit {})", paint.dim(" code:"), self.code, self.exit));
        }
        lines
    }

    /// What the details name (candidates of an ambiguous address, dependents of a point) and `said` does not.
    fn named(&self, said: &str) -> String {
        const MOST: usize = 6;
        let Some(details) = self.details.as_deref().and_then(Value::as_object) else {
            return String::new();
        };
        for key in ["candidates", "dependents"] {
            let Some(list) = details.get(key).and_then(Value::as_array) else { continue };
            let names: Vec<&str> =
                list.iter().filter_map(|item| item.as_str().or_else(|| item["id"].as_str())).collect();
            if names.is_empty() || names.iter().any(|name| said.contains(name)) {
                continue;
            }
            let rest = match names.len().saturating_sub(MOST) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            return format!(": {}{rest}", names[..names.len().min(MOST)].join(", "));
        }
        String::new()
    }

    /// The object for programs.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("message_type".into(), "error".into());
        object.insert("schema_version".into(), SCHEMA_VERSION.into());
        object.insert("success".into(), false.into());
        let error = match &self.why {
            Some(why) => format!("{}: {why}", self.what),
            None => self.what.clone(),
        };
        object.insert("error".into(), error.into());
        object.insert("what".into(), self.what.clone().into());
        object.insert("why".into(), json!(self.why));
        object.insert("code".into(), self.code.to_string().into());
        object.insert("hint".into(), json!(self.next));
        object.insert("details".into(), self.details.as_deref().cloned().unwrap_or(Value::Null));
        object.insert("exit_code".into(), self.exit.number().into());
        Value::Object(object)
    }
}

impl Failure {
    /// A failure that another process of this program has printed as its object.
    pub fn from_json(object: &Value) -> Failure {
        let text = |key: &str| object[key].as_str().map(str::to_owned);
        let number = object["exit_code"].as_u64().and_then(|number| u8::try_from(number).ok()).unwrap_or(1);
        Failure {
            what: text("what").or_else(|| text("error")).unwrap_or_default(),
            why: text("why"),
            next: text("hint"),
            code: text("code").unwrap_or_else(|| "internal".to_owned()).into(),
            exit: Exit::from_number(number),
            details: Some(object["details"].clone()).filter(|details| !details.is_null()).map(Box::new),
            causes: Box::default(),
        }
    }
}

/// From now on a panic is told in one line instead of a dump.
pub fn no_panic_dumps() {
    std::panic::set_hook(Box::new(|panic| {
        let said = panic.payload();
        let message = said.downcast_ref::<&str>().copied();
        let message = message.or_else(|| said.downcast_ref::<String>().map(String::as_str));
        let message = message.unwrap_or("a fault without a message");
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        eprintln!("fault: {}{place}", one_line(message));
    }));
}

/// An error's message and those of its sources, without repetitions.
pub fn chain(error: &dyn std::error::Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if causes.last() != Some(&text) {
            causes.push(text);
        }
        // A chain that refers to itself would never end.
        if causes.len() == 16 {
            break;
        }
        next = cause.source();
    }
    causes
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// For what went wrong.
    pub fn error(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// For what may go wrong.
    pub fn warning(self, text: &str) -> String {
        self.with("1;33", text)
    }

    /// For what went well.
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// For labels.
    pub fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// For headings.
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure::new(Exit::Refused, "has_dependents", "backup-pg-1 was not deleted")
            .why("2 restore points depend on it")
            .next("sendense-ctl backup delete backup-pg-1 --cascade")
    }

    #[test]
    fn a_failure_is_three_lines() {
        assert_eq!(
            failure().lines(Paint(false), false),
            [
                "error: backup-pg-1 was not deleted",
                "  why: 2 restore points depend on it",
                " next: sendense-ctl backup delete backup-pg-1 --cascade",
            ]
        );
    }

    #[test]
    fn candidates_are_named_but_not_twice_and_not_without_end() {
        let mut failure = failure();
        let dependents = ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"];
        failure.details = Some(Box::new(json!({ "dependents": dependents })));
        let line = failure.lines(Paint(false), false)[1].clone();
        assert!(line.ends_with("depend on it: a1, a2, a3, a4, a5, a6 and 2 more"), "{line}");
        failure.why = Some("a1 depends on it".into());
        assert_eq!(failure.lines(Paint(false), false)[1], "  why: a1 depends on it");
    }

    #[test]
    fn causes_are_shown_on_request_only() {
        let mut failure = failure();
        failure.causes = ["disk I/O error\n(code 10)".to_owned()].into();
        assert_eq!(failure.lines(Paint(false), false).len(), 3);
        assert!(failure.lines(Paint(false), true).contains(&"cause: disk I/O error (code 10)".to_owned()));
    }

    #[test]
    fn what_was_attempted_becomes_the_headline() {
        let failure = Failure::usage("the name is empty").why("it was given as ''").during("no VM was added");
        assert_eq!(failure.what, "no VM was added");
        assert_eq!(failure.why.as_deref(), Some("the name is empty: it was given as ''"));
    }

    #[test]
    fn programs_get_the_same_as_an_object() {
        let json = failure().json();
        assert_eq!(json["message_type"], "error");
        assert_eq!(json["code"], "has_dependents");
        assert_eq!(json["exit_code"], 5);
        assert_eq!(json["hint"], "sendense-ctl backup delete backup-pg-1 --cascade");
        assert_eq!(json["error"], "backup-pg-1 was not deleted: 2 restore points depend on it");
    }
}
