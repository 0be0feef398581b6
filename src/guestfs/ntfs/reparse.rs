//! Reparse points: links, special files of Linux, and content that a filter driver of Windows would bring.
//!
//! [MS-FSCC] 2.1.2 for the tags and their data; the tags of the Windows Subsystem for Linux as its kernel driver writes
//! them.

use super::name::units;
use super::wof::Method;
use crate::{Error, Fields, Result, wtf8};

/// The most bytes of a reparse point that are read: Windows allows 16 KiB.
pub const MAX_BYTES: usize = 17 << 10;
/// The most bytes of extended attributes: Windows allows 64 KiB.
pub const MAX_EA: usize = 66 << 10;

/// What a reparse point makes of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reparse {
    /// A link, its target in bytes with `/`.
    Link(Vec<u8>),
    /// A link from the root of its own volume, the target without the `/` that it begins with.
    FromRoot(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device, its numbers in the extended attribute `$LXDEV`.
    CharDevice,
    /// A block device, its numbers there too.
    BlockDevice,
    /// A placeholder of a cloud: a folder of it holds what it lists, a file of it does not hold its content.
    Cloud,
    /// Compressed by the Windows Overlay Filter.
    Compressed(Method),
    /// What a folder lists, or a file holds, is made by a driver. Names it.
    Filtered(String),
}

/// What the value of a `$REPARSE_POINT` says.
///
/// # Errors
/// [`Error::Corrupt`] where a link has no target; [`Error::Unsupported`] for a link of an unknown version.
pub fn parse(bytes: &[u8]) -> Result<Reparse> {
    let point = Fields::new("a reparse point", bytes);
    let tag = point.le32(0)?;
    let data = point.part(8, usize::from(point.le16(4)?))?;
    Ok(match tag {
        0xa000_0003 => absolute(&path(&data, 8)?)?,
        0xa000_000c => {
            let relative = data.le32(8)? & 1 != 0;
            let path = path(&data, 12)?;
            match path.split_first() {
                _ if !relative => absolute(&path)?,
                Some((&BACKSLASH, rest)) => Reparse::FromRoot(slashes(rest)?),
                _ => Reparse::Link(slashes(&path)?),
            }
        }
        0xa000_001d => match data.le32(0)? {
            2 => Reparse::Link(checked(data.bytes(4, data.len() - 4)?.to_vec())?),
            version => return Err(Error::unsupported(format!("a Linux link of version {version}"))),
        },
        0x8000_0023 => Reparse::Socket,
        0x8000_0024 => Reparse::Fifo,
        0x8000_0025 => Reparse::CharDevice,
        0x8000_0026 => Reparse::BlockDevice,
        0x8000_0017 => wof(&data),
        _ if tag & 0xffff_0fff == 0x9000_001a || tag == 0x8000_0021 => Reparse::Cloud,
        _ => Reparse::Filtered(other(tag)),
    })
}

const BACKSLASH: u16 = b'\\' as u16;

/// The substitute name of a junction or link, whose buffer begins at `buffer`.
fn path(data: &Fields<'_>, buffer: usize) -> Result<Vec<u16>> {
    let (at, length) = (usize::from(data.le16(0)?), usize::from(data.le16(2)?));
    Ok(units(data.bytes(buffer + at, length)?))
}

/// `\??\C:\Users` is `/C/Users`; other things that an object manager knows keep their names.
fn absolute(path: &[u16]) -> Result<Reparse> {
    let text = slashes(path)?;
    let rest = [&b"/??/"[..], b"//?/"].iter().find_map(|prefix| text.strip_prefix(*prefix)).unwrap_or(&text);
    let mut target = vec![b'/'];
    match rest {
        [letter, b':', after @ ..] if letter.is_ascii_alphabetic() => {
            target.push(letter.to_ascii_uppercase());
            target.extend(after);
        }
        _ => target.extend(rest.strip_prefix(b"/").unwrap_or(rest)),
    }
    while target.len() > 1 && target.ends_with(b"/") {
        target.pop();
    }
    Ok(Reparse::Link(target))
}

fn slashes(path: &[u16]) -> Result<Vec<u8>> {
    let mut bytes = wtf8::from_utf16(path.iter().copied());
    for byte in bytes.iter_mut().filter(|byte| **byte == b'\\') {
        *byte = b'/';
    }
    checked(bytes)
}

/// A target is not empty and has no NUL.
pub fn checked(target: Vec<u8>) -> Result<Vec<u8>> {
    if target.is_empty() || target.contains(&0) {
        return Err(Error::corrupt("a symbolic link", "its target is empty or has a NUL"));
    }
    Ok(target)
}

/// What the Windows Overlay Filter makes of it.
fn wof(data: &Fields<'_>) -> Reparse {
    let (provider, number) = (data.le32(4).unwrap_or(0), data.le32(12).unwrap_or(u32::MAX));
    match Method::new(number).filter(|_| provider == 2) {
        Some(method) => Reparse::Compressed(method),
        None if provider == 1 => Reparse::Filtered("WOF compression (a file inside of a WIM archive)".into()),
        None => Reparse::Filtered("WOF compression of an unknown method".into()),
    }
}

fn other(tag: u32) -> String {
    let name = match tag {
        0x8000_0013 => "data deduplication",
        0xc000_0004 | 0x8000_0006 => "hierarchical storage",
        0x8000_0007 => "single instance storage",
        0x8000_0008 => "a file inside of a WIM archive (WIMBoot)",
        0x8000_0009 => "a cluster shared volume",
        0x8000_000a | 0x8000_0012 => "a DFS link",
        0x8000_0014 => "a link of the NFS server",
        0x8000_0018 | 0x9000_1018 | 0xa000_001f | 0xa000_0027 => "Windows container isolation",
        0x8000_001b => "an app execution alias",
        0x8000_001e | 0x9000_0027 => "an Azure File Sync placeholder",
        0x9000_001c => "the projected file system",
        _ => return format!("reparse point {tag:#010x}"),
    };
    format!("{name} (reparse point {tag:#010x})")
}

/// The value of an extended attribute out of an `$EA`.
///
/// # Errors
/// [`Error::Corrupt`] where an entry lies outside of it.
pub fn extended<'a>(bytes: &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>> {
    let fields = Fields::new("an $EA", bytes);
    let mut at = 0;
    while at < bytes.len() {
        let (next, length) = (fields.le32(at)? as usize, usize::from(fields.u8(at + 5)?));
        if fields.bytes(at + 8, length)?.eq_ignore_ascii_case(name) {
            return Ok(Some(fields.bytes(at + 9 + length, usize::from(fields.le16(at + 6)?))?));
        }
        if next < 8 {
            break;
        }
        at += next;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A junction or link to `target`.
    fn link(tag: u32, flags: Option<u32>, target: &str) -> Vec<u8> {
        let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let mut data = Vec::new();
        for field in [0, name.len() as u16, name.len() as u16, 0] {
            data.extend(field.to_le_bytes());
        }
        data.extend(flags.map(u32::to_le_bytes).into_iter().flatten());
        data.extend(name);
        let mut point = tag.to_le_bytes().to_vec();
        point.extend((data.len() as u16).to_le_bytes());
        point.extend([0, 0]);
        point.extend(data);
        point
    }

    fn target(point: &[u8]) -> String {
        match parse(point).unwrap() {
            Reparse::Link(target) => String::from_utf8(target).unwrap(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_of_windows_in_slashes() {
        let junction = |path| target(&link(0xa000_0003, None, path));
        assert_eq!(junction(r"\??\C:\Users\All Users"), "/C/Users/All Users");
        assert_eq!(junction(r"\??\d:\"), "/D");
        assert_eq!(
            junction(r"\??\Volume{12345678-0000-0000-0000-100000000000}\"),
            "/Volume{12345678-0000-0000-0000-100000000000}"
        );
        let symlink = |flags, path| target(&link(0xa000_000c, Some(flags), path));
        assert_eq!(symlink(0, r"\??\C:\ProgramData"), "/C/ProgramData");
        assert_eq!(symlink(0, r"\??\UNC\server\share\ä"), "/UNC/server/share/ä");
        assert_eq!(symlink(1, r"..\a\b"), "../a/b");
        let from_root = parse(&link(0xa000_000c, Some(1), r"\a\b")).unwrap();
        assert_eq!(from_root, Reparse::FromRoot(b"a/b".to_vec()));
        assert!(parse(&link(0xa000_000c, Some(1), "")).is_err());
        assert!(parse(&link(0xa000_000c, Some(1), "a\0b")).is_err());
    }

    #[test]
    fn what_is_refused_is_named() {
        let tagged = |tag: u32, data: &[u8]| {
            let mut point = tag.to_le_bytes().to_vec();
            point.extend((data.len() as u16).to_le_bytes());
            point.extend([0, 0]);
            point.extend(data);
            parse(&point).unwrap()
        };
        let wof = tagged(0x8000_0017, &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(wof, Reparse::Compressed(Method::Lzx));
        let Reparse::Filtered(name) = tagged(0x8000_0017, &[1, 0, 0, 0, 1, 0, 0, 0]) else { panic!() };
        assert!(name.contains("WIM archive"), "{name}");
        let Reparse::Filtered(name) = tagged(0x8000_0013, &[]) else { panic!() };
        assert!(name.contains("deduplication"), "{name}");
        assert_eq!(tagged(0x9000_601a, &[]), Reparse::Cloud);
        let Reparse::Filtered(name) = tagged(0x8000_7777, &[]) else { panic!() };
        assert!(name.contains("0x80007777"), "{name}");
        assert!(parse(&[0x17, 0, 0, 0x80, 9, 0, 0, 0]).is_err(), "data that is not there");
    }

    #[test]
    fn extended_attributes_by_name() {
        let mut bytes = vec![16, 0, 0, 0, 0, 3, 2, 0, b'A', b'B', b'C', 0, 1, 2, 0, 0];
        bytes.extend([0, 0, 0, 0, 0, 1, 1, 0, b'D', 0, 9]);
        assert_eq!(extended(&bytes, b"abc").unwrap(), Some(&[1, 2][..]));
        assert_eq!(extended(&bytes, b"D").unwrap(), Some(&[9][..]));
        assert_eq!(extended(&bytes, b"E").unwrap(), None);
        assert!(extended(&bytes[..25], b"D").is_err());
        assert_eq!(extended(&[], b"D").unwrap(), None);
    }
}
