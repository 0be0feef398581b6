//! What a client asks for, checked against the export and what was agreed on.

use super::negotiation::Agreement;
use crate::error::errno;
use crate::wire::{DEFAULT_MAXIMUM_PAYLOAD, Request, command, command_flag as flag};
use std::ops::Range;

/// A request that may be carried out. Ranges lie inside the disk and are not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Read { range: Range<u64>, whole: bool },
    Write { range: Range<u64>, durable: bool },
    Zero { range: Range<u64>, durable: bool, allocate: bool },
    Trim { range: Range<u64>, durable: bool },
    Status { range: Range<u64>, one: bool },
    Flush,
}

/// Why a request is not carried out: the error number and words for a person.
pub(super) type Denial = (u32, &'static str);

/// Checks a request.
///
/// # Errors
/// The answer to a request that can't be meant.
pub(super) fn check(request: &Request, agreement: &Agreement) -> Result<Order, Denial> {
    let known = match request.command {
        command::READ => flag::DF,
        command::WRITE | command::TRIM | command::FLUSH => flag::FUA,
        command::WRITE_ZEROES => flag::FUA | flag::NO_HOLE | flag::FAST_ZERO,
        command::BLOCK_STATUS => flag::REQ_ONE,
        _ => return Err((errno::EINVAL, "this command is not known here")),
    };
    if request.flags & !known != 0 {
        return Err((errno::EINVAL, "this command has no such flags"));
    }
    let changes =
        matches!(request.command, command::WRITE | command::WRITE_ZEROES | command::TRIM | command::FLUSH);
    let writer = agreement.export.writer();
    if changes && writer.is_none() {
        return Err((errno::EPERM, "this export can't be written"));
    }
    if request.command == command::FLUSH {
        return Ok(Order::Flush);
    }
    let range = range(request, agreement.export.size())?;
    let has = |wanted: u16| request.flags & wanted != 0;
    let durable = has(flag::FUA);
    match request.command {
        command::READ if request.length > DEFAULT_MAXIMUM_PAYLOAD => {
            Err((errno::EOVERFLOW, "more than 32 MiB at once"))
        }
        command::READ if has(flag::DF) && !agreement.structured => {
            Err((errno::EINVAL, "this flag needs structured replies"))
        }
        command::READ => Ok(Order::Read { range, whole: has(flag::DF) }),
        command::WRITE => Ok(Order::Write { range, durable }),
        command::TRIM => Ok(Order::Trim { range, durable }),
        command::WRITE_ZEROES if has(flag::FAST_ZERO) && writer.is_some_and(|w| !w.zeroes_fast()) => {
            Err((errno::ENOTSUP, "zeroing is not faster than writing here"))
        }
        command::WRITE_ZEROES => Ok(Order::Zero { range, durable, allocate: has(flag::NO_HOLE) }),
        _ if !agreement.allocation => Err((errno::EINVAL, "no metadata context was agreed on")),
        _ => Ok(Order::Status { range, one: has(flag::REQ_ONE) }),
    }
}

fn range(request: &Request, size: u64) -> Result<Range<u64>, Denial> {
    if request.length == 0 {
        return Err((errno::EINVAL, "a request for no bytes"));
    }
    match request.offset.checked_add(u64::from(request.length)) {
        Some(end) if end <= size => Ok(request.offset..end),
        // "Error values" of the protocol: a write behind the end finds no room there.
        _ if matches!(request.command, command::WRITE | command::WRITE_ZEROES) => {
            Err((errno::ENOSPC, "behind the end of the disk"))
        }
        _ => Err((errno::EINVAL, "behind the end of the disk")),
    }
}
