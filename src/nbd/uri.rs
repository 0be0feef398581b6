//! NBD URIs, as NBD's `doc/uri.md` and RFC 3986 define them.
//!
//! ```text
//! nbd://host[:port]/export            nbds://…         TCP, plain or TLS; port 10809 unless given
//! nbd+unix:///export?socket=/path     nbds+unix:///…   a Unix socket
//! ```
//! Parameters: `socket`, `tls-certificates` (a folder with `ca-cert.pem`, and `client-cert.pem` and
//! `client-key.pem` where the server wants to know its clients), `tls-hostname` (the name the server's
//! certificate must carry, where it is not the host's), `tls-verify-peer` (only true: this client always
//! verifies), `tls-type` (only x509). Anything else is refused by name rather than ignored.

use std::fmt::{self, Write as _};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The port that IANA assigned to NBD.
pub const DEFAULT_PORT: u16 = 10809;

/// Longest URI that is looked at, bytes.
const LONGEST: usize = 16 << 10;

/// Where an export is and how to get there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Uri {
    address: Address,
    export: String,
    tls: Option<Tls>,
}

/// The server's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// A host name or IP address (IPv6 without brackets) and a port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

/// How TLS is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tls {
    /// The folder with `ca-cert.pem` and, optionally, `client-cert.pem` and `client-key.pem`.
    pub certificates: Option<PathBuf>,
    /// The name to expect in the server's certificate, where it is not the host's.
    pub hostname: Option<String>,
}

/// Why a text is not an NBD URI that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UriError(String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, UriError> {
    Err(UriError(reason.into()))
}

impl Uri {
    /// An export on a Unix socket, without TLS.
    pub fn unix(socket: impl Into<PathBuf>, export: impl Into<String>) -> Self {
        Uri { address: Address::Unix(socket.into()), export: export.into(), tls: None }
    }

    /// An export at an address, with TLS where it is given.
    pub fn new(address: Address, export: impl Into<String>, tls: Option<Tls>) -> Self {
        Uri { address, export: export.into(), tls }
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The export's name, decoded; may be empty.
    pub fn export(&self) -> &str {
        &self.export
    }

    /// How TLS is to be done; `None` for a plain connection.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }
}

impl FromStr for Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        if text.len() > LONGEST {
            return refuse(format!("an NBD URI of {} bytes is too long", text.len()));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse(format!(
                "'{}' is not an NBD URI: write nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=PATH",
                text.chars().take(200).collect::<String>()
            ));
        };
        let (unix, secure) = match scheme.to_ascii_lowercase().as_str() {
            "nbd" => (false, false),
            "nbds" => (false, true),
            "nbd+unix" => (true, false),
            "nbds+unix" => (true, true),
            other => {
                return refuse(format!("the scheme '{other}' is none of nbd, nbds, nbd+unix, nbds+unix"));
            }
        };
        if rest.contains('#') {
            return refuse("an NBD URI has no '#' part; write %23 for a '#' in a name");
        }
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = before.split_once('/').unwrap_or((before, ""));
        let export = decode("the export name", path)?;
        if export.contains('\0') {
            return refuse("the export name contains a NUL");
        }
        if export.len() > crate::wire::LONGEST_STRING {
            return refuse("the export name is longer than 4096 bytes");
        }
        let parameters = Parameters::parse(query)?;
        let address = match (unix, parameters.socket) {
            (true, Some(socket)) => {
                if !authority.is_empty() {
                    return refuse(format!(
                        "a Unix socket has no host: write {scheme}:///{authority}… with three slashes"
                    ));
                }
                Address::Unix(socket)
            }
            (true, None) => return refuse(format!("a {scheme} URI needs the parameter socket=PATH")),
            (false, Some(_)) => {
                return refuse(format!("'socket' needs the scheme {scheme}+unix, not {scheme}"));
            }
            (false, None) => parse_authority(authority)?,
        };
        let tls = match (secure, parameters.tls_used) {
            (true, _) => Some(parameters.tls),
            (false, Some(name)) => {
                return refuse(format!("'{name}' needs TLS: write {}", scheme.replacen("nbd", "nbds", 1)));
            }
            (false, None) => None,
        };
        Ok(Uri { address, export, tls })
    }
}

/// The query part, decoded.
#[derive(Default)]
struct Parameters {
    socket: Option<PathBuf>,
    tls: Tls,
    /// The first TLS parameter that was named.
    tls_used: Option<&'static str>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, UriError> {
        let mut all = Parameters::default();
        for pair in query.split(['&', ';']).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = decode("a parameter's name", key)?;
            let value = decode(&format!("the value of '{key}'"), value)?;
            let repeated = match key.as_str() {
                "socket" => all.socket.replace(socket_path(&value)?).is_some(),
                "tls-certificates" => {
                    all.tls_used = Some("tls-certificates");
                    if value.is_empty() {
                        return refuse("'tls-certificates' is empty: name the folder with ca-cert.pem");
                    }
                    all.tls.certificates.replace(PathBuf::from(value)).is_some()
                }
                "tls-hostname" => {
                    all.tls_used = Some("tls-hostname");
                    all.tls.hostname.replace(value).is_some()
                }
                "tls-verify-peer" => {
                    all.tls_used = Some("tls-verify-peer");
                    if !matches!(value.as_str(), "1" | "true" | "yes" | "on") {
                        return refuse(format!(
                            "'tls-verify-peer={value}' is not supported: the server's certificate is always verified; name its authority with tls-certificates=DIR"
                        ));
                    }
                    false
                }
                "tls-type" => {
                    all.tls_used = Some("tls-type");
                    if value != "x509" {
                        return refuse(format!("'tls-type={value}' is not supported, only x509"));
                    }
                    false
                }
                other => {
                    return refuse(format!(
                        "unknown parameter '{other}' (known: socket, tls-certificates, tls-hostname, tls-verify-peer, tls-type)"
                    ));
                }
            };
            if repeated {
                return refuse(format!("the parameter '{key}' is given twice"));
            }
        }
        Ok(all)
    }
}

fn socket_path(value: &str) -> Result<PathBuf, UriError> {
    // `sun_path` of unix(7) holds 108 bytes, the closing NUL included.
    if value.is_empty() {
        refuse("'socket' is empty: name the Unix socket's path")
    } else if value.starts_with('\0') {
        refuse("abstract Unix sockets are not supported")
    } else if value.contains('\0') {
        refuse("the socket's path contains a NUL")
    } else if value.len() > 107 {
        refuse(format!(
            "the socket's path has {} bytes, Unix sockets allow 107: use a shorter one",
            value.len()
        ))
    } else {
        Ok(PathBuf::from(value))
    }
}

fn parse_authority(authority: &str) -> Result<Address, UriError> {
    if authority.contains('@') {
        return refuse("user names in NBD URIs are not supported");
    }
    let (host, port) = if let Some(inner) = authority.strip_prefix('[') {
        let Some((host, rest)) = inner.split_once(']') else {
            return refuse("an IPv6 address in brackets must end with ']'");
        };
        let host = decode("the host", host)?;
        let bare = host.split('%').next().unwrap_or_default();
        if bare.parse::<Ipv6Addr>().is_err() {
            return refuse(format!("'{bare}' is not an IPv6 address"));
        }
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port),
            None if rest.is_empty() => None,
            None => return refuse(format!("'{rest}' after the IPv6 address is not a port")),
        };
        (host, port.map(str::to_owned))
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        if port.is_some_and(|port| port.contains(':')) {
            return refuse(format!("an IPv6 address must stand in brackets: [{authority}]"));
        }
        (decode("the host", host)?, port.map(str::to_owned))
    };
    if host.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/') {
        return refuse("the host contains a character that no host name has");
    }
    let port = match port.as_deref() {
        None | Some("") => DEFAULT_PORT,
        Some(port) => match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => number,
            _ => return refuse(format!("'{port}' is not a port (1 to 65535)")),
        },
    };
    let host = if host.is_empty() { "localhost".to_owned() } else { host };
    Ok(Address::Tcp { host, port })
}

/// Percent-decoding; `what` names the part in the error.
fn decode(what: &str, text: &str) -> Result<String, UriError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit =
            |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
            return refuse(format!("{what} has a '%' without two hexadecimal digits; write %25 for a '%'"));
        };
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).or_else(|_| refuse(format!("{what} is not UTF-8")))
}

/// Percent-encoding of all but unreserved characters and those in `keep`.
fn encode(out: &mut fmt::Formatter<'_>, bytes: &[u8], keep: &[u8]) -> fmt::Result {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
            out.write_char(char::from(byte))?;
        } else {
            write!(out, "%{byte:02X}")?;
        }
    }
    Ok(())
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secure = if self.tls.is_some() { "s" } else { "" };
        match &self.address {
            Address::Tcp { host, port } => {
                write!(f, "nbd{secure}://")?;
                if host.contains(':') {
                    f.write_char('[')?;
                    encode(f, host.as_bytes(), b":")?;
                    f.write_char(']')?;
                } else {
                    encode(f, host.as_bytes(), b"")?;
                }
                if *port != DEFAULT_PORT {
                    write!(f, ":{port}")?;
                }
                f.write_char('/')?;
            }
            Address::Unix(_) => write!(f, "nbd{secure}+unix:///")?,
        }
        encode(f, self.export.as_bytes(), b"/:@!$'()*,;=+")?;
        let mut separator = '?';
        let mut parameter = |f: &mut fmt::Formatter<'_>, name: &str, value: &[u8]| {
            write!(f, "{separator}{name}=")?;
            separator = '&';
            encode(f, value, b"/:@")
        };
        let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
        if let Address::Unix(path) = &self.address {
            parameter(f, "socket", &bytes(path))?;
        }
        if let Some(tls) = &self.tls {
            if let Some(folder) = &tls.certificates {
                parameter(f, "tls-certificates", &bytes(folder))?;
            }
            if let Some(name) = &tls.hostname {
                parameter(f, "tls-hostname", name.as_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Uri {
        text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    fn error(text: &str) -> String {
        text.parse::<Uri>().err().map_or_else(|| panic!("{text} was taken"), |e| e.to_string())
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn the_forms_of_the_specification_are_read() {
        for (text, address, export) in [
            ("nbd://example.com/disk", tcp("example.com", 10809), "disk"),
            ("nbd://example.com/", tcp("example.com", 10809), ""),
            ("nbd://example.com", tcp("example.com", 10809), ""),
            ("nbd://example.com//disk", tcp("example.com", 10809), "/disk"),
            ("nbd://example.com:10/hello%20world", tcp("example.com", 10), "hello world"),
            ("NBD://[::1]:2000/a?", tcp("::1", 2000), "a"),
            ("nbd://[fe80::1%25eth0]/a", tcp("fe80::1%eth0", 10809), "a"),
            ("nbd+unix:///d?socket=sock", Address::Unix("sock".into()), "d"),
            ("nbd+unix:///?socket=/a%20b/c%3f", Address::Unix("/a b/c?".into()), ""),
            ("nbd:///x", tcp("localhost", 10809), "x"),
        ] {
            let uri = parse(text);
            assert_eq!((uri.address(), uri.export()), (&address, export), "{text}");
            assert!(uri.tls().is_none());
            assert_eq!(parse(&uri.to_string()), uri, "{text} → {uri}");
        }
    }

    #[test]
    fn tls_parameters_are_read_and_shown_again() {
        let uri =
            parse("nbds://h/x?tls-certificates=/etc/my%20pki&tls-hostname=backup.example&tls-verify-peer=1");
        let tls = uri.tls().cloned().unwrap_or_default();
        assert_eq!(tls.certificates.as_deref(), Some(Path::new("/etc/my pki")));
        assert_eq!(tls.hostname.as_deref(), Some("backup.example"));
        assert_eq!(uri.to_string(), "nbds://h/x?tls-certificates=/etc/my%20pki&tls-hostname=backup.example");
        assert!(parse("nbds+unix:///?socket=/s").tls().is_some());
    }

    #[test]
    fn every_refusal_names_what_is_wrong() {
        for (text, word) in [
            ("nbd:localhost:10809", "nbd://HOST"),
            ("http://h/x", "'http'"),
            ("nbd://h:0/x", "'0'"),
            ("nbd://h:70000/x", "'70000'"),
            ("nbd://h:+1/x", "'+1'"),
            ("nbd://::1/x", "brackets"),
            ("nbd://[::1/x", "']'"),
            ("nbd://[nonsense]/x", "'nonsense'"),
            ("nbd://[::1]x/x", "'x'"),
            ("nbd://u@h/x", "user names"),
            ("nbd://h/%zz", "export name"),
            ("nbd://h/%ff", "UTF-8"),
            ("nbd://h/%00", "NUL"),
            ("nbd://h/a#b", "%23"),
            ("nbd+unix:///x", "socket=PATH"),
            ("nbd+unix://x?socket=/s", "three slashes"),
            ("nbd+unix:///x?socket=", "empty"),
            ("nbd+unix:///x?socket=%00/a", "abstract"),
            ("nbd+unix:///x?socket=/a&socket=/b", "twice"),
            ("nbd://h/x?socket=/s", "nbd+unix"),
            ("nbd://h/x?tls-certificates=/s", "nbds"),
            ("nbd+unix:///x?socket=/s&tls-hostname=n", "nbds+unix"),
            ("nbds://h/x?tls-verify-peer=0", "always verified"),
            ("nbds://h/x?tls-type=psk", "psk"),
            ("nbd://h/x?colour=red", "'colour'"),
            (&format!("nbd+unix:///x?socket=/{}", "a".repeat(107)), "108 bytes"),
            (&"x".repeat(20_000), "too long"),
        ] {
            let message = error(text);
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}
