//! What becomes of one unit: pure rules, no I/O.

use crate::baseline::Granule;

/// What the copy is for, without what it needs for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// See [`Mode::Store`](super::Mode::Store).
    Store {
        /// Zeros are recorded, not left out.
        keep_zeros: bool,
    },
    /// See [`Mode::Changes`](super::Mode::Changes).
    Changes,
    /// See [`Mode::Restore`](super::Mode::Restore).
    Restore,
}

/// What to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Zeros that the sink has anyway: nothing.
    LeaveOut,
    /// The backing file has it already: nothing.
    Unchanged,
    /// Tell the sink that it is zeros.
    Zero,
    /// Hand its bytes to the sink.
    Write,
}

impl Rule {
    /// Decides a unit whose granules are `now`, `Unknown` meaning data that nobody hashed. `before` is what
    /// the baseline says of the same granules, and is looked at for changes only.
    pub(crate) fn decide(self, now: &[Granule], before: &[Granule]) -> Verdict {
        let zero = now.iter().all(|granule| *granule == Granule::Zero);
        match self {
            Rule::Changes if same(now, before) => Verdict::Unchanged,
            Rule::Store { keep_zeros: false } if zero => Verdict::LeaveOut,
            _ if zero => Verdict::Zero,
            _ => Verdict::Write,
        }
    }
}

/// The first granule that is not what is expected; what nothing is known of is as expected.
pub(crate) fn first_mismatch(now: &[Granule], expected: &[Granule]) -> Option<usize> {
    now.iter().zip(expected).position(|(now, expected)| *expected != Granule::Unknown && now != expected)
}

/// Known to be the same: nothing unknown is the same as anything.
fn same(now: &[Granule], before: &[Granule]) -> bool {
    now.len() == before.len()
        && now.iter().zip(before).all(|(now, before)| *now != Granule::Unknown && now == before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Granule::{Hash, Unknown, Zero};

    const A: Granule = Hash([1; 32]);
    const B: Granule = Hash([2; 32]);

    #[test]
    fn storing_leaves_zeros_out_unless_they_are_to_be_kept() {
        let plain = Rule::Store { keep_zeros: false };
        let keep = Rule::Store { keep_zeros: true };
        assert_eq!(plain.decide(&[Zero, Zero], &[]), Verdict::LeaveOut);
        assert_eq!(keep.decide(&[Zero, Zero], &[]), Verdict::Zero);
        assert_eq!(plain.decide(&[Zero, Unknown], &[]), Verdict::Write);
        assert_eq!(keep.decide(&[A, Zero], &[]), Verdict::Write);
    }

    #[test]
    fn changes_are_units_that_differ_anywhere() {
        let rule = Rule::Changes;
        assert_eq!(rule.decide(&[A, Zero], &[A, Zero]), Verdict::Unchanged);
        assert_eq!(rule.decide(&[A, Zero], &[A, B]), Verdict::Write);
        assert_eq!(rule.decide(&[Zero, Zero], &[Zero, Zero]), Verdict::Unchanged);
        assert_eq!(rule.decide(&[Zero, Zero], &[Zero, A]), Verdict::Zero);
        assert_eq!(rule.decide(&[Zero], &[Unknown]), Verdict::Zero);
        assert_eq!(rule.decide(&[A], &[Unknown]), Verdict::Write);
        assert_eq!(rule.decide(&[Unknown], &[Unknown]), Verdict::Write);
    }

    #[test]
    fn a_restore_writes_everything() {
        assert_eq!(Rule::Restore.decide(&[Zero], &[Zero]), Verdict::Zero);
        assert_eq!(Rule::Restore.decide(&[A], &[A]), Verdict::Write);
    }

    #[test]
    fn a_mismatch_is_found_where_something_is_known() {
        assert_eq!(first_mismatch(&[A, Zero, B], &[A, Zero, Unknown]), None);
        assert_eq!(first_mismatch(&[A, Zero, B], &[A, A, B]), Some(1));
        assert_eq!(first_mismatch(&[A, B], &[A, Zero]), Some(1));
        assert_eq!(first_mismatch(&[A], &[]), None);
    }
}
