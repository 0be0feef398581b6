//! Which part of the data a verification reads: `10%`, `1/7` or `20G`.

use model::ByteSize;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A part of the stored data.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Subset {
    /// A random sample of that many percent, above 0 and at most 100.
    Percent(f64),
    /// One of several equal parts, the same bytes each time: all parts together are everything.
    Part {
        /// Which, from 1.
        part: u32,
        /// Of how many.
        of: u32,
    },
    /// A random sample of about that many bytes.
    Bytes(ByteSize),
}

/// A text that names no part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no part of the data: write a percentage (10%), a part (1/7) or a size (20G)")]
pub struct SubsetError(String);

impl FromStr for Subset {
    type Err = SubsetError;

    fn from_str(text: &str) -> Result<Self, SubsetError> {
        let error = || SubsetError(text.chars().take(40).collect());
        let trimmed = text.trim();
        if let Some(number) = trimmed.strip_suffix('%') {
            let percent: f64 = number.trim().parse().map_err(|_| error())?;
            return if percent > 0.0 && percent <= 100.0 {
                Ok(Subset::Percent(percent))
            } else {
                Err(error())
            };
        }
        if let Some((part, of)) = trimmed.split_once('/') {
            let part: u32 = part.trim().parse().map_err(|_| error())?;
            let of: u32 = of.trim().parse().map_err(|_| error())?;
            return if (1..=of).contains(&part) { Ok(Subset::Part { part, of }) } else { Err(error()) };
        }
        match trimmed.parse::<ByteSize>() {
            Ok(size) if size.0 > 0 => Ok(Subset::Bytes(size)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Subset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subset::Percent(percent) => write!(f, "{percent}%"),
            Subset::Part { part, of } => write!(f, "{part}/{of}"),
            // Exact: the rounded form that people read would not read back as the same size.
            Subset::Bytes(size) => write!(f, "{}", size.0),
        }
    }
}

impl TryFrom<String> for Subset {
    type Error = SubsetError;
    fn try_from(text: String) -> Result<Self, SubsetError> {
        text.parse()
    }
}

impl From<Subset> for String {
    fn from(subset: Subset) -> String {
        subset.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_read_and_others_are_refused() {
        assert_eq!("10%".parse(), Ok(Subset::Percent(10.0)));
        assert_eq!("1/7".parse(), Ok(Subset::Part { part: 1, of: 7 }));
        assert_eq!("20G".parse(), Ok(Subset::Bytes(ByteSize(20 << 30))));
        for text in ["", "0%", "101%", "NaN%", "0/7", "8/7", "1/0", "0", "-1", "x", "1/2/3"] {
            assert!(text.parse::<Subset>().is_err(), "{text}");
        }
        for text in ["2.5%", "3/7", "4097"] {
            assert_eq!(text.parse::<Subset>().unwrap().to_string(), text);
        }
    }
}
