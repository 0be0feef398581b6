//! Ranges of a disk and what is in them.

use std::ops::Range;

/// What a range of a disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtentKind {
    /// Bytes that must be read to be known.
    Data,
    /// Known to read as zeros, and said so by the source (an explicit zero cluster, `NBD_STATE_ZERO`).
    Zero,
    /// Not stored by the source at all. Reads as zeros, unless only some layers of a chain are looked at:
    /// then it is "not in these layers".
    Hole,
    /// Not changed since the asked change id; content not told.
    Unchanged,
}

/// A range of one kind; `length` is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What is there.
    pub kind: ExtentKind,
}

impl Extent {
    /// An extent over `range`.
    pub fn new(range: Range<u64>, kind: ExtentKind) -> Self {
        Extent { offset: range.start, length: range.end - range.start, kind }
    }

    /// The first byte behind it.
    pub fn end(&self) -> u64 {
        self.offset + self.length
    }

    /// Its bytes.
    pub fn range(&self) -> Range<u64> {
        self.offset..self.end()
    }
}
