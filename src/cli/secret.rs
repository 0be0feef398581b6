//! Passwords and tokens: where they may come from, so that they never stand on a command line.
//!
//! For a name such as `SENDENSE_PASSWORD`: the variable itself, `_FILE` (a file's first line), `_FD` (an open file
//! descriptor's), `_CMD` (what a command prints), in this order. A secret is wiped from memory when it is dropped, and
//! is never shown.

use crate::failure::{Failure, Result};
use model::UserName;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

/// More than this is no secret.
const MAX: u64 = 64 << 10;

/// A secret text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What the environment says of a secret; `None` where it says nothing.
///
/// # Errors
/// What it names can't be read, or is empty.
pub fn from_environment(name: &str) -> Result<Option<Secret>> {
    let variable = |ending: &str| {
        let name = format!("{name}{ending}");
        std::env::var_os(&name).filter(|value| !value.is_empty()).map(|value| (name, value))
    };
    if let Some((name, value)) = variable("") {
        let text = value.into_string().map_err(|_| Failure::usage(format!("{name} is no UTF-8")))?;
        return Ok(Some(Secret::new(text)));
    }
    if let Some((name, path)) = variable("_FILE") {
        return first_line(&name, File::open(path)).map(Some);
    }
    if let Some((name, number)) = variable("_FD") {
        let number = number.to_str().and_then(|text| text.parse::<u32>().ok());
        let number =
            number.ok_or_else(|| Failure::usage(format!("{name} must be the number of an open file")))?;
        return first_line(&name, File::open(format!("/proc/self/fd/{number}"))).map(Some);
    }
    if let Some((name, command)) = variable("_CMD") {
        let failed = |error: io::Error| Failure::local(format!("the command in {name} failed"), &error);
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| failed(io::Error::other("it has no output")))?;
        let line = first_line(&name, Ok(stdout));
        let status = child.wait().map_err(failed)?;
        if !status.success() {
            return Err(failed(io::Error::other(status.to_string())));
        }
        return line.map(Some);
    }
    Ok(None)
}

/// The first line of what is read.
///
/// # Errors
/// It can't be read, or is empty.
pub fn first_line(name: &str, from: io::Result<impl Read>) -> Result<Secret> {
    let mut text = Zeroizing::new(String::new());
    from.and_then(|file| file.take(MAX).read_to_string(&mut text))
        .map_err(|error| Failure::local(format!("what {name} names can't be read"), &error))?;
    let line = text.split('\n').next().unwrap_or_default().trim_end_matches('\r');
    if line.is_empty() {
        return Err(Failure::usage(format!("what {name} names is empty")));
    }
    Ok(Secret::new(line))
}

/// The password: from the environment, or asked for on the terminal, twice where it is new.
///
/// # Errors
/// Nobody can be asked; the environment names what can't be read.
pub fn password(prompt: &str, new: bool) -> Result<Secret> {
    named("SENDENSE_PASSWORD", prompt, new)
}

/// The password of a user that is being made.
///
/// # Errors
/// As [`password`].
pub fn new_password(user: &UserName) -> Result<Secret> {
    password(&format!("Password for {user}, at least 12 characters"), true)
}

/// The password that is to be instead of one: from `SENDENSE_NEW_PASSWORD`, or asked for twice.
///
/// # Errors
/// As [`password`].
pub fn another_password(user: &str) -> Result<Secret> {
    named("SENDENSE_NEW_PASSWORD", &format!("New password of {user}, at least 12 characters"), true)
}

fn named(name: &str, prompt: &str, new: bool) -> Result<Secret> {
    if let Some(password) = from_environment(name)? {
        return Ok(password);
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage("a password is needed, and there is no terminal to ask on")
            .next(format!("set {name}, {name}_FILE, {name}_FD or {name}_CMD")));
    }
    let mut question = dialoguer::Password::new().with_prompt(prompt);
    if new {
        question = question.with_confirmation("Once more", "The two differ");
    }
    question.interact().map(Secret::new).map_err(|error| {
        Failure::new(crate::Exit::Interrupted, "cancelled", "no password was given").why(error.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts_and_nothing_of_it_is_shown() {
        let secret = first_line("X", Ok(&b"s3cret \r\nmore\n"[..])).unwrap();
        assert_eq!(secret.expose(), "s3cret ");
        assert!(!format!("{secret:?}").contains("s3cret"));
        assert!(first_line("X", Ok(&b"\nmore"[..])).is_err());
        assert!(first_line("X", Err::<File, _>(io::Error::other("gone"))).is_err());
    }
}
