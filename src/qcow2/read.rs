//! One read of a disk: from the pieces that a walk finds to the caller's buffer.
//!
//! Plain data goes straight into the buffer, one system call for every stretch that is contiguous in its
//! file. Compressed clusters that lie behind each other in one file (as a backup's do) are gathered and
//! read by one system call, then decompressed, into the buffer where whole clusters are wanted.

use crate::chain::{Layer, Layers};
use crate::decode::{Decoder, with_decoder};
use crate::entry::Packed;
use crate::error::{corrupt, usage};
use crate::image::Image;
use crate::walk::Piece;
use block::Result;
use std::ops::Range;

/// Compressed bytes read by one call at most.
const GATHER: u64 = 1 << 20;
/// A gap between two compressed clusters that is cheaper to read than to skip.
const GAP: u64 = 16 << 10;

/// A read in progress.
pub(crate) struct Reading<'a> {
    layers: &'a Layers,
    buf: &'a mut [u8],
    offset: u64,
    /// Compressed clusters not read yet, all of one layer, ascending in its file.
    gathered: Vec<(Packed, Range<u64>)>,
    layer: usize,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(layers: &'a Layers, buf: &'a mut [u8], offset: u64) -> Reading<'a> {
        Reading { layers, buf, offset, gathered: Vec::new(), layer: 0 }
    }

    /// Takes one piece of the disk.
    pub(crate) fn piece(&mut self, range: Range<u64>, piece: Piece) -> Result<()> {
        match piece {
            Piece::Nothing | Piece::Zeros { .. } => self.part(range)?.fill(0),
            Piece::Plain { layer, host } => {
                let Some(found) = self.layers.layers.get(layer) else { return Err(self.lost()) };
                let storage = found.storage();
                let part = self.part(range)?;
                let length = part.len() as u64;
                if host.checked_add(length).is_none_or(|end| end > storage.size()) {
                    let reason = format!(
                        "{length} bytes of data at byte {host} end behind the file's end at {}",
                        storage.size()
                    );
                    return Err(corrupt(storage.name(), reason));
                }
                storage.read_at(part, host)?;
            }
            Piece::Packed { layer, packed } => {
                let joins = match (self.gathered.first(), self.gathered.last()) {
                    (Some((first, _)), Some((last, _))) => {
                        let end = last.host + last.length;
                        self.layer == layer
                            && packed.host >= last.host
                            && packed.host <= end + GAP
                            && packed.host + packed.length <= first.host + GATHER
                    }
                    _ => true,
                };
                if !joins {
                    self.unpack()?;
                }
                self.layer = layer;
                self.gathered.push((packed, range));
            }
        }
        Ok(())
    }

    /// Ends the read: nothing is gathered any more.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.unpack()
    }

    fn unpack(&mut self) -> Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let Some(Layer::Qcow2(image)) = self.layers.layers.get(self.layer) else { return Err(self.lost()) };
        with_decoder(|decoder| {
            let gathered = std::mem::take(&mut self.gathered);
            let result = self.unpack_with(image, decoder, &gathered);
            self.gathered = gathered;
            self.gathered.clear();
            result
        })
    }

    fn unpack_with(
        &mut self,
        image: &Image,
        decoder: &mut Decoder,
        gathered: &[(Packed, Range<u64>)],
    ) -> Result<()> {
        let storage = image.storage.as_ref();
        let start = gathered.first().map_or(0, |(packed, _)| packed.host);
        let end = gathered.iter().map(|(packed, _)| packed.host + packed.length).max().unwrap_or(start);
        // The last sector of a file may be a part of one.
        let length = end.min(storage.size()).saturating_sub(start) as usize;
        let mut bytes = std::mem::take(&mut decoder.packed);
        if bytes.len() < length {
            bytes.resize(length, 0);
        }
        let result = storage.read_at(&mut bytes[..length], start).and_then(|()| {
            for (packed, range) in gathered {
                let from = (packed.host - start) as usize;
                let to = from.saturating_add(packed.length as usize).min(length);
                self.one(image, decoder, bytes.get(from..to).unwrap_or_default(), packed, range.clone())?;
            }
            Ok(())
        });
        decoder.packed = bytes;
        result
    }

    fn one(
        &mut self,
        image: &Image,
        decoder: &mut Decoder,
        bytes: &[u8],
        packed: &Packed,
        range: Range<u64>,
    ) -> Result<()> {
        let cluster_size = image.cluster_size() as usize;
        let damaged = |why: String| {
            let reason = format!("the compressed cluster at byte {}: {why}", packed.host);
            corrupt(image.name(), reason)
        };
        let within = (range.start % image.cluster_size()) as usize;
        let part = self.part(range)?;
        if part.len() == cluster_size {
            return decoder.decode(image.compression(), bytes, part).map_err(damaged);
        }
        let mut cluster = std::mem::take(&mut decoder.cluster);
        cluster.resize(cluster_size, 0);
        let decoded = decoder.decode(image.compression(), bytes, &mut cluster);
        let wanted = cluster.get(within..within + part.len());
        if let (Ok(()), Some(wanted)) = (&decoded, wanted) {
            part.copy_from_slice(wanted);
        }
        decoder.cluster = cluster;
        decoded.map_err(damaged)
    }

    /// The part of the caller's buffer for a stretch of the disk.
    fn part(&mut self, range: Range<u64>) -> Result<&mut [u8]> {
        let name = &self.layers.name;
        let start = range.start.checked_sub(self.offset).map(|s| s as usize);
        let length = (range.end - range.start) as usize;
        start
            .and_then(|start| self.buf.get_mut(start..start.checked_add(length)?))
            .ok_or_else(|| usage(name, format!("bytes {range:?} were not asked for")))
    }

    fn lost(&self) -> block::Error {
        usage(&self.layers.name, "a piece names a layer that is not there")
    }
}
