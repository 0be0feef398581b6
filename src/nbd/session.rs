//! The client's half of the transmission phase: requests and their replies, over any stream.
//!
//! The model: a [`Session`] owns a stream behind a handshake. Each call sends its requests, at most
//! two at once, and receives until all of them are answered, in whatever order the server likes.
//! Between two calls nothing is in flight. An [`Error::Request`] leaves the session usable: the server
//! answered, and every other answer due was taken too. After any other error the two sides no longer agree
//! on where in the stream they are, and the session refuses to go on.
//!
//! Every reply must name a request in flight and stay inside it; what is stored of one is bounded. What is
//! *not* here: time limits (the stream's), several connections and reconnecting (`pool`).

mod coverage;
mod read;
mod status;
mod write;

pub use status::Status;

use crate::handshake::Export;
use crate::wire::{self, Fields, Request, chunk, command};
use crate::{Error, Result};
use std::io::{Read, Write};

/// Requests in flight at once.
const WINDOW: usize = 2;
/// Largest payload asked for or sent at once, bytes, if the server allows it. Two of these keep a server
/// busy while the other is on its way; larger ones fall out of the processor's caches on the way.
const PAYLOAD: u32 = 512 << 10;
/// Longest payload of an error chunk that is taken: a header, a string, an offset.
const LONGEST_ERROR: u32 = 14 + 64 * 1024;
/// Most chunks beyond content that are taken for one request.
const MOST_ERRORS: usize = 64;

/// A connection in its transmission phase.
#[derive(Debug)]
pub struct Session<T> {
    stream: T,
    export: Export,
    cookie: u64,
    patience: u64,
    broken: bool,
}

/// The head of a reply, its payload not yet received.
#[derive(Debug, Clone, Copy)]
enum Head {
    Simple { error: u32 },
    Chunk { last: bool, kind: u16, length: u32 },
}

impl<T: Read + Write> Session<T> {
    /// A session on `stream`, whose handshake chose `export`. `patience` is the stream's time limit in
    /// seconds, for error texts.
    pub fn new(stream: T, export: Export, patience: u64) -> Self {
        Session { stream, export, cookie: 0, patience, broken: false }
    }

    /// What the handshake found out.
    pub fn export(&self) -> &Export {
        &self.export
    }

    /// The stream, to change its time limits.
    pub(crate) fn stream(&mut self) -> &mut T {
        &mut self.stream
    }

    /// Says goodbye. The stream is not closed.
    pub fn disconnect(&mut self) {
        if !self.broken {
            self.broken = true;
            let goodbye = Request { flags: 0, command: command::DISC, cookie: 0, offset: 0, length: 0 };
            // The server notices the closed stream anyway.
            let _ = self.stream.write_all(&goodbye.encode()).and_then(|()| self.stream.flush());
        }
    }

    /// Runs a call; anything but an answered request makes the session unusable.
    fn guarded<R>(&mut self, call: impl FnOnce(&mut Self) -> Result<R>) -> Result<R> {
        if self.broken {
            return Err(Error::Protocol("the connection was given up after an earlier error".into()));
        }
        self.broken = true;
        let result = call(self);
        self.broken = result.as_ref().is_err_and(|error| !error.leaves_session_usable());
        result
    }

    fn next_cookie(&mut self) -> u64 {
        self.cookie = self.cookie.wrapping_add(1);
        self.cookie
    }

    /// The largest payload to use, a multiple of the minimum block.
    fn payload(&self) -> u32 {
        PAYLOAD.max(self.export.minimum_block).min(self.export.maximum_payload)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream
            .write_all(bytes)
            .and_then(|()| self.stream.flush())
            .map_err(|e| Error::from_transport(e, self.patience))
    }

    fn receive(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.stream.read_exact(bytes).map_err(|e| Error::from_transport(e, self.patience))
    }

    fn receive_array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.receive(&mut bytes)?;
        Ok(bytes)
    }

    /// Receives the next reply's head and the cookie it names.
    fn receive_head(&mut self) -> Result<(u64, Head)> {
        // A simple reply is these 16 bytes; a chunk has its length behind them.
        let first: [u8; 16] = self.receive_array()?;
        let mut fields = Fields(&first);
        match fields.u32() {
            Some(wire::SIMPLE_REPLY_MAGIC) => {
                let (Some(error), Some(cookie)) = (fields.u32(), fields.u64()) else { return short() };
                Ok((cookie, Head::Simple { error }))
            }
            Some(wire::STRUCTURED_REPLY_MAGIC) if self.export.structured => {
                let (Some(flags), Some(kind), Some(cookie)) = (fields.u16(), fields.u16(), fields.u64())
                else {
                    return short();
                };
                let length = u32::from_be_bytes(self.receive_array()?);
                Ok((cookie, Head::Chunk { last: flags & chunk::DONE != 0, kind, length }))
            }
            _ => Err(Error::Protocol("a reply begins with a wrong magic number".into())),
        }
    }

    /// Receives the payload of an error chunk, known or not, and returns what it says.
    fn receive_error(&mut self, kind: u16, length: u32) -> Result<Error> {
        let least = if kind == chunk::ERROR_OFFSET { 14 } else { 6 };
        if length < least || length > LONGEST_ERROR {
            return Err(Error::Protocol(format!("an error chunk of {length} bytes")));
        }
        let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
        self.receive(&mut payload)?;
        let mut fields = Fields(&payload);
        let (Some(code), Some(said)) = (fields.u32(), fields.u16()) else { return short() };
        let Some(message) = fields.bytes(usize::from(said)) else {
            return Err(Error::Protocol("an error chunk whose text is longer than itself".into()));
        };
        if code == 0 {
            return Err(Error::Protocol("an error chunk without an error".into()));
        }
        Ok(Error::Request { code, message: wire::printable(message) })
    }

    /// Receives replies until each of `pending` is answered that carries no payload but errors.
    fn settle(&mut self, mut pending: Vec<Pending>) -> Result<()> {
        let mut failed = None;
        while !pending.is_empty() {
            if let Err(error) = self.settle_one(&mut pending)? {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Receives one reply for one of `pending` and takes it off the list when it is the last. The inner
    /// result is the server's answer.
    fn settle_one(&mut self, pending: &mut Vec<Pending>) -> Result<Result<()>> {
        let (cookie, head) = self.receive_head()?;
        let Some(at) = pending.iter().position(|one| one.cookie == cookie) else { return stranger(cookie) };
        let (last, answer) = match head {
            Head::Simple { error: 0 } => (true, Ok(())),
            Head::Simple { error } => (true, Err(Error::Request { code: error, message: String::new() })),
            Head::Chunk { last: true, kind: chunk::NONE, length: 0 } => (true, Ok(())),
            Head::Chunk { last, kind, length } if kind & chunk::ERROR != 0 => {
                (last, Err(self.receive_error(kind, length)?))
            }
            Head::Chunk { kind, length, .. } => return unexpected(kind, length),
        };
        if let Some(one) = pending.get_mut(at) {
            one.errors += usize::from(answer.is_err());
            if one.errors > MOST_ERRORS {
                return Err(Error::Protocol("it does not stop reporting errors for one request".into()));
            }
        }
        if last {
            pending.swap_remove(at);
        }
        Ok(answer)
    }
}

/// A request in flight whose answer has no payload.
#[derive(Debug)]
struct Pending {
    cookie: u64,
    errors: usize,
}

impl Pending {
    fn new(cookie: u64) -> Self {
        Pending { cookie, errors: 0 }
    }
}

fn short<R>() -> Result<R> {
    Err(Error::Protocol("a reply is too short".into()))
}

fn stranger<R>(cookie: u64) -> Result<R> {
    Err(Error::Protocol(format!("it answers request {cookie:#x}, which is not in flight")))
}

fn unexpected<R>(kind: u16, length: u32) -> Result<R> {
    Err(Error::Protocol(format!("an unexpected reply chunk of type {kind} and {length} bytes")))
}
