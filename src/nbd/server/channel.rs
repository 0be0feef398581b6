//! The two directions of a server's connection, plain or inside TLS, used by different threads.
//!
//! A TLS connection is one state for both directions. So it stands behind a lock that is held while bytes are
//! sealed or opened, never while the socket is waited for: a client that does not read holds up nobody who reads. What
//! opening makes the state want to say (an alert, a new key) goes out with the next reply.

use super::error::{Result, ServerError};
use crate::socket::Socket;
use rustls::{ServerConfig, ServerConnection};
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sealed bytes that are taken from the socket at once: a record and a bit.
const SEALED: usize = 20 << 10;

/// A connection's socket.
pub(super) type Line = Arc<Socket>;

#[derive(Clone)]
struct Tls(Arc<Mutex<ServerConnection>>);

impl Tls {
    fn lock(&self) -> MutexGuard<'_, ServerConnection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the client sends.
pub(super) struct Receiver {
    line: Line,
    tls: Option<Tls>,
    sealed: Vec<u8>,
}

/// What the client gets.
pub(super) struct Sender {
    line: Line,
    tls: Option<Tls>,
    sealed: Vec<u8>,
}

/// Both, for who takes turns.
pub(super) struct Duplex {
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
}

impl Duplex {
    /// A plain connection.
    pub(super) fn plain(line: &Line) -> Self {
        Duplex::new(line, None)
    }

    fn new(line: &Line, tls: Option<Tls>) -> Self {
        let receiver = Receiver { line: Arc::clone(line), tls: tls.clone(), sealed: Vec::new() };
        let sender = Sender { line: Arc::clone(line), tls, sealed: Vec::new() };
        Duplex { receiver, sender }
    }

    /// Begins TLS on a socket whose client was told to.
    pub(super) fn secure(line: &Line, config: Arc<ServerConfig>) -> Result<Self> {
        let mut connection =
            ServerConnection::new(config).map_err(|error| ServerError::Tls(error.to_string()))?;
        let mut socket: &Socket = line;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| {
                match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                    Some(reason) => ServerError::Tls(reason.to_string()),
                    None => ServerError::Lost(error),
                }
            })?;
        }
        Ok(Duplex::new(line, Some(Tls(Arc::new(Mutex::new(connection))))))
    }
}

impl Receiver {
    /// Opens what has come, until there is plain text or more is needed.
    fn open(&mut self, tls: &Tls, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let mut connection = tls.lock();
        loop {
            match connection.reader().read(buf) {
                Ok(read) => return Ok(Some(read)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The client's end without a goodbye is what many do.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(0)),
                Err(error) => return Err(error),
            }
            if self.sealed.is_empty() {
                return Ok(None);
            }
            let taken = connection.read_tls(&mut self.sealed.as_slice())?;
            self.sealed.drain(..taken);
            connection.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

impl Read for Receiver {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut socket: &Socket = &Arc::clone(&self.line);
        let Some(tls) = self.tls.clone() else { return socket.read(buf) };
        loop {
            if let Some(read) = self.open(&tls, buf)? {
                return Ok(read);
            }
            self.sealed.resize(SEALED, 0);
            let read = socket.read(&mut self.sealed);
            self.sealed.truncate(*read.as_ref().unwrap_or(&0));
            if read? == 0 {
                return Ok(0);
            }
        }
    }
}

impl Sender {
    /// Sends what is sealed.
    fn send_sealed(&mut self, tls: &Tls) -> io::Result<()> {
        self.sealed.clear();
        {
            let mut connection = tls.lock();
            while connection.wants_write() {
                connection.write_tls(&mut self.sealed)?;
            }
        }
        (&*self.line).write_all(&self.sealed)
    }

    /// Ends TLS as its clients expect it; a client that is gone does not hear it.
    pub(super) fn close(&mut self) {
        if let Some(tls) = self.tls.clone() {
            tls.lock().send_close_notify();
            let _ = self.send_sealed(&tls);
        }
    }
}

impl Write for Sender {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(buf)])
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(tls) = self.tls.clone() else { return (&*self.line).write_vectored(bufs) };
        // The state takes up to 64 KiB, unless a new key's message waits in it: that goes first then.
        let mut taken = tls.lock().writer().write_vectored(bufs)?;
        self.send_sealed(&tls)?;
        if taken == 0 {
            taken = tls.lock().writer().write_vectored(bufs)?;
            self.send_sealed(&tls)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Duplex {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.receiver.read(buf)
    }
}

impl Write for Duplex {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.sender.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sender.flush()
    }
}
