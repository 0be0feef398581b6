//! A record of the master file table, and the attributes in it.
//!
//! "FILE Record" and "Attributes" of the Linux-NTFS documentation.

use super::name::units;
use crate::{Error, Fields, Result};

/// The types of attributes that are read, as the volume's `$AttrDef` numbers them on every volume.
pub mod kind {
    pub const STANDARD_INFORMATION: u32 = 0x10;
    pub const ATTRIBUTE_LIST: u32 = 0x20;
    pub const FILE_NAME: u32 = 0x30;
    pub const VOLUME_NAME: u32 = 0x60;
    pub const VOLUME_INFORMATION: u32 = 0x70;
    pub const DATA: u32 = 0x80;
    pub const INDEX_ROOT: u32 = 0x90;
    pub const INDEX_ALLOCATION: u32 = 0xa0;
    pub const REPARSE_POINT: u32 = 0xc0;
    pub const EA: u32 = 0xe0;
    pub const END: u32 = 0xffff_ffff;
}

/// The number of an MFT record in a reference of eight bytes; the upper 16 bits are its sequence number.
pub const NUMBER: u64 = (1 << 48) - 1;

/// A reference to an MFT record: which, and the how-manieth use of it.
pub fn split(reference: u64) -> (u64, u16) {
    (reference & NUMBER, (reference >> 48) as u16)
}

/// A record whose update sequence was applied.
pub struct Record {
    /// Which one.
    pub number: u64,
    /// How often it was used for another file before.
    pub sequence: u16,
    flags: u16,
    /// The record that this one continues, as a reference; 0 where it is a file's own.
    pub base: u64,
    bytes: Vec<u8>,
    first: usize,
    end: usize,
}

/// An attribute as it stands in a record.
pub struct Header<'a> {
    /// One of [`kind`].
    pub kind: u32,
    /// Its name in UTF-16, empty for most.
    pub name: Vec<u16>,
    /// Compression in the low byte, [`ENCRYPTED`], [`SPARSE`].
    pub flags: u16,
    /// Unique in its record.
    pub id: u16,
    /// Where its value is.
    pub form: Form<'a>,
}

/// The bits of [`Header::flags`] that name a compression: 0 none, 1 LZNT1.
pub const COMPRESSION: u16 = 0x00ff;
/// Encrypted by EFS.
pub const ENCRYPTED: u16 = 0x4000;
/// Has holes.
pub const SPARSE: u16 = 0x8000;

/// Where an attribute's value is.
pub enum Form<'a> {
    /// In the record.
    Resident(&'a [u8]),
    /// In clusters; this record knows those from `lowest` on.
    NonResident {
        /// The first of the attribute's clusters that `pairs` places.
        lowest: u64,
        /// The last one, or one less than `lowest` for none.
        highest: i64,
        /// The run list.
        pairs: &'a [u8],
        /// Sizes, which only the attribute's first record has.
        sizes: Option<Sizes>,
    },
}

/// The sizes of a non-resident attribute.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Log2 of the clusters of a compression unit; 0 for none.
    pub unit: u8,
    /// Bytes of clusters from the first to the last, holes among them.
    pub allocated: u64,
    /// Bytes.
    pub size: u64,
    /// Bytes that were ever written; those behind are zeros.
    pub initialised: u64,
    /// Bytes of clusters without the holes, where it is compressed or sparse.
    pub compressed: Option<u64>,
}

impl Record {
    /// From bytes whose update sequence was applied.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its sizes contradict each other; [`Error::NotFound`] where it is not in use.
    pub fn new(number: u64, bytes: Vec<u8>) -> Result<Self> {
        let fields = Fields::new("an MFT record", &bytes);
        let damaged = |reason: String| Err(Error::corrupt(format!("MFT record {number}"), reason));
        let sequence = fields.le16(0x10)?;
        let (first, flags) = (fields.le16(0x14)?, fields.le16(0x16)?);
        if flags & 1 == 0 {
            return Err(Error::NotFound);
        }
        let (used, base) = (fields.le32(0x18)? as usize, fields.le64(0x20)?);
        let first = usize::from(first);
        if first < 0x2a || !first.is_multiple_of(8) || used > bytes.len() || first + 4 > used {
            return damaged(format!("attributes from {first} to {used} of {} bytes", bytes.len()));
        }
        // Since Windows XP it knows its number.
        if fields.le16(4)? >= 0x30 && fields.le32(0x2c)? != number as u32 {
            return damaged(format!("it says that it is {}", fields.le32(0x2c)?));
        }
        Ok(Record { number, sequence, flags, base, first, end: used, bytes })
    }

    /// Whether it is a folder.
    pub fn is_directory(&self) -> bool {
        self.flags & 2 != 0
    }

    /// The attributes, in the record's order.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where one lies outside of the record.
    pub fn attributes(&self) -> Result<Vec<Header<'_>>> {
        let name = || format!("MFT record {}", self.number);
        let fields = Fields::new("an attribute", &self.bytes[..self.end]);
        let (mut at, mut all) = (self.first, Vec::new());
        loop {
            if fields.le32(at)? == kind::END {
                return Ok(all);
            }
            let length = fields.le32(at + 4)? as usize;
            if length < 0x18 || !length.is_multiple_of(8) {
                return Err(Error::corrupt(name(), format!("an attribute of {length} bytes")));
            }
            all.push(header(fields.part(at, length)?)?);
            at += length;
        }
    }
}

fn header(attribute: Fields<'_>) -> Result<Header<'_>> {
    let name_length = usize::from(attribute.u8(9)?) * 2;
    let name_at = usize::from(attribute.le16(0xa)?);
    let name = if name_length == 0 { &[][..] } else { attribute.bytes(name_at, name_length)? };
    let flags = attribute.le16(0xc)?;
    let form = match attribute.u8(8)? {
        0 => {
            let (length, at) = (attribute.le32(0x10)? as usize, usize::from(attribute.le16(0x14)?));
            Form::Resident(if length == 0 { &[] } else { attribute.bytes(at, length)? })
        }
        1 => {
            let (lowest, highest) = (attribute.le64(0x10)?, attribute.le64(0x18)? as i64);
            let at = usize::from(attribute.le16(0x20)?);
            if lowest >= 1 << 54 || highest < lowest as i64 - 1 || at < 0x40 {
                return Err(attribute.corrupt(format!("clusters {lowest} to {highest}")));
            }
            let sizes = if lowest == 0 { Some(sizes(&attribute, flags)?) } else { None };
            let pairs = attribute.bytes(at, attribute.len().saturating_sub(at))?;
            Form::NonResident { lowest, highest, pairs, sizes }
        }
        other => return Err(attribute.corrupt(format!("neither resident nor not: {other}"))),
    };
    Ok(Header { kind: attribute.le32(0)?, name: units(name), flags, id: attribute.le16(0xe)?, form })
}

fn sizes(attribute: &Fields<'_>, flags: u16) -> Result<Sizes> {
    let (allocated, size, initialised) =
        (attribute.le64(0x28)?, attribute.le64(0x30)?, attribute.le64(0x38)?);
    if allocated >= 1 << 63 || size > allocated || initialised > size {
        return Err(attribute
            .corrupt(format!("{initialised} bytes initialised of {size} in clusters of {allocated}")));
    }
    let compressed = if flags & (COMPRESSION | SPARSE) != 0 && usize::from(attribute.le16(0x20)?) >= 0x48 {
        Some(attribute.le64(0x40)?)
    } else {
        None
    };
    Ok(Sizes { unit: attribute.u8(0x22)?, allocated, size, initialised, compressed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        bytes[4] = 0x30;
        bytes[0x14] = 0x38;
        bytes[0x16] = 1;
        bytes[0x18..0x1c].copy_from_slice(&(0x38 + attributes.len() as u32).to_le_bytes());
        bytes[0x2c] = 7;
        bytes[0x38..0x38 + attributes.len()].copy_from_slice(attributes);
        bytes
    }

    #[test]
    fn an_attribute_stays_inside_of_its_record() {
        let mut attribute = vec![0; 0x20];
        attribute[0] = 0x80;
        attribute[4] = 0x20;
        attribute[0x10] = 3;
        attribute[0x14] = 0x18;
        attribute[0x18..0x1b].copy_from_slice(b"abc");
        attribute.extend([0xff; 4]);
        let read = |attribute: &[u8]| {
            let record = Record::new(7, record(attribute)).unwrap();
            record.attributes().map(|all| {
                assert_eq!(all.len(), 1);
                matches!(all[0].form, Form::Resident(b"abc"))
            })
        };
        assert!(read(&attribute).unwrap());
        for (at, value) in [(4, 0x28), (4, 0), (4, 0x21), (0x10, 9), (0x14, 0x1e), (8, 2), (8, 1), (9, 40)] {
            let mut broken = attribute.clone();
            broken[at] = value;
            assert!(!read(&broken).unwrap_or(false), "{at} {value}");
        }
        assert!(Record::new(8, record(&attribute)).is_err(), "another record's number");
        let mut unused = record(&attribute);
        unused[0x16] = 0;
        assert!(matches!(Record::new(7, unused), Err(Error::NotFound)));
    }
}
