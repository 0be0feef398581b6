//! The set of entries of a file (specification, section 6 and 7.4 to 7.9).

use crate::fat::time::dos_time;
use crate::{Error, Fields, Result, Timestamp, wtf8};

pub(super) const FILE: u8 = 0x85;
pub(super) const UP_CASE: u8 = 0x82;
const LABEL: u8 = 0x83;
const STREAM: u8 = 0xC0;
const NAME: u8 = 0xC1;

/// The bit of an entry's type that says that it is in use.
pub(super) const IN_USE: u8 = 0x80;
/// The bit that says that the entry belongs to the primary one before it.
pub(super) const SECONDARY: u8 = 0x40;
/// The bit that says that who does not know the entry may pass over it.
pub(super) const BENIGN: u8 = 0x20;

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) is_folder: bool,
    pub(super) is_read_only: bool,
    pub(super) created: Timestamp,
    pub(super) modified: Timestamp,
    pub(super) accessed: Timestamp,
    /// 0 where nothing is allocated.
    pub(super) first_cluster: u32,
    /// Whether it lies in one piece, and has no chain.
    pub(super) contiguous: bool,
    pub(super) size: u64,
    /// Bytes that were written; behind them are zeros.
    pub(super) valid: u64,
}

/// The label, where this slot is one.
pub(super) fn label(slot: &[u8; 32]) -> Option<String> {
    if slot[0] != LABEL {
        return None;
    }
    let length = usize::from(slot[1]).min(11);
    let units = slot[2..24].as_chunks().0.iter().take(length).map(|unit| u16::from_le_bytes(*unit));
    let label: String =
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    (!label.is_empty()).then_some(label)
}

/// The checksum of a set, over everything but itself.
fn checksum(set: &[[u8; 32]]) -> u16 {
    let counted = set.as_flattened().iter().enumerate().filter(|(at, _)| !matches!(at, 2 | 3));
    counted.fold(0u16, |sum, (_, byte)| sum.rotate_right(1).wrapping_add(u16::from(*byte)))
}

/// A moment of packed date and time, hundredths of a second, and offset from UTC in quarters of an hour.
fn moment(fields: &Fields<'_>, at: usize, hundredths: u8, zone: u8) -> Result<Timestamp> {
    let local = dos_time(fields.le16(at + 2)?, fields.le16(at)?, hundredths.min(199));
    if zone & 0x80 == 0 {
        return Ok(local);
    }
    // Seven bits with a sign.
    let quarters = i64::from((zone << 1) as i8 >> 1);
    Ok(Timestamp { seconds: local.seconds - quarters * 900, ..local })
}

impl Entry {
    /// Reads a set: the primary entry, and as many secondary ones as it says.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Unsupported`] for an entry that must not be passed over.
    pub(super) fn parse(set: &[[u8; 32]]) -> Result<Entry> {
        let wrong = |reason: &str| Error::corrupt("an exFAT entry set", reason);
        let [primary, stream, rest @ ..] = set else {
            return Err(wrong("it is too short"));
        };
        let fields = Fields::new("an exFAT entry set", primary);
        if fields.le16(2)? != checksum(set) {
            return Err(wrong("its checksum does not fit"));
        }
        if stream[0] != STREAM {
            return Err(wrong("no stream extension follows"));
        }
        let attributes = fields.le16(4)?;
        let place = Fields::new("an exFAT stream extension", stream);
        let flags = place.u8(1)?;
        let length = usize::from(place.u8(3)?);
        let (valid, first_cluster, size) = (place.le64(8)?, place.le32(20)?, place.le64(24)?);
        let name_slots = length.div_ceil(15);
        let names = rest.get(..name_slots).filter(|names| !names.is_empty());
        let Some(names) = names.filter(|names| names.iter().all(|slot| slot[0] == NAME)) else {
            return Err(wrong("its name is not whole"));
        };
        // Vendors' entries, and what may come, stand behind the name.
        if let Some(unknown) = rest[name_slots..].iter().find(|slot| slot[0] & BENIGN == 0) {
            return Err(Error::unsupported(format!("an exFAT entry of type {:#04x}", unknown[0])));
        }
        let units =
            names.iter().flat_map(|slot| slot[2..].as_chunks().0).map(|unit| u16::from_le_bytes(*unit));
        let name = wtf8::from_utf16(units.take(length));
        if name.iter().any(|byte| matches!(byte, 0 | b'/')) || name == b"." || name == b".." {
            return Err(wrong("its name is none that can be shown"));
        }
        if valid > size {
            return Err(wrong("more bytes are valid than it has"));
        }
        // Without an allocation there is no first cluster and no data (section 6.3.4).
        if (flags & 1 == 0 || first_cluster == 0) && (size != 0 || first_cluster != 0) {
            return Err(wrong("it has data, and none is allocated"));
        }
        Ok(Entry {
            name,
            is_folder: attributes & 0x10 != 0,
            is_read_only: attributes & 0x01 != 0,
            created: moment(&fields, 8, fields.u8(20)?, fields.u8(22)?)?,
            modified: moment(&fields, 12, fields.u8(21)?, fields.u8(23)?)?,
            accessed: moment(&fields, 16, 0, fields.u8(24)?)?,
            first_cluster,
            contiguous: flags & 2 != 0,
            size,
            valid,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, change: impl Fn(&mut Vec<[u8; 32]>)) -> Vec<[u8; 32]> {
        let units: Vec<u16> = name.encode_utf16().collect();
        let mut set = vec![[0; 32]; 2 + units.len().div_ceil(15)];
        set[0][0] = FILE;
        set[0][4] = 0x20;
        set[0][8..12].copy_from_slice(&[0, 0, 0x21, 0]);
        set[0][12..16].copy_from_slice(&[0x1E, 0x50, 0x21, 0]);
        set[0][20..25].copy_from_slice(&[150, 0, 0, 0x80 | 4, 0x80 | 0x7C]);
        set[1][0] = STREAM;
        set[1][1] = 3;
        set[1][3] = units.len() as u8;
        set[1][8] = 10;
        set[1][20] = 9;
        set[1][24] = 20;
        for (slot, chunk) in set[2..].iter_mut().zip(units.chunks(15)) {
            slot[0] = NAME;
            for (at, unit) in chunk.iter().enumerate() {
                slot[2 + at * 2..][..2].copy_from_slice(&unit.to_le_bytes());
            }
        }
        change(&mut set);
        set[0][1] = set.len() as u8 - 1;
        let sum = checksum(&set);
        set[0][2..4].copy_from_slice(&sum.to_le_bytes());
        set
    }

    #[test]
    fn a_set_is_a_file() {
        let entry = Entry::parse(&set("a name of thirty-one characters", |_| ())).unwrap();
        assert_eq!(entry.name, b"a name of thirty-one characters");
        assert_eq!((entry.first_cluster, entry.size, entry.valid, entry.contiguous), (9, 20, 10, true));
        let new_year = 315_532_800;
        assert_eq!(entry.created, Timestamp { seconds: new_year + 1, nanos: 500_000_000 }, "no zone");
        assert_eq!(
            entry.modified,
            Timestamp { seconds: new_year + 10 * 3600 + 60 - 3600, nanos: 0 },
            "UTC+1"
        );
        assert_eq!(entry.accessed.seconds, new_year + 3600, "UTC-1, and no date");
    }

    #[test]
    fn what_is_wrong_with_a_set() {
        let error =
            |change: &dyn Fn(&mut Vec<[u8; 32]>)| Entry::parse(&set("x", change)).unwrap_err().to_string();
        assert!(error(&|set| set[1][0] = 0xC5).contains("stream extension"));
        assert!(error(&|set| set[1][3] = 16).contains("name"));
        assert!(error(&|set| set[1][3] = 0).contains("name"));
        assert!(error(&|set| set[2][2] = b'/').contains("name"));
        assert!(error(&|set| set[2][2] = b'.').contains("name"));
        assert!(error(&|set| set[1][8] = 21).contains("valid"));
        assert!(error(&|set| set[1][1] = 0).contains("allocated"));
        assert!(error(&|set| set.push([0xC7; 32])).contains("0xc7"));
        assert!(Entry::parse(&set("x", |set| set.push([0xE0; 32]))).is_ok(), "a vendor's");
        let mut flipped = set("x", |_| ());
        flipped[2][9] ^= 4;
        assert!(Entry::parse(&flipped).unwrap_err().to_string().contains("checksum"));
        assert!(Entry::parse(&[]).is_err());
    }
}
