//! The GUID partition table: its header and its entries, primary and backup (UEFI 2.10, section 5.3).

use crate::device::{self, ReadAt};
use crate::layers::guid;
use crate::layers::partitioned::{Entry, MAX_PARTITIONS, Table, check};
use crate::{Fields, Result};
use crc::{CRC_32_ISO_HDLC, Crc};

/// The checksum of headers and entries.
const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Bytes of entries that are read at most: the specification asks for at least 16 KiB.
const MAX_ENTRIES: u64 = 1 << 20;

/// What there is.
pub enum Found {
    /// No header anywhere, or none that says anything.
    Nothing,
    /// The table; doubtful where only the backup was found.
    Table(Table),
    /// The disk is said to have a GPT, and neither header can be used.
    Damaged(String),
}

/// Why one header can't be used.
enum Unusable {
    /// There is none.
    Absent,
    /// There is one, and it is damaged.
    Damaged(String),
}

/// What a header gives: its entries; or why it can't be used, with the place of the other header where that is known.
type Header = std::result::Result<Vec<Entry>, (Unusable, Option<u64>)>;

/// Reads the table in sectors of 512 and 4096 bytes, the primary header first, then the backup in the last sector.
/// `protective` tells that the MBR says that there is one.
///
/// # Errors
/// Only those of the reader below.
pub fn read(device: &dyn ReadAt, protective: bool) -> Result<Found> {
    let mut damaged = None;
    let mut backup_of_damaged = None;
    for sector in [512, 4096] {
        match header(device, sector, 1)? {
            Ok(entries) => return Ok(Found::Table(table(entries, false))),
            Err((Unusable::Damaged(reason), alternate)) => {
                damaged = Some(reason);
                backup_of_damaged = alternate.map(|lba| (sector, lba));
            }
            Err((Unusable::Absent, _)) => {}
        }
    }
    let last = [512, 4096].map(|sector| (sector, (device.size() / sector).saturating_sub(1)));
    for (sector, lba) in backup_of_damaged.into_iter().chain(last) {
        if lba > 1
            && let Ok(entries) = header(device, sector, lba)?
        {
            return Ok(Found::Table(table(entries, damaged.is_none())));
        }
    }
    Ok(match damaged {
        Some(reason) => Found::Damaged(format!("the GPT: {reason}, and there is no good backup")),
        None if protective => Found::Damaged("the GPT: neither of its headers is there".into()),
        None => Found::Nothing,
    })
}

fn table(entries: Vec<Entry>, doubtful: bool) -> Table {
    Table { kind: "GPT", entries, doubtful }
}

/// The header in sector `lba`, and the entries that it describes.
fn header(device: &dyn ReadAt, sector: u64, lba: u64) -> Result<Header> {
    let damaged = |reason: &str, other| Ok(Err((Unusable::Damaged(reason.into()), other)));
    let sectors = device.size() / sector;
    if lba >= sectors {
        return Ok(Err((Unusable::Absent, None)));
    }
    let bytes = device::read_vec(device, lba * sector, 512)?;
    let fields = Fields::new("the GPT header", &bytes);
    if fields.bytes(0, 8)? != b"EFI PART" {
        return Ok(Err((Unusable::Absent, None)));
    }
    let length = fields.le32(12)? as usize;
    if !(92..=512).contains(&length) {
        return damaged("a header of an impossible size", None);
    }
    let mut covered = bytes[..length].to_vec();
    covered[16..20].fill(0);
    if CRC.checksum(&covered) != fields.le32(16)? {
        return damaged("the checksum of the header does not match", None);
    }
    let other = Some(fields.le64(32)?);
    if fields.le64(24)? != lba {
        return damaged("the header is not in its place", other);
    }
    let (count, size) = (u64::from(fields.le32(80)?), u64::from(fields.le32(84)?));
    if size < 128 || !size.is_power_of_two() || count * size > MAX_ENTRIES {
        return damaged("entries of an impossible number or size", other);
    }
    let start = match fields.le64(72)?.checked_mul(sector) {
        Some(start) if start.checked_add(count * size).is_some_and(|end| end <= device.size()) => start,
        _ => return damaged("its entries are outside of the disk", other),
    };
    let bytes = device::read_vec(device, start, (count * size) as usize)?;
    if CRC.checksum(&bytes) != fields.le32(88)? {
        return damaged("the checksum of the entries does not match", other);
    }
    let mut entries = Vec::new();
    for (index, bytes) in bytes.chunks_exact(size as usize).enumerate() {
        let fields = Fields::new("a GPT entry", bytes);
        let kind: [u8; 16] = fields.array(0)?;
        if kind == [0; 16] {
            continue;
        }
        if entries.len() == MAX_PARTITIONS {
            break;
        }
        entries.push(entry(index as u32 + 1, &fields, sector)?);
    }
    check(&mut entries, sectors * sector);
    Ok(Ok(entries))
}

/// One entry; an end before its beginning makes it empty, which [`check`] marks.
fn entry(number: u32, fields: &Fields<'_>, sector: u64) -> Result<Entry> {
    let (first, last) = (fields.le64(32)?, fields.le64(40)?);
    let size = last.checked_sub(first).and_then(|more| more.checked_add(1)).unwrap_or(0);
    let name: Vec<u16> = fields
        .bytes(56, 72)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|&unit| unit != 0)
        .collect();
    Ok(Entry {
        number,
        // What does not fit lies outside of every disk.
        offset: first.saturating_mul(sector),
        size: size.saturating_mul(sector),
        kind: guid::mixed(&fields.array(0)?).to_uppercase(),
        name: (!name.is_empty()).then(|| String::from_utf16_lossy(&name)),
        uuid: Some(guid::mixed(&fields.array(16)?)),
        wrong: None,
    })
}
