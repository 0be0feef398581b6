//! An opened btrfs: its trees, and what all operations share.

use super::checksum::name_hash;
use super::data::Data;
use super::entry::Entry;
use super::inode::Inode;
use super::key::{CSUM_TREE, DIR_ITEM, FIRST_FREE, FS_TREE, INODE_ITEM, Key, ROOT_REF, ROOT_TREE};
use super::log;
use super::node::Owner;
use super::open::Opened;
use super::root::{Root, RootRef};
use super::superblock::{Pointer, Superblock};
use super::tree::{Blocks, Changes, Tree};
use crate::{Cache, Device, Error, FsInfo, NodeId, OpenOptions, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// The bit of [`NodeId::inode`] for a folder that stands where a subvolume was when this snapshot was taken. The kernel
/// shows it empty, with the owner of the folder that it is in, and with the time of the look, for which that folder's
/// times stand here. The other bits have the folder's number and the subvolume's, so that no two of them are one node.
pub const EMPTY: u64 = 1 << 63;
/// How many bits the folder's number has in such a node.
const FOLDER_BITS: u32 = 40;

/// The inode of an empty folder in the place of `subvolume` in a folder.
fn empty_folder(folder: u64, subvolume: u64) -> Result<u64> {
    if folder >> FOLDER_BITS != 0 || subvolume >> (EMPTY.trailing_zeros() - FOLDER_BITS) != 0 {
        return Err(Error::Limit(format!("the place of subvolume {subvolume} in folder {folder}")));
    }
    Ok(EMPTY | subvolume << FOLDER_BITS | folder)
}

/// The folder that an empty one is in; nothing for all other nodes.
pub fn folder_of_empty(node: NodeId) -> Option<NodeId> {
    let inode = node.inode & ((1 << FOLDER_BITS) - 1);
    (node.inode & EMPTY != 0).then_some(NodeId { inode, ..node })
}

/// A btrfs, with all of its subvolumes.
pub struct Btrfs {
    pub(super) blocks: Blocks,
    pub(super) data: Data,
    pub(super) info: FsInfo,
    /// The tree of trees.
    roots: Pointer,
    sums: Option<Pointer>,
    default: u64,
    /// What the log changed, by subvolume.
    changes: HashMap<u64, Changes>,
    /// Root items that were read.
    known: Cache<u64, Arc<Root>>,
    inodes: Cache<NodeId, Arc<Inode>>,
}

impl Btrfs {
    /// Opens the file system on `devices`, in any order; the first one is the one that
    /// [`Place::Device`](crate::Place::Device) means. Where devices are missing, what can be read from the others is
    /// served with a warning.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where a device is no part of it, or its trees can't be read; [`Error::Unsupported`] for
    /// features that are not known; [`Error::Untrusted`] where the log tree can't be replayed.
    pub fn open(devices: Vec<Device>, options: &OpenOptions) -> Result<Arc<Self>> {
        let Opened { superblock, pool, mut warnings } = Opened::new(devices)?;
        // Metadata is what lookups wait for; what was unpacked serves reads that are smaller than an extent.
        let half = options.cache_bytes / 2;
        let mut blocks = Blocks::new(pool, &superblock, half);
        blocks.add_chunks(&superblock)?;
        for id in blocks.pool.missing() {
            warnings.push(format!("device {id} is missing: what lies only on it can't be read"));
        }
        let roots = Tree::new(&blocks, superblock.root, Owner::Tree(ROOT_TREE), None);
        let sums = Root::find(&roots, CSUM_TREE)?.map(|root| root.pointer);
        let default = default_subvolume(&roots, &superblock)?;
        let replayed = match log::replay(&blocks, &roots, &superblock, options) {
            Ok(replayed) => replayed,
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(error) if options.ignore_journal => {
                warnings.push(format!(
                    "the log tree was not replayed ({error}): what fsync wrote last is missing"
                ));
                log::Replayed::default()
            }
            Err(error) => return Err(Error::Untrusted(format!("the log tree can't be replayed: {error}"))),
        };
        let fs = Btrfs {
            info: FsInfo {
                kind: "btrfs",
                label: superblock.label(),
                uuid: Some(superblock.uuid()),
                size: superblock.total_bytes,
                block_size: superblock.sector,
                has_owners: true,
                warnings,
            },
            data: Data::new(replayed.sums, options.cache_bytes / 4),
            roots: superblock.root,
            sums,
            default,
            changes: replayed.changes,
            known: Cache::new(options.cache_bytes / 16),
            inodes: Cache::new(options.cache_bytes / 16),
            blocks,
        };
        fs.root_of(default).map_err(|error| match error {
            Error::NotFound => {
                Error::corrupt("the tree of trees", format!("the default subvolume {default} is not in it"))
            }
            other => other,
        })?;
        Ok(Arc::new(fs))
    }

    /// The subvolume that a mount without options shows.
    pub fn default_subvolume(&self) -> u64 {
        self.default
    }

    pub(super) fn roots(&self) -> Tree<'_> {
        Tree::new(&self.blocks, self.roots, Owner::Tree(ROOT_TREE), None)
    }

    /// The checksum tree, for data that has checksums.
    pub(super) fn sums(&self, checked: bool) -> Result<Option<Tree<'_>>> {
        match (checked, self.sums) {
            (false, _) => Ok(None),
            (true, Some(root)) => Ok(Some(Tree::new(&self.blocks, root, Owner::Tree(CSUM_TREE), None))),
            (true, None) => Err(Error::corrupt("the tree of trees", "there is no checksum tree")),
        }
    }

    /// The root item of a subvolume.
    pub(super) fn root_of(&self, id: u64) -> Result<Arc<Root>> {
        if !super::key::is_subvolume(id) {
            return Err(Error::NotFound);
        }
        self.known.get_or(id, || {
            let root = Root::find(&self.roots(), id)?.filter(|root| !root.dead).ok_or(Error::NotFound)?;
            Ok((Arc::new(root), 256))
        })
    }

    /// The tree of a subvolume.
    pub(super) fn tree(&self, id: u64) -> Result<Tree<'_>> {
        let root = self.root_of(id)?;
        Ok(Tree::new(&self.blocks, root.pointer, Owner::Subvolume, self.changes.get(&id)))
    }

    /// The inode of a node.
    pub(super) fn inode(&self, node: NodeId) -> Result<Arc<Inode>> {
        self.inodes.get_or(node, || {
            let item = self
                .tree(node.tree)?
                .get(Key::new(node.inode, INODE_ITEM, 0))?
                .ok_or_else(|| Error::corrupt(format!("inode {}", node.inode), "it is not in its tree"))?;
            Ok((Arc::new(Inode::read(node.inode, &item, self.blocks.sector)?), 256))
        })
    }

    /// What an entry of the folder `dir` names.
    pub(super) fn target(&self, dir: NodeId, entry: &Entry<'_>) -> Result<NodeId> {
        let Key { object, kind, .. } = entry.location;
        if kind == INODE_ITEM && (FIRST_FREE..EMPTY).contains(&object) {
            return Ok(NodeId { tree: dir.tree, inode: object });
        }
        if kind != super::key::ROOT_ITEM {
            return Err(Error::corrupt(
                format!("the folder of inode {}", dir.inode),
                format!("an entry names an item of kind {kind} and object {object}"),
            ));
        }
        // A snapshot keeps the entries of the subvolumes in it, but not the subvolumes.
        let here = match self.roots().get(Key::new(dir.tree, ROOT_REF, object))? {
            Some(item) => {
                let found = RootRef::read(&item)?;
                found.dir == dir.inode && found.name == entry.name
            }
            None => false,
        };
        if here {
            Ok(NodeId { tree: object, inode: FIRST_FREE })
        } else {
            Ok(NodeId { tree: dir.tree, inode: empty_folder(dir.inode, object)? })
        }
    }
}

fn default_subvolume(roots: &Tree<'_>, superblock: &Superblock) -> Result<u64> {
    let key = Key::new(superblock.root_dir, DIR_ITEM, name_hash(b"default"));
    let Some(item) = roots.get(key)? else { return Ok(FS_TREE) };
    Ok(Entry::named(&item, b"default")?.map_or(FS_TREE, |entry| entry.location.object))
}
