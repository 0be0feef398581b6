//! Writing, zeroing, flushing.

use super::{Pending, Session, WINDOW};
use crate::wire::{Request, command, command_flag};
use crate::{Error, Result};
use std::io::{IoSlice, Read, Write};

/// Bytes zeroed by one request where the server need not be fast: what a slow disk writes well within the
/// time limit.
const SLOW_ZEROES: u64 = 32 << 20;
/// Bytes zeroed by one request where the server promised to be fast.
const FAST_ZEROES: u64 = 1 << 30;

impl<T: Read + Write> Session<T> {
    /// Writes `data` at `offset`; both ends aligned as for reading.
    ///
    /// # Errors
    /// [`Error::Request`] where the server could not write; how much of it was written is then not known.
    pub fn write(&mut self, data: &[u8], offset: u64) -> Result<()> {
        self.guarded(|session| {
            let most = session.payload() as usize;
            let mut pending = Vec::with_capacity(WINDOW);
            let mut at = offset;
            for piece in data.chunks(most) {
                if pending.len() == WINDOW
                    && let Err(error) = session.settle_some(&mut pending)?
                {
                    session.settle(pending).or_else(|second| {
                        if second.leaves_session_usable() { Ok(()) } else { Err(second) }
                    })?;
                    return Err(error);
                }
                let cookie = session.next_cookie();
                let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
                let request = Request { flags: 0, command: command::WRITE, cookie, offset: at, length };
                session.send_with(&request.encode(), piece)?;
                pending.push(Pending::new(cookie));
                at += piece.len() as u64;
            }
            session.settle(pending)
        })
    }

    /// Makes `length` bytes from `offset` zero without sending them. The server may punch a hole.
    ///
    /// With `fast`, the server refuses (`ENOTSUP`) rather than write the zeroes out.
    ///
    /// # Errors
    /// As for writing.
    pub fn write_zeroes(&mut self, offset: u64, length: u64, fast: bool) -> Result<()> {
        self.guarded(|session| {
            let most = if fast { FAST_ZEROES } else { SLOW_ZEROES };
            let flags = if fast { command_flag::FAST_ZERO } else { 0 };
            let (mut offset, end) = (offset, offset + length);
            while offset < end {
                let now = most.min(end - offset);
                session.command(
                    command::WRITE_ZEROES,
                    flags,
                    offset,
                    u32::try_from(now).unwrap_or(u32::MAX),
                )?;
                offset += now;
            }
            Ok(())
        })
    }

    /// Makes all writes that were answered durable.
    ///
    /// # Errors
    /// Where the server could not.
    pub fn flush(&mut self) -> Result<()> {
        self.guarded(|session| session.command(command::FLUSH, 0, 0, 0))
    }

    fn command(&mut self, command: u16, flags: u16, offset: u64, length: u32) -> Result<()> {
        let cookie = self.next_cookie();
        self.send(&Request { flags, command, cookie, offset, length }.encode())?;
        self.settle(vec![Pending::new(cookie)])
    }

    /// Receives until at least one of `pending` is answered.
    fn settle_some(&mut self, pending: &mut Vec<Pending>) -> Result<Result<()>> {
        let before = pending.len();
        let mut answer = Ok(());
        while pending.len() == before {
            if let Err(error) = self.settle_one(pending)? {
                answer = answer.and(Err(error));
            }
        }
        Ok(answer)
    }

    /// Sends a head and a payload, in one system call where the stream can.
    fn send_with(&mut self, head: &[u8], payload: &[u8]) -> Result<()> {
        let total = head.len() + payload.len();
        let mut sent = 0;
        while sent < total {
            let head_left = head.get(sent..).unwrap_or_default();
            let payload_left = payload.get(sent.saturating_sub(head.len())..).unwrap_or_default();
            let result = self.stream.write_vectored(&[IoSlice::new(head_left), IoSlice::new(payload_left)]);
            match result {
                Ok(0) => return Err(Error::Lost(std::io::ErrorKind::WriteZero.into())),
                Ok(written) => sent += written,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::from_transport(error, self.patience)),
            }
        }
        self.stream.flush().map_err(|error| Error::from_transport(error, self.patience))
    }
}
