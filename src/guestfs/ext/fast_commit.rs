//! The records of fast commits ("Fast commits"): small changes after the log's last transaction, a list of tags in the
//! journal's last blocks. What they do is [`replay`](super::replay).

use super::checksum::crc32c;
use super::extent::{self, Extent};
use super::inode::OLD_SIZE;
use super::journal::Journal;
use crate::{Error, Fields, Result};

/// Bytes of a tag and the length of its value.
const TAG: usize = 4;
/// Bytes of blocks with records, and records, that are read.
const MAX_BYTES: usize = 64 << 20;
const MAX_RECORDS: usize = 1 << 19;

const ADD_RANGE: u16 = 1;
const DEL_RANGE: u16 = 2;
const CREAT: u16 = 3;
const LINK: u16 = 4;
const UNLINK: u16 = 5;
const INODE: u16 = 6;
const PAD: u16 = 7;
const TAIL: u16 = 8;
const HEAD: u16 = 9;

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub parent: u32,
    pub inode: u32,
    pub name: Vec<u8>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// Blocks of a file lie there now.
    Add { inode: u32, extent: Extent },
    /// Blocks of a file are a hole now.
    Remove { inode: u32, first: u32, length: u32 },
    /// A new inode has this name.
    Create(Name),
    /// An inode has a further name.
    Link(Name),
    /// A name is gone.
    Unlink(Name),
    /// The fields of an inode, as far as they were written; not where its blocks lie.
    Inode { inode: u32, raw: Vec<u8> },
}

/// Whether the value of a tag may be so long (`ext4_fc_value_len_isvalid`).
fn may_be(tag: u16, length: usize, inode_size: usize) -> bool {
    match tag {
        ADD_RANGE => length == 16,
        DEL_RANGE => length == 12,
        CREAT | LINK | UNLINK => (9..=8 + 255).contains(&length),
        INODE => (4 + OLD_SIZE..=4 + inode_size).contains(&length),
        TAIL => length >= 8,
        HEAD => length == 8,
        _ => tag == PAD,
    }
}

/// All changes that were committed after the transaction before `expected`.
///
/// # Errors
/// `Untrusted` where the first fast commit is torn or damaged, as the kernel refuses to mount then, and for features
/// that are unknown.
pub(super) fn read(journal: &mut Journal<'_>, expected: u32, inode_size: usize) -> Result<Vec<Record>> {
    let untrusted =
        |reason: &str| Error::Untrusted(format!("the journal's fast commits can't be replayed: {reason}"));
    let mut committed = Vec::new();
    let mut waiting = Vec::new();
    let mut any = false;
    let mut sum = 0;
    let mut held = 0;
    // The block right after the log is never used.
    let first = journal.last.saturating_add(1);
    for number in first..journal.length {
        let block = journal.block(number)?;
        let field = Fields::new("a fast commit", block);
        if number == first && field.le16(0)? != HEAD {
            break;
        }
        held += block.len();
        if held > MAX_BYTES {
            return Err(Error::Limit(format!(
                "the journal has more than {} MiB of fast commits",
                MAX_BYTES >> 20
            )));
        }
        let mut at = 0;
        while at + TAG <= block.len() {
            let (tag, length) = (field.le16(at)?, usize::from(field.le16(at + 2)?));
            let start = at + TAG;
            if start + length > block.len() || !may_be(tag, length, inode_size) {
                return if any { Ok(committed) } else { Err(untrusted("the first one is torn")) };
            }
            let value = field.part(start, length)?;
            match tag {
                TAIL => {
                    sum = crc32c(sum, field.bytes(at, TAG + 4)?);
                    if value.le32(0)? != expected || value.le32(4)? != sum {
                        return if any {
                            Ok(committed)
                        } else {
                            Err(untrusted("the first one's checksum is wrong"))
                        };
                    }
                    any = true;
                    sum = 0;
                    committed.append(&mut waiting);
                    at = start + length;
                    continue;
                }
                HEAD => {
                    if value.le32(0)? != 0 {
                        return Err(untrusted("they have unknown features"));
                    }
                    if value.le32(4)? != expected {
                        return Ok(committed);
                    }
                }
                PAD => {}
                _ if committed.len() + waiting.len() >= MAX_RECORDS => {
                    return Err(Error::Limit(format!(
                        "the journal has more than {MAX_RECORDS} fast records"
                    )));
                }
                _ => waiting.push(record(tag, value)?),
            }
            sum = crc32c(sum, field.bytes(at, TAG + length)?);
            at = start + length;
        }
    }
    Ok(committed)
}

fn record(tag: u16, value: Fields<'_>) -> Result<Record> {
    let inode = value.le32(0)?;
    let name = || {
        Ok::<_, Error>(Name {
            parent: inode,
            inode: value.le32(4)?,
            name: value.bytes(8, value.len() - 8)?.to_vec(),
        })
    };
    Ok(match tag {
        ADD_RANGE => Record::Add { inode, extent: extent::decode(value.part(4, 12)?)? },
        DEL_RANGE => Record::Remove { inode, first: value.le32(4)?, length: value.le32(8)? },
        CREAT => Record::Create(name()?),
        LINK => Record::Link(name()?),
        UNLINK => Record::Unlink(name()?),
        _ => Record::Inode { inode, raw: value.bytes(4, value.len() - 4)?.to_vec() },
    })
}
