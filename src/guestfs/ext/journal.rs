//! The journal (jbd2): its superblock and its blocks, wherever they lie. What they mean is [`recovery`](super::recovery).
//!
//! All numbers of it are big-endian ("Journal (jbd2)").

use super::checksum::crc32c;
use super::extent::Extent;
use super::inode::Inode;
use super::volume::Volume;
use crate::{Error, Fields, Result};

/// `h_magic` of every block that the journal itself uses.
pub(super) const MAGIC: u32 = 0xc03b_3998;
/// Rows of blocks that a journal's file may consist of.
const MAX_ROWS: usize = 1 << 16;
/// Blocks of a journal that are read at once, in bytes.
const PIECE: usize = 1 << 20;
/// `JBD2_MIN_JOURNAL_BLOCKS`, and the blocks for fast commits where the superblock does not say.
const MIN_BLOCKS: u32 = 1024;
const FAST_COMMIT_BLOCKS: u32 = 256;

const COMPAT_CHECKSUM: u32 = 0x1;
const INCOMPAT_WIDE: u32 = 0x2;
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const INCOMPAT_ALL: u32 = 0x3f;

/// An opened journal.
pub(super) struct Journal<'a> {
    volume: &'a Volume,
    rows: Vec<Extent>,
    /// The piece that was read last: its first block, and its bytes.
    piece: (u32, Vec<u8>),
    /// Blocks of the journal; the first after the superblock; the first after the log.
    pub length: u32,
    pub first: u32,
    pub last: u32,
    /// The sequence number and the block that the log begins with; block 0 says that it is empty.
    pub sequence: u32,
    pub start: u32,
    /// Whether transactions have a CRC32 in their commit block.
    pub sums_transactions: bool,
    /// Whether block numbers have 64 bits.
    pub wide: bool,
    /// Whether commit blocks may reach the disk before what they commit.
    pub async_commit: bool,
    /// Whether every block has a CRC32c, and whether the tags hold all of it.
    pub sums_blocks: bool,
    pub long_tags: bool,
    /// Whether there are fast commits after the log.
    pub fast_commit: bool,
    /// The first state of its checksums.
    pub seed: u32,
}

impl<'a> Journal<'a> {
    /// The journal in the file `inode`.
    ///
    /// # Errors
    /// `Corrupt` and `Unsupported` for a superblock that a kernel would not take either.
    pub fn open(volume: &'a Volume, inode: &Inode) -> Result<Self> {
        let block_size = volume.block_size();
        let blocks = inode.size >> volume.sb.block_bits;
        let rows = volume.rows(inode, blocks, MAX_ROWS)?;
        let mut head = vec![0; 1024];
        volume.read_content(inode, 0, &mut head)?;
        let field = Fields::new("the journal's superblock", &head);
        let kind = field.be32(4)?;
        if field.be32(0)? != MAGIC || !matches!(kind, 3 | 4) {
            return Err(field.corrupt("it is not there"));
        }
        if field.be32(0xc)? as usize != block_size {
            return Err(field.corrupt(format!("blocks of {} bytes", field.be32(0xc)?)));
        }
        let length = field.be32(0x10)?;
        let first = field.be32(0x14)?;
        if u64::from(length) > blocks || first == 0 || first >= length {
            return Err(field.corrupt(format!("a log from block {first} on of {length}")));
        }
        let (compat, incompat, ro_compat) =
            if kind == 4 { (field.be32(0x24)?, field.be32(0x28)?, field.be32(0x2c)?) } else { (0, 0, 0) };
        if incompat & !INCOMPAT_ALL != 0 || ro_compat != 0 {
            return Err(Error::unsupported(format!(
                "a journal with the features {:#x} and {ro_compat:#x}",
                incompat & !INCOMPAT_ALL
            )));
        }
        let sums = [compat & COMPAT_CHECKSUM, incompat & INCOMPAT_CSUM_V2, incompat & INCOMPAT_CSUM_V3];
        if sums.iter().filter(|&&bit| bit != 0).count() > 1 {
            return Err(field.corrupt("more than one kind of checksums"));
        }
        let sums_blocks = incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3) != 0;
        if sums_blocks {
            if field.u8(0x50)? != 4 {
                return Err(Error::unsupported(format!(
                    "a journal with checksums of type {}",
                    field.u8(0x50)?
                )));
            }
            let sum = crc32c(crc32c(!0, field.bytes(0, 0xfc)?), &[0; 4]);
            if field.be32(0xfc)? != crc32c(sum, field.bytes(0x100, head.len() - 0x100)?) {
                return Err(field.corrupt("its checksum is wrong"));
            }
        }
        let mut last = length;
        let fast_commit = incompat & INCOMPAT_FAST_COMMIT != 0;
        if fast_commit {
            let stored = field.be32(0x54)?;
            let fast = if stored == 0 { FAST_COMMIT_BLOCKS } else { stored };
            if let Some(before) = length.checked_sub(fast).filter(|&before| before >= MIN_BLOCKS) {
                last = before;
            }
        }
        if first >= last {
            return Err(field.corrupt(format!("a log from block {first} to {last}")));
        }
        Ok(Journal {
            rows,
            piece: (0, Vec::new()),
            length,
            first,
            last,
            sequence: field.be32(0x18)?,
            start: field.be32(0x1c)?,
            sums_transactions: compat & COMPAT_CHECKSUM != 0,
            wide: incompat & INCOMPAT_WIDE != 0,
            async_commit: incompat & INCOMPAT_ASYNC_COMMIT != 0,
            sums_blocks,
            long_tags: incompat & INCOMPAT_CSUM_V3 != 0,
            fast_commit,
            seed: crc32c(!0, field.bytes(0x30, 16)?),
            volume,
        })
    }

    /// Bytes of a block.
    pub fn block_size(&self) -> usize {
        self.volume.block_size()
    }

    /// Bytes of one tag of a descriptor, without a UUID.
    pub fn tag_length(&self) -> usize {
        match (self.long_tags, self.sums_blocks, self.wide) {
            (true, ..) => 16,
            (_, true, true) => 14,
            (_, true, false) => 10,
            (_, false, true) => 12,
            (_, false, false) => 8,
        }
    }

    /// The block after `block` of the log, which is a ring.
    pub fn after(&self, block: u32) -> u32 {
        self.wrap(u64::from(block) + 1)
    }

    /// The block where a number past the log's end really is.
    pub fn wrap(&self, block: u64) -> u32 {
        if block < u64::from(self.last) {
            return block as u32;
        }
        let ring = u64::from(self.last - self.first);
        // At most `length`, which has 32 bits.
        (u64::from(self.first) + (block - u64::from(self.first)) % ring) as u32
    }

    /// The bytes of a block.
    ///
    /// # Errors
    /// `Corrupt` outside of the journal, and in a hole of its file.
    pub fn block(&mut self, block: u32) -> Result<&[u8]> {
        let size = self.block_size();
        let held = (self.piece.1.len() / size) as u32;
        if block < self.piece.0 || block - self.piece.0 >= held {
            self.read_piece(block)?;
        }
        let at = (block - self.piece.0) as usize * size;
        Fields::new("the journal", &self.piece.1).bytes(at, size)
    }

    fn read_piece(&mut self, block: u32) -> Result<()> {
        let outside = || Error::corrupt("the journal", format!("block {block} of it is not there"));
        if block >= self.length {
            return Err(outside());
        }
        let index = self.rows.partition_point(|row| row.first <= block);
        let row = index.checked_sub(1).and_then(|index| self.rows.get(index)).ok_or_else(outside)?;
        if u64::from(block) >= row.end() {
            return Err(outside());
        }
        let bits = self.volume.sb.block_bits;
        let left = (row.end() - u64::from(block)).min(u64::from(self.length - block));
        let bytes = (left << bits).min(PIECE as u64) as usize;
        let place = (row.physical + u64::from(block - row.first)) << bits;
        self.piece.1.resize(bytes, 0);
        if let Err(error) = self.volume.read(place, &mut self.piece.1) {
            self.piece.1.clear();
            return Err(error);
        }
        self.piece.0 = block;
        Ok(())
    }
}
