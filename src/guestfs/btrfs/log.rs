//! The log tree: what fsync wrote since the last commit, replayed in memory.
//!
//! Every subvolume that something was fsynced in has a log: a tree of items as they are to be in the subvolume, with
//! the ranges of folders for which it is complete, and with the checksums of new data. Replay follows the kernel's
//! `fs/btrfs/tree-log.c` stage by stage, because the format is defined by nothing else: first all inodes and what was
//! deleted, then names of folders, then everything else, and at last the counts of links. Its result is a set of
//! changed items per subvolume ([`Changes`]).
//!
//! What the kernel would give up at is an error here, and the volume is not trusted. Times of folders from which replay
//! itself removes a name stay what the log says, where the kernel sets them to the time of the mount.

mod extents;
mod items;
mod names;
mod refs;

use super::checksum::Sum;
use super::inode::{self, GENERATION_AT, LINKS_AT, kind_of_item};
use super::key::{
    DIR_INDEX, EXTENT_DATA, FIRST_FREE, INODE_EXTREF, INODE_ITEM, INODE_REF, Key, LAST_FREE, ROOT_ITEM,
    TREE_LOG, XATTR_ITEM,
};
use super::node::Owner;
use super::root::Root;
use super::superblock::{Pointer, Superblock};
use super::tree::{Blocks, Changes, Tree};
use crate::{Error, Fields, FileKind, OpenOptions, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

/// What the log changes.
#[derive(Default)]
pub struct Replayed {
    /// By subvolume.
    pub changes: HashMap<u64, Changes>,
    /// The checksums of new data, by the address of the sector.
    pub sums: BTreeMap<u64, Sum>,
}

/// Replays the log trees of all subvolumes, where there are any.
///
/// # Errors
/// [`Error::Corrupt`] where the log contradicts itself or its subvolume; [`Error::Limit`] where more would be held in
/// memory than `options` allow; [`Error::Io`].
pub fn replay(
    blocks: &Blocks,
    roots: &Tree<'_>,
    superblock: &Superblock,
    options: &OpenOptions,
) -> Result<Replayed> {
    let mut replayed = Replayed::default();
    let Some(log_root) = superblock.log_root else { return Ok(replayed) };
    let logs = Tree::new(blocks, log_root, Owner::Tree(TREE_LOG), None);
    let mut found = Vec::new();
    let key = |id| Key::new(TREE_LOG, ROOT_ITEM, id);
    logs.walk(key(0), key(u64::MAX), &mut |key, item| {
        found.push((key.offset, Root::read(item)?.pointer));
        Ok(ControlFlow::Continue(()))
    })?;
    let mut held = Held { bytes: 0, limit: options.journal_bytes };
    for (id, pointer) in found {
        // The log of a subvolume that was deleted meanwhile says nothing any more.
        let Some(root) = Root::find(roots, id)? else { continue };
        let mut log = Log::new();
        Tree::new(blocks, pointer, Owner::Tree(TREE_LOG), None).walk(
            Key::new(0, 0, 0),
            Key::MAX,
            &mut |key, item| {
                held.add(item.len())?;
                log.insert(key, item.to_vec());
                Ok(ControlFlow::Continue(()))
            },
        )?;
        let mut replay = Replay {
            blocks,
            root: root.pointer,
            log: &log,
            changes: Changes::new(),
            sums: &mut replayed.sums,
            fix: BTreeSet::new(),
            held: &mut held,
            transaction: log_root.generation,
            holes: !superblock.no_holes(),
        };
        replay.run()?;
        replayed.changes.insert(id, replay.changes);
    }
    Ok(replayed)
}

/// All items of a log.
type Log = BTreeMap<Key, Vec<u8>>;

/// Bytes that replay holds.
struct Held {
    bytes: usize,
    limit: usize,
}

impl Held {
    fn add(&mut self, bytes: usize) -> Result<()> {
        // An item costs more than its bytes.
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(64);
        if self.bytes > self.limit {
            return Err(Error::Limit(format!(
                "the log tree holds more than {} MiB, which is more than is replayed in memory",
                self.limit >> 20
            )));
        }
        Ok(())
    }
}

/// The replay of one subvolume.
struct Replay<'a> {
    blocks: &'a Blocks,
    root: Pointer,
    log: &'a Log,
    changes: Changes,
    sums: &'a mut BTreeMap<u64, Sum>,
    /// Inodes whose links are counted at the end.
    fix: BTreeSet<u64>,
    held: &'a mut Held,
    /// The number of the commit that did not happen.
    transaction: u64,
    /// Whether holes have items.
    holes: bool,
}

/// The passes over a log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Inodes,
    Names,
    Rest,
}

fn broken(reason: impl Into<String>) -> Error {
    Error::corrupt("the log tree", reason)
}

impl Replay<'_> {
    fn run(&mut self) -> Result<()> {
        let log = self.log;
        let mut ignored = false;
        for stage in [Stage::Inodes, Stage::Names, Stage::Rest] {
            for (&key, item) in log {
                if key.object >= LAST_FREE || key.object < FIRST_FREE {
                    continue;
                }
                if key.kind == INODE_ITEM {
                    // Deleted while it was open, or never had a name.
                    ignored = links(item)? == 0;
                    if ignored {
                        continue;
                    }
                    if stage == Stage::Inodes {
                        self.inode(key, item)?;
                    }
                }
                if ignored {
                    continue;
                }
                match (stage, key.kind) {
                    (Stage::Names, DIR_INDEX) => self.name(key, item)?,
                    (Stage::Rest, XATTR_ITEM) => self.put(key, item.clone())?,
                    (Stage::Rest, INODE_REF | INODE_EXTREF) => self.inode_ref(key, item)?,
                    (Stage::Rest, EXTENT_DATA) => self.extent(key, item)?,
                    _ => {}
                }
            }
        }
        self.count_links()
    }

    /// An inode of the log, and what was deleted from it.
    fn inode(&mut self, key: Key, item: &[u8]) -> Result<()> {
        let kind = kind_of_item(item)?;
        self.delete_xattrs(key.object)?;
        if kind == Some(FileKind::Directory) {
            self.delete_names(key.object, false)?;
        }
        self.overwrite_inode(key, item)?;
        if kind == Some(FileKind::File) {
            // What is behind the end is gone; space that was allocated there since is in the log.
            let size = self.size(key.object)?;
            let sector = u64::from(self.blocks.sector);
            let end = size.checked_next_multiple_of(sector).ok_or_else(|| broken("a size is impossible"))?;
            let freed = self.drop_extents(key.object, end, u64::MAX)?;
            self.add_bytes(key.object, 0, freed)?;
        }
        self.fix_later(key.object)
    }

    /// Puts an inode item over what the subvolume has.
    fn overwrite_inode(&mut self, key: Key, item: &[u8]) -> Result<()> {
        let mut new = item.to_vec();
        let fields = Fields::new("an inode item of the log", item);
        let generation = fields.le64(GENERATION_AT)?;
        let size = fields.le64(inode::SIZE_AT)?;
        let directory = kind_of_item(item)? == Some(FileKind::Directory);
        match self.tree().get(key)? {
            Some(old) => {
                let old_fields = Fields::new("an inode item", &old);
                let old_kind = kind_of_item(&old)?;
                if generation == 0 {
                    // Only that the inode exists was logged: of a file that was written before, perhaps its size too.
                    let file = Some(FileKind::File);
                    if kind_of_item(item)? == file && old_kind == file && size != 0 {
                        self.set_size(key.object, size)?;
                    }
                    return Ok(());
                }
                set64(&mut new, inode::BYTES_AT, old_fields.le64(inode::BYTES_AT)?)?;
                // Names that are added and removed later change the size of a folder one by one.
                if directory {
                    let size = if old_kind == Some(FileKind::Directory) {
                        old_fields.le64(inode::SIZE_AT)?
                    } else {
                        0
                    };
                    set64(&mut new, inode::SIZE_AT, size)?;
                }
            }
            None => {
                set64(&mut new, inode::BYTES_AT, 0)?;
                if directory {
                    set64(&mut new, inode::SIZE_AT, 0)?;
                }
                if generation == 0 {
                    set64(&mut new, GENERATION_AT, self.transaction)?;
                }
            }
        }
        self.put(key, new)
    }

    /// Counts the names of every inode that was touched.
    fn count_links(&mut self) -> Result<()> {
        while let Some(number) = self.fix.pop_last() {
            let item = self.inode_item(number)?;
            let links = self.references(number)?.len();
            let count = u32::try_from(links).map_err(|_| broken("too many names"))?;
            self.edit_inode(number, |item| set32(item, LINKS_AT, count))?;
            // What was in a folder that is gone is gone too, from there.
            if links == 0 && kind_of_item(&item)? == Some(FileKind::Directory) {
                self.delete_names(number, true)?;
            }
        }
        Ok(())
    }
}

/// The number of names that an inode item tells.
fn links(item: &[u8]) -> Result<u32> {
    Fields::new("an inode item of the log", item).le32(LINKS_AT)
}

fn set64(item: &mut [u8], at: usize, value: u64) -> Result<()> {
    item.get_mut(at..at + 8)
        .ok_or_else(|| broken("an inode item is cut off"))?
        .copy_from_slice(&value.to_le_bytes());
    Ok(())
}

fn set32(item: &mut [u8], at: usize, value: u32) -> Result<()> {
    item.get_mut(at..at + 4)
        .ok_or_else(|| broken("an inode item is cut off"))?
        .copy_from_slice(&value.to_le_bytes());
    Ok(())
}
