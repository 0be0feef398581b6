//! The addresses that the service listens on, and the taking in of connections.
//!
//! TCP and Unix sockets have a number of places each; where none is left, further connections wait in the kernel's
//! queue. One address has only a part of TCP's places; what comes beyond is closed at once.

use crate::connection::{serve, until};
use crate::settings::{Limits, Listen};
use crate::tls::Certificate;
use crate::{Error, Result, unix};
use api::Peer;
use axum::Router;
use rustix::net::sockopt;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// How long to wait where the process has no file descriptors left.
const SHORTAGE: Duration = Duration::from_millis(100);

/// Something that listens.
pub(crate) enum Door {
    /// A Unix socket.
    Unix(UnixListener),
    /// TCP, with TLS or on loopback without.
    Tcp(TcpListener, Option<TlsAcceptor>),
}

/// What all doors share.
#[derive(Clone)]
pub(crate) struct Hall {
    /// Answers requests.
    pub router: Router,
    /// What clients may take.
    pub limits: Limits,
    /// True when connections are to end.
    pub stop: watch::Receiver<bool>,
    places: Places,
}

/// Places for connections.
#[derive(Clone)]
struct Places {
    tcp: Arc<Semaphore>,
    unix: Arc<Semaphore>,
    clients: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Hall {
    pub(crate) fn new(router: Router, limits: Limits, stop: watch::Receiver<bool>) -> Self {
        let places = || Arc::new(Semaphore::new(limits.connections));
        let places = Places { tcp: places(), unix: places(), clients: Arc::default() };
        Hall { router, limits, stop, places }
    }

    /// Connections that are open now.
    pub(crate) fn connections(&self) -> usize {
        let taken = |places: &Semaphore| self.limits.connections.saturating_sub(places.available_permits());
        taken(&self.places.tcp) + taken(&self.places.unix)
    }
}

impl Door {
    /// Listens at an address of the settings; gives the door and the address as it is now (port 0 is any).
    ///
    /// # Errors
    /// Where that can't be had.
    pub(crate) async fn open(listen: &Listen, certificate: Option<&Certificate>) -> Result<(Door, String)> {
        let tls = match (listen, certificate) {
            (Listen::Https(_), Some(certificate)) => Some(certificate.acceptor()?),
            _ => None,
        };
        match listen {
            Listen::Unix(path) => Ok((Door::Unix(unix::listen_at(path, true)?), listen.to_string())),
            Listen::Https(address) | Listen::Http(address) => {
                let failed = |error: std::io::Error| Error::Listen {
                    address: listen.to_string(),
                    reason: match error.kind() {
                        std::io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
                        _ => error.to_string(),
                    },
                };
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                let shown = if tls.is_some() { Listen::Https(address) } else { Listen::Http(address) };
                Ok((Door::Tcp(listener, tls), shown.to_string()))
            }
        }
    }

    /// The state folder's own socket.
    ///
    /// # Errors
    /// Where it can't be had.
    pub(crate) fn own(path: &Path) -> Result<Door> {
        Ok(Door::Unix(unix::listen_at(path, false)?))
    }

    /// Takes connections in until `hall.stop` says so.
    pub(crate) async fn attend(self, hall: Hall) {
        let mut stop = hall.stop.clone();
        loop {
            let places = match &self {
                Door::Unix(_) => &hall.places.unix,
                Door::Tcp(..) => &hall.places.tcp,
            };
            let taken = tokio::select! {
                () = until(&mut stop) => return,
                taken = self.take(Arc::clone(places), &hall) => taken,
            };
            if let Err(error) = taken {
                // A connection that is gone already, or no file descriptor left.
                tracing::warn!(%error, "a connection could not be taken in");
                tokio::time::sleep(SHORTAGE).await;
            }
        }
    }

    async fn take(&self, places: Arc<Semaphore>, hall: &Hall) -> std::io::Result<()> {
        let place = places.acquire_owned().await.map_err(std::io::Error::other)?;
        match self {
            Door::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                let peer = Peer::Socket { uid: stream.peer_cred()?.uid() };
                let hall = hall.clone();
                tokio::spawn(async move {
                    serve(stream, peer, hall.router, hall.limits, hall.stop).await;
                    drop(place);
                });
            }
            Door::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                let Some(share) = Share::take(hall, address) else {
                    tracing::warn!(peer = %address.ip(), "a client has more connections than it may");
                    return Ok(());
                };
                tokio::spawn(attend_tcp(stream, address, tls.clone(), hall.clone(), (place, share)));
            }
        }
        Ok(())
    }
}

async fn attend_tcp(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    hall: Hall,
    _held: (OwnedSemaphorePermit, Share),
) {
    let peer = Peer::Network { address: address.ip().to_canonical() };
    // Answers are written whole; waiting for more to send only delays them.
    // A client that is cut off does not take what is sent; what is short enough to wait in the kernel (signs of life of a
    // stream of events) would otherwise keep its place for a quarter of an hour.
    let patience = u32::try_from(hall.limits.write_timeout.as_millis()).unwrap_or(u32::MAX);
    let prepared =
        stream.set_nodelay(true).and_then(|()| Ok(sockopt::set_tcp_user_timeout(&stream, patience)?));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection was cut");
        return;
    }
    let Some(tls) = tls else {
        return serve(stream, peer, hall.router, hall.limits, hall.stop).await;
    };
    match tokio::time::timeout(hall.limits.header_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, peer, hall.router, hall.limits, hall.stop).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS could not begin"),
        Err(_) => tracing::debug!(%peer, "TLS did not begin in time"),
    }
}

/// A client's place among those of its address.
struct Share {
    clients: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl Share {
    fn take(hall: &Hall, address: SocketAddr) -> Option<Share> {
        let address = address.ip().to_canonical();
        let clients = Arc::clone(&hall.places.clients);
        let mut counts = clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_default();
        if *count >= hall.limits.connections_per_client {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Share { clients, address })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}
