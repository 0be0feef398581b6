//! Values of settings: as TOML has them, or as texts from the environment and the command line.

use hub::{CatalogLocation, LocationError};
use jiff::SignedDuration;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use toml::Value;

/// The longest span of time.
const LONGEST: Duration = Duration::from_secs(86_400);

/// A text that says something.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        _ => Err("it must be a text".to_owned()),
    }
}

/// Several texts: an array, or one text with commas.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::String(items) => {
            Ok(items.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        _ => Err("it must be a list of texts".to_owned()),
    }
}

/// Absolute paths.
pub(super) fn paths(value: &Value) -> Result<Vec<PathBuf>, String> {
    let all = texts(value)?.into_iter().map(PathBuf::from).collect::<Vec<_>>();
    match all.iter().all(|path| path.is_absolute()) {
        true => Ok(all),
        false => Err("they must be absolute paths".to_owned()),
    }
}

/// An absolute path; none where it is empty.
pub(super) fn path(value: &Value) -> Result<Option<PathBuf>, String> {
    match value.as_str().map(PathBuf::from) {
        Some(path) if path.as_os_str().is_empty() => Ok(None),
        Some(path) if path.is_absolute() => Ok(Some(path)),
        _ => Err("it must be an absolute path".to_owned()),
    }
}

/// An address of a catalog; none where it is empty. Nothing of it is repeated in an error: it may hold a password.
pub(super) fn catalog(value: &Value) -> Result<Option<String>, String> {
    let text = value.as_str().map(str::trim).ok_or("it must be a text")?;
    if text.is_empty() {
        return Ok(None);
    }
    let location: CatalogLocation = text.parse().map_err(|error: LocationError| error.to_string())?;
    if location.has_password() {
        return Err("it must not hold its password, which is shown with the settings: \
                    name a file that holds it as catalog_password_file"
            .to_owned());
    }
    match location.file() {
        Some(path) if !path.is_absolute() => {
            Err("it must be an absolute path, or mysql://USER@HOST/DATABASE".to_owned())
        }
        _ => Ok(Some(text.to_owned())),
    }
}

/// A whole number within bounds.
pub(super) fn count(value: &Value, bounds: RangeInclusive<u32>) -> Result<u32, String> {
    let number = match value {
        Value::Integer(number) => u32::try_from(*number).ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number
        .filter(|number| bounds.contains(number))
        .ok_or_else(|| format!("it must be a whole number from {} to {}", bounds.start(), bounds.end()))
}

/// A range of ports, `10100-10200`, or one.
pub(super) fn ports(value: &Value) -> Result<RangeInclusive<u16>, String> {
    let said = match value {
        Value::Integer(port) => port.to_string(),
        other => text(other)?,
    };
    let (first, last) = said.split_once('-').unwrap_or((&said, &said));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("it must be a range of ports such as 10100-10200".to_owned()),
    }
}

/// A span of time: `90s`, `5m`, `1h30m`; a bare number is seconds.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    duration_up_to(value, LONGEST, "a day")
}

/// A span of time up to a longest one, which a person calls `shown`.
pub(super) fn duration_up_to(value: &Value, longest: Duration, shown: &str) -> Result<Duration, String> {
    let time = match value {
        Value::Integer(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::String(text) => match text.trim().parse::<u64>() {
            Ok(seconds) => Some(Duration::from_secs(seconds)),
            Err(_) => days(text.trim()).or_else(|| {
                text.trim().parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok())
            }),
        },
        _ => None,
    };
    time.filter(|time| !time.is_zero() && *time <= longest)
        .ok_or_else(|| format!("it must be a span of time up to {shown}, such as 90s, 5m, 1h30m or 7d"))
}

/// Whole days or weeks, which a `SignedDuration` does not know: not all of them have 24 hours where clocks are changed, and
/// here they do.
fn days(text: &str) -> Option<Duration> {
    let (number, seconds) = match (text.strip_suffix('d'), text.strip_suffix('w')) {
        (Some(days), _) => (days, 86_400),
        (None, Some(weeks)) => (weeks, 7 * 86_400),
        (None, None) => return None,
    };
    number.trim().parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// As [`duration`] reads it.
pub(super) fn shown_duration(time: Duration) -> Value {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    Value::String(match (seconds, millis) {
        (0, millis) => format!("{millis}ms"),
        (seconds, 0) if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        (seconds, 0) if seconds % 60 == 0 => format!("{}m", seconds / 60),
        (seconds, 0) => format!("{seconds}s"),
        (seconds, millis) => format!("{seconds}s {millis}ms"),
    })
}

/// One of some words.
pub(super) fn one_of<T: Copy>(value: &Value, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| value.as_str().is_some_and(|text| text.trim() == *word));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("it must be one of {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_a_range_that_goes_up() {
        let read = |text: &str| ports(&Value::String(text.to_owned()));
        assert_eq!(read("10100-10200"), Ok(10100..=10200));
        assert_eq!(read("7 - 7"), Ok(7..=7));
        assert_eq!(ports(&Value::Integer(8)), Ok(8..=8));
        for text in ["", "0-5", "9-8", "1-70000", "a", "1-2-3", "-1"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_of_a_catalog_holds_no_password_and_no_error_repeats_one() {
        let read = |text: &str| catalog(&Value::String(text.to_owned()));
        for text in ["mysql://hub@db/hub?ssl-mode=REQUIRED", "mariadb://hub@db:3307/hub", "/srv/catalog.db"] {
            assert_eq!(read(text), Ok(Some(text.to_owned())));
        }
        assert_eq!(read(" "), Ok(None));
        for (text, part) in [
            ("mysql://hub:s3cret@db/hub", "catalog_password_file"),
            ("mysql://hub:s3cret@db", "names no database"),
            ("mysql://hub:s3cret@db:port/hub", "is no address"),
            ("mysql://hub:s3cret@db/hub?s3cret=1", "no option"),
            ("postgres://hub:s3cret@db/hub", "no kind of catalog"),
            ("catalog.db", "absolute path"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(part) && !error.contains("hub:s3cret"), "{text}: {error}");
        }
        assert!(catalog(&Value::Integer(1)).is_err());
    }

    #[test]
    fn spans_of_time_are_read_as_they_are_shown() {
        for (text, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("7", 7000),
            ("250ms", 250),
            ("1d", 86_400_000),
        ] {
            let time = duration(&Value::String(text.to_owned())).unwrap();
            assert_eq!(time, Duration::from_millis(millis), "{text}");
            assert_eq!(duration(&shown_duration(time)).unwrap(), time, "{text}");
        }
        for text in ["", "0", "-5s", "soon", "2 weeks", "25h", "2d", "d", "-1d", "1w"] {
            assert!(duration(&Value::String(text.to_owned())).is_err(), "{text}");
        }
        assert!(duration(&Value::Integer(-1)).is_err());
        let month = Duration::from_secs(30 * 86_400);
        for (text, days) in [("7d", 7), ("1w", 7), ("30d", 30)] {
            let time = duration_up_to(&Value::String(text.to_owned()), month, "30 days").unwrap();
            assert_eq!(time, Duration::from_secs(days * 86_400), "{text}");
        }
    }
}
