//! How patient and how parallel a client is.

use crate::Interrupt;
use std::time::Duration;

/// What a source or sink may be told beside the URI. [`Options::default`] suits a backup.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most connections to one export, if the server allows several; 0 chooses by the machine's cores
    /// (2 to 4).
    pub connections: usize,
    /// How long connecting, TLS and the handshake may take together.
    pub handshake_timeout: Duration,
    /// How long a server may send nothing while an answer is due. A flush may take ten times as long.
    pub reply_timeout: Duration,
    /// How long one read waits for a lost server to come back, from the first failure; zero: not at all.
    /// Sinks never wait.
    pub reconnect: Duration,
    /// Ends everything opened with it from another thread.
    pub interrupt: Interrupt,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            connections: 0,
            handshake_timeout: Duration::from_secs(30),
            reply_timeout: Duration::from_secs(60),
            reconnect: Duration::from_secs(60),
            interrupt: Interrupt::new(),
        }
    }
}

impl Options {
    /// The most connections, resolved.
    pub(crate) fn most_connections(&self) -> usize {
        match self.connections {
            0 => std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 4),
            n => n.min(16),
        }
    }
}
