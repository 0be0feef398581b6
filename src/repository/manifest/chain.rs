//! Many manifests seen as one disk.
//!
//! The layers of a chain lie on each other as their images do: the topmost one that stores a granule tells
//! what it is. A layer sees what is below it only as far as every layer above reaches. So, going up from the
//! bottom, wherever the size changes between two layers (or between the top and the size that is asked for):
//! - behind the smaller of the two sizes nothing of what lies below is left, it reads as zeros;
//! - the granule that the smaller size cuts in two is `Unknown`, unless it is zero: its hash was made over a
//!   piece of another length.

use super::cursor::Cursor;
use super::file::Manifest;
use super::format::{HASH, Run, RunKind, granules};
use block::{Baseline, GRANULE, Granule, Result};

/// What lies below the lowest layer of a [`ChainBaseline`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bottom {
    /// Nothing: the lowest layer is a full, and what no layer stores reads as zeros.
    Full,
    /// Further layers that are not looked at: what no layer stores is `Unknown`.
    Partial,
}

/// The content of a chain, or of a slice of one, as a stream of granules.
///
/// Memory: one read buffer a layer, 256 KiB or the manifest's length where that is less; with more than 32
/// layers they share 8 MiB, but 16 KiB each at least (1000 layers: 16 MB).
#[derive(Debug)]
pub struct ChainBaseline {
    /// From the bottom up.
    layers: Vec<Cursor>,
    bottom: Bottom,
    view: u64,
}

const BUFFERS: usize = 8 << 20;

impl ChainBaseline {
    /// A view of these layers, the topmost first, as a disk of `view_size` bytes: the size of the disk that
    /// is compared with it.
    pub fn new(layers: Vec<Manifest>, bottom: Bottom, view_size: u64) -> Self {
        let capacity = (BUFFERS / layers.len().max(1)).clamp(Cursor::SMALL_BUFFER, Cursor::LARGE_BUFFER);
        let layers = layers.into_iter().rev().map(|manifest| Cursor::new(manifest, capacity)).collect();
        ChainBaseline { layers, bottom, view: view_size }
    }
}

impl Baseline for ChainBaseline {
    fn next(&mut self, first: u64, out: &mut [Granule]) -> Result<()> {
        stack(&mut self.layers, self.bottom, self.view, first, out)
    }
}

/// One manifest of a chain as it is laid over those below it.
pub(super) trait Layer {
    /// Size of its disk in bytes.
    fn virtual_size(&self) -> u64;

    /// The first run that ends behind `granule`; `None` where there is none.
    fn seek(&mut self, granule: u64) -> Result<Option<Run>>;

    /// The hashes of `count` granules from `first` on, all within the run that was sought last; fewer where fewer
    /// are at hand, at least one.
    fn hashes(&mut self, first: u64, count: u64) -> Result<&[[u8; HASH]]>;
}

/// What `layers`, from the bottom up, read as from granule `first` on, as a disk of `view` bytes.
pub(super) fn stack<L: Layer>(
    layers: &mut [L],
    bottom: Bottom,
    view: u64,
    first: u64,
    out: &mut [Granule],
) -> Result<()> {
    out.fill(match bottom {
        Bottom::Full => Granule::Zero,
        Bottom::Partial => Granule::Unknown,
    });
    let mut below: Option<u64> = None;
    for layer in layers {
        let size = layer.virtual_size();
        if let Some(below) = below {
            clamp(first, out, below, size);
        }
        overlay(layer, first, out)?;
        below = Some(size);
    }
    // Behind the end of the view there is nothing, whatever the layers say.
    clamp(first, out, below.unwrap_or(view), view);
    zero_from(first, out, granules(view));
    Ok(())
}

/// What is left of `out` where a layer of `above` bytes lies on one of `below` bytes.
fn clamp(first: u64, out: &mut [Granule], below: u64, above: u64) {
    if below == above {
        return;
    }
    let cut = below.min(above);
    if !cut.is_multiple_of(GRANULE)
        && let Some(granule) = position(first, cut / GRANULE).and_then(|at| out.get_mut(at))
        && *granule != Granule::Zero
    {
        *granule = Granule::Unknown;
    }
    zero_from(first, out, granules(cut));
}

fn zero_from(first: u64, out: &mut [Granule], granule: u64) {
    let from = usize::try_from(granule.saturating_sub(first)).ok();
    if let Some(gone) = from.and_then(|from| out.get_mut(from..)) {
        gone.fill(Granule::Zero);
    }
}

/// Lays what `layer` stores over `out`.
fn overlay(layer: &mut impl Layer, first: u64, out: &mut [Granule]) -> Result<()> {
    let end = first.saturating_add(out.len() as u64);
    let mut granule = first;
    while granule < end {
        let Some(run) = layer.seek(granule)?.filter(|run| run.first < end) else { break };
        granule = granule.max(run.first);
        let stop = run.end().min(end);
        let from = (granule - first) as usize;
        match run.kind {
            RunKind::Zero => {
                out[from..(stop - first) as usize].fill(Granule::Zero);
                granule = stop;
            }
            RunKind::Data => {
                let hashes = layer.hashes(granule, stop - granule)?;
                for (granule, hash) in out[from..].iter_mut().zip(hashes) {
                    *granule = Granule::Hash(*hash);
                }
                granule += hashes.len() as u64;
            }
        }
    }
    Ok(())
}

fn position(first: u64, granule: u64) -> Option<usize> {
    usize::try_from(granule.checked_sub(first)?).ok()
}
