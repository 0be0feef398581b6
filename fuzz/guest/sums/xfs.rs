//! XFS v5: every structure by its magic, and the records of the log.

use super::{Sum, be32, keep, without};
use crate::guest::image::Image;

/// Magics, where they stand, where the CRC32c stands, and whether the structure is a sector or a block.
const KINDS: &[(&[u8], usize, usize, bool)] = &[
    (b"XFSB", 0, 224, true),
    (b"XAGF", 0, 216, true),
    (b"XAGI", 0, 312, true),
    (b"XAFL", 0, 32, true),
    (b"XDB3", 0, 4, false),
    (b"XDD3", 0, 4, false),
    (b"XDF3", 0, 4, false),
    (b"BMA3", 0, 64, false),
    (b"AB3B", 0, 52, false),
    (b"AB3C", 0, 52, false),
    (b"IAB3", 0, 52, false),
    (b"FIB3", 0, 52, false),
    (b"RMB3", 0, 52, false),
    (b"R3FC", 0, 52, false),
    (b"XSLM", 0, 12, false),
    (b"XARM", 0, 12, false),
    (&[0x3d, 0xf1], 8, 12, false),
    (&[0x3d, 0xff], 8, 12, false),
    (&[0x3e, 0xbe], 8, 12, false),
    (&[0x3b, 0xee], 8, 12, false),
    (b"IN", 0, 100, true),
];

/// All that hold.
pub fn find(image: &Image) -> Vec<Sum> {
    let block = be32(&image.bytes(0, 8), 4) as usize;
    let mut sums = Vec::new();
    for at in image.used().flat_map(|at| (at..at + 4096).step_by(512)) {
        let head = image.bytes(at, 16);
        if be32(&head, 0) == 0xfeed_babe {
            sums.extend(keep(image, at, 512 + be32(&head, 12) as usize, move |bytes| {
                let head = crc32c::crc32c(&without(&bytes[..328], 32..36));
                vec![(at + 32, crc32c::crc32c_append(head, &bytes[512..]).to_le_bytes().to_vec())]
            }));
        }
        let kind = KINDS.iter().find(|(magic, place, ..)| head[*place..].starts_with(magic));
        if let Some(&(_, _, crc, sector)) = kind {
            sums.extend(keep(image, at, if sector { 512 } else { block }, move |bytes| {
                vec![(at + crc as u64, crc32c::crc32c(&without(bytes, crc..crc + 4)).to_le_bytes().to_vec())]
            }));
        }
    }
    sums
}
