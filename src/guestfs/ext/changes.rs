//! What fast commits changed, over the volume as the journal left it.

use super::extent::Extent;
use std::collections::{HashMap, HashSet};
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

/// A folder's entries.
#[derive(Debug, Default)]
pub(super) struct ChangedFolder {
    /// Made by a fast commit: nothing of it is on the disk.
    pub fresh: bool,
    /// Names on the disk that are gone.
    pub removed: HashSet<Vec<u8>>,
    /// Names that came, with their inode and kind.
    pub added: Vec<(Vec<u8>, u32, u8)>,
}
