//! Group descriptors ("Block Group Descriptors"): where a group's inode table lies. With and without `64bit`,
//! `meta_bg` and `flex_bg` (which moves tables anywhere, and needs nothing here).

use super::checksum::{crc16, crc32c};
use super::feature::{incompat, ro_compat};
use super::volume::Volume;
use crate::{Error, Fields, Result};

const CHECKSUM: usize = 0x1e;

impl Volume {
    /// The first block of the inode table of `group`. Where the descriptor is damaged, from its copy in another group.
    ///
    /// # Errors
    /// `Corrupt` where no descriptor of the group is good.
    pub fn inode_table(&self, group: u32) -> Result<u64> {
        let first = self.descriptor_block(group, None).and_then(|block| self.table_by(group, block));
        let error = match first {
            Err(error @ Error::Corrupt { .. }) => error,
            other => return other,
        };
        let copies: &[u32] = if self.sb.compat & super::feature::compat::SPARSE_SUPER2 != 0 {
            &self.sb.copies
        } else {
            &[1, 3, 5, 7, 9, 25, 27, 49]
        };
        for &copy in copies.iter().filter(|&&copy| copy > 0 && copy < self.sb.groups) {
            if let Ok(block) = self.descriptor_block(group, Some(copy))
                && let Ok(table) = self.table_by(group, block)
            {
                return Ok(table);
            }
        }
        Err(error)
    }

    /// The block with the descriptor of `group`: the first one, or the copy that the group `copy` holds.
    fn descriptor_block(&self, group: u32, copy: Option<u32>) -> Result<u64> {
        let per_block = (self.block_size() / self.sb.descriptor_size) as u32;
        let index = group / per_block;
        let in_group = |group: u32| {
            u64::from(self.sb.first_data_block) + u64::from(group) * u64::from(self.sb.blocks_per_group)
        };
        let own = self.sb.incompat & incompat::META_BG != 0 && index >= self.sb.first_meta_group;
        if !own {
            // With 1 KiB blocks the superblock is block 1, even where the first block of data is 0 (bigalloc).
            let superblock = match copy {
                Some(copy) => in_group(copy) + self.superblock_shift(copy),
                None => u64::from(self.block_size() == 1024),
            };
            return Ok(superblock + 1 + u64::from(index));
        }
        // A meta group holds its descriptors itself, with copies in its second and its last group.
        let first = index * per_block;
        let holder = match copy {
            None => first,
            Some(1) => first + 1,
            Some(_) => first.saturating_add(per_block - 1),
        };
        if holder >= self.sb.groups {
            return Err(Error::corrupt("the group descriptors", format!("there is no group {holder}")));
        }
        Ok(in_group(holder) + u64::from(self.sb.has_copy(holder)) + self.superblock_shift(holder))
    }

    /// The superblock of group 0 lies a block further where blocks of 1 KiB begin with number 0.
    fn superblock_shift(&self, group: u32) -> u64 {
        u64::from(group == 0 && self.block_size() == 1024 && self.sb.first_data_block == 0)
    }

    /// Where the descriptor of `group` in `block` says that the inode table is.
    fn table_by(&self, group: u32, block: u64) -> Result<u64> {
        let size = self.sb.descriptor_size;
        let bytes = self.block("the group descriptors", block)?;
        let at = (group as usize % (self.block_size() / size)) * size;
        let field = Fields::new("a group descriptor", &bytes).part(at, size)?;
        let stored = field.le16(CHECKSUM)?;
        let head = field.bytes(0, CHECKSUM)?;
        let tail = field.bytes(CHECKSUM + 2, size - CHECKSUM - 2)?;
        let number = group.to_le_bytes();
        if self.sb.has_checksums() {
            let sum = [&number, head, &[0, 0], tail].iter().fold(self.sb.seed, |sum, part| crc32c(sum, part));
            if sum as u16 != stored {
                return Err(field.corrupt(format!("the checksum of group {group} is wrong")));
            }
        } else if self.sb.has(ro_compat::GDT_CSUM) && crc16(&[&self.sb.uuid, &number, head, tail]) != stored {
            return Err(field.corrupt(format!("the checksum of group {group} is wrong")));
        }
        let high = if size >= 64 { field.le32(0x28)? } else { 0 };
        let table = u64::from(field.le32(0x8)?) | u64::from(high) << 32;
        let blocks =
            (self.sb.inodes_per_group as u64 * self.sb.inode_size as u64).div_ceil(self.block_size() as u64);
        self.place("a group descriptor", table, blocks)?;
        Ok(table)
    }
}
