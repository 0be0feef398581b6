//! btrfs with CRC32c: superblocks and the nodes of all trees.

use super::{Sum, keep, le32};
use crate::guest::image::Image;

/// All that hold.
pub fn find(image: &Image) -> Vec<Sum> {
    let node = le32(&image.bytes(65536 + 148, 4), 0) as usize;
    let mut sums = Vec::new();
    for at in image.used() {
        let superblock = image.bytes(at + 64, 8) == *b"_BHRfS_M";
        sums.extend(keep(image, at, if superblock { 4096 } else { node }, move |bytes| {
            vec![(at, crc32c::crc32c(&bytes[32..]).to_le_bytes().to_vec())]
        }));
    }
    sums
}
