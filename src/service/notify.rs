//! Telling systemd how the service is (sd_notify(3)): datagrams to the socket that `NOTIFY_SOCKET` names.
//!
//! Without that variable all of it does nothing. A message that can't be sent is dropped: the service does not depend
//! on who watches it.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager.
#[derive(Debug)]
pub(crate) struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// As the environment says.
    pub(crate) fn from_environment() -> Self {
        let address = env::var("NOTIFY_SOCKET").ok().and_then(|text| match text.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(text).ok(),
        });
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let ours = env::var("WATCHDOG_PID").ok().is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog =
            env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).map(Duration::from_micros);
        Notify { watchdog: watchdog.filter(|time| ours && socket.is_some() && !time.is_zero()), socket }
    }

    /// How often a sign of life is due: twice within the manager's patience.
    pub(crate) fn beat(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// All addresses answer.
    pub(crate) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}"));
    }

    /// Settings are being read again; [`ready`](Self::ready) ends that.
    pub(crate) fn reloading(&self) {
        self.send("RELOADING=1");
    }

    /// It will end, within `limit`.
    pub(crate) fn stopping(&self, status: &str, limit: Duration) {
        self.send(&format!("STOPPING=1\nSTATUS={status}\nEXTEND_TIMEOUT_USEC={}", limit.as_micros()));
    }

    /// It lives.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            tracing::debug!(%error, "the service manager can't be told");
        }
    }
}
