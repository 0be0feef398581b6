//! The transmission phase: requests of one connection, several of them at work at once.
//!
//! The model: the threads of a connection take turns. One leads: it reads the next request with its payload, lets go
//! of the lead, carries the request out and sends the reply, under a lock for each piece of it. So replies go out in
//! the order in which they are ready, there is no queue, and what a connection can take of memory is one buffer of
//! `PIECE` a thread. A connection begins with one thread; another is made where a request is at work and nobody
//! waits for the next one, up to `MOST_THREADS` and as far as the server's [`Hands`] go; one that finds enough
//! waiting ends. A longer read or write than a buffer is done piece by piece.
//!
//! A request that fails is answered with an error, and the connection goes on. A client that leaves the
//! protocol, or a reply that can't be finished, ends the connection: what is at work is carried out, and nothing more
//! is read.
//!
//! Not here: sockets, TLS, time limits. A stream that says `WouldBlock` or `TimedOut` between two requests is idle,
//! and waited for; in the middle of one it is broken.

use super::error::{Result, ServerError, protocol};
use super::export::User;
use super::negotiation::Agreement;
use super::reply;
use super::request::{Denial, Order, check};
use crate::wire::{DEFAULT_MAXIMUM_PAYLOAD, Request, command};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};

/// Bytes that one thread has in memory: reads and writes that are longer go through it piece by piece.
pub(super) const PIECE: usize = 512 << 10;
/// Requests of one connection that are at work at once, one a thread.
const MOST_THREADS: usize = 4;
/// Threads that wait for the next request: one reads, one is ready to.
const MOST_WAITING: usize = 2;

/// The threads that all connections of a server may have beside their first ones.
#[derive(Debug)]
pub struct Hands(AtomicUsize);

impl Hands {
    /// So many.
    pub fn new(most: usize) -> Self {
        Hands(AtomicUsize::new(most))
    }

    fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn give_back(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a connection does besides its two directions.
pub trait Conduct: Sync {
    /// The client has sent a request that can be one.
    fn heard(&self);

    /// Makes reading and sending end, in whichever thread; may be called more than once.
    fn hang_up(&self);
}

/// Serves one connection until its client leaves.
pub fn serve<R: Read + Send, W: Write + Send>(
    reading: R,
    sending: W,
    agreement: &Agreement,
    hands: &Hands,
    conduct: &dyn Conduct,
) {
    let _user = User::of(&agreement.export);
    let transmission = Transmission {
        agreement,
        hands,
        conduct,
        incoming: Mutex::new(Incoming::new(reading)),
        out: Mutex::new(sending),
        ended: AtomicBool::new(false),
        waiting: AtomicUsize::new(0),
        threads: AtomicUsize::new(1),
    };
    thread::scope(|scope| transmission.work(scope));
}

pub(super) struct Transmission<'a, R, W> {
    pub(super) agreement: &'a Agreement,
    hands: &'a Hands,
    conduct: &'a dyn Conduct,
    incoming: Mutex<Incoming<R>>,
    out: Mutex<W>,
    ended: AtomicBool,
    /// Threads that lead or want to.
    waiting: AtomicUsize,
    threads: AtomicUsize,
}

/// What one thread has to do next.
enum Work {
    /// Carry out; a write's bytes are in the buffer.
    Order(u64, Order),
    /// Tell the client no.
    Deny(u64, Denial),
    /// Tell the client what became of a long write.
    Written { cookie: u64, at: u64, durable: bool, result: block::Result<()> },
}

impl<R: Read + Send, W: Write + Send> Transmission<'_, R, W> {
    /// The life of one thread.
    fn work<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        let _watch = Watch(self.conduct, &self.ended);
        let mut buffer = Vec::new();
        loop {
            if self.waiting.fetch_add(1, Ordering::AcqRel) >= MOST_WAITING {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                return;
            }
            let next = self.lead(&mut buffer);
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            let done = match next {
                Ok(None) => return self.end(),
                Ok(Some(work)) => {
                    self.recruit(scope);
                    self.carry_out(work, &mut buffer)
                }
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                if !self.ended.load(Ordering::Acquire) {
                    let export = self.agreement.export.description();
                    tracing::debug!(%error, export, "a connection ends early");
                }
                self.end();
                self.conduct.hang_up();
                return;
            }
        }
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Makes another thread where nobody waits for the next request.
    fn recruit<'s>(&'s self, scope: &'s Scope<'s, '_>) {
        if self.waiting.load(Ordering::Acquire) > 0
            || self.threads.load(Ordering::Relaxed) >= MOST_THREADS
            || !self.hands.take()
        {
            return;
        }
        self.threads.fetch_add(1, Ordering::Relaxed);
        let helper = Helper { threads: &self.threads, hands: self.hands };
        let made = thread::Builder::new().name("nbd-request".into()).spawn_scoped(scope, move || {
            let _helper = helper;
            self.work(scope);
        });
        if let Err(error) = made {
            // Slower, not wrong: this thread goes on alone.
            tracing::debug!(%error, "no further thread for a connection");
        }
    }

    /// Reads the next request; `None` at the end of the connection.
    fn lead(&self, buffer: &mut Vec<u8>) -> Result<Option<Work>> {
        let mut incoming = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(head) = incoming.head(&self.ended)? else { return Ok(None) };
        let Some(request) = Request::decode(&head) else {
            self.end();
            return protocol("a request begins with a wrong magic number");
        };
        if request.command == command::DISC {
            self.end();
            return Ok(None);
        }
        self.conduct.heard();
        let cookie = request.cookie;
        let order = check(&request, self.agreement);
        if request.command != command::WRITE {
            return Ok(Some(match order {
                Ok(order) => Work::Order(cookie, order),
                Err(denial) => Work::Deny(cookie, denial),
            }));
        }
        if request.length > DEFAULT_MAXIMUM_PAYLOAD {
            // Its bytes would have to be read before anything else can be.
            self.end();
            return protocol("a write of more than 32 MiB");
        }
        let work = self.take_payload(&mut incoming, &request, order, buffer);
        if work.is_err() {
            self.end();
        }
        work.map(Some)
    }

    fn take_payload(
        &self,
        incoming: &mut Incoming<R>,
        request: &Request,
        order: Result<Order, Denial>,
        buffer: &mut Vec<u8>,
    ) -> Result<Work> {
        let cookie = request.cookie;
        let length = request.length as usize;
        let (range, durable) = match order {
            Ok(Order::Write { range, durable }) => (range, durable),
            Ok(other) => return Ok(Work::Order(cookie, other)),
            Err(denial) => {
                incoming.skip(length, buffer)?;
                return Ok(Work::Deny(cookie, denial));
            }
        };
        if length <= PIECE {
            incoming.payload(room(buffer, length))?;
            return Ok(Work::Order(cookie, Order::Write { range, durable }));
        }
        let mut at = range.start;
        let mut result = Ok(());
        while at < range.end {
            let piece = room(buffer, (range.end - at).min(PIECE as u64) as usize);
            incoming.payload(piece)?;
            if result.is_ok() {
                result = self.write(piece, at);
            }
            at += piece.len() as u64;
        }
        Ok(Work::Written { cookie, at: range.start, durable, result })
    }

    fn write(&self, bytes: &[u8], at: u64) -> block::Result<()> {
        let export = &self.agreement.export;
        // `check` has made sure that there is one.
        let Some(writer) = export.writer() else { return Err(block::Error::Cancelled) };
        export.activity().add_written(bytes.len() as u64);
        writer.write_at(bytes, at)
    }

    fn carry_out(&self, work: Work, buffer: &mut Vec<u8>) -> Result<()> {
        let (cookie, order) = match work {
            Work::Order(cookie, order) => (cookie, order),
            Work::Deny(cookie, (error, words)) => return self.deny(cookie, error, words),
            Work::Written { cookie, at, durable, result } => {
                return self.confirm(cookie, "write", at, result.and_then(|()| self.settle(durable)));
            }
        };
        match order {
            Order::Read { range, whole } => self.read(cookie, range, whole, buffer),
            Order::Status { range, one } => self.status(cookie, range, one),
            Order::Flush => self.confirm(cookie, "flush", 0, self.settle(true)),
            Order::Write { range, durable } => {
                let bytes = buffer.get(..(range.end - range.start) as usize).unwrap_or_default();
                let result = self.write(bytes, range.start).and_then(|()| self.settle(durable));
                self.confirm(cookie, "write", range.start, result)
            }
            Order::Zero { range, durable, allocate } => {
                let at = range.start;
                let result = self.change(|writer| writer.zero(range, allocate));
                self.confirm(cookie, "zero", at, result.and_then(|()| self.settle(durable)))
            }
            Order::Trim { range, durable } => {
                let at = range.start;
                let result = self.change(|writer| writer.trim(range));
                self.confirm(cookie, "trim", at, result.and_then(|()| self.settle(durable)))
            }
        }
    }

    fn change(
        &self,
        call: impl FnOnce(&dyn super::export::DiskWriter) -> block::Result<()>,
    ) -> block::Result<()> {
        self.agreement.export.writer().map_or(Err(block::Error::Cancelled), call)
    }

    fn settle(&self, durable: bool) -> block::Result<()> {
        if durable { self.change(|writer| writer.flush()) } else { Ok(()) }
    }

    /// Answers a request that has no data in its reply.
    fn confirm(&self, cookie: u64, what: &str, at: u64, result: block::Result<()>) -> Result<()> {
        match result {
            Ok(()) => reply::simple(&mut *self.out(), cookie, 0, &[]),
            Err(error) => self.fail(cookie, what, at, &error),
        }
    }

    /// Answers a request that the disk could not do.
    pub(super) fn fail(&self, cookie: u64, what: &str, at: u64, error: &block::Error) -> Result<()> {
        // Its name may be a secret.
        let export = self.agreement.export.description();
        tracing::warn!(%error, export, at, "a client's request failed: {what}");
        let (number, words) = reply::errno_of(error);
        self.deny(cookie, number, words)
    }

    fn deny(&self, cookie: u64, error: u32, words: &str) -> Result<()> {
        if self.agreement.structured {
            reply::failure(&mut *self.out(), cookie, error, words)
        } else {
            reply::simple(&mut *self.out(), cookie, error, &[])
        }
    }

    /// The way to the client, for one piece of a reply.
    pub(super) fn out(&self) -> MutexGuard<'_, W> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A defect in a disk must not leave its client waiting for ever: a thread that panics closes the connection.
struct Watch<'a>(&'a dyn Conduct, &'a AtomicBool);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.1.store(true, Ordering::Release);
            self.0.hang_up();
        }
    }
}

/// A thread beside a connection's first one.
struct Helper<'a> {
    threads: &'a AtomicUsize,
    hands: &'a Hands,
}

impl Drop for Helper<'_> {
    fn drop(&mut self) {
        self.threads.fetch_sub(1, Ordering::Relaxed);
        self.hands.give_back();
    }
}

/// The first `length` bytes of a thread's buffer, which grows to what is needed of [`PIECE`] and stays so.
pub(super) fn room(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    &mut buffer[..length]
}

/// The client's bytes, with a small buffer so that pipelined requests cost no system call each.
struct Incoming<R> {
    stream: R,
    buffer: Box<[u8]>,
    unread: Range<usize>,
}

impl<R: Read> Incoming<R> {
    fn new(stream: R) -> Self {
        Incoming { stream, buffer: vec![0; 4096].into(), unread: 0..0 }
    }

    /// The next request's head; `None` where the client has left between two requests, or all is over.
    fn head(&mut self, ended: &AtomicBool) -> Result<Option<[u8; Request::SIZE]>> {
        loop {
            if ended.load(Ordering::Acquire) {
                return Ok(None);
            }
            let unread = self.buffer.get(self.unread.clone()).unwrap_or_default();
            if let Some(head) = unread.first_chunk() {
                self.unread.start += Request::SIZE;
                return Ok(Some(*head));
            }
            let partial = !unread.is_empty();
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            match self.stream.read(&mut self.buffer[self.unread.end..]) {
                Ok(0) if partial => return Err(ServerError::Lost(io::ErrorKind::UnexpectedEof.into())),
                Ok(0) => return Ok(None),
                Ok(read) => self.unread.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_silence(&error) && !partial => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn payload(&mut self, out: &mut [u8]) -> Result<()> {
        let here = self.unread.len().min(out.len());
        let (first, rest) = out.split_at_mut(here);
        first.copy_from_slice(&self.buffer[self.unread.start..self.unread.start + here]);
        self.unread.start += here;
        Ok(self.stream.read_exact(rest)?)
    }

    fn skip(&mut self, mut length: usize, buffer: &mut Vec<u8>) -> Result<()> {
        while length > 0 {
            let piece = length.min(PIECE);
            self.payload(room(buffer, piece))?;
            length -= piece;
        }
        Ok(())
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
