//! A disk in work: what its client writes becomes clusters of an image and hashes of its manifest.
//!
//! A cluster is a granule (64 KiB), and its life is: parts of it are put together ([`Parts`]), the whole is looked at
//! (zeros? the same as in the parent?) and stored, recorded as zeros, or not stored at all, and its hash is kept. It
//! may come again and again; what is there at the end is the point. So an incremental stores what differs from its
//! parent, whether the client sends everything or only what has changed, and whatever it does not touch is as it was.
//!
//! What is read back (by a client, or to complete a cluster) and comes from the parent is compared with the parent's
//! hashes first.

use super::parts::Parts;
use super::ranges::Ranges;
use super::touched::Touched;
use crate::checked::CheckedDisk;
use crate::image::as_block;
use block::{BlockSource, Counters, Extent, ExtentKind, GRANULE, Granule, Ledger, Result, is_zero};
use qcow2::{Content, Draft};
use repository::{ChainLookup, HashSheet, ManifestWriter};
use std::ops::Range;
use std::sync::Arc;

/// Granules that are looked up at once.
const BATCH: u64 = 1024;

/// The point below, as it reads.
pub(super) struct Below {
    pub disk: CheckedDisk,
    pub hashes: ChainLookup,
}

/// Everything that one disk in work is made of.
pub(super) struct Core {
    pub draft: Draft,
    pub sheet: HashSheet,
    pub below: Option<Below>,
    pub parts: Parts,
    pub ranges: Ranges,
    pub touched: Touched,
    pub counters: Arc<Counters>,
}

/// The clusters that a range of bytes touches.
fn clusters(range: &Range<u64>) -> Range<u64> {
    range.start / GRANULE..range.end.div_ceil(GRANULE)
}

impl Core {
    /// Writes bytes; `data` is as long as `range`, which lies inside the disk and is not empty.
    pub(super) fn write(&self, data: &[u8], range: Range<u64>) -> Result<()> {
        let held = self.ranges.hold(clusters(&range));
        let mut at = range.start;
        while at < range.end {
            let rest = part(data, at - range.start, range.end - range.start);
            let end = self.whole_end(at, range.end);
            if at < end {
                for cluster in clusters(&(at..end)) {
                    self.parts.take(cluster);
                }
                self.settle(at / GRANULE, part(rest, 0, end - at))?;
                at = end;
            } else {
                let end = range.end.min(at - at % GRANULE + GRANULE);
                self.patch(at, end - at, |bytes| bytes.copy_from_slice(part(rest, 0, end - at)))?;
                at = end;
            }
        }
        drop(held);
        self.relieve()
    }

    /// Makes bytes zeros; with `edges` also parts of clusters, else those are left as they are.
    pub(super) fn clear(&self, range: Range<u64>, edges: bool) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let end = self.whole_end(at, range.end).min(at.saturating_add(BATCH * GRANULE));
            if at < end {
                let _held = self.ranges.hold(clusters(&(at..end)));
                self.clear_whole(clusters(&(at..end)))?;
                at = end;
            } else {
                let end = range.end.min(at - at % GRANULE + GRANULE);
                if edges {
                    let _held = self.ranges.hold(clusters(&(at..end)));
                    self.patch(at, end - at, |bytes| bytes.fill(0))?;
                }
                at = end;
            }
        }
        self.relieve()
    }

    /// Reads bytes as they are now.
    pub(super) fn read(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let range = offset..offset + out.len() as u64;
        if range.is_empty() {
            return Ok(());
        }
        let _held = self.ranges.hold(clusters(&range));
        let mut cluster_bytes = Vec::new();
        for cluster in clusters(&range) {
            let start = cluster * GRANULE;
            let piece = start.max(range.start)..(start + GRANULE).min(range.end);
            let out = &mut out[(piece.start - offset) as usize..(piece.end - offset) as usize];
            let within = (piece.start - start) as usize..(piece.end - start) as usize;
            let seen = self.parts.see(cluster, |bytes| out.copy_from_slice(&bytes[within.clone()]));
            if seen.is_none() {
                if within.len() as u64 == self.length(cluster) {
                    self.load(cluster, out)?;
                } else {
                    cluster_bytes.resize(self.length(cluster) as usize, 0);
                    self.load(cluster, &mut cluster_bytes)?;
                    out.copy_from_slice(&cluster_bytes[within]);
                }
            }
        }
        Ok(())
    }

    /// What lies in a range; the answer may end early.
    pub(super) fn extents(&self, range: Range<u64>) -> Result<Vec<Extent>> {
        let numbers = clusters(&range);
        let numbers = numbers.start..numbers.end.min(numbers.start + BATCH);
        let _held = self.ranges.hold(numbers.clone());
        let mut found: Vec<Extent> = Vec::new();
        for cluster in numbers {
            let start = cluster * GRANULE;
            let piece = start.max(range.start)..(start + self.length(cluster)).min(range.end);
            let kind = match self.draft.content(cluster) {
                _ if self.parts.see(cluster, |_| ()).is_some() => ExtentKind::Data,
                Content::Data => ExtentKind::Data,
                Content::Zeros => ExtentKind::Zero,
                Content::Nothing => match &self.below {
                    Some(below) if piece.start < below.disk.size() => {
                        let inside = piece.start..piece.end.min(below.disk.size());
                        let holes = below.disk.extents(inside, None)?;
                        let empty = holes.iter().all(|extent| extent.kind != ExtentKind::Data);
                        let whole = holes.last().is_some_and(|last| last.end() >= piece.end);
                        if empty && whole { ExtentKind::Hole } else { ExtentKind::Data }
                    }
                    _ => ExtentKind::Hole,
                },
            };
            match found.last_mut() {
                Some(last) if last.kind == kind => last.length += piece.end - piece.start,
                _ => found.push(Extent::new(piece, kind)),
            }
        }
        Ok(found)
    }

    /// Stores what is there in parts only.
    pub(super) fn flush(&self) -> Result<()> {
        for cluster in self.parts.all() {
            let _held = self.ranges.hold(cluster..cluster + 1);
            self.store_parts(cluster)?;
        }
        Ok(())
    }

    /// Tells a manifest what the image stores, in order.
    pub(super) fn record(&self, manifest: &mut ManifestWriter) -> Result<()> {
        let all = self.draft.clusters();
        let mut granules = Vec::with_capacity(BATCH as usize);
        let mut hashes = vec![[0; 32]; BATCH as usize];
        let mut first = 0;
        while first < all {
            let end = (first + BATCH).min(all);
            granules.clear();
            granules.extend((first..end).map(|cluster| match self.draft.content(cluster) {
                Content::Nothing => Granule::Unknown,
                Content::Zeros => Granule::Zero,
                Content::Data => Granule::Hash([0; 32]),
            }));
            if granules.iter().any(|granule| matches!(granule, Granule::Hash(_))) {
                self.sheet.read(first, &mut hashes[..(end - first) as usize])?;
                for (granule, kept) in granules.iter_mut().zip(&hashes) {
                    if let Granule::Hash(hash) = granule {
                        *hash = *kept;
                    }
                }
            }
            if granules.iter().any(|granule| *granule != Granule::Unknown) {
                manifest.record(first, &granules)?;
            }
            first = end;
        }
        Ok(())
    }

    /// Where the whole clusters end that begin at `at`, or `at` itself where none does.
    fn whole_end(&self, at: u64, end: u64) -> u64 {
        let whole = if end == self.draft.size() { end } else { end - end % GRANULE };
        if at.is_multiple_of(GRANULE) { whole.max(at) } else { at }
    }

    fn length(&self, cluster: u64) -> u64 {
        (self.draft.size() - cluster * GRANULE).min(GRANULE)
    }

    /// Changes bytes inside of one cluster, whose range is held.
    fn patch(&self, at: u64, length: u64, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let cluster = at / GRANULE;
        let within = (at % GRANULE) as usize;
        let mut bytes = match self.parts.take(cluster) {
            Some(bytes) => bytes,
            None => {
                let mut bytes = vec![0; self.length(cluster) as usize];
                self.load(cluster, &mut bytes)?;
                bytes
            }
        };
        if let Some(piece) = bytes.get_mut(within..within + length as usize) {
            change(piece);
        }
        self.parts.put(cluster, bytes);
        self.count(cluster..cluster + 1);
        Ok(())
    }

    /// Fills `out`, as long as the cluster is, with what is stored of it or shows through.
    fn load(&self, cluster: u64, out: &mut [u8]) -> Result<()> {
        match (self.draft.content(cluster), &self.below) {
            (Content::Data, _) => self.draft.read(cluster, out),
            (Content::Nothing, Some(below)) => {
                let start = cluster * GRANULE;
                let there = below.disk.size().saturating_sub(start).min(out.len() as u64) as usize;
                let (there, behind) = out.split_at_mut(there);
                behind.fill(0);
                if there.is_empty() { Ok(()) } else { below.disk.read_at(there, start) }
            }
            (Content::Zeros | Content::Nothing, _) => {
                out.fill(0);
                Ok(())
            }
        }
    }

    /// Stores whole clusters whose range is held: those that are neither zeros nor what is below.
    fn settle(&self, first: u64, data: &[u8]) -> Result<()> {
        for (n, batch) in data.chunks((BATCH * GRANULE) as usize).enumerate() {
            self.settle_batch(first + n as u64 * BATCH, batch)?;
        }
        Ok(())
    }

    fn settle_batch(&self, first: u64, data: &[u8]) -> Result<()> {
        let count = (data.len() as u64).div_ceil(GRANULE);
        let before = self.before(first, count)?;
        // Data in a row, to be stored at once, with its hashes.
        let mut run = 0..0;
        let mut hashes = Vec::new();
        for (n, bytes) in data.chunks(GRANULE as usize).enumerate() {
            let cluster = first + n as u64;
            let now = if is_zero(bytes) { Granule::Zero } else { Granule::Hash(blake3::hash(bytes).into()) };
            let at = n * GRANULE as usize;
            if before.get(n) != Some(&now)
                && let Granule::Hash(hash) = now
            {
                hashes.push(hash);
                run.end = at + bytes.len();
                continue;
            }
            self.store_run(first, data, run, &mut hashes)?;
            run = at + bytes.len()..at + bytes.len();
            if before.get(n) == Some(&now) {
                self.draft.forget(cluster..cluster + 1);
            } else {
                self.draft.zero(cluster..cluster + 1);
            }
        }
        self.store_run(first, data, run, &mut hashes)?;
        self.count(first..first + count);
        Ok(())
    }

    fn store_run(
        &self,
        first: u64,
        data: &[u8],
        run: Range<usize>,
        hashes: &mut Vec<[u8; 32]>,
    ) -> Result<()> {
        if !run.is_empty() {
            let cluster = first + run.start as u64 / GRANULE;
            self.sheet.keep(cluster, hashes)?;
            self.draft.store(cluster, &data[run])?;
        }
        hashes.clear();
        Ok(())
    }

    fn clear_whole(&self, numbers: Range<u64>) -> Result<()> {
        let before = self.before(numbers.start, numbers.end - numbers.start)?;
        for (cluster, before) in numbers.clone().zip(before) {
            self.parts.take(cluster);
            if before == Granule::Zero {
                self.draft.forget(cluster..cluster + 1);
            } else {
                self.draft.zero(cluster..cluster + 1);
            }
        }
        self.count(numbers);
        Ok(())
    }

    /// What clusters read as where nothing is stored for them.
    fn before(&self, first: u64, count: u64) -> Result<Vec<Granule>> {
        let mut before = vec![Granule::Zero; count as usize];
        if let Some(below) = &self.below {
            below.hashes.granules(first, &mut before)?;
        }
        Ok(before)
    }

    fn store_parts(&self, cluster: u64) -> Result<()> {
        match self.parts.take(cluster) {
            Some(bytes) => self.settle(cluster, &bytes),
            None => Ok(()),
        }
    }

    /// Stores what is too much to be kept in parts.
    fn relieve(&self) -> Result<()> {
        for cluster in self.parts.too_many() {
            // One that somebody works on stays.
            if let Some(_held) = self.ranges.try_hold(cluster..cluster + 1) {
                self.store_parts(cluster)?;
            }
            if !self.parts.is_over() {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, numbers: Range<u64>) {
        let touched = self.touched.mark(numbers);
        let processed = touched.saturating_mul(GRANULE).min(self.draft.size());
        self.counters.reached(self.draft.stored() * GRANULE, processed);
    }
}

/// Opens the manifest, has it told, and makes it durable: its hex name.
pub(super) fn write_manifest(core: &Core, mut manifest: ManifestWriter) -> Result<String> {
    core.record(&mut manifest)?;
    manifest.finish().map(|summary| summary.blake3).map_err(as_block)
}

fn part(data: &[u8], from: u64, to: u64) -> &[u8] {
    data.get(from as usize..to as usize).unwrap_or_default()
}
