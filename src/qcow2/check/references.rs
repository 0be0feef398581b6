//! Everything in a file that refers to host clusters.

use super::Report;
use super::areas::Areas;
use super::claims::Claims;
use super::counts::{Counts, Use};
use crate::entry::{self, COPIED, Cluster, SUBCLUSTERS};
use crate::error::unsupported;
use crate::header::{Header, MAX_L1_BYTES};
use crate::image::read_words;
use crate::storage::Storage;
use block::Result;
use std::collections::BTreeMap;

/// QEMU's limits: what is beyond is not read.
const MOST_SNAPSHOTS: u32 = 65_536;
const MOST_BITMAPS: u32 = 65_535;
const MOST_BITMAP_ENTRIES: u64 = 1 << 20;
const MOST_EXTRA: u64 = 1024;
/// Distinct L2 tables that are remembered: those of 2 PiB at 64 KiB clusters.
const MOST_TABLES: usize = 4 << 20;

/// Where the active L1 table has an L2 table.
struct Active {
    index: u64,
    copied: bool,
}

/// How an L2 table is referred to.
#[derive(Default)]
struct TableUse {
    times: u32,
    active: Option<Active>,
}

/// The references of one file, as far as they fit into memory: the rest is in the L2 tables.
pub(super) struct References<'a> {
    storage: &'a dyn Storage,
    header: &'a Header,
    areas: Areas,
    /// Each distinct L2 table once.
    tables: BTreeMap<u64, TableUse>,
    /// Bitmap tables: offset and entries.
    bitmaps: Vec<(u64, u64)>,
    blocks: Vec<u64>,
}

impl<'a> References<'a> {
    /// Reads all tables but the L2 tables.
    pub(super) fn collect(
        storage: &'a dyn Storage,
        header: &'a Header,
        claims: &Claims<'_>,
        report: &mut Report,
    ) -> Result<References<'a>> {
        let cluster_size = header.format.cluster_size();
        let mut areas = Areas::new(cluster_size, storage.size());
        areas.take(0, cluster_size.min(storage.size()), "the header", report);
        let refcounts = header.refcount_table_clusters * cluster_size;
        areas.take(header.refcount_table_offset, refcounts, "the refcount table", report);
        let mut found = References {
            storage,
            header,
            areas,
            tables: BTreeMap::new(),
            bitmaps: Vec::new(),
            blocks: claims.blocks().collect(),
        };
        found.l1(header.l1_offset, header.l1_entries, true, report)?;
        found.snapshots(report)?;
        found.bitmaps(report)?;
        Ok(found)
    }

    fn l1(&mut self, offset: u64, entries: u64, active: bool, report: &mut Report) -> Result<()> {
        let what = if active { "the L1 table" } else { "the L1 table of a snapshot" };
        if entries * 8 > MAX_L1_BYTES {
            report.error(|| format!("{what} at byte {offset} has {entries} entries"));
            return Ok(());
        }
        if !self.areas.take(offset, entries * 8, what, report) {
            return Ok(());
        }
        let cluster_size = self.header.format.cluster_size();
        for (index, word) in (0..).zip(read_words(self.storage, offset, entries)?) {
            match entry::l2_offset(word, cluster_size) {
                Ok(None) => {}
                Ok(Some(at))
                    if at.checked_add(cluster_size).is_some_and(|end| end <= self.storage.size()) =>
                {
                    if self.tables.len() >= MOST_TABLES {
                        let reason = format!("more than {MOST_TABLES} L2 tables are too many to be checked");
                        return Err(unsupported(self.storage.name(), reason));
                    }
                    let table = self.tables.entry(at).or_default();
                    table.times = table.times.saturating_add(1);
                    if active {
                        table.active = Some(Active { index, copied: word & COPIED != 0 });
                    }
                }
                Ok(Some(at)) => {
                    report.error(|| format!("entry {index} of {what}: byte {at} is behind the file's end"));
                }
                Err(why) => report.error(|| format!("entry {index} of {what}: {why}")),
            }
        }
        Ok(())
    }

    fn snapshots(&mut self, report: &mut Report) -> Result<()> {
        let (count, start) = (self.header.snapshots, self.header.snapshots_offset);
        if count > MOST_SNAPSHOTS {
            report.error(|| format!("it has {count} snapshots, {MOST_SNAPSHOTS} are allowed"));
            return Ok(());
        }
        let mut at = start;
        for number in 0..count {
            let mut fixed = [0; 40];
            let end = at.checked_add(40).filter(|&end| end <= self.storage.size());
            if end.is_none() {
                report.error(|| format!("snapshot {number} ends behind the file's end"));
                return Ok(());
            }
            self.storage.read_at(&mut fixed, at)?;
            let extra = be(&fixed, 36, 4);
            if extra > MOST_EXTRA {
                report.error(|| format!("snapshot {number} has {extra} bytes of extra data"));
                return Ok(());
            }
            let length = 40 + extra + be(&fixed, 12, 2) + be(&fixed, 14, 2);
            at = at.saturating_add(length.next_multiple_of(8));
            self.l1(be(&fixed, 0, 8), be(&fixed, 8, 4), false, report)?;
        }
        // The padding of the last entry may be missing at the end of the file.
        let length = at.min(self.storage.size()).saturating_sub(start);
        if count > 0 {
            self.areas.take(start, length, "the snapshot table", report);
        }
        Ok(())
    }

    fn bitmaps(&mut self, report: &mut Report) -> Result<()> {
        let Some(bitmaps) = self.header.bitmaps else { return Ok(()) };
        let (start, size) = (bitmaps.directory_offset, bitmaps.directory_size);
        if bitmaps.count > MOST_BITMAPS {
            report.error(|| format!("it has {} bitmaps, {MOST_BITMAPS} are allowed", bitmaps.count));
            return Ok(());
        }
        if !self.areas.take(start, size, "the bitmap directory", report) {
            return Ok(());
        }
        let mut at = start;
        for number in 0..bitmaps.count {
            let mut fixed = [0; 24];
            if at.checked_add(24).is_none_or(|end| end > start + size) {
                report.error(|| format!("bitmap {number} is not in the bitmap directory"));
                return Ok(());
            }
            self.storage.read_at(&mut fixed, at)?;
            let (table, entries) = (be(&fixed, 0, 8), be(&fixed, 8, 4));
            let length = 24 + be(&fixed, 18, 2) + be(&fixed, 20, 4);
            at = at.saturating_add(length.next_multiple_of(8));
            if entries > MOST_BITMAP_ENTRIES {
                report.error(|| format!("the table of bitmap {number} has {entries} entries"));
                continue;
            }
            if !self.areas.take(table, entries * 8, "a bitmap table", report) {
                continue;
            }
            self.bitmaps.push((table, entries));
        }
        Ok(())
    }

    /// Counts every reference into the window of `counts`. The entries themselves are checked and told only
    /// in the `first` round.
    pub(super) fn count(
        &self,
        counts: &mut Counts,
        claims: &mut Claims<'_>,
        first: bool,
        report: &mut Report,
    ) -> Result<()> {
        let cluster_size = self.header.format.cluster_size();
        for (range, what) in &self.areas.named {
            counts.add(range.clone(), Use::Exclusive, 1, what, report);
        }
        for &block in &self.blocks {
            counts.add(block..block + cluster_size, Use::Exclusive, 1, "a refcount block", report);
        }
        for &(table, entries) in &self.bitmaps {
            for word in read_words(self.storage, table, entries)? {
                let host = word & entry::OFFSET_MASK;
                if !host.is_multiple_of(cluster_size) || host >= self.storage.size() {
                    if first {
                        report.error(|| format!("the bitmap table at byte {table} points at byte {host}"));
                    }
                } else if host != 0 {
                    counts.add(host..host + cluster_size, Use::Exclusive, 1, "a bitmap", report);
                }
            }
        }
        for (&at, table) in &self.tables {
            counts.add(at..at + cluster_size, Use::Table, table.times, "an L2 table", report);
            if let (true, Some(active)) = (first && !self.header.dirty, &table.active)
                && (claims.of(at / cluster_size)? == 1) != active.copied
            {
                let index = active.index;
                report.error(|| format!("L1 entry {index}: its flag and its refcount disagree"));
            }
            self.table(at, table, counts, claims, first, report)?;
        }
        Ok(())
    }

    fn table(
        &self,
        at: u64,
        table: &TableUse,
        counts: &mut Counts,
        claims: &mut Claims<'_>,
        first: bool,
        report: &mut Report,
    ) -> Result<()> {
        let format = self.header.format;
        let cluster_size = format.cluster_size();
        let file_size = self.storage.size();
        let mut entries = Report::default();
        let words = read_words(self.storage, at, cluster_size / 8)?;
        for (index, entry) in (0u64..).zip(words.chunks_exact(format.words() as usize)) {
            let (Some(&word), bitmap) = (entry.first(), entry.get(1).copied()) else { continue };
            if word == 0 && bitmap.unwrap_or(0) == 0 {
                continue;
            }
            let place = || format!("entry {index} of the L2 table at byte {at}");
            let cluster = match format.cluster(word) {
                Ok(cluster) => cluster,
                Err(why) => {
                    entries.error(|| format!("{}: {why}", place()));
                    continue;
                }
            };
            let (host, end) = match cluster {
                Cluster::Unallocated | Cluster::Zero { host: None } => (0, 0),
                Cluster::Zero { host: Some(host) } | Cluster::Data { host } => (host, host + cluster_size),
                Cluster::Compressed(packed) => (packed.host, packed.host + packed.length),
            };
            match cluster {
                Cluster::Data { .. } => entries.data_clusters += 1,
                Cluster::Compressed(_) => entries.compressed_clusters += 1,
                Cluster::Zero { .. } => entries.zero_clusters += 1,
                Cluster::Unallocated => {}
            }
            if let (Some(bitmap), false) = (bitmap, matches!(cluster, Cluster::Compressed(_))) {
                let stored = bitmap as u32;
                if stored & (bitmap >> 32) as u32 != 0 {
                    entries.error(|| format!("{}: subclusters are both stored and zero", place()));
                }
                if stored != 0 && host == 0 {
                    entries.error(|| format!("{}: subclusters are stored, but no cluster is", place()));
                }
            }
            if host == 0 {
                continue;
            }
            let wanted = match cluster {
                // What is never read may lie behind the file's end, and some writers leave it out: clusters
                // behind the disk's end, subclusters that are not stored.
                Cluster::Data { .. } => {
                    let stored =
                        bitmap.map_or(SUBCLUSTERS, |b| u64::from(u32::BITS - (b as u32).leading_zeros()));
                    host + self.visible(table, index).min(cluster_size / SUBCLUSTERS * stored).max(1)
                }
                _ => host + 1,
            };
            if wanted > file_size {
                entries.error(|| {
                    format!("{}: data at byte {host} ends behind the file's end at {file_size}", place())
                });
                if host >= file_size {
                    continue;
                }
            }
            if first && table.active.is_some() && !matches!(cluster, Cluster::Compressed(_)) {
                let single = claims.of(host / cluster_size)? == 1;
                if single != (word & COPIED != 0) && !self.header.dirty {
                    let flag = if single { "is not marked as unshared" } else { "is marked as unshared" };
                    entries.error(|| format!("{}: the cluster at byte {host} {flag}", place()));
                }
            }
            counts.add(
                host..end.min(file_size.next_multiple_of(cluster_size)),
                Use::Data,
                table.times,
                "data",
                report,
            );
        }
        if first {
            report.absorb(entries);
        }
        Ok(())
    }

    /// How many bytes of a cluster are inside the disk; some bytes of clusters that are not the disk's.
    fn visible(&self, table: &TableUse, index: u64) -> u64 {
        let format = self.header.format;
        let Some(active) = &table.active else { return 1 };
        let guest = active.index.saturating_mul(format.table_span()) + index * format.cluster_size();
        self.header.virtual_size.saturating_sub(guest).clamp(1, format.cluster_size())
    }
}

/// The big-endian number of `length` bytes at `at`.
fn be(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes.iter().skip(at).take(length).fold(0, |number, byte| (number << 8) | u64::from(*byte))
}
