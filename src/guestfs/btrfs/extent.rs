//! Extent items: what of a file lies where.
//!
//! Layout: `struct btrfs_file_extent_item` of the kernel's `btrfs_tree.h`.

use super::compression::Compression;
use crate::{Error, Fields, Result};

/// Where the data of an inline extent begins.
pub const INLINE_AT: usize = 21;

/// The most bytes that a compressed extent has in either form. The kernel's own bound is 128 KiB.
pub const MAX_COMPRESSED: u64 = 1 << 20;

/// An extent of a file.
#[derive(Debug, Clone)]
pub struct Extent {
    /// Its first byte in the file.
    pub start: u64,
    /// The first byte after it; more than `start`.
    pub end: u64,
    pub content: Content,
}

/// What an extent holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// Zeros: a hole, or space that is allocated and was never written.
    Hole,
    /// In the item: bytes, compressed or not, and how many they are when they are not.
    Inline { compression: Compression, length: u64, bytes: Vec<u8> },
    /// At a logical address, as it is.
    Plain { logical: u64 },
    /// A part of something compressed.
    Compressed { packed: Packed, offset: u64 },
}

/// A compressed extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packed {
    pub logical: u64,
    pub length: u64,
    /// Bytes when it is not compressed.
    pub unpacked: u64,
    pub compression: Compression,
}

/// The kinds of extents, as they are stored.
pub const INLINE: u8 = 0;
pub const REGULAR: u8 = 1;
pub const PREALLOCATED: u8 = 2;

impl Extent {
    /// The extent at byte `start` of a file.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Encrypted`]; [`Error::Unsupported`] for an encoding that is not known.
    pub fn read(start: u64, item: &[u8], sector: u32) -> Result<Self> {
        let fields = Fields::new("an extent item", item);
        let sector = u64::from(sector);
        let ram = fields.le64(8)?;
        if fields.u8(17)? != 0 {
            return Err(Error::Encrypted("the content of this file".into()));
        }
        if fields.le16(18)? != 0 {
            return Err(Error::unsupported(format!("the extent encoding {}", fields.le16(18)?)));
        }
        let compression = Compression::from_number(fields.u8(16)?)?;
        let kind = fields.u8(20)?;
        if kind == INLINE {
            let bytes = fields.bytes(INLINE_AT, item.len().saturating_sub(INLINE_AT))?.to_vec();
            if ram > u64::from(u16::MAX) + 1 || ram == 0 || start != 0 {
                return Err(fields.corrupt(format!("{ram} bytes inline at {start}")));
            }
            if compression == Compression::None && bytes.len() as u64 != ram {
                return Err(
                    fields.corrupt(format!("{} bytes inline, which call themselves {ram}", bytes.len()))
                );
            }
            // The rest of its sector is zeros.
            let end = ram.next_multiple_of(sector);
            return Ok(Extent { start, end, content: Content::Inline { compression, length: ram, bytes } });
        }
        if kind != REGULAR && kind != PREALLOCATED {
            return Err(fields.corrupt(format!("its kind is {kind}")));
        }
        let (logical, length) = (fields.le64(21)?, fields.le64(29)?);
        let (offset, bytes) = (fields.le64(37)?, fields.le64(45)?);
        let end = start
            .checked_add(bytes)
            .filter(|_| bytes > 0 && start.is_multiple_of(sector) && bytes.is_multiple_of(sector))
            .ok_or_else(|| fields.corrupt(format!("{bytes} bytes at {start}")))?;
        if logical == 0 || kind == PREALLOCATED {
            return Ok(Extent { start, end, content: Content::Hole });
        }
        let last = offset.checked_add(bytes);
        let inside = |bound: u64| last.is_some_and(|last| last <= bound);
        if !logical.is_multiple_of(sector) || logical.checked_add(length).is_none() {
            return Err(fields.corrupt(format!("{length} bytes at the address {logical}")));
        }
        let content = if compression == Compression::None {
            if !inside(length) || !offset.is_multiple_of(sector) {
                return Err(fields.corrupt(format!("{bytes} bytes at {offset} of {length}")));
            }
            Content::Plain { logical: logical + offset }
        } else {
            if !inside(ram)
                || ram > MAX_COMPRESSED
                || length > MAX_COMPRESSED
                || !length.is_multiple_of(sector)
            {
                return Err(fields.corrupt(format!("{bytes} bytes at {offset} of {ram}, packed in {length}")));
            }
            Content::Compressed { packed: Packed { logical, length, unpacked: ram, compression }, offset }
        };
        Ok(Extent { start, end, content })
    }
}
