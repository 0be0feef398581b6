//! A run that goes on after its command has ended.
//!
//! The command starts the same program again, with the same arguments and [`MARK`] (in the place of `--detach`,
//! where that is among them), and reads JSON lines from its stdout: one for each job that was accepted or refused, then
//! one that says that no more will come. What must not be seen among the arguments, it writes to the child's stdin. The
//! child leaves the terminal's session first, so that neither the end of
//! the terminal nor Ctrl-C reaches it; it says nothing to anyone after that last line. What becomes of the jobs is
//! on their records.

use crate::failure::{Failure, Result, SCHEMA_VERSION};
use crate::progress::{self, Task};
use crate::ui::Ui;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// The argument that tells the child what it is.
pub const MARK: &str = "--detached";

/// What the child said of one job.
#[derive(Debug, PartialEq)]
pub enum Told {
    /// The job runs; the whole line.
    Accepted(Value),
    /// It was not started.
    Refused(Failure),
}

/// Starts the child, hands it `secret` (one line), and waits until it has told of all its jobs. `attempt` is the headline
/// of a failure.
///
/// # Errors
/// Where it can't be started, or ends before it has told everything.
pub fn spawn(attempt: &str, secret: Option<&Value>) -> Result<Vec<Told>> {
    let program = std::env::current_exe().map_err(|error| Failure::local(attempt, &error))?;
    let mut child = Command::new(program)
        .args(child_arguments(std::env::args_os().skip(1)))
        .stdin(if secret.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| Failure::local(attempt, &error))?;
    if let (Some(secret), Some(mut stdin)) = (secret, child.stdin.take()) {
        // A child that has ended already says why on the other pipe.
        drop(writeln!(stdin, "{secret}"));
    }
    let mut told = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| Failure::local(attempt, &error))?;
            let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
            match value["message_type"].as_str() {
                Some("status") => told.push(Told::Accepted(value)),
                Some("error") => told.push(Told::Refused(Failure::from_json(&value))),
                Some("detached") => return Ok(told),
                _ => {}
            }
        }
    }
    // The pipe was closed without the last word: a failure before any job, or the end of the process.
    drop(child.wait());
    if told.iter().any(|told| matches!(told, Told::Refused(_))) {
        return Ok(told);
    }
    Err(Failure::new(crate::Exit::Failed, "internal", attempt)
        .why("the process that was to run it has ended"))
}

fn child_arguments(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> =
        given.map(|argument| if argument == "--detach" { MARK.into() } else { argument }).collect();
    // Behind the other options they are never taken for an option's value, because none is left waiting for one.
    let mut end = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    // The child speaks JSON to its parent, whatever the user asked for.
    for needed in [MARK, "--json"] {
        if !arguments[..end].iter().any(|argument| argument == needed) {
            arguments.insert(end, needed.into());
            end += 1;
        }
    }
    arguments
}

/// What the parent has written for the child, in the child.
///
/// # Errors
/// Where there is nothing of that kind.
pub fn secret<T: serde::de::DeserializeOwned>() -> Result<T> {
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    let value = read.map_err(|error| error.to_string());
    let value = value.and_then(|_| serde_json::from_str(&line).map_err(|error| error.to_string()));
    value.map_err(|error| {
        Failure::new(crate::Exit::Failed, "internal", "the detached process got no request").why(error)
    })
}

/// Leaves the session of the terminal, in the child.
pub fn leave_terminal(ui: &Ui) {
    // Refused only where this process leads a session already: then there is nothing to leave.
    if let Err(error) = rustix::process::setsid() {
        ui.warn(&format!("the terminal's session was not left: {error}"));
    }
}

/// The child's word on a job that runs.
pub fn accepted(task: &Task) -> Value {
    progress::accepted(task)
}

/// The child's last word to its parent.
pub fn told_everything(ui: &Ui) {
    ui.json_line(&json!({ "message_type": "detached", "schema_version": SCHEMA_VERSION }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_child_gets_the_same_arguments_with_the_mark() {
        let given = ["backup", "start", "--vm", "a", "--detach", "-q"].map(OsString::from);
        let child = child_arguments(given.into_iter());
        assert_eq!(child, ["backup", "start", "--vm", "a", "--detached", "-q", "--json"]);
        let given = ["backup", "mount", "--json", "--", "a", "--detach-me"].map(OsString::from);
        let child = child_arguments(given.into_iter());
        assert_eq!(child, ["backup", "mount", "--json", "--detached", "--", "a", "--detach-me"]);
    }

    #[test]
    fn a_refusal_survives_the_way_through_the_pipe() {
        let failure = Failure::new(crate::Exit::Locked, "locked", "pg was not backed up")
            .why("another run holds it")
            .next("wait");
        let back = Failure::from_json(&failure.json());
        assert_eq!((back.exit, &*back.code), (crate::Exit::Locked, "locked"));
        assert_eq!((back.what, back.why, back.next), (failure.what, failure.why, failure.next));
    }
}
