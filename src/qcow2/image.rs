//! One QCOW2 file: where its clusters are.
//!
//! An [`Image`] holds the checked header and the part of the L1 table that the disk needs (8 bytes for every
//! L2 table; at most 32 MiB and never more than the file is long). L2 tables are read on demand through the
//! chain's cache. It answers one question, [`run`](Image::run): what is stored from here on, and how far does
//! the same go on? Reading the data and following the backing file is [`Chain`](crate::Chain)'s.
//!
//! Invariants: every host offset that `run` returns begins inside the file and on a cluster boundary
//! (compressed clusters: anywhere inside the file); a run is never empty and never longer than asked for.

use crate::cache::{SLICE, TableCache};
use crate::entry::{self, Cluster, Packed, SUBCLUSTERS, Subcluster};
use crate::error::{corrupt, usage};
use crate::header::{Backing, CompressionType, Header};
use crate::storage::Storage;
use block::Result;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One opened QCOW2 file, without its backing file.
pub struct Image {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) header: Header,
    /// Raw L1 entries, as many as the disk's size needs.
    l1: Vec<u64>,
}

/// What a file has stored for a stretch of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Nothing: look deeper.
    Nothing,
    /// Zeros, said explicitly.
    Zeros,
    /// Bytes as they are, from this host offset on.
    Plain(u64),
    /// One compressed cluster, or a part of it.
    Packed(Packed),
}

/// A stretch of one kind, with its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) length: u64,
    pub(crate) stored: Stored,
}

impl Image {
    /// Opens the image that lies in `storage`.
    ///
    /// # Errors
    /// As told by the header's checks: corrupt, unsupported, I/O.
    pub fn open(storage: Arc<dyn Storage>) -> Result<Image> {
        let header = Header::read(storage.as_ref())?;
        if header.dirty {
            tracing::warn!(
                image = storage.name(),
                "the image was not closed cleanly (lazy refcounts); its data is read as it is"
            );
        }
        let l1 = read_words(storage.as_ref(), header.l1_offset, header.l1_needed())?;
        Ok(Image { storage, header, l1 })
    }

    /// The disk's size in bytes.
    pub fn virtual_size(&self) -> u64 {
        self.header.virtual_size
    }

    /// The unit of allocation in bytes, 512 to 2 MiB.
    pub fn cluster_size(&self) -> u64 {
        self.header.format.cluster_size()
    }

    /// The format's version, 2 or 3.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// How compressed clusters are compressed, should there be any.
    pub fn compression(&self) -> CompressionType {
        self.header.compression
    }

    /// The backing file its header names.
    pub fn backing(&self) -> Option<&Backing> {
        self.header.backing.as_ref()
    }

    /// True where it was not closed cleanly by a writer with lazy refcounts: the data is right, `check`
    /// would find stale refcounts.
    pub fn is_dirty(&self) -> bool {
        self.header.dirty
    }

    /// What a person calls the file.
    pub fn name(&self) -> &str {
        self.storage.name()
    }

    /// What is stored at `range.start`, and how far that goes on inside `range`.
    pub(crate) fn run(&self, tables: &TableCache, file: u32, range: Range<u64>) -> Result<Run> {
        let format = self.header.format;
        let span = format.table_span();
        let at = range.start;
        if at >= range.end || range.end > self.header.virtual_size {
            return Err(usage(self.name(), format!("bytes {range:?} are not inside the disk")));
        }
        let index = at / span;
        let Some(table) = self.l2_table(index)? else {
            let tables = (range.end - 1) / span - index + 1;
            let ahead = self.l1.iter().skip(index as usize).take(tables as usize);
            let empty = ahead.take_while(|word| **word == 0).count() as u64;
            // An entry that is not 0 but names no table still covers itself.
            let end = (index + empty.max(1)).saturating_mul(span).min(range.end);
            return Ok(Run { length: end - at, stored: Stored::Nothing });
        };

        let slice_bytes = SLICE.min(format.cluster_size());
        let slice_entries = slice_bytes / 8 / format.words();
        let slice_span = slice_entries << format.cluster_bits;
        let slice_index = at % span / slice_span;
        let offset = table + slice_index * slice_bytes;
        let slice = tables.get((file, offset), || {
            read_words(self.storage.as_ref(), offset, slice_bytes / 8).map(Arc::from)
        })?;

        let slice_start = index * span + slice_index * slice_span;
        let end = range.end.min(slice_start + slice_span);
        let (mut reached, stored) = self.unit(&slice, slice_start, at)?;
        while reached < end {
            // Damage further on is told when it is reached.
            let Ok((next, follows)) = self.unit(&slice, slice_start, reached) else { break };
            let same = match (stored, follows) {
                (Stored::Nothing, Stored::Nothing) | (Stored::Zeros, Stored::Zeros) => true,
                (Stored::Plain(first), Stored::Plain(host)) => first.checked_add(reached - at) == Some(host),
                _ => false,
            };
            if !same {
                break;
            }
            reached = next;
        }
        Ok(Run { length: reached.min(end) - at, stored })
    }

    /// What is stored at `at`, which lies in the slice that begins at guest offset `slice_start`, and where
    /// the cluster or subcluster ends.
    fn unit(&self, slice: &[u64], slice_start: u64, at: u64) -> Result<(u64, Stored)> {
        let format = self.header.format;
        let cluster_size = format.cluster_size();
        let index = ((at - slice_start) >> format.cluster_bits) * format.words();
        let bad = |reason: &str| {
            let reason = format!("the L2 entry of guest byte {at}: {reason}");
            corrupt(self.name(), reason)
        };
        let word = slice.get(index as usize).copied().ok_or_else(|| bad("it is missing"))?;
        let within = at % cluster_size;
        let end = at - within + cluster_size;
        let inside = |host: u64| {
            if host < self.storage.size() {
                return Ok(host);
            }
            let size = self.storage.size();
            Err(bad(&format!("it points at byte {host}, behind the file's end at {size}")))
        };
        let cluster = format.cluster(word).map_err(bad)?;
        if !format.extended {
            let stored = match cluster {
                Cluster::Unallocated => Stored::Nothing,
                Cluster::Zero { .. } => Stored::Zeros,
                Cluster::Data { host } => Stored::Plain(inside(host)? + within),
                Cluster::Compressed(packed) => {
                    inside(packed.host)?;
                    Stored::Packed(packed)
                }
            };
            return Ok((end, stored));
        }

        let bitmap = slice.get(index as usize + 1).copied().ok_or_else(|| bad("it is missing"))?;
        let host = match cluster {
            Cluster::Compressed(packed) => {
                inside(packed.host)?;
                return Ok((end, Stored::Packed(packed)));
            }
            Cluster::Data { host } => Some(inside(host)?),
            Cluster::Unallocated | Cluster::Zero { .. } => None,
        };
        let unit = cluster_size / SUBCLUSTERS;
        let stored = match (entry::subcluster(bitmap, within / unit).map_err(bad)?, host) {
            (Subcluster::Unallocated, _) => Stored::Nothing,
            (Subcluster::Zero, _) => Stored::Zeros,
            (Subcluster::Data, Some(host)) => Stored::Plain(host + within),
            (Subcluster::Data, None) => return Err(bad("a subcluster is stored, but no cluster is")),
        };
        Ok((at - at % unit + unit, stored))
    }

    fn l2_table(&self, index: u64) -> Result<Option<u64>> {
        let bad = |reason: &str| corrupt(self.name(), format!("L1 entry {index}: {reason}"));
        let word = self.l1.get(index as usize).copied().ok_or_else(|| bad("it is missing"))?;
        let cluster_size = self.cluster_size();
        let Some(offset) = entry::l2_offset(word, cluster_size).map_err(bad)? else { return Ok(None) };
        if offset.checked_add(cluster_size).is_none_or(|end| end > self.storage.size()) {
            return Err(bad(&format!("its L2 table at byte {offset} ends behind the file's end")));
        }
        Ok(Some(offset))
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Image").field("name", &self.name()).field("header", &self.header).finish()
    }
}

/// Reads `count` big-endian words. The caller has bounded `count`; what does not fit into the file is an
/// error before anything is allocated.
pub(crate) fn read_words(storage: &dyn Storage, offset: u64, count: u64) -> Result<Vec<u64>> {
    let length = count * 8;
    if offset.checked_add(length).is_none_or(|end| end > storage.size()) {
        let reason = format!("a table of {length} bytes at byte {offset} ends behind the file's end");
        return Err(corrupt(storage.name(), reason));
    }
    let mut words = Vec::with_capacity(count as usize);
    let mut piece = vec![0; length.min(SLICE) as usize];
    let mut at = offset;
    while at < offset + length {
        let part = (offset + length - at).min(SLICE) as usize;
        let part = &mut piece[..part];
        storage.read_at(part, at)?;
        at += part.len() as u64;
        words.extend(part.as_chunks().0.iter().map(|chunk| u64::from_be_bytes(*chunk)));
    }
    Ok(words)
}
