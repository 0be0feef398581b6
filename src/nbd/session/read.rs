//! Reading: requests in flight side by side, payloads received straight into the caller's buffer.

use super::coverage::Coverage;
use super::{Head, MOST_ERRORS, Session, WINDOW, stranger, unexpected};
use crate::wire::{Request, chunk, command};
use crate::{Error, Result};
use std::io::{Read, Write};

/// A read in flight: where its bytes go, and what has come.
struct Pending {
    cookie: u64,
    /// First byte on the disk.
    offset: u64,
    /// First byte in the caller's buffer.
    start: usize,
    length: usize,
    arrived: Coverage,
    errors: usize,
}

impl<T: Read + Write> Session<T> {
    /// Fills `buf` from `offset`. Both ends must be aligned to the export's minimum block, but for an end at
    /// the end of the export.
    ///
    /// # Errors
    /// [`Error::Request`] where the server could not read; what `buf` then holds is undefined.
    pub fn read(&mut self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.guarded(|session| session.read_pipelined(buf, offset))
    }

    fn read_pipelined(&mut self, buf: &mut [u8], offset: u64) -> Result<()> {
        let most = self.payload();
        let mut in_flight: Vec<Pending> = Vec::with_capacity(WINDOW);
        let mut requests = Vec::with_capacity(WINDOW * Request::SIZE);
        let mut next = 0;
        let mut failed = None;
        loop {
            while in_flight.len() < WINDOW && next < buf.len() && failed.is_none() {
                let length = most.min(u32::try_from(buf.len() - next).unwrap_or(u32::MAX));
                let cookie = self.next_cookie();
                let at = offset + next as u64;
                let request = Request { flags: 0, command: command::READ, cookie, offset: at, length };
                requests.extend_from_slice(&request.encode());
                let length = length as usize;
                let arrived = Coverage::default();
                in_flight.push(Pending { cookie, offset: at, start: next, length, arrived, errors: 0 });
                next += length;
            }
            if !requests.is_empty() {
                self.send(&requests)?;
                requests.clear();
            }
            if in_flight.is_empty() {
                return failed.map_or(Ok(()), Err);
            }
            if let Err(error) = self.receive_piece(&mut in_flight, buf)? {
                failed.get_or_insert(error);
            }
        }
    }

    /// Receives one reply or chunk. The inner result is the server's answer.
    fn receive_piece(&mut self, in_flight: &mut Vec<Pending>, buf: &mut [u8]) -> Result<Result<()>> {
        let (cookie, head) = self.receive_head()?;
        let Some(at) = in_flight.iter().position(|one| one.cookie == cookie) else { return stranger(cookie) };
        let structured = self.export.structured;
        let Some(one) = in_flight.get_mut(at) else { return stranger(cookie) };
        let (last, answer) = match head {
            Head::Simple { error: 0 } if !structured => {
                let Some(place) = buf.get_mut(one.start..one.start + one.length) else { return outside() };
                self.receive(place)?;
                one.arrived.add(0, one.length);
                (true, Ok(()))
            }
            Head::Simple { error: 0 } => {
                return Err(Error::Protocol(
                    "a simple reply to a read after structured ones were agreed on".into(),
                ));
            }
            Head::Simple { error } => (true, Err(Error::Request { code: error, message: String::new() })),
            Head::Chunk { last: true, kind: chunk::NONE, length: 0 } => (true, Ok(())),
            Head::Chunk { last, kind: chunk::OFFSET_DATA, length } => {
                let at = u64::from_be_bytes(self.receive_array()?);
                let Some(place) = one.place(at, length.saturating_sub(8), buf) else { return outside() };
                self.receive(place)?;
                (last, Ok(()))
            }
            Head::Chunk { last, kind: chunk::OFFSET_HOLE, length: 12 } => {
                let at = u64::from_be_bytes(self.receive_array()?);
                let length = u32::from_be_bytes(self.receive_array()?);
                let Some(place) = one.place(at, length, buf) else { return outside() };
                place.fill(0);
                (last, Ok(()))
            }
            Head::Chunk { last, kind, length } if kind & chunk::ERROR != 0 => {
                (last, Err(self.receive_error(kind, length)?))
            }
            Head::Chunk { kind, length, .. } => return unexpected(kind, length),
        };
        one.errors += usize::from(answer.is_err());
        if one.errors > MOST_ERRORS {
            return Err(Error::Protocol("it does not stop reporting errors for one read".into()));
        }
        if last {
            if one.errors == 0 && !one.arrived.is_whole(one.length) {
                return Err(Error::Protocol("it calls a read done of which not every byte came".into()));
            }
            in_flight.swap_remove(at);
        }
        Ok(answer)
    }
}

impl Pending {
    /// The place in `buf` for `length` bytes of the disk from `offset`; `None` where they are not this
    /// request's or came before.
    fn place<'b>(&mut self, offset: u64, length: u32, buf: &'b mut [u8]) -> Option<&'b mut [u8]> {
        let from = usize::try_from(offset.checked_sub(self.offset)?).ok()?;
        let to = from.checked_add(usize::try_from(length).ok()?)?;
        if to > self.length || !self.arrived.add(from, to) {
            return None;
        }
        buf.get_mut(self.start + from..self.start + to)
    }
}

fn outside<R>() -> Result<R> {
    Err(Error::Protocol("it sends bytes that were not asked for, or twice, or in too many pieces".into()))
}
