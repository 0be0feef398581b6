//! Swap space of Linux, also with a suspended system in it (the kernel's `include/linux/swap.h`).

use super::{Foreign, peek, text, uuid};
use crate::Result;
use crate::device::ReadAt;

/// The signature is the end of the first page, which has one of these sizes.
const PAGES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];

/// TuxOnIce has its own, at the beginning.
const TUX_ON_ICE: [u8; 8] = [0xED, 0xC3, 0x02, 0xE9, 0x98, 0x56, 0xE5, 0x0C];

/// Swap space, or an image of a suspended system that took its place.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub(super) fn recognise(device: &dyn ReadAt) -> Result<Option<Foreign>> {
    let swap = |kind| Foreign { is_swap: true, ..Foreign::of(kind) };
    if peek(device, 0, 8)?.is_some_and(|bytes| bytes == TUX_ON_ICE) {
        return Ok(Some(described(device, swap("swsuspend"))?));
    }
    for page in PAGES {
        let Some(signature) = peek(device, page - 10, 10)? else { break };
        return Ok(Some(match &signature[..] {
            b"SWAPSPACE2" => match peek(device, 1024, 8)? {
                // A version that is not 1, in either byte order, or no pages: something else that has the same mark.
                Some(header)
                    if matches!(header[..4], [1, 0, 0, 0] | [0, 0, 0, 1]) && header[4..] != [0; 4] =>
                {
                    described(device, swap("swap"))?
                }
                _ => continue,
            },
            // The first version knew neither label nor UUID.
            b"SWAP-SPACE" => swap("swap"),
            b"LINHIB0001" => described(device, swap("swsuspend"))?,
            [b'S', b'1' | b'2', b'S', b'U', b'S', b'P', b'E', b'N', b'D', _]
            | [b'U', b'L', b'S', b'U', b'S', b'P', b'E', b'N', b'D', _] => {
                described(device, swap("swsuspend"))?
            }
            _ => continue,
        }));
    }
    Ok(None)
}

/// Adds label and UUID, which stand in the header.
fn described(device: &dyn ReadAt, swap: Foreign) -> Result<Foreign> {
    let Some(header) = peek(device, 1036, 32)? else { return Ok(swap) };
    Ok(Foreign { label: text(&header[16..]), uuid: uuid(&header[..16]), ..swap })
}
