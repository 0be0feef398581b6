//! Telling a disk image of another format from a raw disk, by the bytes it begins with.
//!
//! Never used to choose a format: what a guest can write into its raw disk must not decide how the host
//! reads it. Only to refuse what was taken as raw by its name and is likely something else.

use crate::{Error, Result};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The formats' marks: where they are, what they are, whose they are.
///
/// QCOW2: QEMU's `docs/interop/qcow2.rst`, Header. VMDK: VMware's "Virtual Disk Format 5.0", hosted sparse
/// extents and descriptor files, and `COWD` of the older sparse extents. VHDX: [MS-VHDX] 2.2.1. VDI: the
/// header's signature 0xBEDA107F behind 64 bytes of text.
const MARKS: [(usize, &[u8], &str); 6] = [
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
];

/// The format that `path` begins like: `qcow2`, `vmdk`, `vhdx`, `vdi`, or `None` for anything else.
///
/// # Errors
/// Where it can't be opened or read.
pub fn sniff(path: &Path) -> Result<Option<&'static str>> {
    let failed = |operation, source| Error::Open { operation, name: path.display().to_string(), source };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed("open", error.into()))?;
    let file = File::from(file);
    let mut head = [0; 68];
    let mut length = 0;
    while length < head.len() {
        match file.read_at(&mut head[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", error)),
        }
    }
    let head = &head[..length];
    let found = MARKS.iter().find(|(at, mark, _)| head.get(*at..).is_some_and(|tail| tail.starts_with(mark)));
    Ok(found.map(|(_, _, format)| *format))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn marks_are_seen_where_they_belong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        for (at, mark, format) in MARKS {
            let mut bytes = vec![0; 512];
            bytes[at..at + mark.len()].copy_from_slice(mark);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(sniff(&path).unwrap(), Some(format));
            fs::write(&path, &bytes[..at + mark.len() - 1]).unwrap();
            assert_eq!(sniff(&path).unwrap(), None);
            bytes.insert(0, 0);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(sniff(&path).unwrap(), None);
        }
        fs::write(&path, "").unwrap();
        assert_eq!(sniff(&path).unwrap(), None);
        assert!(sniff(folder.path()).is_err());
        assert!(sniff(&folder.path().join("missing")).is_err());
    }
}
