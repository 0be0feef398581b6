//! Where a local repository may be: a folder of its own.
//!
//! A repository in another one, or in the hub's own folder, would have its files among those that somebody else takes for
//! theirs; one in a folder of the system mixes VMs' names with the system's.

use crate::{Error, Result};
use model::Repository;
use std::path::{Path, PathBuf};

/// Folders of the system: they and what is in them.
const SYSTEM: [&str; 10] =
    ["/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr"];
/// The default repository's folder, in the state folder.
const DEFAULT: &str = "repository";

/// Whether a new repository may be at `path`. Blocks.
///
/// # Errors
/// [`Error::Invalid`], [`Error::Conflict`] with why not.
pub(super) fn check(path: &Path, state_dir: &Path, known: &[Repository]) -> Result<()> {
    let shown = path.display();
    let Some(place) = real(path) else {
        return Err(Error::invalid("config.disk_path", format!("{shown}: name it without '..'")));
    };
    let of_system = place.parent().is_none() || SYSTEM.iter().any(|folder| place.starts_with(folder));
    if of_system || place == Path::new("/dev") {
        let reason = format!("{shown} is the system's: name a folder of its own for the repository");
        return Err(Error::invalid("config.disk_path", reason));
    }
    let state = real(state_dir).unwrap_or_else(|| state_dir.to_owned());
    if state.starts_with(&place) || place.starts_with(&state) && place != state.join(DEFAULT) {
        let reason = format!("{shown} and the hub's own folder, {}, lie in one another", state_dir.display());
        return Err(Error::invalid("config.disk_path", reason));
    }
    for other in known {
        let root = PathBuf::from(&other.path);
        let root = real(&root).unwrap_or(root);
        if place != root && (place.starts_with(&root) || root.starts_with(&place)) {
            return Err(Error::Conflict {
                message: format!("{shown} and repository {}, {}, lie in one another", other.name, other.path),
                hint: "name a folder beside it".into(),
            });
        }
    }
    Ok(())
}

/// The path without links and dots; `None` where it leads back out of what is not there.
fn real(path: &Path) -> Option<PathBuf> {
    let mut missing = Vec::new();
    for there in path.ancestors() {
        if let Ok(found) = there.canonicalize() {
            return Some(missing.iter().rev().fold(found, |path, part| path.join(part)));
        }
        missing.push(there.file_name()?);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::repository;

    #[test]
    fn a_repository_has_a_folder_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("state/repository")).unwrap();
        std::fs::create_dir_all(at("nas/backups")).unwrap();
        std::os::unix::fs::symlink(at("nas"), at("link")).unwrap();
        let known = [repository(&at("nas/backups"))];
        let check = |path: &Path| check(path, &at("state"), &known);
        for fits in ["new", "new/deeper", "nas/other", "nas/backups", "state/repository", "statehouse"] {
            assert!(check(&at(fits)).is_ok(), "{fits}");
        }
        let system = ["/", "/etc", "/etc/backups", "/usr/../etc", "/dev", "/proc/self/root"];
        let nested = ["nas", "nas/backups/x", "link/backups/x", "nas/other/../backups/new", "link"];
        let hubs = ["state", "state/x", "state/repository/x", ".", "nas/../state/y"];
        let inside = nested.iter().chain(&hubs).map(|name| at(name));
        for wrong in system.iter().map(PathBuf::from).chain(inside) {
            assert!(check(&wrong).is_err(), "{}", wrong.display());
        }
    }
}
