//! A new image whose clusters may be written again, taken back and read, until it is finished.
//!
//! The model: as with [`Writer`](crate::Writer) header, L1 table and refcount table have their places from the
//! beginning, and data is appended in the order it comes. A plain cluster that comes again is written where it is; one
//! that is taken back gives its place to the next that needs one. A cluster that was compressed once is stored plain when
//! it comes again, so that a file is never much longer than twice its disk, whatever its client does.
//!
//! [`finish_at`](Draft::finish_at) counts what refers to each host cluster, writes the tables, and ends as `Writer`
//! does. Host clusters that nothing refers to any more are free in the image and holes in the file. Dropped without
//! it the file is removed. After a failed write the image can't be finished.
//!
//! Calls may come from many threads; that no two of them touch one cluster at the same time is the caller's
//! business. Memory: 128 MiB for each TiB with data ([`Entries`]), and 2 MiB where clusters are compressed; while
//! finishing 2 bytes more for each cluster of the file.
//!
//! Not here: parts of clusters, zeros that need not be stored, hashes.

use crate::entries::Entries;
use crate::entry::{COMPRESSED, COPIED, Cluster, ZERO};
use crate::error::{corrupt, usage};
use crate::header::CompressionType;
use crate::layout::Layout;
use crate::output::Output;
use crate::refcounts::Recount;
use crate::region::{Region, WAITING};
use crate::seal::seal;
use crate::{Compression, Create};
use block::{Error, Result};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The mark of a cluster that was stored compressed once and is not any more. No plain entry of a file has this bit (it
/// is reserved).
const SPENT: u64 = 4;

/// An entry without the mark; that of a compressed cluster has none, and uses the bit.
fn unmarked(word: u64) -> u64 {
    if word & COMPRESSED != 0 { word } else { word & !SPENT }
}

/// What an image in work stores of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Nothing: what it is backed by shows through, or zeros.
    Nothing,
    /// Zeros, over whatever it is backed by.
    Zeros,
    /// Bytes.
    Data,
}

/// An image in work.
pub struct Draft {
    layout: Layout,
    output: Output,
    entries: Entries,
    region: Option<Region>,
    kind: CompressionType,
    /// Host clusters that were used and are not any more.
    free: Mutex<Vec<u64>>,
    /// Guest clusters with bytes of their own.
    stored: AtomicU64,
    failed: AtomicBool,
}

impl Draft {
    /// Creates the file `path`, which must not exist.
    ///
    /// # Errors
    /// Where it exists, can't be created, or such an image can't be.
    pub fn create(path: &Path, options: &Create) -> Result<Draft> {
        let name = path.display().to_string();
        let layout = Layout::new(&name, options)?;
        let l1_entries = usize::try_from(layout.l1_entries)
            .map_err(|e| crate::error::open("create", &name, std::io::Error::other(e)))?;
        let cluster_size = layout.format.cluster_size();
        let compressed = options.compression != Compression::None;
        Ok(Draft {
            output: Output::create(path, options.io, layout.data_start)?,
            entries: Entries::new(layout.format, l1_entries),
            region: compressed.then(|| Region::new(options.compression, cluster_size)),
            kind: match options.compression {
                Compression::Zstd { .. } => CompressionType::Zstd,
                Compression::Zlib { .. } | Compression::None => CompressionType::Zlib,
            },
            free: Mutex::default(),
            stored: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            layout,
        })
    }

    /// The disk's size in bytes.
    pub fn size(&self) -> u64 {
        self.layout.virtual_size
    }

    /// The unit of everything here, in bytes.
    pub fn cluster_size(&self) -> u64 {
        self.layout.format.cluster_size()
    }

    /// How many clusters the disk has.
    pub fn clusters(&self) -> u64 {
        self.size().div_ceil(self.cluster_size())
    }

    /// How many of them have bytes of their own.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    /// Bytes of the file that have been handed out so far.
    pub fn allocated(&self) -> u64 {
        self.output.end()
    }

    /// What is stored of a cluster.
    pub fn content(&self, cluster: u64) -> Content {
        match self.entry(cluster) {
            0 => Content::Nothing,
            ZERO => Content::Zeros,
            _ => Content::Data,
        }
    }

    /// Stores whole clusters from `first` on, whatever was stored of them before; the disk's last cluster is as long
    /// as it is on the disk.
    ///
    /// # Errors
    /// Where not all could be stored.
    pub fn store(&self, first: u64, data: &[u8]) -> Result<()> {
        self.noting_failure(self.check(first, data.len() as u64).and_then(|()| self.put(first, data)))
    }

    /// Stores zeros over whatever the image is backed by.
    pub fn zero(&self, clusters: Range<u64>) {
        self.replace(clusters, ZERO);
    }

    /// Takes back what was stored: what the image is backed by shows through again.
    pub fn forget(&self, clusters: Range<u64>) {
        self.replace(clusters, 0);
    }

    /// Fills `out`, as long as the cluster is on the disk, with what is stored of it; only of one with bytes of its
    /// own.
    ///
    /// # Errors
    /// Where it has none, or they can't be read.
    pub fn read(&self, cluster: u64, out: &mut [u8]) -> Result<()> {
        let name = self.output.name();
        self.check(cluster, out.len() as u64)?;
        let short = (out.len() as u64) < self.cluster_size();
        if let Some(region) = &self.region
            && self.entry(cluster) == WAITING
        {
            let found = self.whole(short, out, |out| region.read(name, self.kind, cluster, out))?;
            if found {
                return Ok(());
            }
            // It was written meanwhile.
        }
        let bad = |reason: &str| corrupt(name, format!("guest cluster {cluster}: {reason}"));
        match self.layout.format.cluster(self.entry(cluster)).map_err(bad)? {
            Cluster::Data { host } => self.output.read(out, host),
            Cluster::Compressed(packed) => {
                let mut bytes = vec![0; packed.length as usize];
                self.output.read(&mut bytes, packed.host)?;
                self.whole(short, out, |out| {
                    crate::decode::with_decoder(|decoder| decoder.decode(self.kind, &bytes, out))
                        .map_err(|reason| bad(&reason))
                })
            }
            Cluster::Unallocated | Cluster::Zero { .. } => {
                Err(usage(name, format!("guest cluster {cluster} has no bytes of its own")))
            }
        }
    }

    /// Makes the image whole and durable, and returns the file's length in bytes. Making its name durable (the
    /// folder) is the caller's.
    ///
    /// # Errors
    /// Where a write failed, earlier or now; the file is then removed.
    pub fn finish_at(self) -> Result<u64> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(usage(self.output.name(), "it can't be finished after a failed write"));
        }
        let format = self.layout.format;
        if let Some(region) = &self.region {
            region.flush(&self.output, &self.entries, format)?;
        }
        let mut counts = Recount::new(format.cluster_size(), self.layout.data_start, self.output.end());
        let mut hosts = Vec::new();
        for mut table in self.entries.tables() {
            table.iter_mut().for_each(|word| *word = unmarked(*word));
            if table.iter().all(|word| *word == 0) {
                hosts.push(0);
                continue;
            }
            for word in &table {
                match format.cluster(*word) {
                    Ok(Cluster::Data { host }) => counts.add(host..host + format.cluster_size())?,
                    Ok(Cluster::Compressed(packed)) => {
                        counts.add(packed.host..packed.host + packed.length)?
                    }
                    Ok(Cluster::Unallocated | Cluster::Zero { .. }) => {}
                    Err(reason) => return Err(corrupt(self.output.name(), reason)),
                }
            }
            let bytes: Vec<u8> = table.iter().flat_map(|word| word.to_be_bytes()).collect();
            let host = self.output.reserve(format.cluster_size())?;
            self.output.write(&bytes, host)?;
            hosts.push(host);
        }
        let blocks = counts.finish(&self.output)?;
        seal(&self.output, &self.layout, hosts.into_iter(), &blocks)
    }

    fn put(&self, first: u64, data: &[u8]) -> Result<()> {
        let cluster_size = self.cluster_size() as usize;
        // Clusters that get places of their own, in a row.
        let mut fresh = 0..0;
        for (n, bytes) in data.chunks(cluster_size).enumerate() {
            let cluster = first + n as u64;
            let old = self.entry(cluster);
            let at = n * cluster_size..n * cluster_size + bytes.len();
            if self.put_again(cluster, old, bytes)? {
                self.append(first, data, fresh)?;
                fresh = at.end..at.end;
            } else {
                fresh.end = at.end;
            }
        }
        self.append(first, data, fresh)
    }

    /// Stores a cluster that can't simply be appended: it has a place, or is to be compressed. False where it can.
    fn put_again(&self, cluster: u64, old: u64, bytes: &[u8]) -> Result<bool> {
        if let Ok(Cluster::Data { host }) = self.layout.format.cluster(old) {
            self.write(bytes, host)?;
            return Ok(true);
        }
        let Some(region) = &self.region else { return Ok(false) };
        if old != 0 && old != ZERO {
            // Compressed: plain from now on.
            region.take_back(cluster);
            self.stored.fetch_sub(1, Ordering::Relaxed);
            return Ok(false);
        }
        if self.spent(cluster) != 0 {
            return Ok(false);
        }
        let short = (bytes.len() as u64) < self.cluster_size();
        if short || !region.add(&self.output, &self.entries, self.layout.format, cluster, bytes)? {
            return Ok(false);
        }
        self.stored.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Gives the clusters of `data[range]` places: those that others have left, or new ones in a row.
    fn append(&self, first: u64, data: &[u8], range: Range<usize>) -> Result<()> {
        let cluster_size = self.cluster_size();
        let mut at = range.start;
        while at < range.end {
            let cluster = first + at as u64 / cluster_size;
            let left = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let (host, end) = match left {
                Some(host) => (host, (at + cluster_size as usize).min(range.end)),
                None => {
                    let length = ((range.end - at) as u64).next_multiple_of(cluster_size);
                    (self.output.reserve(length)?, range.end)
                }
            };
            self.write(&data[at..end], host)?;
            let count = ((end - at) as u64).div_ceil(cluster_size);
            for n in 0..count {
                let word = (host + n * cluster_size) | COPIED;
                self.entries.set(cluster + n, word | self.spent(cluster + n));
            }
            self.stored.fetch_add(count, Ordering::Relaxed);
            at = end;
        }
        Ok(())
    }

    /// Writes clusters, the last one padded with zeros.
    fn write(&self, data: &[u8], host: u64) -> Result<()> {
        let cluster_size = self.cluster_size() as usize;
        let (whole, short) = data.split_at(data.len() - data.len() % cluster_size);
        if !whole.is_empty() {
            self.output.write(whole, host)?;
        }
        if !short.is_empty() {
            self.output.write_padded(short, cluster_size, host + whole.len() as u64)?;
        }
        Ok(())
    }

    fn replace(&self, clusters: Range<u64>, word: u64) {
        for cluster in clusters.start..clusters.end.min(self.clusters()) {
            let old = self.entry(cluster);
            if old == word {
                continue;
            }
            if old != 0 && old != ZERO {
                if let Some(region) = &self.region {
                    region.take_back(cluster);
                }
                self.stored.fetch_sub(1, Ordering::Relaxed);
            }
            // Looked at again: a region that was written meanwhile has given it a place, which is lost.
            let before = unmarked(self.entries.set(cluster, word | self.spent(cluster)));
            if let Ok(Cluster::Data { host }) = self.layout.format.cluster(before) {
                self.free.lock().unwrap_or_else(PoisonError::into_inner).push(host);
            }
        }
    }

    /// The entry of a cluster as a file would have it.
    fn entry(&self, cluster: u64) -> u64 {
        unmarked(self.entries.get(cluster))
    }

    /// The mark for a cluster's entry, where it was or is stored compressed.
    fn spent(&self, cluster: u64) -> u64 {
        let word = self.entries.get(cluster);
        let compressed =
            word == WAITING || matches!(self.layout.format.cluster(word), Ok(Cluster::Compressed(_)));
        if compressed { SPENT } else { word & SPENT }
    }

    /// Has a whole cluster read, where only a short one is wanted through memory of its own.
    fn whole<T>(&self, short: bool, out: &mut [u8], read: impl FnOnce(&mut [u8]) -> Result<T>) -> Result<T> {
        if !short {
            return read(out);
        }
        let mut cluster = vec![0; self.cluster_size() as usize];
        let done = read(&mut cluster)?;
        let length = out.len();
        out.copy_from_slice(&cluster[..length]);
        Ok(done)
    }

    fn check(&self, first: u64, length: u64) -> Result<()> {
        let cluster_size = self.cluster_size();
        let start = first.checked_mul(cluster_size);
        let end = start.and_then(|start| start.checked_add(length)).filter(|end| *end <= self.size());
        match end {
            Some(end) if end.is_multiple_of(cluster_size) || end == self.size() => Ok(()),
            _ => {
                let reason =
                    format!("{length} bytes of cluster {first} on are not whole clusters of the disk");
                Err(usage(self.output.name(), reason))
            }
        }
    }

    fn noting_failure(&self, result: Result<(), Error>) -> Result<()> {
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }
}
