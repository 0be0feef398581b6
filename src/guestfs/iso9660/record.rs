//! Directory records (ECMA-119, 9.1).

use super::both::{both16, both32};
use super::time;
use crate::{Error, Fields, Result, Timestamp};

/// A directory record: one piece of a file, or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// The first block of the data, behind an extended attribute record.
    pub(super) block: u32,
    /// Bytes of data.
    pub(super) size: u32,
    pub(super) date: Timestamp,
    pub(super) is_folder: bool,
    /// Belongs to the file of the same name before it: a resource fork.
    pub(super) is_associated: bool,
    /// Another piece of the same file follows.
    pub(super) more: bool,
    /// Why the data can't be read as one piece.
    pub(super) interleaved: bool,
    /// The volume of the set that holds the data.
    pub(super) volume: u16,
    /// The name as it stands there: one byte 0 and 1 for the folder itself and the one above it.
    pub(super) identifier: Vec<u8>,
    /// What the System Use Sharing Protocol has there.
    pub(super) system_use: Vec<u8>,
}

/// The shortest record: one byte of a name.
pub(super) const SHORTEST: usize = 34;

impl Record {
    /// Reads a record, whose first byte is its length.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Record> {
        let fields = Fields::new("a directory record", bytes);
        let length = usize::from(fields.u8(0)?);
        let named = usize::from(fields.u8(32)?);
        // The name is followed by a byte that makes the sum even.
        let end = 33 + named;
        if length != bytes.len() || named == 0 || end > length {
            return Err(fields.corrupt(format!("{length} bytes with a name of {named} bytes")));
        }
        let flags = fields.u8(25)?;
        let block = both32(&fields, 2)?.checked_add(u32::from(fields.u8(1)?));
        Ok(Record {
            block: block.ok_or_else(|| fields.corrupt("it lies past the end of any disc"))?,
            size: both32(&fields, 10)?,
            date: time::short(fields.array(18)?),
            is_folder: flags & 0x02 != 0,
            is_associated: flags & 0x04 != 0,
            more: flags & 0x80 != 0,
            interleaved: fields.u8(26)? != 0 || fields.u8(27)? != 0,
            volume: both16(&fields, 28)?,
            identifier: fields.bytes(33, named)?.to_vec(),
            system_use: bytes.get(end + end % 2..).unwrap_or_default().to_vec(),
        })
    }

    /// Whether it is the folder's record of itself.
    pub(super) fn is_self(&self) -> bool {
        self.identifier == [0]
    }

    /// Whether it is the folder's record of itself or of the one above it.
    pub(super) fn is_dot(&self) -> bool {
        matches!(self.identifier[..], [0 | 1])
    }

    /// Where the data begins on the device.
    pub(super) fn start(&self, block_size: u32) -> u64 {
        u64::from(self.block) * u64::from(block_size)
    }

    /// Checks that the data can be read as one piece of this volume.
    ///
    /// # Errors
    /// [`Error::Unsupported`] that names why not.
    pub(super) fn readable(&self, volume: Option<u16>) -> Result<()> {
        if self.interleaved {
            return Err(Error::unsupported("an interleaved file of ISO 9660"));
        }
        if volume.is_some_and(|volume| volume != self.volume) {
            return Err(Error::unsupported(format!(
                "a file on volume {} of a set of several discs",
                self.volume
            )));
        }
        Ok(())
    }
}
