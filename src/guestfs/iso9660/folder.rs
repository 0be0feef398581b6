//! The records of a folder.

use super::descriptor::SECTOR;
use super::record::{Record, SHORTEST};
use crate::pages::Pages;
use crate::{Error, Result};

/// The most bytes of a folder.
const MAX_FOLDER: u64 = 64 << 20;

/// The most pieces of one file: some TiB.
const MAX_PIECES: usize = 4096;

/// A file or folder: the record of its first piece, and the further pieces of a large file.
pub(super) struct Item {
    pub(super) record: Record,
    pub(super) more: Vec<Record>,
    /// Where the record is in the folder, and where the one after it.
    pub(super) offset: u64,
    pub(super) next: u64,
}

/// Reads the records of a folder from a position on.
pub(super) struct Folder<'a> {
    disc: &'a Pages,
    start: u64,
    size: u64,
    offset: u64,
}

impl<'a> Folder<'a> {
    /// The folder of `size` bytes at byte `start` of the disc, from byte `from` of it on.
    ///
    /// # Errors
    /// [`Error::Limit`] where it is larger than any that is read.
    pub(super) fn new(disc: &'a Pages, start: u64, size: u64, from: u64) -> Result<Self> {
        if size > MAX_FOLDER {
            return Err(Error::Limit(format!("a folder of ISO 9660 of more than {} MiB", MAX_FOLDER >> 20)));
        }
        Ok(Folder { disc, start, size, offset: from })
    }

    /// The next record, whatever it is, with its position.
    fn record(&mut self) -> Result<Option<(u64, Record)>> {
        while self.offset < self.size {
            let at = self.start + self.offset;
            // A record ends in the sector in which it begins.
            let sector_end = (at / SECTOR + 1) * SECTOR - self.start;
            let left = sector_end.min(self.size) - self.offset;
            let mut length = [0];
            self.disc.read(at, &mut length)?;
            let length = usize::from(length[0]);
            if length == 0 {
                self.offset = sector_end;
                continue;
            }
            if length < SHORTEST || length as u64 > left {
                return Err(Error::corrupt("a folder of ISO 9660", format!("a record of {length} bytes")));
            }
            let mut bytes = vec![0; length];
            self.disc.read(at, &mut bytes)?;
            let offset = self.offset;
            self.offset += length as u64;
            return Record::parse(&bytes).map(|record| Some((offset, record)));
        }
        Ok(None)
    }

    /// The next file or folder but the folder itself and the one above it; `None` at the end.
    ///
    /// # Errors
    /// Where a record is damaged: what follows it can't be found.
    pub(super) fn next(&mut self) -> Result<Option<Item>> {
        loop {
            let Some((offset, record)) = self.record()? else { return Ok(None) };
            let mut more: Vec<Record> = Vec::new();
            while more.last().unwrap_or(&record).more {
                match self.record()? {
                    Some((_, piece)) if piece.identifier == record.identifier && more.len() < MAX_PIECES => {
                        more.push(piece);
                    }
                    _ => {
                        return Err(Error::corrupt(
                            "a folder of ISO 9660",
                            "the further pieces of a file are missing",
                        ));
                    }
                }
            }
            if !record.is_dot() && !record.is_associated {
                return Ok(Some(Item { record, more, offset, next: self.offset }));
            }
        }
    }
}
