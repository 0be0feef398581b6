//! Changes of inputs that make sense: of what a reader reads, to numbers that numbers are wrong in, and to what stands
//! elsewhere.

use super::image::View;
use super::input::Input;
use super::{Loaded, Target};

/// A sequence of numbers that a seed decides (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `limit`, which is not 0.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 11) as usize % limit
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }
}

/// Mutates `data[..size]`, and tells its new size: at most `max_size`.
pub fn mutate(target: &Target, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random(u64::from(seed) << 20 | 0x9_e377);
    random.next();
    if random.one_in(10) {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let fresh = || Input { reseal: true, ..Input::default() };
    let mut input = Input::parse(&data[..size]).unwrap_or_else(fresh);
    if input.edits.is_empty() && random.one_in(2) {
        input = Input { seed: random.below(target.seeds.len() + 1) as u8, ..fresh() };
    }
    if usize::from(input.seed) > target.seeds.len() {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let loaded = target.seed(input.seed);
    for _ in 0..=random.below(3) {
        step(target, loaded, &mut input, &mut random);
    }
    let mut bytes = input.encode();
    while bytes.len() > max_size && !input.edits.is_empty() {
        input.edits.remove(random.below(input.edits.len()));
        bytes = input.encode();
    }
    let length = bytes.len().min(max_size);
    data[..length].copy_from_slice(&bytes[..length]);
    length
}

fn step(target: &Target, loaded: &Loaded, input: &mut Input, random: &mut Random) {
    match random.below(16) {
        0 => input.reseal = !random.one_in(4),
        1 => input.ignore_journal = random.one_in(2),
        2 => {
            let sectors = loaded.image.size() / 512;
            input.cut = (!random.one_in(3)).then(|| random.next() as u32 % (sectors as u32 + 1) & 0xff_ffff);
        }
        3 | 4 if !input.edits.is_empty() => {
            input.edits.remove(random.below(input.edits.len()));
        }
        5 | 6 if !input.edits.is_empty() => {
            // What libFuzzer has learnt of comparisons.
            let index = random.below(input.edits.len());
            let bytes = &mut input.edits[index].1;
            let length = bytes.len();
            bytes.resize(length.max(8), 0);
            let room = bytes.len();
            let new = libfuzzer_sys::fuzzer_mutate(bytes, length, room);
            bytes.truncate(new.max(1));
        }
        7 if !input.edits.is_empty() => {
            let index = random.below(input.edits.len());
            let (at, bytes) = input.edits[index].clone();
            let moved = if random.one_in(2) {
                at.wrapping_add_signed(
                    [1, -1, 2, -2, 4, -4, 8, -8, 16, -16, 512, 1024, 4096, 24, 32][random.below(15)],
                )
            } else {
                place(target, loaded, random).unwrap_or(at)
            };
            input.edits.push((moved & 0xffff_ffff, bytes));
        }
        _ => {
            if let Some(edit) = edit(target, loaded, input, random) {
                input.edits.push(edit);
            }
        }
    }
}

/// A place that the reader reads; in an image of zeros, any.
fn place(target: &Target, loaded: &Loaded, random: &mut Random) -> Option<u64> {
    let groups = target.hot(loaded);
    if groups.is_empty() {
        return Some(random.next() % loaded.image.size().min(1 << 20));
    }
    // The first ones say what all others mean.
    let group = if random.one_in(6) { random.below(groups.len().min(4)) } else { random.below(groups.len()) };
    let lines = &groups[group];
    Some(lines[random.below(lines.len())] + random.below(16) as u64)
}

/// A new change.
fn edit(target: &Target, loaded: &Loaded, input: &Input, random: &mut Random) -> Option<(u64, Vec<u8>)> {
    let at = place(target, loaded, random)?;
    let mut view = View::new(loaded.image.clone());
    view.edits.clone_from(&input.edits);
    if random.one_in(8) {
        let length = [16, 24, 32, 48, 64, 128, 255][random.below(7)];
        let from = place(target, loaded, random)?;
        return Some((at & !7, view.bytes(from & !7, length)));
    }
    let width = [1, 2, 4, 4, 8][random.below(5)];
    let at = if random.one_in(6) { at } else { at & !(width as u64 - 1) };
    let old = view.bytes(at, width);
    let big = random.one_in(2);
    let number = |bytes: &[u8]| {
        let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
    };
    let current = number(&old);
    let top = u64::MAX >> (64 - 8 * width);
    let size = loaded.image.size();
    let new = match random.below(10) {
        0 => current ^ 1 << random.below(8 * width),
        1 => current.wrapping_add(1 + random.below(16) as u64),
        2 => current.wrapping_sub(1 + random.below(16) as u64),
        3 => random.below(65) as u64,
        4 => [top, top >> 1, (top >> 1) + 1, top - 1, top - 7, 0][random.below(6)],
        5 => current << (1 + random.below(4)),
        6 => current >> (1 + random.below(4)),
        7 => {
            let from = place(target, loaded, random)?;
            number(&view.bytes(from & !(width as u64 - 1), width))
        }
        8 => (size >> [0, 9, 10, 12, 14, 16][random.below(6)]).wrapping_sub(random.below(3) as u64),
        _ => random.next(),
    };
    let bytes =
        if big { new.to_be_bytes()[8 - width..].to_vec() } else { new.to_le_bytes()[..width].to_vec() };
    Some((at, bytes))
}
