//! Where a disk is read from, as a person writes it.
//!
//! Forms: `/path/to/disk`, `file:///path?format=raw`, `nbd://host[:port]/export`,
//! `nbds://host[:port]/export?tls-certificates=/dir`, `nbd+unix:///export?socket=/path`,
//! `nbds+unix:///…`, and the word `push` where a client writes the disk. The NBD forms follow NBD's `doc/uri.md`; their details are read by the `nbd` crate.

use crate::state::UnknownWord;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The format of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// The disk's bytes as they are; also block devices.
    Raw,
    /// QCOW2, with its backing chain.
    Qcow2,
    /// VMware.
    Vmdk,
    /// Hyper-V.
    Vhdx,
    /// VirtualBox.
    Vdi,
}

impl ImageFormat {
    const ALL: [(ImageFormat, &'static str); 5] = [
        (ImageFormat::Raw, "raw"),
        (ImageFormat::Qcow2, "qcow2"),
        (ImageFormat::Vmdk, "vmdk"),
        (ImageFormat::Vhdx, "vhdx"),
        (ImageFormat::Vdi, "vdi"),
    ];

    /// The format's name, the same as QEMU's.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(format, _)| *format == self).map_or("raw", |(_, name)| name)
    }

    /// The format that a file's name promises: by its extension, raw where that says nothing.
    pub fn of_name(path: &str) -> ImageFormat {
        let extension = path
            .rsplit('/')
            .next()
            .and_then(|name| name.rsplit_once('.'))
            .map(|(_, e)| e.to_ascii_lowercase());
        match extension.as_deref() {
            Some("qcow2" | "qcow" | "qc2") => ImageFormat::Qcow2,
            Some(name) => name.parse().unwrap_or(ImageFormat::Raw),
            None => ImageFormat::Raw,
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ImageFormat {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.iter().find(|(_, name)| *name == word).map(|(format, _)| *format).ok_or_else(|| {
            UnknownWord {
                word: word.to_owned(),
                what: "image format",
                expected: "raw, qcow2, vmdk, vhdx, vdi".into(),
            }
        })
    }
}

/// The word for [`SourceUri::Push`].
const PUSH: &str = "push";

/// A source or target of a disk's bytes. Serialised as the text a person would write.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SourceUri {
    /// A file or block device of this machine.
    File {
        /// Absolute path.
        path: String,
        /// The format, where it was given; otherwise the name tells ([`ImageFormat::of_name`]). It is
        /// never guessed from the content, which a guest could forge.
        format: Option<ImageFormat>,
    },
    /// An NBD export; the whole URI.
    Nbd(String),
    /// Nowhere that the hub could read: a client writes the disk to the hub.
    Push,
}

/// Why a text is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceUriError {
    /// Nothing was given.
    #[error("the source is empty: give a path, file:///…, nbd://…, nbds://… or nbd+unix://…")]
    Empty,
    /// A path that depends on the current folder.
    #[error("the source {0:?} is a relative path: give an absolute one")]
    Relative(String),
    /// A scheme that has no reader.
    #[error(
        "the source {0:?} has a scheme that is not known: use a path, file, nbd, nbds, nbd+unix or nbds+unix"
    )]
    Scheme(String),
    /// A `file:` URI that can't be read.
    #[error("the source {uri:?} is not a valid file URI: {reason}")]
    File {
        /// As given.
        uri: String,
        /// What is wrong.
        reason: String,
    },
    /// An unknown format.
    #[error(transparent)]
    Format(#[from] UnknownWord),
}

impl SourceUri {
    /// The path, for a file or device of this machine.
    pub fn path(&self) -> Option<&str> {
        match self {
            SourceUri::File { path, .. } => Some(path),
            SourceUri::Nbd(_) | SourceUri::Push => None,
        }
    }

    /// The format in which the bytes are kept: NBD exports are raw.
    pub fn format(&self) -> ImageFormat {
        match self {
            SourceUri::File { path, format } => format.unwrap_or_else(|| ImageFormat::of_name(path)),
            SourceUri::Nbd(_) | SourceUri::Push => ImageFormat::Raw,
        }
    }
}

impl FromStr for SourceUri {
    type Err = SourceUriError;

    fn from_str(text: &str) -> Result<Self, SourceUriError> {
        if text.is_empty() {
            return Err(SourceUriError::Empty);
        }
        if text == PUSH {
            return Ok(SourceUri::Push);
        }
        if text.starts_with('/') {
            return Ok(SourceUri::File { path: text.to_owned(), format: None });
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(SourceUriError::Relative(text.to_owned()));
        };
        match scheme {
            "nbd" | "nbds" | "nbd+unix" | "nbds+unix" if rest.starts_with("//") => {
                Ok(SourceUri::Nbd(text.to_owned()))
            }
            "file" => file_uri(text, rest),
            _ if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && rest.starts_with("//") =>
            {
                Err(SourceUriError::Scheme(text.to_owned()))
            }
            _ => Err(SourceUriError::Relative(text.to_owned())),
        }
    }
}

/// `rest` is what follows `file:` (RFC 8089: an empty authority or `localhost`, then an absolute path).
fn file_uri(uri: &str, rest: &str) -> Result<SourceUri, SourceUriError> {
    let error = |reason: &str| SourceUriError::File { uri: uri.to_owned(), reason: reason.to_owned() };
    let path = match rest.strip_prefix("//") {
        Some(authority) => authority.strip_prefix("localhost").unwrap_or(authority),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err(error("an absolute path must follow file://"));
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut format = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("format", name)) => format = Some(name.parse()?),
            _ => return Err(error("the only option is ?format=")),
        }
    }
    let path = percent_decode(path)
        .ok_or_else(|| error("a % must be followed by two hexadecimal digits, and the whole be UTF-8"))?;
    if path.contains('\0') {
        return Err(error("the path contains a NUL"));
    }
    Ok(SourceUri::File { path, format })
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

impl fmt::Display for SourceUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceUri::File { path, format: None } => f.write_str(path),
            SourceUri::File { path, format: Some(format) } => {
                f.write_str("file://")?;
                for c in path.chars() {
                    if matches!(c, '%' | '?' | '#') || c.is_control() {
                        write!(f, "%{:02X}", u32::from(c))?;
                    } else {
                        write!(f, "{c}")?;
                    }
                }
                write!(f, "?format={format}")
            }
            SourceUri::Nbd(uri) => f.write_str(uri),
            SourceUri::Push => f.write_str(PUSH),
        }
    }
}

impl TryFrom<String> for SourceUri {
    type Error = SourceUriError;
    fn try_from(text: String) -> Result<Self, SourceUriError> {
        text.parse()
    }
}

impl From<SourceUri> for String {
    fn from(uri: SourceUri) -> String {
        uri.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_read_and_show_alike() {
        for text in [
            "/vm/disk 0.raw",
            "file:///vm/50%25?format=qcow2",
            "nbd://h:10809/e",
            "nbds://h/e?tls-certificates=/c",
            "nbd+unix:///e?socket=/run/x",
            "push",
        ] {
            assert_eq!(text.parse::<SourceUri>().unwrap().to_string(), text);
        }
        assert_eq!("file:///vm/disk0.raw".parse::<SourceUri>().unwrap().path(), Some("/vm/disk0.raw"));
        assert_eq!("file://localhost/a%20b".parse::<SourceUri>().unwrap().path(), Some("/a b"));
    }

    #[test]
    fn the_name_tells_the_format_unless_the_uri_does() {
        for (text, format) in [
            ("/a/b.qcow2", ImageFormat::Qcow2),
            ("/a/b.VMDK", ImageFormat::Vmdk),
            ("/a.qcow2/b", ImageFormat::Raw),
            ("/dev/sda", ImageFormat::Raw),
            ("file:///a/b.img?format=qcow2", ImageFormat::Qcow2),
        ] {
            assert_eq!(text.parse::<SourceUri>().unwrap().format(), format, "{text}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused_with_what_would_be() {
        for text in [
            "",
            "disk.raw",
            "./disk.raw",
            "http://h/x",
            "file://host/x",
            "file:///x?format=zip",
            "file:///x?a=b",
            "file:///%zz",
            "file:///a%00b",
        ] {
            assert!(text.parse::<SourceUri>().is_err(), "{text}");
        }
    }
}
