//! The file allocation table: which cluster follows which.

use crate::pages::Pages;
use crate::{Device, Error, Result};
use std::sync::Arc;

/// How many bits an entry has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// FAT12.
    Twelve,
    /// FAT16.
    Sixteen,
    /// FAT32, of whose 32 bits the upper four are reserved.
    ThirtyTwo,
    /// exFAT: all 32.
    ExFat,
}

impl Width {
    /// Bits that an entry takes.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Width::Twelve => 12,
            Width::Sixteen => 16,
            Width::ThirtyTwo | Width::ExFat => 32,
        }
    }

    /// The bits of an entry that count.
    pub(crate) fn mask(self) -> u32 {
        match self {
            Width::Twelve => 0xFFF,
            Width::Sixteen => 0xFFFF,
            Width::ThirtyTwo => 0x0FFF_FFFF,
            Width::ExFat => u32::MAX,
        }
    }
}

/// A page holds whole entries of every width, and whole pairs of twelve bits.
const PAGE: usize = 24576;

/// One FAT of a volume.
pub(crate) struct Table {
    pages: Pages,
    width: Width,
    /// How many clusters there are; the first has the number 2.
    clusters: u32,
}

impl Table {
    /// The FAT of `bytes` bytes at byte `start` of `device`. At most `budget` bytes of it are held.
    pub(crate) fn new(
        device: Device,
        start: u64,
        bytes: u64,
        width: Width,
        clusters: u32,
        budget: usize,
    ) -> Self {
        Table { pages: Pages::new(device, start, bytes, PAGE, budget), width, clusters }
    }

    /// How many clusters there are.
    pub(crate) fn clusters(&self) -> u32 {
        self.clusters
    }

    /// Whether there is such a cluster.
    pub(crate) fn has(&self, cluster: u32) -> bool {
        cluster >= 2 && cluster - 2 < self.clusters
    }

    /// Reads entries one after the other.
    pub(crate) fn cursor(&self) -> Cursor<'_> {
        Cursor { table: self, page: None }
    }
}

/// Reads entries, and keeps the page that it stands on.
pub(crate) struct Cursor<'a> {
    table: &'a Table,
    page: Option<(u64, Arc<[u8]>)>,
}

impl Cursor<'_> {
    /// The entry as it stands there.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past the end of the FAT; [`Error::Io`].
    pub(crate) fn entry(&mut self, cluster: u32) -> Result<u32> {
        let width = self.table.width;
        let entries = self.table.pages.page_size() as u64 * 8 / u64::from(width.bits());
        let number = u64::from(cluster) / entries;
        if self.page.as_ref().is_none_or(|(held, _)| *held != number) {
            self.page = Some((number, self.table.pages.page(number)?));
        }
        let index = (u64::from(cluster) % entries) as usize;
        let (at, length) = match width {
            Width::Twelve => (index / 2 * 3 + index % 2, 2),
            Width::Sixteen => (index * 2, 2),
            Width::ThirtyTwo | Width::ExFat => (index * 4, 4),
        };
        let bytes = self.page.as_ref().and_then(|(_, page)| page.get(at..at + length)).ok_or_else(|| {
            Error::corrupt("the FAT", format!("it ends before the entry of cluster {cluster}"))
        })?;
        let value = match bytes {
            [a, b] => u32::from(u16::from_le_bytes([*a, *b])),
            [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]),
            _ => 0,
        };
        let value = if width == Width::Twelve && index % 2 == 1 { value >> 4 } else { value };
        Ok(value & width.mask())
    }

    /// The cluster after `cluster`; `None` where it is the last one.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where a free, bad, reserved or impossible cluster follows, or there is no cluster of this
    /// number.
    pub(crate) fn next(&mut self, cluster: u32) -> Result<Option<u32>> {
        if !self.table.has(cluster) {
            return Err(Error::corrupt("a cluster chain", format!("there is no cluster {cluster}")));
        }
        let next = self.entry(cluster)?;
        if next >= self.table.width.mask() - 7 {
            return Ok(None);
        }
        let bad = next == self.table.width.mask() - 8;
        if self.table.has(next) && !bad {
            return Ok(Some(next));
        }
        let what = match next {
            0 => "which is free".to_owned(),
            _ if bad => "which is marked bad".to_owned(),
            next => format!("whose FAT entry is {next:#x}"),
        };
        Err(Error::corrupt("a cluster chain", format!("it leads to cluster {cluster}, {what}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    fn table(width: Width, bytes: Vec<u8>) -> Table {
        let length = bytes.len() as u64;
        Table::new(Arc::new(MemoryDevice(bytes)), 0, length, width, 20000, 1 << 20)
    }

    #[test]
    fn entries_of_twelve_bits_share_a_byte() {
        // Entries 0 to 3, then one on each side of a page's border (16384 entries a page).
        let mut bytes = vec![0; PAGE + 3];
        bytes[..6].copy_from_slice(&[0xF8, 0xFF, 0xFF, 0x03, 0xF0, 0xFF]);
        bytes[PAGE - 3..].copy_from_slice(&[0, 0x50, 0x34, 0x12, 0x70, 0xFF]);
        let table = table(Width::Twelve, bytes);
        let mut cursor = table.cursor();
        let entries = [0, 1, 2, 3, 16383, 16384, 16385].map(|cluster| cursor.entry(cluster).unwrap());
        assert_eq!(entries, [0xFF8, 0xFFF, 0x003, 0xFFF, 0x345, 0x012, 0xFF7]);
        assert!(cursor.entry(16386).is_err());
        assert_eq!(cursor.next(2).unwrap(), Some(3));
        assert_eq!(cursor.next(3).unwrap(), None);
        assert!(cursor.next(16385).unwrap_err().to_string().contains("bad"));
        assert!(cursor.next(1).is_err());
        assert!(cursor.next(20002).is_err());
    }

    #[test]
    fn the_upper_four_bits_are_not_fat32s() {
        let mut bytes = vec![0; 16];
        bytes[8..].copy_from_slice(&[3, 0, 0, 0xF0, 0xF8, 0xFF, 0xFF, 0xFF]);
        let fat32 = table(Width::ThirtyTwo, bytes.clone());
        assert_eq!(fat32.cursor().next(2).unwrap(), Some(3));
        assert_eq!(fat32.cursor().next(3).unwrap(), None);
        let exfat = table(Width::ExFat, bytes);
        assert!(exfat.cursor().next(2).is_err());
        assert_eq!(exfat.cursor().next(3).unwrap(), None);
    }
}
