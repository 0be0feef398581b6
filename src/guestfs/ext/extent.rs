//! Extent trees ("Extent Tree"): which blocks of a file lie where.

use super::checksum::crc32c;
use super::inode::Inode;
use super::volume::Volume;
use crate::device::read_vec;
use crate::{Error, Fields, Result};
use std::sync::Arc;

const MAGIC: u16 = 0xf30a;
/// Bytes of the header, and of each entry.
const ENTRY: usize = 12;
/// Deeper than this no tree of 2^32 blocks has to be.
const MAX_DEPTH: u16 = 5;

/// Some blocks of a file in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first one's number in the file.
    pub first: u32,
    /// How many, at most 2^32.
    pub length: u64,
    /// Where the first lies.
    pub physical: u64,
    /// Whether they were ever written. Where not, they read as zeros.
    pub written: bool,
}

impl Extent {
    /// The block of the file after the last one.
    pub fn end(&self) -> u64 {
        u64::from(self.first) + self.length
    }
}

/// A node of a tree.
#[derive(Debug)]
pub(super) enum Node {
    /// The first block of a file that a child tells of, and where the child lies; in order.
    Index(Vec<(u32, u64)>),
    /// In order, never overlapping.
    Leaf(Vec<Extent>),
}

/// A row of blocks of a file, from some block on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// How many blocks, at least 1.
    pub length: u64,
    /// Where they lie; none where they read as zeros.
    pub physical: Option<u64>,
}

/// The first extent record of `bytes`: `ee_block`, `ee_len`, `ee_start_hi`, `ee_start_lo`. More than 32768 blocks say
/// that they were allocated and never written.
pub(super) fn decode(field: Fields<'_>) -> Result<Extent> {
    let length = field.le16(4)?;
    Ok(Extent {
        first: field.le32(0)?,
        length: if length > 0x8000 { length - 0x8000 } else { length }.into(),
        physical: u64::from(field.le16(6)?) << 32 | u64::from(field.le32(8)?),
        written: length <= 0x8000,
    })
}

/// Where `extents`, in order, have `block`.
pub(super) fn find(extents: &[Extent], block: u64, end: u64) -> Segment {
    let index = extents.partition_point(|extent| u64::from(extent.first) <= block);
    if let Some(extent) = index.checked_sub(1).and_then(|index| extents.get(index))
        && block < extent.end()
    {
        let physical = extent.written.then(|| extent.physical + (block - u64::from(extent.first)));
        return Segment { length: extent.end() - block, physical };
    }
    let next = extents.get(index).map_or(end, |extent| u64::from(extent.first)).min(end);
    Segment { length: next.saturating_sub(block).max(1), physical: None }
}

impl Volume {
    /// Where `block` of a file with extents lies.
    ///
    /// # Errors
    /// `Corrupt` for a tree that contradicts itself.
    pub(super) fn extent_segment(&self, inode: &Inode, block: u64) -> Result<Segment> {
        let (mut end, mut node) = (1 << 32, Arc::new(self.extent_root(inode)?.0));
        if block >= end {
            return Ok(Segment { length: u64::MAX - block, physical: None });
        }
        let mut depth = self.extent_root(inode)?.1;
        loop {
            let (child, next) = match &*node {
                Node::Leaf(extents) => return Ok(find(extents, block, end)),
                Node::Index(children) => {
                    let after = children.partition_point(|child| u64::from(child.0) <= block);
                    let next = children.get(after).map_or(end, |child| u64::from(child.0));
                    match after.checked_sub(1).and_then(|index| children.get(index)) {
                        Some(child) => (child.1, next),
                        None => return Ok(Segment { length: next - block, physical: None }),
                    }
                }
            };
            end = end.min(next);
            depth -= 1;
            node = self.extent_node(inode, child, depth)?;
        }
    }

    /// All extents of a file in order, at most `limit`.
    ///
    /// # Errors
    /// As [`extent_segment`](Self::extent_segment), and `Limit`.
    pub(super) fn all_extents(&self, inode: &Inode, limit: usize) -> Result<Vec<Extent>> {
        let too_many = || Error::Limit(format!("inode {} has more than {limit} extents", inode.number));
        let mut all: Vec<Extent> = Vec::new();
        // Children that are still to be read, the next one last, with their depth.
        let mut waiting: Vec<(u64, u16)> = Vec::new();
        let (root, mut depth) = self.extent_root(inode)?;
        let mut node = Arc::new(root);
        let mut children_seen = 0;
        loop {
            match &*node {
                Node::Leaf(extents) => {
                    if let (Some(last), Some(first)) = (all.last(), extents.first())
                        && last.end() > u64::from(first.first)
                    {
                        return Err(inode.corrupt("its extents are not in order"));
                    }
                    all.extend_from_slice(extents);
                }
                Node::Index(children) => {
                    children_seen += children.len();
                    waiting.extend(children.iter().rev().map(|&(_, child)| (child, depth - 1)));
                }
            }
            if all.len() > limit || children_seen > limit {
                return Err(too_many());
            }
            let Some((child, at)) = waiting.pop() else { return Ok(all) };
            depth = at;
            node = self.extent_node(inode, child, depth)?;
        }
    }

    /// The root in the inode itself, and its depth.
    fn extent_root(&self, inode: &Inode) -> Result<(Node, u16)> {
        let depth = Fields::new("an extent tree", inode.block()).le16(6)?;
        if depth > MAX_DEPTH {
            return Err(inode.corrupt(format!("an extent tree of depth {depth}")));
        }
        Ok((self.parse_node(inode, inode.block(), depth)?, depth))
    }

    /// The node in `block`, which must be of `depth`.
    fn extent_node(&self, inode: &Inode, block: u64, depth: u16) -> Result<Arc<Node>> {
        let key = (inode.number, block);
        if let Some(node) = self.extents.get(&key) {
            // The same block on two levels is a loop.
            if matches!(&*node, Node::Leaf(_)) == (depth == 0) {
                return Ok(node);
            }
        }
        let offset = self.place("an extent tree", block, 1)?;
        let bytes = read_vec(&*self.device, offset, self.block_size())?;
        if self.sb.has_checksums() {
            let field = Fields::new("an extent tree's block", &bytes);
            let end = ENTRY + ENTRY * usize::from(field.le16(4)?);
            if field.le32(end)? != crc32c(inode.seed, field.bytes(0, end)?) {
                return Err(inode.corrupt(format!("the checksum of its extents in block {block} is wrong")));
            }
        }
        let node = Arc::new(self.parse_node(inode, &bytes, depth)?);
        self.extents.put(key, node.clone(), bytes.len() * 2 + 64);
        Ok(node)
    }

    fn parse_node(&self, inode: &Inode, bytes: &[u8], depth: u16) -> Result<Node> {
        let field = Fields::new("an extent tree", bytes);
        let (entries, most) = (field.le16(2)?, field.le16(4)?);
        if field.le16(0)? != MAGIC || field.le16(6)? != depth {
            return Err(inode.corrupt(format!("no node of depth {depth} where its extents should be")));
        }
        if entries > most || usize::from(most) > (bytes.len() - ENTRY) / ENTRY || (depth > 0 && entries == 0)
        {
            return Err(inode.corrupt(format!("{entries} of {most} entries in a node of its extents")));
        }
        let records = (1..=usize::from(entries)).map(|index| field.part(index * ENTRY, ENTRY));
        let unordered = || inode.corrupt("its extents are not in order");
        if depth > 0 {
            let mut children: Vec<(u32, u64)> = Vec::with_capacity(entries.into());
            for record in records {
                let record = record?;
                let first = record.le32(0)?;
                if children.last().is_some_and(|last| last.0 >= first) {
                    return Err(unordered());
                }
                children.push((first, u64::from(record.le32(4)?) | u64::from(record.le16(8)?) << 32));
            }
            return Ok(Node::Index(children));
        }
        let mut extents: Vec<Extent> = Vec::with_capacity(entries.into());
        for record in records {
            let extent = decode(record?)?;
            if extent.length == 0
                || extent.end() > 1 << 32
                || extents.last().is_some_and(|last| last.end() > extent.first.into())
            {
                return Err(unordered());
            }
            self.place("an extent", extent.physical, extent.length)?;
            extents.push(extent);
        }
        Ok(Node::Leaf(extents))
    }
}
