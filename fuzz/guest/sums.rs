//! Checksums of seeds: found in the seed as it was made, and put right in what inputs make of it.
//!
//! Nothing here reads a file system. A checksum is a guess (what it would cover, where it would stand), and one that does
//! not hold in the seed is dropped. So what is kept is right by itself.

mod btrfs;
mod exfat;
mod ext;
mod hive;
mod layers;
mod xfs;

pub use btrfs::find as btrfs;
pub use exfat::find as exfat;
pub use ext::find as ext;
pub use hive::find as hive;
pub use layers::find as layers;
pub use xfs::find as xfs;

use super::image::{Image, View};
use std::ops::Range;

/// What must stand where, for a range of bytes.
type Right = Box<dyn Fn(&[u8]) -> Vec<(u64, Vec<u8>)> + Send + Sync>;

/// A checksum of an image.
pub struct Sum {
    /// The bytes that it is of.
    covers: Range<u64>,
    /// What must stand where when these bytes are like this.
    right: Right,
}

/// A file system without checksums.
pub fn none(_: &Image) -> Vec<Sum> {
    Vec::new()
}

/// The checksum of `length` bytes at `at`, if it holds in `image`.
fn keep(
    image: &Image,
    at: u64,
    length: usize,
    right: impl Fn(&[u8]) -> Vec<(u64, Vec<u8>)> + Send + Sync + 'static,
) -> Option<Sum> {
    if at.checked_add(length as u64).is_none_or(|end| end > image.size()) {
        return None;
    }
    let stored = right(&image.bytes(at, length));
    let holds = !stored.is_empty() && stored.iter().all(|(at, sum)| image.bytes(*at, sum.len()) == *sum);
    holds.then(|| Sum { covers: at..at + length as u64, right: Box::new(right) })
}

/// Puts every checksum right that the changes of a view break.
pub fn reseal(view: &mut View, sums: &[Sum]) {
    for sum in sums {
        let touched =
            |(at, bytes): &(u64, Vec<u8>)| *at < sum.covers.end && at + bytes.len() as u64 > sum.covers.start;
        if view.edits.iter().any(touched) {
            let bytes = view.bytes(sum.covers.start, (sum.covers.end - sum.covers.start) as usize);
            view.edits.extend((sum.right)(&bytes));
        }
    }
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    le32(bytes, at).swap_bytes()
}

/// The bytes with zeros in a range of them.
fn without(bytes: &[u8], range: Range<usize>) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[range].fill(0);
    bytes
}

/// CRC32c as a register: without the inversions at both ends.
fn raw_crc32c(register: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!register, bytes)
}
