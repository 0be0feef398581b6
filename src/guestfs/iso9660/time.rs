//! Dates of records and descriptors.

use crate::Timestamp;
use crate::fat::time::days_since_1970;

/// A moment of calendar fields (the month and day from 1) and an offset from UTC in quarters of an hour. Offsets that
/// no place on earth has count as none.
fn moment(fields: [i64; 6], hundredths: u32, quarters: i8) -> Timestamp {
    let [year, month, day, hour, minute, second] = fields;
    let days = days_since_1970(year, month.clamp(1, 12)) + day.max(1) - 1;
    let zone = if (-52..=56).contains(&quarters) { i64::from(quarters) * 900 } else { 0 };
    Timestamp {
        seconds: ((days * 24 + hour) * 60 + minute) * 60 + second - zone,
        nanos: hundredths.min(99) * 10_000_000,
    }
}

/// The date of a record (ECMA-119, 9.1.5): years since 1900, month, day, hour, minute, second, zone. All zeros mean that
/// there is none.
pub(super) fn short(bytes: [u8; 7]) -> Timestamp {
    if bytes == [0; 7] {
        return Timestamp::default();
    }
    let [year, month, day, hour, minute, second, zone] = bytes;
    let fields =
        [i64::from(year) + 1900, month.into(), day.into(), hour.into(), minute.into(), second.into()];
    moment(fields, 0, zone as i8)
}

/// A date in digits (ECMA-119, 8.4.26.1): `YYYYMMDDHHMMSShh`, zone. `None` where it is not one.
pub(super) fn long(bytes: [u8; 17]) -> Option<Timestamp> {
    let number = |at: usize, length: usize| {
        bytes[at..at + length].iter().try_fold(0i64, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + i64::from(digit - b'0'))
        })
    };
    let year = number(0, 4).filter(|year| *year != 0)?;
    let fields = [year, number(4, 2)?, number(6, 2)?, number(8, 2)?, number(10, 2)?, number(12, 2)?];
    Some(moment(fields, number(14, 2)? as u32, bytes[16] as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_a_zone() {
        assert_eq!(short([0; 7]), Timestamp::default());
        assert_eq!(short([70, 1, 1, 1, 2, 3, 4]).seconds, 123, "UTC+1");
        assert_eq!(short([124, 2, 29, 23, 59, 59, 0]).seconds, 1_709_251_199);
        assert_eq!(short([69, 12, 31, 0, 0, 0, 0xE0u8]).seconds, -86400 + 8 * 3600, "UTC-8");
        assert_eq!(
            long(*b"2024022923595907\x04"),
            Some(Timestamp { seconds: 1_709_247_599, nanos: 70_000_000 })
        );
        assert_eq!(long(*b"0000000000000000\0"), None);
        assert_eq!(long(*b"20x4022923595907\x04"), None);
    }
}
