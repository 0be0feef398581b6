//! From a URI to a session: dialling, TLS, handshake.

use crate::handshake::{self, Export};
use crate::interrupt::Registration;
use crate::session::Session;
use crate::socket::Socket;
use crate::tls::{Credentials, TlsStream};
use crate::{Error, Interrupt, Result, Uri};
use std::io::{self, IoSlice, Read, Write};
use std::time::{Duration, Instant};

/// A session with a real server.
pub(crate) type Link = Session<Stream>;

/// Makes connections to one export.
pub(crate) struct Dialler {
    uri: Uri,
    credentials: Option<Credentials>,
    patience: Duration,
    interrupt: Interrupt,
}

impl Dialler {
    /// Reads the certificates, if any are needed.
    pub(crate) fn new(uri: &Uri, patience: Duration, interrupt: &Interrupt) -> Result<Self> {
        let credentials = uri.tls().map(|tls| Credentials::load(tls, uri.address())).transpose()?;
        Ok(Dialler { uri: uri.clone(), credentials, patience, interrupt: interrupt.clone() })
    }

    /// The interrupt that its connections are under.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// A connection in its transmission phase, made within `limit`.
    pub(crate) fn dial(&self, limit: Duration) -> Result<Link> {
        self.attempt(limit).map_err(|error| self.settle(error, limit))
    }

    fn attempt(&self, limit: Duration) -> Result<Link> {
        self.interrupt.check()?;
        let mut socket = Socket::dial(self.uri.address(), Instant::now() + limit, &self.interrupt)?;
        let registration = self.interrupt.register(&socket)?;
        let style = handshake::greet(&mut socket)?;
        let name = self.uri.export();
        let mut stream = match &self.credentials {
            None => Stream { transport: Transport::Plain(socket), _registration: registration },
            Some(credentials) => {
                handshake::start_tls(&mut socket, style)?;
                let stream = credentials.wrap(socket)?;
                Stream { transport: Transport::Tls(Box::new(stream)), _registration: registration }
            }
        };
        let export: Export = handshake::choose_export(&mut stream, style, name)?;
        stream.socket().relax(self.patience).map_err(Error::Lost)?;
        tracing::debug!(uri = %self.uri, ?export, "connected");
        Ok(Session::new(stream, export, self.patience.as_secs()))
    }

    /// What an error really was: a socket that was shut down by the interrupt looks like a lost one, and a
    /// handshake has one limit for all its steps.
    fn settle(&self, error: Error, limit: Duration) -> Error {
        match error {
            _ if self.interrupt.is_stopped() => Error::Interrupted,
            Error::Silent(_) => Error::Silent(limit.as_secs().max(1)),
            other => other,
        }
    }
}

/// A connected stream under an interrupt.
pub(crate) struct Stream {
    transport: Transport,
    _registration: Registration,
}

enum Transport {
    Plain(Socket),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// The socket, to change its time limits.
    pub(crate) fn socket(&mut self) -> &mut Socket {
        match &mut self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => &mut stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.read(buf),
            Transport::Tls(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.write(buf),
            Transport::Tls(stream) => stream.write(buf),
        }
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.write_vectored(bufs),
            Transport::Tls(stream) => stream.write_vectored(bufs),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.flush(),
            Transport::Tls(stream) => stream.flush(),
        }
    }
}
