//! Block maps of files without extents ("Direct/Indirect Block Addressing"): twelve pointers in the inode, and three
//! to blocks of pointers, of blocks of them, and once more.

use super::extent::{Extent, Segment};
use super::inode::Inode;
use super::volume::Volume;
use crate::{Error, Fields, Result};

const DIRECT: u64 = 12;

impl Volume {
    /// Where `block` of a file without extents lies.
    ///
    /// # Errors
    /// `Corrupt` for pointers outside of the volume.
    pub(super) fn indirect_segment(&self, inode: &Inode, block: u64) -> Result<Segment> {
        let root = Fields::new("a block map", inode.block());
        if block < DIRECT {
            return self.pointers(root, block as usize, DIRECT as usize);
        }
        let per_block = (self.block_size() / 4) as u64;
        let mut index = block - DIRECT;
        // How many blocks of the file one pointer of this level stands for.
        let mut span = 1;
        for level in 0..3 {
            let all = span * per_block;
            if index >= all {
                index -= all;
                span = all;
                continue;
            }
            let mut pointer = root.le32(4 * (DIRECT as usize + level))?;
            let mut covered = all;
            while covered > 1 {
                if pointer == 0 {
                    return Ok(Segment { length: covered - index, physical: None });
                }
                let bytes = self.block("a block map", pointer.into())?;
                let field = Fields::new("a block map", &bytes);
                let below = covered / per_block;
                let at = (index / below) as usize;
                if below == 1 {
                    return self.pointers(field, at, per_block as usize);
                }
                pointer = field.le32(4 * at)?;
                index %= below;
                covered = below;
            }
        }
        Ok(Segment { length: u64::MAX - block, physical: None })
    }

    /// The row of blocks from pointer `at` of `count` on.
    fn pointers(&self, field: Fields<'_>, at: usize, count: usize) -> Result<Segment> {
        let first = field.le32(4 * at)?;
        let mut length = 1;
        while at + length < count {
            let next = field.le32(4 * (at + length))?;
            let expected = if first == 0 { Some(0) } else { first.checked_add(length as u32) };
            if Some(next) != expected {
                break;
            }
            length += 1;
        }
        let length = length as u64;
        if first == 0 {
            return Ok(Segment { length, physical: None });
        }
        self.place("a block map", first.into(), length)?;
        Ok(Segment { length, physical: Some(first.into()) })
    }

    /// The whole mapping of the first `blocks` blocks of a file of either kind that has no holes, in order; at most
    /// `limit` extents.
    ///
    /// # Errors
    /// As [`segment`](Self::segment), `Corrupt` for a hole, and `Limit`.
    pub(super) fn rows(&self, inode: &Inode, blocks: u64, limit: usize) -> Result<Vec<Extent>> {
        let mut rows = Vec::new();
        let mut block = 0;
        while block < blocks {
            let segment = self.segment(inode, block)?;
            let length = segment.length.min(blocks - block);
            let physical =
                segment.physical.ok_or_else(|| inode.corrupt(format!("block {block} is a hole")))?;
            let first = u32::try_from(block).map_err(|_| inode.corrupt("it is too long"))?;
            if rows.len() == limit {
                return Err(Error::Limit(format!("inode {} has more than {limit} extents", inode.number)));
            }
            rows.push(Extent { first, length, physical, written: true });
            block += length;
        }
        Ok(rows)
    }
}
