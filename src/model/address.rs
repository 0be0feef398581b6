//! How a person names a restore point: an id, a unique prefix, `latest`, `latest~2`, `VM@latest`,
//! `VM@2025-10-06`.
//!
//! Parsing only; which points match is the hub's to say.

use crate::{IdError, VmName};
use jiff::civil::{Date, DateTime};
use std::fmt;
use std::str::FromStr;

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A backup id or the beginning of one.
    Prefix(String),
    /// A choice among the completed points of a VM, or of all VMs where none is named.
    Of(Option<VmName>, Pick),
}

/// Which of the points, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// `latest` is 0, `latest~2` the third newest.
    Latest(u32),
    /// The newest point of that day, in the user's time zone.
    Day(Date),
    /// The newest point at or before that moment, in the user's time zone.
    At(DateTime),
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing was given.
    #[error(
        "the backup's address is empty: give an id, a prefix of one, latest, latest~2, VM@latest or VM@2025-10-06"
    )]
    Empty,
    /// The part before `@` is no VM name.
    #[error(transparent)]
    Vm(#[from] IdError),
    /// The part after `@`, or a `latest~…`, can't be read.
    #[error("{0:?} is no point in time: write latest, latest~2, 2025-10-06 or 2025-10-06T03:00")]
    Pick(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if let Some((vm, pick)) = text.rsplit_once('@') {
            return Ok(Address::Of(Some(VmName::new(vm)?), pick.parse()?));
        }
        if text == "latest" || text.starts_with("latest~") {
            return Ok(Address::Of(None, text.parse()?));
        }
        Ok(Address::Prefix(text.to_owned()))
    }
}

impl FromStr for Pick {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError::Pick(text.to_owned());
        if text == "latest" {
            return Ok(Pick::Latest(0));
        }
        if let Some(back) = text.strip_prefix("latest~") {
            return back.parse().map(Pick::Latest).map_err(|_| error());
        }
        if let Ok(date) = text.parse::<Date>()
            && !text.contains([':', 'T', ' '])
        {
            return Ok(Pick::Day(date));
        }
        text.parse::<DateTime>().map(Pick::At).map_err(|_| error())
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pick::Latest(0) => f.write_str("latest"),
            Pick::Latest(back) => write!(f, "latest~{back}"),
            Pick::Day(date) => write!(f, "{date}"),
            Pick::At(time) => write!(f, "{time}"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Prefix(text) => f.write_str(text),
            Address::Of(None, pick) => write!(f, "{pick}"),
            Address::Of(Some(vm), pick) => write!(f, "{vm}@{pick}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_forms_read_and_show_alike() {
        for text in [
            "backup-pg-2025",
            "latest",
            "latest~2",
            "pg@latest",
            "pg test@latest~1",
            "pg@2025-10-06",
            "pg@2025-10-06T03:00:00",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_address_says_what_would_be() {
        for text in ["", "pg@", "pg@yesterday", "pg@latest~x", "@latest", "../x@latest"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
