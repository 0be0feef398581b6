//! The pages of `$LogFile`: its restart area, where a sequence number lies, and the records from one on.
//!
//! A log is two restart pages, copies of the pages that were written last ("tail"), and then a ring of pages. A log
//! sequence number (LSN) is a place in the ring in units of eight bytes, with the number of the lap above it. Sources:
//! "$LogFile" of the Linux-NTFS documentation, and the public drivers of Linux for what that leaves open.

use super::record::Record;
use crate::ntfs::fixup;
use crate::{Error, Fields, Result};

/// The pages that a log of either version begins with, in pages: restart pages and tail copies.
const FIRST_PAGE: [usize; 2] = [4, 0x22];
/// No client.
const NO_CLIENT: u16 = 0xffff;

/// What the restart area says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restart {
    /// Whether the volume was closed, or checked, since it was written.
    pub clean: bool,
    page_size: usize,
    /// 1 or 2: where the pages begin, and how a tail copy names its page.
    pub version: usize,
    current: u64,
    sequence_bits: u32,
    size: usize,
    header: usize,
    data: usize,
    /// The number of the record that the last checkpoint wrote.
    pub checkpoint: u64,
    client: u32,
}

/// The whole log, in memory.
pub struct Log {
    restart: Restart,
    bytes: Vec<u8>,
    pages: Vec<Option<Page>>,
}

/// A page that was read whole.
#[derive(Debug, Clone, Copy)]
struct Page {
    /// The last record that is on it.
    last: u64,
    /// The last record that ends on it.
    ends: u64,
}

fn untrusted(reason: impl std::fmt::Display) -> Error {
    Error::Untrusted(format!("$LogFile is dirty and can't be replayed: {reason}"))
}

/// The restart area of a log, of which `head` is the beginning; `None` where the log was emptied, or never used.
///
/// # Errors
/// [`Error::Untrusted`] where there is neither a restart area nor nothing.
pub fn restart(head: &[u8]) -> Result<Option<Restart>> {
    if head.iter().all(|&byte| byte == 0xff) {
        return Ok(None);
    }
    let size = match Fields::new("$LogFile", head).le32(0x10) {
        Ok(size @ 512..=65536) if size.is_power_of_two() => size as usize,
        _ => 4096,
    };
    let areas = [0, size].map(|at| head.get(at..at + size).and_then(|page| area(page).ok().flatten()));
    // A check that ended is newer than whatever the other one says.
    let newest = areas.into_iter().flatten().max_by_key(|area| (area.clean && area.size == 0, area.current));
    newest.map(Some).ok_or_else(|| untrusted("neither of its restart pages is whole"))
}

/// The restart area of one page.
fn area(page: &[u8]) -> Result<Option<Restart>> {
    let mut page = page.to_vec();
    let checked = page.starts_with(b"CHKD");
    let magic = if checked { b"CHKD" } else { b"RSTR" };
    fixup::apply(&mut page, magic, &|| "a restart page of $LogFile".into())?;
    let head = Fields::new("a restart page of $LogFile", &page);
    let (system, log) = (head.le32(0x10)? as usize, head.le32(0x14)? as usize);
    let (minor, major) = (head.le16(0x1a)?, head.le16(0x1c)?);
    let at = usize::from(head.le16(0x18)?);
    let area = head.part(at, page.len().saturating_sub(at))?;
    let (current, in_use, flags) = (area.le64(0)?, area.le16(0xc)?, area.le16(0xe)?);
    // Checked by chkdsk, without a client, or closed in order: as ntfs-3g decides it.
    if checked || in_use == NO_CLIENT || flags & 2 != 0 {
        let size = usize::from(!checked);
        let none = Restart {
            clean: true,
            page_size: log,
            version: 1,
            current,
            sequence_bits: 0,
            size,
            header: 0,
            data: 0,
            checkpoint: 0,
            client: 0,
        };
        return Ok(Some(none));
    }
    let (sequence_bits, clients) = (area.le32(0x10)?, usize::from(area.le16(0x16)?));
    let size = usize::try_from(area.le64(0x18)?).unwrap_or(usize::MAX);
    let (header, data) = (usize::from(area.le16(0x24)?), usize::from(area.le16(0x26)?));
    let client = area.part(clients, 0xa0)?;
    let good = system == page.len()
        && log == system
        && matches!((major, minor), (1, 1) | (2, 0))
        && in_use == 0
        && header == 0x30
        && data >= 0x40
        && data % 8 == 0
        && data + header < log
        && (log * 0x30..1 << 32).contains(&size)
        && sequence_bits == 67 - (usize::BITS - size.leading_zeros())
        && client.bytes(0x20, 8)? == b"N\0T\0F\0S\0";
    let restart = Restart {
        clean: false,
        page_size: log,
        version: usize::from(major),
        current,
        sequence_bits,
        size,
        header,
        data,
        checkpoint: client.le64(8)?,
        client: u32::from(client.le16(0x14)?),
    };
    Ok(Some(restart).filter(|_| good))
}

impl Restart {
    /// Bytes of a page.
    pub fn page_size(&self) -> usize {
        self.page_size
    }
}

impl Log {
    /// From the content of `$LogFile`.
    ///
    /// # Errors
    /// [`Error::Untrusted`] where it is shorter than it says.
    pub fn new(restart: Restart, mut bytes: Vec<u8>) -> Result<Self> {
        let size = restart.page_size;
        if bytes.len() < restart.size {
            return Err(untrusted("it is shorter than it says"));
        }
        bytes.truncate(restart.size - restart.size % size);
        let first = FIRST_PAGE[restart.version - 1];
        let mut pages: Vec<Option<Page>> =
            bytes.chunks_exact_mut(size).map(|page| Self::page(page).ok()).collect();
        // What was written last may be in a copy only.
        for copy in 2..first.min(pages.len()) {
            let Some(page) = pages[copy] else { continue };
            let head = Fields::new("a log page", &bytes[copy * size..(copy + 1) * size]);
            let place = if restart.version == 1 { head.le64(8)? } else { u64::from(head.le32(0x3c)?) };
            let Ok(place) = usize::try_from(place) else { continue };
            let index = place / size;
            if place % size != 0 || index < first || index >= pages.len() {
                continue;
            }
            if pages[index].is_none_or(|old| page.ends > old.ends) {
                bytes.copy_within(copy * size..(copy + 1) * size, index * size);
                let last = if restart.version == 1 { page.ends } else { page.last };
                pages[index] = Some(Page { last, ends: page.ends });
            }
        }
        pages[..first].fill(None);
        Ok(Log { restart, bytes, pages })
    }

    fn page(page: &mut [u8]) -> Result<Page> {
        fixup::apply(page, b"RCRD", &|| "a log page".into())?;
        let head = Fields::new("a log page", page);
        let ends = if head.le32(0x10)? & 1 != 0 { head.le64(0x20)? } else { 0 };
        Ok(Page { last: head.le64(8)?, ends })
    }

    /// The number that the last checkpoint's record has; 0 for none.
    pub fn checkpoint(&self) -> u64 {
        self.restart.checkpoint
    }

    /// Where a record begins, in bytes.
    fn offset(&self, lsn: u64) -> usize {
        let bits = 64 - self.restart.sequence_bits;
        ((lsn & ((1 << bits) - 1)) << 3) as usize
    }

    fn following(&self, page: usize) -> usize {
        if page + 1 < self.pages.len() { page + 1 } else { FIRST_PAGE[self.restart.version - 1] }
    }

    /// The record of a number, and the number that follows it.
    fn at(&self, lsn: u64) -> Option<(Record, u64)> {
        let (size, offset) = (self.restart.page_size, self.offset(lsn));
        let first = offset / size;
        let start = offset % size;
        if start < self.restart.data || start + self.restart.header > size {
            return None;
        }
        self.pages.get(first).copied().flatten()?;
        let header = &self.bytes[offset..offset + self.restart.header];
        let fields = Fields::new("a log record", header);
        let length = fields.le32(0x18).ok()? as usize;
        if fields.le64(0).ok()? != lsn || length >= self.restart.size {
            return None;
        }
        let mut data = Vec::with_capacity(length);
        let (mut page, mut at, mut wrapped) = (first, start + self.restart.header, false);
        loop {
            let part = (length - data.len()).min(size - at);
            data.extend_from_slice(&self.bytes[page * size + at..page * size + at + part]);
            at += part;
            if data.len() == length {
                break;
            }
            let next = self.following(page);
            wrapped |= next < page;
            (page, at) = (next, self.restart.data);
            // The pages of one record hold nothing older.
            self.pages[page].filter(|held| held.last >= lsn && page != first)?;
        }
        let last = self.pages[page]?;
        if last.ends < lsn {
            return None;
        }
        if last.last == lsn {
            let next = self.following(page);
            wrapped |= next < page;
            (page, at) = (next, self.restart.data);
        } else {
            at = at.next_multiple_of(8);
        }
        let bits = 64 - self.restart.sequence_bits;
        let lap = (lsn >> bits).checked_add(u64::from(wrapped))?;
        let next = lap.checked_mul(1 << bits)? + ((page * size + at) as u64 >> 3);
        Some((Record::parse(lsn, header, data).ok()?, next))
    }

    /// The record of a number.
    ///
    /// # Errors
    /// [`Error::Untrusted`] where it is not in the log, whole.
    pub fn record(&self, lsn: u64) -> Result<Record> {
        match self.at(lsn) {
            Some((record, _)) if record.client == self.restart.client => Ok(record),
            _ => Err(untrusted(format!("record {lsn:#x} is not in it"))),
        }
    }

    /// Calls `visit` with every record from `first` to the last one that is whole; the number of that.
    ///
    /// # Errors
    /// [`Error::Untrusted`] where `first` is not in the log, or something newer lies behind a gap; those of `visit`.
    pub fn walk(&self, first: u64, visit: &mut dyn FnMut(Record) -> Result<()>) -> Result<u64> {
        let (mut lsn, mut last) = (first, 0);
        while let Some((record, next)) = self.at(lsn) {
            last = lsn;
            if record.client == self.restart.client {
                visit(record)?;
            }
            if next <= lsn {
                return Err(untrusted("its records have no order"));
            }
            lsn = next;
        }
        if last == 0 {
            return Err(untrusted(format!("record {first:#x} is not in it")));
        }
        let newest = self.pages.iter().flatten().map(|page| page.ends).max().unwrap_or(0);
        if newest > last || self.restart.current > last {
            return Err(untrusted(format!(
                "it goes on to record {:#x}, but there is a gap after {last:#x}",
                newest.max(self.restart.current)
            )));
        }
        Ok(last)
    }
}
