//! One operation on the bytes of an MFT record or an index block.
//!
//! Every operation is checked against the structure that it finds: a log that does not fit the volume is not replayed.

use super::record::{Action, op};
use crate::ntfs::record::kind;

/// Bytes of a structure that is changed.
pub struct Bytes<'a>(pub &'a mut Vec<u8>);

/// Why an operation does not fit.
pub type Misfit = &'static str;

type Fit<T = ()> = Result<T, Misfit>;

impl Bytes<'_> {
    fn get<const N: usize>(&self, at: usize) -> Fit<[u8; N]> {
        let bytes = at.checked_add(N).and_then(|end| self.0.get(at..end)).ok_or("it ends before a field")?;
        bytes.try_into().map_err(|_| "it ends before a field")
    }

    fn u16(&self, at: usize) -> Fit<usize> {
        self.get(at).map(|bytes| usize::from(u16::from_le_bytes(bytes)))
    }

    fn u32(&self, at: usize) -> Fit<usize> {
        self.get(at).map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Fit {
        let place = at.checked_add(bytes.len()).and_then(|end| self.0.get_mut(at..end));
        place.ok_or("it ends before what is written")?.copy_from_slice(bytes);
        Ok(())
    }

    fn put16(&mut self, at: usize, value: usize) -> Fit {
        let value = u16::try_from(value).map_err(|_| "a number that is too large")?;
        self.put(at, &value.to_le_bytes())
    }

    fn put32(&mut self, at: usize, value: usize) -> Fit {
        let value = u32::try_from(value).map_err(|_| "a number that is too large")?;
        self.put(at, &value.to_le_bytes())
    }

    /// Makes `old` bytes at `at` `new` ones, and moves what follows up to `end`; the length stays. What is free then is
    /// zeros.
    fn resize(&mut self, at: usize, old: usize, new: usize, end: usize) -> Fit {
        let tail =
            at.checked_add(old).filter(|&tail| tail <= end).ok_or("something longer than its space")?;
        let grown = end - old + new;
        if end > self.0.len() || grown > self.0.len() {
            return Err("no space for what is added");
        }
        self.0.copy_within(tail..end, at + new);
        if new < old {
            self.0[grown..end].fill(0);
        }
        Ok(())
    }
}

// Fields of an MFT record.
const SEQUENCE: usize = 0x10;
const LINKS: usize = 0x12;
const FIRST_ATTRIBUTE: usize = 0x14;
const FLAGS: usize = 0x16;
const USED: usize = 0x18;
const NEXT_ID: usize = 0x28;
// Fields of an attribute.
const VALUE_LENGTH: usize = 0x10;
const VALUE_AT: usize = 0x14;
const INDEXED: usize = 0x16;
const PAIRS_AT: usize = 0x20;
/// The node header of an index block.
const BLOCK_NODE: usize = 0x18;

/// Does `operation` on a whole MFT record.
///
/// # Errors
/// Where it does not fit.
pub fn record(bytes: &mut Vec<u8>, operation: u16, action: &Action, data: &[u8]) -> Fit {
    let mut record = Bytes(bytes);
    let (at, inner) = (action.record_offset, action.attribute_offset);
    let used = record.u32(USED)?;
    if operation == op::INITIALIZE_RECORD {
        return record.put(at, data);
    }
    if used > record.0.len() {
        return Err("an MFT record that is longer than it is");
    }
    match operation {
        op::DEALLOCATE_RECORD => {
            let flags = record.u16(FLAGS)?;
            record.put16(FLAGS, flags & !1)?;
            let next = (record.u16(SEQUENCE)? + 1) & 0xffff;
            return record.put16(SEQUENCE, next.max(1));
        }
        op::ZERO_END_OF_RECORD => {
            let length = record.0.len();
            let rest = record.0.get_mut(at + inner..length).ok_or("an end behind the record")?;
            rest.fill(0);
            return Ok(());
        }
        _ => {}
    }
    // All others are about an attribute, or the place where one is to be.
    let mut walked = record.u16(FIRST_ATTRIBUTE)?;
    while walked < at && record.u32(walked)? != kind::END as usize {
        let length = record.u32(walked + 4)?;
        if length == 0 {
            break;
        }
        walked += length;
    }
    if walked != at || at >= used {
        return Err("no attribute where one should be");
    }
    match operation {
        op::WRITE_END_OF_RECORD => {
            record.put(at + inner, data)?;
            record.put32(USED, (at + inner + data.len()).next_multiple_of(8))
        }
        op::CREATE_ATTRIBUTE => {
            let length = Bytes(&mut data.to_vec()).u32(4)?;
            let attribute = data.get(..length).filter(|_| length >= 0x18 && length % 8 == 0);
            let attribute = attribute.ok_or("an attribute that is not in the log")?;
            record.resize(at, 0, length, used)?;
            record.put(at, attribute)?;
            record.put32(USED, used + length)?;
            let id = record.u16(at + 0xe)?;
            if record.u16(NEXT_ID)? <= id {
                record.put16(NEXT_ID, id + 1)?;
            }
            record.count_links(at, 1)
        }
        op::DELETE_ATTRIBUTE => {
            let length = record.attribute(at, used)?;
            record.count_links(at, -1)?;
            record.resize(at, length, 0, used)?;
            record.put32(USED, used - length)
        }
        op::UPDATE_RESIDENT => {
            let length = record.attribute(at, used)?;
            let (start, end) = (record.u16(at + VALUE_AT)?, inner + data.len());
            if action.same_length() {
                if end > length {
                    return Err("a value behind its attribute");
                }
                return record.put(at + inner, data);
            }
            if record.0[at + 8] != 0 || inner < start || inner > length {
                return Err("a value that is not in its attribute");
            }
            let new = end.next_multiple_of(8);
            record.reshape(at, length, new, used)?;
            record.put32(at + VALUE_LENGTH, end - start)?;
            record.put(at + inner, data)?;
            record.0[at + end..at + new].fill(0);
            Ok(())
        }
        op::UPDATE_MAPPING => {
            let length = record.attribute(at, used)?;
            let new = (inner + data.len()).next_multiple_of(8);
            if record.0[at + 8] != 1 || inner < record.u16(at + PAIRS_AT)? || inner > length {
                return Err("a run list that is not in its attribute");
            }
            record.reshape(at, length, new, used)?;
            record.put(at + inner, data)?;
            record.0[at + inner + data.len()..at + new].fill(0);
            record.count_clusters(at)
        }
        op::SET_SIZES => {
            let length = record.attribute(at, used)?;
            if record.0[at + 8] != 1 || length < 0x40 || data.len() < 24 {
                return Err("sizes of an attribute without clusters");
            }
            // Allocated, valid, size; on the disk the size stands before what is valid of it.
            record.put(at + 0x28, &data[..8])?;
            record.put(at + 0x30, &data[16..24])?;
            record.put(at + 0x38, &data[8..16])?;
            if data.len() >= 32 && length >= 0x48 && record.u16(at + PAIRS_AT)? >= 0x48 {
                record.put(at + 0x40, &data[24..32])?;
            }
            Ok(())
        }
        _ => record.root(operation, at, inner, data),
    }
}

impl Bytes<'_> {
    /// The length of the attribute at `at`.
    fn attribute(&self, at: usize, used: usize) -> Fit<usize> {
        let length = self.u32(at + 4)?;
        if self.u32(at)? == kind::END as usize || length < 0x18 || length % 8 != 0 || at + length > used {
            return Err("no attribute where one should be");
        }
        Ok(length)
    }

    /// An attribute gets another length.
    fn reshape(&mut self, at: usize, old: usize, new: usize, used: usize) -> Fit {
        if new > old {
            self.resize(at + old, 0, new - old, used)?;
        } else {
            self.resize(at + new, old - new, 0, used)?;
        }
        self.put32(at + 4, new)?;
        self.put32(USED, used + new - old)
    }

    /// A name is an attribute that is indexed.
    fn count_links(&mut self, at: usize, change: i32) -> Fit {
        if self.0[at + 8] == 0 && self.0[at + INDEXED] & 1 != 0 {
            let links = self.u16(LINKS)? as i32 + change;
            self.put16(LINKS, usize::try_from(links).map_err(|_| "fewer than no names")?)?;
        }
        Ok(())
    }

    /// The last cluster that a run list maps.
    fn count_clusters(&mut self, at: usize) -> Fit {
        let mut vcn = u64::from_le_bytes(self.get(at + 0x10)?);
        let end = at + self.u32(at + 4)?;
        let mut pair = at + self.u16(at + PAIRS_AT)?;
        loop {
            let head = *self.0.get(pair).filter(|_| pair < end).ok_or("a run list without an end")?;
            if head == 0 {
                break;
            }
            let (length, place) = (usize::from(head & 15), usize::from(head >> 4));
            if length == 0 || length > 7 || place > 8 {
                return Err("a run of impossible form");
            }
            let bytes = self.0.get(pair + 1..pair + 1 + length).ok_or("a run list without an end")?;
            let mut count = [0; 8];
            count[..length].copy_from_slice(bytes);
            vcn = vcn.checked_add(u64::from_le_bytes(count)).ok_or("a run of impossible length")?;
            pair += 1 + length + place;
        }
        self.put(at + 0x18, &vcn.wrapping_sub(1).to_le_bytes())
    }

    /// An operation on the entries of an index root.
    fn root(&mut self, operation: u16, at: usize, inner: usize, data: &[u8]) -> Fit {
        let used = self.u32(USED)?;
        let length = self.attribute(at, used)?;
        if self.u32(at)? != kind::INDEX_ROOT as usize || self.0[at + 8] != 0 {
            return Err("an index root that is none");
        }
        let node = at + self.u16(at + VALUE_AT)? + 0x10;
        let entry = at + inner;
        self.entry_at(node, entry)?;
        let (filled, value) = (self.u32(node + 4)?, self.u32(at + VALUE_LENGTH)?);
        if node + filled > at + length || filled < 16 {
            return Err("an index root that is longer than it is");
        }
        match operation {
            op::ADD_ENTRY_ROOT => {
                let new = whole_entry(data)?;
                // The attribute grows first, so that its entries have where to go.
                self.resize(entry, 0, new.len(), used)?;
                self.put(entry, new)?;
                self.put32(USED, used + new.len())?;
                self.put32(at + 4, length + new.len())?;
                self.put32(at + VALUE_LENGTH, value + new.len())?;
                self.put32(node + 4, filled + new.len())?;
                let allocated = self.u32(node + 8)?;
                self.put32(node + 8, allocated + new.len())
            }
            op::DELETE_ENTRY_ROOT => {
                let old = self.u16(entry + 8)?;
                if old < 16 || entry + old > node + filled || value < old {
                    return Err("an entry behind its node");
                }
                self.resize(entry, old, 0, used)?;
                self.put32(USED, used - old)?;
                self.put32(at + 4, length - old)?;
                self.put32(at + VALUE_LENGTH, value - old)?;
                self.put32(node + 4, filled - old)?;
                let allocated = self.u32(node + 8)?;
                self.put32(node + 8, allocated.checked_sub(old).ok_or("an index root that is shorter")?)
            }
            op::SET_CHILD_ROOT => self.set_child(entry, node + filled, data),
            op::UPDATE_NAME_ROOT => self.set_name(entry, node + filled, data),
            op::UPDATE_DATA_ROOT => self.set_data(entry, node + filled, data),
            _ => Err("an operation that is not known"),
        }
    }

    /// Whether an entry of the node at `node` begins at `entry`, or they end there.
    fn entry_at(&self, node: usize, entry: usize) -> Fit {
        let mut at = node + self.u32(node)?;
        let end = node + self.u32(node + 4)?;
        while at < entry && at < end {
            at += self.u16(at + 8)?.max(16);
        }
        if at == entry && entry <= end { Ok(()) } else { Err("no index entry where one should be") }
    }

    fn set_child(&mut self, entry: usize, end: usize, data: &[u8]) -> Fit {
        let length = self.u16(entry + 8)?;
        if self.u16(entry + 12)? & 1 == 0 || length < 24 || entry + length > end {
            return Err("an index entry without a child");
        }
        self.put(entry + length - 8, data.get(..8).ok_or("a child that is not in the log")?)
    }

    /// The times, sizes and flags of the file that a name leads to.
    fn set_name(&mut self, entry: usize, end: usize, data: &[u8]) -> Fit {
        if self.u16(entry + 10)? < 0x42 || entry + self.u16(entry + 8)? > end {
            return Err("an index entry without a name");
        }
        self.put(entry + 0x18, data.get(..0x38).ok_or("a name that is not in the log")?)
    }

    /// The data of an entry of an index of something else than names.
    fn set_data(&mut self, entry: usize, end: usize, data: &[u8]) -> Fit {
        let (at, length) = (self.u16(entry)?, self.u16(entry + 8)?);
        if at + data.len() > length || entry + length > end {
            return Err("data behind its index entry");
        }
        self.put(entry + at, data)
    }
}

fn whole_entry(data: &[u8]) -> Fit<&[u8]> {
    let length = Bytes(&mut data.to_vec()).u16(8)?;
    data.get(..length)
        .filter(|entry| entry.len() >= 16 && length % 8 == 0)
        .ok_or("an entry that is not in the log")
}

/// Does `operation` on a whole index block.
///
/// # Errors
/// Where it does not fit.
pub fn block(bytes: &mut Vec<u8>, operation: u16, action: &Action, data: &[u8]) -> Fit {
    let mut block = Bytes(bytes);
    let entry = action.attribute_offset;
    let (filled, space) = (block.u32(BLOCK_NODE + 4)?, block.u32(BLOCK_NODE + 8)?);
    let end = BLOCK_NODE + filled;
    if end > block.0.len() || BLOCK_NODE + space > block.0.len() || filled > space {
        return Err("an index block that is longer than it is");
    }
    block.entry_at(BLOCK_NODE, entry)?;
    match operation {
        op::ADD_ENTRY => {
            let new = whole_entry(data)?;
            if filled + new.len() > space {
                return Err("no space for an entry");
            }
            block.resize(entry, 0, new.len(), end)?;
            block.put(entry, new)?;
            block.put32(BLOCK_NODE + 4, filled + new.len())
        }
        op::DELETE_ENTRY => {
            let old = block.u16(entry + 8)?;
            if old < 16 || entry + old > end {
                return Err("an entry behind its block");
            }
            block.resize(entry, old, 0, end)?;
            block.put32(BLOCK_NODE + 4, filled - old)
        }
        op::WRITE_END_OF_INDEX => {
            if entry + data.len() > BLOCK_NODE + space {
                return Err("no space for entries");
            }
            block.put(entry, data)?;
            block.put32(BLOCK_NODE + 4, entry + data.len() - BLOCK_NODE)
        }
        op::SET_CHILD => block.set_child(entry, end, data),
        op::UPDATE_NAME => block.set_name(entry, end, data),
        op::UPDATE_DATA => block.set_data(entry, end, data),
        _ => Err("an operation that is not known"),
    }
}

/// Sets or clears a range of bits.
///
/// # Errors
/// Where it lies outside.
pub fn bits(bytes: &mut [u8], set: bool, data: &[u8]) -> Fit {
    let range = Bytes(&mut data.to_vec()).get::<8>(0)?;
    let first = u32::from_le_bytes([range[0], range[1], range[2], range[3]]) as usize;
    let count = u32::from_le_bytes([range[4], range[5], range[6], range[7]]) as usize;
    if first + count > bytes.len() * 8 {
        return Err("bits behind their page");
    }
    for bit in first..first + count {
        let mask = 1 << (bit % 8);
        bytes[bit / 8] = if set { bytes[bit / 8] | mask } else { bytes[bit / 8] & !mask };
    }
    Ok(())
}
