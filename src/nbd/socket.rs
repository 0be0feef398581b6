//! A connected TCP or Unix socket: dialling with a deadline, time limits, shutting down from elsewhere.
//!
//! Two kinds of time limit: with a deadline set, everything together must be done by then (handshakes);
//! without, each read or write may be silent for the patience set on the socket (transmission).

use crate::uri::Address;
use crate::{Error, Interrupt, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with, sockopt};
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often a connection in the making looks whether it was interrupted.
const GLANCE: Duration = Duration::from_millis(50);
/// Kernel buffer asked for on Unix sockets, where it is the sender's that counts: two payloads.
const UNIX_BUFFER: usize = 1 << 20;

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket {
    kind: Kind,
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects by `deadline`, which then holds for reads and writes until [`relax`](Self::relax).
    pub(crate) fn dial(address: &Address, deadline: Instant, interrupt: &Interrupt) -> Result<Self> {
        let kind = match address {
            Address::Tcp { host, port } => {
                Kind::Tcp(dial_tcp(host.trim_end_matches('.'), *port, deadline, interrupt)?)
            }
            Address::Unix(path) => {
                let to = SocketAddrUnix::new(path).map_err(|e| Error::Connect(e.into()))?;
                let socket = UnixStream::from(connect(AddressFamily::UNIX, &to, deadline, interrupt)?);
                // The kernel may give less; it works with any size.
                let _ = sockopt::set_socket_send_buffer_size(&socket, UNIX_BUFFER);
                Kind::Unix(socket)
            }
        };
        Ok(Socket { kind, deadline: Some(deadline) })
    }

    /// A connection that a TCP server has accepted, with a limit on silence.
    pub(crate) fn accepted_tcp(socket: TcpStream, patience: Duration) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        // A client that vanished without a word is noticed by the kernel.
        let _ = sockopt::set_socket_keepalive(&socket, true);
        let mut socket = Socket { kind: Kind::Tcp(socket), deadline: None };
        socket.relax(patience)?;
        Ok(socket)
    }

    /// A connection that a Unix server has accepted, with a limit on silence.
    pub(crate) fn accepted_unix(socket: UnixStream, patience: Duration) -> io::Result<Self> {
        // The kernel may give less; it works with any size.
        let _ = sockopt::set_socket_send_buffer_size(&socket, UNIX_BUFFER);
        let mut socket = Socket { kind: Kind::Unix(socket), deadline: None };
        socket.relax(patience)?;
        Ok(socket)
    }

    /// Replaces the deadline by a limit on silence.
    pub(crate) fn relax(&mut self, patience: Duration) -> io::Result<()> {
        self.deadline = None;
        self.set_timeout(patience)
    }

    fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        // Zero would mean "for ever".
        let limit = Some(limit.max(Duration::from_millis(1)));
        match &self.kind {
            Kind::Tcp(socket) => {
                socket.set_read_timeout(limit).and_then(|()| socket.set_write_timeout(limit))
            }
            Kind::Unix(socket) => {
                socket.set_read_timeout(limit).and_then(|()| socket.set_write_timeout(limit))
            }
        }
    }

    fn keep_deadline(&self) -> io::Result<()> {
        match self.deadline {
            None => Ok(()),
            Some(deadline) => match deadline.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => self.set_timeout(left),
                _ => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }

    /// Another handle of the same socket.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        let kind = match &self.kind {
            Kind::Tcp(socket) => Kind::Tcp(socket.try_clone()?),
            Kind::Unix(socket) => Kind::Unix(socket.try_clone()?),
        };
        Ok(Socket { kind, deadline: None })
    }

    /// Ends all use of the socket, through whichever handle; blocked calls return.
    pub(crate) fn shutdown(&self) {
        self.shut(Shutdown::Both);
    }

    /// Ends reading: what is in flight can still be answered.
    pub(crate) fn shutdown_reading(&self) {
        self.shut(Shutdown::Read);
    }

    fn shut(&self, how: Shutdown) {
        // Fails only where the socket is not connected any more.
        let _ = match &self.kind {
            Kind::Tcp(socket) => socket.shutdown(how),
            Kind::Unix(socket) => socket.shutdown(how),
        };
    }
}

fn dial_tcp(host: &str, port: u16, deadline: Instant, interrupt: &Interrupt) -> Result<TcpStream> {
    let addresses = look_up(host, port, deadline, interrupt)?;
    let mut last = Error::Connect(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        // The first address must not use up the time of the others.
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        match connect(family, address, Instant::now() + share, interrupt) {
            Ok(fd) => {
                let socket = TcpStream::from(fd);
                socket.set_nodelay(true).map_err(Error::Connect)?;
                // A peer that vanished between two backups' reads is noticed by the kernel, too.
                let _ = sockopt::set_socket_keepalive(&socket, true);
                return Ok(socket);
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a host, sixteen at most. The system's look-up knows neither limits nor interrupts, so it has
/// a thread of its own, which is left to itself when the time is over.
fn look_up(host: &str, port: u16, deadline: Instant, interrupt: &Interrupt) -> Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let (sender, found) = mpsc::sync_channel(1);
    let name = host.to_owned();
    std::thread::Builder::new()
        .name("name look-up".into())
        .spawn(move || {
            let addresses = (name.as_str(), port).to_socket_addrs();
            // Nobody waits any more where this fails.
            let _ = sender.send(addresses.map(|found| found.take(16).collect()));
        })
        .map_err(Error::Connect)?;
    loop {
        interrupt.check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        match found.recv_timeout(GLANCE.min(left)) {
            Ok(addresses) => return addresses.map_err(Error::Connect),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(RecvTimeoutError::Timeout) => {
                let reason = format!("the name {host} was not found in time");
                return Err(Error::Connect(io::Error::new(io::ErrorKind::TimedOut, reason)));
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Connect(io::Error::other(format!("the name {host} can't be looked up"))));
            }
        }
    }
}

/// Connects without blocking for longer than a glance at `interrupt`.
fn connect(
    family: AddressFamily,
    to: &impl rustix::net::addr::SocketAddrArg,
    deadline: Instant,
    interrupt: &Interrupt,
) -> Result<OwnedFd> {
    use rustix::io::Errno;
    let failed = |error: Errno| Error::Connect(error.into());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(failed)?;
    let mut under_way = match rustix::net::connect(&socket, to) {
        Ok(()) => false,
        Err(Errno::INPROGRESS | Errno::INTR) => true,
        // A Unix server whose queue is full: asked again below.
        Err(Errno::AGAIN) => true,
        Err(error) => return Err(failed(error)),
    };
    while under_way {
        interrupt.check()?;
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Connect(io::ErrorKind::TimedOut.into()));
        }
        if family == AddressFamily::UNIX {
            interrupt.pause(GLANCE.min(left))?;
            under_way = match rustix::net::connect(&socket, to) {
                Ok(()) | Err(Errno::ISCONN) => false,
                Err(Errno::AGAIN | Errno::INTR) => true,
                Err(error) => return Err(failed(error)),
            };
            continue;
        }
        let limit = Timespec::try_from(GLANCE.min(left)).ok();
        let mut watched = [PollFd::new(&socket, PollFlags::OUT)];
        match poll(&mut watched, limit.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => {
                sockopt::socket_error(&socket).map_err(failed)?.map_err(failed)?;
                under_way = false;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    rustix::io::ioctl_fionbio(&socket, false).map_err(failed)?;
    Ok(socket)
}

/// Shared by the two directions of one connection: time limits only, no deadline.
impl Read for &Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::Tcp(socket) => (&mut &*socket).read(buf),
            Kind::Unix(socket) => (&mut &*socket).read(buf),
        }
    }
}

impl Write for &Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &self.kind {
            Kind::Tcp(socket) => (&mut &*socket).write(buf),
            Kind::Unix(socket) => (&mut &*socket).write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &self.kind {
            Kind::Tcp(socket) => (&mut &*socket).write_vectored(bufs),
            Kind::Unix(socket) => (&mut &*socket).write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.keep_deadline()?;
        (&mut &*self).read(buf)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.keep_deadline()?;
        (&mut &*self).write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.keep_deadline()?;
        (&mut &*self).write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
