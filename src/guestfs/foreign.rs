//! What is not read here, recognised by name: so that a volume is refused as what it is, and swap space is known.
//!
//! The names are those of `blkid`. A format is known by its magic number, with a second look at what stands beside it
//! where the number is a short one. Ask for the file systems that are read first: some of what is recognised here keeps
//! its mark where those have other things.
//!
//! Not here: containers and members of volume managers (LUKS, BitLocker, LVM, md), which the layers know.

mod signature;
mod swap;
mod zfs;

use crate::device::{ReadAt, read_vec};
use crate::{Result, iso9660};

/// A volume whose content is known, and not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The type as `blkid` names it: `zfs_member`, `hfsplus`, `swap`, `swsuspend`.
    pub kind: &'static str,
    /// The label, where it has one.
    pub label: Option<String>,
    /// The identity as `blkid` writes it.
    pub uuid: Option<String>,
    /// Whether it is swap space, also when a suspended system lies in it.
    pub is_swap: bool,
}

impl Foreign {
    fn of(kind: &'static str) -> Self {
        Foreign { kind, label: None, uuid: None, is_swap: false }
    }
}

/// What the volume is; `None` where it is nothing that is known here.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Foreign>> {
    for ask in [swap::recognise, signature::recognise, zfs::recognise] {
        if let Some(foreign) = ask(device)? {
            return Ok(Some(foreign));
        }
    }
    let udf = iso9660::recognise_udf(device)?;
    Ok(udf.map(|udf| Foreign { label: udf.label, uuid: udf.uuid, ..Foreign::of(udf.kind) }))
}

/// The `length` bytes at `at`, where the device has them.
fn peek(device: &dyn ReadAt, at: u64, length: usize) -> Result<Option<Vec<u8>>> {
    match at.checked_add(length as u64) {
        Some(end) if end <= device.size() => read_vec(device, at, length).map(Some),
        _ => Ok(None),
    }
}

/// Text up to the first NUL, without spaces behind it; `None` where there is none.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end]);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Sixteen bytes as a UUID; `None` where they are all zero.
fn uuid(bytes: &[u8]) -> Option<String> {
    if bytes.len() != 16 || bytes.iter().all(|byte| *byte == 0) {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    /// An image with some bytes in it.
    fn image(parts: &[(usize, &[u8])]) -> MemoryDevice {
        let mut bytes = vec![0; 3 << 20];
        for (at, part) in parts {
            bytes[*at..*at + part.len()].copy_from_slice(part);
        }
        MemoryDevice(bytes)
    }

    fn kind(parts: &[(usize, &[u8])]) -> Option<&'static str> {
        recognise(&image(parts)).unwrap().map(|foreign| foreign.kind)
    }

    #[test]
    fn formats_are_known_by_their_marks() {
        for (expected, parts) in [
            ("ReFS", &[(0, &b"\0\0\0ReFS\0\0\0\0"[..])][..]),
            ("apfs", &[(32, b"NXSB")]),
            ("hfsplus", &[(1024, b"H+\0\x04")]),
            ("hfsplus", &[(1024, b"HX\0\x05")]),
            ("hfsplus", &[(1024, b"BD"), (1024 + 20, b"\0\0\x10\0"), (1024 + 124, b"H+")]),
            ("hfs", &[(1024, b"BD"), (1024 + 20, b"\0\0\x10\0")]),
            ("ufs", &[(8192 + 1372, b"\x54\x19\x01\0")]),
            ("ufs", &[(8192 + 1372, b"\0\x01\x19\x54")]),
            ("ufs", &[(65536 + 1372, b"\x19\x01\x54\x19")]),
            ("reiser4", &[(65536, b"ReIsEr4")]),
            (
                "bcachefs",
                &[(4096 + 24, &b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef"[..])],
            ),
            (
                "bcache",
                &[(4096 + 24, &b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"[..])],
            ),
            ("VMFS", &[(2 << 20, b"\x5e\xf1\xab\x2f")]),
            ("gfs2", &[(65536, b"\x01\x16\x19\x70\0\0\0\x01")]),
            ("ocfs2", &[(4096, b"OCFSV2")]),
            ("befs", &[(544, b"1SFB")]),
            ("swsuspend", &[(4086, b"S1SUSPEND")]),
            ("swsuspend", &[(0, b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c")]),
        ] {
            assert_eq!(kind(parts), Some(expected), "{parts:?}");
        }
        assert_eq!(kind(&[]), None);
        assert_eq!(kind(&[(1024, b"BD")]), None, "blocks of no size");
        assert_eq!(kind(&[(1040, b"\x7f\x13")]), None, "no map of inodes");
        assert_eq!(recognise(&MemoryDevice(vec![])).unwrap(), None);
        assert_eq!(recognise(&MemoryDevice(vec![0xFF; 5000])).unwrap(), None);
    }

    #[test]
    fn a_pool_of_zfs_says_its_name() {
        let label = 16 << 10;
        let mut list = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let mut pair = |name: &str, kind: u32, value: &[u8]| {
            let mut bytes = [0u32.to_be_bytes(), (name.len() as u32).to_be_bytes()].concat();
            bytes.extend(name.as_bytes());
            bytes.resize(8 + name.len().next_multiple_of(4), 0);
            bytes.extend([kind.to_be_bytes(), 1u32.to_be_bytes()].concat());
            bytes.extend(value);
            let size = (bytes.len() as u32 + 4).to_be_bytes();
            list.extend(size.iter().chain(&bytes));
        };
        pair("version", 8, &5000u64.to_be_bytes());
        pair("name", 9, b"\0\0\0\x04tank");
        pair("pool_guid", 8, &1234u64.to_be_bytes());
        let magic = 0x00BA_B10Cu64.to_le_bytes();
        let block = |number: usize| ((128 + number) << 10, &magic[..]);
        let parts = [block(0), block(4), block(8), block(9), (label, &list[..])];
        let found = recognise(&image(&parts)).unwrap().unwrap();
        assert_eq!(
            (found.kind, found.label.as_deref(), found.uuid.as_deref()),
            ("zfs_member", Some("tank"), Some("1234"))
        );
        assert_eq!(kind(&parts[..2]), None, "too few");
    }
}
