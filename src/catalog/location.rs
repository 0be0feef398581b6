//! Where a catalog is: a file, or a database on a MariaDB server.
//!
//! Written as a path, or as `mysql://USER@HOST[:PORT]/DATABASE` (`mariadb://` is the same), with
//! `?socket=/run/mysqld/mysqld.sock` for a server on this machine and `ssl-mode`, `ssl-ca`, `ssl-cert`,
//! `ssl-key` for its certificate. A password may stand in the address where that is in a file that only its owner
//! reads; it is shown nowhere: what is printed or logged of an address never holds it.

use crate::engine::Address;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a catalog is.
#[derive(Clone)]
pub enum Location {
    /// In this file.
    File(PathBuf),
    /// On a server.
    Server(Server),
}

/// A database on a MariaDB server, with the way to get in.
#[derive(Clone)]
pub struct Server(pub(crate) Box<Address>);

/// A text that names no catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LocationError(pub(crate) String);

impl Location {
    /// The same with this password, where it is a server's.
    #[must_use]
    pub fn with_password(self, password: &str) -> Location {
        match self {
            Location::Server(Server(address)) => {
                Location::Server(Server(Box::new(address.with_password(password))))
            }
            file => file,
        }
    }

    /// True where the text that it was read from held a password.
    pub fn has_password(&self) -> bool {
        matches!(self, Location::Server(Server(address)) if address.has_password())
    }

    /// Its file, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Location::File(path) => Some(path),
            Location::Server(_) => None,
        }
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if text.is_empty() {
            return Err(LocationError("a catalog is a file or mysql://USER@HOST/DATABASE".to_owned()));
        }
        match text.split_once("://") {
            Some(("mysql" | "mariadb", rest)) => {
                Address::parse(rest).map(|address| Location::Server(Server(Box::new(address))))
            }
            Some((scheme, _)) => Err(LocationError(format!(
                "{scheme}:// is no kind of catalog: give a file or mysql://USER@HOST/DATABASE"
            ))),
            None => Ok(Location::File(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::File(path) => path.display().fmt(f),
            Location::Server(Server(address)) => address.fmt(f),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password_and_with_nothing_else_missing() {
        for (text, shown) in [
            ("/var/lib/sendense/catalog.db", "/var/lib/sendense/catalog.db"),
            ("mysql://sendense:s3cr%40t@db.example/hub", "mysql://sendense@db.example/hub"),
            ("mariadb://sendense@db.example:3307/hub", "mysql://sendense@db.example:3307/hub"),
            (
                "mysql://sendense:s3cret@localhost/hub?socket=/run/mysqld/mysqld.sock",
                "mysql://sendense@localhost/hub?socket=/run/mysqld/mysqld.sock",
            ),
            ("mysql://s:s3cret@[::1]/hub?ssl-mode=REQUIRED", "mysql://s@[::1]/hub"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), shown);
            assert!(!format!("{location:?}").contains("s3cr"), "{location:?}");
            assert_eq!(location.has_password(), text.contains("s3cr"));
            let with = location.with_password("s3cret");
            assert!(!format!("{with} {with:?}").contains("s3cret"));
        }
    }

    #[test]
    fn what_names_no_catalog_says_what_would() {
        for (text, reason) in [
            ("", "mysql://USER@HOST/DATABASE"),
            ("postgres://db/hub", "postgres:// is no kind of catalog"),
            ("mysql://sendense@db.example", "names no database"),
            ("mysql://sendense@db.example/", "names no database"),
            ("mysql://db.example/hub", "names no user"),
            ("mysql://s@db.example:port/hub", "is no address"),
            ("mysql://s@db.example/hub?ssl_mode=REQUIRED", "ssl_mode is no option"),
            ("mysql://s@db.example/hub?ssl-mode=often", "ssl-mode"),
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let error = "mysql://s:s3cret@db:port/hub".parse::<Location>().unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
