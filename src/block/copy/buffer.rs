//! A page-aligned buffer, so that direct I/O can use it.

/// What direct I/O asks of memory, on every file system and device that is common.
const PAGE: usize = 4096;

/// A buffer that begins on a page boundary. Made once a worker and used again for every chunk: fresh pages
/// cost more than the copy itself.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    begin: usize,
    length: usize,
}

impl Buffer {
    /// `length` bytes.
    pub(crate) fn new(length: usize) -> Self {
        let memory = vec![0; length + PAGE];
        let begin = memory.as_ptr().align_offset(PAGE).min(PAGE);
        Buffer { memory, begin, length }
    }

    /// All of it.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_on_a_page() {
        for length in [0, 1, 4096, (1 << 20) + 5] {
            let mut buffer = Buffer::new(length);
            assert_eq!(buffer.bytes().len(), length);
            assert_eq!(buffer.bytes().as_ptr() as usize % PAGE, 0);
        }
    }
}
