//! Extended attributes: in the inode, in leaves, with values in blocks of their own (XFS Algorithms & Data Structures,
//! "Extended Attributes").

use crate::xfs::acl;
use crate::xfs::checksum::Header;
use crate::xfs::core::{BlockType, Core};
use crate::xfs::inode::{Format, Inode, Which};
use crate::{Fields, MAX_XATTR, Result, Xattr};

const LOCAL: u8 = 1 << 0;
const ROOT: u8 = 1 << 1;
const SECURE: u8 = 1 << 2;
/// A parent pointer: a name of this inode in a folder, of no interest to anybody but a repair.
const PARENT: u8 = 1 << 3;
/// Half of a change that was not finished.
const INCOMPLETE: u8 = 1 << 7;
const KNOWN: u8 = LOCAL | ROOT | SECURE | PARENT | INCOMPLETE;

/// `XARM`.
const REMOTE_MAGIC: u32 = 0x5841_524d;
/// The header of version 5 in each block of a value.
const REMOTE_HEADER: usize = 56;
/// Bytes of names and values that are collected for one inode; the kernel's list of names ends at 64 KiB, each of them
/// with a value of up to as much.
const MAX_ALL: usize = 64 << 20;

/// Where a value lies.
enum Value<'a> {
    Here(&'a [u8]),
    /// In blocks of the fork from this one on, so many bytes.
    Blocks(u64, usize),
}

impl Core {
    /// All extended attributes of `inode` as the kernel lists them.
    pub fn attributes(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        self.check_trust(inode.number, Which::Attributes)?;
        let Some(fork) = inode.attributes() else { return Ok(Vec::new()) };
        let mut all = Collected { list: Vec::new(), held: 0 };
        match fork.format {
            Format::Local => {
                let f = Fields::new("attributes in an inode", fork.bytes);
                let total = usize::from(f.be16(0)?);
                let f = f.part(0, total)?;
                let mut at = 4;
                for _ in 0..f.u8(2)? {
                    let (name, value, flags) =
                        (usize::from(f.u8(at)?), usize::from(f.u8(at + 1)?), f.u8(at + 2)?);
                    let bytes = f.bytes(at + 3, name + value)?;
                    let (name, value) = bytes.split_at(name);
                    at += 3 + bytes.len();
                    self.add_attribute(inode, flags, name, Value::Here(value), &mut all)?;
                }
            }
            Format::Extents | Format::Btree => self.attributes_in_leaves(inode, &mut all)?,
            Format::Device => {}
        }
        Ok(all.list)
    }

    fn attributes_in_leaves(&self, inode: &Inode, all: &mut Collected) -> Result<()> {
        // A fork without any block is left behind where the last attribute went.
        if self.extent(inode, Which::Attributes, 0)?.is_none() {
            return Ok(());
        }
        let size = self.superblock.block_size;
        let mut leaf = self.find_leaf(inode, Which::Attributes, 0, size, BlockType::AttributeLeaf, 0)?;
        for _ in 0..self.superblock.blocks {
            self.attributes_in_leaf(inode, &leaf.bytes, all)?;
            if leaf.next == 0 {
                return Ok(());
            }
            leaf = self.leaf(inode, Which::Attributes, leaf.next, size, BlockType::AttributeLeaf)?;
        }
        Err(inode.corrupt("the leaves of its attributes go round in a circle"))
    }

    fn attributes_in_leaf(&self, inode: &Inode, bytes: &[u8], all: &mut Collected) -> Result<()> {
        let f = Fields::new("a leaf of attributes", bytes);
        let (counted, entries) = if self.superblock.v5 { (56, 80) } else { (12, 32) };
        let count = usize::from(f.be16(counted)?);
        for entry in f.bytes(entries, count * 8)?.as_chunks::<8>().0 {
            let at = usize::from(u16::from_be_bytes([entry[4], entry[5]]));
            let flags = entry[6];
            let (name, value) = if flags & LOCAL != 0 {
                let (value, name) = (usize::from(f.be16(at)?), usize::from(f.u8(at + 2)?));
                let (name, value) = f.bytes(at + 3, name + value)?.split_at(name);
                (name, Value::Here(value))
            } else {
                let (block, length, name) = (f.be32(at)?, f.be32(at + 4)?, usize::from(f.u8(at + 8)?));
                (f.bytes(at + 9, name)?, Value::Blocks(block.into(), length as usize))
            };
            self.add_attribute(inode, flags, name, value, all)?;
        }
        Ok(())
    }

    fn add_attribute(
        &self,
        inode: &Inode,
        flags: u8,
        name: &[u8],
        value: Value<'_>,
        all: &mut Collected,
    ) -> Result<()> {
        if flags & !KNOWN != 0 || flags & (ROOT | SECURE) == ROOT | SECURE {
            return Err(inode.corrupt(format!("an attribute with the flags {flags:#x}")));
        }
        if flags & (PARENT | INCOMPLETE) != 0 {
            return Ok(());
        }
        if name.is_empty() || name.contains(&0) {
            return Err(inode.corrupt("an attribute without a name"));
        }
        let value = match value {
            Value::Here(value) => value.to_vec(),
            Value::Blocks(_, length) if length > MAX_XATTR => return Ok(()),
            Value::Blocks(block, length) => self.remote_value(inode, block, length)?,
        };
        let prefix: &[u8] = match flags & (ROOT | SECURE) {
            ROOT => b"trusted.",
            SECURE => b"security.",
            _ => b"user.",
        };
        if flags & ROOT != 0
            && let Some(name) = acl::name(name)
        {
            all.add(inode, name, acl::value(inode, &value)?)?;
        }
        all.add(inode, &[prefix, name].concat(), value)
    }

    /// A value of `length` bytes, at most [`MAX_XATTR`], from block `block` of the fork on.
    fn remote_value(&self, inode: &Inode, block: u64, length: usize) -> Result<Vec<u8>> {
        let size = self.superblock.block_size as usize;
        if !self.superblock.v5 {
            let mut bytes = vec![0; length.next_multiple_of(size)];
            if length > 0 {
                self.read_fork(inode, Which::Attributes, block, &mut bytes)?;
            }
            bytes.truncate(length);
            return Ok(bytes);
        }
        let mut value = Vec::with_capacity(length);
        let mut bytes = vec![0; size];
        let mut at = block;
        while value.len() < length {
            let offset = self.read_fork(inode, Which::Attributes, at, &mut bytes)?[0].start;
            let f = Fields::new("a block of an attribute's value", &bytes);
            if f.be32(0)? != REMOTE_MAGIC {
                return Err(inode.corrupt("a block of an attribute's value does not begin with XARM"));
            }
            Header::REMOTE.verify(&self.superblock, "an attribute's value", &bytes, offset, inode.number)?;
            let part = f.be32(8)? as usize;
            if f.be32(4)? as usize != value.len() || part != (length - value.len()).min(size - REMOTE_HEADER)
            {
                return Err(inode.corrupt("a block of an attribute's value is of another place"));
            }
            value.extend_from_slice(f.bytes(REMOTE_HEADER, part)?);
            at += 1;
        }
        Ok(value)
    }
}

/// Attributes, with a bound on what they take.
struct Collected {
    list: Vec<Xattr>,
    held: usize,
}

impl Collected {
    fn add(&mut self, inode: &Inode, name: &[u8], value: Vec<u8>) -> Result<()> {
        self.held += name.len() + value.len() + size_of::<Xattr>();
        if self.held > MAX_ALL {
            return Err(crate::Error::Limit(format!(
                "inode {} has more than {} MiB of extended attributes",
                inode.number,
                MAX_ALL >> 20
            )));
        }
        self.list.push(Xattr { name: name.to_vec(), value });
        Ok(())
    }
}
