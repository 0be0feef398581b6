//! The superblock: sizes, features, identity. At byte 1024 of the volume, and copies at the beginning of some groups.

use super::checksum::crc32c;
use super::feature::{self, compat, incompat, ro_compat};
use crate::device::{ReadAt, read_vec};
use crate::{Error, Fields, Result};

/// Where the first one lies, and how long it is, in bytes.
pub(super) const OFFSET: u64 = 1024;
pub(super) const LENGTH: usize = 1024;
const MAGIC: u16 = 0xef53;
/// The byte of `s_checksum`.
const CHECKSUM: usize = 0x3fc;

/// What is used of a superblock, checked.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub inodes: u32,
    /// Blocks of the volume.
    pub blocks: u64,
    pub first_data_block: u32,
    /// Block size as a power of two: 10 to 16.
    pub block_bits: u32,
    /// Size of a cluster, the unit of allocation (`bigalloc`), as a power of two; else that of a block.
    pub cluster_bits: u32,
    pub blocks_per_group: u32,
    pub inodes_per_group: u32,
    pub groups: u32,
    pub inode_size: usize,
    /// The first inode that is not reserved.
    pub first_inode: u32,
    pub compat: u32,
    pub incompat: u32,
    pub ro_compat: u32,
    pub uuid: [u8; 16],
    pub label: [u8; 16],
    pub journal_inode: u32,
    pub journal_device: u32,
    pub hash_seed: [u32; 4],
    /// Whether names are hashed as unsigned bytes.
    pub hash_unsigned: bool,
    /// Bytes of a group descriptor.
    pub descriptor_size: usize,
    /// The first block of group descriptors that lies in its own group, with `meta_bg`.
    pub first_meta_group: u32,
    /// The groups with copies of the superblock, with `sparse_super2`.
    pub copies: [u32; 2],
    /// The first state of all checksums.
    pub seed: u32,
    /// `s_state` says that errors were found.
    pub has_errors: bool,
    /// `s_state` says that it was unmounted properly. Where there is a journal it says so all the time.
    pub is_clean: bool,
    /// The group that this copy belongs to.
    pub group: u16,
}

impl Superblock {
    /// Whether these bytes say that they are one.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.get(0x38..0x3a) == Some(&MAGIC.to_le_bytes())
    }

    /// The 1024 bytes of one.
    ///
    /// # Errors
    /// `Corrupt` for numbers that no file system has and for a wrong checksum, `Unsupported` for features.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let sb = Self::decode(bytes)?;
        feature::check(&sb)?;
        sb.geometry(bytes)
    }

    /// Features and identity alone, of anything with the magic.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let field = Fields::new("the ext superblock", bytes);
        if !Self::is_one(bytes) {
            return Err(field.corrupt("it has no magic number"));
        }
        let dynamic = field.le32(0x4c)? >= 1;
        let of_dynamic = |at| if dynamic { field.le32(at) } else { Ok(0) };
        let incompat = of_dynamic(0x60)?;
        let ro_compat = of_dynamic(0x64)?;
        let wide = incompat & incompat::WIDE != 0;
        let high = if wide { field.le32(0x150)? } else { 0 };
        let mut hash_seed = [0; 4];
        for (index, seed) in hash_seed.iter_mut().enumerate() {
            *seed = field.le32(0xec + 4 * index)?;
        }
        let uuid: [u8; 16] = field.array(0x68)?;
        let log_block = field.le32(0x18)?;
        if log_block > 6 {
            return Err(field.corrupt(format!("blocks of 2^{} KiB", log_block)));
        }
        Ok(Superblock {
            inodes: field.le32(0)?,
            blocks: u64::from(field.le32(4)?) | u64::from(high) << 32,
            first_data_block: field.le32(0x14)?,
            block_bits: 10 + log_block,
            cluster_bits: 10 + log_block,
            blocks_per_group: field.le32(0x20)?,
            inodes_per_group: field.le32(0x28)?,
            groups: 0,
            inode_size: if dynamic { field.le16(0x58)?.into() } else { 128 },
            first_inode: if dynamic { field.le32(0x54)? } else { 11 },
            compat: of_dynamic(0x5c)?,
            incompat,
            ro_compat,
            uuid,
            label: field.array(0x78)?,
            journal_inode: field.le32(0xe0)?,
            journal_device: field.le32(0xe4)?,
            hash_seed,
            hash_unsigned: field.le32(0x160)? & 2 != 0,
            descriptor_size: if wide { field.le16(0xfe)?.into() } else { 32 },
            first_meta_group: field.le32(0x104)?,
            copies: [field.le32(0x24c)?, field.le32(0x250)?],
            seed: if incompat & incompat::CSUM_SEED != 0 { field.le32(0x270)? } else { crc32c(!0, &uuid) },
            has_errors: field.le16(0x3a)? & 2 != 0,
            is_clean: field.le16(0x3a)? & 1 != 0,
            group: if dynamic { field.le16(0x5a)? } else { 0 },
        })
    }

    /// Checks what sizes and places are computed from.
    fn geometry(mut self, bytes: &[u8]) -> Result<Self> {
        let field = Fields::new("the ext superblock", bytes);
        if self.has(ro_compat::METADATA_CSUM) {
            let kind = field.u8(0x175)?;
            if kind != 1 {
                return Err(Error::unsupported(format!("ext4 with metadata checksums of type {kind}")));
            }
            if field.le32(CHECKSUM)? != crc32c(!0, field.bytes(0, CHECKSUM)?) {
                return Err(field.corrupt("its checksum is wrong"));
            }
        }
        let block_size = self.block_size();
        if self.inode_size < 128 || self.inode_size > block_size || !self.inode_size.is_power_of_two() {
            return Err(field.corrupt(format!("inodes of {} bytes", self.inode_size)));
        }
        let largest = if self.incompat & incompat::WIDE != 0 { 1024 } else { 32 };
        let smallest = if self.incompat & incompat::WIDE != 0 { 64 } else { 32 };
        if self.descriptor_size < smallest
            || self.descriptor_size > largest
            || !self.descriptor_size.is_power_of_two()
        {
            return Err(field.corrupt(format!("group descriptors of {} bytes", self.descriptor_size)));
        }
        if self.has(ro_compat::BIGALLOC) {
            let larger = field.le32(0x1c)?.checked_sub(field.le32(0x18)?).filter(|&bits| bits < 20);
            self.cluster_bits += larger.ok_or_else(|| field.corrupt("clusters of an impossible size"))?;
        }
        let most = (8 * block_size as u64) << (self.cluster_bits - self.block_bits);
        if self.blocks_per_group == 0 || u64::from(self.blocks_per_group) > most {
            return Err(field.corrupt(format!("{} blocks in a group", self.blocks_per_group)));
        }
        if self.inodes_per_group == 0 || self.inodes_per_group as usize > 8 * block_size {
            return Err(field.corrupt(format!("{} inodes in a group", self.inodes_per_group)));
        }
        if self.blocks > 1 << 48 || u64::from(self.first_data_block) >= self.blocks {
            return Err(field.corrupt(format!("{} blocks", self.blocks)));
        }
        let groups = (self.blocks - u64::from(self.first_data_block)).div_ceil(self.blocks_per_group.into());
        self.groups = u32::try_from(groups).map_err(|_| field.corrupt(format!("{groups} groups")))?;
        if u64::from(self.inodes) > groups * u64::from(self.inodes_per_group)
            || self.inodes < self.first_inode
        {
            return Err(field.corrupt(format!("{} inodes", self.inodes)));
        }
        Ok(self)
    }

    /// Whether a feature that a reader may ignore is on.
    pub fn has(&self, ro_compat: u32) -> bool {
        self.ro_compat & ro_compat != 0
    }

    /// Whether metadata has CRC32c sums.
    pub fn has_checksums(&self) -> bool {
        self.has(ro_compat::METADATA_CSUM)
    }

    /// Whether the journal was not empty when the disk was captured.
    pub fn needs_recovery(&self) -> bool {
        self.incompat & incompat::RECOVER != 0
    }

    /// Whether there is a journal, inside or outside.
    pub fn has_journal(&self) -> bool {
        self.compat & compat::HAS_JOURNAL != 0
    }

    /// Whether folders tell the kinds of what is in them. They may be wrong where nothing keeps folders and inodes in step: an
    /// inode that was freed and has become something else may still have its old name.
    pub fn tells_kinds(&self) -> bool {
        let in_step = self.has_journal() || self.is_clean;
        self.incompat & incompat::FILETYPE != 0 && in_step && !self.has_errors
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        1 << self.block_bits
    }

    /// Bytes of the volume.
    pub fn size(&self) -> u64 {
        self.blocks << self.block_bits
    }

    /// The label, where there is one.
    pub fn label(&self) -> Option<String> {
        let length = self.label.iter().position(|&byte| byte == 0).unwrap_or(self.label.len());
        (length > 0).then(|| String::from_utf8_lossy(&self.label[..length]).into_owned())
    }

    /// The UUID as `blkid` writes it, where there is one.
    pub fn uuid(&self) -> Option<String> {
        if self.uuid == [0; 16] {
            return None;
        }
        let mut text = String::with_capacity(36);
        for (index, byte) in self.uuid.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Some(text)
    }

    /// Whether the group has a copy of the superblock (`sparse_super`, `sparse_super2`).
    pub fn has_copy(&self, group: u32) -> bool {
        if group != 0 && self.compat & compat::SPARSE_SUPER2 != 0 {
            return self.copies.contains(&group);
        }
        let power = |of: u32| {
            let mut number = of;
            while number < group {
                number = number.saturating_mul(of);
            }
            number == group
        };
        group <= 1 || !self.has(ro_compat::SPARSE_SUPER) || power(3) || power(5) || power(7)
    }
}

/// Reads the superblock, or where the first one is damaged, a copy of it; then with what was wrong with the first.
///
/// Copies are looked for in the groups 1, 3, 5, 7 and 9 for each size of blocks, as `e2fsck` does.
///
/// # Errors
/// What is wrong with the first one, where there is no good copy either.
pub(super) fn read(device: &dyn ReadAt) -> Result<(Superblock, Option<String>)> {
    let first = read_vec(device, OFFSET, LENGTH).and_then(|bytes| Superblock::parse(&bytes));
    let error = match first {
        Ok(sb) => return Ok((sb, None)),
        Err(error @ (Error::Unsupported(_) | Error::Io { .. })) => return Err(error),
        Err(error) => error,
    };
    for bits in [12, 10, 11, 13, 14, 15, 16] {
        for group in [1u64, 3, 5, 7, 9] {
            let first_data_block = u64::from(bits == 10);
            let offset = (first_data_block + ((group * 8) << bits)) << bits;
            if offset + LENGTH as u64 > device.size() {
                break;
            }
            let bytes = read_vec(device, offset, LENGTH)?;
            if let Ok(sb) = Superblock::parse(&bytes)
                && sb.block_bits == bits
                && u64::from(sb.group) == group
                && u64::from(sb.blocks_per_group) == 8 << bits
            {
                return Ok((sb, Some(error.to_string())));
            }
        }
    }
    Err(error)
}
