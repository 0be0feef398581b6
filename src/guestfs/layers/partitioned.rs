//! What a partition table gives, of whichever format: entries that were checked against the disk and each other.

use crate::device::ReadAt;
use crate::layers::{disklabel, gpt, mbr};
use crate::{Result, device};

/// How many partitions are read of one table.
pub const MAX_PARTITIONS: usize = 1024;

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// `GPT` or `MBR`.
    pub kind: &'static str,
    /// By their numbers.
    pub entries: Vec<Entry>,
    /// Whether only a backup was found, on a disk whose beginning says nothing of a GPT: it may be left over.
    pub doubtful: bool,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As Linux counts.
    pub number: u32,
    /// The first byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// The type, see [`Partition::kind`](crate::Partition::kind).
    pub kind: String,
    /// The name, where the format has one.
    pub name: Option<String>,
    /// The identity, where it has one.
    pub uuid: Option<String>,
    /// Why its bytes are not to be trusted, where they aren't: it overlaps another one, or ends outside of the disk.
    pub wrong: Option<String>,
}

/// What the beginning of a range says of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No table.
    Nothing,
    /// A table; for an MBR, the same one read in sectors of 4096 bytes as well, where that is possible.
    Table(Table, Option<Table>),
    /// A table that is not read: its name.
    Refused(&'static str),
    /// There is a table, and it is damaged: what was found.
    Damaged(String),
}

/// Looks for a partition table.
///
/// # Errors
/// Only those of the reader below.
pub fn read(device: &dyn ReadAt) -> Result<Found> {
    if device.size() < 1024 {
        return Ok(Found::Nothing);
    }
    let sector = device::read_vec(device, 0, 1024)?;
    let master = mbr::Sector::parse(&sector[..512]);
    let protective = master.as_ref().is_some_and(mbr::Sector::is_protective);
    match gpt::read(device, protective)? {
        gpt::Found::Nothing => {}
        gpt::Found::Table(mut table) => {
            table.doubtful = table.doubtful && !protective;
            // A backup is believed where nothing else says what the disk is.
            if !table.doubtful || master.as_ref().is_none_or(mbr::Sector::is_empty) {
                return Ok(Found::Table(table, None));
            }
        }
        gpt::Found::Damaged(reason) => return Ok(Found::Damaged(reason)),
    }
    if let Some(master) = master
        && !protective
        && !master.is_empty()
    {
        let small = mbr::read(device, &master, 512)?;
        let large =
            mbr::read(device, &master, 4096)?.filter(|table| table.entries.iter().all(|e| e.wrong.is_none()));
        if let Some(table) = small {
            return Ok(Found::Table(table, large));
        }
    }
    Ok(match disklabel::recognise(&sector) {
        Some(name) => Found::Refused(name),
        None => Found::Nothing,
    })
}

/// Checks entries against the disk and each other: what lies outside, or over another one, is marked. `inside` tells
/// which pairs may lie in each other.
pub fn check(entries: &mut [Entry], size: u64) {
    for entry in entries.iter_mut() {
        match entry.offset.checked_add(entry.size) {
            Some(end) if end <= size => {}
            _ => entry.wrong = Some(format!("partition {} ends outside of the disk", entry.number)),
        }
        if entry.size == 0 {
            entry.wrong = Some(format!("partition {} is empty", entry.number));
        }
    }
    let mut order: Vec<usize> = (0..entries.len()).filter(|&index| entries[index].size > 0).collect();
    order.sort_by_key(|&index| entries[index].offset);
    let mut furthest: Option<usize> = None;
    for index in order {
        let end = |at: usize| entries[at].offset.saturating_add(entries[at].size);
        if let Some(before) = furthest
            && entries[index].offset < end(before)
        {
            let (a, b) = (entries[before].number, entries[index].number);
            for (at, other) in [(before, b), (index, a)] {
                let number = entries[at].number;
                entries[at]
                    .wrong
                    .get_or_insert_with(|| format!("partition {number} overlaps partition {other}"));
            }
        }
        let end = |at: usize| entries[at].offset.saturating_add(entries[at].size);
        if furthest.is_none_or(|before| end(index) > end(before)) {
            furthest = Some(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u32, offset: u64, size: u64) -> Entry {
        Entry { number, offset, size, kind: String::new(), name: None, uuid: None, wrong: None }
    }

    #[test]
    fn what_overlaps_or_ends_outside_is_marked() {
        let mut entries = [
            entry(1, 0, 100),
            entry(2, 100, 100),
            entry(3, 150, 10),
            entry(4, 500, 600),
            entry(5, 300, 0),
            entry(6, u64::MAX, 2),
            entry(7, 200, 100),
        ];
        check(&mut entries, 1000);
        let wrong: Vec<_> = entries.iter().map(|entry| entry.wrong.as_deref()).collect();
        assert_eq!(
            wrong,
            [
                None,
                Some("partition 2 overlaps partition 3"),
                Some("partition 3 overlaps partition 2"),
                Some("partition 4 ends outside of the disk"),
                Some("partition 5 is empty"),
                Some("partition 6 ends outside of the disk"),
                None,
            ]
        );
    }
}
