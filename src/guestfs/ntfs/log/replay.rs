//! The passes: what was going on (analysis), everything again that may not be on the disk (redo), and away with what was
//! not finished (undo).

use super::change;
use super::pages::Log;
use super::record::{Record, op};
use super::tables::Tables;
use crate::device::ReadAt;
use crate::ntfs::boot::Geometry;
use crate::ntfs::fixup;
use crate::ntfs::record::kind;
use crate::{Error, Overlay, Result};
use std::collections::BTreeMap;

/// The most records that are undone.
const MAX_UNDO: usize = 1 << 20;

/// What a replay changed.
pub struct Replayed {
    /// The volume's bytes with the changes over them.
    pub overlay: Overlay,
    /// Start and end of each changed range, ascending.
    pub ranges: Vec<(u64, u64)>,
    /// Operations that were done again, and undone.
    pub redone: usize,
    /// How many were undone.
    pub undone: usize,
}

/// Replays a log over a volume.
///
/// # Errors
/// [`Error::Untrusted`] where that is not certain.
pub fn replay(log: &Log, overlay: Overlay, geometry: Geometry, page_size: usize) -> Result<Replayed> {
    let replayed = Replayed { overlay, ranges: Vec::new(), redone: 0, undone: 0 };
    let Some((tables, start)) = Tables::read(log, geometry.cluster_bits, page_size)? else {
        return Ok(replayed);
    };
    let mut passes = Passes { log, tables, geometry, replayed, last: 0, changed: BTreeMap::new() };
    passes.run(start)?;
    let Passes { mut replayed, changed, .. } = passes;
    replayed.ranges = changed.into_iter().collect();
    Ok(replayed)
}

struct Passes<'a> {
    log: &'a Log,
    tables: Tables,
    geometry: Geometry,
    replayed: Replayed,
    /// The last record of the log.
    last: u64,
    changed: BTreeMap<u64, u64>,
}

/// Which way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Redo,
    Undo,
}

impl Passes<'_> {
    fn run(&mut self, start: u64) -> Result<()> {
        // The record at the checkpoint itself is known to its tables.
        let mut first = None;
        let (log, tables) = (self.log, &mut self.tables);
        self.last = log.walk(start, &mut |record| {
            if record.lsn == start {
                return Ok(());
            }
            first.get_or_insert(record.lsn);
            tables.learn(&record)
        })?;
        if !self.tables.pages.is_empty() {
            let oldest = self.tables.oldest(first.unwrap_or(start));
            log.walk(oldest, &mut |record| self.again(&record))?;
        }
        let unfinished: Vec<u64> =
            self.tables.transactions.values().filter(|one| one.active).map(|one| one.undo_next).collect();
        let mut left = MAX_UNDO;
        for lsn in unfinished {
            self.away(lsn, &mut left)?;
        }
        Ok(())
    }

    /// Does again what a record did.
    fn again(&mut self, record: &Record) -> Result<()> {
        let action = &record.action;
        if !record.ordinary || op::is_void(action.redo) || action.lcns.is_empty() {
            return Ok(());
        }
        let Some((vcn, page)) = self.tables.page(record) else { return Ok(()) };
        if record.lsn < page.oldest {
            return Ok(());
        }
        let lcns = page.lcns[(action.vcn - vcn) as usize..].to_vec();
        // Clusters that were given away hold something else now.
        if lcns.iter().take(action.lcns.len()).all(|&lcn| lcn == 0) {
            return Ok(());
        }
        self.apply(record, Pass::Redo, &lcns)
    }

    /// Undoes a transaction from its last record on.
    fn away(&mut self, mut lsn: u64, left: &mut usize) -> Result<()> {
        while lsn != 0 {
            *left = left.checked_sub(1).ok_or_else(|| Error::Limit("too much is to be undone".into()))?;
            let record = self.log.record(lsn)?;
            if record.undo_next >= lsn {
                return Err(misfit(&record, "it is undone by something later"));
            }
            let action = &record.action;
            if record.ordinary && !op::is_void(action.undo) && !action.lcns.is_empty() {
                let page = self
                    .tables
                    .page(&record)
                    .map(|(vcn, page)| page.lcns[(action.vcn - vcn) as usize..].to_vec());
                let lcns = page.unwrap_or_else(|| action.lcns.clone());
                if lcns.iter().take(action.lcns.len()).any(|&lcn| lcn == 0) {
                    return Err(misfit(&record, "its clusters were given away"));
                }
                self.apply(&record, Pass::Undo, &lcns)?;
            }
            lsn = record.undo_next;
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record, pass: Pass, lcns: &[u64]) -> Result<()> {
        let action = &record.action;
        let operation = if pass == Pass::Redo { action.redo } else { action.undo };
        let data = if pass == Pass::Redo { record.redo_data() } else { record.undo_data() };
        let data = data.map_err(|_| misfit(record, "its data is not in the log"))?;
        let data = &*data;
        let attribute = self.tables.attributes.get(&u32::from(action.attribute)).copied();
        let done = if op::is_of_record(operation) {
            let size = self.geometry.record_size;
            self.structure(record, pass, lcns, b"FILE", size, data, operation)?
        } else if op::is_of_index(operation) {
            let size = attribute.map_or(0, |attribute| attribute.block);
            self.structure(record, pass, lcns, b"INDX", size, data, operation)?
        } else if operation == op::UPDATE_NONRESIDENT {
            let Some(attribute) = attribute else { return Err(misfit(record, "its attribute is not known")) };
            if attribute.kind == kind::INDEX_ALLOCATION {
                self.structure(record, pass, lcns, b"INDX", attribute.block, data, operation)?
            } else {
                self.plain(record, lcns, &mut |bytes| {
                    bytes.get_mut(..data.len()).ok_or("data behind its clusters")?.copy_from_slice(data);
                    Ok(())
                })?
            }
        } else if matches!(operation, op::SET_BITS | op::CLEAR_BITS) {
            self.plain(record, lcns, &mut |bytes| change::bits(bytes, operation == op::SET_BITS, data))?
        } else {
            return Err(misfit(record, "an operation that is not known"));
        };
        match pass {
            Pass::Redo => self.replayed.redone += usize::from(done),
            Pass::Undo => self.replayed.undone += usize::from(done),
        }
        Ok(())
    }

    /// Changes an MFT record or an index block; whether that was needed.
    fn structure(
        &mut self,
        record: &Record,
        pass: Pass,
        lcns: &[u64],
        magic: &[u8; 4],
        size: usize,
        data: &[u8],
        operation: u16,
    ) -> Result<bool> {
        let action = &record.action;
        if !(512..=65536).contains(&size) || !size.is_power_of_two() {
            return Err(misfit(record, "a structure of impossible size"));
        }
        let pieces = self.pieces(record, lcns, action.cluster_offset, size)?;
        let mut bytes = vec![0; size];
        self.read(&pieces, &mut bytes)?;
        // A new one is logged whole: what was there before is of no interest.
        let whole = data.len() >= 0x30
            && data.starts_with(magic)
            && action.record_offset + action.attribute_offset == 0
            && matches!(operation, op::INITIALIZE_RECORD | op::UPDATE_NONRESIDENT);
        let good = fixup::apply(&mut bytes, magic, &String::new).is_ok();
        if good && pass == Pass::Redo {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[8..16]);
            let written = u64::from_le_bytes(eight);
            // A number that the log has not reached yet is left from a log before this one.
            if written >= record.lsn && written <= self.last {
                return Ok(false);
            }
        }
        if whole {
            bytes.fill(0);
        } else if !good {
            return Err(misfit(record, "what it changes is damaged"));
        }
        let changed = if operation == op::UPDATE_NONRESIDENT {
            let at = action.record_offset + action.attribute_offset;
            let place = bytes.get_mut(at..at + data.len());
            place.map(|place| place.copy_from_slice(data)).ok_or("data behind its block")
        } else if magic == b"FILE" {
            change::record(&mut bytes, operation, action, data)
        } else {
            change::block(&mut bytes, operation, action, data)
        };
        changed.map_err(|reason| misfit(record, reason))?;
        if pass == Pass::Redo {
            bytes[8..16].copy_from_slice(&record.lsn.to_le_bytes());
        }
        if !bytes.starts_with(magic) || !fixup::protect(&mut bytes) {
            return Err(misfit(record, "what it makes is no structure"));
        }
        self.write(&pieces, &bytes)?;
        Ok(true)
    }

    /// Changes bytes that have no structure of their own.
    fn plain(
        &mut self,
        record: &Record,
        lcns: &[u64],
        change: &mut dyn FnMut(&mut [u8]) -> Result<(), change::Misfit>,
    ) -> Result<bool> {
        let action = &record.action;
        let start = action.cluster_offset + action.record_offset + action.attribute_offset;
        let held = lcns.iter().take(action.lcns.len()).take_while(|&&lcn| lcn != 0).count();
        let Some(size) = (held << self.geometry.cluster_bits).checked_sub(start) else { return Ok(false) };
        let pieces = self.pieces(record, lcns, start, size)?;
        let mut bytes = vec![0; size];
        self.read(&pieces, &mut bytes)?;
        change(&mut bytes).map_err(|reason| misfit(record, reason))?;
        self.write(&pieces, &bytes)?;
        Ok(true)
    }

    /// Where `size` bytes from byte `start` of the first cluster on lie: place and length of each part.
    fn pieces(&self, record: &Record, lcns: &[u64], start: usize, size: usize) -> Result<Vec<(u64, usize)>> {
        let bits = self.geometry.cluster_bits;
        let (mut at, mut left) = (start, size);
        let mut pieces = Vec::new();
        while left > 0 {
            let lcn = lcns.get(at >> bits).copied().unwrap_or(0);
            if lcn == 0 || lcn >= self.geometry.clusters {
                return Err(misfit(record, "its clusters are not known"));
            }
            let inside = at & ((1 << bits) - 1);
            let length = left.min((1 << bits) - inside);
            pieces.push(((lcn << bits) + inside as u64, length));
            at += length;
            left -= length;
        }
        Ok(pieces)
    }

    fn read(&self, pieces: &[(u64, usize)], bytes: &mut [u8]) -> Result<()> {
        let mut rest = bytes;
        for &(at, length) in pieces {
            let (part, after) = rest.split_at_mut(length);
            crate::device::read_exact(&self.replayed.overlay as &dyn ReadAt, part, at)?;
            rest = after;
        }
        Ok(())
    }

    fn write(&mut self, pieces: &[(u64, usize)], bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        for &(at, length) in pieces {
            let (part, after) = rest.split_at(length);
            self.replayed.overlay.write(at, part)?;
            let end = self.changed.entry(at).or_insert(0);
            *end = (*end).max(at + length as u64);
            rest = after;
        }
        Ok(())
    }
}

fn misfit(record: &Record, reason: &str) -> Error {
    Error::Untrusted(format!(
        "$LogFile is dirty and can't be replayed: record {:#x} (redo {:#x}, undo {:#x}) does not fit the volume: {reason}",
        record.lsn, record.action.redo, record.action.undo
    ))
}
