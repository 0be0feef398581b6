//! Where an export listens: a private Unix socket, one that the caller has named, or TCP.
//!
//! Private sockets lie in `exports/<id>/` of the state folder, each in a folder of its own that only this user can
//! enter. Where that path is too long for a socket, the folder is a temporary one.

use crate::{Error, Result};
use api::ExportBackup;
use nbd::server::{Listen, ServerTls};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// The folder of private sockets, in the state folder.
const FOLDER: &str = "exports";
/// A private socket's name in its own folder.
const SOCKET: &str = "nbd.sock";
/// The longest path of a socket, bytes (unix(7)).
const LONGEST: usize = 107;

/// Where to listen, and how.
pub(super) struct Place {
    pub(super) listen: Listen,
    pub(super) tls: Option<ServerTls>,
    /// The folder that is made for it, and goes with it.
    pub(super) folder: Option<PathBuf>,
}

impl Place {
    /// The place that a request asks for. Reads certificates, and makes nothing.
    ///
    /// # Errors
    /// Which field of the request can't be meant.
    pub(super) fn of(request: &ExportBackup, id: &str, state_dir: &Path) -> Result<Place> {
        let tls = match (&request.tls_certificates, request.tls_verify_peer) {
            (Some(folder), verify) => {
                let loaded = ServerTls::load(Path::new(folder), verify);
                Some(loaded.map_err(|error| Error::invalid("tls_certificates", error))?)
            }
            (None, true) => {
                let reason = "clients' certificates are asked for inside TLS only: name tls_certificates";
                return Err(Error::invalid("tls_verify_peer", reason));
            }
            (None, false) => None,
        };
        match (&request.socket, &request.listen) {
            (Some(_), Some(_)) => Err(Error::invalid("listen", "either a socket or an address, not both")),
            (None, None) => {
                let folder = private(state_dir, id);
                Ok(Place { listen: Listen::Unix(folder.join(SOCKET)), tls, folder: Some(folder) })
            }
            (Some(path), None) => {
                let path = PathBuf::from(path);
                if !path.is_absolute() {
                    return Err(Error::invalid("socket", "name the socket by an absolute path"));
                }
                if path.as_os_str().len() > LONGEST {
                    let reason = format!("a socket's path has at most {LONGEST} bytes: use a shorter one");
                    return Err(Error::invalid("socket", reason));
                }
                Ok(Place { listen: Listen::Unix(path), tls, folder: None })
            }
            (None, Some(address)) => {
                let address = address_of(address, tls.is_some() || request.allow_plaintext)?;
                Ok(Place { listen: Listen::Tcp(address), tls, folder: None })
            }
        }
    }

    /// The socket, if it is one.
    pub(super) fn socket(&self) -> Option<String> {
        match &self.listen {
            Listen::Unix(path) => Some(path.to_string_lossy().into_owned()),
            Listen::Tcp(_) => None,
        }
    }

    /// Makes the folder of a private socket. Blocks.
    ///
    /// # Errors
    /// Where it can't be made, or is there already.
    pub(super) fn make(&self) -> Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let made = folder
            .parent()
            .map_or(Ok(()), |parent| fs::DirBuilder::new().recursive(true).mode(0o700).create(parent));
        // The last folder must be new: nobody else has put anything there.
        made.and_then(|()| fs::DirBuilder::new().mode(0o700).create(folder)).map_err(|error| Error::Target {
            target: folder.display().to_string(),
            permission: error.kind() == io::ErrorKind::PermissionDenied,
            reason: error.to_string(),
        })
    }

    /// Removes that folder, in which nothing is left when its server has ended. Blocks.
    pub(super) fn remove(&self) {
        if let Some(folder) = &self.folder
            && let Err(error) = fs::remove_dir(folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, folder = %folder.display(), "the folder of a socket can't be removed");
        }
    }
}

/// An address to listen on; off the machine only where that is `safe`.
fn address_of(text: &str, safe: bool) -> Result<SocketAddr> {
    let address: SocketAddr = text.parse().map_err(|_| {
        let reason = format!("{text:?} is no IP address with a port: write 127.0.0.1:10809 or [::1]:10809");
        Error::invalid("listen", reason)
    })?;
    if !safe && !address.ip().is_loopback() {
        let reason = format!(
            "without TLS everybody who reaches {} could read the disks: give certificates, or allow plain text",
            address.ip()
        );
        return Err(Error::invalid("listen", reason));
    }
    Ok(address)
}

fn private(state_dir: &Path, id: &str) -> PathBuf {
    // The first characters of a UUID tell the exports of a machine apart; a socket's path must be short.
    let short: String = id.trim_start_matches("export-").chars().filter(|c| *c != '-').take(12).collect();
    let usual = state_dir.join(FOLDER).join(&short);
    match usual.join(SOCKET).as_os_str().len() {
        0..=LONGEST => usual,
        _ => std::env::temp_dir().join(format!("sendense-{short}")),
    }
}

/// Removes the socket of a process that is gone, unless somebody else listens there by now. Blocks.
pub(crate) fn remove_dead(socket: &Path) {
    let dead =
        UnixStream::connect(socket).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if dead && let Err(error) = fs::remove_file(socket) {
        tracing::warn!(%error, socket = %socket.display(), "a dead process's socket can't be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    #[test]
    fn plain_text_leaves_the_machine_only_where_somebody_says_so() {
        for local in ["127.0.0.1:0", "[::1]:10809", "127.8.0.1:1"] {
            assert!(address_of(local, false).is_ok(), "{local}");
        }
        for open in ["0.0.0.0:10809", "[::]:1", "192.0.2.1:10809"] {
            let refused = address_of(open, false).unwrap_err().to_string();
            assert!(refused.contains("without TLS"), "{refused}");
            assert!(address_of(open, true).is_ok());
        }
        for bad in ["localhost:10809", "10809", "127.0.0.1", ""] {
            assert!(address_of(bad, true).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_private_folder_is_its_owners_and_dead_sockets_are_removed() {
        let state = tempfile::tempdir().unwrap();
        let request = ExportBackup::of(model::BackupId::new("backup-a-20251006-120000").unwrap());
        let place = Place::of(&request, "export-01234567-89ab-cdef-0123-456789abcdef", state.path()).unwrap();
        let socket = PathBuf::from(place.socket().unwrap());
        assert_eq!(socket, state.path().join("exports/0123456789ab/nbd.sock"));
        place.make().unwrap();
        assert!(place.make().is_err(), "a folder of somebody else's is taken");
        let mode = fs::metadata(socket.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let listener = UnixListener::bind(&socket).unwrap();
        remove_dead(&socket);
        assert!(socket.exists(), "somebody listens there");
        drop(listener);
        remove_dead(&socket);
        assert!(!socket.exists());
        place.remove();
        assert!(!socket.parent().unwrap().exists());

        let deep = Path::new("/a").join("long/".repeat(30));
        let short = Place::of(&request, "export-0123", &deep).unwrap().socket().unwrap();
        assert!(short.len() <= LONGEST, "{short}");
    }
}
