//! Ids and names as types of their own, validated once where they come in.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The longest VM name, in bytes: it is a folder's name and part of backup ids.
pub const MAX_VM_NAME: usize = 128;

/// Why a text can't be an id or a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {shown:?} {reason}")]
pub struct IdError {
    what: &'static str,
    shown: String,
    reason: String,
}

impl IdError {
    fn new(what: &'static str, text: &str, reason: impl Into<String>) -> Self {
        let mut shown: String = text.chars().take(40).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        IdError { what, shown, reason: reason.into() }
    }
}

/// Rules that keep a text safe as one path component, one URL segment and one table cell.
fn check(what: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    let refuse = |reason: &str| Err(IdError::new(what, text, reason));
    if text.is_empty() {
        return refuse("is empty");
    }
    if text.len() > max {
        return Err(IdError::new(
            what,
            text,
            format!("is {} bytes long, at most {max} are allowed", text.len()),
        ));
    }
    if text == "." || text == ".." || text.starts_with('.') {
        return refuse("begins with a dot");
    }
    if text.starts_with('-') {
        return refuse("begins with a dash");
    }
    if let Some(c) = text.chars().find(|c| matches!(c, '/' | '\\' | '@' | '~' | '\u{0}') || c.is_control()) {
        return Err(IdError::new(what, text, format!("contains {c:?}, which is not allowed")));
    }
    // They turn what is written around them on a screen: one name could pass for another.
    if let Some(c) = text.chars().find(|c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')) {
        return Err(IdError::new(what, text, format!("contains {c:?}, which is not allowed")));
    }
    if text.trim() != text {
        return refuse("begins or ends with white space");
    }
    Ok(())
}

/// A user is one word in logs and on command lines, and two users never differ by the case of a letter only.
fn check_user_name(what: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        return Err(IdError::new(what, text, format!("has from 1 to {max} characters")));
    }
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(plain) {
        let rule =
            "has small letters, digits, dots, dashes and underscores, and begins with a letter or digit";
        return Err(IdError::new(what, text, format!("is not allowed: it {rule}")));
    }
    Ok(())
}

/// Words of an address ([`Address`](crate::Address)): a VM of that name could not be told from them.
const RESERVED: [&str; 1] = ["latest"];

fn check_vm_name(what: &'static str, text: &str, max: usize) -> Result<(), IdError> {
    if RESERVED.contains(&text) {
        return Err(IdError::new(what, text, "means the latest backup, so no VM can be called that"));
    }
    check(what, text, max)
}

macro_rules! text_id {
    ($(#[$meta:meta])* $name:ident, $what:literal, $max:expr, $check:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and takes it.
            ///
            /// # Errors
            /// Where the text is empty, too long, or could not be one path component and one URL segment.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                $check($what, &text, $max)?;
                Ok($name(text))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(&self.0) }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> { $name::new(text) }
        }
        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> { $name::new(text) }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String { id.0 }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str { &self.0 }
        }
    };
}

text_id!(
    /// The name of a VM as its administrator knows it: unique within one hub, and a folder of the repository.
    VmName, "VM name", MAX_VM_NAME, check_vm_name
);
text_id!(
    /// The id of a restore point, `backup-{vm}-{YYYYMMDD-HHMMSS}` (see [`PointName`](crate::PointName)).
    BackupId, "backup id", 200, check
);
text_id!(
    /// The id under which the catalog knows a VM, `ctx-{vm}-{YYYYMMDD-HHMMSS}`: it survives renames.
    ContextId, "VM context id", 200, check
);
text_id!(
    /// The id of a repository. Its name is an id of the same form.
    RepositoryId, "repository id", 64, check
);
text_id!(
    /// The id of a job that is not a backup: `{job type}-{uuid}`. A backup's job id is its [`BackupId`].
    JobId, "job id", 200, check
);

text_id!(
    /// The name of somebody who logs in to a hub.
    UserName, "user name", 64, check_user_name
);

impl From<BackupId> for JobId {
    fn from(id: BackupId) -> JobId {
        JobId(id.0)
    }
}

/// A disk's position within its VM, from 0. Its disk key is `2000 + position` and never depends on
/// controller or unit numbers (requirement B4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskIndex(pub u32);

impl DiskIndex {
    /// The VMware-style disk key.
    pub fn key(self) -> u32 {
        2000 + self.0
    }

    /// The folder of this disk below its VM's folder: `disk-{n}`.
    pub fn folder(self) -> String {
        format!("disk-{}", self.0)
    }
}

impl fmt::Display for DiskIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_people_use_are_taken() {
        for name in ["pgtest2", "Web Server 01", "büro-pc", "db_1.example.org", "🐘 postgres", "a"] {
            assert_eq!(VmName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_could_leave_their_folder_or_confuse_an_address_are_refused() {
        let long = "x".repeat(300);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "a\0b",
            "a\nb",
            "-rf",
            ".hidden",
            " a",
            "a ",
            "a@b",
            "a~1",
            "a\u{202e}b",
            "latest",
            &long,
        ] {
            let error = VmName::new(name).unwrap_err().to_string();
            assert!(error.starts_with("VM name"), "{error}");
            assert!(error.len() < 200, "{error}");
        }
    }

    #[test]
    fn a_user_is_a_word_that_no_other_looks_like() {
        for name in ["admin", "j.doe", "cron-2", "0_a"] {
            assert_eq!(UserName::new(name).unwrap().as_str(), name);
        }
        for name in ["", "Admin", "a b", "-a", ".a", "a@b", "ädmin", "a/b", "a\n", &"x".repeat(65)] {
            let error = UserName::new(name).unwrap_err().to_string();
            assert!(error.starts_with("user name"), "{error}");
        }
    }

    #[test]
    fn deserialising_checks_too() {
        assert!(serde_json::from_str::<BackupId>("\"../../etc\"").is_err());
        assert!(serde_json::from_str::<BackupId>("\"backup-a-20251006-120000\"").is_ok());
    }
}
