//! The claim on a state folder: one service at a time.
//!
//! It is a lock (flock) on `hub.lock`, which the kernel lets go of with the process, however that ends; the file's
//! content only says who holds it. The file stays: removing it would let two processes lock two files of one name.

use crate::{Error, Result};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The socket of a state folder's service, in that folder.
pub const SOCKET_NAME: &str = "hub.sock";
const LOCK_NAME: &str = "hub.lock";
/// More than this was not written by a service.
const MAX_NOTE: u64 = 4096;

/// Who serves a state folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Since when.
    pub since: Timestamp,
    /// The program's version.
    pub version: String,
}

impl Holder {
    fn this() -> Self {
        Holder {
            pid: std::process::id(),
            since: Timestamp::now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pid == 0 {
            return f.write_str("a process that has not said its name yet");
        }
        write!(
            f,
            "process {}, version {}, since {}",
            self.pid,
            self.version,
            self.since.strftime("%F %T UTC")
        )
    }
}

/// Held as long as it lives.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Locked.
    _file: File,
}

impl Claim {
    /// Claims a folder, which exists.
    ///
    /// # Errors
    /// [`Error::Served`] where another process has; where the folder can't be written to.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK_NAME);
        let failed = |error: std::io::Error| Error::io(format!("{} can't be used", path.display()), error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(errno.into()));
            }
            let mut note = String::new();
            drop((&mut file).take(MAX_NOTE).read_to_string(&mut note));
            let unnamed = Holder { pid: 0, since: Timestamp::UNIX_EPOCH, version: String::new() };
            let holder = serde_json::from_str(&note).unwrap_or(unnamed);
            return Err(Error::Served { folder: folder.to_owned(), holder });
        }
        let note = serde_json::to_vec(&Holder::this()).unwrap_or_default();
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&note)).map_err(failed)?;
        Ok(Claim { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_claimed_once_and_again_when_the_claim_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = Claim::take(folder.path()).unwrap();
        match Claim::take(folder.path()) {
            Err(Error::Served { holder, .. }) => assert_eq!(holder.pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(first);
        std::fs::write(folder.path().join(LOCK_NAME), "{\"pid\": what").unwrap();
        let second = Claim::take(folder.path()).unwrap();
        drop(second);
    }
}
