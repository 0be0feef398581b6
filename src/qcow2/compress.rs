//! Clusters to compressed bytes.

use block::Result;
use flate2::{Compress, FlushCompress, Status};

/// How data clusters are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// Zstandard.
    Zstd {
        /// 1 (fast) to 19 (small).
        level: i32,
    },
    /// Raw deflate, for programs older than QEMU 5.1.
    Zlib {
        /// 1 (fast) to 9 (small).
        level: u32,
    },
}

impl Compression {
    /// What "compressed" means where nothing else is asked for. On a system disk level 1 takes two thirds of
    /// level 3's time for a file 1.5 % longer, which is 0.8 % longer than what QEMU makes of it.
    pub const ZSTD: Compression = Compression::Zstd { level: 1 };
}

/// What readers of the format give their inflate: 4 KiB windows.
const DEFLATE_WINDOW_BITS: u8 = 12;

/// A compressor with its context, for one thread at a time.
pub(crate) enum Encoder {
    Zstd(zstd::bulk::Compressor<'static>),
    /// With room for the longest output: see [`encode`](Encoder::encode).
    Deflate(Compress, Vec<u8>),
}

impl Encoder {
    /// The encoder for `compression`; `None` where there is none.
    pub(crate) fn new(name: &str, compression: Compression) -> Result<Option<Encoder>> {
        Ok(match compression {
            Compression::None => None,
            Compression::Zstd { level } => Some(Encoder::Zstd(
                zstd::bulk::Compressor::new(level)
                    .map_err(|e| crate::error::open("make a compressor for", name, e))?,
            )),
            Compression::Zlib { level } => {
                let level = flate2::Compression::new(level.clamp(1, 9));
                let context = Compress::new_with_window_bits(level, false, DEFLATE_WINDOW_BITS);
                Some(Encoder::Deflate(context, Vec::new()))
            }
        })
    }

    /// Compresses `cluster` into the beginning of `out` and returns the length; `None` where it does not fit.
    pub(crate) fn encode(&mut self, cluster: &[u8], out: &mut [u8]) -> Option<usize> {
        match self {
            // Its only failure with valid parameters is an output that is too short.
            Encoder::Zstd(context) => context.compress_to_buffer(cluster, out).ok(),
            Encoder::Deflate(context, room) => {
                // This deflate panics at level 1 when it is stopped for want of room and then reset. So it
                // gets room for everything: nine bits a byte, and some for the ends of blocks.
                room.resize(cluster.len() + cluster.len() / 4 + 1024, 0);
                context.reset();
                match context.compress(cluster, room, FlushCompress::Finish) {
                    Ok(Status::StreamEnd) => {
                        let length = context.total_out() as usize;
                        out.get_mut(..length)?.copy_from_slice(room.get(..length)?);
                        Some(length)
                    }
                    _ => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::with_decoder;
    use crate::header::CompressionType;

    #[test]
    fn every_level_gives_back_what_it_took() {
        let mut seed = 1u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 56) as u8
        };
        let mut ways: Vec<_> = (0..=10).map(|level| Compression::Zlib { level }).collect();
        ways.extend([-5, 1, 3, 19].map(|level| Compression::Zstd { level }));
        for way in ways {
            let mut encoder = Encoder::new("test", way).expect("valid").expect("compresses");
            let kind = match way {
                Compression::Zstd { .. } => CompressionType::Zstd,
                _ => CompressionType::Zlib,
            };
            // Random, halves of both, text, zeros; several times, because contexts are reused.
            for round in 0..12 {
                let share = [65536, 32768, 4096, 0][round % 4];
                let mut cluster: Vec<u8> = (0..65536u32).map(|n| (n % 97) as u8).collect();
                cluster[..share].fill_with(&mut random);
                let mut out = vec![0; 63 << 10];
                let Some(length) = encoder.encode(&cluster, &mut out) else {
                    assert_eq!(share, 65536, "{way:?} does not shrink what can be shrunk");
                    continue;
                };
                assert!(share < 65536, "{way:?} shrinks random bytes");
                // What follows in the last sector is not the cluster's.
                out.truncate(length);
                out.extend([0xff; 300]);
                let mut back = vec![0; 65536];
                with_decoder(|d| d.decode(kind, &out, &mut back)).expect("decodes");
                assert!(back == cluster, "{way:?}");
                let half = with_decoder(|d| d.decode(kind, &out[..length / 2], &mut back));
                assert!(half.is_err(), "half of the data is not enough");
            }
        }
    }
}
