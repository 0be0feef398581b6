//! Folders: in the inode, of one block, of many blocks with an index of hashes (XFS Algorithms & Data Structures,
//! "Directories").
//!
//! A position in a folder is, for one in the inode, the number of entries before it; for all others the byte in the
//! folder's data where the next entry begins.

use crate::xfs::core::{BlockType, Core};
use crate::xfs::inode::{Format, Inode, Which};
use crate::xfs::node::{Leaf, hash};
use crate::{DirEntry, Error, Fields, FileKind, NodeId, Result};
use std::ops::ControlFlow;

/// Where the index begins, in bytes of the folder's data.
const INDEX_AT: u64 = 32 << 30;
/// What stands in place of an inode's number where there is no entry.
const FREE_TAG: u16 = 0xffff;
/// The unit of places in the index.
const ALIGN: usize = 8;

/// An entry as it is stored, still with `.` and `..` among them.
struct Entry<'a> {
    name: &'a [u8],
    inode: u64,
    kind: Option<FileKind>,
    /// Where it begins and where the next one does, in bytes of its block.
    at: usize,
    end: usize,
}

fn kind(number: u8) -> Option<FileKind> {
    match number {
        1 => Some(FileKind::File),
        2 => Some(FileKind::Directory),
        // A whiteout is a character device with the number 0.
        3 | 8 => Some(FileKind::CharDevice),
        4 => Some(FileKind::BlockDevice),
        5 => Some(FileKind::Fifo),
        6 => Some(FileKind::Socket),
        7 => Some(FileKind::Symlink),
        _ => None,
    }
}

fn check_name(inode: &Inode, name: &[u8]) -> Result<()> {
    if name.is_empty() || name.contains(&0) || name.contains(&b'/') {
        return Err(inode.corrupt(format!("it has an entry called {:?}", String::from_utf8_lossy(name))));
    }
    Ok(())
}

/// The entries of a folder that lies in its inode.
fn short_form(inode: &Inode, ftype: bool, visit: &mut dyn FnMut(Entry<'_>) -> ControlFlow<()>) -> Result<()> {
    let bytes = inode.data().bytes;
    let size = usize::try_from(inode.stat.size).ok().filter(|&size| size <= bytes.len());
    let size = size.ok_or_else(|| inode.corrupt("a folder is larger than the inode which holds it"))?;
    let f = Fields::new("a folder in an inode", &bytes[..size]);
    let (count, wide) = (f.u8(0)?, f.u8(1)? != 0);
    let width = if wide { 8 } else { 4 };
    let mut at = 2 + width;
    for index in 0..usize::from(count) {
        let length = usize::from(f.u8(at)?);
        let name = f.bytes(at + 3, length)?;
        at += 3 + length;
        let kind = if ftype {
            at += 1;
            kind(f.u8(at - 1)?)
        } else {
            None
        };
        let number = if wide { f.be64(at)? } else { f.be32(at)?.into() };
        at += width;
        check_name(inode, name)?;
        if visit(Entry { name, inode: number, kind, at: index, end: index + 1 }).is_break() {
            break;
        }
    }
    Ok(())
}

/// The entry at byte `at` of a block whose entries end at `limit`; `None` for a free place, with its end.
fn entry_at<'a>(
    inode: &Inode,
    bytes: &'a [u8],
    at: usize,
    limit: usize,
    ftype: bool,
) -> Result<(Option<Entry<'a>>, usize)> {
    let f = Fields::new("a block of a folder", &bytes[..limit]);
    if f.be16(at)? == FREE_TAG {
        let length = usize::from(f.be16(at + 2)?);
        // A block of 64 KiB that is free in whole would not fit into 16 bits: the header takes some of it.
        if length == 0 || length % ALIGN != 0 || at + length > limit {
            return Err(inode.corrupt(format!("a free place of {length} bytes in a folder")));
        }
        return Ok((None, at + length));
    }
    let length = usize::from(f.u8(at + 8)?);
    let name = f.bytes(at + 9, length)?;
    let kind = if ftype { kind(f.u8(at + 9 + length)?) } else { None };
    let end = (at + 9 + length + usize::from(ftype) + 2).next_multiple_of(ALIGN);
    if end > limit {
        return Err(inode.corrupt("an entry of a folder goes over its block's end"));
    }
    check_name(inode, name)?;
    Ok((Some(Entry { name, inode: f.be64(at)?, kind, at, end }), end))
}

impl Core {
    /// Where entries begin in a block.
    fn entries_at(&self) -> usize {
        if self.superblock.v5 { 64 } else { 16 }
    }

    /// How many bytes of a block are entries, and the hashes behind them in a folder of one block.
    fn split<'a>(&self, inode: &Inode, kind: BlockType, bytes: &'a [u8]) -> Result<(usize, &'a [[u8; 8]])> {
        match kind {
            BlockType::DirectoryData => Ok((bytes.len(), &[])),
            BlockType::DirectoryBlock => {
                let f = Fields::new("a folder of one block", bytes);
                let tail = bytes.len() - 8;
                let count = usize::try_from(f.be32(tail)?).unwrap_or(usize::MAX);
                let start = count
                    .checked_mul(8)
                    .and_then(|length| tail.checked_sub(length))
                    .filter(|&start| start >= self.entries_at())
                    .ok_or_else(|| inode.corrupt(format!("{count} hashes in a folder of one block")))?;
                Ok((start, bytes[start..tail].as_chunks().0))
            }
            _ => Err(inode.corrupt("a block of its index stands where entries are needed")),
        }
    }

    /// Calls `visit` with the entries from `from` on, as [`GuestFs::readdir`](crate::GuestFs::readdir) does.
    pub fn read_directory(
        &self,
        inode: &Inode,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.check_trust(inode.number, Which::Data)?;
        let mut give = |entry: Entry<'_>, base: u64| {
            if base + (entry.at as u64) < from || entry.name == b"." || entry.name == b".." {
                return ControlFlow::Continue(());
            }
            visit(DirEntry {
                name: entry.name,
                node: NodeId { tree: 0, inode: entry.inode },
                kind: entry.kind,
                next: base + entry.end as u64,
            })
        };
        if inode.data().format == Format::Local {
            return short_form(inode, self.superblock.ftype, &mut |entry| give(entry, 0));
        }
        let size = u64::from(self.superblock.directory_block_size);
        let in_blocks = size >> self.superblock.block_log;
        let mut block = from / size;
        // A folder has fewer blocks than the file system, whatever its map says.
        let mut left = self.superblock.size() / size;
        loop {
            let Some(extent) = self.extent(inode, Which::Data, block * in_blocks)? else { return Ok(()) };
            block = block.max(extent.file / in_blocks);
            if block >= INDEX_AT / size {
                return Ok(());
            }
            left =
                left.checked_sub(1).ok_or_else(|| inode.corrupt("a folder larger than the file system"))?;
            let (block_type, bytes) = self
                .fork_block(inode, Which::Data, block * in_blocks, self.superblock.directory_block_size)?
                .ok_or_else(|| inode.corrupt(format!("block {block} of a folder is missing")))?;
            let (limit, _) = self.split(inode, block_type, &bytes)?;
            let mut at = self.entries_at();
            while at < limit {
                let (entry, end) = entry_at(inode, &bytes, at, limit, self.superblock.ftype)?;
                if let Some(entry) = entry
                    && give(entry, block * size).is_break()
                {
                    return Ok(());
                }
                at = end;
            }
            block += 1;
        }
    }

    /// The inode that the folder calls `name`.
    pub fn look_up(&self, inode: &Inode, name: &[u8]) -> Result<u64> {
        self.check_trust(inode.number, Which::Data)?;
        if self.superblock.ignores_case {
            return self.look_up_without_case(inode, name);
        }
        if inode.data().format == Format::Local {
            let mut found = None;
            short_form(inode, self.superblock.ftype, &mut |entry| {
                if entry.name == name {
                    found = Some(entry.inode);
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            return found.ok_or(Error::NotFound);
        }
        let size = self.superblock.directory_block_size;
        let wanted = hash(name);
        let (block_type, bytes) = self
            .fork_block(inode, Which::Data, 0, size)?
            .ok_or_else(|| inode.corrupt("the first block of a folder is missing"))?;
        if block_type == BlockType::DirectoryBlock {
            let (_, hashes) = self.split(inode, block_type, &bytes)?;
            return self.look_up_hash(inode, hashes, wanted, name)?.ok_or(Error::NotFound);
        }
        let root = INDEX_AT >> self.superblock.block_log;
        let mut leaf = self.find_leaf(inode, Which::Data, root, size, BlockType::DirectoryLeaf, wanted)?;
        // Names of one hash may go on in the next leaf; a folder has no more leaves than the file system has blocks.
        for _ in 0..self.superblock.blocks {
            let hashes = self.hashes(&leaf)?;
            if let Some(found) = self.look_up_hash(inode, hashes, wanted, name)? {
                return Ok(found);
            }
            let goes_on = hashes.last().is_none_or(|last| hash_of(last) <= wanted);
            if leaf.next == 0 || !goes_on {
                break;
            }
            leaf = self.leaf(inode, Which::Data, leaf.next, size, BlockType::DirectoryLeaf)?;
        }
        Err(Error::NotFound)
    }

    fn hashes<'a>(&self, leaf: &'a Leaf) -> Result<&'a [[u8; 8]]> {
        let f = Fields::new("a leaf of a folder", &leaf.bytes);
        let (counted, entries) = if self.superblock.v5 { (56, 64) } else { (12, 16) };
        Ok(f.bytes(entries, usize::from(f.be16(counted)?) * 8)?.as_chunks().0)
    }

    /// Looks at the entries of one hash in sorted `hashes`: pairs of a hash and a place, 0 for one that was deleted.
    fn look_up_hash(
        &self,
        inode: &Inode,
        hashes: &[[u8; 8]],
        wanted: u32,
        name: &[u8],
    ) -> Result<Option<u64>> {
        let size = self.superblock.directory_block_size;
        let first = hashes.partition_point(|entry| hash_of(entry) < wanted);
        for entry in hashes[first..].iter().take_while(|entry| hash_of(entry) == wanted) {
            let place = u64::from(u64::from_be_bytes(*entry) as u32) * ALIGN as u64;
            if place == 0 {
                continue;
            }
            let (block, at) = (place / u64::from(size), (place % u64::from(size)) as usize);
            let first = (block * u64::from(size)) >> self.superblock.block_log;
            let (block_type, bytes) = self
                .fork_block(inode, Which::Data, first, size)?
                .ok_or_else(|| inode.corrupt("its index points to a missing block"))?;
            let (limit, _) = self.split(inode, block_type, &bytes)?;
            match entry_at(inode, &bytes, at, limit, self.superblock.ftype)? {
                (Some(entry), _) if entry.name == name => return Ok(Some(entry.inode)),
                (Some(_), _) => {}
                (None, _) => return Err(inode.corrupt("its index points to a free place")),
            }
        }
        Ok(None)
    }

    /// The exact name first, then one that differs in the case of ASCII letters.
    fn look_up_without_case(&self, inode: &Inode, name: &[u8]) -> Result<u64> {
        let (mut exact, mut other) = (None, None);
        self.read_directory(inode, 0, &mut |entry| {
            if entry.name == name {
                exact = Some(entry.node.inode);
                return ControlFlow::Break(());
            }
            if entry.name.eq_ignore_ascii_case(name) {
                other = other.or(Some(entry.node.inode));
            }
            ControlFlow::Continue(())
        })?;
        exact.or(other).ok_or(Error::NotFound)
    }
}

fn hash_of(entry: &[u8; 8]) -> u32 {
    (u64::from_be_bytes(*entry) >> 32) as u32
}
