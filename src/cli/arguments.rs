//! Arguments that several commands take, and parsers of their values. Parsing only: nothing is looked up.

use crate::complete;
use crate::duration::{Span, SpanError};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap_complete::engine::ArgValueCompleter;
use model::{SourceUri, UnknownWord};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

/// The backup that a command is about.
#[derive(Debug, Clone, Args)]
pub struct BackupArg {
    /// Which backup: an id, the beginning of one, latest, latest~2, VM@latest or VM@2025-10-06
    #[arg(
        value_name = "BACKUP",
        required_unless_present = "backup_id",
        add = ArgValueCompleter::new(complete::backups)
    )]
    backup: Option<String>,
    /// The same, as an option
    #[arg(
        long,
        value_name = "BACKUP",
        conflicts_with = "backup",
        add = ArgValueCompleter::new(complete::backups)
    )]
    backup_id: Option<String>,
}

impl BackupArg {
    /// The address as it was given.
    pub fn address(&self) -> &str {
        self.backup.as_deref().or(self.backup_id.as_deref()).unwrap_or_default()
    }
}

/// A parser for one of the words of a vocabulary.
pub fn words<T>(all: &'static [T], spell: fn(T) -> &'static str) -> impl TypedValueParser<Value = T>
where
    T: Copy + Clone + Send + Sync + FromStr<Err = UnknownWord> + 'static,
{
    PossibleValuesParser::new(all.iter().map(|word| spell(*word))).try_map(|word| word.parse::<T>())
}

/// `key=value` for a tag; the value may be empty.
///
/// # Errors
/// Where there is no `=`, or nothing before it.
pub fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}

/// A span of time, as [`Duration`].
///
/// # Errors
/// Where it can't be read.
pub fn duration(text: &str) -> Result<Duration, SpanError> {
    text.parse::<Span>().map(|span| span.0)
}

/// A disk's source or target: a path, which is made absolute, or a URI.
///
/// # Errors
/// Where it is neither.
pub fn source(text: &str) -> Result<SourceUri, String> {
    let folder =
        std::env::current_dir().map_err(|error| format!("the current folder is not there: {error}"))?;
    source_in(text, &folder)
}

fn source_in(text: &str, folder: &Path) -> Result<SourceUri, String> {
    if text.is_empty() || text.starts_with('/') || is_uri(text) {
        return text.parse().map_err(|error: model::SourceUriError| error.to_string());
    }
    let path = text.strip_prefix("./").unwrap_or(text);
    let whole = folder.join(path);
    let whole = whole.to_str().ok_or("the current folder's name is not UTF-8: give an absolute path")?;
    Ok(SourceUri::File { path: whole.to_owned(), format: None })
}

/// A scheme, then `:/` (RFC 3986 allows a file name such as `a:b`, which this is not).
fn is_uri(text: &str) -> bool {
    text.split_once(":/").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_become_absolute_and_uris_stay() {
        let folder = Path::new("/home/me");
        for (text, expected) in [
            ("disk.raw", "/home/me/disk.raw"),
            ("./d/disk 1.qcow2", "/home/me/d/disk 1.qcow2"),
            ("../x", "/home/me/../x"),
            ("/dev/sda", "/dev/sda"),
            ("a:b.raw", "/home/me/a:b.raw"),
            ("nbd://h/e", "nbd://h/e"),
            ("file:///x?format=raw", "file:///x?format=raw"),
        ] {
            assert_eq!(source_in(text, folder).unwrap().to_string(), expected, "{text}");
        }
        assert!(source_in("", folder).is_err());
        assert!(source_in("http://h/x", folder).is_err());
    }

    #[test]
    fn tags_are_pairs() {
        assert_eq!(tag("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert_eq!(tag("a=").unwrap(), ("a".into(), String::new()));
        for text in ["", "a", "=b"] {
            assert!(tag(text).is_err(), "{text}");
        }
    }
}
