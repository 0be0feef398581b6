//! Compressed clusters, packed one behind the other.
//!
//! A [`Packer`] belongs to one `write_at` call at a time and goes back to a pool afterwards. It compresses
//! into a *region* in memory, at byte granularity and without regard to host clusters. When the region is full
//! the host clusters for it are reserved, it is written by one call, and only then do its clusters get their
//! L2 entries. So no host cluster is reserved before it is known to be needed, and a region wastes less than
//! one host cluster: it is cut behind that compressed cluster among the last few that ends nearest below a
//! host cluster's end, and what is behind the cut begins the next region.
//!
//! Dropped with something in it, that is lost: the writer empties all packers before it finishes.

use crate::aligned::AlignedBuf;
use crate::compress::Encoder;
use crate::entry::EntryFormat;
use crate::error::usage;
use crate::output::Output;
use crate::refcounts::Refcounts;
use crate::tables::Tables;
use block::Result;

/// Bytes of a region, if clusters are not so large that it must be more.
const REGION: usize = 2 << 20;
/// Compressed clusters among which the cut is chosen.
const CUTS: usize = 12;

/// Where packed clusters go.
pub(crate) struct Target<'a> {
    pub(crate) output: &'a Output,
    pub(crate) tables: &'a Tables,
    pub(crate) refcounts: &'a Refcounts,
    pub(crate) format: EntryFormat,
}

struct Piece {
    cluster: u64,
    start: usize,
    length: usize,
}

/// A compressor with a region in work.
pub(crate) struct Packer {
    encoder: Encoder,
    region: AlignedBuf,
    used: usize,
    pieces: Vec<Piece>,
}

impl Packer {
    pub(crate) fn new(encoder: Encoder, cluster_size: u64) -> Packer {
        let region = REGION.max(cluster_size as usize * 4);
        Packer { encoder, region: AlignedBuf::new(region), used: 0, pieces: Vec::new() }
    }

    /// Compresses the data of guest cluster `cluster` (exactly one cluster of it). False where it does not
    /// shrink: then nothing was done, and it is to be stored as it is.
    pub(crate) fn add(&mut self, target: &Target<'_>, cluster: u64, data: &[u8]) -> Result<bool> {
        // Less than a thirty-second saved is not worth a decompression at every read.
        let most = data.len() - data.len() / 32;
        while self.region.as_slice().len() - self.used < most {
            self.flush(target, false)?;
        }
        let free = &mut self.region.as_mut_slice()[self.used..];
        let most = most.min(free.len());
        let Some(length) = self.encoder.encode(data, &mut free[..most]) else { return Ok(false) };
        target.tables.announce(target.output.name(), cluster)?;
        self.pieces.push(Piece { cluster, start: self.used, length });
        self.used += length;
        Ok(true)
    }

    /// Writes the region: all of it, or up to the best cut.
    pub(crate) fn flush(&mut self, target: &Target<'_>, all: bool) -> Result<()> {
        let cluster_size = target.format.cluster_size() as usize;
        let count = if all { self.pieces.len() } else { self.cut(cluster_size) };
        let Some(last) = count.checked_sub(1).and_then(|n| self.pieces.get(n)) else { return Ok(()) };
        let end = last.start + last.length;
        let whole = end.next_multiple_of(cluster_size);

        let behind = end..self.used;
        let carried = self.region.as_slice()[behind.clone()].to_vec();
        let region = &mut self.region.as_mut_slice()[..whole];
        region[end..].fill(0);
        let host = target.refcounts.reserve(target.output, whole as u64)?;
        target.output.write(region, host)?;

        let mut counts = vec![0u16; whole / cluster_size];
        for piece in self.pieces.iter().take(count) {
            let touched = piece.start / cluster_size..=(piece.start + piece.length - 1) / cluster_size;
            for count in counts.get_mut(touched).into_iter().flatten() {
                *count = count
                    .checked_add(1)
                    .ok_or_else(|| usage(target.output.name(), "too many clusters share a host cluster"))?;
            }
        }
        target.refcounts.enter(target.output, host, &counts)?;
        for piece in self.pieces.drain(..count) {
            let at = host + piece.start as u64;
            let word = target.format.packed_entry(at, piece.length as u64).ok_or_else(|| {
                let reason = format!("a compressed cluster at byte {at} can't be described");
                usage(target.output.name(), reason)
            })?;
            target.tables.place(target.output, piece.cluster, word)?;
        }

        self.region.as_mut_slice()[..carried.len()].copy_from_slice(&carried);
        for piece in &mut self.pieces {
            piece.start -= end;
        }
        self.used = carried.len();
        Ok(())
    }

    /// How many pieces to write so that the least is wasted up to the end of a host cluster.
    fn cut(&self, cluster_size: usize) -> usize {
        let last = self.pieces.len();
        let candidates = last.saturating_sub(CUTS.min(last / 2)).max(1)..=last;
        candidates
            .min_by_key(|&count| {
                let end = self.pieces.get(count.wrapping_sub(1)).map_or(0, |p| p.start + p.length);
                // Of equal cuts the later one.
                (end.next_multiple_of(cluster_size) - end, last - count)
            })
            .unwrap_or(last)
            .min(last)
    }
}
