//! What a search or comparison tells while it runs: lines, in a channel of bounded length.
//!
//! Who reads slowly slows the reading of the points down; who goes away ends it.

use crate::Error;
use crate::readers::Stopper;
use api::{ApiError, ErrorBody};
use std::time::Duration;
use tokio::sync::mpsc;

/// How many lines wait for their reader.
const AHEAD: usize = 256;
/// How long a thread waits for room.
const FULL: Duration = Duration::from_millis(2);
/// How often it is told how far it is.
pub(crate) const STATUS: Duration = Duration::from_millis(200);

/// The lines of a search or comparison. Dropping them ends it.
#[derive(Debug)]
pub struct Lines<T> {
    receiver: mpsc::Receiver<T>,
}

impl<T> Lines<T> {
    /// The next line; `None` after the last.
    pub async fn next(&mut self) -> Option<T> {
        self.receiver.recv().await
    }
}

/// Where lines are told. Clones tell the same reader.
pub(crate) struct Teller<T> {
    sender: mpsc::Sender<T>,
    stop: Stopper,
}

impl<T> Clone for Teller<T> {
    fn clone(&self) -> Self {
        Teller { sender: self.sender.clone(), stop: self.stop.clone() }
    }
}

impl<T: Send + 'static> Teller<T> {
    /// A channel; `stop` is set once its reader is found to be gone.
    pub(crate) fn new(stop: Stopper) -> (Self, Lines<T>) {
        let (sender, receiver) = mpsc::channel(AHEAD);
        (Teller { sender, stop }, Lines { receiver })
    }

    /// Returns when the reader has gone away.
    pub(crate) async fn gone(&self) {
        self.sender.closed().await;
        self.stop.stop();
    }

    /// Tells a line, from a task.
    pub(crate) async fn tell(&self, line: T) {
        if self.sender.send(line).await.is_err() {
            self.stop.stop();
        }
    }

    /// Whether nobody wants to know any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.is_stopped()
    }

    /// Tells a line, from a thread; waits while too many others wait. False where nobody wants to know any more.
    pub(crate) fn tell_blocking(&self, mut line: T) -> bool {
        loop {
            match self.sender.try_send(line) {
                Ok(()) => return true,
                Err(mpsc::error::TrySendError::Full(back)) if !self.stop.is_stopped() => {
                    line = back;
                    // Not by `blocking_send`: that would not hear of a stop.
                    std::thread::park_timeout(FULL);
                }
                Err(_) => {
                    self.stop.stop();
                    return false;
                }
            }
        }
    }

    /// Tells a line unless others wait: for what is out of date soon.
    pub(crate) fn tell_in_passing(&self, line: T) {
        if let Err(mpsc::error::TrySendError::Closed(_)) = self.sender.try_send(line) {
            self.stop.stop();
        }
    }
}

/// An error as the wire has it.
pub(crate) fn body_of(error: &Error) -> ErrorBody {
    let mut told = ApiError::new(error.code(), error.to_string());
    told.hint = error.hint();
    ErrorBody::from(told)
}
