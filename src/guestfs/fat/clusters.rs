//! The clusters of a volume: from a place in a chain to bytes of the device.

use super::chain::Chain;
use super::table::Table;
use crate::device::{Device, read_exact};
use crate::pages::Pages;
use crate::{Cache, Error, Place, Result, Run};
use std::sync::Arc;

/// The part of a volume that is divided into clusters, and the table that links them.
pub(crate) struct Clusters {
    device: Device,
    /// Where cluster 2 begins, in bytes.
    start: u64,
    /// Bytes of a cluster.
    size: u64,
    table: Table,
    chains: Cache<u32, Arc<Chain>>,
    /// Entries of folders, by their place on the device.
    pages: Pages,
}

/// Where a folder's entries lie.
#[derive(Debug, Clone)]
pub(crate) enum Extent {
    /// In one piece: the root folder of FAT12 and FAT16. First byte and length.
    Fixed(u64, u64),
    /// In clusters, of which this many bytes belong to it.
    Chain(Arc<Chain>, u64),
}

impl Clusters {
    /// Clusters of `size` bytes (not 0) from byte `start` of `device` on, as `table` links them.
    pub(crate) fn new(device: Device, start: u64, size: u64, table: Table, budget: usize) -> Self {
        let pages = Pages::new(device.clone(), 0, u64::MAX, 16384, budget / 4);
        // Room for the chain in the most runs, however little is asked for: walking it for every read would not end.
        let chains = Cache::new((budget / 4).max(2 << 20));
        Clusters { device, start, size, table, chains, pages }
    }

    /// Bytes of a cluster.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The table that links them.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// The chain that begins with cluster `first`.
    ///
    /// # Errors
    /// As [`Chain::walk`].
    pub(crate) fn chain(&self, first: u32) -> Result<Arc<Chain>> {
        self.chains.get_or(first, || {
            let chain = Arc::new(Chain::walk(&self.table, first)?);
            let cost = chain.cost();
            Ok((chain, cost))
        })
    }

    /// Where byte `offset` of `chain` lies on the device, and how many bytes from there on lie one behind the other.
    fn locate(&self, chain: &Chain, offset: u64) -> Result<(u64, u64)> {
        let (cluster, clusters) = chain.run(&self.table, offset / self.size)?;
        let within = offset % self.size;
        let index = u64::from(cluster).checked_sub(2);
        let at = index
            .and_then(|index| index.checked_mul(self.size))
            .and_then(|at| at.checked_add(self.start)?.checked_add(within));
        let length = clusters.checked_mul(self.size).and_then(|bytes| bytes.checked_sub(within));
        at.zip(length).ok_or_else(|| Error::corrupt("a cluster chain", "clusters past any device's end"))
    }

    /// The run at byte `offset`, below `size`, of a file of `size` bytes.
    ///
    /// # Errors
    /// As [`Chain::run`].
    pub(crate) fn map(&self, chain: &Chain, offset: u64, size: u64) -> Result<Run> {
        let (at, length) = self.locate(chain, offset)?;
        Ok(Run { length: length.min(size - offset), place: Place::Device(at) })
    }

    /// Fills `buf` from byte `offset` of `chain`, with one read for each run.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past the end of the chain or the device; [`Error::Io`].
    pub(crate) fn read(&self, chain: &Chain, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let (at, length) = self.locate(chain, offset + done as u64)?;
            let length = length.min((buf.len() - done) as u64) as usize;
            read_exact(&*self.device, &mut buf[done..done + length], at)?;
            done += length;
        }
        Ok(())
    }

    /// The entries of a folder, one after the other.
    pub(crate) fn slots(&self, extent: Extent) -> Slots<'_> {
        Slots { clusters: self, extent, run: (0, 0, 0), page: None }
    }

    /// The 32 bytes at byte `at` of the device.
    ///
    /// # Errors
    /// [`Error::Corrupt`] outside of the device; [`Error::Io`].
    pub(crate) fn slot_at(&self, at: u64) -> Result<[u8; 32]> {
        let mut bytes = [0; 32];
        self.pages.read(at, &mut bytes)?;
        Ok(bytes)
    }
}

/// Entries of 32 bytes, as folders of FAT and exFAT hold them.
pub(crate) struct Slots<'a> {
    clusters: &'a Clusters,
    extent: Extent,
    /// First byte of the folder, length, and place on the device of the run that was used last.
    run: (u64, u64, u64),
    page: Option<(u64, Arc<[u8]>)>,
}

impl Slots<'_> {
    /// The entry `slot` with its place on the device; `None` at the end of the folder.
    ///
    /// # Errors
    /// What the chain or the device says.
    pub(crate) fn get(&mut self, slot: u64) -> Result<Option<(u64, [u8; 32])>> {
        let Some(offset) = slot.checked_mul(32) else { return Ok(None) };
        let size = match &self.extent {
            Extent::Fixed(_, length) => *length,
            Extent::Chain(_, length) => *length,
        };
        if size.checked_sub(32).is_none_or(|last| offset > last) {
            return Ok(None);
        }
        let (start, length, _) = self.run;
        if offset < start || offset - start >= length {
            self.run = match &self.extent {
                Extent::Fixed(at, length) => (0, *length, *at),
                Extent::Chain(chain, _) => {
                    let (at, length) = self.clusters.locate(chain, offset)?;
                    (offset, length, at)
                }
            };
        }
        let at = self.run.2 + (offset - self.run.0);
        let pages = &self.clusters.pages;
        let number = at / pages.page_size() as u64;
        if self.page.as_ref().is_none_or(|(held, _)| *held != number) {
            self.page = Some((number, pages.page(number)?));
        }
        let within = (at % pages.page_size() as u64) as usize;
        let mut bytes = [0; 32];
        match self.page.as_ref().and_then(|(_, page)| page.get(within..within + 32)) {
            Some(slot) => bytes.copy_from_slice(slot),
            // A volume that does not begin at a multiple of 32 bytes: exFAT's offsets are sectors, so never.
            None => pages.read(at, &mut bytes)?,
        }
        Ok(Some((at, bytes)))
    }
}
