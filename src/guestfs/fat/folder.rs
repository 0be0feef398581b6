//! The files and folders of a folder, with their names.

use super::clusters::{Extent, Slots};
use super::entry::{LongName, Short, Slot};
use crate::{Error, Result};

/// The most slots that are looked at in one folder. The specification and Windows have 65,536; some programs write
/// more.
const MAX_SLOTS: u64 = 1 << 20;

/// An entry of a folder.
pub(super) struct Item {
    /// The name that is shown: the long one where there is one.
    pub(super) name: Vec<u8>,
    /// The short name, where it is one.
    pub(super) alias: Option<Vec<u8>>,
    /// The slot where its entries begin, those of the long name included.
    pub(super) first: u64,
    /// The slot behind it.
    pub(super) next: u64,
    /// Where the short entry lies on the device.
    pub(super) at: u64,
    pub(super) short: Short,
}

/// Reads a folder from a slot on.
pub(super) struct Folder<'a> {
    slots: Slots<'a>,
    slot: u64,
    long: LongName,
}

impl<'a> Folder<'a> {
    pub(super) fn new(clusters: &'a super::clusters::Clusters, extent: Extent, from: u64) -> Self {
        Folder { slots: clusters.slots(extent), slot: from, long: LongName::default() }
    }

    /// The next entry, or why it is none; `None` at the end. After an inner error one can go on.
    ///
    /// # Errors
    /// Where nothing more of the folder can be read.
    pub(super) fn next(&mut self) -> Result<Option<Result<Item>>> {
        let mut first = self.slot;
        loop {
            if self.slot >= MAX_SLOTS {
                return Err(Error::Limit(format!("a FAT folder of more than {MAX_SLOTS} entries")));
            }
            let Some((at, bytes)) = self.slots.get(self.slot)? else { return Ok(None) };
            let here = self.slot;
            self.slot += 1;
            match Slot::parse(&bytes) {
                Slot::End => {
                    // Nothing behind it counts, also when one asks again.
                    self.slot = here;
                    return Ok(None);
                }
                Slot::Long(part) => {
                    if LongName::begins(&part) {
                        first = here;
                    }
                    self.long.push(&part);
                }
                Slot::Free | Slot::Label(_) => {
                    self.long.clear();
                    first = self.slot;
                }
                Slot::Short(short) if short.is_dot() => {
                    self.long.clear();
                    first = self.slot;
                }
                Slot::Short(short) => {
                    let alias = short.name();
                    let Some(name) = self.long.take(&short).or_else(|| alias.clone()) else {
                        let reason = format!("slot {here} has no name: {:02x?}", &bytes[..11]);
                        return Ok(Some(Err(Error::corrupt("a FAT folder", reason))));
                    };
                    return Ok(Some(Ok(Item { name, alias, first, next: self.slot, at, short })));
                }
            }
        }
    }

    /// The volume's label, where this is the root folder, among the first `limit` slots.
    ///
    /// # Errors
    /// Where it can't be read.
    pub(super) fn label(&mut self, limit: u64) -> Result<Option<String>> {
        while self.slot < limit {
            let Some((_, bytes)) = self.slots.get(self.slot)? else { return Ok(None) };
            self.slot += 1;
            match Slot::parse(&bytes) {
                Slot::End => return Ok(None),
                Slot::Label(label) => return Ok(super::entry::label(&label)),
                _ => {}
            }
        }
        Ok(None)
    }
}
