//! The L2 entries of an image whose clusters may change until it is finished.
//!
//! A table is made when the first of its clusters gets an entry, and stays in memory: 8 bytes a cluster, which at
//! 64 KiB clusters is 128 MiB for each TiB with data. Entries are single words, so they are read and set without locks;
//! that no two calls change one cluster at a time is the caller's business.

use crate::entry::EntryFormat;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

type Table = Box<[AtomicU64]>;

/// All L2 tables of one image.
pub(crate) struct Entries {
    format: EntryFormat,
    tables: Vec<OnceLock<Table>>,
}

impl Entries {
    pub(crate) fn new(format: EntryFormat, count: usize) -> Entries {
        Entries { format, tables: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// The entry of a guest cluster; 0 where it has none, behind the disk's end too.
    pub(crate) fn get(&self, cluster: u64) -> u64 {
        let per_table = self.format.table_entries();
        let table = self.tables.get((cluster / per_table) as usize).and_then(OnceLock::get);
        let entry = table.and_then(|table| table.get((cluster % per_table) as usize));
        entry.map_or(0, |entry| entry.load(Ordering::Acquire))
    }

    /// Sets the entry of a guest cluster and gives back what it was. Nothing happens behind the disk's end.
    pub(crate) fn set(&self, cluster: u64, word: u64) -> u64 {
        let per_table = self.format.table_entries();
        let Some(table) = self.tables.get((cluster / per_table) as usize) else { return 0 };
        if word == 0 && table.get().is_none() {
            return 0;
        }
        let table = table.get_or_init(|| (0..per_table).map(|_| AtomicU64::new(0)).collect());
        let entry = table.get((cluster % per_table) as usize);
        entry.map_or(0, |entry| entry.swap(word, Ordering::AcqRel))
    }

    /// The tables in their order as words, empty where nothing is stored in one.
    pub(crate) fn tables(&self) -> impl Iterator<Item = Vec<u64>> {
        self.tables.iter().map(|table| {
            let words: Vec<u64> = table
                .get()
                .map(|table| table.iter().map(|entry| entry.load(Ordering::Acquire)).collect())
                .unwrap_or_default();
            if words.iter().all(|word| *word == 0) { Vec::new() } else { words }
        })
    }
}
