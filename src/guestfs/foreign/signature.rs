//! Formats that have a magic number at a fixed place.

use super::{Foreign, peek, text, uuid};
use crate::device::ReadAt;
use crate::{Fields, Result};

/// Where a format keeps its magic number and what else is told of it. Places are in bytes from the beginning.
struct Signature {
    kind: &'static str,
    magic: (u64, &'static [u8]),
    label: Label,
    /// Sixteen bytes.
    uuid: Option<u64>,
    /// What else has to be right, where the magic number alone is too short to be believed.
    check: Option<Check>,
}

/// A label.
enum Label {
    None,
    /// Bytes, ending with NUL: place and length.
    Text(u64, usize),
    /// UTF-16, little-endian, ending with NUL: place and length in bytes.
    Wide(u64, usize),
    /// A length of one byte, and so many bytes of at most this many.
    Counted(u64, usize),
}

/// More than the magic number: place, length, and whether these bytes fit.
type Check = (u64, usize, fn(&Fields<'_>) -> Result<bool>);

const fn at(kind: &'static str, place: u64, magic: &'static [u8]) -> Signature {
    Signature { kind, magic: (place, magic), label: Label::None, uuid: None, check: None }
}

const fn described(kind: &'static str, magic: (u64, &'static [u8]), label: Label, uuid: u64) -> Signature {
    Signature { kind, magic, label, uuid: Some(uuid), check: None }
}

const fn named(kind: &'static str, magic: (u64, &'static [u8]), label: Label) -> Signature {
    Signature { kind, magic, label, uuid: None, check: None }
}

const fn checked(kind: &'static str, magic: (u64, &'static [u8]), check: Check) -> Signature {
    Signature { kind, magic, label: Label::None, uuid: None, check: Some(check) }
}

/// Of two that could both fit, the one that says more stands first.
static SIGNATURES: &[Signature] = &[
    at("ReFS", 0, b"\0\0\0ReFS\0\0\0\0"),
    described("apfs", (32, b"NXSB"), Label::None, 72),
    at("hfsplus", 1024, b"H+\0\x04"),
    at("hfsplus", 1024, b"HX\0\x05"),
    // HFS+ in an envelope of HFS.
    checked("hfsplus", (1024 + 124, b"H+"), (1024, 24, is_hfs)),
    Signature { label: Label::Counted(1024 + 36, 27), ..checked("hfs", (1024, b"BD"), (1024, 24, is_hfs)) },
    // The superblocks of UFS2 and UFS1 have three places, and either byte order.
    named("ufs", (65536 + 1372, b"\x19\x01\x54\x19"), Label::Text(65536 + 680, 32)),
    named("ufs", (65536 + 1372, b"\x19\x54\x01\x19"), Label::Text(65536 + 680, 32)),
    at("ufs", 8192 + 1372, b"\x54\x19\x01\0"),
    at("ufs", 8192 + 1372, b"\0\x01\x19\x54"),
    named("ufs", (8192 + 1372, b"\x19\x01\x54\x19"), Label::Text(8192 + 680, 32)),
    named("ufs", (8192 + 1372, b"\x19\x54\x01\x19"), Label::Text(8192 + 680, 32)),
    named("ufs", (262_144 + 1372, b"\x19\x01\x54\x19"), Label::Text(262_144 + 680, 32)),
    described("f2fs", (1024, b"\x10\x20\xF5\xF2"), Label::Wide(1024 + 124, 1024), 1024 + 108),
    described("jfs", (32768, b"JFS1"), Label::Text(32768 + 152, 16), 32768 + 136),
    described("reiserfs", (65536 + 52, b"ReIsErFs"), Label::None, 65536 + 84),
    described("reiserfs", (65536 + 52, b"ReIsEr2Fs"), Label::Text(65536 + 100, 16), 65536 + 84),
    described("reiserfs", (65536 + 52, b"ReIsEr3Fs"), Label::Text(65536 + 100, 16), 65536 + 84),
    at("reiserfs", 8192 + 52, b"ReIsErFs"),
    described("reiser4", (65536, b"ReIsEr4"), Label::Text(65536 + 36, 16), 65536 + 20),
    described(
        "bcachefs",
        (4096 + 24, b"\xC6\x85\x73\xF6\x66\xCE\x90\xA9\xD9\x6A\x60\xCF\x80\x3D\xF7\xEF"),
        Label::Text(4096 + 72, 32),
        4096 + 56,
    ),
    described(
        "bcache",
        (4096 + 24, b"\xC6\x85\x73\xF6\x4E\x1A\x45\xCA\x82\x65\xF5\x7F\x48\xBA\x6D\x81"),
        Label::None,
        4096 + 40,
    ),
    checked("squashfs", (0, b"hsqs"), (28, 2, |fields| Ok((1..=4).contains(&fields.le16(0)?)))),
    checked("squashfs", (0, b"sqsh"), (28, 2, |fields| Ok((1..=4).contains(&fields.be16(0)?)))),
    described("erofs", (1024, b"\xE2\xE1\xF5\xE0"), Label::Text(1024 + 64, 16), 1024 + 48),
    checked("minix", (1040, b"\x7F\x13"), (1024, 24, is_minix)),
    checked("minix", (1040, b"\x8F\x13"), (1024, 24, is_minix)),
    checked("minix", (1040, b"\x68\x24"), (1024, 24, is_minix)),
    checked("minix", (1040, b"\x78\x24"), (1024, 24, is_minix)),
    checked("minix", (1048, b"\x5A\x4D"), (1024, 30, is_minix3)),
    Signature {
        check: Some((1024, 4, |fields| Ok(fields.le32(0)? == 2))),
        ..described("nilfs2", (1024 + 6, b"\x34\x34"), Label::Text(1024 + 168, 80), 1024 + 152)
    },
    described("ocfs2", (1024, b"OCFSV2"), Label::Text(1024 + 272, 64), 1024 + 336),
    described("ocfs2", (2048, b"OCFSV2"), Label::Text(2048 + 272, 64), 2048 + 336),
    described("ocfs2", (4096, b"OCFSV2"), Label::Text(4096 + 272, 64), 4096 + 336),
    described("ocfs2", (8192, b"OCFSV2"), Label::Text(8192 + 272, 64), 8192 + 336),
    described("gfs2", (65536, b"\x01\x16\x19\x70\0\0\0\x01"), Label::Text(65536 + 160, 64), 65536 + 256),
    named("befs", (544, b"1SFB"), Label::Text(512, 32)),
    at("vxfs", 1024, b"\xF5\xFC\x01\xA5"),
    Signature {
        label: Label::Text(48, 16),
        ..checked(
            "cramfs",
            (0, b"\x45\x3D\xCD\x28"),
            (16, 16, |fields| Ok(fields.as_slice() == b"Compressed ROMFS")),
        )
    },
    named("romfs", (0, b"-rom1fs-"), Label::Text(16, 16)),
    described("VMFS", (2 << 20, b"\x5E\xF1\xAB\x2F"), Label::Text((2 << 20) + 29, 128), (2 << 20) + 9),
    at("VMFS_volume_member", 1 << 20, b"\x0D\xD0\x01\xC0"),
    at("stratis", 512 + 4, b"!Stra0tis\x86\xFF\x02^\x41rh"),
    at("vdo", 0, b"dmvdo001"),
    at("ceph_bluestore", 0, b"bluestore block device"),
    at("iso9660 (High Sierra)", 32768 + 9, b"CDROM\x01"),
];

/// A master directory block of HFS: it has blocks, of a size that is a multiple of 512 bytes.
fn is_hfs(fields: &Fields<'_>) -> Result<bool> {
    let size = fields.be32(20)?;
    Ok(fields.be16(0)? == 0x4244 && size != 0 && size.is_multiple_of(512))
}

/// A superblock of Minix 1 or 2: both maps are there, zones are blocks, and no unknown state is set.
fn is_minix(fields: &Fields<'_>) -> Result<bool> {
    let [inodes, inode_map, zone_map, first_zone] = [0, 4, 6, 8].map(|at| fields.le16(at));
    let (inode_map, zone_map, first_zone) = (inode_map?, zone_map?, first_zone?);
    let maps =
        inode_map != 0 && zone_map != 0 && u32::from(inode_map) + u32::from(zone_map) < u32::from(first_zone);
    Ok(inodes? != 0 && maps && fields.le16(10)? == 0 && fields.le16(18)? <= 3)
}

/// The same of Minix 3, whose blocks have 1024 bytes or more.
fn is_minix3(fields: &Fields<'_>) -> Result<bool> {
    let maps = fields.le16(6)? != 0 && fields.le16(8)? != 0;
    let block = fields.le16(28)?;
    Ok(fields.le32(0)? != 0 && maps && fields.le16(12)? == 0 && block >= 1024 && block.is_power_of_two())
}

/// The first signature that fits.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub(super) fn recognise(device: &dyn ReadAt) -> Result<Option<Foreign>> {
    for signature in SIGNATURES {
        let (place, magic) = signature.magic;
        if peek(device, place, magic.len())?.is_none_or(|bytes| bytes != magic) {
            continue;
        }
        if let Some((place, length, fits)) = signature.check {
            let bytes = peek(device, place, length)?.unwrap_or_default();
            if !fits(&Fields::new(signature.kind, &bytes)).unwrap_or(false) {
                continue;
            }
        }
        let found = match signature.label {
            Label::None => None,
            Label::Text(place, length) => peek(device, place, length)?.and_then(|bytes| text(&bytes)),
            Label::Wide(place, length) => peek(device, place, length)?.and_then(|bytes| wide(&bytes)),
            Label::Counted(place, length) => peek(device, place, length + 1)?
                .and_then(|bytes| text(bytes.get(1..1 + usize::from(bytes[0]).min(length))?)),
        };
        let id = match signature.uuid {
            Some(place) => peek(device, place, 16)?.and_then(|bytes| uuid(&bytes)),
            None => None,
        };
        return Ok(Some(Foreign { label: found, uuid: id, ..Foreign::of(signature.kind) }));
    }
    Ok(None)
}

/// UTF-16 up to the first NUL.
fn wide(bytes: &[u8]) -> Option<String> {
    let units =
        bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    let text: String =
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    (!text.is_empty()).then_some(text)
}
