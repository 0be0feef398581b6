//! The refcounts of an image being written.
//!
//! For one that is written once ([`Refcounts`]): every host cluster that is handed out is used exactly once, except where compressed clusters share it: so
//! nothing is kept for plain data, and only the counts of packed regions are. A block of counts is written as
//! soon as all regions that began in it are done, hence memory stays bounded by the regions in work: some
//! blocks of 64 KiB at 64 KiB clusters, each for 2 GiB of file.

use crate::error::usage;
use crate::output::Output;
use block::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// log2 of the bits of a refcount.
pub(crate) const ORDER: u32 = 4;

#[derive(Default)]
struct State {
    /// Host offsets of regions that were handed out and have no counts yet.
    open: BTreeSet<u64>,
    /// Counts by block number; a block that is not there is all ones.
    blocks: BTreeMap<u64, Vec<u16>>,
    /// Written blocks: number and host offset.
    written: BTreeMap<u64, u64>,
}

/// The refcounts of one image.
pub(crate) struct Refcounts {
    cluster_size: u64,
    state: Mutex<State>,
}

impl Refcounts {
    pub(crate) fn new(cluster_size: u64) -> Refcounts {
        Refcounts { cluster_size, state: Mutex::default() }
    }

    /// Clusters that one block counts.
    pub(crate) fn per_block(&self) -> u64 {
        self.cluster_size / 2
    }

    /// Hands out host clusters for a packed region; its counts follow by [`enter`](Refcounts::enter).
    pub(crate) fn reserve(&self, output: &Output, length: u64) -> Result<u64> {
        // Under the lock, so that no block is taken for complete between handing out and noting it down.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let host = output.reserve(length)?;
        state.open.insert(host);
        Ok(host)
    }

    /// Enters the counts of the region at `host`, and writes the blocks that are complete by it.
    pub(crate) fn enter(&self, output: &Output, host: u64, counts: &[u16]) -> Result<()> {
        let per_block = self.per_block();
        let ready = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for (n, &count) in counts.iter().enumerate() {
                let cluster = host / self.cluster_size + n as u64;
                let block = state.blocks.entry(cluster / per_block);
                let block = block.or_insert_with(|| vec![1; per_block as usize]);
                block[(cluster % per_block) as usize] = count;
            }
            state.open.remove(&host);
            let low = state.open.first().copied().unwrap_or_else(|| output.end());
            let complete = low / self.cluster_size / per_block;
            let rest = state.blocks.split_off(&complete);
            std::mem::replace(&mut state.blocks, rest)
        };
        for (number, block) in ready {
            let at = output.reserve(self.cluster_size)?;
            output.write(&bytes(&block), at)?;
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.written.insert(number, at);
        }
        Ok(())
    }

    /// Writes what is left, now that nothing else will be handed out, and returns the refcount table: the
    /// host offset of every block.
    pub(crate) fn finish(&self, output: &Output) -> Result<Vec<u64>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.open.is_empty() {
            return Err(usage(output.name(), "a packed region was not finished"));
        }
        let per_block = self.per_block();
        // The blocks count themselves, and so may need one more.
        let used = output.end() / self.cluster_size;
        let missing = |blocks: u64| blocks - state.written.len() as u64;
        let mut blocks = used.div_ceil(per_block);
        while (used + missing(blocks)).div_ceil(per_block) > blocks {
            blocks += 1;
        }
        let total = used + missing(blocks);
        let mut table = Vec::with_capacity(blocks as usize);
        for number in 0..blocks {
            if let Some(&at) = state.written.get(&number) {
                table.push(at);
                continue;
            }
            let mut block = state.blocks.remove(&number).unwrap_or_else(|| vec![1; per_block as usize]);
            let counted = total.saturating_sub(number * per_block).min(per_block) as usize;
            block[counted..].fill(0);
            let at = output.reserve(self.cluster_size)?;
            output.write(&bytes(&block), at)?;
            table.push(at);
        }
        Ok(table)
    }
}

/// The refcounts of an image whose clusters were written again and taken back: counted when it is finished, by what
/// refers to each host cluster. Two bytes a cluster of the file.
pub(crate) struct Recount {
    cluster_size: u64,
    counts: Vec<u16>,
}

impl Recount {
    /// For a file of `end` bytes, of which those below `fixed` have their uses.
    pub(crate) fn new(cluster_size: u64, fixed: u64, end: u64) -> Recount {
        let mut counts = vec![0; (end / cluster_size) as usize];
        let fixed = ((fixed / cluster_size) as usize).min(counts.len());
        counts[..fixed].fill(1);
        Recount { cluster_size, counts }
    }

    /// One more entry refers to the host clusters that these bytes touch.
    pub(crate) fn add(&mut self, bytes: Range<u64>) -> Result<()> {
        let clusters = bytes.start / self.cluster_size..bytes.end.div_ceil(self.cluster_size);
        let counts = self.counts.get_mut(clusters.start as usize..clusters.end as usize);
        let counts = counts.ok_or_else(|| usage("the image", "an entry refers behind the file's end"))?;
        for count in counts {
            let more = count.checked_add(1);
            *count = more.ok_or_else(|| usage("the image", "too many clusters share a host cluster"))?;
        }
        Ok(())
    }

    /// Writes the blocks behind all that was handed out until now, and returns where they are. What nothing refers to
    /// becomes holes of the file.
    pub(crate) fn finish(mut self, output: &Output) -> Result<Vec<u64>> {
        let per_block = self.cluster_size / 2;
        let mut at = 0;
        for run in self.counts.chunk_by(|a, b| (*a == 0) == (*b == 0)) {
            let end = at + run.len() as u64 * self.cluster_size;
            if run.first() == Some(&0) {
                output.punch(at..end);
            }
            at = end;
        }
        // What came since, tables, is used once, and so are the blocks, which count themselves.
        let used = output.end() / self.cluster_size;
        let mut blocks = used.div_ceil(per_block);
        while (used + blocks).div_ceil(per_block) > blocks {
            blocks += 1;
        }
        self.counts.resize((used + blocks) as usize, 1);
        self.counts.resize((blocks * per_block) as usize, 0);
        let mut hosts = Vec::with_capacity(blocks as usize);
        for block in self.counts.chunks(per_block as usize) {
            let at = output.reserve(self.cluster_size)?;
            output.write(&bytes(block), at)?;
            hosts.push(at);
        }
        Ok(hosts)
    }
}

fn bytes(block: &[u16]) -> Vec<u8> {
    block.iter().flat_map(|count| count.to_be_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::IoMode;
    use proptest::prelude::*;
    use std::os::unix::fs::FileExt;

    const CLUSTER: u64 = 4096;

    /// What happens to a file: plain clusters are handed out, regions are handed out, regions are done.
    #[derive(Debug, Clone)]
    enum Step {
        Plain(u64),
        Region(u64),
        Done(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1u64..1500).prop_map(Step::Plain),
            (1u64..1500).prop_map(Step::Region),
            (0usize..8).prop_map(Step::Done),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn blocks_count_what_was_handed_out(steps in prop::collection::vec(step(), 0..40)) {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("file");
            let output = Output::create(&path, IoMode::Buffered, CLUSTER).expect("file");
            let refcounts = Refcounts::new(CLUSTER);
            let mut model = vec![1u16];
            let mut open: Vec<(u64, Vec<u16>)> = Vec::new();
            let done = |(host, counts): (u64, Vec<u16>), model: &mut Vec<u16>| {
                refcounts.enter(&output, host, &counts).expect("enter");
                let first = (host / CLUSTER) as usize;
                model.resize((output.end() / CLUSTER) as usize, 1);
                model[first..first + counts.len()].copy_from_slice(&counts);
            };
            for step in steps {
                match step {
                    Step::Plain(count) => drop(output.reserve(count * CLUSTER).expect("reserve")),
                    Step::Region(count) => {
                        let host = refcounts.reserve(&output, count * CLUSTER).expect("reserve");
                        open.push((host, (0..count).map(|n| (host / CLUSTER + n) as u16 | 1).collect()));
                    }
                    Step::Done(which) if which < open.len() => done(open.swap_remove(which), &mut model),
                    Step::Done(_) => {}
                }
            }
            for region in open {
                done(region, &mut model);
            }
            let table = refcounts.finish(&output).expect("finish");
            model.resize((output.end() / CLUSTER) as usize, 1);
            let file = std::fs::File::open(&path).expect("open");
            let mut counts = Vec::new();
            for at in table {
                let mut block = vec![0; CLUSTER as usize];
                file.read_exact_at(&mut block, at).expect("read");
                counts.extend(block.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])));
            }
            let (used, behind) = counts.split_at(model.len());
            prop_assert!(used == model);
            prop_assert!(behind.iter().all(|count| *count == 0));
        }
    }
}
