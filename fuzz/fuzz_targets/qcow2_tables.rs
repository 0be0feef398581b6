//! The input chooses the entries of L1, L2 and refcount tables behind a valid header, so that most inputs
//! get as far as the tables and the compressed clusters.

#![no_main]

const CLUSTERS: u64 = 24;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

/// The input, byte by byte; zeros behind its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// An entry that often makes sense.
    fn entry(&mut self, cluster_bits: u32) -> u64 {
        let kind = self.byte();
        let place = u64::from(self.byte()) % (CLUSTERS + 1) << cluster_bits;
        match kind % 8 {
            0 | 1 => 0,
            2 | 3 => place | COPIED,
            4 => place,
            5 => {
                let sectors = u64::from(self.byte() % 4);
                let within = u64::from(self.byte()) * 7;
                COMPRESSED | sectors << (62 - (cluster_bits - 8)) | (place + within)
            }
            6 => place | 1,
            _ => self.word(),
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let shape = input.byte();
    let cluster_bits = [9, 10, 12, 14][shape as usize % 4];
    let extended = cluster_bits == 14 && shape & 4 != 0;
    let zstd = shape & 8 != 0;
    let version = if shape & 16 != 0 && !extended && !zstd { 2u32 } else { 3 };
    let order = if version == 2 { 4u32 } else { u32::from(shape >> 5) % 7 };
    let cluster = 1u64 << cluster_bits;
    let at = |n: u64| n << cluster_bits;
    let virtual_size = u64::from(input.byte()) * 1000 + u64::from(input.byte()) * 70_000;

    let mut image = Vec::new();
    image.extend(0x5146_49fbu32.to_be_bytes());
    image.extend(version.to_be_bytes());
    image.extend([0; 12]); // no backing file
    image.extend((cluster_bits as u32).to_be_bytes());
    image.extend(virtual_size.to_be_bytes());
    image.extend(0u32.to_be_bytes());
    image.extend(((cluster / 8) as u32).to_be_bytes());
    image.extend(at(1).to_be_bytes());
    image.extend(at(2).to_be_bytes());
    image.extend(1u32.to_be_bytes());
    image.extend(u32::from(input.byte() % 3).to_be_bytes()); // snapshots
    image.extend(at(5).to_be_bytes());
    image.extend((u64::from(zstd) << 3 | u64::from(extended) << 4).to_be_bytes());
    image.extend([0; 16]);
    image.extend(order.to_be_bytes());
    image.extend(112u32.to_be_bytes());
    image.extend([u8::from(zstd), 0, 0, 0, 0, 0, 0, 0]);
    if version == 2 {
        image.truncate(72);
    }
    // L1, refcount table, refcount block and two L2 tables, the rest is data: with the input's own bytes.
    for (table, entries) in [(1, 4), (2, 2), (3, 12), (4, 24), (6, 24)] {
        image.resize(at(table) as usize, 0);
        for n in 0..entries {
            if image.len() as u64 + 8 > at(table + 1) {
                break;
            }
            let entry = match (table, n) {
                // The first ones lead on.
                (1, 0) => at(4) | COPIED,
                (1, 1) => at(6) | COPIED,
                (2, 0) => at(3),
                _ => input.entry(cluster_bits as u32),
            };
            image.extend(entry.to_be_bytes());
        }
    }
    image.resize(at(7) as usize, 0);
    let length = input.0.len().min((at(CLUSTERS) - at(7)) as usize);
    image.extend_from_slice(&input.0[..length]);
    if shape & 128 == 0 {
        image.resize(at(CLUSTERS) as usize, 0x33);
    }
    exercise::image(&image);
});
