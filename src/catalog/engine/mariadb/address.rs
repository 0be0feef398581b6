//! `mysql://USER[:PASSWORD]@HOST[:PORT]/DATABASE[?options]`, taken apart and shown without its password.
//!
//! Towards another machine the server must prove who it is (`ssl-mode=VERIFY_IDENTITY`) unless the address asks
//! for less; on this machine encryption is taken where the server offers it.

use crate::location::LocationError;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use std::fmt;

/// A database on a server, with the way to get in.
#[derive(Clone)]
pub(crate) struct Address {
    options: MySqlConnectOptions,
    shown: String,
    has_password: bool,
}

/// Options of an address; all others are refused by name.
const OPTIONS: [&str; 5] = ["socket", "ssl-mode", "ssl-ca", "ssl-cert", "ssl-key"];

impl Address {
    /// What stands behind `mysql://`.
    pub(crate) fn parse(rest: &str) -> Result<Address, LocationError> {
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = location.split_once('/').unwrap_or((location, ""));
        let fail = |reason: &str| LocationError(format!("{reason}: give mysql://USER@HOST/DATABASE"));
        let Some((user, host)) = authority.rsplit_once('@') else {
            return Err(fail("the catalog's address names no user"));
        };
        let (user, has_password) = match user.split_once(':') {
            Some((user, password)) => (user, !password.is_empty()),
            None => (user, false),
        };
        if user.is_empty() {
            return Err(fail("the catalog's address names no user"));
        }
        if database.is_empty() {
            return Err(fail("the catalog's address names no database"));
        }
        let mut shown = format!("mysql://{user}@{host}/{database}");
        let mut has_mode = false;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let key = pair.split_once('=').map_or(pair, |(key, _)| key);
            if !OPTIONS.contains(&key) {
                return Err(LocationError(format!(
                    "{key} is no option of the catalog's address: there are {}",
                    OPTIONS.join(", ")
                )));
            }
            has_mode |= key == "ssl-mode";
            if key == "socket" {
                shown = format!("{shown}?{pair}");
            }
        }
        // What the driver says of an address may hold all of it, so only its options are quoted.
        let parsed: Result<MySqlConnectOptions, sqlx::Error> = format!("mysql://{rest}").parse();
        let mut options = parsed.map_err(|error| match error {
            sqlx::Error::Configuration(reason) if has_mode && reason.to_string().contains("ssl_mode") => {
                LocationError(format!("ssl-mode: {reason}"))
            }
            _ => fail(&format!("{host}/{database} is no address")),
        })?;
        // The driver hands the host to the resolver, which knows no brackets.
        if let Some(host) = options.get_host().strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            let host = host.to_owned();
            options = options.host(&host);
        }
        if !has_mode {
            let mode = match () {
                () if options.get_socket().is_some() => MySqlSslMode::Disabled,
                () if is_this_machine(options.get_host()) => MySqlSslMode::Preferred,
                () => MySqlSslMode::VerifyIdentity,
            };
            options = options.ssl_mode(mode);
        }
        // The tables' own, so that what a query compares is compared as they do.
        options = options.collation("utf8mb4_nopad_bin").pipes_as_concat(false);
        Ok(Address { options, shown, has_password })
    }

    pub(crate) fn with_password(self, password: &str) -> Address {
        Address { options: self.options.password(password), has_password: true, ..self }
    }

    pub(crate) fn has_password(&self) -> bool {
        self.has_password
    }

    /// For the driver, which logs every statement otherwise.
    pub(super) fn options(&self) -> MySqlConnectOptions {
        use sqlx::ConnectOptions as _;
        self.options.clone().disable_statement_logging()
    }
}

fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}
