//! What the log leaves unfinished: maps that still have to be changed, and forks of which nobody can tell.

use crate::xfs::core::Core;
use crate::xfs::extent::Extent;
use crate::xfs::inode::{Inode, Which};
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// Extents of a fork whose map is changed in memory.
const MAX_EXTENTS: usize = 1 << 20;

/// A step of a change that the log intends and does not report as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The extent becomes a part of the fork, where a hole is.
    Map(Extent),
    /// So many blocks of the fork from this one on become a hole.
    Unmap(u64, u64),
}

/// All of that, by inode and fork.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// In the order of the log.
    pub changes: HashMap<(u64, Which), Vec<Change>>,
    /// Why a fork's content is not certain.
    pub distrusted: HashMap<(u64, Which), String>,
}

impl Change {
    /// Does it to `extents`, which are in order. `None` where that is not possible.
    fn apply(self, extents: Vec<Extent>) -> Option<Vec<Extent>> {
        match self {
            Change::Map(new) => {
                let mut extents = extents;
                let at = extents.partition_point(|extent| extent.end() <= new.file);
                if extents.get(at).is_some_and(|next| next.file < new.end()) {
                    return None;
                }
                extents.insert(at, new);
                Some(extents)
            }
            Change::Unmap(file, count) => {
                let end = file + count;
                let mut left = Vec::with_capacity(extents.len() + 1);
                for extent in extents {
                    if extent.file < file {
                        let count = extent.count.min(file - extent.file);
                        left.push(Extent { count, ..extent });
                    }
                    if extent.end() > end {
                        let skipped = end.saturating_sub(extent.file);
                        left.push(Extent {
                            file: extent.file + skipped,
                            block: extent.block + skipped,
                            count: extent.count - skipped,
                            ..extent
                        });
                    }
                }
                Some(left)
            }
        }
    }
}

impl Core {
    /// # Errors
    /// [`Error::Untrusted`] where a fork is one of those whose content is not certain.
    pub fn check_trust(&self, inode: u64, which: Which) -> Result<()> {
        match self.pending.distrusted.get(&(inode, which)) {
            Some(reason) => Err(Error::Untrusted(reason.clone())),
            None => Ok(()),
        }
    }

    /// The whole map of a fork that the log still has to change, as it is then. `None` for all others.
    pub fn changed_map(&self, inode: &Inode, which: Which) -> Result<Option<Arc<[Extent]>>> {
        let Some(changes) = self.pending.changes.get(&(inode.number, which)) else { return Ok(None) };
        let key = (inode.number, which);
        let map = self.maps.get_or(key, || {
            let mut extents = Vec::new();
            let mut block = 0;
            while let Some(extent) = self.stored_extent(inode, which, block)? {
                block = extent.end();
                extents.push(extent);
                if extents.len() > MAX_EXTENTS {
                    return Err(Error::Limit(format!(
                        "inode {} has more extents than are changed in memory, and the log changes them",
                        inode.number
                    )));
                }
            }
            for change in changes {
                extents = change.apply(extents).ok_or_else(|| {
                    Error::Untrusted(format!("the log changes the map of inode {} impossibly", inode.number))
                })?;
            }
            let cost = size_of_val(&extents[..]);
            Ok::<_, Error>((extents.into(), cost))
        })?;
        Ok(Some(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(file: u64, block: u64, count: u64) -> Extent {
        Extent { file, block, count, unwritten: false }
    }

    #[test]
    fn unmaps_what_is_there_and_maps_into_holes() {
        let all = vec![extent(0, 100, 10), extent(20, 200, 10), extent(40, 300, 5)];
        let cut = Change::Unmap(5, 20).apply(all.clone()).unwrap();
        assert_eq!(cut, [extent(0, 100, 5), extent(25, 205, 5), extent(40, 300, 5)]);
        let inside = Change::Unmap(2, 3).apply(all.clone()).unwrap();
        assert_eq!(inside[..2], [extent(0, 100, 2), extent(5, 105, 5)]);
        let filled = Change::Map(extent(5, 900, 20)).apply(cut).unwrap();
        assert_eq!(filled, [extent(0, 100, 5), extent(5, 900, 20), extent(25, 205, 5), extent(40, 300, 5)]);
        assert_eq!(Change::Map(extent(19, 900, 2)).apply(all.clone()), None);
        assert_eq!(Change::Unmap(10, 10).apply(all.clone()).unwrap(), all);
    }
}
