//! Compressed clusters on their way into a file that may still change.
//!
//! The model: clusters are compressed outside of the lock and appended to one region in memory. A full region is
//! written by one call, and only then its clusters get their entries. Until then they are *waiting*: their entry says so,
//! and their bytes are read from the region. A waiting cluster that is taken back leaves a gap in the region, nothing
//! else. What shares a host cluster is counted when the image is finished, so nothing is counted here.

use crate::aligned::AlignedBuf;
use crate::compress::{Compression, Encoder};
use crate::decode::with_decoder;
use crate::entries::Entries;
use crate::entry::EntryFormat;
use crate::error::{corrupt, usage};
use crate::header::CompressionType;
use crate::output::Output;
use block::Result;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The entry of a cluster that waits for its place. No entry of a file has this value (reserved bits).
pub(crate) const WAITING: u64 = 2;

/// Bytes of a region.
const REGION: usize = 2 << 20;

/// What a file has of compressed clusters that are not written yet.
pub(crate) struct Region {
    compression: Compression,
    encoders: Mutex<Vec<(Encoder, Vec<u8>)>>,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    bytes: AlignedBuf,
    used: usize,
    /// By guest cluster.
    pieces: BTreeMap<u64, Range<usize>>,
}

impl Region {
    pub(crate) fn new(compression: Compression, cluster_size: u64) -> Region {
        let bytes = AlignedBuf::new(REGION.max(cluster_size as usize * 4));
        let waiting = Waiting { bytes, used: 0, pieces: BTreeMap::new() };
        Region { compression, encoders: Mutex::default(), waiting: Mutex::new(waiting) }
    }

    /// Compresses one whole cluster and lets it wait; false where it does not shrink, and nothing was done.
    pub(crate) fn add(
        &self,
        output: &Output,
        entries: &Entries,
        format: EntryFormat,
        cluster: u64,
        data: &[u8],
    ) -> Result<bool> {
        let pooled = self.encoders.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (mut encoder, mut packed) = match pooled {
            Some(pooled) => pooled,
            None => match Encoder::new(output.name(), self.compression)? {
                Some(encoder) => (encoder, vec![0; data.len()]),
                None => return Ok(false),
            },
        };
        // Less than a thirty-second saved is not worth a decompression at every read.
        let most = (data.len() - data.len() / 32).min(packed.len());
        let length = encoder.encode(data, &mut packed[..most]);
        let added = length.map(|length| {
            let mut waiting = self.lock();
            if waiting.bytes.as_slice().len() - waiting.used < length {
                waiting.write(output, entries, format)?;
            }
            let piece = waiting.used..waiting.used + length;
            waiting.bytes.as_mut_slice()[piece.clone()].copy_from_slice(&packed[..length]);
            waiting.used = piece.end;
            waiting.pieces.insert(cluster, piece);
            entries.set(cluster, WAITING);
            Ok(())
        });
        self.encoders.lock().unwrap_or_else(PoisonError::into_inner).push((encoder, packed));
        added.transpose().map(|added| added.is_some())
    }

    /// Takes a cluster back if it still waits.
    pub(crate) fn take_back(&self, cluster: u64) {
        self.lock().pieces.remove(&cluster);
    }

    /// Reads a cluster that waits; false where it does not, and its entry says where it is.
    pub(crate) fn read(
        &self,
        name: &str,
        kind: CompressionType,
        cluster: u64,
        out: &mut [u8],
    ) -> Result<bool> {
        let waiting = self.lock();
        let Some(piece) = waiting.pieces.get(&cluster) else { return Ok(false) };
        let packed = &waiting.bytes.as_slice()[piece.clone()];
        let decoded = with_decoder(|decoder| decoder.decode(kind, packed, out));
        decoded.map_err(|reason| corrupt(name, reason)).map(|()| true)
    }

    /// Writes all that waits.
    pub(crate) fn flush(&self, output: &Output, entries: &Entries, format: EntryFormat) -> Result<()> {
        self.lock().write(output, entries, format)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A piece is entered after its bytes are there.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn write(&mut self, output: &Output, entries: &Entries, format: EntryFormat) -> Result<()> {
        let end = self.pieces.values().map(|piece| piece.end).max().unwrap_or(0);
        if end > 0 {
            let whole = end.next_multiple_of(format.cluster_size() as usize);
            let region = &mut self.bytes.as_mut_slice()[..whole];
            region[end..].fill(0);
            let host = output.reserve(whole as u64)?;
            output.write(region, host)?;
            for (&cluster, piece) in &self.pieces {
                let at = host + piece.start as u64;
                let word = format.packed_entry(at, piece.len() as u64).ok_or_else(|| {
                    usage(output.name(), format!("a compressed cluster at byte {at} can't be described"))
                })?;
                entries.set(cluster, word);
            }
        }
        self.pieces.clear();
        self.used = 0;
        Ok(())
    }
}
