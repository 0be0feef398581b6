//! Changes of blocks: which pieces of 128 bytes of a buffer were changed, and what stands there now.

use crate::xfs::checksum::{Header, seal};
use crate::xfs::log::Replay;
use crate::xfs::log::transaction::Item;
use crate::xfs::superblock::Superblock;
use crate::{Error, Fields, Result};

/// The unit that changes are written in.
const PIECE: usize = 128;
/// Sectors of the largest buffer: inodes of 2 KiB come 128 KiB at once.
const MAX_SECTORS: u64 = 256;

/// The buffer holds inodes; only their places in lists of unlinked inodes are changed by this.
const INODES: u16 = 1 << 0;
/// The buffer was given up: what the log has of it up to here is void.
const CANCELLED: u16 = 1 << 1;
/// The buffer holds quotas of users, projects, groups.
const QUOTA: u16 = 1 << 2 | 1 << 3 | 1 << 4;
/// The types, in the upper five bits of the flags: headers of allocation groups, and the realtime section's own.
const TYPE_SHIFT: u16 = 11;
const TYPES_NEVER_READ: [u16; 5] = [5, 6, 7, 19, 20];

const SUPERBLOCK_MAGIC: u32 = 0x5846_5342;
const REMOTE_VALUE_MAGIC: u32 = 0x5841_524d;

/// The form of such an item, checked.
pub(super) struct Buffer<'a> {
    flags: u16,
    sector: u64,
    sectors: u64,
    /// Which pieces were changed: a bit each, in little-endian words.
    map: &'a [u8],
}

impl<'a> Buffer<'a> {
    pub fn parse(item: &'a Item) -> Result<Self> {
        let f = item.form()?;
        let words = f.le32(16)? as usize;
        let sectors = f.le16(6)?.into();
        let sector = f.le64(8)?;
        if sectors == 0 || sectors > MAX_SECTORS || sector > i64::MAX as u64 >> 9 {
            return Err(f.corrupt(format!("a buffer of {sectors} sectors at {sector}")));
        }
        let length = words.checked_mul(4).ok_or_else(|| f.corrupt("its map is too long"))?;
        Ok(Buffer { flags: f.le16(4)?, sector, sectors, map: f.bytes(20, length)? })
    }

    pub fn is_cancelled(&self) -> bool {
        self.flags & CANCELLED != 0
    }

    pub fn key(&self) -> (u64, u64) {
        (self.sector, self.sectors)
    }

    /// The changed pieces that follow each other: the first one and how many, each to be cut where a region ends.
    fn runs(&self) -> impl Iterator<Item = (usize, usize)> {
        let bits = self.map.len() * 8;
        let set = |bit: usize| self.map[bit / 8] >> (bit % 8) & 1 == 1;
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = (at..bits).find(|&bit| set(bit))?;
            at = (first..bits).find(|&bit| !set(bit)).unwrap_or(bits);
            Some((first, at - first))
        })
    }

    /// Puts the regions of the item into `bytes`.
    fn apply(&self, item: &Item, bytes: &mut [u8]) -> Result<()> {
        let mut index = 1;
        for (mut first, mut count) in self.runs() {
            while count > 0 {
                let region = item.region(index)?;
                index += 1;
                let pieces = (region.len() / PIECE).min(count);
                let length = pieces * PIECE;
                let target = bytes.get_mut(first * PIECE..first * PIECE + length);
                let (Some(target), 1..) = (target, pieces) else {
                    return Err(Error::corrupt("an item of the log", "a change outside of its buffer"));
                };
                target.copy_from_slice(&region[..length]);
                first += pieces;
                count -= pieces;
            }
        }
        Ok(())
    }
}

/// Where a block's header has its fields, by what the block begins with.
fn header(bytes: &[u8]) -> Option<Header> {
    let f = Fields::new("a block", bytes);
    match f.be32(0).ok()? {
        // BMA3 and the realtime section's MAPR and RCNT.
        0x424d_4133 | 0x4d41_5052 | 0x5243_4e54 => return Some(Header::LONG_BTREE),
        // AB3B, AB3C, IAB3, FIB3, RMB3, R3FC.
        0x4142_3342 | 0x4142_3343 | 0x4941_4233 | 0x4649_4233 | 0x524d_4233 | 0x5233_4643 => {
            return Some(Header::SHORT_BTREE);
        }
        // XDB3, XDD3, XDF3.
        0x5844_4233 | 0x5844_4433 | 0x5844_4633 => return Some(Header::DIRECTORY),
        // XSLM.
        0x5853_4c4d => return Some(Header::REMOTE),
        SUPERBLOCK_MAGIC => {
            return Some(Header { crc: 224, block: 0, lsn: 240, uuid: 32, owner: 0 });
        }
        _ => {}
    }
    matches!(f.be16(8).ok()?, 0x3df1 | 0x3dff | 0x3ebe | 0x3bee).then_some(Header::NODE)
}

/// The position in the log of a block's last change, where it is a block of this file system that has one.
fn last_change(superblock: &Superblock, bytes: &[u8]) -> Option<u64> {
    let header = header(bytes)?;
    let f = Fields::new("a block", bytes);
    let uuid = f.array::<16>(header.uuid).ok()?;
    // The superblock carries the identity that users see.
    let known =
        uuid == superblock.meta_uuid || (f.be32(0).ok()? == SUPERBLOCK_MAGIC && uuid == superblock.uuid);
    let lsn = f.be64(header.lsn).ok()?;
    (known && lsn != 0 && lsn != u64::MAX).then_some(lsn)
}

/// Writes the position of the change and the checksum, as the kernel does when it writes a block.
fn stamp(superblock: &Superblock, bytes: &mut [u8], lsn: u64) {
    if bytes.starts_with(&REMOTE_VALUE_MAGIC.to_be_bytes()) {
        // Each block of a value is one by itself, without a position.
        bytes
            .chunks_exact_mut(superblock.block_size as usize)
            .for_each(|block| seal(block, Header::REMOTE.crc));
        return;
    }
    if let Some(header) = header(bytes)
        && let Some(place) = bytes.get_mut(header.lsn..header.lsn + 8)
    {
        place.copy_from_slice(&lsn.to_be_bytes());
        seal(bytes, header.crc);
    }
}

impl Replay<'_> {
    pub(super) fn buffer(&mut self, lsn: u64, item: &Item) -> Result<()> {
        let buffer = Buffer::parse(item)?;
        if buffer.is_cancelled() {
            self.cancelled.pass(buffer.key());
            return Ok(());
        }
        if self.cancelled.contains(buffer.key())
            || buffer.flags & (INODES | QUOTA) != 0
            || TYPES_NEVER_READ.contains(&(buffer.flags >> TYPE_SHIFT))
        {
            return Ok(());
        }
        let offset = buffer.sector << 9;
        let mut bytes = self.read(offset, (buffer.sectors << 9) as usize)?;
        if self.superblock.v5
            && self.stamped.get(&buffer.sector) != Some(&lsn)
            && last_change(&self.superblock, &bytes).is_some_and(|last| last >= lsn)
        {
            return Ok(());
        }
        buffer.apply(item, &mut bytes)?;
        if self.superblock.v5 {
            stamp(&self.superblock, &mut bytes, lsn);
            self.stamped.insert(buffer.sector, lsn);
        }
        self.overlay.write(offset, &bytes)?;
        if buffer.sector == 0
            && let Some(superblock) = Superblock::read(self.overlay)?
        {
            superblock.check_features()?;
            self.superblock = superblock;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_bits_across_words() {
        let map = [0b1000_0001, 0, 0, 0b1000_0000, 0b11, 0, 0, 0];
        let buffer = Buffer { flags: 0, sector: 0, sectors: 1, map: &map };
        assert_eq!(buffer.runs().collect::<Vec<_>>(), [(0, 1), (7, 1), (31, 3)]);
    }
}
