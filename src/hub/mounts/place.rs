//! The folder that something is mounted at.

use crate::{Error, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// An empty folder, ready to be mounted at.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Without links and `..`: as the kernel's table of mounts has it.
    pub(super) path: PathBuf,
    /// Whether it was made for the mount, and goes with it.
    pub(super) made: bool,
}

impl Place {
    /// Looks at the folder, or makes it where it is missing and its parent is not. Blocks.
    ///
    /// # Errors
    /// Where it is no folder, is not empty, or can't be made.
    pub(super) fn prepare(wanted: &str) -> Result<Place> {
        let path = Path::new(wanted);
        if !path.is_absolute() {
            return Err(Error::invalid("path", format!("{wanted} is no absolute path")));
        }
        let failed = |error: std::io::Error| Error::Target {
            target: wanted.to_owned(),
            reason: error.to_string(),
            permission: error.kind() == ErrorKind::PermissionDenied,
        };
        let made = match fs::read_dir(path) {
            Ok(mut entries) => match entries.next() {
                None => false,
                Some(_) => {
                    return Err(Error::Conflict {
                        message: format!("the folder {wanted} is not empty"),
                        hint: "choose an empty folder, or one that does not exist yet: it is made, and removed afterwards"
                            .into(),
                    });
                }
            },
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir(path).map_err(|error| match error.kind() {
                    ErrorKind::NotFound => Error::Target {
                        target: wanted.to_owned(),
                        reason: "the folder above it does not exist".into(),
                        permission: false,
                    },
                    _ => failed(error),
                })?;
                true
            }
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(Error::invalid("path", format!("{wanted} is no folder")));
            }
            Err(error) if mount::is_dead(path) => {
                return Err(Error::Conflict {
                    message: format!("at {wanted} stands a mount whose program is gone ({error})"),
                    hint: format!("`fusermount3 -u {}` removes it", model::shell_word(wanted)),
                });
            }
            Err(error) => return Err(failed(error)),
        };
        let path = path.canonicalize().map_err(failed)?;
        if path.to_str().is_none() {
            return Err(Error::invalid("path", "the path has to be UTF-8"));
        }
        Ok(Place { path, made })
    }

    /// As text, which it is by its making.
    pub(super) fn text(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Removes the folder, if it was made for the mount. Blocks for a moment.
    pub(super) fn remove(&self) {
        if self.made
            && let Err(error) = fs::remove_dir(&self.path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "the folder of a mount can't be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_made_or_refused_and_only_one_that_was_made_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(at("empty")).unwrap();
        let empty = Place::prepare(&at("empty")).unwrap();
        assert!(!empty.made);
        empty.remove();
        assert!(Path::new(&at("empty")).is_dir());

        let new = Place::prepare(&at("new")).unwrap();
        assert!(new.made && new.path.is_dir());
        fs::write(at("file"), "").unwrap();
        assert!(matches!(Place::prepare(folder.path().to_str().unwrap()), Err(Error::Conflict { .. })));
        assert!(matches!(Place::prepare(&at("file")), Err(Error::Invalid { .. })));
        assert!(matches!(Place::prepare(&at("none/below")), Err(Error::Target { .. })));
        assert!(matches!(Place::prepare("relative"), Err(Error::Invalid { .. })));
        new.remove();
        assert!(!new.path.exists());
        new.remove();
    }
}
