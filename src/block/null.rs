//! The sink that keeps nothing: for verifying, and for measuring what reading alone costs.

use crate::{BlockSink, Result};

/// Takes everything, keeps nothing.
#[derive(Debug, Clone, Copy)]
pub struct NullSink {
    size: u64,
}

impl NullSink {
    /// A sink for a disk of `size` bytes.
    pub fn new(size: u64) -> Self {
        NullSink { size }
    }
}

impl BlockSink for NullSink {
    fn size(&self) -> u64 {
        self.size
    }

    fn granularity(&self) -> u64 {
        1
    }

    fn write_at(&self, _data: &[u8], _offset: u64) -> Result<()> {
        Ok(())
    }

    fn zero(&self, _offset: u64, _length: u64) -> Result<()> {
        Ok(())
    }

    fn settled(&self, _offset: u64) -> Result<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
