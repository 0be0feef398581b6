//! The hubs that a user knows: `hubs.toml` in the user's configuration folder.
//!
//! A profile says where a hub is, how its certificate is told, and as whom the user is logged in; the token is kept
//! elsewhere ([`tokens`](crate::tokens)). The file is replaced whole, and is for its owner only.

use crate::failure::{Failure, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const FILE: &str = "hubs.toml";
/// More than this was not written by this program.
const MAX_FILE: u64 = 1 << 20;

/// All profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profiles {
    /// The one in use; none: the local hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// By name.
    #[serde(default)]
    pub hubs: BTreeMap<String, Profile>,
}

/// A hub that a user knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Where it is.
    pub url: String,
    /// As whom the user is logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Who has signed its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl Profile {
    /// A profile that knows no more than where the hub is.
    pub fn new(url: &str) -> Self {
        Profile { url: url.to_owned(), user: None, expires_at: None, fingerprint: None, ca: None }
    }
}

impl Profiles {
    /// Reads them; none where there is no file.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn load() -> Result<Self> {
        let Some(folder) = folder() else { return Ok(Profiles::default()) };
        let path = folder.join(FILE);
        let Some(text) = read(&path)? else { return Ok(Profiles::default()) };
        toml::from_str(&text).map_err(|error| {
            Failure::usage(format!("{} can't be understood", path.display()))
                .why(error.message().to_owned())
                .next("put it right, or remove it and log in again: sendense-ctl hub login URL")
        })
    }

    /// Writes them.
    ///
    /// # Errors
    /// Where that can't be done.
    pub fn save(&self) -> Result<()> {
        let text = toml::to_string_pretty(self)
            .map_err(|error| Failure::local("the known hubs can't be written", &error))?;
        write(FILE, &text)
    }
}

/// Whether a name can be that of a profile: it must not look like an address, and has no meaning already.
pub fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (1..=64).contains(&name.len()) && name.chars().all(plain) && !matches!(name, "local" | "embedded")
}

/// The user's configuration folder of this program.
pub(crate) fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(base.join("sendense"))
}

/// A file of that folder; `None` where it is not there, or lies in the home of another user, as after `sudo -u`.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    let found = std::fs::metadata(path);
    if let Err(error) = &found
        && matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
    {
        return Ok(None);
    }
    let text = found.and_then(|found| match found.len() {
        0..=MAX_FILE => std::fs::read_to_string(path),
        _ => Err(io::Error::other("it is too large")),
    });
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(Failure::local(format!("{} can't be read", path.display()), &error)),
    }
}

/// Replaces a file of that folder, for its owner only.
pub(crate) fn write(name: &str, text: &str) -> Result<()> {
    let folder = folder().ok_or_else(|| {
        Failure::usage("there is no place for the known hubs: HOME is not set")
            .next("set HOME or XDG_CONFIG_HOME")
    })?;
    let path = folder.join(name);
    replace(&folder, &path, text)
        .map_err(|error| Failure::local(format!("{} can't be written", path.display()), &error))
}

fn replace(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
    if renamed.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_addresses_and_no_words_with_a_meaning() {
        for (name, fits) in [
            ("prod", true),
            ("hub-2_b", true),
            ("", false),
            ("a.b", false),
            ("local", false),
            ("embedded", false),
            ("a:1", false),
        ] {
            assert_eq!(is_name(name), fits, "{name}");
        }
    }

    #[test]
    fn what_is_written_is_read_and_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x").join(FILE);
        let mut profiles = Profiles { current: Some("prod".into()), ..Profiles::default() };
        let profile =
            Profile { fingerprint: Some("sha256:00".into()), ..Profile::new("https://hub.example:8082") };
        profiles.hubs.insert("prod".into(), profile);
        let text = toml::to_string_pretty(&profiles).unwrap();
        replace(path.parent().unwrap(), &path, &text).unwrap();
        replace(path.parent().unwrap(), &path, &text).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(toml::from_str::<Profiles>(&read(&path).unwrap().unwrap()).unwrap(), profiles);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
    }
}
