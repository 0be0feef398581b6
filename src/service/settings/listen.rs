//! An address to listen on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TLS.
    Https(SocketAddr),
    /// Plain HTTP, on loopback.
    Http(SocketAddr),
    /// A Unix socket to which every user of this machine may connect.
    Unix(PathBuf),
}

impl Listen {
    /// TLS, for this machine only.
    pub(super) fn usual() -> Self {
        Listen::Https(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), api::DEFAULT_PORT))
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no address to listen on: write https://0.0.0.0:8082 or unix:///PATH");
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') { Ok(Listen::Unix(path.into())) } else { Err(wrong()) };
        }
        let (scheme, place) = text.split_once("://").ok_or_else(wrong)?;
        let place = place.trim_end_matches('/').replacen("localhost", "127.0.0.1", 1);
        let address = place
            .parse::<SocketAddr>()
            .or_else(|_| {
                let bare = place.trim_start_matches('[').trim_end_matches(']');
                bare.parse::<IpAddr>().map(|address| SocketAddr::new(address, api::DEFAULT_PORT))
            })
            .map_err(|_| wrong())?;
        match scheme {
            "https" => Ok(Listen::Https(address)),
            "http" if address.ip().is_loopback() => Ok(Listen::Http(address)),
            "http" => Err(format!(
                "{text:?} would send passwords and tokens in the clear: plain HTTP is for 127.0.0.1 and [::1]"
            )),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Https(address) => write!(f, "https://{address}"),
            Listen::Http(address) => write!(f, "http://{address}"),
            Listen::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_only() {
        for (text, shown) in [
            ("https://0.0.0.0:443", "https://0.0.0.0:443"),
            ("https://0.0.0.0", "https://0.0.0.0:8082"),
            ("https://[::]", "https://[::]:8082"),
            ("http://localhost:80", "http://127.0.0.1:80"),
            ("http://[::1]:80", "http://[::1]:80"),
            ("unix:///run/hub.sock", "unix:///run/hub.sock"),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), shown, "{text}");
        }
        for text in [
            "http://0.0.0.0:80",
            "http://192.0.2.1",
            "https://hub.example:1",
            "8082",
            "unix:run",
            "ftp://[::1]",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
