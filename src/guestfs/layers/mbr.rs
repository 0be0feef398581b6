//! The master boot record, and the chain of extended boot records (Linux `block/partitions/msdos.c` for the numbering).

use crate::device::{self, ReadAt};
use crate::layers::partitioned::{Entry, Table, check};
use crate::{Fields, Result};
use std::collections::HashSet;

/// Logical partitions that are followed at most; Linux ends at 256 partitions of a disk.
const MAX_LOGICAL: usize = 250;

/// The types of extended partitions.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// A boot record's four entries.
pub struct Sector {
    signature: u32,
    slots: [Slot; 4],
}

#[derive(Clone, Copy)]
struct Slot {
    flag: u8,
    kind: u8,
    start: u32,
    sectors: u32,
}

impl Slot {
    fn is_empty(self) -> bool {
        self.kind == 0 || self.sectors == 0
    }

    fn is_extended(self) -> bool {
        EXTENDED.contains(&self.kind) && self.sectors > 0
    }
}

impl Sector {
    /// The first 512 bytes of a disk, where they are a boot record: it ends with 55 AA, and the flags of its entries are
    /// flags. A boot sector of a file system has code or text there.
    pub fn parse(bytes: &[u8]) -> Option<Sector> {
        let fields = Fields::new("the boot record", bytes);
        if fields.le16(510).ok()? != 0xaa55 {
            return None;
        }
        let mut slots = [Slot { flag: 0, kind: 0, start: 0, sectors: 0 }; 4];
        for (index, slot) in slots.iter_mut().enumerate() {
            let at = 446 + 16 * index;
            *slot = Slot {
                flag: fields.u8(at).ok()?,
                kind: fields.u8(at + 4).ok()?,
                start: fields.le32(at + 8).ok()?,
                sectors: fields.le32(at + 12).ok()?,
            };
        }
        let flags = slots.iter().all(|slot| slot.flag & 0x7f == 0);
        flags.then_some(Sector { signature: fields.le32(440).ok()?, slots })
    }

    /// Whether it only says that there is a GPT (or says so beside entries of a hybrid table, where the GPT wins).
    pub fn is_protective(&self) -> bool {
        self.slots.iter().any(|slot| slot.kind == 0xee && slot.start <= 1)
    }

    /// Whether it has no partition at all.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(|slot| slot.is_empty())
    }
}

/// The partitions of the record `master`, counted in sectors of `sector` bytes. None where not even one begins inside
/// of the disk: then these are not entries.
///
/// # Errors
/// Only those of the reader below.
pub fn read(device: &dyn ReadAt, master: &Sector, sector: u64) -> Result<Option<Table>> {
    let entry = |number: usize, slot: Slot, base: u64| Entry {
        number: number as u32,
        offset: (base + u64::from(slot.start)) * sector,
        size: u64::from(slot.sectors) * sector,
        kind: format!("{:#04x}", slot.kind),
        name: None,
        uuid: (master.signature != 0).then(|| format!("{:08x}-{number:02x}", master.signature)),
        wrong: None,
    };
    let mut entries = Vec::new();
    let mut logical = Vec::new();
    let mut broken = None;
    for (index, &slot) in master.slots.iter().enumerate() {
        if slot.is_extended() {
            broken = broken.or(extended(device, slot, sector, &mut logical)?);
        } else if !slot.is_empty() {
            entries.push(entry(index + 1, slot, 0));
        }
    }
    for (index, (base, slot)) in logical.into_iter().enumerate() {
        entries.push(entry(index + 5, slot, base));
    }
    if entries.iter().all(|entry| entry.offset == 0 || entry.offset >= device.size()) && broken.is_none() {
        return Ok(None);
    }
    check(&mut entries, device.size());
    if let Some(reason) = broken {
        // The next number, so that the listing says that there is more.
        let number = entries.iter().map(|entry| entry.number + 1).max().unwrap_or(5).max(5);
        entries.push(Entry {
            number,
            offset: 0,
            size: 0,
            kind: "0x05".into(),
            name: None,
            uuid: None,
            wrong: Some(reason),
        });
    }
    Ok(Some(Table { kind: "MBR", entries, doubtful: false }))
}

/// Follows the chain of the extended partition `outer`, and adds its logical partitions with the sector that they count
/// from. What ends the chain before its end is returned.
fn extended(
    device: &dyn ReadAt,
    outer: Slot,
    sector: u64,
    logical: &mut Vec<(u64, Slot)>,
) -> Result<Option<String>> {
    let first = u64::from(outer.start);
    let mut at = first;
    let mut seen = HashSet::new();
    loop {
        if !seen.insert(at) {
            return Ok(Some("the chain of logical partitions runs in a circle".into()));
        }
        if logical.len() >= MAX_LOGICAL || seen.len() > 2 * MAX_LOGICAL {
            return Ok(Some(format!("there are more than {MAX_LOGICAL} logical partitions")));
        }
        if (at + 1) * sector > device.size() {
            return Ok(Some("the chain of logical partitions leaves the disk".into()));
        }
        let bytes = device::read_vec(device, at * sector, 512)?;
        let Some(record) = Sector::parse(&bytes) else {
            // An extended partition that nothing was ever made in has no record at all.
            let untouched = at == first && bytes.iter().all(|&byte| byte == 0);
            return Ok((!untouched).then(|| "the chain of logical partitions is broken".into()));
        };
        // The third and fourth entries are unused; some programs leave data in them.
        for slot in &record.slots[..2] {
            if !slot.is_empty() && !slot.is_extended() {
                logical.push((at, *slot));
            }
        }
        match record.slots[..2].iter().find(|slot| slot.is_extended()) {
            Some(next) => at = first + u64::from(next.start),
            None => return Ok(None),
        }
    }
}
