//! Changes of several steps: the log says what is intended, and later that it is done. Those that were not done change
//! what a reader sees where they concern a file's map or its attributes.

use crate::xfs::extent::Extent;
use crate::xfs::inode::Which;
use crate::xfs::log::transaction::Item;
use crate::xfs::pending::{Change, Pending};
use crate::{Error, Fields, Result};
use std::collections::HashMap;

const MAP_INTENT: u16 = 0x1244;
const MAP_DONE: u16 = 0x1245;
const ATTRIBUTE_INTENT: u16 = 0x1246;
const ATTRIBUTE_DONE: u16 = 0x1247;
const EXCHANGE_INTENT: u16 = 0x1248;
const EXCHANGE_DONE: u16 = 0x1249;

/// Flags of a map's change; its kind is in the lowest byte.
const MAP_OF_ATTRIBUTES: u32 = 1 << 31;
const MAP_UNWRITTEN: u32 = 1 << 30;
const MAP_REALTIME: u32 = 1 << 29;
const MAP: u32 = 1;
const UNMAP: u32 = 2;
/// Bytes of an extent in a map's change.
const EXTENT: usize = 32;
/// Of an exchange: it concerns the attributes.
const EXCHANGE_OF_ATTRIBUTES: u64 = 1;
/// Operations on attributes from this one on concern parent pointers, which nobody sees.
const PARENT_POINTERS: u32 = 4;
const LAST_PARENT_POINTERS: u32 = 6;
/// The largest number of a block of a file and of an extent's blocks.
const LAST_BLOCK: u64 = 1 << 54;

/// What an intent does to a fork.
struct Intent {
    inode: u64,
    which: Which,
    /// `None` for what is not done here.
    change: Option<Change>,
}

/// What was begun, by the intent's type and number, each with its place in the order of the log.
#[derive(Default)]
pub(super) struct Intents {
    open: HashMap<(u16, u64), (u64, Vec<Intent>)>,
    count: u64,
}

impl Intents {
    pub fn item(&mut self, item: &Item) -> Result<()> {
        let f = item.form()?;
        let kind = item.kind()?;
        let change = |inode, which| Intent { inode, which, change: None };
        let intents = match kind {
            MAP_DONE | ATTRIBUTE_DONE | EXCHANGE_DONE => {
                self.open.remove(&(kind - 1, f.le64(8)?));
                return Ok(());
            }
            MAP_INTENT => {
                let count = f.le32(4)? as usize;
                let extents = count.checked_mul(EXTENT).ok_or_else(|| f.corrupt("too many extents"))?;
                let extents = f.bytes(16, extents)?.as_chunks::<EXTENT>().0;
                extents.iter().map(map_change).collect::<Result<_>>()?
            }
            ATTRIBUTE_INTENT => match f.le32(24)? & 0xff {
                PARENT_POINTERS..=LAST_PARENT_POINTERS => Vec::new(),
                _ => vec![change(f.le64(16)?, Which::Attributes)],
            },
            EXCHANGE_INTENT => {
                let which = which(f.le64(64)? & EXCHANGE_OF_ATTRIBUTES != 0);
                vec![change(f.le64(16)?, which), change(f.le64(24)?, which)]
            }
            // Reverse maps and counts of references, of the data and of the realtime section, and space to be freed.
            _ => return Ok(()),
        };
        self.count += 1;
        self.open.insert((kind, f.le64(8)?), (self.count, intents));
        Ok(())
    }

    /// Adds the changes that were not done.
    pub fn unfinished(self, pending: &mut Pending) {
        let mut open: Vec<_> = self.open.into_values().collect();
        open.sort_by_key(|(order, _)| *order);
        for intent in open.into_iter().flat_map(|(_, intents)| intents) {
            let key = (intent.inode, intent.which);
            match intent.change {
                Some(change) => pending.changes.entry(key).or_default().push(change),
                None => {
                    let what = match intent.which {
                        Which::Data => "the content",
                        Which::Attributes => "the attributes",
                    };
                    let reason = format!(
                        "{what} of inode {} was being changed, and the end of that is not in the log",
                        intent.inode
                    );
                    pending.distrusted.insert(key, reason);
                }
            }
        }
    }
}

fn map_change(extent: &[u8; EXTENT]) -> Result<Intent> {
    let f = Fields::new("a change of a map in the log", extent);
    let (inode, block, file) = (f.le64(0)?, f.le64(8)?, f.le64(16)?);
    let (count, flags) = (u64::from(f.le32(24)?), f.le32(28)?);
    let which = which(flags & MAP_OF_ATTRIBUTES != 0);
    if flags & MAP_REALTIME != 0 {
        return Ok(Intent { inode, which, change: None });
    }
    if count == 0 || file >= LAST_BLOCK || block >= LAST_BLOCK {
        return Err(f.corrupt(format!("{count} blocks at {file} of inode {inode}")));
    }
    let change = match flags & 0xff {
        MAP => {
            let unwritten = flags & MAP_UNWRITTEN != 0;
            Change::Map(Extent { file, block, count, unwritten })
        }
        UNMAP => Change::Unmap(file, count),
        other => return Err(Error::unsupported(format!("an XFS log with the change {other} of a map"))),
    };
    Ok(Intent { inode, which, change: Some(change) })
}

fn which(attributes: bool) -> Which {
    if attributes { Which::Attributes } else { Which::Data }
}
