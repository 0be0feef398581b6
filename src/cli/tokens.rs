//! The tokens of the hubs that a user is logged in to: in the keyring of the user's session (Secret Service: GNOME
//! Keyring, KWallet), or in `tokens.toml` beside the profiles, for its owner only.
//!
//! The file knows all of them; of one that is in the keyring it says just that. A file that others may read is not used:
//! its tokens are known then.

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::profiles::{folder, read, write};
use crate::secret::Secret;
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

const FILE: &str = "tokens.toml";
/// Stands in the file for a token that is in the keyring. No token is this word.
const IN_KEYRING: &str = "keyring";
/// By what the keyring finds our entries.
const SERVICE: &str = "sendense-ctl";
/// How long the keyring may take: its user may have to unlock it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a token is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Keeper {
    /// In the keyring where the session has one, else in the file
    Auto,
    /// In the keyring of the session
    Keyring,
    /// In a file for its owner only, as cron needs it
    File,
}

/// The token of a profile.
///
/// # Errors
/// A file that can't be read, or that others can; a keyring that does not give it.
pub fn load(name: &str) -> Result<Option<Secret>> {
    match all()?.remove(name) {
        Some(word) if word == IN_KEYRING => {
            let of = name.to_owned();
            let found = in_keyring(move || match entry(&of)?.get_password() {
                Ok(token) => Ok(Some(token)),
                Err(keyring::Error::NoEntry) => Ok(None),
                Err(error) => Err(error.to_string()),
            });
            found.map(|token| token.map(Secret::new)).map_err(|why| {
                Failure::new(Exit::Denied, "permission_denied", format!("the token of {name} can't be had"))
                    .why(why)
                    .next("log in again with --keep file, or set SENDENSE_TOKEN")
            })
        }
        token => Ok(token.map(Secret::new)),
    }
}

/// Whether there is a token of a profile, wherever it is kept. Asks no keyring.
///
/// # Errors
/// A file that can't be read, or that others can.
pub fn is_there(name: &str) -> Result<bool> {
    Ok(all()?.contains_key(name))
}

/// Keeps a profile's token, and says where.
///
/// # Errors
/// Where that can't be done.
pub fn store(name: &str, token: &Secret, keeper: Keeper) -> Result<Keeper> {
    let (of, secret) = (name.to_owned(), token.clone());
    let kept = match keeper {
        Keeper::File => Err(String::new()),
        Keeper::Auto | Keeper::Keyring => {
            in_keyring(move || entry(&of)?.set_password(secret.expose()).map_err(|error| error.to_string()))
        }
    };
    if let (Keeper::Keyring, Err(why)) = (keeper, &kept) {
        return Err(Failure::new(Exit::Denied, "permission_denied", "the keyring does not take the token")
            .why(why.clone())
            .next("unlock it, or keep the token in a file: --keep file"));
    }
    let mut tokens = all()?;
    let word = if kept.is_ok() { IN_KEYRING } else { token.expose() };
    let before = tokens.insert(name.to_owned(), word.to_owned());
    save(&tokens)?;
    if kept.is_err() && before.as_deref() == Some(IN_KEYRING) {
        forget(name);
    }
    Ok(if kept.is_ok() { Keeper::Keyring } else { Keeper::File })
}

/// Where a profile's token is kept now; where a new one would be if there is none.
///
/// # Errors
/// A file that can't be read, or that others can.
pub fn keeper(name: &str) -> Result<Keeper> {
    Ok(match all()?.get(name).map(String::as_str) {
        Some(IN_KEYRING) => Keeper::Keyring,
        Some(_) => Keeper::File,
        None => Keeper::Auto,
    })
}

/// Forgets a profile's token.
///
/// # Errors
/// Where that can't be done.
pub fn remove(name: &str) -> Result<()> {
    let mut tokens = all()?;
    let Some(word) = tokens.remove(name) else { return Ok(()) };
    save(&tokens)?;
    if word == IN_KEYRING {
        forget(name);
    }
    Ok(())
}

/// Takes a token out of the keyring. One that stays there has been revoked, or is of no more use to this program.
fn forget(name: &str) {
    let of = name.to_owned();
    let forgotten = in_keyring(move || match entry(&of)?.delete_credential() {
        Ok(()) | Err(keyring::Error::NoEntry) => Ok(()),
        Err(error) => Err(error.to_string()),
    });
    if let Err(error) = forgotten {
        tracing::warn!(name, error, "the keyring keeps the token");
    }
}

fn entry(name: &str) -> std::result::Result<keyring::Entry, String> {
    keyring::Entry::new(SERVICE, name).map_err(|error| match keyring::Entry::store_status() {
        Err(status) => status.to_string(),
        Ok(()) => error.to_string(),
    })
}

/// Asks the keyring something, on a thread of its own: it may wait for its user, and must not for ever.
fn in_keyring<T: Send + 'static>(
    ask: impl FnOnce() -> std::result::Result<T, String> + Send + 'static,
) -> std::result::Result<T, String> {
    if !has_session_bus() {
        return Err("this session has no keyring: there is no D-Bus".to_owned());
    }
    let (answer, answered) = mpsc::channel();
    std::thread::spawn(move || answer.send(ask()));
    answered
        .recv_timeout(PATIENCE)
        .unwrap_or_else(|_| Err(format!("the keyring has not answered for {} s", PATIENCE.as_secs())))
}

fn has_session_bus() -> bool {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    variable("DBUS_SESSION_BUS_ADDRESS").is_some()
        || variable("XDG_RUNTIME_DIR").is_some_and(|folder| Path::new(&folder).join("bus").exists())
}

fn all() -> Result<BTreeMap<String, String>> {
    let Some(path) = folder().map(|folder| folder.join(FILE)) else { return Ok(BTreeMap::new()) };
    let Some(text) = read(&path)? else { return Ok(BTreeMap::new()) };
    let mode = path.metadata().map(|found| found.permissions().mode()).unwrap_or(0);
    if mode & 0o077 != 0 {
        return Err(Failure::new(Exit::Denied, "permission_denied", "the tokens can't be used")
            .why(format!("others may read {}", path.display()))
            .next(format!("chmod 600 {}; then log in again, if somebody else has read it", path.display())));
    }
    // A message of the parser would quote the line, and with it the token.
    toml::from_str(&text).map_err(|_| {
        Failure::usage(format!("{} can't be understood", path.display()))
            .next("remove it and log in again: sendense-ctl hub login URL")
    })
}

fn save(tokens: &BTreeMap<String, String>) -> Result<()> {
    let text =
        toml::to_string(tokens).map_err(|_| Failure::usage("a token can't be written: it is no text"))?;
    write(FILE, &text)
}
