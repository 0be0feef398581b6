//! A baseline and a ledger in memory, and what a disk's granules and extents really are.

use crate::image::Rng;
use block::{Baseline, Extent, ExtentKind, GRANULE, Granule, Ledger, Result, is_zero};

/// What is known of a disk; checks that it is asked in ascending order.
pub struct Known {
    granules: Vec<Granule>,
    behind: Granule,
    asked: u64,
}

impl Known {
    /// These granules, zeros behind them.
    pub fn new(granules: Vec<Granule>) -> Self {
        Known { granules, behind: Granule::Zero, asked: 0 }
    }

    /// Nothing is known of any granule.
    pub fn nothing() -> Self {
        Known { granules: Vec::new(), behind: Granule::Unknown, asked: 0 }
    }
}

impl Baseline for Known {
    fn next(&mut self, first: u64, out: &mut [Granule]) -> Result<()> {
        assert!(first >= self.asked, "asked for granule {first} after {}", self.asked);
        self.asked = first + out.len() as u64;
        for (granule, number) in out.iter_mut().zip(first..) {
            *granule = self.granules.get(number as usize).copied().unwrap_or(self.behind);
        }
        Ok(())
    }
}

/// Remembers what a copy recorded; checks the order.
#[derive(Default)]
pub struct Recorded {
    granules: Vec<(u64, Granule)>,
    end: u64,
}

impl Recorded {
    /// What was recorded of a granule.
    pub fn granule(&self, number: usize) -> Granule {
        match self.granules.binary_search_by_key(&(number as u64), |(number, _)| *number) {
            Ok(at) => self.granules[at].1,
            Err(_) => Granule::Unknown,
        }
    }

    /// How many granules were told of.
    pub fn told(&self) -> usize {
        self.granules.len()
    }
}

impl Ledger for Recorded {
    fn record(&mut self, first: u64, granules: &[Granule]) -> Result<()> {
        assert!(first >= self.end, "granule {first} recorded after {}", self.end);
        self.granules.extend((first..).zip(granules.iter().copied()));
        self.end = first + granules.len() as u64;
        Ok(())
    }
}

/// What a disk's granules are.
pub fn granules_of(disk: &[u8]) -> Vec<Granule> {
    let granule = |bytes: &[u8]| {
        if is_zero(bytes) { Granule::Zero } else { Granule::Hash(blake3::hash(bytes).into()) }
    };
    disk.chunks(GRANULE as usize).map(granule).collect()
}

/// Extents of a disk cut at any places, truthful, though zeros may be called data.
pub fn truthful_extents(seed: u64, disk: &[u8]) -> Vec<Extent> {
    let mut rng = Rng::new(seed ^ 0x0E07);
    let size = disk.len() as u64;
    let mut extents = Vec::new();
    let mut at = 0;
    while at < size {
        let mut end = at + 1 + rng.magnitude(20);
        if rng.below(4) != 0 {
            end = end.next_multiple_of(4096);
        }
        let end = end.min(size);
        let zero = is_zero(&disk[at as usize..end as usize]);
        let kind = match rng.below(4) {
            0 | 1 if zero => ExtentKind::Hole,
            2 if zero => ExtentKind::Zero,
            _ => ExtentKind::Data,
        };
        extents.push(Extent::new(at..end, kind));
        at = end;
    }
    extents
}
