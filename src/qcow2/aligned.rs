//! Memory that begins on a page boundary, as direct I/O wants it.

/// What addresses, offsets and lengths of direct I/O are multiples of. No disk in use wants more.
pub(crate) const ALIGN: usize = 4096;

/// Bytes that begin on a page boundary.
pub(crate) struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuf {
    /// `length` zeros.
    pub(crate) fn new(length: usize) -> AlignedBuf {
        let bytes = vec![0; length + ALIGN];
        // The address of a vector does not change as long as it does not grow.
        let start = bytes.as_ptr().addr().next_multiple_of(ALIGN) - bytes.as_ptr().addr();
        AlignedBuf { bytes, start, length }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

/// True where direct I/O can take `data` as it is.
pub(crate) fn is_aligned(data: &[u8]) -> bool {
    data.as_ptr().addr().is_multiple_of(ALIGN) && data.len().is_multiple_of(ALIGN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_on_a_page() {
        for length in [1, 4096, 65536, 1 << 20] {
            let mut buf = AlignedBuf::new(length);
            assert_eq!(buf.as_slice().as_ptr().addr() % ALIGN, 0);
            assert_eq!(buf.as_mut_slice().len(), length);
        }
    }
}
