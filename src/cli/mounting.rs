//! Mounts and what else stays open: staying until it ends, naming it on the command line.

use crate::connect::Connection;
use crate::exit::Exit;
use crate::failure::Result;
use crate::interrupt::{Interrupts, Wish};
use api::{ErrorCode, Mount, UnmountQuery};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

/// How often is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(300);
/// How much of an id is shown: what begins so is one in four billion.
const SHORT: usize = 8;

/// Stays until the mount has ended (unmounted, or closed because nobody used it), or a signal wants it to. Then it is ended,
/// also where somebody uses it: that was asked for.
///
/// # Errors
/// Where the hub can't be asked.
pub async fn stay(hub: &Connection, interrupts: &mut Interrupts, id: &str) -> Result<Exit> {
    loop {
        tokio::select! {
            wish = interrupts.next() => match wish {
                Wish::Stop(_) => break,
                Wish::Status => {}
            },
            () = tokio::time::sleep(LOOK) => match hub.client().mounted(id).await {
                // What somebody has open ends with this process.
                Ok(mount) if mount.status == "ending" && is_ours(&mount) => return Ok(Exit::Done),
                Ok(_) => {}
                Err(error) if error.code() == ErrorCode::MountNotFound => return Ok(Exit::Done),
                Err(error) => return Err(error.into()),
            },
        }
    }
    let force = UnmountQuery { force: Some(true), ..UnmountQuery::default() };
    match hub.client().unmount_as(id, force).await {
        Ok(_) => Ok(Exit::Done),
        Err(error) if error.code() == ErrorCode::MountNotFound => Ok(Exit::Done),
        Err(error) => Err(error.into()),
    }
}

/// Whether this very process serves it.
pub fn is_ours(mount: &Mount) -> bool {
    mount.pid == std::process::id() && mount.host == rustix::system::uname().nodename().to_string_lossy()
}

/// Enough of an id to type; a path is one only as a whole.
pub fn short_id(id: &str) -> &str {
    if id.contains('/') {
        return id;
    }
    let end = id.find('-').map_or(0, |dash| dash + 1) + SHORT;
    id.get(..end).unwrap_or(id)
}

/// A word that names a mount, as the hub knows it: an id, or the absolute path without links of a folder.
pub fn named(word: &OsStr) -> String {
    let text = word.to_string_lossy();
    let looks_like_path = text.contains('/') || text == "." || text == ".." || Path::new(word).is_dir();
    if !looks_like_path {
        return text.into_owned();
    }
    let absolute = std::path::absolute(word).unwrap_or_else(|_| Path::new(word).to_owned());
    // The folder itself may be a mount whose process is gone, which can't be looked at; the one above it can.
    let (parent, name) = (absolute.parent(), absolute.file_name());
    let real = match (parent.and_then(|parent| parent.canonicalize().ok()), name) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => absolute,
    };
    real.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_enough_to_type_and_a_path_is_made_absolute() {
        assert_eq!(short_id("mount-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"), "mount-0a1b2c3d");
        assert_eq!(short_id("export-0a1b2c3d-4e5f"), "export-0a1b2c3d");
        assert_eq!(short_id("odd"), "odd");
        assert_eq!(named(OsStr::new("mount-0a1b")), "mount-0a1b");
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        assert_eq!(named(folder.path().join("x/").as_os_str()), real.join("x").to_str().unwrap());
        assert!(Path::new(&named(OsStr::new("./x"))).is_absolute());
    }
}
