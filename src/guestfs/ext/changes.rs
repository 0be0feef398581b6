//! What fast commits changed, over the volume as the journal left it.

use super::extent::Extent;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Everything that is not as it lies on the disk.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub inodes: HashMap<u32, ChangedInode>,
    pub folders: HashMap<u32, ChangedFolder>,
}

/// An inode.
#[derive(Debug, Clone)]
pub(super) struct ChangedInode {
    /// All its bytes; the checksum is not kept up to date.
    pub raw: Vec<u8>,
    /// Its mapping, where that changed too.
    pub extents: Option<Arc<Vec<Extent>>>,
}

/// A name, its inode and kind.
type Added = (Vec<u8>, u32, u8);

/// A folder's entries.
#[derive(Debug, Default)]
pub(super) struct ChangedFolder {
    /// Made by a fast commit: nothing of it is on the disk.
    pub fresh: bool,
    /// Names on the disk that are gone.
    pub removed: HashSet<Vec<u8>>,
    /// Entries that came, in the order in which they did.
    added: BTreeMap<u64, Added>,
    /// Where each name is in `added`, and the place of the next one.
    places: HashMap<Vec<u8>, u64>,
    next: u64,
}

impl ChangedFolder {
    /// One that has no entries.
    pub fn empty() -> Self {
        ChangedFolder { fresh: true, ..ChangedFolder::default() }
    }

    /// Puts an entry behind all others.
    pub fn add(&mut self, name: Vec<u8>, inode: u32, kind: u8) {
        self.places.insert(name.clone(), self.next);
        self.added.insert(self.next, (name, inode, kind));
        self.next += 1;
    }

    /// Takes away an entry that was added, or hides one that is on the disk.
    pub fn remove(&mut self, name: &[u8]) {
        match self.places.remove(name) {
            Some(place) => {
                self.added.remove(&place);
            }
            None => {
                self.removed.insert(name.to_vec());
            }
        }
    }

    /// The inode of an entry that was added.
    pub fn added(&self, name: &[u8]) -> Option<u32> {
        self.places.get(name).and_then(|place| self.added.get(place)).map(|added| added.1)
    }

    /// The entries that were added, from a place on, with their places.
    pub fn added_from(&self, place: u64) -> impl Iterator<Item = (u64, &Added)> {
        self.added.range(place..).map(|(&place, added)| (place, added))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_goes_and_comes_again() {
        let mut folder = ChangedFolder::default();
        folder.remove(b"a");
        folder.add(b"a".to_vec(), 12, 1);
        folder.add(b"b".to_vec(), 13, 1);
        assert_eq!((folder.added(b"a"), folder.removed.len()), (Some(12), 1));
        folder.remove(b"a");
        folder.add(b"a".to_vec(), 14, 2);
        let all: Vec<_> = folder.added_from(0).map(|(place, added)| (place, added.1)).collect();
        assert_eq!(all, [(1, 13), (2, 14)]);
        assert_eq!(folder.added_from(2).count(), 1);
    }
}
