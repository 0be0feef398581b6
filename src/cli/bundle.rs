//! What goes into a bundle for somebody who helps: texts without secrets, in one archive.
//!
//! Everything passes [`Redaction`] on its way in, whoever has made it: what looks like a credential is taken out even
//! where nothing should have put one there. Names are kept, because they are what a report is about, unless they are
//! to go too; then one name is one word all through the bundle.

use flate2::Compression;
use flate2::write::GzEncoder;
use regex::{Captures, Regex};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Patterns of what must not leave, and what stays of them.
const SECRETS: [(&str, &str); 5] = [
    (r"sendense_[0-9a-fA-F]{16,}", "sendense_***"),
    (r#"([A-Za-z][A-Za-z0-9+.-]*://)[^/@\s"'<>]*@"#, "${1}***@"),
    (r#""(nbd_targets_string|nbd_export_name)"\s*:\s*"[^"]*""#, r#""$1": "***""#),
    (
        r#"(?i)("?[a-z_.-]*(?:passwords?|passwd|passphrase|secret|token)"?\s*[:=]\s*)("(?:[^"\\]|\\.)*"|[^\s,}"\[\]]+)"#,
        r#"${1}"***""#,
    ),
    (r"(?i)(\b(?:bearer|basic)\s+)[A-Za-z0-9+/=_.~-]+", "${1}***"),
];

/// Where paths and addresses are, for who wants names out.
const PATH: &str = r"(?:file://)?/(?:[\w.@+-]+/)+[\w.@+-]*";
const ADDRESS: &str = r"\b\d{1,3}(?:\.\d{1,3}){3}\b";

/// Takes out what must not be told.
#[derive(Debug)]
pub struct Redaction {
    secrets: Vec<(Regex, &'static str)>,
    names: Option<Names>,
}

/// Words in place of names.
#[derive(Debug)]
struct Names {
    known: Option<Regex>,
    path: Regex,
    address: Regex,
    words: BTreeMap<String, String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Redaction {
    /// One that takes out secrets.
    pub fn new() -> Self {
        let secrets = SECRETS.iter().filter_map(|(pattern, rest)| Some((Regex::new(pattern).ok()?, *rest)));
        Redaction { secrets: secrets.collect(), names: None }
    }

    /// One that takes out names, paths and addresses as well; `known` are the names with what each is (`vm`).
    pub fn anonymous<'a>(known: impl IntoIterator<Item = (&'static str, &'a str)>) -> Self {
        let mut names: Vec<(&str, &str)> = known.into_iter().filter(|(_, name)| !name.is_empty()).collect();
        // The longest first, so that none is found inside of another.
        names.sort_by_key(|(_, name)| std::cmp::Reverse(name.len()));
        names.dedup();
        let pattern: Vec<String> =
            names.iter().flat_map(|(_, name)| spellings(name)).map(|spelled| whole(&spelled)).collect();
        let known = Regex::new(&pattern.join("|")).ok().filter(|_| !names.is_empty());
        let mut redaction = Redaction::new();
        let (Ok(path), Ok(address)) = (Regex::new(PATH), Regex::new(ADDRESS)) else { return redaction };
        let mut words = Names { known, path, address, words: BTreeMap::new(), counts: BTreeMap::new() };
        for (kind, name) in names {
            let word = words.word(kind, name);
            for spelled in spellings(name) {
                words.words.insert(spelled, word.clone());
            }
        }
        redaction.names = Some(words);
        redaction
    }

    /// The text without what must not be told.
    pub fn apply(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (pattern, rest) in &self.secrets {
            text = pattern.replace_all(&text, *rest).into_owned();
        }
        match &mut self.names {
            Some(names) => names.apply(&text),
            None => text,
        }
    }
}

impl Default for Redaction {
    fn default() -> Self {
        Redaction::new()
    }
}

/// A name as it is, as JSON and the log write it, and as it stands in a URL.
fn spellings(name: &str) -> Vec<String> {
    let quoted = serde_json::to_string(name).unwrap_or_default();
    let escaped = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned();
    let mut all = vec![name.to_owned(), escaped, api::path_segment(name)];
    all.dedup();
    all
}

/// A pattern that finds the text where it is no part of a longer word.
fn whole(text: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let edge = |c| if is_word(c) { r"\b" } else { "" };
    format!("{}{}{}", edge(text.chars().next()), regex::escape(text), edge(text.chars().next_back()))
}

impl Names {
    fn word(&mut self, kind: &'static str, name: &str) -> String {
        if let Some(word) = self.words.get(name) {
            return word.clone();
        }
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        let word = format!("{kind}-{count}");
        self.words.insert(name.to_owned(), word.clone());
        word
    }

    fn apply(&mut self, text: &str) -> String {
        let (path, address, known) = (self.path.clone(), self.address.clone(), self.known.clone());
        let text = path.replace_all(text, |found: &Captures<'_>| {
            let found = &found[0];
            // Routes are no secret.
            if found.starts_with("/api/") {
                found.to_owned()
            } else {
                format!("/{}", self.word("path", found))
            }
        });
        let text = address.replace_all(&text, |found: &Captures<'_>| self.word("ip", &found[0]));
        let Some(known) = known else { return text.into_owned() };
        let named = known.replace_all(&text, |found: &Captures<'_>| {
            // A field that is called as somebody's VM is still that field.
            let is_field = found.get(0).is_some_and(|found| text[found.end()..].starts_with("\":"));
            match self.words.get(&found[0]) {
                Some(word) if !is_field => word.clone(),
                _ => found[0].to_owned(),
            }
        });
        named.into_owned()
    }
}

/// Writes the texts as a `tar.gz` that only its owner may read, in a folder called `folder`. Nothing is overwritten.
///
/// # Errors
/// Where the file is there already, or can't be written; nothing is left behind then.
pub fn write(path: &Path, folder: &str, texts: &[(String, String)], now: jiff::Timestamp) -> io::Result<u64> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = (|| {
        let mut archive = tar::Builder::new(GzEncoder::new(&file, Compression::default()));
        for (name, text) in texts {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o600);
            header.set_size(text.len() as u64);
            header.set_mtime(u64::try_from(now.as_second()).unwrap_or(0));
            archive.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())?;
        }
        archive.into_inner()?.finish()?.flush()?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    })();
    if written.is_err() {
        drop(std::fs::remove_file(path));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_credential_does_not_pass() {
        let token = format!("sendense_{}", "0a".repeat(32));
        let mut redaction = Redaction::new();
        for text in [
            format!("token {token} was used"),
            "mysql://hub:hunter2@db.example/sendense".to_owned(),
            r#"{"password": "hunter2", "user": "x"}"#.to_owned(),
            r#"{"password":"hun\"ter2"}"#.to_owned(),
            "catalog_password = hunter2".to_owned(),
            "SENDENSE_TOKEN=hunter2 was set".to_owned(),
            "Authorization: Bearer hunter2".to_owned(),
            "Authorization: Basic aHVudGVyMg==".to_owned(),
            r#"{"nbd_targets_string": "2000:nbd://h:10100/hunter2"}"#.to_owned(),
        ] {
            let redacted = redaction.apply(&text);
            for secret in ["hunter2", "ter2", "aHVudGVyMg", &token] {
                assert!(!redacted.contains(secret), "{text} became {redacted}");
            }
        }
        for text in [
            r#"{"status": "healthy", "uptime_seconds": 12}"#,
            "file:///vm/web.raw and https://hub.example:8082/api/v1/health",
            "tls.key = \"/etc/ssl/hub.key\"",
            r#"{"vm_name": "web", "error_code": "source_unreachable"}"#,
        ] {
            assert_eq!(redaction.apply(text), text);
        }
        let json = redaction.apply(r#"{"password": "a", "list": [{"token": "b"}], "n": 1}"#);
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
    }

    #[test]
    fn a_name_is_the_same_word_everywhere() {
        let mut redaction = Redaction::anonymous([("vm", "web"), ("vm", "web-2"), ("repository", "vault")]);
        let first = redaction.apply("backup-web-20261004-021500 of web in vault, web-2 at /srv/a/b.qcow2");
        assert_eq!(first, "backup-vm-2-20261004-021500 of vm-2 in repository-1, vm-1 at /path-1");
        assert_eq!(redaction.apply("/srv/a/b.qcow2 from 192.0.2.7"), "/path-1 from ip-1");
        assert_eq!(redaction.apply(r#"{"web": "web"}"#), r#"{"web": "vm-2"}"#);
        let mut odd = Redaction::anonymous([("vm", "#7 crm"), ("vm", "web (old)"), ("vm", "db ü\"x")]);
        let told = odd.apply(
            r##"backup-#7 crm-20261004-021500, {"vm_name": "db ü\"x"}, of web (old), GET /api/v1/vms/web%20%28old%29"##,
        );
        let plain = r#"backup-vm-3-20261004-021500, {"vm_name": "vm-2"}, of vm-1, GET /api/v1/vms/vm-1"#;
        assert_eq!(told, plain);
        assert_eq!(redaction.apply("GET /api/v1/backups/{id} webhook"), "GET /api/v1/backups/{id} webhook");
    }
}
