//! Subvolumes and snapshots, and the paths that mount options name them by.

use super::key::{FIRST_FREE, FS_TREE, INODE_ITEM, INODE_REF, Key, LAST_FREE, ROOT_BACKREF, ROOT_ITEM};
use super::root::{Root, RootRef, first};
use super::volume::Btrfs;
use crate::{Error, Fields, GuestFs, NodeId, Result, Timestamp};
use std::collections::HashMap;
use std::ops::ControlFlow;

/// How many subvolumes are listed at most.
const MAX_SUBVOLUMES: usize = 1 << 17;

/// How deep subvolumes and the folders in one may lie.
const MAX_DEPTH: usize = 4096;

/// A subvolume or snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subvolume {
    /// Its number: `subvolid=`. 5 is the one that holds all others.
    pub id: u64,
    /// Its path from the top of all subvolumes, without a `/` before it: `subvol=`. Empty for the top itself; `None` for
    /// one that hangs nowhere any more.
    pub path: Option<Vec<u8>>,
    /// The subvolume that it lies in.
    pub parent: Option<u64>,
    /// Whether nothing can be written to it.
    pub read_only: bool,
    /// Its identity.
    pub uuid: Option<[u8; 16]>,
    /// The identity of what it is a snapshot of.
    pub parent_uuid: Option<[u8; 16]>,
    /// The identity of what it was received from by `btrfs receive`.
    pub received_uuid: Option<[u8; 16]>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it was received.
    pub received: Option<Timestamp>,
    /// Whether a mount without options shows it.
    pub default: bool,
}

impl Btrfs {
    /// All subvolumes and snapshots, by their numbers; those that are being deleted are left out.
    ///
    /// # Errors
    /// Why the trees can't be read; [`Error::Limit`] for more than 131,072.
    pub fn subvolumes(&self) -> Result<Vec<Subvolume>> {
        let mut found: Vec<(u64, Root)> = Vec::new();
        let roots = self.roots();
        let from = Key::new(FS_TREE, ROOT_ITEM, 0);
        roots.walk(from, Key::new(LAST_FREE, ROOT_ITEM, u64::MAX), &mut |key, item| {
            if key.kind == ROOT_ITEM && super::key::is_subvolume(key.object) {
                let root = Root::read(item)?;
                if !root.dead {
                    found.push((key.object, root));
                }
            }
            if found.len() > MAX_SUBVOLUMES {
                return Err(Error::Limit(format!("the btrfs has more than {MAX_SUBVOLUMES} subvolumes")));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut parents = HashMap::new();
        for (id, _) in &found {
            let back = |parent| Key::new(*id, ROOT_BACKREF, parent);
            if let Some((key, item)) = first(&roots, back(0), back(u64::MAX))? {
                let reference = RootRef::read(&item)?;
                let path = self.path_in(key.offset, &reference).ok();
                parents.insert(*id, (key.offset, path));
            }
        }
        let default = self.default_subvolume();
        Ok(found
            .into_iter()
            .map(|(id, root)| Subvolume {
                id,
                path: path(id, &parents),
                parent: parents.get(&id).map(|(parent, _)| *parent),
                read_only: root.read_only,
                uuid: root.uuid,
                parent_uuid: root.parent_uuid,
                received_uuid: root.received_uuid,
                created: root.created,
                received: root.received,
                default: id == default,
            })
            .collect())
    }

    /// The path of what `reference` hangs, from the root of the subvolume `tree`.
    fn path_in(&self, tree: u64, reference: &RootRef) -> Result<Vec<u8>> {
        let tree = self.tree(tree)?;
        let mut names = vec![reference.name.clone()];
        let mut dir = reference.dir;
        while dir != FIRST_FREE {
            if names.len() > MAX_DEPTH {
                return Err(Error::Limit(format!("folders lie deeper than {MAX_DEPTH}")));
            }
            let key = |parent| Key::new(dir, INODE_REF, parent);
            let (key, item) = first(&tree, key(0), key(u64::MAX))?.ok_or(Error::NotFound)?;
            let fields = Fields::new("an inode reference", &item);
            names.push(fields.bytes(10, usize::from(fields.le16(8)?))?.to_vec());
            dir = key.offset;
        }
        names.reverse();
        Ok(names.join(&b'/'))
    }

    /// The root folder of the subvolume `id`: what a mount with `subvolid=` shows.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such subvolume; why it can't be read.
    pub fn subvolume_root(&self, id: u64) -> Result<NodeId> {
        let node = NodeId { tree: id, inode: FIRST_FREE };
        let there = self.tree(id)?.get(Key::new(node.inode, INODE_ITEM, 0))?.is_some();
        if there { Ok(node) } else { Err(Error::NotFound) }
    }

    /// The root folder of the subvolume at a path from the top of all subvolumes, with or without a `/` before it: what
    /// a mount with `subvol=` shows. Links on the way are not followed.
    ///
    /// # Errors
    /// [`Error::NotFound`] where nothing is there, or it is no subvolume; why the way can't be read.
    pub fn subvolume_at(&self, path: &[u8]) -> Result<NodeId> {
        let mut at = self.subvolume_root(FS_TREE)?;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
            at = self.lookup(at, name)?;
        }
        if at.inode == FIRST_FREE { Ok(at) } else { Err(Error::NotFound) }
    }
}

/// The path of a subvolume from the top: its own in its parent, and the parent's before it.
fn path(id: u64, parents: &HashMap<u64, (u64, Option<Vec<u8>>)>) -> Option<Vec<u8>> {
    let mut names = Vec::new();
    let mut at = id;
    while at != FS_TREE {
        let (parent, name) = parents.get(&at)?;
        names.push(name.clone()?);
        at = *parent;
        if names.len() > MAX_DEPTH {
            return None;
        }
    }
    names.reverse();
    Some(names.join(&b'/'))
}
