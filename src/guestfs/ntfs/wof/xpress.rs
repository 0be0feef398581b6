//! XPRESS with Huffman codes: [MS-XCA] 2.2, a chunk at a time.

use super::bits::Bits;
use super::huffman::Huffman;

/// Fills `out` from a compressed chunk.
///
/// # Errors
/// Where it contradicts itself.
pub fn decompress(input: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    let (head, body) = input.split_at_checked(256).ok_or("a chunk without its code")?;
    let lengths: Vec<u8> = head.iter().flat_map(|&byte| [byte & 15, byte >> 4]).collect();
    let code = Huffman::new(&lengths)?;
    let mut bits = Bits::new(body);
    let mut at = 0;
    while at < out.len() {
        let symbol = code.symbol(&mut bits)?;
        if bits.is_spent() {
            return Err("it ends too early");
        }
        if symbol < 256 {
            out[at] = symbol as u8;
            at += 1;
            continue;
        }
        let mut length = symbol & 15;
        // The bytes of a long length stand behind the words that hold the distance.
        bits.fill();
        if length == 15 {
            let more = bits.byte().ok_or("it ends in a length")?;
            length = match more {
                0xff => {
                    let low = bits.byte().ok_or("it ends in a length")?;
                    let high = bits.byte().ok_or("it ends in a length")?;
                    usize::from(u16::from_le_bytes([low, high]))
                }
                more => 15 + usize::from(more),
            };
        }
        let width = (symbol as u32 >> 4) & 15;
        let distance = (1 << width) | bits.take(width) as usize;
        at = copy(out, at, distance, length + 3)?;
    }
    Ok(())
}

/// Repeats `length` bytes from `distance` before `at`; where it goes on.
///
/// # Errors
/// Where one of both lies outside.
pub fn copy(out: &mut [u8], at: usize, distance: usize, length: usize) -> Result<usize, &'static str> {
    let end = at.checked_add(length).filter(|&end| end <= out.len()).ok_or("more than a chunk")?;
    let from = at.checked_sub(distance).filter(|_| distance > 0).ok_or("a copy from before the chunk")?;
    if distance >= length {
        out.copy_within(from..from + length, at);
    } else {
        for index in at..end {
            out[index] = out[index - distance];
        }
    }
    Ok(end)
}
