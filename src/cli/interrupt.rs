//! Signals during long work. The first SIGINT, SIGTERM or SIGHUP asks for a clean end, the second ends the
//! process at once (what is left is cleaned up by the next run). SIGUSR1 asks for a status line.
//!
//! A signal that the parent told us to ignore (`nohup`, a script's background job) stays ignored.

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// End cleanly, then exit with this code.
    Stop(Exit),
    /// Say how far the work is.
    Status,
}

/// Listens from its making on. Must be made inside a tokio runtime.
#[derive(Debug)]
pub struct Interrupts {
    stops: Vec<(Signal, Exit)>,
    status: Option<Signal>,
    stopping: bool,
}

impl Interrupts {
    /// Begins to listen.
    ///
    /// # Errors
    /// Where the system refuses a handler.
    pub fn listen() -> Result<Self> {
        let ignored = ignored_mask();
        let listen = |kind: SignalKind| -> Result<Option<Signal>> {
            let bit = u32::try_from(kind.as_raw_value() - 1).unwrap_or(0);
            if ignored.checked_shr(bit).unwrap_or(0) & 1 == 1 {
                return Ok(None);
            }
            let stream = signal(kind).map_err(|error| {
                Failure::local("signals can't be listened to, nothing was started", &error)
            })?;
            Ok(Some(stream))
        };
        let mut stops = Vec::new();
        for (kind, exit) in [
            (SignalKind::interrupt(), Exit::Interrupted),
            (SignalKind::terminate(), Exit::Terminated),
            (SignalKind::hangup(), Exit::HungUp),
        ] {
            if let Some(stream) = listen(kind)? {
                stops.push((stream, exit));
            }
        }
        Ok(Interrupts { stops, status: listen(SignalKind::user_defined1())?, stopping: false })
    }

    /// The next wish. A second one to stop does not return: it ends the process.
    pub async fn next(&mut self) -> Wish {
        let wish = std::future::poll_fn(|context| {
            for (stream, exit) in &mut self.stops {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(Wish::Stop(*exit));
                }
            }
            match self.status.as_mut().map(|stream| stream.poll_recv(context)) {
                Some(std::task::Poll::Ready(_)) => std::task::Poll::Ready(Wish::Status),
                _ => std::task::Poll::Pending,
            }
        })
        .await;
        if let Wish::Stop(exit) = wish {
            if self.stopping {
                std::process::exit(i32::from(exit.number()));
            }
            self.stopping = true;
        }
        wish
    }

    /// The next wish, if one comes within `limit`.
    pub async fn next_within(&mut self, limit: Duration) -> Option<Wish> {
        tokio::time::timeout(limit, self.next()).await.ok()
    }
}

/// The signals this process was started to ignore, bit `n - 1` for signal `n` (proc(5), `SigIgn`).
fn ignored_mask() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    mask_of(&status)
}

fn mask_of(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(mask_of("Name:\tx\nSigIgn:\t0000000000001003\nSigCgt:\t0\n"), 0x1003);
        assert_eq!(mask_of("nothing"), 0);
    }
}
