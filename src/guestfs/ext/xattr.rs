//! Extended attributes ("Extended Attributes"): in the inode after its fields, in a block, and with values in inodes of
//! their own (`ea_inode`).

use super::acl;
use super::checksum::crc32c;
use super::feature::inode_flag;
use super::inode::{Inode, OLD_SIZE};
use super::volume::Volume;
use crate::{Error, Fields, MAX_XATTR, Result, Xattr};

const MAGIC: u32 = 0xea02_0000;
/// Bytes of a block's header, and of an entry before its name.
const HEADER: usize = 32;
const ENTRY: usize = 16;

/// An attribute as it is stored.
pub(super) struct Entry<'a> {
    /// Which prefix the name has.
    pub index: u8,
    /// The rest of the name.
    pub name: &'a [u8],
    /// The inode that holds the value, 0 for one that is here.
    inode: u32,
    size: u32,
    /// Where the value begins in `values`.
    offset: usize,
    values: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The value, where it is not in an inode of its own.
    ///
    /// # Errors
    /// `Corrupt` outside of its place.
    pub fn value(&self) -> Result<&'a [u8]> {
        if self.size == 0 {
            return Ok(&[]);
        }
        Fields::new("an extended attribute", self.values).bytes(self.offset, self.size as usize)
    }
}

/// A list of entries, up to four zero bytes or its end.
pub(super) struct Entries<'a> {
    /// From the first entry on.
    list: Fields<'a>,
    at: usize,
    /// What the offsets of values are counted in.
    values: &'a [u8],
}

impl<'a> Entries<'a> {
    fn step(&mut self) -> Result<Option<Entry<'a>>> {
        if self.at + 4 > self.list.len() || self.list.le32(self.at)? == 0 {
            return Ok(None);
        }
        let entry = self.list.part(self.at, ENTRY)?;
        let length = usize::from(entry.u8(0)?);
        let name = self.list.bytes(self.at + ENTRY, length)?;
        self.at += ENTRY + length.next_multiple_of(4);
        if name.contains(&0) {
            return Err(self.list.corrupt("a name with a zero byte"));
        }
        Ok(Some(Entry {
            index: entry.u8(1)?,
            name,
            inode: entry.le32(4)?,
            size: entry.le32(8)?,
            offset: entry.le16(2)?.into(),
            values: self.values,
        }))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.at = self.list.len();
        }
        step.transpose()
    }
}

/// The attributes inside of an inode.
///
/// # Errors
/// None of its own; those of damaged entries come with them.
pub(super) fn inside(inode: &Inode) -> Result<Entries<'_>> {
    let field = Fields::new("the extended attributes of an inode", &inode.raw);
    let start = OLD_SIZE + inode.extra;
    if !inode.has_extra || start + 4 > inode.raw.len() || field.le32(start)? != MAGIC {
        return Ok(Entries { list: Fields::new("", &[]), at: 0, values: &[] });
    }
    let list = field.part(start + 4, inode.raw.len() - start - 4)?;
    Ok(Entries { list, at: 0, values: list.as_slice() })
}

/// The name as programs see it; none for those that the kernel keeps to itself.
fn full_name(entry: &Entry<'_>) -> Option<Vec<u8>> {
    let prefix: &[u8] = match entry.index {
        1 => b"user.",
        2 if entry.name.is_empty() => b"system.posix_acl_access",
        3 if entry.name.is_empty() => b"system.posix_acl_default",
        4 => b"trusted.",
        6 => b"security.",
        // 7 is the content of an inline file, 8 was never in a kernel, 9 a context of fscrypt or fs-verity.
        _ => return None,
    };
    Some([prefix, entry.name].concat())
}

impl Volume {
    /// The attributes of a node, as the kernel lists them.
    ///
    /// # Errors
    /// `Corrupt` for damaged entries and checksums.
    pub(super) fn attributes(&self, inode: &Inode) -> Result<Vec<Xattr>> {
        let mut all = Vec::new();
        for entry in inside(inode)? {
            self.attribute(inode, &entry?, &mut all)?;
        }
        if inode.attributes != 0 {
            let bytes = self.block("an inode's attributes", inode.attributes)?;
            let field = Fields::new("a block of extended attributes", &bytes);
            if field.le32(0)? != MAGIC || field.le32(8)? != 1 {
                return Err(field.corrupt(format!("block {} is not one", inode.attributes)));
            }
            if self.sb.has_checksums() {
                let sum = crc32c(self.sb.seed, &inode.attributes.to_le_bytes());
                let sum = crc32c(crc32c(sum, field.bytes(0, 0x10)?), &[0; 4]);
                if field.le32(0x10)? != crc32c(sum, field.bytes(0x14, bytes.len() - 0x14)?) {
                    return Err(field.corrupt(format!("the checksum of block {} is wrong", inode.attributes)));
                }
            }
            let list = field.part(HEADER, bytes.len() - HEADER)?;
            for entry in (Entries { list, at: 0, values: &bytes }) {
                self.attribute(inode, &entry?, &mut all)?;
            }
        }
        Ok(all)
    }

    fn attribute(&self, inode: &Inode, entry: &Entry<'_>, all: &mut Vec<Xattr>) -> Result<()> {
        let Some(name) = full_name(entry) else { return Ok(()) };
        if entry.size as usize > MAX_XATTR {
            return Ok(());
        }
        let mut value = match entry.inode {
            0 => entry.value()?.to_vec(),
            number => self.attribute_inode(inode, number, entry.size as usize)?,
        };
        if matches!(entry.index, 2 | 3) {
            value = acl::convert(&value)?;
        }
        all.push(Xattr { name, value });
        Ok(())
    }

    /// The value in the inode `number`, at most [`MAX_XATTR`] bytes.
    fn attribute_inode(&self, owner: &Inode, number: u32, size: usize) -> Result<Vec<u8>> {
        let inode = self.inode(number)?;
        if !inode.has(inode_flag::EA_INODE) || inode.size != size as u64 {
            return Err(owner.corrupt(format!("inode {number} is not its attribute's value")));
        }
        let mut value = vec![0; size];
        self.read_content(&inode, 0, &mut value)?;
        // The value's sum stands where the time of access is elsewhere. Lustre wrote the owner into the time of
        // change and the generation instead, and no sum.
        let field = Fields::new("an inode", &inode.raw);
        let lustre = field.le32(0x10)? == owner.number
            && field.le32(0x64)? == Fields::new("an inode", &owner.raw).le32(0x64)?;
        if !lustre && field.le32(8)? != crc32c(self.sb.seed, &value) {
            return Err(Error::corrupt(
                format!("inode {number}"),
                "the checksum of the attribute's value is wrong",
            ));
        }
        Ok(value)
    }
}
