//! Where a server listens: a Unix socket or a TCP port.
//!
//! A Unix socket is made for its owner only. One that a dead server has left is replaced, one that somebody
//! listens on is not. It is removed at the end, if it still is the one that was made.

use super::error::{Result, ServerError};
use crate::uri::Address;
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A Unix socket, at a path of at most 107 bytes.
    Unix(PathBuf),
    /// A TCP address; port 0 takes any that is free.
    Tcp(SocketAddr),
}

/// A bound listener.
pub(super) enum Listener {
    Unix { listener: UnixListener, path: PathBuf, inode: (u64, u64) },
    Tcp(TcpListener),
}

/// What a listener gives.
pub(super) enum Accepted {
    Unix(UnixStream),
    Tcp(std::net::TcpStream, SocketAddr),
}

impl Listener {
    pub(super) fn bind(at: &Listen) -> Result<Listener> {
        match at {
            Listen::Unix(path) => bind_unix(path)
                .map_err(|source| ServerError::Listen { at: path.display().to_string(), source }),
            Listen::Tcp(address) => {
                let failed = |source| ServerError::Listen { at: address.to_string(), source };
                let listener = TcpListener::bind(address).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                Ok(Listener::Tcp(listener))
            }
        }
    }

    /// Where clients find it.
    pub(super) fn address(&self) -> io::Result<Address> {
        Ok(match self {
            Listener::Unix { path, .. } => Address::Unix(path.clone()),
            Listener::Tcp(listener) => {
                let address = listener.local_addr()?;
                Address::Tcp { host: address.ip().to_string(), port: address.port() }
            }
        })
    }

    /// The next connection that waits; `WouldBlock` where none does.
    pub(super) fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Unix { listener, .. } => listener.accept().map(|(stream, _)| Accepted::Unix(stream)),
            Listener::Tcp(listener) => listener.accept().map(|(stream, peer)| Accepted::Tcp(stream, peer)),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Unix { listener, .. } => listener.as_fd(),
            Listener::Tcp(listener) => listener.as_fd(),
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    clear_stale(path)?;
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // The file gets the socket's mode (unix(7)): nobody else can connect, not even for a moment.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &address)?;
    let made = fs::symlink_metadata(path)?;
    listen(&socket, BACKLOG)?;
    let inode = (made.dev(), made.ino());
    Ok(Listener::Unix { listener: UnixListener::from(socket), path: path.to_owned(), inode })
}

/// Removes a socket that nobody listens on any more.
fn clear_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
            _ => Err(io::ErrorKind::AddrInUse.into()),
        },
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix { path, inode, .. } = self
            && fs::symlink_metadata(&*path).is_ok_and(|found| (found.dev(), found.ino()) == *inode)
            && let Err(error) = fs::remove_file(&*path)
        {
            tracing::warn!(%error, socket = %path.display(), "a socket can't be removed");
        }
    }
}
