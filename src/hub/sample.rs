//! Which part of the stored data a verification reads.
//!
//! A part is made of stripes of [`STRIPE`] bytes, so that what is read stays sequential enough to be fast.
//! `n/t` takes every t-th stripe, the same ones each time: seven nights of `1/7` … `7/7` read everything
//! once. A percentage or a size is a random choice, made anew every time. Only the choosing is here; the
//! reading is in `verify`.

use api::Subset;
use std::ops::Range;

/// The unit of choosing, in bytes of the virtual disk.
pub(crate) const STRIPE: u64 = 4 << 20;

/// Thousandths of a percent in a whole.
const WHOLE: u64 = 100_000;

/// The ranges of a disk of `size` bytes that belong to `subset`, ascending. `stored` is what all files to be
/// read store together (a size is turned into a share of it); `seed` makes the random choices.
pub(crate) fn ranges(subset: Subset, size: u64, stored: u64, seed: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for stripe in (0..size.div_ceil(STRIPE)).filter(|stripe| takes(subset, *stripe, stored, seed)) {
        let start = stripe * STRIPE;
        let range = start..start.saturating_add(STRIPE).min(size);
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

fn takes(subset: Subset, stripe: u64, stored: u64, seed: u64) -> bool {
    let share = match subset {
        Subset::Part { part, of } => {
            return stripe % u64::from(of.max(1)) == u64::from(part.saturating_sub(1));
        }
        Subset::Percent(percent) => (percent * WHOLE as f64 / 100.0).ceil() as u64,
        Subset::Bytes(bytes) => {
            (u128::from(bytes.0) * u128::from(WHOLE)).div_ceil(u128::from(stored.max(1))) as u64
        }
    };
    mix(seed ^ stripe.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % WHOLE < share
}

/// The finaliser of SplitMix64: spreads neighbouring numbers evenly. Not for secrets.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ByteSize;

    #[test]
    fn the_parts_together_are_the_whole_and_do_not_overlap() {
        let size = 100 * STRIPE + 17;
        let mut all: Vec<Range<u64>> =
            (1..=7).flat_map(|part| ranges(Subset::Part { part, of: 7 }, size, 0, 0)).collect();
        all.sort_by_key(|range| range.start);
        let end = all.iter().fold(0, |end, range| {
            assert_eq!(range.start, end);
            range.end
        });
        assert_eq!(end, size);
    }

    #[test]
    fn a_share_is_about_that_share_and_all_of_it_is_all() {
        let size = 10_000 * STRIPE;
        let bytes = |subset| -> u64 {
            ranges(subset, size, size, 42).iter().map(|range| range.end - range.start).sum()
        };
        let tenth = bytes(Subset::Percent(10.0));
        assert!(tenth > size / 12 && tenth < size / 8, "{tenth}");
        assert_eq!(bytes(Subset::Percent(100.0)), size);
        assert_eq!(bytes(Subset::Bytes(ByteSize(size))), size);
    }
}
