//! A cell: its size, negative while it is in use, and what it holds.

use super::{CELLS, Hive};
use crate::{Error, Result};

/// The largest cell that is read, in bytes. Lists of subkeys and values are far below it, and data beyond 16344 bytes
/// is in pieces since version 1.4.
pub(super) const MAX_CELL: usize = 1 << 20;

impl Hive {
    /// What the cell at `offset` holds: its whole content, or `most` bytes of it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where there is no cell in use.
    pub(super) fn cell(&self, offset: u32, most: usize) -> Result<Vec<u8>> {
        let damaged = |what: String| Error::corrupt(format!("the hive's cell at {offset:#x}"), what);
        if !offset.is_multiple_of(8) {
            return Err(damaged("cells begin at multiples of 8".into()));
        }
        let start = CELLS + u64::from(offset);
        let head = self.bytes(start, 4)?;
        let size = i32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        if size >= 0 {
            return Err(damaged(format!("it is not in use (size {size})")));
        }
        let length = size.unsigned_abs() as usize;
        let content = length.checked_sub(4).filter(|_| length <= MAX_CELL);
        let content = content.ok_or_else(|| damaged(format!("it has {length} bytes")))?;
        self.bytes(start + 4, content.min(most))
    }
}
