//! The map of a disk: which layer stores what, and where in its file.

use crate::walk::Piece;
use std::ops::Range;

/// What a stretch of a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// Plain bytes.
    Data,
    /// Compressed clusters.
    Compressed,
    /// Explicit zeros, or the part of the disk behind the end of a shorter layer.
    Zero,
    /// In no layer: reads as zeros.
    Hole,
}

/// A stretch of a disk, of one kind and in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapEntry {
    /// First byte of the disk.
    pub offset: u64,
    /// Bytes, never 0.
    pub length: u64,
    /// What it is.
    pub kind: MapKind,
    /// The layer that stores it, 0 being the top.
    pub layer: Option<usize>,
    /// Where plain data lies in that layer's file; a compressed cluster's first byte.
    pub host_offset: Option<u64>,
}

/// Joins neighbours as they come.
#[derive(Default)]
pub(crate) struct Maps {
    pub(crate) entries: Vec<MapEntry>,
}

impl Maps {
    pub(crate) fn add(&mut self, range: Range<u64>, piece: Piece) {
        let (kind, layer, host_offset) = match piece {
            Piece::Plain { layer, host } => (MapKind::Data, Some(layer), Some(host)),
            Piece::Packed { layer, packed } => (MapKind::Compressed, Some(layer), Some(packed.host)),
            Piece::Zeros { layer } => (MapKind::Zero, layer, None),
            Piece::Nothing => (MapKind::Hole, None, None),
        };
        let (offset, length) = (range.start, range.end - range.start);
        if let Some(last) = self.entries.last_mut() {
            let follows = match kind {
                MapKind::Data => last.host_offset.and_then(|h| h.checked_add(last.length)) == host_offset,
                MapKind::Compressed => false,
                MapKind::Zero | MapKind::Hole => true,
            };
            if last.kind == kind && last.layer == layer && follows {
                last.length += length;
                return;
            }
        }
        self.entries.push(MapEntry { offset, length, kind, layer, host_offset });
    }
}
