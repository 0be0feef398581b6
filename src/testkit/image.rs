//! Disk contents by seed: the same seed gives the same bytes, everywhere.
//!
//! [`mixed`] is what a used disk looks like: stretches of zeros, of text that compresses, of random bytes,
//! of all lengths and at all alignments. [`write_sparse`] puts such content into a file with real holes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A small generator of random numbers (SplitMix64): fast, seeded, good enough for test data.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// A number below `1 << bits`, the small ones as likely as the large: its magnitude is drawn first.
    pub fn magnitude(&mut self, bits: u32) -> u64 {
        let bits = self.below(u64::from(bits.min(63)) + 1);
        self.below(1 << bits)
    }

    /// Fills `buf` with random bytes.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for piece in buf.chunks_mut(8) {
            let bytes = self.next_u64().to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
    }
}

/// What a stretch of a disk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Zeros.
    Zero,
    /// Words that compress to about a third.
    Text,
    /// Bytes that don't compress.
    Random,
}

/// The stretches of a mixed disk of `size` bytes, ascending and without gaps: a bit under half of it zeros.
/// Lengths run from one byte to a sixteenth of the disk (at most 16 MiB); most begin on a 4 KiB boundary.
pub fn layout(seed: u64, size: u64) -> Vec<(Range<u64>, Fill)> {
    let mut rng = Rng::new(seed);
    let longest = (size / 16).clamp(1, 16 << 20);
    let mut stretches = Vec::new();
    let mut at = 0;
    while at < size {
        // The exponent is drawn, not the length: so short and long ones are equally common.
        let bits = rng.below(u64::from(longest.ilog2()) + 1);
        let mut length = (1 << bits) + rng.below(1 << bits);
        if rng.below(8) != 0 {
            length = length.next_multiple_of(4096) - at % 4096;
        }
        let end = (at + length).min(size);
        let fill = match rng.below(9) {
            0..4 => Fill::Zero,
            4..7 => Fill::Text,
            _ => Fill::Random,
        };
        stretches.push((at..end, fill));
        at = end;
    }
    stretches
}

/// The bytes of a mixed disk.
pub fn mixed(seed: u64, size: u64) -> Vec<u8> {
    let mut disk = vec![0; length(size)];
    for (range, fill) in layout(seed, size) {
        paint(&mut Rng::new(seed ^ range.start), fill, &mut disk[length(range.start)..length(range.end)]);
    }
    disk
}

/// Overwrites about `parts` in a thousand of the disk, in scattered pieces of up to 64 KiB: some with new
/// bytes, some with zeros.
pub fn mutate(seed: u64, disk: &mut [u8], parts: u64) {
    let mut rng = Rng::new(seed);
    let size = disk.len() as u64;
    let mut left = size * parts / 1000;
    while left > 0 {
        let count = (1 + rng.below(64 << 10)).min(left).min(size);
        let start = rng.below(size - count + 1);
        let fill = [Fill::Random, Fill::Text, Fill::Zero][length(rng.below(3))];
        paint(&mut rng, fill, &mut disk[length(start)..length(start + count)]);
        left -= count;
    }
}

/// Fills `buf` as told.
pub fn paint(rng: &mut Rng, fill: Fill, buf: &mut [u8]) {
    const WORDS: [&[u8]; 8] =
        [b"error ", b"warning ", b"disk ", b"cluster\n", b"0x00ff ", b"the ", b"snapshot ", b"of "];
    match fill {
        Fill::Zero => buf.fill(0),
        Fill::Random => rng.fill(buf),
        Fill::Text => {
            let mut rest = buf;
            while !rest.is_empty() {
                let draw = rng.next_u64();
                let word = WORDS[length(draw % 8)];
                let count = word.len().min(rest.len());
                rest[..count].copy_from_slice(&word[..count]);
                // Now and then a byte that no word has, or long runs would be one back-reference.
                if draw >> 60 == 0 {
                    rest[0] = (draw >> 8) as u8;
                }
                rest = &mut rest[count..];
            }
        }
    }
}

/// Writes `disk` into a new file with holes where whole 4 KiB blocks are zeros.
///
/// # Panics
/// Where that fails.
pub fn write_sparse(path: &Path, disk: &[u8]) {
    let outcome = File::create(path).and_then(|file| {
        file.set_len(disk.len() as u64)?;
        let mut at = 0;
        for block in disk.chunks(4096) {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, at)?;
            }
            at += block.len() as u64;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("write {}: {error}", path.display());
    }
}

/// Test disks fit into memory, so their sizes fit into `usize`.
fn length(size: u64) -> usize {
    usize::try_from(size).unwrap_or_else(|_| panic!("a test disk of {size} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_covers_the_disk() {
        for size in [1, 511, 4096, 65_537, 5 << 20] {
            let mut at = 0;
            for (range, _) in layout(size, size) {
                assert_eq!(range.start, at);
                assert!(range.end > range.start);
                at = range.end;
            }
            assert_eq!(at, size);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_disk() {
        assert_eq!(mixed(7, 1 << 20), mixed(7, 1 << 20));
        assert_ne!(mixed(7, 1 << 20), mixed(8, 1 << 20));
        let disk = mixed(7, 8 << 20);
        let zeros = disk.iter().filter(|byte| **byte == 0).count();
        assert!(zeros > 1 << 20 && zeros < 7 << 20, "{zeros} zeros");
    }

    #[test]
    fn a_sparse_file_reads_as_written_and_has_holes() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let disk = mixed(3, (4 << 20) + 13);
        write_sparse(&path, &disk);
        assert_eq!(std::fs::read(&path).unwrap(), disk);
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < disk.len() as u64);
    }

    #[test]
    fn mutation_changes_a_part() {
        let before = mixed(3, 8 << 20);
        let mut after = before.clone();
        mutate(4, &mut after, 50);
        let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert!(changed > 0 && changed <= before.len() / 20);
    }
}
