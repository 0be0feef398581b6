//! The tokens of the hubs that a user is logged in to: `tokens.toml`, for its owner only, beside the profiles.
//!
//! A file that others may read is not used: its tokens are known then.

use crate::failure::{Failure, Result};
use crate::profiles::{folder, read, write};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

const FILE: &str = "tokens.toml";

/// The token of a profile.
///
/// # Errors
/// A file that can't be read, or that others can.
pub fn load(name: &str) -> Result<Option<Secret>> {
    Ok(all()?.remove(name).map(Secret::new))
}

/// Keeps a profile's token.
///
/// # Errors
/// Where that can't be done.
pub fn store(name: &str, token: &Secret) -> Result<()> {
    let mut tokens = all()?;
    tokens.insert(name.to_owned(), token.expose().to_owned());
    save(&tokens)
}

/// Forgets a profile's token.
///
/// # Errors
/// Where that can't be done.
pub fn remove(name: &str) -> Result<()> {
    let mut tokens = all()?;
    if tokens.remove(name).is_some() { save(&tokens) } else { Ok(()) }
}

fn all() -> Result<BTreeMap<String, String>> {
    let Some(path) = folder().map(|folder| folder.join(FILE)) else { return Ok(BTreeMap::new()) };
    let Some(text) = read(&path)? else { return Ok(BTreeMap::new()) };
    let mode = path.metadata().map(|found| found.permissions().mode()).unwrap_or(0);
    if mode & 0o077 != 0 {
        return Err(Failure::new(crate::Exit::Denied, "permission_denied", "the tokens can't be used")
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
