//! Spans of time as people type and read them: `90s`, `5m`, `4h`, `1h30m`.

use std::str::FromStr;
use std::time::Duration;

/// A span of time given on the command line. Never longer than 3650 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a duration: write 90s, 5m, 4h, 2d, 1w or 1h30m")]
pub struct SpanError(String);

const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let error = || SpanError(text.to_owned());
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(error());
        }
        let mut total = Duration::ZERO;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| error())?;
            let millis: u64 = match unit {
                "ms" => 1,
                "s" | "sec" => 1000,
                // A bare number is seconds, but only where it stands alone.
                "" if total.is_zero() && tail.is_empty() => 1000,
                "m" | "min" => 60_000,
                "h" => 3_600_000,
                "d" => 86_400_000,
                "w" => 604_800_000,
                _ => return Err(error()),
            };
            let part = Duration::from_millis(number.checked_mul(millis).ok_or_else(error)?);
            total = total.checked_add(part).ok_or_else(error)?;
            rest = tail.trim_start();
        }
        if total > LONGEST {
            return Err(error());
        }
        Ok(Span(total))
    }
}

/// `4.2 s`, `3m 07s`, `1h 05m`, `2d 03h`: as much as a person wants to know.
pub fn short(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..=59 if span.as_millis() < 9_950 => format!("{:.1} s", span.as_secs_f64()),
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90.0),
            ("90", 90.0),
            ("5m", 300.0),
            ("4h", 14_400.0),
            ("1h30m", 5400.0),
            ("1h 30m", 5400.0),
            ("2d", 172_800.0),
            ("1w", 604_800.0),
            ("250ms", 0.25),
            ("0s", 0.0),
        ] {
            assert_eq!(text.parse::<Span>().unwrap().0.as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "h", "-5m", "4 hours", "1.5h", "5x", "1h30", "99999999999999999999s", "999999d"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_show_short() {
        for (millis, text) in [
            (0, "0.0 s"),
            (4210, "4.2 s"),
            (9_960, "9 s"),
            (59_999, "59 s"),
            (187_000, "3m 07s"),
            (3_900_000, "1h 05m"),
            (97_200_000, "1d 03h"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }
}
