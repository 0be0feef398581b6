//! Where a hub is, as people write it: `https://hub.example:8082`, `http://127.0.0.1:8082`, `unix:///run/sendense.sock`.
//!
//! A name without a scheme is HTTPS, a missing port is [`DEFAULT_PORT`]. Plain HTTP goes to this machine only: over
//! a network it would show passwords and tokens to whoever listens. Nothing is resolved or opened here.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of a hub where none is said.
pub const DEFAULT_PORT: u16 = 8082;

/// Where a hub is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HubAddress {
    /// A Unix socket of this machine.
    Socket(PathBuf),
    /// A server.
    Network {
        /// HTTPS, or plain HTTP to this machine.
        tls: bool,
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// A text that is no address of a hub.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubAddressError {
    /// It can't be read.
    #[error("{0:?} is no address of a hub: write https://HOST:PORT or unix:///PATH")]
    Unreadable(String),
    /// Plain HTTP over a network.
    #[error(
        "{0} would send passwords and tokens in the clear: plain http:// is for this machine only, write https://"
    )]
    Clear(String),
    /// Credentials in the address, which would end up in histories and logs.
    #[error("an address holds no user name or password: log in with sendense-ctl hub login")]
    Credentials,
}

impl FromStr for HubAddress {
    type Err = HubAddressError;

    fn from_str(text: &str) -> Result<Self, HubAddressError> {
        let unreadable = || HubAddressError::Unreadable(text.to_owned());
        let trimmed = text.trim();
        if let Some(path) = trimmed.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(HubAddress::Socket(path.into()))
            } else {
                Err(unreadable())
            };
        }
        let (tls, rest) = match trimmed.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(unreadable()),
            None => (true, trimmed),
        };
        let rest = rest.strip_suffix("/api/v1").or_else(|| rest.strip_suffix("/api/v1/")).unwrap_or(rest);
        let rest = rest.trim_end_matches('/');
        if rest.contains('@') {
            return Err(HubAddressError::Credentials);
        }
        let (host, port) = split(rest).ok_or_else(unreadable)?;
        if !tls && !is_loopback(&host) {
            return Err(HubAddressError::Clear(text.to_owned()));
        }
        Ok(HubAddress::Network { tls, host, port })
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn split(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
        }
        None => text.rsplit_once(':').unwrap_or((text, "")),
    };
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(known) || (host.contains(':') && !text.starts_with('[')) {
        return None;
    }
    let port = if port.is_empty() { DEFAULT_PORT } else { port.parse().ok().filter(|port| *port != 0)? };
    Some((host.to_owned(), port))
}

/// Whether a name or address means this machine.
fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

impl HubAddress {
    /// What a request's URI begins with.
    pub(super) fn base(&self) -> String {
        match self {
            // A socket has no name; the server does not look at it.
            HubAddress::Socket(_) => "http://localhost".to_owned(),
            network => network.to_string(),
        }
    }
}

impl fmt::Display for HubAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HubAddress::Socket(path) => write!(f, "unix://{}", path.display()),
            HubAddress::Network { tls, host, port } => {
                let scheme = if *tls { "https" } else { "http" };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")
                } else {
                    write!(f, "{scheme}://{host}:{port}")
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, shown) in [
            ("https://hub.example", "https://hub.example:8082"),
            ("hub.example", "https://hub.example:8082"),
            ("hub.example:443", "https://hub.example:443"),
            ("https://hub.example:443/", "https://hub.example:443"),
            ("https://hub.example:443/api/v1", "https://hub.example:443"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:8082"),
            ("https://[2001:db8::1]:99", "https://[2001:db8::1]:99"),
            ("http://127.0.0.1:80", "http://127.0.0.1:80"),
            ("http://localhost", "http://localhost:8082"),
            ("http://[::1]:8082", "http://[::1]:8082"),
            ("unix:///run/hub.sock", "unix:///run/hub.sock"),
            ("unix:/run/hub.sock", "unix:///run/hub.sock"),
        ] {
            assert_eq!(text.parse::<HubAddress>().unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "",
            "https://",
            "ftp://h",
            "https://h:0",
            "https://h:99999",
            "https://a b",
            "unix:x",
            "2001:db8::1",
            "https://h/x",
        ] {
            assert!(matches!(text.parse::<HubAddress>(), Err(HubAddressError::Unreadable(_))), "{text}");
        }
        for text in ["http://hub.example", "http://10.0.0.1:8082", "http://127.0.0.1.example"] {
            assert!(matches!(text.parse::<HubAddress>(), Err(HubAddressError::Clear(_))), "{text}");
        }
        assert_eq!("https://me:secret@h".parse::<HubAddress>(), Err(HubAddressError::Credentials));
    }
}
