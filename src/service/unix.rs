//! Unix sockets: made with their final rights at once, and taken over only where nobody answers.

use crate::{Error, Result};
use rustix::fs::{Mode, chmod, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use tokio::net::UnixListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// Listens at `path`. With `everyone`, any user of the machine may connect (and needs credentials); otherwise only
/// its owner and root.
///
/// # Errors
/// Where somebody answers there already, where something else stands there, or where it can't be made.
pub(crate) fn listen_at(path: &Path, everyone: bool) -> Result<UnixListener> {
    let failed = |reason: String| Error::Listen { address: format!("unix://{}", path.display()), reason };
    let io = |errno: rustix::io::Errno| failed(io::Error::from(errno).to_string());
    let address = SocketAddrUnix::new(path).map_err(|_| {
        failed(
            "the path of a socket has at most 107 bytes; choose a state folder with a shorter one".to_owned(),
        )
    })?;
    clear(path).map_err(&failed)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io)?;
    // The file gets the socket's own rights when it is bound: there is no moment in which others could connect.
    fchmod(&socket, Mode::from_raw_mode(0o600)).map_err(io)?;
    bind(&socket, &address).map_err(io)?;
    if everyone {
        chmod(path, Mode::from_raw_mode(0o666)).map_err(io)?;
    }
    listen(&socket, BACKLOG).map_err(io)?;
    UnixListener::from_std(socket.into()).map_err(|error| failed(error.to_string()))
}

/// Removes a socket that a killed process has left.
fn clear(path: &Path) -> Result<(), String> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if !found.file_type().is_socket() {
        return Err("something that is no socket stands there; it was left alone".to_owned());
    }
    match UnixStream::connect(path) {
        Ok(_) => Err("another process answers there".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| error.to_string())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn dead_sockets_are_taken_over_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.sock");
        let listener = listen_at(&path, false).unwrap();
        assert_eq!(mode(&path), 0o600);
        let error = listen_at(&path, false).unwrap_err();
        assert!(error.to_string().contains("another process answers"), "{error}");
        drop(listener);
        assert!(path.exists(), "as after kill -9");
        drop(listen_at(&path, true).unwrap());
        assert_eq!(mode(&path), 0o666);

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "mine").unwrap();
        assert!(listen_at(&path, false).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
        let long = folder.path().join("x".repeat(120));
        assert!(listen_at(&long, false).unwrap_err().to_string().contains("107"));
    }
}
