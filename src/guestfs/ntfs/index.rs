//! The `$I30` index of a folder: a B+tree of names, its root in the folder's record, its blocks in clusters.
//!
//! "Index" of the Linux-NTFS documentation. Every block is read through its update sequence and says its own number, so
//! nothing is listed from a block that belongs to something else.

use super::file::{File, FileName};
use super::fixup;
use super::name::UpCase;
use super::record::kind;
use super::stream::{Content, Stream};
use super::volume::Volume;
use crate::{Error, Fields, Result};
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

/// The deepest tree. Four levels hold more names than a volume has records.
const MAX_DEPTH: usize = 24;
/// The most blocks of one folder that are walked: 4 million hold about 100 million names.
const MAX_BLOCKS: usize = 4 << 20;
/// `$I30`.
const NAME: [u16; 4] = [b'$' as u16, b'I' as u16, b'3' as u16, b'0' as u16];

/// A folder's index.
pub struct Index<'a> {
    volume: &'a Volume,
    number: u64,
    root: Node,
    blocks: Option<&'a Stream>,
    block_size: usize,
    /// Bytes that a child's number counts.
    unit: u64,
}

/// A node: the root, or a block.
#[derive(Clone)]
struct Node {
    bytes: Arc<Vec<u8>>,
    /// Where its entries begin and end.
    start: usize,
    end: usize,
}

/// An entry of a node.
pub struct Entry<'a> {
    /// The file, as a reference.
    pub reference: u64,
    /// The name's key; empty for the entry that ends a node.
    key: &'a [u8],
    last: bool,
    child: Option<u64>,
    length: usize,
}

impl Entry<'_> {
    /// The name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where there is none.
    pub fn name(&self) -> Result<FileName> {
        FileName::parse(self.key)
    }
}

impl Node {
    /// From the bytes of an index root or block, whose node header is at `header`.
    fn new(bytes: Arc<Vec<u8>>, header: usize) -> Result<Self> {
        let fields = Fields::new("an index node", &bytes);
        let (first, used) = (fields.le32(header)? as usize, fields.le32(header + 4)? as usize);
        let start = header.checked_add(first).filter(|&start| first >= 16 && start % 8 == 0);
        let end = header.checked_add(used).filter(|&end| end <= bytes.len());
        match (start, end) {
            (Some(start), Some(end)) if start < end => Ok(Node { start, end, bytes }),
            _ => Err(fields.corrupt(format!("entries from {first} to {used} of {} bytes", bytes.len()))),
        }
    }

    fn entry(&self, at: usize) -> Result<Entry<'_>> {
        let all = Fields::new("an index entry", &self.bytes[..self.end]);
        let (length, key_length) = (usize::from(all.le16(at + 8)?), usize::from(all.le16(at + 10)?));
        let flags = all.le16(at + 12)?;
        let (inner, last) = (flags & 1 != 0, flags & 2 != 0);
        let least = 16 + if inner { 8 } else { 0 };
        if length < least || length % 8 != 0 || (!last && key_length > length - least) {
            return Err(all.corrupt(format!("{length} bytes with a key of {key_length}")));
        }
        let entry = all.part(at, length)?;
        Ok(Entry {
            reference: entry.le64(0)?,
            key: if last { &[] } else { entry.bytes(16, key_length)? },
            last,
            child: if inner { Some(entry.le64(length - 8)?) } else { None },
            length,
        })
    }
}

impl<'a> Index<'a> {
    /// The index of a folder.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it has none: a folder that is damaged is not the same as no folder, which a search would
    /// pass over.
    pub fn new(volume: &'a Volume, file: &'a File) -> Result<Self> {
        let Some((_, root)) = file.find(kind::INDEX_ROOT, &NAME) else {
            return Err(Error::corrupt(
                format!("the folder in record {}", file.number),
                "it has no index of names",
            ));
        };
        let Content::Resident(bytes) = &root.content else {
            return Err(Error::corrupt("an index root", "it is not in its record"));
        };
        let fields = Fields::new("an index root", bytes);
        let (indexed, collation, block_size) = (fields.le32(0)?, fields.le32(4)?, fields.le32(8)? as usize);
        if (indexed, collation) != (kind::FILE_NAME, 1) {
            return Err(fields.corrupt(format!("attribute {indexed:#x} in order {collation}")));
        }
        if !(512..=65536).contains(&block_size) || !block_size.is_power_of_two() {
            return Err(fields.corrupt(format!("blocks of {block_size} bytes")));
        }
        let blocks = match file.find(kind::INDEX_ALLOCATION, &NAME) {
            Some((_, attribute)) => match &attribute.content {
                Content::Clusters(stream) => Some(stream),
                Content::Resident(_) => {
                    return Err(Error::corrupt("an index", "its blocks are in the record"));
                }
            },
            None => None,
        };
        // Blocks that are smaller than a cluster are counted in sectors of 512 bytes.
        let cluster = volume.geometry.cluster_size();
        let unit = if cluster <= block_size as u64 { cluster } else { 512 };
        let root = Node::new(Arc::new(bytes.clone()), 16)?;
        Ok(Index { volume, number: file.number, root, blocks, block_size, unit })
    }

    /// Bytes of all blocks.
    pub fn size(&self) -> (u64, u64) {
        self.blocks.map_or((0, 0), |stream| {
            let content = Content::Clusters(stream.clone());
            (content.size(), content.allocated())
        })
    }

    /// The block that an entry calls `child`.
    fn block(&self, child: u64) -> Result<Node> {
        let bytes = self.volume.blocks.get_or((self.number, child), || {
            let name = || format!("index block {child} of folder {}", self.number);
            let outside = || Error::corrupt(name(), "it lies outside of the index");
            let stream = self.blocks.ok_or_else(outside)?;
            let offset = child.checked_mul(self.unit).ok_or_else(outside)?;
            let end = (stream.runs().clusters() << self.volume.geometry.cluster_bits).min(1 << 62);
            if offset > end || end - offset < self.block_size as u64 {
                return Err(outside());
            }
            let mut bytes = vec![0; self.block_size];
            self.volume.read_clusters(stream.runs(), offset, &mut bytes)?;
            fixup::apply(&mut bytes, b"INDX", &name)?;
            let said = Fields::new("an index block", &bytes).le64(0x10)?;
            if said != child {
                return Err(Error::corrupt(name(), format!("it says that it is block {said}")));
            }
            Ok((Arc::new(bytes), self.block_size))
        })?;
        Node::new(bytes, 0x18)
    }

    fn node(&self, block: Option<u64>) -> Result<Node> {
        block.map_or_else(|| Ok(self.root.clone()), |block| self.block(block))
    }

    /// Every entry whose name is `name` but for case, to `found`, until that says to stop.
    ///
    /// # Errors
    /// Why the tree can't be read.
    pub fn search(
        &self,
        upcase: &UpCase,
        name: &[u16],
        found: &mut dyn FnMut(&FileName, u64) -> bool,
    ) -> Result<()> {
        let mut visited = 0;
        self.descend(None, upcase, name, found, &mut visited, 0).map(|_| ())
    }

    /// Whether to stop.
    fn descend(
        &self,
        block: Option<u64>,
        upcase: &UpCase,
        name: &[u16],
        found: &mut dyn FnMut(&FileName, u64) -> bool,
        visited: &mut usize,
        depth: usize,
    ) -> Result<bool> {
        *visited += 1;
        // Names that differ in case only may fill blocks; more than this is a loop.
        if depth > MAX_DEPTH || *visited > 4096 {
            return Err(self.damaged("a tree without an end"));
        }
        let node = self.node(block)?;
        let mut at = node.start;
        loop {
            let entry = node.entry(at)?;
            let key = if entry.last { None } else { Some(entry.name()?) };
            let order = key.as_ref().map_or(Ordering::Less, |key| upcase.compare(name, &key.name));
            if order.is_le()
                && let Some(child) = entry.child
                && self.descend(Some(child), upcase, name, found, visited, depth + 1)?
            {
                return Ok(true);
            }
            match (order, key) {
                (Ordering::Less, _) | (_, None) => return Ok(false),
                (Ordering::Equal, Some(key)) if found(&key, entry.reference) => return Ok(true),
                _ => at += entry.length,
            }
        }
    }

    fn damaged(&self, reason: &str) -> Error {
        Error::corrupt(format!("the index of folder {}", self.number), reason)
    }

    /// The whole tree in the order of names.
    ///
    /// # Errors
    /// Why it can't be read; a tree that meets itself.
    pub fn order(&self) -> Result<Order> {
        struct Level {
            block: Option<u64>,
            node: Node,
            at: usize,
            /// The child before the entry was walked.
            below: bool,
        }
        let mut order = Order::default();
        let mut seen = HashSet::new();
        let mut levels =
            vec![Level { block: None, at: self.root.start, node: self.root.clone(), below: false }];
        while let Some(level) = levels.last_mut() {
            let entry = level.node.entry(level.at)?;
            if let Some(child) = entry.child.filter(|_| !level.below) {
                level.below = true;
                if !seen.insert(child) || seen.len() > MAX_BLOCKS || levels.len() > MAX_DEPTH {
                    return Err(self.damaged("a tree without an end"));
                }
                let node = self.block(child)?;
                levels.push(Level { block: Some(child), at: node.start, node, below: false });
                continue;
            }
            let (last, length) = (entry.last, entry.length);
            if last {
                levels.pop();
                continue;
            }
            order.add(level.block, level.at);
            level.at += length;
            level.below = false;
        }
        Ok(order)
    }

    /// Calls `visit` with the entries of `order` from the `from`th on, and with the number after each, until it says to
    /// stop.
    ///
    /// # Errors
    /// Why a block can't be read, and what `visit` says.
    pub fn visit(
        &self,
        order: &Order,
        from: u64,
        visit: &mut dyn FnMut(&Entry<'_>, u64) -> Result<bool>,
    ) -> Result<()> {
        let first = order.parts.partition_point(|part| part.ordinal <= from).saturating_sub(1);
        let mut number = order.parts.get(first).map_or(0, |part| part.ordinal);
        for (index, part) in order.parts.iter().enumerate().skip(first) {
            let end = order.parts.get(index + 1).map_or(order.count, |next| next.ordinal);
            let node = self.node(part.block)?;
            let mut at = part.at as usize;
            while number < end {
                let entry = node.entry(at)?;
                number += 1;
                if number > from && !visit(&entry, number)? {
                    return Ok(());
                }
                at += entry.length;
            }
        }
        Ok(())
    }
}

/// The entries of a folder in order, as parts of nodes: a leaf is one, and so is each entry between two leaves. This
/// makes a position in a folder a number that always means the same.
#[derive(Default)]
pub struct Order {
    parts: Vec<Part>,
    count: u64,
}

struct Part {
    block: Option<u64>,
    at: u32,
    /// How many entries are before it.
    ordinal: u64,
}

impl Order {
    fn add(&mut self, block: Option<u64>, at: usize) {
        if self.parts.last().is_none_or(|part| part.block != block) {
            self.parts.push(Part { block, at: at as u32, ordinal: self.count });
        }
        self.count += 1;
    }

    /// Bytes that this takes in memory.
    pub fn cost(&self) -> usize {
        64 + self.parts.len() * size_of::<Part>()
    }
}
