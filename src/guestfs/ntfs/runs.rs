//! Run lists: where the clusters of an attribute lie ("mapping pairs", "data runs").

use crate::{Error, Result};

/// The most runs that are held of one attribute. Windows stops at about 1.5 million, where the attribute list is full.
const MAX_RUNS: usize = 1 << 21;
/// What stands for the place of a run that is nowhere.
const HOLE: u64 = u64::MAX;

/// The clusters of an attribute, from its first on without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs {
    /// First cluster of the attribute, and the volume's cluster there or [`HOLE`]. Ascending; each run ends where the next
    /// begins.
    runs: Vec<(u64, u64)>,
    /// The number of clusters.
    end: u64,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The volume's cluster, or `None` for a hole.
    pub lcn: Option<u64>,
    /// How many clusters, at least one.
    pub count: u64,
}

impl Runs {
    /// How many clusters are mapped, holes among them.
    pub fn clusters(&self) -> u64 {
        self.end
    }

    /// Bytes that this takes in memory.
    pub fn cost(&self) -> usize {
        self.runs.len() * 16
    }

    /// What lies at the attribute's cluster `vcn`, from there on to the run's end.
    pub fn at(&self, vcn: u64) -> Option<Extent> {
        if vcn >= self.end {
            return None;
        }
        let index = self.runs.partition_point(|&(start, _)| start <= vcn).checked_sub(1)?;
        let (start, lcn) = self.runs[index];
        let end = self.runs.get(index + 1).map_or(self.end, |next| next.0);
        Some(Extent { lcn: (lcn != HOLE).then(|| lcn + (vcn - start)), count: end - vcn })
    }

    /// Clusters of `count` from `vcn` on that lie somewhere.
    pub fn allocated(&self, vcn: u64, count: u64) -> u64 {
        let (mut at, mut sum) = (vcn, 0);
        let end = vcn.saturating_add(count);
        while at < end
            && let Some(extent) = self.at(at)
        {
            let part = extent.count.min(end - at);
            sum += if extent.lcn.is_some() { part } else { 0 };
            at += part;
        }
        sum
    }

    /// Adds the runs of one attribute record, which begin at the cluster where those before end. `volume` is the number
    /// of clusters of the volume.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for runs outside of the volume, or numbers that are none.
    pub fn extend(&mut self, pairs: &[u8], volume: u64) -> Result<()> {
        let bad = |reason: &str| Err(Error::corrupt("a run list", reason));
        let mut rest = pairs;
        let mut lcn: i64 = 0;
        loop {
            let Some((&head, tail)) = rest.split_first() else { return bad("it has no end") };
            if head == 0 {
                return Ok(());
            }
            let (length_size, place_size) = (usize::from(head & 15), usize::from(head >> 4));
            if length_size == 0 || length_size > 8 || place_size > 8 || tail.len() < length_size + place_size
            {
                return bad("a run of impossible form");
            }
            let count = signed(&tail[..length_size]);
            let end = u64::try_from(count).ok().filter(|&count| count > 0).and_then(|count| {
                // A volume has 2^32 clusters at most; with the largest ones, this keeps every offset below 2^63.
                self.end.checked_add(count).filter(|&end| end < 1 << 42)
            });
            let Some(end) = end else { return bad("a run of impossible length") };
            let place = if place_size == 0 {
                HOLE
            } else {
                lcn = match lcn.checked_add(signed(&tail[length_size..length_size + place_size])) {
                    Some(lcn) if lcn >= 0 => lcn,
                    _ => return bad("a run before the volume"),
                };
                match lcn.checked_add(count) {
                    Some(end) if end as u64 <= volume => lcn as u64,
                    _ => return bad("a run behind the volume"),
                }
            };
            self.push(place, end)?;
            rest = &tail[length_size + place_size..];
        }
    }

    fn push(&mut self, place: u64, end: u64) -> Result<()> {
        let joined = self.runs.last().is_some_and(|&(start, lcn)| {
            if lcn == HOLE { place == HOLE } else { place != HOLE && lcn + (self.end - start) == place }
        });
        if !joined {
            if self.runs.len() >= MAX_RUNS {
                return Err(Error::Limit(format!("a file of more than {MAX_RUNS} extents is not read")));
            }
            self.runs.push((self.end, place));
        }
        self.end = end;
        Ok(())
    }
}

/// A little-endian number of one to eight bytes with its sign.
fn signed(bytes: &[u8]) -> i64 {
    let fill = if bytes.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
    let mut eight = [fill; 8];
    eight[..bytes.len()].copy_from_slice(bytes);
    i64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_places_forth_and_back_and_nowhere() {
        let mut runs = Runs::default();
        // 0x18 at 0x5634, 4 nowhere, 8 at -0x34 from there, 1 right after, which joins.
        runs.extend(&[0x21, 0x18, 0x34, 0x56, 0x01, 4, 0x11, 8, 0xcc, 0x11, 1, 8, 0], 1 << 20).unwrap();
        assert_eq!(runs.clusters(), 0x18 + 4 + 9);
        assert_eq!(runs.at(0), Some(Extent { lcn: Some(0x5634), count: 0x18 }));
        assert_eq!(runs.at(0x17), Some(Extent { lcn: Some(0x564b), count: 1 }));
        assert_eq!(runs.at(0x19), Some(Extent { lcn: None, count: 3 }));
        assert_eq!(runs.at(0x1c), Some(Extent { lcn: Some(0x5600), count: 9 }));
        assert_eq!(runs.at(0x25), None);
        assert_eq!((runs.allocated(0x16, 16), runs.allocated(0x18, 4)), (2 + 9, 0));
        // A second attribute record goes on where the first ended, with places of its own.
        runs.extend(&[0x11, 2, 0x10, 0], 1 << 20).unwrap();
        assert_eq!(runs.at(0x26), Some(Extent { lcn: Some(0x11), count: 1 }));
    }

    #[test]
    fn refuses_what_is_no_run() {
        let bad: [&[u8]; 9] = [
            &[],
            &[0x11, 1, 1],
            &[0x10, 1, 0],
            &[0x11, 0, 1, 0],
            &[0x11, 0xff, 1, 0],
            &[0x11, 1, 0xff, 0],
            &[0x11, 1, 100, 0],
            &[0x19, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0],
        ];
        for pairs in bad {
            assert!(matches!(Runs::default().extend(pairs, 100), Err(Error::Corrupt { .. })), "{pairs:?}");
        }
        Runs::default().extend(&[0x11, 1, 99, 0], 100).unwrap();
    }
}
