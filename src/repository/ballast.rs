//! A little room that is given back when nothing else is left.
//!
//! To delete points a record must be written first (`journal`). On a file system that someone else has filled
//! to the last byte that would fail, and the one command that helps would be the one that does not work. So a
//! repository keeps `.sendense/ballast`, 256 KiB of nothing: a change that only removes files gives it up when
//! there is no room for its record, and makes it anew afterwards. That is enough for some 2,500 files at once.
//!
//! It promises nothing else: where it is missing everything works but that.

use crate::gate::Files;
use crate::marker::FOLDER;
use crate::{RelPath, Result};

/// The file's name within `.sendense`.
pub(crate) const NAME: &str = "ballast";
const LENGTH: usize = 256 << 10;

fn path() -> Result<RelPath> {
    RelPath::new(format!("{FOLDER}/{NAME}"))
}

/// Makes it where it is missing. That there is no room for it is no failure.
pub(crate) fn lay(files: &dyn Files) {
    let Ok(path) = path() else { return };
    if files.exists(&path).unwrap_or(true) {
        return;
    }
    // Not zeros: a file system may compress or drop those.
    let mut content = vec![0; LENGTH];
    blake3::Hasher::new().finalize_xof().fill(&mut content);
    if let Err(error) = files.write_new(&path, &content) {
        tracing::debug!(%error, "no ballast is laid");
        // A part of it would be taken for the whole later.
        let _ = files.remove(&path);
    }
}

/// Gives it up; true where there was some.
pub(crate) fn drop_it(files: &dyn Files) -> bool {
    path().is_ok_and(|path| files.remove(&path).is_ok())
}
