//! The log: what was changed, and is perhaps not yet in its place.
//!
//! The model is that of the kernel's recovery. The part of the log from the tail to the head is read twice: once for the
//! buffers that were given up, whose older changes must not be applied, and once to apply the changes of every committed
//! transaction to a copy of the blocks in memory. Blocks and inodes of version 5 know the position in the log of their
//! last change, and are left alone where they are newer. Of changes in several steps whose last step is not in the log,
//! those of a file's map are done in memory; those of attributes and exchanges between files make what they change
//! untrusted.
//!
//! Not here: the steps that the kernel then takes by itself, which nobody sees who reads (freeing of extents and of
//! unlinked inodes, counts of references, reverse maps).

mod bounds;
mod buffer_item;
mod create_item;
mod inode_item;
mod intent;
mod record;
mod ring;
mod transaction;

use crate::xfs::pending::Pending;
use crate::xfs::superblock::Superblock;
use crate::{Device, Error, Overlay, ReadAt, Result};
use std::collections::{BTreeMap, HashMap};

use intent::Intents;
use transaction::Item;

/// Types of items.
mod kind {
    pub const FREE_INTENT: u16 = 0x1236;
    pub const FREE_DONE: u16 = 0x1237;
    pub const UNLINK: u16 = 0x1238;
    pub const INODE: u16 = 0x123b;
    pub const BUFFER: u16 = 0x123c;
    pub const QUOTA: u16 = 0x123d;
    pub const QUOTA_OFF: u16 = 0x123e;
    pub const CREATE: u16 = 0x123f;
    /// The first and the last of the pairs of intents and what tells that they are done.
    pub const FIRST_INTENT: u16 = 0x1240;
    pub const LAST_INTENT: u16 = 0x124f;
}

/// Replays what is not finished into `overlay`, with at most `limit` bytes of transactions in memory. Tells what
/// is not finished even then.
///
/// # Errors
/// [`Error::Untrusted`], [`Error::Unsupported`] or [`Error::Corrupt`] where the log can't be replayed; `overlay` is then
/// not to be used.
pub(super) fn replay(
    device: &Device,
    superblock: &Superblock,
    overlay: &mut Overlay,
    limit: usize,
) -> Result<Pending> {
    let ring = ring::Ring::new(device, superblock)?;
    let Some(bounds) = bounds::find(&ring)? else { return Ok(Pending::default()) };
    if superblock.unknown_log_features != 0 {
        return Err(Error::Untrusted(format!(
            "the log was not finished and uses the unknown features {:#x}",
            superblock.unknown_log_features
        )));
    }
    let mut cancelled = Cancelled::default();
    transaction::each(&ring, bounds, limit, |_, items| cancelled.collect(&items))?;
    let mut replay = Replay {
        overlay,
        superblock: superblock.clone(),
        cancelled,
        intents: Intents::default(),
        stamped: HashMap::new(),
        pending: Pending::default(),
    };
    transaction::each(&ring, bounds, limit, |lsn, items| replay.transaction(lsn, items))?;
    let mut pending = replay.pending;
    replay.intents.unfinished(&mut pending);
    Ok(pending)
}

/// Buffers that were given up: by sector and length, how often that stands in the part of the log that is still ahead.
#[derive(Default)]
struct Cancelled(BTreeMap<(u64, u64), u32>);

impl Cancelled {
    fn collect(&mut self, items: &[Item]) -> Result<()> {
        for item in items {
            if item.kind()? == kind::BUFFER {
                let buffer = buffer_item::Buffer::parse(item)?;
                if buffer.is_cancelled() {
                    *self.0.entry(buffer.key()).or_insert(0) += 1;
                }
            }
        }
        Ok(())
    }

    fn contains(&self, key: (u64, u64)) -> bool {
        self.0.contains_key(&key)
    }

    /// Whether one begins in these sectors.
    fn any_in(&self, sectors: std::ops::Range<u64>) -> bool {
        self.0.range((sectors.start, 0)..(sectors.end, 0)).next().is_some()
    }

    /// The end of what makes older changes of a buffer void is reached.
    fn pass(&mut self, key: (u64, u64)) {
        if let Some(count) = self.0.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&key);
            }
        }
    }
}

/// The second reading.
struct Replay<'a> {
    overlay: &'a mut Overlay,
    /// As the log leaves it: a file system may grow in it.
    superblock: Superblock,
    cancelled: Cancelled,
    intents: Intents,
    /// The position that this replay wrote last into the block at a sector: several transactions may have the same one.
    stamped: HashMap<u64, u64>,
    pending: Pending,
}

/// In which order the items of a transaction are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// Buffers, and inodes that come into being.
    Buffers,
    Others,
    /// Buffers that were given up.
    Cancelled,
}

impl Replay<'_> {
    fn transaction(&mut self, lsn: u64, items: Vec<Item>) -> Result<()> {
        let mut ordered = Vec::with_capacity(items.len());
        for item in items {
            let order = match item.kind()? {
                kind::BUFFER if buffer_item::Buffer::parse(&item)?.is_cancelled() => Order::Cancelled,
                kind::BUFFER | kind::CREATE => Order::Buffers,
                _ => Order::Others,
            };
            ordered.push((order, item));
        }
        ordered.sort_by_key(|(order, _)| *order);
        ordered.iter().try_for_each(|(_, item)| self.item(lsn, item))
    }

    fn item(&mut self, lsn: u64, item: &Item) -> Result<()> {
        match item.kind()? {
            kind::BUFFER => self.buffer(lsn, item),
            kind::INODE => self.inode(lsn, item),
            kind::CREATE => self.create(item),
            kind::FIRST_INTENT..=kind::LAST_INTENT => self.intents.item(item),
            // Quota is never read, and the space that is to be freed neither.
            kind::FREE_INTENT | kind::FREE_DONE | kind::UNLINK | kind::QUOTA | kind::QUOTA_OFF => Ok(()),
            other => Err(Error::unsupported(format!("an XFS log with items of type {other:#x}"))),
        }
    }

    /// `length` bytes at `offset` as they are by now; a bounded number.
    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let overlay: &dyn ReadAt = self.overlay;
        crate::read_exact(overlay, &mut bytes, offset)?;
        Ok(bytes)
    }
}
