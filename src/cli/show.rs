//! How values look to a person: sizes, times, what must not reach a terminal as it is.
//!
//! [`Show`] holds the user's wishes (`--bytes`, `--utc`); what is shown in JSON never passes through here.

use crate::duration;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use model::ByteSize;
use std::time::Duration;

/// The user's wishes for values.
#[derive(Debug, Clone)]
pub struct Show {
    /// Sizes as exact numbers of bytes.
    pub exact_bytes: bool,
    /// The zone of times.
    pub zone: TimeZone,
}

impl Show {
    /// Wishes from the command line: local time unless `utc`.
    pub fn new(exact_bytes: bool, utc: bool) -> Self {
        Show { exact_bytes, zone: if utc { TimeZone::UTC } else { TimeZone::system() } }
    }

    /// `1.5 GiB`, or the exact number with `--bytes`.
    pub fn size(&self, bytes: u64) -> String {
        if self.exact_bytes { bytes.to_string() } else { ByteSize(bytes).to_string() }
    }

    /// `1.2 GiB/s`.
    pub fn speed(&self, bytes_per_second: u64) -> String {
        format!("{}/s", self.size(bytes_per_second))
    }

    /// `2025-10-06 12:00:05 CEST`.
    pub fn time(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
    }

    /// `2025-10-06 12:00 CEST`, for tables.
    pub fn minute(&self, time: Timestamp) -> String {
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
    }

    /// A moment of a guest, as the wire has it; as it is where it is beyond what this program can show.
    pub fn stamp(&self, text: &str) -> String {
        text.parse().map_or_else(|_| text.to_owned(), |time| self.time(time))
    }

    /// The time between two moments, where both are known.
    pub fn between(&self, from: Option<Timestamp>, to: Option<Timestamp>) -> Option<String> {
        Some(duration::short(span(from?, to?)))
    }

    /// The name of the zone for the hub (`Europe/Berlin`), where it has one.
    pub fn zone_name(&self) -> Option<String> {
        self.zone.iana_name().map(str::to_owned)
    }

    /// A moment as typed for `--since` and `--until`: `2025-10-06`, `2025-10-06T03:00`, with a zone
    /// (`2025-10-06T03:00:00Z`), or as a time ago: `7d`, `12h`.
    ///
    /// # Errors
    /// A sentence that says what would be understood.
    pub fn moment(&self, text: &str, now: Timestamp) -> Result<Timestamp, String> {
        let error = || {
            format!(
                "{text:?} is no moment: write 2025-10-06, 2025-10-06T03:00, 2025-10-06T03:00:00Z or 7d (ago)"
            )
        };
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(time);
        }
        let civil = text
            .parse::<Date>()
            .ok()
            .filter(|_| !text.contains([':', 'T', ' ']))
            .map(|date| date.at(0, 0, 0, 0))
            .or_else(|| text.parse::<DateTime>().ok());
        if let Some(civil) = civil {
            return civil.to_zoned(self.zone.clone()).map(|time| time.timestamp()).map_err(|_| error());
        }
        let ago: duration::Span = text.parse().map_err(|_| error())?;
        now.checked_sub(ago.0).map_err(|_| error())
    }
}

/// The time from one moment to a later one; zero where clocks went backwards.
pub fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// `45.1 %`.
pub fn percent(part: f64) -> String {
    format!("{part:.1} %")
}

/// How much of `whole` was not needed, in percent; `None` of nothing.
pub fn saved_percent(stored: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * (1.0 - stored.min(whole) as f64 / whole as f64))
}

/// `text` as one line that can't command a terminal: control characters and what reverses the direction of
/// writing are shown as escapes.
pub fn one_line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\n' => shown.push(' '),
            '\t' => shown.push(' '),
            c if c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}') => {
                shown.extend(c.escape_unicode());
            }
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(zone: &str) -> Show {
        Show { exact_bytes: false, zone: TimeZone::get(zone).unwrap() }
    }

    #[test]
    fn times_carry_their_zone() {
        let time: Timestamp = "2025-10-06T10:00:05Z".parse().unwrap();
        assert_eq!(show("Europe/Berlin").time(time), "2025-10-06 12:00:05 CEST");
        assert_eq!(Show::new(false, true).minute(time), "2025-10-06 10:00 UTC");
    }

    #[test]
    fn sizes_are_binary_unless_exact_ones_are_asked_for() {
        assert_eq!(Show::new(false, true).size(3 << 29), "1.5 GiB");
        assert_eq!(Show::new(true, true).size(3 << 29), "1610612736");
    }

    #[test]
    fn moments_read_in_the_users_zone_or_as_a_time_ago() {
        let now: Timestamp = "2025-10-08T00:00:00Z".parse().unwrap();
        let berlin = show("Europe/Berlin");
        for (text, expected) in [
            ("2025-10-06", "2025-10-05T22:00:00Z"),
            ("2025-10-06T03:00", "2025-10-06T01:00:00Z"),
            ("2025-10-06 03:00:00", "2025-10-06T01:00:00Z"),
            ("2025-10-06T03:00:00Z", "2025-10-06T03:00:00Z"),
            ("7d", "2025-10-01T00:00:00Z"),
        ] {
            assert_eq!(berlin.moment(text, now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "yesterday", "2025-13-01", "7x"] {
            assert!(berlin.moment(text, now).is_err(), "{text}");
        }
    }

    #[test]
    fn what_others_wrote_can_not_command_the_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[2Jc"), "a b\\u{1b}[2Jc");
        assert_eq!(one_line("x\u{202E}y"), "x\\u{202e}y");
    }

    #[test]
    fn nothing_saved_of_nothing() {
        assert_eq!(saved_percent(0, 0), None);
        assert_eq!(saved_percent(25, 100), Some(75.0));
        assert_eq!(saved_percent(200, 100), Some(0.0));
    }
}
