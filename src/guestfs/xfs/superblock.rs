//! The superblock: geometry, features, identity (XFS Algorithms & Data Structures, "Superblocks").

use crate::xfs::checksum;
use crate::{Device, Error, Fields, Result, read_vec};

/// `XFSB`.
const MAGIC: u32 = 0x5846_5342;
/// The sector of the superblock before its size is known.
const SMALLEST_SECTOR: usize = 512;
const LARGEST_SECTOR: usize = 32768;
const LARGEST_BLOCK: u32 = 65536;

const VERSION_DIRV2: u16 = 0x2000;
const VERSION_SHARED: u16 = 0x0200;
const VERSION_LOGV2: u16 = 0x0400;
const VERSION_BORG: u16 = 0x4000;
const VERSION_MORE: u16 = 0x8000;
const FEATURES2_FTYPE: u32 = 0x200;
/// Lazy counters, attributes of version 2, 32 bit project ids, file types in folders. (Parent pointers of IRIX and the
/// CRC bit of version 5 are none of a valid version 4.)
const FEATURES2_KNOWN: u32 = 0x2 | 0x8 | 0x80 | FEATURES2_FTYPE;

const INCOMPAT_FTYPE: u32 = 1 << 0;
const INCOMPAT_META_UUID: u32 = 1 << 2;
const INCOMPAT_NEEDS_REPAIR: u32 = 1 << 4;
const INCOMPAT_ZONED: u32 = 1 << 9;
/// ftype, sparse inodes, meta_uuid, bigtime, needsrepair, nrext64, exchange-range, parent pointers, metadir.
const INCOMPAT_KNOWN: u32 = 0x1ff;
/// Logged extended attributes.
const LOG_INCOMPAT_KNOWN: u32 = 1;

/// What the superblock says, checked: every number here may be used without a further look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Whether it is of version 5: checksums, inodes of version 3.
    pub v5: bool,
    /// Bytes of a block: a power of two, 512 to 65536.
    pub block_size: u32,
    pub block_log: u32,
    /// Bytes of a sector, a power of two.
    pub sector_size: u32,
    /// Bytes of an inode: a power of two, 256 to 2048, at most a block.
    pub inode_size: u32,
    inode_per_block_log: u32,
    /// Blocks of the data section.
    pub blocks: u64,
    group_blocks: u32,
    group_blocks_log: u32,
    groups: u32,
    pub root: u64,
    /// The identity that users see.
    pub uuid: [u8; 16],
    /// The identity that metadata carries.
    pub meta_uuid: [u8; 16],
    pub label: Vec<u8>,
    /// Whether folders tell the kind of their entries.
    pub ftype: bool,
    /// Whether names are the same that differ in ASCII case only.
    pub ignores_case: bool,
    /// Bytes of a block of a folder: a power of two, a block to 65536.
    pub directory_block_size: u32,
    /// The first block of the log, or `None` for a log on a device of its own.
    pub log_start: Option<u64>,
    pub log_blocks: u32,
    pub log_v2: bool,
    /// The stripe unit of the log in bytes, 0 for none.
    pub log_stripe: u32,
    /// Unknown kinds of changes stand in the log.
    pub unknown_log_features: u32,
    pub needs_repair: bool,
    incompatible: u32,
    version: u16,
    features2: u32,
}

impl Superblock {
    /// Reads the first superblock. `None` where there is none; errors for one that is damaged.
    pub fn read(device: &dyn crate::ReadAt) -> Result<Option<Self>> {
        if device.size() < SMALLEST_SECTOR as u64 {
            return Ok(None);
        }
        let head = read_vec(device, 0, SMALLEST_SECTOR)?;
        let fields = Fields::new("the superblock", &head);
        if fields.be32(0)? != MAGIC {
            return Ok(None);
        }
        let sector = usize::from(fields.be16(102)?);
        if !sector.is_power_of_two() || !(SMALLEST_SECTOR..=LARGEST_SECTOR).contains(&sector) {
            return Err(fields.corrupt(format!("a sector of {sector} bytes")));
        }
        let bytes = read_vec(device, 0, sector)?;
        Self::parse(&bytes).map(Some)
    }

    /// `bytes` is the sector.
    fn parse(bytes: &[u8]) -> Result<Self> {
        let f = Fields::new("the superblock", bytes);
        let version = f.be16(100)?;
        let v5 = match version & 0xf {
            4 => false,
            5 => true,
            other => return Err(Error::unsupported(format!("XFS version {other}"))),
        };
        if v5 {
            checksum::verify(bytes, 224).map_err(|reason| f.corrupt(reason))?;
        }
        let more = v5 || version & VERSION_MORE != 0;
        let features2 = if more { f.be32(200)? } else { 0 };
        let incompatible = if v5 { f.be32(216)? } else { 0 };
        let uuid = f.array(32)?;
        let meta_uuid = if incompatible & INCOMPAT_META_UUID != 0 { f.array(248)? } else { uuid };

        let power = |name: &str, value: u32, log: u8, low: u32, high: u32| {
            if value.is_power_of_two()
                && (low..=high).contains(&value)
                && value.trailing_zeros() == u32::from(log)
            {
                Ok(value)
            } else {
                Err(f.corrupt(format!("{name} is {value}, its logarithm {log}")))
            }
        };
        let block_size = power("the block size", f.be32(4)?, f.u8(120)?, 512, LARGEST_BLOCK)?;
        let sector_size = power("the sector size", f.be16(102)?.into(), f.u8(121)?, 512, 32768)?;
        let inode_size = power("the inode size", f.be16(104)?.into(), f.u8(122)?, 256, block_size.min(2048))?;
        let per_block = block_size / inode_size;
        if u32::from(f.be16(106)?) != per_block || u32::from(f.u8(123)?) != per_block.trailing_zeros() {
            return Err(f.corrupt("the number of inodes in a block"));
        }
        if v5 && inode_size < 512 {
            return Err(f.corrupt(format!("inodes of {inode_size} bytes in version 5")));
        }
        let group_blocks = f.be32(84)?;
        let groups = f.be32(88)?;
        let group_blocks_log = u32::from(f.u8(124)?);
        let blocks = f.be64(8)?;
        let whole = u64::from(groups) * u64::from(group_blocks);
        if group_blocks == 0
            || groups == 0
            || group_blocks_log > 31
            || u64::from(group_blocks) > 1u64 << group_blocks_log
            || (group_blocks_log > 0 && u64::from(group_blocks) <= 1u64 << (group_blocks_log - 1))
            || blocks > whole
            || blocks <= whole - u64::from(group_blocks)
            || blocks.checked_mul(block_size.into()).is_none_or(|bytes| bytes > i64::MAX as u64)
        {
            return Err(f.corrupt(format!(
                "{groups} allocation groups of {group_blocks} blocks (2^{group_blocks_log}) and {blocks} in all"
            )));
        }
        let directory_log = f.u8(192)?;
        let directory_block_size = block_size
            .checked_shl(directory_log.into())
            .filter(|size| directory_log <= 7 && *size <= LARGEST_BLOCK)
            .ok_or_else(|| f.corrupt(format!("blocks of folders of 2^{directory_log} blocks")))?;
        if f.u8(126)? != 0 {
            return Err(f.corrupt("it was never finished"));
        }
        let name = f.bytes(108, 12)?;
        let label = name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec();
        Ok(Superblock {
            v5,
            block_size,
            block_log: block_size.trailing_zeros(),
            sector_size,
            inode_size,
            inode_per_block_log: per_block.trailing_zeros(),
            blocks,
            group_blocks,
            group_blocks_log,
            groups,
            root: f.be64(56)?,
            uuid,
            meta_uuid,
            label,
            ftype: if v5 { incompatible & INCOMPAT_FTYPE != 0 } else { features2 & FEATURES2_FTYPE != 0 },
            ignores_case: version & VERSION_BORG != 0,
            directory_block_size,
            log_start: Some(f.be64(48)?).filter(|&start| start != 0),
            log_blocks: f.be32(96)?,
            log_v2: v5 || version & VERSION_LOGV2 != 0,
            log_stripe: f.be32(196)?,
            unknown_log_features: if v5 { f.be32(220)? & !LOG_INCOMPAT_KNOWN } else { 0 },
            needs_repair: incompatible & INCOMPAT_NEEDS_REPAIR != 0,
            incompatible,
            version,
            features2,
        })
    }

    /// Whether everything that it needs of a reader is known here.
    ///
    /// # Errors
    /// [`Error::Unsupported`] with the feature's name.
    pub fn check_features(&self) -> Result<()> {
        if self.incompatible & INCOMPAT_ZONED != 0 {
            return Err(Error::unsupported("XFS with zoned storage"));
        }
        if self.incompatible & !INCOMPAT_KNOWN != 0 {
            return Err(Error::unsupported(format!(
                "XFS with the unknown incompatible features {:#x}",
                self.incompatible & !INCOMPAT_KNOWN
            )));
        }
        if self.version & VERSION_DIRV2 == 0 {
            return Err(Error::unsupported("XFS with folders of version 1"));
        }
        if !self.v5 {
            if self.version & VERSION_SHARED != 0 {
                return Err(Error::unsupported("XFS with a shared version number"));
            }
            if self.features2 & !FEATURES2_KNOWN != 0 {
                return Err(Error::unsupported(format!(
                    "XFS version 4 with the unknown features {:#x}",
                    self.features2 & !FEATURES2_KNOWN
                )));
            }
        }
        Ok(())
    }

    /// Bytes of the data section.
    pub fn size(&self) -> u64 {
        self.blocks << self.block_log
    }

    /// The byte where block `number` (an address with the allocation group in its upper bits) begins, `count` blocks
    /// of it all inside of one group.
    pub fn block_offset(&self, number: u64, count: u64) -> Result<u64> {
        let group = number >> self.group_blocks_log;
        let inside = number & ((1u64 << self.group_blocks_log) - 1);
        let bad = || Error::corrupt("a block number", format!("{count} blocks at {number:#x} are outside"));
        if group >= u64::from(self.groups) {
            return Err(bad());
        }
        let end = inside.checked_add(count).ok_or_else(bad)?;
        let first = group * u64::from(self.group_blocks);
        if end > u64::from(self.group_blocks) || first + end > self.blocks {
            return Err(bad());
        }
        Ok((first + inside) << self.block_log)
    }

    /// The byte of block `block` of allocation group `group`.
    pub fn group_offset(&self, group: u32, block: u32, count: u64) -> Result<u64> {
        if block >= self.group_blocks {
            return Err(Error::corrupt("a block number", format!("{block} is outside of its group")));
        }
        self.block_offset((u64::from(group) << self.group_blocks_log) | u64::from(block), count)
    }

    /// The number of the first inode of block `block` of allocation group `group`.
    pub fn first_inode(&self, group: u32, block: u32) -> u64 {
        ((u64::from(group) << self.group_blocks_log) | u64::from(block)) << self.inode_per_block_log
    }

    /// The byte where an inode lies.
    pub fn inode_offset(&self, inode: u64) -> Result<u64> {
        let block = inode >> self.inode_per_block_log;
        let index = inode & ((1u64 << self.inode_per_block_log) - 1);
        let start = self.block_offset(block, 1).map_err(|_| {
            Error::corrupt(format!("inode {inode}"), "its number is outside of the file system")
        })?;
        Ok(start + index * u64::from(self.inode_size))
    }

    /// The size of an inode's core: what stands before its forks.
    pub fn inode_core(&self) -> usize {
        if self.v5 { 176 } else { 100 }
    }

    /// The identity as `blkid` writes it.
    pub fn uuid_text(&self) -> String {
        let mut text = String::with_capacity(36);
        for (index, byte) in self.uuid.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        text
    }

    /// The label, as far as it is UTF-8.
    pub fn label_text(&self) -> Option<String> {
        (!self.label.is_empty()).then(|| String::from_utf8_lossy(&self.label).into_owned())
    }
}

/// What [`super::recognise`] tells.
pub(super) fn recognise(device: &dyn crate::ReadAt) -> Result<Option<crate::Recognised>> {
    match Superblock::read(device) {
        Ok(Some(superblock)) => Ok(Some(crate::Recognised {
            kind: "xfs",
            label: superblock.label_text(),
            uuid: Some(superblock.uuid_text()),
            size: superblock.size(),
        })),
        Ok(None) => Ok(None),
        Err(error @ Error::Io { .. }) => Err(error),
        // The magic number stands there: it is an XFS, and opening it says what is wrong with it.
        Err(_) => {
            let head = read_vec(device, 0, SMALLEST_SECTOR)?;
            let f = Fields::new("the superblock", &head);
            let size = f.be64(8)?.saturating_mul(f.be32(4)?.into()).min(device.size());
            Ok(Some(crate::Recognised { kind: "xfs", label: None, uuid: None, size }))
        }
    }
}

/// The superblock of `device`, all of its features known.
pub(super) fn open(device: &Device) -> Result<Superblock> {
    let superblock = Superblock::read(&**device)?
        .ok_or_else(|| Error::corrupt("the superblock", "it does not begin with XFSB"))?;
    superblock.check_features()?;
    Ok(superblock)
}
