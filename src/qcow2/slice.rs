//! Some layers of a chain by themselves: what *they* store, and nothing deeper.
//!
//! Verify looks at one layer, a merge at two. In a slice a hole means "not in these layers", so it must not
//! be taken for zeros; zeros that a layer records over deeper data are told as zeros. Where a layer of the
//! slice is shorter than the first, what lies behind its end is zeros too: it hides what is deeper.

use crate::chain::Layers;
use block::{BlockSource, ChangeId, Extent, Result};
use std::ops::Range;
use std::sync::Arc;

/// Neighbouring layers of a [`Chain`](crate::Chain), read without the deeper ones.
#[derive(Clone)]
pub struct Slice {
    inner: Arc<Layers>,
    layers: Range<usize>,
}

impl Slice {
    pub(crate) fn new(inner: Arc<Layers>, layers: Range<usize>) -> Slice {
        Slice { inner, layers }
    }
}

impl BlockSource for Slice {
    fn size(&self) -> u64 {
        self.inner.size_of(&self.layers)
    }

    /// Holes read as zeros.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read(self.layers.clone(), buf, offset)
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        self.inner.extents(self.layers.clone(), range, since)
    }

    fn parallelism(&self) -> usize {
        Layers::PARALLELISM
    }
}
