//! Which blocks of the device a fork's blocks are: lists of extents and B+trees of them (XFS Algorithms & Data
//! Structures, "Data Extents").
//!
//! Nothing here holds the whole map of a fork: a look-up goes down the tree through cached blocks.

use crate::xfs::checksum::Header;
use crate::xfs::core::{BlockKey, Core};
use crate::xfs::inode::{Fork, Format, Inode, Which};
use crate::{Error, Fields, Result};
use std::sync::Arc;

/// `BMA3` and, in version 4, `BMAP`.
const MAGIC_V5: u32 = 0x424d_4133;
const MAGIC_V4: u32 = 0x424d_4150;
/// Levels of the highest tree that the format allows, with one to spare.
const MAX_LEVELS: u16 = 10;
/// How often a look-up may go on in the next leaf: once is what a sound tree needs.
const MAX_STEPS: u32 = 16;
const RECORD: usize = 16;

/// Consecutive blocks of a fork that are consecutive on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first block, counted in the fork.
    pub file: u64,
    /// The first block on the device, as [`Superblock::block_offset`](super::superblock::Superblock::block_offset)
    /// takes it.
    pub block: u64,
    /// How many blocks, at least one.
    pub count: u64,
    /// Allocated, but reads as zeros.
    pub unwritten: bool,
}

impl Extent {
    /// The packed form: a bit, 54 of the file's block, 52 of the device's, 21 of the count.
    fn unpack(record: &[u8; RECORD]) -> Self {
        let packed = u128::from_be_bytes(*record);
        Extent {
            unwritten: packed >> 127 != 0,
            file: (packed >> 73) as u64 & ((1 << 54) - 1),
            block: (packed >> 21) as u64 & ((1 << 52) - 1),
            count: packed as u64 & ((1 << 21) - 1),
        }
    }

    /// The block of the fork after the last one.
    pub fn end(&self) -> u64 {
        self.file + self.count
    }
}

/// Checks that `records` are extents in order which do not overlap.
fn check_records(records: &[u8], owner: &Inode) -> Result<()> {
    let mut last = 0;
    for record in records.as_chunks::<RECORD>().0 {
        let extent = Extent::unpack(record);
        if extent.count == 0 || extent.file < last {
            return Err(owner.corrupt("its extents are not in order"));
        }
        last = extent.end();
    }
    Ok(())
}

/// The first of the `records` that ends after `block`.
fn search_records(records: &[u8], block: u64) -> Option<Extent> {
    let records = records.as_chunks::<RECORD>().0;
    let index = records.partition_point(|record| Extent::unpack(record).end() <= block);
    records.get(index).map(Extent::unpack)
}

/// Keys and pointers of a node: both big-endian numbers of 64 bits.
struct Node<'a> {
    keys: &'a [[u8; 8]],
    pointers: &'a [[u8; 8]],
}

impl<'a> Node<'a> {
    /// `bytes` after the header: room for as many keys as fit, then as many pointers.
    fn new(bytes: &'a [u8], count: usize, owner: &Inode) -> Result<Self> {
        let room = bytes.len() / 16;
        if count == 0 || count > room {
            return Err(owner.corrupt(format!("a node of its extents has {count} entries, room for {room}")));
        }
        let (keys, pointers) = bytes.split_at(room * 8);
        Ok(Node { keys: &keys.as_chunks().0[..count], pointers: &pointers.as_chunks().0[..count] })
    }

    fn check(&self, owner: &Inode) -> Result<()> {
        if self.keys.is_sorted_by(|a, b| u64::from_be_bytes(*a) < u64::from_be_bytes(*b)) {
            Ok(())
        } else {
            Err(owner.corrupt("a node of its extents is not in order"))
        }
    }

    /// The pointer of the child that holds `block`, and the key of the child after it.
    fn child(&self, block: u64) -> (u64, Option<u64>) {
        let after = self.keys.partition_point(|key| u64::from_be_bytes(*key) <= block).max(1);
        let pointer = u64::from_be_bytes(self.pointers[after - 1]);
        (pointer, self.keys.get(after).map(|key| u64::from_be_bytes(*key)))
    }
}

/// Checks the part of a fork's map that lies in the inode.
pub(super) fn check_root(fork: Fork<'_>, owner: &Inode) -> Result<()> {
    match fork.format {
        Format::Extents => check_records(inline_records(fork, owner)?, owner),
        Format::Btree => {
            let (level, node) = root(fork, owner)?;
            if level == 0 || level >= MAX_LEVELS {
                return Err(owner.corrupt(format!("the tree of its extents has {level} levels")));
            }
            node.check(owner)
        }
        Format::Device | Format::Local => Ok(()),
    }
}

fn inline_records<'a>(fork: Fork<'a>, owner: &Inode) -> Result<&'a [u8]> {
    usize::try_from(fork.extents)
        .ok()
        .and_then(|count| count.checked_mul(RECORD))
        .and_then(|length| fork.bytes.get(..length))
        .ok_or_else(|| owner.corrupt(format!("{} extents do not fit into it", fork.extents)))
}

fn root<'a>(fork: Fork<'a>, owner: &Inode) -> Result<(u16, Node<'a>)> {
    let fields = Fields::new("the root of a tree of extents", fork.bytes);
    let node =
        Node::new(fields.bytes(4, fork.bytes.len().saturating_sub(4))?, usize::from(fields.be16(2)?), owner)?;
    Ok((fields.be16(0)?, node))
}

impl Core {
    /// The first extent of a fork that ends after its block `block`: it holds that block, or begins behind it.
    pub fn extent(&self, inode: &Inode, which: Which, block: u64) -> Result<Option<Extent>> {
        self.check_trust(inode.number, which)?;
        if let Some(map) = self.changed_map(inode, which)? {
            return Ok(map.get(map.partition_point(|extent| extent.end() <= block)).copied());
        }
        self.stored_extent(inode, which, block)
    }

    /// The same, as it is stored.
    pub fn stored_extent(&self, inode: &Inode, which: Which, block: u64) -> Result<Option<Extent>> {
        let Some(fork) = inode.fork(which) else { return Ok(None) };
        match fork.format {
            Format::Device | Format::Local => Ok(None),
            Format::Extents => Ok(search_records(inline_records(fork, inode)?, block)),
            Format::Btree => {
                let mut block = block;
                for _ in 0..MAX_STEPS {
                    match self.search_tree(inode, fork, block)? {
                        (Some(extent), _) => return Ok(Some(extent)),
                        (None, None) => return Ok(None),
                        // The block lies between the last extent of one leaf and the first of the next.
                        (None, Some(next)) if next > block => block = next,
                        (None, Some(_)) => break,
                    }
                }
                Err(inode.corrupt("the tree of its extents leads nowhere"))
            }
        }
    }

    /// The extent in the leaf that `block` belongs to, and the first key of the leaf after that.
    fn search_tree(
        &self,
        inode: &Inode,
        fork: Fork<'_>,
        block: u64,
    ) -> Result<(Option<Extent>, Option<u64>)> {
        let (mut level, node) = root(fork, inode)?;
        let (mut pointer, mut next) = node.child(block);
        loop {
            level -= 1;
            let bytes = self.tree_block(inode, pointer, level)?;
            let header = self.tree_header();
            let count = usize::from(Fields::new("a block of extents", &bytes).be16(6)?);
            if level == 0 {
                return Ok((search_records(&bytes[header..header + count * RECORD], block), next));
            }
            let (child, after) = Node::new(&bytes[header..], count, inode)?.child(block);
            pointer = child;
            next = after.or(next);
        }
    }

    fn tree_header(&self) -> usize {
        if self.superblock.v5 { 72 } else { 24 }
    }

    /// A block of the tree, checked: its type, level, owner, the order of what is in it.
    fn tree_block(&self, inode: &Inode, pointer: u64, level: u16) -> Result<Arc<[u8]>> {
        let offset = self.superblock.block_offset(pointer, 1)?;
        let bytes = self.block(BlockKey::Tree { inode: inode.number, offset }, || {
            let bytes = self.read(offset, self.superblock.block_size as usize)?;
            let fields = Fields::new("a block of extents", &bytes);
            let magic = fields.be32(0)?;
            if magic != if self.superblock.v5 { MAGIC_V5 } else { MAGIC_V4 } {
                return Err(inode.corrupt(format!("its extents are said to be in block {pointer:#x}")));
            }
            if self.superblock.v5 {
                Header::LONG_BTREE.verify(&self.superblock, "extents", &bytes, offset, inode.number)?;
            }
            let header = self.tree_header();
            let count = usize::from(fields.be16(6)?);
            if fields.be16(4)? == 0 {
                check_records(fields.bytes(header, count * RECORD)?, inode)?;
            } else {
                Node::new(&bytes[header..], count, inode)?.check(inode)?;
            }
            Ok(bytes)
        })?;
        let found = Fields::new("a block of extents", &bytes).be16(4)?;
        if found != level {
            return Err(Error::corrupt(
                format!("the tree of extents of inode {}", inode.number),
                format!("a block of level {found} stands where one of level {level} is needed"),
            ));
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_every_bit() {
        let packed =
            (1u128 << 127) | (0x2a_aaaa_aaaa_aaaau128 << 73) | (0x5_5555_5555_5555u128 << 21) | 0x1f_fffe;
        assert_eq!(
            Extent::unpack(&packed.to_be_bytes()),
            Extent {
                unwritten: true,
                file: 0x2a_aaaa_aaaa_aaaa,
                block: 0x5_5555_5555_5555,
                count: 0x1f_fffe
            }
        );
    }

    #[test]
    fn finds_the_extent_that_ends_after_a_block() {
        let record = |file: u128, count: u128| ((file << 73) | (7 << 21) | count).to_be_bytes();
        let records = [record(2, 3), record(5, 1), record(100, 1)].concat();
        let found: Vec<_> = [0, 2, 4, 5, 6, 99, 100, 101]
            .map(|block| search_records(&records, block).map(|extent| extent.file))
            .to_vec();
        assert_eq!(found, [Some(2), Some(2), Some(2), Some(5), Some(100), Some(100), Some(100), None]);
    }
}
