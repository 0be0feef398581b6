//! A cluster chain: the runs of clusters that a file or folder lies in, in order.

use super::table::Table;
use crate::{Error, Result};

/// How many runs are remembered; of a chain in more of them only every second, fourth, … is.
const MARKS: usize = 1 << 15;

/// A chain, walked to its end once: it has no loop, and every link in it is a cluster of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    /// How many clusters it has.
    pub(crate) clusters: u64,
    /// Beginnings of runs: position in the chain, cluster. Ascending, and the first is at 0.
    marks: Vec<(u32, u32)>,
    /// Whether there is a mark at the beginning of every run.
    complete: bool,
}

impl Chain {
    /// Follows the chain that begins with cluster `first`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it leads to a cluster that is free, bad or not there, or into itself.
    pub(crate) fn walk(table: &Table, first: u32) -> Result<Chain> {
        let mut cursor = table.cursor();
        let mut marks = vec![(0, first)];
        let (mut stride, mut skipped) = (1u32, 0u32);
        let (mut cluster, mut position) = (first, 0u32);
        // A loop is found by comparing with a cluster of the chain that is taken anew after 1, 2, 4, … steps.
        let (mut remembered, mut steps, mut power) = (first, 0u64, 1u64);
        while let Some(next) = cursor.next(cluster)? {
            position += 1;
            steps += 1;
            if next == remembered || position >= table.clusters() {
                return Err(Error::corrupt(
                    "a cluster chain",
                    format!("from cluster {first} on, it leads back to cluster {next}"),
                ));
            }
            if steps == power {
                (remembered, steps, power) = (next, 0, power * 2);
            }
            if cluster.checked_add(1) != Some(next) {
                skipped += 1;
                if skipped == stride {
                    skipped = 0;
                    marks.push((position, next));
                }
                if marks.len() > MARKS {
                    let mut even = false;
                    marks.retain(|_| {
                        even = !even;
                        even
                    });
                    stride *= 2;
                }
            }
            cluster = next;
        }
        marks.shrink_to_fit();
        Ok(Chain { clusters: u64::from(position) + 1, marks, complete: stride == 1 })
    }

    /// The `clusters` clusters from `first` on, which are one run (an exFAT file without a chain).
    ///
    /// # Errors
    /// [`Error::Corrupt`] where they are not all there.
    pub(crate) fn contiguous(table: &Table, first: u32, clusters: u64) -> Result<Chain> {
        let inside = table.has(first) && clusters <= u64::from(table.clusters() - (first - 2));
        if clusters == 0 || !inside {
            return Err(Error::corrupt(
                "a run of clusters",
                format!("{clusters} from cluster {first} on, where the volume has {}", table.clusters()),
            ));
        }
        Ok(Chain { clusters, marks: vec![(0, first)], complete: true })
    }

    /// The cluster at `position` (below [`clusters`](Self::clusters)) of the chain, and how many clusters from it on
    /// lie one behind the other, as far as that is known cheaply: at least 1.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past the end, and as [`walk`](Self::walk).
    pub(crate) fn run(&self, table: &Table, position: u64) -> Result<(u32, u64)> {
        let past = || Error::corrupt("a cluster chain", format!("it has no cluster at position {position}"));
        if position >= self.clusters {
            return Err(past());
        }
        let after = self.marks.partition_point(|(at, _)| u64::from(*at) <= position);
        let (at, start) = *after.checked_sub(1).and_then(|index| self.marks.get(index)).ok_or_else(past)?;
        let end = self.marks.get(after).map_or(self.clusters, |(at, _)| u64::from(*at));
        let (mut at, mut cluster) = (u64::from(at), start);
        if self.complete {
            let skip = u32::try_from(position - at).map_err(|_| past())?;
            return Ok((cluster.checked_add(skip).ok_or_else(past)?, end - position));
        }
        let mut cursor = table.cursor();
        while at < position {
            cluster = cursor.next(cluster)?.ok_or_else(past)?;
            at += 1;
        }
        let (mut last, mut length) = (cluster, 1);
        while at + length < end && cursor.next(last)? == last.checked_add(1) {
            last += 1;
            length += 1;
        }
        Ok((cluster, length))
    }

    /// What it costs to hold, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.marks.len() * size_of::<(u32, u32)>() + 96
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Width;
    use super::*;
    use crate::MemoryDevice;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A FAT32 with these links.
    fn table(clusters: u32, links: &[(u32, u32)]) -> Table {
        let mut bytes = vec![0; (clusters as usize + 2) * 4];
        for (from, to) in links {
            bytes[*from as usize * 4..][..4].copy_from_slice(&to.to_le_bytes());
        }
        let length = bytes.len() as u64;
        Table::new(Arc::new(MemoryDevice(bytes)), 0, length, Width::ThirtyTwo, clusters, 1 << 20)
    }

    fn expanded(chain: &Chain, table: &Table) -> Vec<u32> {
        let mut all = Vec::new();
        while (all.len() as u64) < chain.clusters {
            let (cluster, length) = chain.run(table, all.len() as u64).unwrap();
            all.extend((0..length as u32).map(|n| cluster + n));
        }
        all
    }

    proptest! {
        #[test]
        fn a_chain_is_what_its_links_say(order in Just((2u32..120).collect::<Vec<_>>()).prop_shuffle(), length in 1usize..118) {
            let order = &order[..length];
            let mut links: Vec<_> = order.windows(2).map(|pair| (pair[0], pair[1])).collect();
            links.push((order[length - 1], 0x0FFF_FFFF));
            let table = table(118, &links);
            let chain = Chain::walk(&table, order[0]).unwrap();
            prop_assert_eq!(expanded(&chain, &table), order);
            for position in 0..length as u64 {
                prop_assert_eq!(chain.run(&table, position).unwrap().0, order[position as usize]);
            }
            prop_assert!(chain.run(&table, length as u64).is_err());
        }

        #[test]
        fn every_loop_is_found(length in 1u32..200, back in 0u32..200) {
            let mut links: Vec<_> = (2..2 + length).map(|n| (n, n + 1)).collect();
            links.push((2 + length, 2 + back.min(length)));
            let error = Chain::walk(&table(300, &links), 2).unwrap_err();
            prop_assert!(error.to_string().contains("leads back"), "{error}");
        }
    }

    #[test]
    fn a_chain_in_very_many_runs_stays_small() {
        // Backwards: no two clusters are neighbours.
        let clusters = 300_000;
        let mut links: Vec<_> = (3..clusters + 2).map(|n| (n, n - 1)).collect();
        links.push((2, 0x0FFF_FFF8));
        let table = table(clusters, &links);
        let chain = Chain::walk(&table, clusters + 1).unwrap();
        assert!(chain.cost() < 600_000 && !chain.complete);
        assert_eq!(chain.clusters, u64::from(clusters));
        for position in [0u32, 1, 77, 65_535, 65_536, 131_072, 299_999] {
            assert_eq!(chain.run(&table, u64::from(position)).unwrap(), (clusters + 1 - position, 1));
        }
    }

    #[test]
    fn a_run_ends_inside_of_the_volume() {
        let table = table(10, &[]);
        assert_eq!(Chain::contiguous(&table, 2, 10).unwrap().run(&table, 9).unwrap(), (11, 1));
        for (first, clusters) in [(2, 11), (11, 2), (12, 1), (1, 1), (0, 1), (2, 0), (3, u64::MAX)] {
            assert!(Chain::contiguous(&table, first, clusters).is_err(), "{first} {clusters}");
        }
    }
}
