//! Registry hives: the sum of the base block, wherever a hive lies.

use super::{Sum, keep, le32};
use crate::guest::image::Image;

/// All that hold.
pub fn find(image: &Image) -> Vec<Sum> {
    let hives = image.used().filter(|&at| image.bytes(at, 4) == *b"regf");
    let sum = |at: u64| {
        keep(image, at, 508, move |bytes| {
            let sum = (0..508).step_by(4).fold(0, |sum, place| sum ^ le32(bytes, place));
            vec![(at + 508, sum.to_le_bytes().to_vec())]
        })
    };
    hives.filter_map(sum).collect()
}
