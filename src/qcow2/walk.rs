//! Which layer has what: the one traversal that reading, extents and maps share.

use crate::chain::Layers;
use crate::entry::Packed;
use crate::image::Stored;
use block::Result;
use std::ops::Range;

/// What was found for a stretch of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Plain bytes in a layer's file.
    Plain { layer: usize, host: u64 },
    /// A compressed cluster, or a part of it.
    Packed { layer: usize, packed: Packed },
    /// Zeros: a layer says so, or (no layer) the disk behind the end of a shorter layer.
    Zeros { layer: Option<usize> },
    /// Not in any of the layers looked at.
    Nothing,
}

/// Takes a stretch and what it is; false ends the walk.
pub(crate) type Visit<'a> = &'a mut dyn FnMut(Range<u64>, Piece) -> Result<bool>;

/// Visits what `layers` store in `range`, ascending and without gaps. `range` lies inside the disk of the
/// first layer.
///
/// Work: one look-up for each run of each layer passed. What a layer does not store is pushed for the next
/// one, so the stack has at most one entry a layer.
pub(crate) fn walk(
    all: &Layers,
    layers: Range<usize>,
    range: Range<u64>,
    holes: bool,
    visit: Visit<'_>,
) -> Result<()> {
    let mut open = Vec::with_capacity(4);
    open.push((layers.start, range));
    while let Some((index, range)) = open.pop() {
        if range.is_empty() {
            continue;
        }
        let layer = if index < layers.end { all.layers.get(index) } else { None };
        let Some(layer) = layer else {
            if !visit(range, Piece::Nothing)? {
                return Ok(());
            }
            continue;
        };
        let end = range.end.min(layer.size());
        if range.start >= end {
            if !visit(range, Piece::Zeros { layer: None })? {
                return Ok(());
            }
            continue;
        }
        let run = layer.run(&all.tables, index as u32, range.start..end, holes)?;
        let found = range.start..range.start + run.length;
        open.push((index, found.end..range.end));
        let piece = match run.stored {
            Stored::Nothing => {
                open.push((index + 1, found));
                continue;
            }
            Stored::Zeros => Piece::Zeros { layer: Some(index) },
            Stored::Plain(host) => Piece::Plain { layer: index, host },
            Stored::Packed(packed) => Piece::Packed { layer: index, packed },
        };
        if !visit(found, piece)? {
            return Ok(());
        }
    }
    Ok(())
}
