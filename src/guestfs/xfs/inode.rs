//! Inodes (XFS Algorithms & Data Structures, "On-disk Inode").

use crate::xfs::checksum;
use crate::xfs::superblock::Superblock;
use crate::{Error, Fields, FileKind, Result, Stat, Timestamp};

/// `IN`.
pub(super) const MAGIC: u16 = 0x494e;
const FLAG_REALTIME: u16 = 1;
const FLAG2_BIGTIME: u64 = 1 << 3;
const FLAG2_BIG_COUNTERS: u64 = 1 << 4;
/// Times of [`FLAG2_BIGTIME`] count nanoseconds from 2³¹ seconds before 1970.
const BIGTIME_EPOCH: i64 = 1 << 31;

/// How a fork of an inode stores what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// A device number.
    Device,
    /// The content itself.
    Local,
    /// A list of extents.
    Extents,
    /// The root of a B+tree of extents.
    Btree,
}

impl Format {
    fn from_disk(number: u8) -> Option<Self> {
        match number {
            0 => Some(Format::Device),
            1 => Some(Format::Local),
            2 => Some(Format::Extents),
            3 => Some(Format::Btree),
            _ => None,
        }
    }
}

/// Which fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Which {
    Data,
    Attributes,
}

/// A fork: its form, its bytes inside of the inode, how many extents it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fork<'a> {
    pub format: Format,
    pub bytes: &'a [u8],
    pub extents: u64,
}

/// An inode, checked.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub number: u64,
    pub stat: Stat,
    /// Whether the content lies on the realtime device.
    pub realtime: bool,
    bytes: Vec<u8>,
    core: usize,
    format: Format,
    attribute_format: Format,
    /// Where the fork of attributes begins in the inode; 0 for none.
    attributes_at: usize,
    extents: u64,
    attribute_extents: u64,
}

impl Inode {
    /// Checks `bytes`, which were read where inode `number` has to be.
    pub fn parse(superblock: &Superblock, number: u64, bytes: Vec<u8>) -> Result<Self> {
        let corrupt = |reason: String| Error::corrupt(format!("inode {number}"), reason);
        let f = Fields::new("an inode", &bytes);
        if f.be16(0)? != MAGIC {
            return Err(corrupt("it does not begin with IN".into()));
        }
        let version = f.u8(4)?;
        if superblock.v5 {
            if version != 3 {
                return Err(corrupt(format!("its version is {version} in a file system of version 5")));
            }
            checksum::verify(&bytes, 100).map_err(corrupt)?;
            if f.be64(152)? != number {
                return Err(corrupt(format!("it calls itself {}", f.be64(152)?)));
            }
            if f.array::<16>(160)? != superblock.meta_uuid {
                return Err(corrupt("it belongs to another file system".into()));
            }
        } else if !(1..=2).contains(&version) {
            return Err(corrupt(format!("its version is {version} in a file system of version 4")));
        }
        let core = superblock.inode_core();
        let mode = f.be16(2)?;
        let kind = match mode & 0o170_000 {
            0o100_000 => FileKind::File,
            0o040_000 => FileKind::Directory,
            0o120_000 => FileKind::Symlink,
            0o020_000 => FileKind::CharDevice,
            0o060_000 => FileKind::BlockDevice,
            0o010_000 => FileKind::Fifo,
            0o140_000 => FileKind::Socket,
            0 => return Err(corrupt("it is free".into())),
            other => return Err(corrupt(format!("its kind is {other:o}"))),
        };
        let flags2 = if superblock.v5 { f.be64(120)? } else { 0 };
        let (extents, attribute_extents) = if flags2 & FLAG2_BIG_COUNTERS != 0 {
            (f.be64(24)?, f.be32(76)?.into())
        } else {
            (f.be32(76)?.into(), f.be16(80)?.into())
        };
        let format = Format::from_disk(f.u8(5)?);
        let format = match (kind, format) {
            (FileKind::File, Some(format @ (Format::Extents | Format::Btree)))
            | (
                FileKind::Directory | FileKind::Symlink,
                Some(format @ (Format::Local | Format::Extents | Format::Btree)),
            ) => format,
            (
                FileKind::CharDevice | FileKind::BlockDevice | FileKind::Fifo | FileKind::Socket,
                Some(Format::Device),
            ) => Format::Device,
            _ => return Err(corrupt(format!("its content is of the form {}", f.u8(5)?))),
        };
        let attributes_at = match usize::from(f.u8(82)?) {
            0 => 0,
            units => core + units * 8,
        };
        if attributes_at >= bytes.len() {
            return Err(corrupt("its attributes begin after its end".into()));
        }
        let attribute_format = match Format::from_disk(f.u8(83)?) {
            Some(format @ (Format::Local | Format::Extents | Format::Btree)) => format,
            // What is written where there are none does not matter.
            _ if attributes_at == 0 => Format::Extents,
            _ => return Err(corrupt(format!("its attributes are of the form {}", f.u8(83)?))),
        };
        let size = f.be64(56)?;
        if size > i64::MAX as u64 {
            return Err(corrupt(format!("its size is {size}")));
        }
        let allocated = f
            .be64(64)?
            .checked_mul(superblock.block_size.into())
            .ok_or_else(|| corrupt("its number of blocks".into()))?;
        let device = match kind {
            FileKind::CharDevice | FileKind::BlockDevice => {
                let number = f.be32(core)?;
                Some(((number >> 18) & 0x3fff, number & 0x3_ffff))
            }
            _ => None,
        };
        let bigtime = flags2 & FLAG2_BIGTIME != 0;
        let time = |at: usize| -> Result<Timestamp> {
            if bigtime {
                let nanos = f.be64(at)?;
                return Ok(Timestamp {
                    seconds: (nanos / 1_000_000_000) as i64 - BIGTIME_EPOCH,
                    nanos: (nanos % 1_000_000_000) as u32,
                });
            }
            let nanos = f.be32(at + 4)?;
            if nanos >= 1_000_000_000 {
                return Err(corrupt(format!("a time has {nanos} nanoseconds")));
            }
            Ok(Timestamp { seconds: i64::from(f.be32(at)? as i32), nanos })
        };
        let stat = Stat {
            kind,
            mode: u32::from(mode & 0o7777),
            uid: f.be32(8)?,
            gid: f.be32(12)?,
            links: if version == 1 { f.be16(6)?.into() } else { f.be32(16)?.into() },
            size,
            allocated,
            device,
            accessed: time(32)?,
            modified: time(40)?,
            changed: time(48)?,
            created: if superblock.v5 { Some(time(144)?) } else { None },
        };
        Ok(Inode {
            number,
            realtime: f.be16(90)? & FLAG_REALTIME != 0 && kind == FileKind::File,
            stat,
            core,
            format,
            attribute_format,
            attributes_at,
            extents,
            attribute_extents,
            bytes,
        })
    }

    /// The fork with the content.
    pub fn data(&self) -> Fork<'_> {
        let end = if self.attributes_at == 0 { self.bytes.len() } else { self.attributes_at };
        Fork { format: self.format, bytes: &self.bytes[self.core..end], extents: self.extents }
    }

    /// The fork with the extended attributes.
    pub fn attributes(&self) -> Option<Fork<'_>> {
        (self.attributes_at != 0).then(|| Fork {
            format: self.attribute_format,
            bytes: &self.bytes[self.attributes_at..],
            extents: self.attribute_extents,
        })
    }

    pub fn fork(&self, which: Which) -> Option<Fork<'_>> {
        match which {
            Which::Data => Some(self.data()),
            Which::Attributes => self.attributes(),
        }
    }

    /// What holding it in memory costs.
    pub fn cost(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    /// An error about it.
    pub fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(format!("inode {}", self.number), reason)
    }
}
