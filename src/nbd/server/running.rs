//! A running server: the thread that accepts, a thread and more for each connection, and their end.

use super::channel::{Duplex, Line};
use super::connections::{Connections, Ticket};
use super::error::{Result, ServerError};
use super::export::{Exports, Peer};
use super::listener::{Accepted, Listen, Listener};
use super::negotiation::{Outcome, Security, greet, negotiate};
use super::tls::ServerTls;
use super::transmission::{Hands, serve};
use crate::socket::Socket;
use crate::uri::{Address, Tls, Uri};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long accepting rests when the system has no room for another connection.
const OUT_OF_ROOM: Duration = Duration::from_millis(100);
/// What is at work when a server stops may take so long to be answered.
const GRACE: Duration = Duration::from_millis(500);

/// How a server treats its clients. [`ServerOptions::default`] suits a machine that does other things, too.
#[derive(Clone)]
pub struct ServerOptions {
    /// Connections at once. Where more come, the one that has been silent the longest since it connected goes.
    pub most_connections: usize,
    /// Threads of all connections together, beside one for each of them.
    pub most_helpers: usize,
    /// How long a handshake, TLS included, may take.
    pub handshake_timeout: Duration,
    /// How long a client may not take a reply, or not send the rest of a request. Between two requests it may
    /// be silent for ever.
    pub patience: Duration,
    /// Certificates; where they are given, nothing is told before TLS.
    pub tls: Option<ServerTls>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            most_connections: 128,
            most_helpers: 16,
            handshake_timeout: Duration::from_secs(10),
            patience: Duration::from_secs(120),
            tls: None,
        }
    }
}

/// A server that runs until it is stopped or dropped.
pub struct Server {
    shared: Arc<Shared>,
    address: Address,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    exports: Arc<dyn Exports>,
    options: ServerOptions,
    connections: Arc<Connections>,
    hands: Hands,
    stopping: AtomicBool,
    wake: OwnedFd,
}

impl Server {
    /// Listens, and serves from now on.
    ///
    /// # Errors
    /// Where it can't listen there, or no thread can be made.
    pub fn start(at: &Listen, exports: Arc<dyn Exports>, options: ServerOptions) -> Result<Server> {
        let listener = Listener::bind(at)?;
        let address = listener.address()?;
        let shared = Arc::new(Shared {
            exports,
            hands: Hands::new(options.most_helpers),
            options,
            connections: Arc::default(),
            stopping: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC).map_err(io::Error::from)?,
        });
        let accepting = Arc::clone(&shared);
        let accepting = thread::Builder::new()
            .name("nbd-accept".into())
            .spawn(move || accepting.accept_all(&listener))?;
        Ok(Server { shared, address, accepting: Some(accepting) })
    }

    /// Where it listens; with the port that was free.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// How clients find an export of that name.
    pub fn uri(&self, export: &str) -> Uri {
        let tls = self.shared.options.tls.as_ref().map(|_| Tls::default());
        Uri::new(self.address.clone(), export, tls)
    }

    /// Connections now, those in their handshake included.
    pub fn connections(&self) -> usize {
        self.shared.connections.count()
    }

    /// Stops listening and ends all connections, what is at work within half a second; the socket is gone
    /// when it returns. Dropping does the same.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.stopping.store(true, Ordering::Release);
        // The thread also looks by itself every second.
        let _ = rustix::io::write(&self.shared.wake, &1u64.to_ne_bytes());
        if accepting.join().is_err() {
            tracing::error!("the thread that accepts connections has panicked");
        }
        self.shared.connections.stop(GRACE);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn accept_all(self: &Arc<Self>, listener: &Listener) {
        let mut rest = None;
        loop {
            let next = self.connections.reap(self.options.handshake_timeout);
            let limit = rest.or(next).unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1));
            let limit = Timespec::try_from(limit.max(Duration::from_millis(10))).ok();
            let ready = {
                let mut watched = vec![
                    PollFd::new(&self.wake, PollFlags::IN),
                    PollFd::from_borrowed_fd(listener.fd(), PollFlags::IN),
                ];
                // Out of room: only the end is waited for.
                watched.truncate(if rest.is_some() { 1 } else { 2 });
                // An interrupted or failed wait is one that found nothing.
                poll(&mut watched, limit.as_ref()).is_ok_and(|count| count > 0)
            };
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            if !ready {
                rest = None;
                continue;
            }
            rest = match listener.accept() {
                Ok(accepted) => {
                    if let Err(error) = self.take_in(accepted) {
                        tracing::debug!(%error, "a connection was not taken in");
                    }
                    None
                }
                Err(error) if gone_again(&error) => None,
                Err(error) => {
                    tracing::warn!(%error, "connections can't be accepted");
                    Some(OUT_OF_ROOM)
                }
            };
        }
    }

    fn take_in(self: &Arc<Self>, accepted: Accepted) -> io::Result<()> {
        let patience = self.options.patience;
        let (socket, address) = match accepted {
            Accepted::Unix(stream) => (Socket::accepted_unix(stream, patience)?, None),
            Accepted::Tcp(stream, peer) => (Socket::accepted_tcp(stream, patience)?, Some(peer)),
        };
        let line = Arc::new(socket);
        let Some(ticket) = self.connections.admit(Arc::clone(&line), self.options.most_connections) else {
            tracing::warn!(?address, "a connection was turned away: there are too many");
            return Ok(());
        };
        let shared = Arc::clone(self);
        thread::Builder::new().name("nbd-client".into()).spawn(move || {
            let peer = Peer { address, encrypted: false };
            if let Err(error) = shared.converse(&line, &ticket, peer) {
                tracing::debug!(%error, ?address, "a connection ended in its handshake");
            }
            // Nothing of it may be in use once it counts as gone.
            drop(line);
            drop(ticket);
        })?;
        Ok(())
    }

    /// One connection, from its greeting to its end.
    fn converse(&self, line: &Line, ticket: &Ticket, mut peer: Peer) -> Result<()> {
        let exports = self.exports.as_ref();
        let tls = self.options.tls.as_ref();
        let mut duplex = Duplex::plain(line);
        let greeted = greet(&mut duplex)?;
        let security = if tls.is_some() { Security::TlsFirst } else { Security::Plain };
        let mut outcome = negotiate(&mut duplex, greeted, security, exports, &peer)?;
        if let (Outcome::StartTls, Some(ServerTls(config))) = (&outcome, tls) {
            duplex = Duplex::secure(line, Arc::clone(config))?;
            peer.encrypted = true;
            outcome = negotiate(&mut duplex, greeted, Security::Tls, exports, &peer)?;
        }
        ticket.agreed();
        match outcome {
            Outcome::Goodbye => duplex.sender.close(),
            Outcome::StartTls => {
                return Err(ServerError::Protocol("TLS begins where there is none".into()));
            }
            Outcome::Serve(agreement) => {
                tracing::debug!(export = agreement.export.description(), ?peer, "a client is served");
                serve(duplex.receiver, &mut duplex.sender, &agreement, &self.hands, ticket);
                duplex.sender.close();
            }
        }
        Ok(())
    }
}

/// The client that knocked has left before it was let in.
fn gone_again(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
}
