//! Dates and times as DOS packed them, which exFAT kept.

use crate::Timestamp;

/// The moment of a packed `date` (year since 1980, month, day) and `time` (hours, minutes, pairs of seconds), and
/// `hundredths` of a second after it (0 to 199).
///
/// It has no zone: it is taken as UTC, as a kernel mounts with `tz=UTC`. Fields that are out of range count on, as they
/// do in Linux; the month and day 0 count as 1.
pub(crate) fn dos_time(date: u16, time: u16, hundredths: u8) -> Timestamp {
    let month = i64::from(date >> 5 & 15).clamp(1, 12);
    let day = i64::from(date & 31).max(1);
    let days = days_since_1970(1980 + i64::from(date >> 9), month) + day - 1;
    let minutes = (days * 24 + i64::from(time >> 11)) * 60 + i64::from(time >> 5 & 63);
    let seconds = minutes * 60 + i64::from(time & 31) * 2 + i64::from(hundredths / 100);
    Timestamp { seconds, nanos: u32::from(hundredths % 100) * 10_000_000 }
}

/// Days from 1970-01-01 to the first day of a month (1 to 12) of a year of the Gregorian calendar.
pub(crate) fn days_since_1970(year: i64, month: i64) -> i64 {
    // Years that begin in March, so that the leap day is their last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d … +%s`
        assert_eq!(dos_time(0x0021, 0, 0).seconds, 315_532_800, "1980-01-01");
        assert_eq!(
            dos_time((20 << 9) | (2 << 5) | 29, (23 << 11) | (59 << 5) | 29, 100).seconds,
            951_868_799
        );
        assert_eq!(dos_time((127 << 9) | (12 << 5) | 31, 0, 0).seconds, 4_354_732_800, "2107-12-31");
        assert_eq!(dos_time(0, 0, 0), dos_time(0x0021, 0, 0));
        assert_eq!(dos_time(0x0021, 0, 199), Timestamp { seconds: 315_532_801, nanos: 990_000_000 });
        for (year, month, days) in [(1970, 1, 0), (1970, 3, 59), (2000, 3, 11_017), (1900, 3, -25_508)] {
            assert_eq!(days_since_1970(year, month), days, "{year}-{month}");
        }
    }
}
