//! The bytes of a file, wherever they are: in blocks, or in the inode.

use super::extent::{self, Segment};
use super::feature::inode_flag;
use super::inode::Inode;
use super::volume::Volume;
use crate::{Place, Result, Run};

impl Volume {
    /// Where `block` of a file lies.
    ///
    /// # Errors
    /// `Corrupt` for a mapping that contradicts itself.
    pub(super) fn segment(&self, inode: &Inode, block: u64) -> Result<Segment> {
        if let Some(extents) = &inode.extents {
            return Ok(extent::find(extents, block, u64::MAX));
        }
        if inode.has(inode_flag::EXTENTS) {
            self.extent_segment(inode, block)
        } else {
            self.indirect_segment(inode, block)
        }
    }

    /// Fills `buf` from byte `offset` of a node's content, as far as its size goes, and tells how much that was.
    ///
    /// # Errors
    /// `Corrupt`, and those of the device.
    pub(super) fn read_content(&self, inode: &Inode, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let length = usize::try_from(inode.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..length];
        if inode.has(inode_flag::INLINE_DATA) {
            let inline = self.inline_data(inode)?;
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(inline.len());
            let held = (inline.len() - start).min(length);
            buf[..held].copy_from_slice(&inline[start..start + held]);
            buf[held..].fill(0);
            return Ok(length);
        }
        let bits = self.sb.block_bits;
        let mut done = 0;
        while done < length {
            let at = offset + done as u64;
            let within = at & (self.block_size() as u64 - 1);
            let mut segment = self.segment(inode, at >> bits)?;
            // Rows that lie behind one another are one read.
            while let Some(physical) = segment.physical
                && (segment.length << bits) - within < (length - done) as u64
            {
                let next = self.segment(inode, (at >> bits) + segment.length)?;
                if next.physical != Some(physical + segment.length) {
                    break;
                }
                segment.length += next.length;
            }
            let bytes = bytes_of(segment.length, bits, within).min((length - done) as u64) as usize;
            let part = &mut buf[done..done + bytes];
            match segment.physical {
                Some(physical) => self.read((physical << bits) + within, part)?,
                None => part.fill(0),
            }
            done += bytes;
        }
        Ok(length)
    }

    /// Where the bytes of a node's content from `offset` on lie.
    ///
    /// # Errors
    /// As [`read_content`](Self::read_content).
    pub(super) fn map_content(&self, inode: &Inode, offset: u64) -> Result<Option<Run>> {
        let Some(left) = inode.size.checked_sub(offset).filter(|&left| left > 0) else { return Ok(None) };
        if inode.has(inode_flag::INLINE_DATA) {
            self.inline_data(inode)?;
            return Ok(Some(Run { length: left, place: Place::Inside }));
        }
        let bits = self.sb.block_bits;
        let within = offset & (self.block_size() as u64 - 1);
        let segment = self.segment(inode, offset >> bits)?;
        let mut length = bytes_of(segment.length, bits, within).min(left);
        let Some(physical) = segment.physical else {
            return Ok(Some(Run { length, place: Place::Hole }));
        };
        let start = (physical << bits) + within;
        let mut place = Place::Device(start);
        if let Some(overlay) = self.overlay.as_ref().filter(|overlay| overlay.covers(start, length)) {
            let block = self.block_size() as u64;
            let first = (block - within).min(length);
            if overlay.covers(start, first) {
                place = Place::Inside;
                let mut replaced = first;
                while replaced < length && overlay.covers(start + replaced, block.min(length - replaced)) {
                    replaced += block.min(length - replaced);
                }
                length = replaced;
            } else {
                // The longest beginning that nothing was put over.
                let (mut free, mut covered) = (first, length);
                while covered - free > 1 {
                    let middle = free.midpoint(covered);
                    if overlay.covers(start, middle) {
                        covered = middle;
                    } else {
                        free = middle;
                    }
                }
                length = free;
            }
        }
        Ok(Some(Run { length, place }))
    }
}

/// Bytes of so many blocks, less `within` of the first.
fn bytes_of(blocks: u64, bits: u32, within: u64) -> u64 {
    blocks.min(u64::MAX >> bits).saturating_mul(1 << bits) - within
}
