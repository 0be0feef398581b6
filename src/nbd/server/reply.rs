//! Replies on their way to the client: heads and payloads, each piece sent whole under the connection's lock.

use super::error::Result;
use super::negotiation::ALLOCATION_ID;
use crate::error::errno;
use crate::wire::{SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC, chunk};
use std::io::{self, IoSlice, Write};
use std::ops::Range;

/// A simple reply; a read's bytes follow where `error` is 0.
pub(super) fn simple(out: &mut impl Write, cookie: u64, error: u32, data: &[u8]) -> Result<()> {
    let mut head = [0; 16];
    head[..4].copy_from_slice(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    head[4..8].copy_from_slice(&error.to_be_bytes());
    head[8..].copy_from_slice(&cookie.to_be_bytes());
    Ok(send(out, &mut [IoSlice::new(&head), IoSlice::new(data)])?)
}

/// A chunk with bytes of the disk; `whole` is all that the chunk is about, of which `data` is the beginning.
pub(super) fn data(
    out: &mut impl Write,
    cookie: u64,
    whole: &Range<u64>,
    data: &[u8],
    last: bool,
) -> Result<()> {
    let length = (whole.end - whole.start).saturating_add(8);
    let head = chunk_head(cookie, chunk::OFFSET_DATA, last, length);
    let offset = whole.start.to_be_bytes();
    Ok(send(out, &mut [IoSlice::new(&head), IoSlice::new(&offset), IoSlice::new(data)])?)
}

/// A chunk that says that a range is zeros.
pub(super) fn hole(out: &mut impl Write, cookie: u64, range: &Range<u64>, last: bool) -> Result<()> {
    let head = chunk_head(cookie, chunk::OFFSET_HOLE, last, 12);
    let offset = range.start.to_be_bytes();
    let length = word(range.end - range.start).to_be_bytes();
    Ok(send(out, &mut [IoSlice::new(&head), IoSlice::new(&offset), IoSlice::new(&length)])?)
}

/// The only chunk of an answer to block status: (bytes, flags) of neighbouring ranges.
pub(super) fn status(out: &mut impl Write, cookie: u64, descriptors: &[(u32, u32)]) -> Result<()> {
    let mut payload = Vec::with_capacity(4 + 8 * descriptors.len());
    payload.extend_from_slice(&ALLOCATION_ID.to_be_bytes());
    for (length, flags) in descriptors {
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(&flags.to_be_bytes());
    }
    let head = chunk_head(cookie, chunk::BLOCK_STATUS, true, payload.len() as u64);
    Ok(send(out, &mut [IoSlice::new(&head), IoSlice::new(&payload)])?)
}

/// The last chunk of a request that failed, with words for a person.
pub(super) fn failure(out: &mut impl Write, cookie: u64, error: u32, words: &str) -> Result<()> {
    let words = words.as_bytes();
    let head = chunk_head(cookie, chunk::ERROR_PLAIN, true, 6 + words.len() as u64);
    let mut said = [0; 6];
    said[..4].copy_from_slice(&error.to_be_bytes());
    said[4..].copy_from_slice(&u16::try_from(words.len()).unwrap_or(u16::MAX).to_be_bytes());
    Ok(send(out, &mut [IoSlice::new(&head), IoSlice::new(&said), IoSlice::new(words)])?)
}

fn chunk_head(cookie: u64, kind: u16, last: bool, length: u64) -> [u8; 20] {
    let flags = if last { chunk::DONE } else { 0 };
    let mut head = [0; 20];
    head[..4].copy_from_slice(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
    head[4..6].copy_from_slice(&flags.to_be_bytes());
    head[6..8].copy_from_slice(&kind.to_be_bytes());
    head[8..16].copy_from_slice(&cookie.to_be_bytes());
    head[16..].copy_from_slice(&word(length).to_be_bytes());
    head
}

/// Lengths of what this server sends: at most a request's payload of 32 MiB and a head.
fn word(length: u64) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Sends all parts, with one system call where the socket takes them.
fn send(out: &mut impl Write, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        match out.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => IoSlice::advance_slices(&mut parts, sent),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

/// The protocol's number for what went wrong with a disk. The words are for any client, so they name nothing
/// of this machine; all of it is in the log.
pub(super) fn errno_of(error: &block::Error) -> (u32, &'static str) {
    use std::io::ErrorKind;
    match error {
        _ if error.is_no_space() => (errno::ENOSPC, "no space is left for what is written"),
        block::Error::Cancelled => (errno::ESHUTDOWN, "the export is being closed"),
        block::Error::Corrupt { .. } | block::Error::Mismatch { .. } => {
            (errno::EIO, "the disk is damaged here")
        }
        block::Error::Unsupported { .. } => (errno::ENOTSUP, "the disk can't be read here"),
        block::Error::Io { source, .. } if source.kind() == ErrorKind::OutOfMemory => {
            (errno::ENOMEM, "out of memory")
        }
        block::Error::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            (errno::EPERM, "not permitted")
        }
        _ => (errno::EIO, "an input/output error"),
    }
}
