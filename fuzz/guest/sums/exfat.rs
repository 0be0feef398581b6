//! exFAT: the boot regions and the sets of entries.

use super::{Sum, keep};
use crate::guest::image::Image;

/// All that hold.
pub fn find(image: &Image) -> Vec<Sum> {
    let sector = 1u64 << image.bytes(108, 1)[0].min(12);
    let mut sums = Vec::new();
    for start in [0, 12 * sector] {
        sums.extend(keep(image, start, 11 * sector as usize, move |bytes| {
            let sum = (0..).zip(bytes).filter(|(at, _)| ![106, 107, 112].contains(at));
            let sum =
                sum.fold(0u32, |sum, (_, &byte): (usize, _)| sum.rotate_right(1).wrapping_add(byte.into()));
            vec![(start + 11 * sector, sum.to_le_bytes().repeat(sector as usize / 4))]
        }));
    }
    for at in image.used().flat_map(|at| (at..at + 4096).step_by(32)) {
        let head = image.bytes(at, 2);
        if head[0] != 0x85 || !(2..=18).contains(&head[1]) {
            continue;
        }
        sums.extend(keep(image, at, 32 * (1 + usize::from(head[1])), move |bytes| {
            let sum = (0..).zip(bytes).filter(|(at, _)| ![2, 3].contains(at));
            let sum =
                sum.fold(0u16, |sum, (_, &byte): (usize, _)| sum.rotate_right(1).wrapping_add(byte.into()));
            vec![(at + 2, sum.to_le_bytes().to_vec())]
        }));
    }
    sums
}
