//! The L2 tables of an image being written.
//!
//! A table is in memory from the first cluster that is stored in it until it is *settled* (nothing will be
//! added, and nothing that was added waits for its place); then it is written, once, and only its offset is
//! kept. A compressed cluster has no place until its region is written: it is announced
//! ([`announce`](Tables::announce)) and later placed ([`place`](Tables::place)), and its table stays open
//! until then.
//!
//! Memory: 8 bytes a cluster for tables that are open, which at 64 KiB clusters is 128 MiB for every TiB that
//! has data; with `settled` calls only the tables around the writing position are open. Beyond that some 56
//! bytes for each L2 table: 112 KiB a TiB.

use crate::entry::{EntryFormat, ZERO};
use crate::error::usage;
use crate::output::Output;
use block::Result;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An entry whose cluster waits for its place. No entry of a file has this value (reserved bits).
const ANNOUNCED: u64 = 2;

#[derive(Default)]
struct Table {
    /// One word a cluster; empty where nothing is stored.
    entries: Vec<u64>,
    /// Clusters announced and not placed.
    waiting: usize,
    /// Nothing may be added any more.
    settled: bool,
    /// Where it was written; 0 where it was not.
    host: u64,
}

/// All L2 tables of one image.
pub(crate) struct Tables {
    format: EntryFormat,
    tables: Vec<Mutex<Table>>,
    /// All tables below this one are settled.
    settled: Mutex<usize>,
}

impl Tables {
    pub(crate) fn new(format: EntryFormat, count: usize) -> Tables {
        let tables = (0..count).map(|_| Mutex::default()).collect();
        Tables { format, tables, settled: Mutex::new(0) }
    }

    /// Enters `count` clusters from guest cluster `first` on: entry by entry `word` grown by `step`.
    ///
    /// # Errors
    /// Where one of them was entered before, or its table is settled.
    pub(crate) fn enter(&self, name: &str, first: u64, count: u64, word: u64, step: u64) -> Result<()> {
        let per_table = self.format.table_entries();
        let mut done = 0;
        while done < count {
            let cluster = first + done;
            let mut table = self.lock(name, cluster / per_table)?;
            let from = (cluster % per_table) as usize;
            let part = (count - done).min(per_table - from as u64);
            for (entry, n) in table.unsettled(name, self.format, cluster)?[from..].iter_mut().zip(0..part) {
                // Zeros twice are no mistake.
                if *entry != 0 && !(*entry == ZERO && word == ZERO) {
                    return Err(twice(name, cluster + n));
                }
                *entry = word + (done + n) * step;
            }
            done += part;
        }
        Ok(())
    }

    /// Says that guest cluster `cluster` will be placed later.
    ///
    /// # Errors
    /// As for `enter`.
    pub(crate) fn announce(&self, name: &str, cluster: u64) -> Result<()> {
        let per_table = self.format.table_entries();
        let mut table = self.lock(name, cluster / per_table)?;
        match table.unsettled(name, self.format, cluster)?.get_mut((cluster % per_table) as usize) {
            Some(entry) if *entry == 0 => *entry = ANNOUNCED,
            _ => return Err(twice(name, cluster)),
        }
        table.waiting += 1;
        Ok(())
    }

    /// Gives an announced cluster its entry; writes the table where it was the last one waited for.
    pub(crate) fn place(&self, output: &Output, cluster: u64, word: u64) -> Result<()> {
        let name = output.name();
        let per_table = self.format.table_entries();
        let mut table = self.lock(name, cluster / per_table)?;
        match table.entries.get_mut((cluster % per_table) as usize) {
            Some(entry) if *entry == ANNOUNCED => *entry = word,
            _ => return Err(usage(name, format!("guest cluster {cluster} was not announced"))),
        }
        table.waiting -= 1;
        if table.settled { table.write(self.format, output) } else { Ok(()) }
    }

    /// Settles all tables whose clusters all lie below guest byte `offset`.
    pub(crate) fn settle(&self, output: &Output, offset: u64) -> Result<()> {
        let below = ((offset / self.format.table_span()) as usize).min(self.tables.len());
        let from = {
            let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
            let from = *settled;
            *settled = from.max(below);
            from
        };
        for index in from..below {
            let mut table = self.lock(output.name(), index as u64)?;
            table.settled = true;
            table.write(self.format, output)?;
        }
        Ok(())
    }

    /// Settles what is left.
    pub(crate) fn settle_all(&self, output: &Output) -> Result<()> {
        self.settle(output, u64::MAX)
    }

    /// The offset of each written table, 0 where there is none.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = u64> {
        self.tables.iter().map(|table| table.lock().unwrap_or_else(PoisonError::into_inner).host)
    }

    fn lock(&self, name: &str, index: u64) -> Result<MutexGuard<'_, Table>> {
        let table = self.tables.get(index as usize);
        let table = table.ok_or_else(|| usage(name, format!("L2 table {index} is behind the disk's end")))?;
        Ok(table.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Table {
    fn unsettled(&mut self, name: &str, format: EntryFormat, cluster: u64) -> Result<&mut [u64]> {
        if self.settled {
            return Err(usage(name, format!("guest cluster {cluster} was settled before it was written")));
        }
        if self.entries.is_empty() {
            self.entries = vec![0; format.table_entries() as usize];
        }
        Ok(&mut self.entries)
    }

    /// Writes a settled table that waits for nothing, and frees its memory.
    fn write(&mut self, format: EntryFormat, output: &Output) -> Result<()> {
        if self.waiting > 0 || self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        let bytes: Vec<u8> = entries.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.host = output.reserve(format.cluster_size())?;
        output.write(&bytes, self.host)
    }
}

fn twice(name: &str, cluster: u64) -> block::Error {
    usage(name, format!("guest cluster {cluster} is written twice"))
}
