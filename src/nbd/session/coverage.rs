//! Which bytes of a read have arrived.

/// Disjoint, ascending, non-adjacent ranges. A server that sends a read in order needs one.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    ranges: Vec<(usize, usize)>,
}

/// More separate pieces than this are not kept apart: no server fragments a read so.
const MOST: usize = 4096;

impl Coverage {
    /// Adds `start..end`; false where a byte of it was there before, it is empty, or there are too many
    /// pieces.
    pub(super) fn add(&mut self, start: usize, end: usize) -> bool {
        if start >= end {
            return false;
        }
        let at = self.ranges.partition_point(|range| range.1 < start);
        // `at` is the first range that ends at or behind `start`.
        let touching = |range: Option<&(usize, usize)>, point: fn(&(usize, usize)) -> usize, value| {
            range.is_some_and(|range| point(range) == value)
        };
        let joins_before = touching(self.ranges.get(at), |range| range.1, start);
        let next = at + usize::from(joins_before);
        if self.ranges.get(next).is_some_and(|range| range.0 < end) {
            return false;
        }
        let joins_after = touching(self.ranges.get(next), |range| range.0, end);
        match (joins_before, joins_after) {
            (true, true) => {
                let (_, far) = self.ranges.remove(next);
                if let Some(range) = self.ranges.get_mut(at) {
                    range.1 = far;
                }
            }
            (true, false) => {
                if let Some(range) = self.ranges.get_mut(at) {
                    range.1 = end;
                }
            }
            (false, true) => {
                if let Some(range) = self.ranges.get_mut(next) {
                    range.0 = start;
                }
            }
            (false, false) => {
                if self.ranges.len() == MOST {
                    return false;
                }
                self.ranges.insert(at, (start, end));
            }
        }
        true
    }

    /// Whether all of `0..length` has arrived.
    pub(super) fn is_whole(&self, length: usize) -> bool {
        self.ranges.as_slice() == [(0, length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_in_any_order_make_a_whole() {
        let mut coverage = Coverage::default();
        for (start, end) in [(4, 6), (0, 2), (8, 10), (2, 4), (6, 8)] {
            assert!(!coverage.is_whole(10));
            assert!(coverage.add(start, end), "{start}..{end}");
        }
        assert!(coverage.is_whole(10));
    }

    #[test]
    fn a_byte_arrives_only_once() {
        let mut coverage = Coverage::default();
        assert!(coverage.add(4, 8) && coverage.add(12, 16));
        for (start, end) in [(4, 8), (3, 5), (7, 9), (5, 6), (0, 20), (8, 13), (15, 20), (9, 9)] {
            assert!(!coverage.add(start, end), "{start}..{end}");
        }
        assert!(coverage.add(8, 12) && coverage.add(0, 4) && coverage.is_whole(16));
    }

    #[test]
    fn agrees_with_a_bitmap() {
        // Every sequence of this little generator is compared with a plain array of booleans.
        let mut seed = 1u64;
        for _ in 0..500 {
            let (mut coverage, mut bits) = (Coverage::default(), [false; 24]);
            for _ in 0..40 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let start = (seed >> 33) as usize % 24;
                let end = (start + 1 + (seed >> 40) as usize % 5).min(24);
                let free = bits[start..end].iter().all(|bit| !bit);
                assert_eq!(coverage.add(start, end), free);
                if free {
                    bits[start..end].fill(true);
                }
                assert_eq!(coverage.is_whole(24), bits.iter().all(|bit| *bit));
            }
        }
    }

    #[test]
    fn the_number_of_pieces_is_bounded() {
        let mut coverage = Coverage::default();
        let taken = (0..MOST * 2).filter(|n| coverage.add(n * 2, n * 2 + 1)).count();
        assert_eq!(taken, MOST);
    }
}
