//! Transactions, put together from operations that lie in any order and any number of pieces.

use crate::xfs::log::bounds::Bounds;
use crate::xfs::log::record::{Operation, Record, operations};
use crate::xfs::log::ring::Ring;
use crate::{Error, Result};
use std::collections::HashMap;

/// `TRAN`, as a little-endian machine writes it.
const MAGIC: [u8; 4] = 0x5452_414eu32.to_le_bytes();
/// Bytes of a transaction's header.
const HEADER: usize = 16;
/// Regions of an item: one for its form, and one for each other piece of 128 bytes of the largest buffer.
const MAX_REGIONS: usize = 257;
/// What a region costs beside its bytes.
const OVERHEAD: usize = 64;

/// A change to one thing: its form, and the regions that the form tells of.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub regions: Vec<Vec<u8>>,
    expected: usize,
}

impl Item {
    /// The type, the first number of the form.
    pub fn kind(&self) -> Result<u16> {
        self.form()?.le16(0)
    }

    /// The form.
    pub fn form(&self) -> Result<crate::Fields<'_>> {
        Ok(crate::Fields::new("an item of the log", self.region(0)?))
    }

    /// A region, which has to be there.
    pub fn region(&self, index: usize) -> Result<&[u8]> {
        self.regions
            .get(index)
            .map(Vec::as_slice)
            .ok_or_else(|| Error::corrupt("an item of the log", format!("it has no region {index}")))
    }
}

#[derive(Default)]
struct Transaction {
    lsn: u64,
    header: Vec<u8>,
    items: Vec<Item>,
    held: usize,
}

impl Transaction {
    fn corrupt(reason: &str) -> Error {
        Error::corrupt("a transaction of the log", reason)
    }

    /// A region begins.
    fn begin(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.header.len() < HEADER {
            return self.add_to_header(bytes);
        }
        if self.items.last().is_none_or(|item| item.regions.len() == item.expected) {
            let expected = crate::Fields::new("an item of the log", bytes).le16(2)?.into();
            if expected == 0 || expected > MAX_REGIONS {
                return Err(Self::corrupt("an item has an impossible number of regions"));
            }
            self.items.push(Item { regions: Vec::new(), expected });
        }
        if let Some(item) = self.items.last_mut() {
            item.regions.push(bytes.to_vec());
        }
        Ok(())
    }

    /// The last region goes on.
    fn go_on(&mut self, bytes: &[u8]) -> Result<()> {
        if self.header.len() < HEADER {
            return self.add_to_header(bytes);
        }
        match self.items.last_mut().and_then(|item| item.regions.last_mut()) {
            Some(region) => region.extend_from_slice(bytes),
            None if bytes.is_empty() => {}
            None => return Err(Self::corrupt("it goes on with what never began")),
        }
        Ok(())
    }

    fn add_to_header(&mut self, bytes: &[u8]) -> Result<()> {
        self.header.extend_from_slice(bytes);
        let length = self.header.len();
        if length > HEADER || (length >= 4 && self.header[..4] != MAGIC) {
            return Err(Self::corrupt("it has no header"));
        }
        Ok(())
    }
}

/// Calls `commit` with the position in the log and the items of each transaction that was committed, in that order. At
/// most `limit` bytes of transactions are held.
pub(super) fn each(
    ring: &Ring,
    bounds: Bounds,
    limit: usize,
    mut commit: impl FnMut(u64, Vec<Item>) -> Result<()>,
) -> Result<()> {
    let mut open: HashMap<u32, Transaction> = HashMap::new();
    let mut held = 0usize;
    let mut at = bounds.tail;
    let mut left = ring.distance(bounds.tail, bounds.head);
    while left > 0 {
        let record = Record::read(ring, at)?;
        left = left
            .checked_sub(record.blocks())
            .ok_or_else(|| Error::corrupt("the log", "a record goes over its end"))?;
        record.check_format(ring)?;
        let data = record.data(ring)?;
        for operation in operations(&data, record.operations) {
            let operation = operation?;
            let Some(transaction) = open.get_mut(&operation.transaction) else {
                // What is left of a transaction from before the tail is not begun here.
                if operation.flags & Operation::START != 0 {
                    open.insert(operation.transaction, Transaction { lsn: record.lsn, ..Default::default() });
                    held += OVERHEAD;
                }
                continue;
            };
            let cost = operation.bytes.len() + OVERHEAD;
            held += cost;
            transaction.held += cost;
            if held > limit {
                return Err(Error::Limit(format!(
                    "the transactions of the log take more than {} MiB, which is more than is replayed in memory",
                    limit >> 20
                )));
            }
            let mut flags = operation.flags & !Operation::END;
            if flags & Operation::CONTINUED != 0 {
                flags &= !Operation::CONTINUES;
            }
            match flags {
                0 | Operation::CONTINUES => transaction.begin(operation.bytes)?,
                Operation::CONTINUED => transaction.go_on(operation.bytes)?,
                Operation::COMMIT | Operation::UNMOUNT => {
                    if let Some(transaction) = open.remove(&operation.transaction) {
                        held -= (transaction.held + OVERHEAD).min(held);
                        if flags == Operation::COMMIT {
                            commit(transaction.lsn, transaction.items)?;
                        }
                    }
                }
                other => {
                    return Err(Transaction::corrupt(&format!("an operation has the flags {other:#x}")));
                }
            }
        }
        at = ring.after(at, record.blocks());
    }
    Ok(())
}
