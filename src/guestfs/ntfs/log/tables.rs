//! What a checkpoint knows: attributes that are open, pages that are not written yet, transactions that did not end.
//!
//! Each is a table whose entries are known by their place in bytes, dumped into a record of the log.

use super::pages::Log;
use super::record::{Record, op};
use crate::{Error, Fields, Result};
use std::collections::BTreeMap;

/// The most clusters of one page: 64 KiB of the smallest.
const MAX_CLUSTERS: usize = 128;
/// The most dirty pages, and the most transactions that are known at one time: Windows has thousands.
const MAX_ENTRIES: usize = 1 << 17;
/// The most comparisons of clusters that were given away with dirty pages.
const MAX_WORK: usize = 1 << 28;
/// An entry that is in use.
const ALLOCATED: u32 = u32::MAX;

/// The state of the volume's log at one point of it.
#[derive(Debug, Default)]
pub struct Tables {
    /// Whether entries are those of a 32-bit Windows, or older ones.
    old: bool,
    /// Open attributes by their places.
    pub attributes: BTreeMap<u32, OpenAttribute>,
    /// Dirty pages by their attribute and first cluster.
    pub pages: BTreeMap<(u32, u64), DirtyPage>,
    /// Transactions by their places.
    pub transactions: BTreeMap<u32, Transaction>,
    /// Clusters of a page, for pages that the checkpoint did not know.
    page_clusters: usize,
    work: usize,
}

/// An attribute that the log calls by a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenAttribute {
    /// Its type.
    pub kind: u32,
    /// Bytes of a block, where it is an index.
    pub block: usize,
    /// Its file, as a reference.
    pub reference: u64,
}

/// A page of an attribute that was changed in memory, and perhaps not on the disk.
#[derive(Debug, Clone)]
pub struct DirtyPage {
    /// The volume's cluster of each; 0 where it was given away since.
    pub lcns: Vec<u64>,
    /// The first record that changed it.
    pub oldest: u64,
}

/// A transaction.
#[derive(Debug, Clone, Copy)]
pub struct Transaction {
    /// Whether it neither ended nor is bound to end.
    pub active: bool,
    /// Its first record.
    pub first: u64,
    /// The record that is to be undone next; 0 for none.
    pub undo_next: u64,
}

impl Tables {
    /// The tables of the last checkpoint, and the number of the record from which on more is known; `None` where there
    /// was no checkpoint yet.
    ///
    /// # Errors
    /// [`Error::Untrusted`] where one is not in the log; [`Error::Corrupt`] where it contradicts itself.
    pub fn read(log: &Log, cluster_bits: u32, page_size: usize) -> Result<Option<(Self, u64)>> {
        if log.checkpoint() == 0 {
            return Ok(None);
        }
        let restart = log.record(log.checkpoint())?;
        let area = Fields::new("the restart area of NTFS", &restart.data);
        if restart.ordinary || area.len() < 0x40 {
            return Err(area.corrupt("it is none"));
        }
        let mut tables = Tables {
            old: area.le32(0)? == 0,
            page_clusters: (page_size >> cluster_bits).max(1),
            ..Tables::default()
        };
        if area.le32(0)? > 1 {
            return Err(Error::unsupported(format!("a restart area of version {}", area.le32(0)?)));
        }
        let dump = |lsn_at: usize, length_at: usize| -> Result<Option<Record>> {
            if area.le32(length_at)? == 0 {
                return Ok(None);
            }
            log.record(area.le64(lsn_at)?).map(Some)
        };
        if let Some(record) = dump(0x10, 0x30)? {
            for (place, entry) in entries(record.table()?)? {
                tables.attributes.insert(place, tables.open_attribute(&entry)?);
            }
        }
        if let Some(record) = dump(0x20, 0x38)? {
            for (_, entry) in entries(record.table()?)? {
                tables.dirty_page(&entry)?;
            }
        }
        if let Some(record) = dump(0x28, 0x3c)? {
            for (place, entry) in entries(record.table()?)? {
                let active = entry.u8(4)? == 1;
                let transaction = Transaction { active, first: entry.le64(8)?, undo_next: entry.le64(0x18)? };
                tables.transactions.insert(place, transaction);
            }
        }
        let start = match area.le64(8)? {
            0 => restart.lsn,
            start => start,
        };
        Ok(Some((tables, start)))
    }

    fn open_attribute(&self, entry: &Fields<'_>) -> Result<OpenAttribute> {
        let (block, kind, reference) = if self.old { (0x28, 0x1c, 8) } else { (4, 8, 0x10) };
        Ok(OpenAttribute {
            kind: entry.le32(kind)?,
            block: entry.le32(block)? as usize,
            reference: entry.le64(reference)?,
        })
    }

    fn dirty_page(&mut self, entry: &Fields<'_>) -> Result<()> {
        let (vcn, oldest, lcns) = if self.old { (0x14, 0x1c, 0x24) } else { (0x10, 0x18, 0x20) };
        let count = entry.le32(0xc)? as usize;
        if count > MAX_CLUSTERS {
            return Err(entry.corrupt(format!("a page of {count} clusters")));
        }
        let oldest = entry.le64(oldest)?;
        let lcns = (0..count).map(|index| entry.le64(lcns + index * 8)).collect::<Result<Vec<_>>>()?;
        self.page_clusters = self.page_clusters.max(count);
        let page = self.pages.entry((entry.le32(4)?, entry.le64(vcn)?)).or_insert(DirtyPage { lcns, oldest });
        // Where a cluster is larger than a page, there is an entry for each of its pages.
        page.oldest = page.oldest.min(oldest);
        Ok(())
    }

    /// The dirty page that a record changes.
    pub fn page(&self, record: &Record) -> Option<(u64, &DirtyPage)> {
        let key = (u32::from(record.action.attribute), record.action.vcn);
        let (&(attribute, vcn), page) = self.pages.range(..=key).next_back()?;
        (attribute == key.0 && key.1 - vcn < page.lcns.len() as u64).then_some((vcn, page))
    }

    /// What a record behind the checkpoint adds.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it contradicts what is known.
    pub fn learn(&mut self, record: &Record) -> Result<()> {
        if !record.ordinary {
            return Ok(());
        }
        let action = &record.action;
        if self.pages.len() > MAX_ENTRIES || self.transactions.len() > MAX_ENTRIES {
            return Err(Error::Limit(format!("more than {MAX_ENTRIES} dirty pages or transactions")));
        }
        let transaction = self.transactions.entry(record.transaction).or_insert(Transaction {
            active: true,
            first: record.lsn,
            undo_next: 0,
        });
        transaction.undo_next = if action.undo == op::COMPENSATION { record.undo_next } else { record.lsn };
        match action.redo {
            op::DELETE_DIRTY_CLUSTERS => self.given_away(record)?,
            op::OPEN_ATTRIBUTE => {
                let data = record.redo_data()?;
                let entry = Fields::new("an open attribute", &data);
                self.attributes.insert(u32::from(action.attribute), self.open_attribute(&entry)?);
            }
            op::HOT_FIX => return Err(Error::unsupported("a cluster that was found bad")),
            op::END_TOP_LEVEL => transaction.undo_next = record.undo_next,
            op::PREPARE | op::COMMIT => transaction.active = false,
            op::FORGET => {
                self.transactions.remove(&record.transaction);
            }
            redo if !op::is_void(redo) => self.changed(record)?,
            _ => {}
        }
        Ok(())
    }

    /// A page was changed.
    fn changed(&mut self, record: &Record) -> Result<()> {
        let action = &record.action;
        if action.lcns.is_empty() {
            return Ok(());
        }
        let start = match self.page(record) {
            Some((start, _)) => start,
            None => {
                let clusters = self.page_clusters as u64;
                let start = action.vcn - action.vcn % clusters;
                let page = DirtyPage { lcns: vec![0; clusters as usize], oldest: record.lsn };
                self.pages.insert((u32::from(action.attribute), start), page);
                start
            }
        };
        let at = (action.vcn - start) as usize;
        let Some(page) = self.pages.get_mut(&(u32::from(action.attribute), start)) else { return Ok(()) };
        match page.lcns.get_mut(at..at + action.lcns.len()) {
            Some(lcns) => lcns.copy_from_slice(&action.lcns),
            None => return Err(Error::corrupt("a log record", "it changes more than a page")),
        }
        Ok(())
    }

    /// Clusters were given away: what was to be written there is void.
    fn given_away(&mut self, record: &Record) -> Result<()> {
        let data = record.redo_data()?;
        for range in data.chunks_exact(16) {
            let fields = Fields::new("a range of clusters", range);
            let (first, count) = (fields.le64(0)?, fields.le64(8)?);
            self.work += self.pages.len();
            if self.work > MAX_WORK {
                return Err(Error::Limit("clusters are given away too often".into()));
            }
            for lcn in self.pages.values_mut().flat_map(|page| &mut page.lcns) {
                if *lcn >= first && *lcn - first < count {
                    *lcn = 0;
                }
            }
        }
        Ok(())
    }

    /// The first record whose change may not be on the disk, where that is before `lsn`.
    pub fn oldest(&self, lsn: u64) -> u64 {
        let pages = self.pages.values().map(|page| page.oldest);
        let transactions = self.transactions.values().map(|transaction| transaction.first);
        pages.chain(transactions).filter(|&oldest| oldest != 0).fold(lsn, u64::min)
    }
}

/// The entries in use of a dumped table, by their places.
fn entries(table: &[u8]) -> Result<Vec<(u32, Fields<'_>)>> {
    let fields = Fields::new("a table of the log", table);
    let (size, count) = (usize::from(fields.le16(0)?), usize::from(fields.le16(2)?));
    if size < 0x20 {
        return Err(fields.corrupt(format!("entries of {size} bytes")));
    }
    let mut all = Vec::new();
    for index in 0..count {
        let at = 0x18 + index * size;
        let entry = fields.part(at, size)?;
        if entry.le32(0)? == ALLOCATED {
            all.push((at as u32, entry));
        }
    }
    Ok(all)
}
