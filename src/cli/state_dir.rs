//! The folder of the local hub: its catalog and the default repository.

use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};

/// Root's folder.
const SYSTEM: &str = "/var/lib/sendense";

/// The folder where nothing is said: root's is the system's, a user's lies in the XDG state folder.
///
/// # Errors
/// Where a user has no home.
pub fn usual() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    choose(rustix::process::geteuid().is_root(), variable("XDG_STATE_HOME"), variable("HOME")).ok_or_else(
        || {
            Failure::usage("there is no place for the catalog: HOME is not set")
                .next("say where with --state-dir DIR or SENDENSE_HOME")
        },
    )
}

fn choose(root: bool, xdg_state: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    if root {
        return Some(SYSTEM.into());
    }
    xdg_state.or_else(|| Some(home?.join(".local/state"))).map(|folder| folder.join("sendense"))
}

/// `folder` from the root on: what is written into the catalog must not depend on where a command ran.
///
/// # Errors
/// Where the current folder is gone.
pub fn absolute(folder: &Path) -> Result<PathBuf> {
    std::path::absolute(folder)
        .map_err(|error| Failure::local(format!("{} can't be found", folder.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_the_systems_folder_and_a_user_an_own_one() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(choose(true, path("/x"), path("/root")), path("/var/lib/sendense"));
        assert_eq!(choose(false, path("/x"), path("/home/a")), path("/x/sendense"));
        assert_eq!(choose(false, None, path("/home/a")), path("/home/a/.local/state/sendense"));
        assert_eq!(choose(false, None, None), None);
    }
}
