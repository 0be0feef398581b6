//! Inodes ("Index Nodes"): what is known of a file, and where to go on from there.

use super::checksum::{crc32c, inode_seed};
use super::extent::Extent;
use super::feature::{incompat, inode_flag, ro_compat};
use super::superblock::Superblock;
use super::volume::Volume;
use crate::device::read_vec;
use crate::{Error, Fields, FileKind, Result, Stat, Timestamp};
use std::sync::Arc;

/// The root folder's number.
pub(super) const ROOT: u32 = 2;
/// Bytes of an inode of revision 0, before what `i_extra_isize` tells of.
pub(super) const OLD_SIZE: usize = 128;
/// Where `i_block` is, and how long it is.
pub(super) const BLOCK: usize = 0x28;
pub(super) const BLOCK_LENGTH: usize = 60;
const CHECKSUM_LOW: usize = 0x7c;
const CHECKSUM_HIGH: usize = 0x82;

/// An inode, as it lies in its table.
#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub number: u32,
    pub kind: FileKind,
    /// The whole of it, `s_inode_size` bytes.
    pub raw: Vec<u8>,
    pub size: u64,
    pub links: u16,
    pub flags: u32,
    /// The block with extended attributes, 0 where there is none.
    pub attributes: u64,
    /// `i_blocks` in units of 512 bytes.
    pub sectors: u64,
    /// Bytes after the old 128 that are fields; what comes after them may hold extended attributes.
    pub extra: usize,
    /// Whether `extra` was really written.
    pub has_extra: bool,
    /// The first state for checksums of all that belongs to it.
    pub seed: u32,
    /// The mapping after fast commits, where they changed it.
    pub extents: Option<Arc<Vec<Extent>>>,
}

impl Inode {
    /// The bytes of inode `number`; `verify` whether its checksum must be right.
    ///
    /// # Errors
    /// `Corrupt` for a wrong checksum and numbers that none can have.
    pub fn parse(sb: &Superblock, number: u32, raw: Vec<u8>, verify: bool) -> Result<Self> {
        let wrong = |reason: String| Error::corrupt(format!("inode {number}"), reason);
        let field = Fields::new("an inode", &raw);
        let mut extra = 0;
        let mut has_extra = false;
        if raw.len() > OLD_SIZE {
            extra = field.le16(0x80)?.into();
            has_extra = extra != 0;
            if extra % 4 != 0 || OLD_SIZE + extra > raw.len() {
                return Err(wrong(format!("{extra} extra bytes")));
            }
            if extra == 0 {
                extra = 32;
            }
        }
        let seed = inode_seed(sb.seed, number, field.le32(0x64)?);
        if verify && sb.has_checksums() {
            let (mut stored, mut mask) = (u32::from(field.le16(CHECKSUM_LOW)?), 0xffff);
            let mut sum = crc32c(seed, field.bytes(0, CHECKSUM_LOW)?);
            sum = crc32c(sum, &[0, 0]);
            sum = crc32c(sum, field.bytes(CHECKSUM_LOW + 2, OLD_SIZE - CHECKSUM_LOW - 2)?);
            if raw.len() > OLD_SIZE {
                let rest = raw.len() - CHECKSUM_HIGH - 2;
                sum = crc32c(sum, field.bytes(OLD_SIZE, CHECKSUM_HIGH - OLD_SIZE)?);
                if OLD_SIZE + extra >= CHECKSUM_HIGH + 2 {
                    sum = crc32c(sum, &[0, 0]);
                    stored |= u32::from(field.le16(CHECKSUM_HIGH)?) << 16;
                    mask = !0;
                } else {
                    sum = crc32c(sum, field.bytes(CHECKSUM_HIGH, 2)?);
                }
                sum = crc32c(sum, field.bytes(CHECKSUM_HIGH + 2, rest)?);
            }
            if sum & mask != stored {
                return Err(wrong("its checksum is wrong".into()));
            }
        }
        let links = field.le16(0x1a)?;
        if links == 0 {
            return Err(wrong("it is deleted".into()));
        }
        let kind = match field.le16(0)? >> 12 {
            0x1 => FileKind::Fifo,
            0x2 => FileKind::CharDevice,
            0x4 => FileKind::Directory,
            0x6 => FileKind::BlockDevice,
            0x8 => FileKind::File,
            0xa => FileKind::Symlink,
            0xc => FileKind::Socket,
            other => return Err(wrong(format!("it is of the unknown type {other:#x}"))),
        };
        let flags = field.le32(0x20)?;
        let low = u64::from(field.le32(4)?);
        // Before `largedir`, this field of folders was their block of ACLs.
        let sized = kind == FileKind::File || sb.incompat & incompat::LARGEDIR != 0;
        let size = if sized { low | u64::from(field.le32(0x6c)?) << 32 } else { low };
        if size > i64::MAX as u64 {
            return Err(wrong(format!("{size} bytes")));
        }
        let mut sectors = u64::from(field.le32(0x1c)?);
        if sb.has(ro_compat::HUGE_FILE) {
            sectors |= u64::from(field.le16(0x74)?) << 32;
            if flags & inode_flag::HUGE_FILE != 0 {
                sectors <<= sb.block_bits - 9;
            }
        }
        Ok(Inode {
            number,
            kind,
            size,
            links,
            flags,
            attributes: u64::from(field.le32(0x68)?) | u64::from(field.le16(0x76)?) << 32,
            sectors,
            extra,
            has_extra,
            seed,
            extents: None,
            raw,
        })
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// An error about it.
    pub fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(format!("inode {}", self.number), reason)
    }

    /// The sixty bytes of `i_block`: pointers, an extent tree's root, a link's target, a device's number.
    pub fn block(&self) -> &[u8] {
        &self.raw[BLOCK..BLOCK + BLOCK_LENGTH]
    }

    /// Refuses content that needs a key.
    ///
    /// # Errors
    /// `Encrypted`, by what it is.
    pub fn check_readable(&self) -> Result<()> {
        if !self.has(inode_flag::ENCRYPT) {
            return Ok(());
        }
        Err(Error::Encrypted(match self.kind {
            FileKind::Directory => format!("the folder (inode {}, fscrypt)", self.number),
            FileKind::Symlink => format!("the link (inode {}, fscrypt)", self.number),
            _ => format!("the file (inode {}, fscrypt)", self.number),
        }))
    }

    /// A moment of `base` with its extra bits, where the inode is long enough for them: nanoseconds, and two bits that
    /// carry seconds past 2038 ("Inode Timestamps").
    fn time(&self, base: usize, extra: usize) -> Result<Timestamp> {
        let field = Fields::new("an inode", &self.raw);
        let seconds = i64::from(field.le32(base)?.cast_signed());
        if OLD_SIZE + self.extra < extra + 4 || self.raw.len() <= OLD_SIZE {
            return Ok(Timestamp { seconds, nanos: 0 });
        }
        let bits = field.le32(extra)?;
        let seconds = seconds + (i64::from(bits & 3) << 32);
        let nanos = bits >> 2;
        Ok(Timestamp { seconds: seconds + i64::from(nanos / 1_000_000_000), nanos: nanos % 1_000_000_000 })
    }

    /// The fields of `stat(2)`.
    pub fn stat(&self) -> Result<Stat> {
        let field = Fields::new("an inode", &self.raw);
        let both =
            |low, high| Ok::<_, Error>(u32::from(field.le16(low)?) | u32::from(field.le16(high)?) << 16);
        let device = match self.kind {
            FileKind::CharDevice | FileKind::BlockDevice => {
                let (old, new) = (field.le32(BLOCK)?, field.le32(BLOCK + 4)?);
                Some(if old != 0 {
                    (old >> 8 & 0xff, old & 0xff)
                } else {
                    (new >> 8 & 0xfff, new & 0xff | new >> 12 & 0xf_ff00)
                })
            }
            _ => None,
        };
        let created = self.raw.len() > OLD_SIZE && OLD_SIZE + self.extra >= 0x94;
        // What lies in the inode is counted too, as Linux does: a program that sees no blocks takes a file for a hole.
        let inline =
            if self.kind == FileKind::File && self.has(inode_flag::INLINE_DATA) { self.size } else { 0 };
        Ok(Stat {
            kind: self.kind,
            mode: u32::from(field.le16(0)?) & 0o7777,
            uid: both(2, 0x78)?,
            gid: both(0x18, 0x7a)?,
            links: self.links.into(),
            size: self.size,
            allocated: self.sectors.saturating_add(inline.div_ceil(512)).saturating_mul(512),
            device,
            accessed: self.time(8, 0x8c)?,
            modified: self.time(0x10, 0x88)?,
            changed: self.time(0xc, 0x84)?,
            created: if created { Some(self.time(0x90, 0x94)?) } else { None },
        })
    }
}

/// How much of an inode table is read at once, in bytes.
const PIECE: u64 = 16 << 10;

impl Volume {
    /// The bytes of inode `number` in its table, whatever they say.
    ///
    /// # Errors
    /// `Corrupt` where there is no such number, or no table.
    pub fn raw_inode(&self, number: u32) -> Result<Vec<u8>> {
        if number == 0 || number > self.sb.inodes {
            return Err(Error::corrupt(format!("inode {number}"), "there is no such number"));
        }
        let index = number - 1;
        let table = self.inode_table(index / self.sb.inodes_per_group)? << self.sb.block_bits;
        let length = u64::from(self.sb.inodes_per_group) * self.sb.inode_size as u64;
        let at = u64::from(index % self.sb.inodes_per_group) * self.sb.inode_size as u64;
        let first = at - at % PIECE.max(self.sb.inode_size as u64);
        let piece = self.tables.get_or(table + first, || {
            let bytes = PIECE.max(self.sb.inode_size as u64).min(length - first) as usize;
            Ok::<_, Error>((Arc::from(read_vec(&*self.device, table + first, bytes)?), bytes + 64))
        })?;
        let field = Fields::new("an inode table", &piece);
        Ok(field.bytes((at - first) as usize, self.sb.inode_size)?.to_vec())
    }

    /// The inode `number`, as fast commits left it.
    ///
    /// # Errors
    /// `Corrupt` where it is deleted or damaged.
    pub fn inode(&self, number: u32) -> Result<Arc<Inode>> {
        if let Some(changed) = self.changes.inodes.get(&number) {
            let mut inode = Inode::parse(&self.sb, number, changed.raw.clone(), false)?;
            inode.extents = changed.extents.clone();
            return Ok(Arc::new(inode));
        }
        self.inodes.get_or(number, || {
            let inode = Arc::new(Inode::parse(&self.sb, number, self.raw_inode(number)?, true)?);
            Ok((inode, self.sb.inode_size + 200))
        })
    }

    /// The inode of a name: not one that is reserved, and none that holds an attribute's value.
    ///
    /// # Errors
    /// As [`inode`](Self::inode).
    pub fn node(&self, number: u32) -> Result<Arc<Inode>> {
        if number != ROOT && number < self.sb.first_inode {
            return Err(Error::corrupt(format!("inode {number}"), "it is reserved, but has a name"));
        }
        let inode = self.inode(number)?;
        if inode.has(inode_flag::EA_INODE) {
            return Err(inode.corrupt("it is an attribute's value, but has a name"));
        }
        Ok(inode)
    }
}
