//! LZX as WIM archives have it: a window of 32 KiB, each chunk by itself.
//!
//! [MS-PATCH] 2 describes LZX; that codes start anew with each chunk, and the size that calls are translated for, are
//! those of WIM.

use super::bits::Bits;
use super::huffman::Huffman;
use super::xpress::copy;

/// Slots of distances in 32 KiB.
const SLOTS: usize = 30;
/// Literals, and eight lengths for each slot.
const MAIN: usize = 256 + 8 * SLOTS;
const LENGTHS: usize = 249;
/// Calls are translated as if the file had this size.
const CALL_SIZE: i32 = 12_000_000;

/// Fills `out` from a compressed chunk.
///
/// # Errors
/// Where it contradicts itself.
pub fn decompress(input: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    let mut bits = Bits::new(input);
    let (mut main, mut lengths) = ([0u8; MAIN], [0u8; LENGTHS]);
    let mut recent = [1usize; 3];
    let mut at = 0;
    while at < out.len() {
        let kind = bits.take(3);
        let size = if bits.take(1) == 1 { 1 << 15 } else { bits.take(16) as usize };
        let end =
            at.checked_add(size).filter(|&end| size > 0 && end <= out.len()).ok_or("more than a chunk")?;
        match kind {
            1 | 2 => {
                let mut aligned = [0u8; 8];
                if kind == 2 {
                    aligned.iter_mut().for_each(|length| *length = bits.take(3) as u8);
                }
                read_lengths(&mut bits, &mut main[..256])?;
                read_lengths(&mut bits, &mut main[256..])?;
                read_lengths(&mut bits, &mut lengths)?;
                let codes = Codes {
                    main: Huffman::new(&main)?,
                    lengths: Huffman::new(&lengths)?,
                    aligned: if kind == 2 { Some(Huffman::new(&aligned)?) } else { None },
                };
                at = block(&mut bits, &codes, &mut recent, out, at, end)?;
            }
            3 => {
                bits.align();
                let mut byte = || bits.byte().ok_or("it ends too early");
                for distance in &mut recent {
                    *distance = u32::from_le_bytes([byte()?, byte()?, byte()?, byte()?]) as usize;
                }
                for place in &mut out[at..end] {
                    *place = byte()?;
                }
                if size % 2 == 1 {
                    let _ = byte();
                }
                at = end;
            }
            _ => return Err("a block of an unknown kind"),
        }
        if bits.is_spent() {
            return Err("it ends too early");
        }
    }
    translate_calls(out);
    Ok(())
}

struct Codes {
    main: Huffman,
    lengths: Huffman,
    aligned: Option<Huffman>,
}

/// The lengths of a code, as changes of those before, in a code of their own.
fn read_lengths(bits: &mut Bits<'_>, lengths: &mut [u8]) -> Result<(), &'static str> {
    let mut own = [0u8; 20];
    own.iter_mut().for_each(|length| *length = bits.take(4) as u8);
    let code = Huffman::new(&own)?;
    let changed = |length: u8, change: usize| (usize::from(length) + 17 - change) as u8 % 17;
    let mut at = 0;
    while at < lengths.len() {
        if bits.is_spent() {
            return Err("it ends too early");
        }
        let (count, value) = match code.symbol(bits)? {
            17 => (4 + bits.take(4) as usize, 0),
            18 => (20 + bits.take(5) as usize, 0),
            19 => {
                let count = 4 + bits.take(1) as usize;
                let change = code.symbol(bits)?;
                if change > 16 {
                    return Err("a length that is none");
                }
                (count, changed(lengths[at], change))
            }
            change => (1, changed(lengths[at], change)),
        };
        // What goes on behind the last symbol is cut off.
        let end = (at + count).min(lengths.len());
        lengths[at..end].fill(value);
        at = end;
    }
    Ok(())
}

fn block(
    bits: &mut Bits<'_>,
    codes: &Codes,
    recent: &mut [usize; 3],
    out: &mut [u8],
    mut at: usize,
    end: usize,
) -> Result<usize, &'static str> {
    while at < end {
        let symbol = codes.main.symbol(bits)?;
        if bits.is_spent() {
            return Err("it ends too early");
        }
        if symbol < 256 {
            out[at] = symbol as u8;
            at += 1;
            continue;
        }
        let (slot, mut length) = ((symbol - 256) / 8, symbol % 8);
        if length == 7 {
            length += codes.lengths.symbol(bits)?;
        }
        if slot < 3 {
            recent.swap(0, slot);
        } else {
            let extra = if slot < 4 { 0 } else { slot as u32 / 2 - 1 };
            let base = if slot < 4 { slot } else { (2 + slot % 2) << extra };
            let more = match &codes.aligned {
                Some(aligned) if extra >= 3 => {
                    let high = bits.take(extra - 3) << 3;
                    high as usize + aligned.symbol(bits)?
                }
                _ => bits.take(extra) as usize,
            };
            *recent = [base + more - 2, recent[0], recent[1]];
        }
        at = copy(&mut out[..end], at, recent[0], length + 2)?;
    }
    Ok(at)
}

/// The compressor made the targets of x86 calls absolute, so that they repeat.
fn translate_calls(out: &mut [u8]) {
    let mut at = 0;
    while at + 10 < out.len() {
        if out[at] != 0xe8 {
            at += 1;
            continue;
        }
        let target = i32::from_le_bytes([out[at + 1], out[at + 2], out[at + 3], out[at + 4]]);
        let place = at as i32;
        let relative = match target {
            0..CALL_SIZE => Some(target - place),
            _ if target < 0 && target >= -place => Some(target + CALL_SIZE),
            _ => None,
        };
        if let Some(relative) = relative {
            out[at + 1..at + 5].copy_from_slice(&relative.to_le_bytes());
        }
        at += 5;
    }
}

#[cfg(test)]
mod tests {
    use super::super::xpress;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_more_than_an_error(input in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut out = vec![0; 4096];
            let _ = decompress(&input, &mut out);
            let _ = xpress::decompress(&input, &mut out);
        }
    }
}
