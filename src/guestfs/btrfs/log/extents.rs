//! Extents: what the log has over a range takes the place of all that the file had there.

use super::{Log, Replay, broken};
use crate::btrfs::extent::{INLINE, PREALLOCATED, REGULAR};
use crate::btrfs::key::{EXTENT_CSUM, EXTENT_CSUM_OBJECT, EXTENT_DATA, Key};
use crate::{Fields, Result};

/// What replay must know of an extent item.
#[derive(Debug, Clone, Copy)]
struct Shape {
    kind: u8,
    compressed: bool,
    /// The first byte after it in the file, a whole number of sectors.
    end: u64,
    /// Bytes that it counts for in the inode.
    bytes: u64,
    /// Where its data is, 0 for a hole; and how much that is as a whole.
    logical: u64,
    length: u64,
    offset: u64,
}

impl Shape {
    fn of(start: u64, item: &[u8], sector: u32) -> Result<Self> {
        let fields = Fields::new("an extent item", item);
        let kind = fields.u8(20)?;
        let impossible = || fields.corrupt(format!("it is impossible at {start}"));
        if kind == INLINE {
            let bytes = fields.le64(8)?;
            let end =
                start.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(u64::from(sector)));
            let end = end.ok_or_else(impossible)?;
            return Ok(Shape { kind, compressed: false, end, bytes, logical: 0, length: 0, offset: 0 });
        }
        if kind != REGULAR && kind != PREALLOCATED {
            return Err(fields.corrupt(format!("its kind is {kind}")));
        }
        let (logical, bytes) = (fields.le64(21)?, fields.le64(45)?);
        Ok(Shape {
            kind,
            compressed: fields.u8(16)? != 0,
            end: start.checked_add(bytes).ok_or_else(impossible)?,
            bytes: if logical == 0 { 0 } else { bytes },
            logical,
            length: fields.le64(29)?,
            offset: fields.le64(37)?,
        })
    }
}

fn put64(item: &mut [u8], at: usize, value: u64) -> Result<()> {
    let slot = item.get_mut(at..at + 8).ok_or_else(|| broken("an extent item is cut off"))?;
    slot.copy_from_slice(&value.to_le_bytes());
    Ok(())
}

impl Replay<'_> {
    /// An extent of the log.
    pub fn extent(&mut self, key: Key, item: &[u8]) -> Result<()> {
        let shape = Shape::of(key.offset, item, self.blocks.sector)?;
        self.inode_item(key.object)?;
        if shape.kind != INLINE && self.tree().get(key)?.as_deref() == Some(item) {
            return Ok(());
        }
        let freed = self.drop_extents(key.object, key.offset, shape.end)?;
        if shape.kind == INLINE || shape.logical != 0 || self.holes {
            self.put(key, item.to_vec())?;
        }
        if shape.logical != 0 && shape.kind != INLINE {
            let (start, length) = if shape.compressed {
                (shape.logical, shape.length)
            } else {
                let start = shape.logical.checked_add(shape.offset);
                (start.ok_or_else(|| broken("an extent at an impossible address"))?, shape.bytes)
            };
            self.take_sums(start, length)?;
        }
        self.add_bytes(key.object, shape.bytes, freed)
    }

    /// Takes away what a file has from `start` to `end`, cutting what reaches over them, and tells how many bytes of the
    /// inode's count that were.
    pub fn drop_extents(&mut self, inode: u64, start: u64, end: u64) -> Result<u64> {
        let at = |offset| Key::new(inode, EXTENT_DATA, offset);
        let floor = self.tree().floor(at(start))?;
        let from = floor.filter(|floor| floor.object == inode && floor.kind == EXTENT_DATA);
        let mut freed = 0u64;
        for (key, item) in self.items(from.unwrap_or(at(start)), at(end.saturating_sub(1)))? {
            let shape = Shape::of(key.offset, &item, self.blocks.sector)?;
            if shape.end <= start || key.offset >= end {
                continue;
            }
            let (before, after) = (start > key.offset, end < shape.end);
            if shape.kind == INLINE {
                if before || after {
                    return Err(broken("it replaces a part of an inline extent"));
                }
                self.remove(key)?;
                freed = freed.saturating_add(shape.bytes);
                continue;
            }
            self.remove(key)?;
            let gone = shape.end.min(end) - key.offset.max(start);
            if shape.logical != 0 {
                freed = freed.saturating_add(gone);
            }
            if before {
                let mut head = item.clone();
                put64(&mut head, 45, start - key.offset)?;
                self.put(key, head)?;
            }
            if after {
                let mut tail = item;
                if shape.logical != 0 {
                    let offset = shape.offset.checked_add(end - key.offset);
                    put64(&mut tail, 37, offset.ok_or_else(|| broken("an impossible extent"))?)?;
                }
                put64(&mut tail, 45, shape.end - end)?;
                self.put(at(end), tail)?;
            }
        }
        Ok(freed)
    }

    /// Takes the log's checksums of a range of data.
    fn take_sums(&mut self, start: u64, length: u64) -> Result<()> {
        let log: &Log = self.log;
        let end = start.checked_add(length).ok_or_else(|| broken("data at an impossible address"))?;
        let sector = u64::from(self.blocks.sector);
        let size = self.blocks.checksum.length();
        let at = |offset| Key::new(EXTENT_CSUM_OBJECT, EXTENT_CSUM, offset);
        let first = log.range(at(0)..=at(start)).next_back().map_or(at(start), |(key, _)| *key);
        for (key, item) in log.range(first..at(end)) {
            for (index, sum) in (0u64..).zip(item.chunks_exact(size)) {
                let address = index.checked_mul(sector).and_then(|bytes| key.offset.checked_add(bytes));
                let address = address.ok_or_else(|| broken("a checksum of an impossible address"))?;
                if (start..end).contains(&address) {
                    let mut whole = [0; 32];
                    whole[..size].copy_from_slice(sum);
                    self.held.add(32)?;
                    self.sums.insert(address, whole);
                }
            }
        }
        Ok(())
    }
}
