//! Changes of several steps: the log says what is intended, and later that it is done. Those that were not done change
//! what a reader sees where they concern a file's map or its attributes.

use crate::xfs::inode::Which;
use crate::xfs::log::transaction::Item;
use crate::{Error, Result};
use std::collections::BTreeMap;

const MAP_INTENT: u16 = 0x1244;
const MAP_DONE: u16 = 0x1245;
const ATTRIBUTE_INTENT: u16 = 0x1246;
const ATTRIBUTE_DONE: u16 = 0x1247;
const EXCHANGE_INTENT: u16 = 0x1248;
const EXCHANGE_DONE: u16 = 0x1249;

/// Of a map's change and of an exchange: it concerns the attributes.
const MAP_OF_ATTRIBUTES: u32 = 1 << 31;
const EXCHANGE_OF_ATTRIBUTES: u64 = 1;
/// Operations on attributes from this one on concern parent pointers, which nobody sees.
const PARENT_POINTERS: u32 = 4;
const LAST_PARENT_POINTERS: u32 = 6;

/// What was begun, by the intent's type and number: the forks that it changes.
#[derive(Default)]
pub(super) struct Intents(BTreeMap<(u16, u64), Vec<(u64, Which)>>);

impl Intents {
    pub fn item(&mut self, item: &Item) -> Result<()> {
        let f = item.form()?;
        let kind = item.kind()?;
        let forks = match kind {
            MAP_DONE | ATTRIBUTE_DONE | EXCHANGE_DONE => {
                self.0.remove(&(kind - 1, f.le64(8)?));
                return Ok(());
            }
            MAP_INTENT => {
                let mut forks = Vec::new();
                let count = f.le32(4)? as usize;
                for index in 0..count {
                    let extent = f.part(16 + index.saturating_mul(32), 32)?;
                    let attributes = extent.le32(28)? & MAP_OF_ATTRIBUTES != 0;
                    forks.push((extent.le64(0)?, which(attributes)));
                }
                forks
            }
            ATTRIBUTE_INTENT => match f.le32(24)? & 0xff {
                PARENT_POINTERS..=LAST_PARENT_POINTERS => Vec::new(),
                _ => vec![(f.le64(16)?, Which::Attributes)],
            },
            EXCHANGE_INTENT => {
                let which = which(f.le64(64)? & EXCHANGE_OF_ATTRIBUTES != 0);
                vec![(f.le64(16)?, which), (f.le64(24)?, which)]
            }
            // Reverse maps and counts of references, of the data and of the realtime section, and space to be freed.
            _ => return Ok(()),
        };
        if forks.iter().any(|&(inode, _)| inode == 0) {
            return Err(Error::corrupt("an item of the log", "a change of inode 0"));
        }
        self.0.insert((kind, f.le64(8)?), forks);
        Ok(())
    }

    /// The forks of changes that were not done.
    pub fn unfinished(self) -> impl Iterator<Item = ((u64, Which), String)> {
        self.0.into_values().flatten().map(|(inode, which)| {
            let what = match which {
                Which::Data => "the map of the content",
                Which::Attributes => "the attributes",
            };
            let reason =
                format!("{what} of inode {inode} was being changed, and the end of that is not in the log");
            ((inode, which), reason)
        })
    }
}

fn which(attributes: bool) -> Which {
    if attributes { Which::Attributes } else { Which::Data }
}
