//! LZNT1: the compression of NTFS files.
//!
//! [MS-XCA] 2.5: chunks of up to 4096 bytes, each compressed by itself or stored as it is. A token is a byte, or a
//! length and a distance whose widths depend on how much of the chunk is already there.

use crate::{Error, Result};

const CHUNK: usize = 4096;

/// Fills `out` from the compressed bytes of a unit; what they do not reach is zeros.
///
/// # Errors
/// [`Error::Corrupt`] where they contradict themselves.
pub fn decompress(mut input: &[u8], out: &mut [u8]) -> Result<()> {
    let mut chunks = out.chunks_mut(CHUNK);
    while let [low, high, rest @ ..] = input {
        let head = u16::from_le_bytes([*low, *high]);
        if head == 0 {
            break;
        }
        // Something behind the last chunk that fits is what was in the cluster before.
        let Some(chunk) = chunks.next() else { return Ok(()) };
        let length = usize::from(head & 0x0fff) + 1;
        if head & 0x7000 != 0x3000 {
            return Err(bad("a chunk without its signature"));
        }
        let Some(body) = rest.get(..length) else { return Err(bad("a chunk that is longer than its unit")) };
        if head & 0x8000 == 0 {
            if length != CHUNK || chunk.len() != CHUNK {
                return Err(bad("a stored chunk that is not whole"));
            }
            chunk.copy_from_slice(body);
        } else {
            let filled = inflate(body, chunk)?;
            chunk[filled..].fill(0);
        }
        input = &rest[length..];
    }
    chunks.for_each(|chunk| chunk.fill(0));
    Ok(())
}

/// One compressed chunk; how many bytes it gives.
fn inflate(mut body: &[u8], chunk: &mut [u8]) -> Result<usize> {
    let mut at = 0;
    while let Some((&flags, rest)) = body.split_first() {
        body = rest;
        for bit in 0..8 {
            let Some(&first) = body.first() else { return Ok(at) };
            if flags & (1 << bit) == 0 {
                *chunk.get_mut(at).ok_or_else(|| bad("a chunk of more than 4096 bytes"))? = first;
                at += 1;
                body = &body[1..];
                continue;
            }
            let Some(&second) = body.get(1) else { return Err(bad("half a token")) };
            let token = u16::from_le_bytes([first, second]);
            // The distance takes as many bits as the position needs, four at least.
            if at == 0 {
                return Err(bad("a copy from before the chunk"));
            }
            let distance_bits = (usize::BITS - (at - 1).leading_zeros()).max(4);
            let length_bits = 16 - distance_bits;
            let distance = usize::from(token >> length_bits) + 1;
            let length = usize::from(token & ((1 << length_bits) - 1)) + 3;
            if distance > at {
                return Err(bad("a copy from before the chunk"));
            }
            if at + length > chunk.len() {
                return Err(bad("a chunk of more than 4096 bytes"));
            }
            if distance >= length {
                chunk.copy_within(at - distance..at - distance + length, at);
            } else {
                for index in at..at + length {
                    chunk[index] = chunk[index - distance];
                }
            }
            at += length;
            body = &body[2..];
        }
    }
    Ok(at)
}

fn bad(reason: &str) -> Error {
    Error::corrupt("LZNT1 data", reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_specification() {
        // [MS-XCA] 3.3.
        let packed = [
            0x38, 0xb0, 0x88, 0x46, 0x23, 0x20, 0x00, 0x20, 0x47, 0x20, 0x41, 0x00, 0x10, 0xa2, 0x47, 0x01,
            0xa0, 0x45, 0x20, 0x44, 0x00, 0x08, 0x45, 0x01, 0x50, 0x79, 0x00, 0xc0, 0x45, 0x20, 0x05, 0x24,
            0x13, 0x88, 0x05, 0xb4, 0x02, 0x4a, 0x44, 0xef, 0x03, 0x58, 0x02, 0x8c, 0x09, 0x16, 0x01, 0x48,
            0x45, 0x00, 0xbe, 0x00, 0x9e, 0x00, 0x04, 0x01, 0x18, 0x90, 0x00,
        ];
        let plain = b"F# F# G A A G F# E D D E F# F# E E F# F# G A A G F# E D D E F# E D D E E F# D E F# G F# D E F# G F# E D E A F# F# G A A G F# E D D E F# E D D\0";
        let mut out = vec![7; CHUNK + 10];
        decompress(&packed, &mut out).unwrap();
        assert_eq!(&out[..plain.len()], plain);
        assert!(out[plain.len()..].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn stored_chunks_and_the_end() {
        let mut packed = vec![0xff, 0x3f];
        packed.extend([9; CHUNK]);
        packed.extend([0, 0, 1, 2, 3]);
        let mut out = vec![7; 2 * CHUNK];
        decompress(&packed, &mut out).unwrap();
        assert!(out[..CHUNK].iter().all(|&byte| byte == 9) && out[CHUNK..].iter().all(|&byte| byte == 0));
        for broken in [&[0x10, 0x30, 1][..], &[0x00, 0x90, 1], &[0x02, 0xb0, 1, 0, 0], &[0xff, 0xbf, 0]] {
            assert!(decompress(broken, &mut out).is_err(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn never_more_than_an_error(input in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = vec![0; CHUNK];
            let _ = decompress(&input, &mut out);
            let _ = inflate(&input, &mut out);
        }
    }
}
