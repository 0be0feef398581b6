//! Compressed extents: zlib, zstd, and LZO in segments.
//!
//! Source: `fs/btrfs/{zlib,lzo,zstd}.c` of the kernel for what surrounds the streams. All of them are followed by
//! padding up to a sector, and may hold less than the extent spans: the rest is zeros. A decompressor may use what is behind
//! its last byte for its own purposes, so those zeros are written when it is done.

use crate::{Error, Result};
use flate2::{Decompress, FlushDecompress, Status};
use std::sync::Mutex;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

/// How an extent is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Zlib,
    Lzo,
    Zstd,
}

impl Compression {
    /// # Errors
    /// [`Error::Unsupported`] for a number that is not known.
    pub fn from_number(number: u8) -> Result<Self> {
        Ok(match number {
            0 => Compression::None,
            1 => Compression::Zlib,
            2 => Compression::Lzo,
            3 => Compression::Zstd,
            _ => return Err(Error::unsupported(format!("the compression of number {number}"))),
        })
    }
}

/// Decompresses; keeps the states of zstd that are not in use.
#[derive(Default)]
pub struct Unpacker {
    zstd: Mutex<Vec<Decoder<'static>>>,
}

/// How many idle states are kept: as many as threads read at once, usually.
const IDLE: usize = 8;

impl Unpacker {
    /// What `packed` holds, `length` bytes of it; `sector` is the file system's.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn unpack(
        &self,
        compression: Compression,
        packed: &[u8],
        length: usize,
        sector: usize,
    ) -> Result<Vec<u8>> {
        let mut out = vec![0; length];
        let made = match compression {
            Compression::None => {
                let bytes = packed.get(..length).ok_or_else(|| broken("too short".into()))?;
                out.copy_from_slice(bytes);
                length
            }
            Compression::Zlib => zlib(packed, &mut out)?,
            Compression::Lzo => lzo(packed, &mut out, sector)?,
            Compression::Zstd => self.zstd(packed, &mut out)?,
        };
        out[made..].fill(0);
        Ok(out)
    }

    /// How many bytes were made.
    fn zstd(&self, packed: &[u8], out: &mut [u8]) -> Result<usize> {
        let failed = |error: std::io::Error| broken(format!("zstd: {error}"));
        let idle = self.zstd.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let mut decoder = match idle {
            Some(mut decoder) => {
                decoder.reinit().map_err(failed)?;
                decoder
            }
            None => Decoder::new().map_err(failed)?,
        };
        let mut input = InBuffer::around(packed);
        let mut output = OutBuffer::around(out);
        loop {
            let before = (input.pos(), output.pos());
            let hint = decoder.run(&mut input, &mut output).map_err(failed)?;
            if hint == 0 || output.pos() == output.capacity() {
                break;
            }
            if (input.pos(), output.pos()) == before {
                return Err(broken("zstd: the stream ends too early".into()));
            }
        }
        let mut idle = self.zstd.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(decoder);
        }
        Ok(output.pos())
    }
}

fn broken(reason: String) -> Error {
    Error::corrupt("a compressed extent", reason)
}

/// How many bytes were made.
fn zlib(packed: &[u8], out: &mut [u8]) -> Result<usize> {
    let mut stream = Decompress::new(true);
    loop {
        let (read, written) = (stream.total_in() as usize, stream.total_out() as usize);
        let (Some(input), Some(output)) = (packed.get(read..), out.get_mut(written..)) else {
            return Err(broken("zlib: counts that do not fit".into()));
        };
        if output.is_empty() {
            return Ok(written);
        }
        let status = stream
            .decompress(input, output, FlushDecompress::None)
            .map_err(|error| broken(format!("zlib: {error}")))?;
        if status == Status::StreamEnd {
            return Ok(stream.total_out() as usize);
        }
        if (stream.total_in() as usize, stream.total_out() as usize) == (read, written) {
            return Err(broken("zlib: the stream ends too early".into()));
        }
    }
}

/// A length over all, then segments of a length and a stream each. A segment unpacks to a sector at most, and its
/// length never crosses the end of a sector of the packed form: the bytes before that are left out. How many bytes were made.
fn lzo(packed: &[u8], out: &mut [u8], sector: usize) -> Result<usize> {
    let number = |at: usize| -> Result<usize> {
        let bytes = packed.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes
            .map(|bytes| u32::from_le_bytes(bytes) as usize)
            .ok_or_else(|| broken("LZO: a length is cut off".into()))
    };
    let total = number(0)?;
    if total > packed.len() {
        return Err(broken(format!("LZO: {total} bytes in {}", packed.len())));
    }
    let (mut at, mut done) = (4, 0);
    while at < total && done < out.len() {
        let left = sector - at % sector;
        if left < 4 {
            at += left;
            if at >= total {
                break;
            }
        }
        let length = number(at)?;
        at += 4;
        let segment = at
            .checked_add(length)
            .filter(|&end| end <= total)
            .map(|end| &packed[at..end])
            .ok_or_else(|| broken(format!("LZO: a segment of {length} bytes at {at} of {total}")))?;
        let end = out.len().min(done + sector);
        let failed = |error| broken(format!("LZO: {error:?}"));
        let written = if end - done == sector {
            lzokay::decompress::decompress(segment, &mut out[done..end]).map_err(failed)?
        } else {
            // It may hold more than the extent shows.
            let mut whole = vec![0; sector];
            let written =
                lzokay::decompress::decompress(segment, &mut whole).map_err(failed)?.min(end - done);
            out[done..done + written].copy_from_slice(&whole[..written]);
            written
        };
        if written == 0 {
            return Err(broken("LZO: an empty segment".into()));
        }
        at += length;
        done += written;
        // Only the last segment may be shorter.
        if written < sector {
            break;
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Linux compresses a file's last extent to the file's end, and shows zeros behind it when the file is made longer.
    #[test]
    fn what_a_stream_does_not_fill_is_zeros() {
        let noise = |length: usize| {
            std::iter::successors(Some(1u32), |x| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)))
                .map(|x| (x >> 24) as u8)
                .take(length)
        };
        for noisy in [0, 100, 1700, 3000] {
            let mut content: Vec<u8> = noise(noisy).collect();
            content.extend(b"455\n".iter().cycle().take(4388 - noisy));
            let zstd = zstd::stream::encode_all(&*content, 3).unwrap();
            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            zlib.write_all(&content).unwrap();
            let unpacker = Unpacker::default();
            for (compression, mut packed) in
                [(Compression::Zstd, zstd), (Compression::Zlib, zlib.finish().unwrap())]
            {
                packed.resize(packed.len().next_multiple_of(4096), 0);
                for _ in 0..2 {
                    let out = unpacker.unpack(compression, &packed, 8192, 4096).unwrap();
                    assert_eq!(out[..4388], content, "{compression:?} {noisy}");
                    assert!(out[4388..].iter().all(|&byte| byte == 0), "{compression:?} {noisy}");
                }
            }
        }
    }
}
