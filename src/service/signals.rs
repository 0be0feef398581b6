//! The signals of a service: SIGTERM and SIGINT ask for a clean end, a second one ends at once; SIGHUP asks for the
//! settings to be read again.

use crate::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// End.
    Stop,
    /// Read the settings again.
    Reload,
}

/// Listens from its making on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    stopping: bool,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// Where the system refuses a handler.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).map_err(|error| Error::io("signals can't be listened to", error));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
            stopping: false,
        })
    }

    /// The next wish. A second one to stop does not return: it ends the process, and the next start cleans up.
    pub(crate) async fn next(&mut self) -> Wish {
        let number = tokio::select! {
            _ = self.terminate.recv() => 143,
            _ = self.interrupt.recv() => 130,
            _ = self.hangup.recv() => return Wish::Reload,
        };
        if self.stopping {
            std::process::exit(number);
        }
        self.stopping = true;
        Wish::Stop
    }
}
