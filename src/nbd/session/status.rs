//! Asking where an export has data.

use super::{Head, MOST_ERRORS, Session, stranger, unexpected};
use crate::wire::{Fields, Request, allocation, chunk, command};
use crate::{Error, Result};
use std::io::{Read, Write};

/// Descriptors that are kept of one answer; the caller asks again from where they end.
const MOST_KEPT: usize = 32 << 10;
/// Longest block status chunk that is taken: servers send up to a million descriptors.
const LONGEST: u32 = 4 + 8 * (1 << 20);
/// Bytes received at once of it, a multiple of a descriptor's size.
const PIECE: u32 = 32 << 10;

/// What `base:allocation` says of a piece of the export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Bytes, not 0. May reach beyond what was asked.
    pub length: u64,
    /// Reads as zeroes.
    pub zero: bool,
    /// Not allocated.
    pub hole: bool,
}

impl<T: Read + Write> Session<T> {
    /// The states of consecutive pieces beginning at `offset`; at least one, maybe not all of `length`. Both
    /// are aligned to the export's minimum block, but for an end at the end of the export.
    ///
    /// # Errors
    /// [`Error::Unfit`] where block status was not agreed on; [`Error::Request`] where the server does not
    /// know.
    pub fn block_status(&mut self, offset: u64, length: u32) -> Result<Vec<Status>> {
        self.guarded(|session| {
            let Some(context) = session.export.allocation_context else {
                return Err(Error::Unfit("the server does not offer base:allocation".into()));
            };
            let cookie = session.next_cookie();
            let request = Request { flags: 0, command: command::BLOCK_STATUS, cookie, offset, length };
            session.send(&request.encode())?;
            session.receive_status(cookie, context)
        })
    }

    fn receive_status(&mut self, cookie: u64, context: u32) -> Result<Vec<Status>> {
        let mut found = Vec::new();
        let mut failed = None;
        for _ in 0..MOST_ERRORS {
            let (of, head) = self.receive_head()?;
            if of != cookie {
                return stranger(of);
            }
            let last = match head {
                Head::Simple { error: 0 } => {
                    return Err(Error::Protocol("a simple reply to a request for block status".into()));
                }
                Head::Simple { error } => {
                    return Err(Error::Request { code: error, message: String::new() });
                }
                Head::Chunk { last: true, kind: chunk::NONE, length: 0 } => true,
                Head::Chunk { last, kind: chunk::BLOCK_STATUS, length } if found.is_empty() => {
                    found = self.receive_descriptors(length, context)?;
                    last
                }
                Head::Chunk { last, kind, length } if kind & chunk::ERROR != 0 => {
                    failed.get_or_insert(self.receive_error(kind, length)?);
                    last
                }
                Head::Chunk { kind, length, .. } => return unexpected(kind, length),
            };
            if last {
                return match failed {
                    Some(error) => Err(error),
                    None if found.is_empty() => Err(Error::Protocol("an empty block status".into())),
                    None => Ok(found),
                };
            }
        }
        Err(Error::Protocol("it does not stop answering one request for block status".into()))
    }

    /// Receives a block status chunk. Neighbours in the same state are joined; past [`MOST_KEPT`] the rest
    /// is received and forgotten.
    fn receive_descriptors(&mut self, length: u32, context: u32) -> Result<Vec<Status>> {
        if !(12..=LONGEST).contains(&length) || length % 8 != 4 {
            return Err(Error::Protocol(format!("a block status chunk of {length} bytes")));
        }
        if u32::from_be_bytes(self.receive_array()?) != context {
            return Err(Error::Protocol("block status of a context that was not chosen".into()));
        }
        let mut found: Vec<Status> = Vec::new();
        let mut left = length - 4;
        let mut piece = vec![0; left.min(PIECE) as usize];
        while left > 0 {
            let now = left.min(PIECE);
            left -= now;
            piece.truncate(now as usize);
            self.receive(&mut piece)?;
            let mut fields = Fields(&piece);
            while let (Some(length), Some(flags)) = (fields.u32(), fields.u32()) {
                if length == 0 {
                    return Err(Error::Protocol("a block status of no bytes".into()));
                }
                let (zero, hole) = (flags & allocation::ZERO != 0, flags & allocation::HOLE != 0);
                let length = u64::from(length);
                let room = found.len() < MOST_KEPT;
                match found.last_mut() {
                    Some(before) if (before.zero, before.hole) == (zero, hole) => before.length += length,
                    _ if room => found.push(Status { length, zero, hole }),
                    _ => {
                        // Receive the rest without looking at it.
                        while left > 0 {
                            let now = left.min(PIECE);
                            left -= now;
                            piece.truncate(now as usize);
                            self.receive(&mut piece)?;
                        }
                        return Ok(found);
                    }
                }
            }
        }
        Ok(found)
    }
}
