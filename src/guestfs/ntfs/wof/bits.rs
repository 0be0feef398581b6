//! A stream of bits in little-endian words of 16, the highest bit first.

/// The stream. Behind its end are zeros: a code may be looked up with more bits than it has.
pub struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u32,
    count: u32,
}

impl<'a> Bits<'a> {
    /// From the first byte on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Bits { bytes, at: 0, held: 0, count: 0 }
    }

    /// Holds at least 16 bits then.
    pub fn fill(&mut self) {
        if self.count < 16 {
            let word = [0, 1].map(|next| self.bytes.get(self.at + next).copied().unwrap_or(0));
            self.at += 2;
            self.held |= u32::from(u16::from_le_bytes(word)) << (16 - self.count);
            self.count += 16;
        }
    }

    /// The next 16 bits.
    pub fn peek(&mut self) -> u32 {
        self.fill();
        self.held >> 16
    }

    /// Goes on by up to 16 bits, which were peeked at.
    pub fn skip(&mut self, count: u32) {
        self.held <<= count;
        self.count = self.count.saturating_sub(count);
    }

    /// The next `count` bits, at most 16.
    pub fn take(&mut self, count: u32) -> u32 {
        let bits = self.peek() >> (16 - count);
        self.skip(count);
        bits
    }

    /// The next byte behind the words that were read.
    pub fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += 1;
        byte
    }

    /// Leaves the words: goes on with bytes, behind the word of which a bit was last read.
    pub fn align(&mut self) {
        // A word that was held and not begun goes back.
        if self.count == 0 {
            self.fill();
        }
        if self.count > 16 {
            self.at -= 2;
        }
        (self.held, self.count) = (0, 0);
    }

    /// Whether more was read than there is, by more than a word or two.
    pub fn is_spent(&self) -> bool {
        self.at > self.bytes.len() + 4
    }
}
