//! The files and folders of a folder.

use super::entry::{self, Entry};
use crate::fat::clusters::{Clusters, Extent, Slots};
use crate::{Error, Result};

/// The most slots of a folder: 256 MiB (specification, section 7.1).
pub(super) const MAX_SLOTS: u64 = 1 << 23;

/// An entry of a folder.
pub(super) struct Item {
    pub(super) entry: Entry,
    /// Where its set begins.
    pub(super) slot: u64,
    /// The slot behind it.
    pub(super) next: u64,
}

/// Reads a folder from a slot on.
pub(super) struct Folder<'a> {
    slots: Slots<'a>,
    slot: u64,
}

impl<'a> Folder<'a> {
    pub(super) fn new(clusters: &'a Clusters, extent: Extent, from: u64) -> Self {
        Folder { slots: clusters.slots(extent), slot: from }
    }

    /// The slot itself, whatever it is, and goes on to the next; `None` at the end.
    ///
    /// # Errors
    /// Where it can't be read.
    pub(super) fn slot(&mut self) -> Result<Option<[u8; 32]>> {
        let Some((_, bytes)) = self.slots.get(self.slot)? else { return Ok(None) };
        self.slot += 1;
        Ok(Some(bytes))
    }

    /// The next entry, or why it is none; `None` at the end. After an inner error one can go on.
    ///
    /// # Errors
    /// Where nothing more of the folder can be read.
    pub(super) fn next(&mut self) -> Result<Option<Result<Item>>> {
        loop {
            let here = self.slot;
            if here >= MAX_SLOTS {
                return Err(Error::Limit(format!("an exFAT folder of more than {MAX_SLOTS} entries")));
            }
            let Some(bytes) = self.slot()? else { return Ok(None) };
            match bytes[0] {
                0 => {
                    // Nothing behind it counts, also when one asks again.
                    self.slot = here;
                    return Ok(None);
                }
                entry::FILE => return self.set(here, bytes).map(Some),
                // What the root folder has besides: bitmap, up-case table, label.
                0x81..=0x83 => {}
                kind if kind & entry::IN_USE != 0 && kind & (entry::SECONDARY | entry::BENIGN) == 0 => {
                    return Ok(Some(Err(Error::unsupported(format!("an exFAT entry of type {kind:#04x}")))));
                }
                // Not in use, may be passed over, or left behind by a set that is damaged.
                _ => {}
            }
        }
    }

    /// Reads the set that begins with `primary` at slot `slot`.
    fn set(&mut self, slot: u64, primary: [u8; 32]) -> Result<Result<Item>> {
        let mut set = vec![primary];
        for _ in 0..primary[1] {
            match self.slot()? {
                Some(bytes)
                    if bytes[0] & (entry::IN_USE | entry::SECONDARY) == entry::IN_USE | entry::SECONDARY =>
                {
                    set.push(bytes);
                }
                _ => {
                    // Another file may begin right there.
                    self.slot = slot + set.len() as u64;
                    return Ok(Err(Error::corrupt(
                        "an exFAT entry set",
                        format!("{} of {} secondary entries at slot {slot}", set.len() - 1, primary[1]),
                    )));
                }
            }
        }
        match Entry::parse(&set) {
            Ok(entry) => Ok(Ok(Item { entry, slot, next: self.slot })),
            Err(error) => {
                // Its number of entries is not certain either.
                self.slot = slot + 1;
                Ok(Err(error))
            }
        }
    }
}
