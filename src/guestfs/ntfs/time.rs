//! Times: 100 nanoseconds since 1601-01-01 UTC.

use crate::Timestamp;

/// From 1601 to 1970, in units of 100 ns.
const EPOCH: i128 = 116_444_736_000_000_000;

/// As it stands on the disk: signed, so that there are times before 1601.
pub fn timestamp(ticks: u64) -> Timestamp {
    let since = i128::from(ticks as i64) - EPOCH;
    Timestamp {
        seconds: since.div_euclid(10_000_000) as i64,
        nanos: since.rem_euclid(10_000_000) as u32 * 100,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_and_after_1970() {
        assert_eq!(timestamp(0), Timestamp { seconds: -11_644_473_600, nanos: 0 });
        assert_eq!(timestamp(EPOCH as u64), Timestamp::default());
        assert_eq!(timestamp(EPOCH as u64 - 1), Timestamp { seconds: -1, nanos: 999_999_900 });
        assert_eq!(timestamp(u64::MAX), Timestamp { seconds: -11_644_473_601, nanos: 999_999_900 });
        assert_eq!(timestamp(i64::MAX as u64).seconds, 910_692_730_085);
    }
}
