//! An opened volume.

use super::boot::{self, Boot};
use super::entry::{self, Entry};
use super::folder::{Folder, Item, MAX_SLOTS};
use super::upcase::UpCase;
use crate::fat::chain::Chain;
use crate::fat::clusters::{Clusters, Extent};
use crate::fat::table::{Table, Width};
use crate::names::{self, NameIndex};
use crate::{
    Cache, Device, DirEntry, Error, FileKind, FsInfo, GuestFs, NodeId, OpenOptions, Place, Result, Run, Stat,
    Timestamp, Xattr,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The node of the root folder, which has no entry. Every other names the cluster of its folder in its upper half.
const ROOT: NodeId = NodeId { tree: 0, inode: 1 };

/// In a node: its folder lies in one piece, and has no chain.
const CONTIGUOUS: u64 = 1 << 31;

/// How many slots of the root folder are looked through for the label and the up-case table.
const ROOT_SLOTS: usize = 4096;

/// An exFAT volume.
pub(super) struct ExFat {
    boot: Boot,
    info: FsInfo,
    clusters: Clusters,
    up_case: UpCase,
    indexes: Cache<NodeId, Arc<NameIndex>>,
}

/// A folder that was found.
struct Opened {
    first: u32,
    contiguous: bool,
    extent: Extent,
}

impl Opened {
    fn node(&self, slot: u64) -> NodeId {
        let flag = if self.contiguous { CONTIGUOUS } else { 0 };
        NodeId { tree: 0, inode: u64::from(self.first) << 32 | flag | (slot + 1) }
    }
}

impl ExFat {
    pub(super) fn open(device: Device, options: &OpenOptions) -> Result<ExFat> {
        let (boot, damage) = boot::read(&*device)?;
        let mut warnings: Vec<String> =
            damage.map(|error| format!("the copy of the boot region is used: {error}")).into_iter().collect();
        warnings.extend(boot::state_warnings(&boot));
        if boot.size > device.size() {
            warnings.push(format!(
                "the volume has {} bytes, of which only {} are there",
                boot.size,
                device.size()
            ));
        }
        let budget = options.cache_bytes;
        let (start, bytes) = (boot.active_fat(), boot.fat_bytes);
        let table = Table::new(device.clone(), start, bytes, Width::ExFat, boot.clusters, budget / 4);
        let clusters = Clusters::new(device, boot.heap_start, boot.cluster, table, budget / 2);
        let root = clusters.chain(boot.root_cluster)?;
        let size = root.clusters * clusters.size();
        let mut folder = Folder::new(&clusters, Extent::Chain(root, size), 0);
        let mut label = None;
        let mut up_case = None;
        for _ in 0..ROOT_SLOTS {
            match folder.slot()? {
                Some(slot) if slot[0] == entry::UP_CASE && up_case.is_none() => {
                    up_case = Some(UpCase::read(&clusters, &slot));
                }
                Some(slot) if slot[0] != 0 => label = label.or_else(|| entry::label(&slot)),
                _ => break,
            }
        }
        let up_case = match up_case {
            Some(Ok(table)) => table,
            Some(Err(error @ Error::Io { .. })) => return Err(error),
            damaged => {
                let why = damaged
                    .and_then(Result::err)
                    .map_or("it is missing".to_owned(), |error| error.to_string());
                warnings.push(format!("names are only found as they are written: the up-case table: {why}"));
                UpCase::none()
            }
        };
        let info = FsInfo {
            kind: "exfat",
            label,
            uuid: boot.uuid(),
            size: boot.size,
            block_size: boot.cluster as u32,
            has_owners: false,
            warnings,
        };
        Ok(ExFat { boot, info, clusters, up_case, indexes: Cache::new(budget / 4) })
    }

    /// The entry of a node that is not the root.
    fn entry(&self, node: NodeId) -> Result<Entry> {
        let nowhere = || Error::corrupt("an exFAT entry", format!("there is none of number {}", node.inode));
        let first = (node.inode >> 32) as u32;
        let slot = (node.inode & (CONTIGUOUS - 1)).checked_sub(1).filter(|slot| *slot < MAX_SLOTS);
        let slot = slot.filter(|_| node.tree == 0 && self.clusters.table().has(first)).ok_or_else(nowhere)?;
        let chain = if node.inode & CONTIGUOUS == 0 {
            self.clusters.chain(first)?
        } else {
            // As far as a set at this slot can reach: how long the folder is only its own entry says.
            let there = u64::from(self.clusters.table().clusters() - (first - 2));
            let needed = ((slot + 256) * 32).div_ceil(self.clusters.size());
            Arc::new(Chain::contiguous(self.clusters.table(), first, needed.min(there))?)
        };
        let size = chain.clusters.saturating_mul(self.clusters.size());
        match Folder::new(&self.clusters, Extent::Chain(chain, size), slot).next()? {
            Some(item) => {
                item.and_then(|item| if item.slot == slot { Ok(item.entry) } else { Err(nowhere()) })
            }
            None => Err(nowhere()),
        }
    }

    /// The clusters of a file or folder, which is not empty.
    fn chain(&self, entry: &Entry) -> Result<Arc<Chain>> {
        let needed = entry.size.div_ceil(self.clusters.size());
        if entry.contiguous {
            return Ok(Arc::new(Chain::contiguous(self.clusters.table(), entry.first_cluster, needed)?));
        }
        let chain = self.clusters.chain(entry.first_cluster)?;
        if chain.clusters < needed {
            return Err(Error::corrupt(
                "a cluster chain",
                format!(
                    "it has {} of the {needed} clusters of a file of {} bytes",
                    chain.clusters, entry.size
                ),
            ));
        }
        Ok(chain)
    }

    fn folder(&self, dir: NodeId) -> Result<Opened> {
        if dir == ROOT {
            let first = self.boot.root_cluster;
            let chain = self.clusters.chain(first)?;
            let size = chain.clusters * self.clusters.size();
            return Ok(Opened { first, contiguous: false, extent: Extent::Chain(chain, size) });
        }
        let entry = self.entry(dir)?;
        if !entry.is_folder {
            return Err(Error::NotADirectory);
        }
        if entry.size == 0 {
            return Err(Error::corrupt("an exFAT folder", "it has no clusters"));
        }
        let extent = Extent::Chain(self.chain(&entry)?, entry.size);
        Ok(Opened { first: entry.first_cluster, contiguous: entry.contiguous, extent })
    }

    fn file(&self, node: NodeId) -> Result<Entry> {
        if node == ROOT {
            return Err(Error::IsADirectory);
        }
        let entry = self.entry(node)?;
        if entry.is_folder { Err(Error::IsADirectory) } else { Ok(entry) }
    }

    /// Hashes of the names of all entries of a folder. What is damaged in it can't be found.
    fn index(&self, dir: NodeId) -> Result<Arc<NameIndex>> {
        self.indexes.get_or(dir, || {
            let mut folder = Folder::new(&self.clusters, self.folder(dir)?.extent, 0);
            let mut all = Vec::new();
            let mut folders = 0u32;
            while let Some(item) = folder.next()? {
                let Ok(item) = item else { continue };
                folders += u32::from(item.entry.is_folder);
                if let Some(folded) = self.up_case.fold(&item.entry.name) {
                    all.push((names::hash(&folded), item.slot as u32));
                }
            }
            let index = Arc::new(NameIndex::new(all, folders));
            let cost = index.cost();
            Ok((index, cost))
        })
    }
}

fn kind(entry: &Entry) -> FileKind {
    if entry.is_folder { FileKind::Directory } else { FileKind::File }
}

impl GuestFs for ExFat {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let opened = self.folder(dir)?;
        let folded = self.up_case.fold(name).ok_or(Error::NotFound)?;
        let mut other = None;
        for position in self.index(dir)?.positions(names::hash(&folded)) {
            let mut folder = Folder::new(&self.clusters, opened.extent.clone(), u64::from(position));
            let Some(Ok(Item { entry, slot, .. })) = folder.next()? else { continue };
            if entry.name == name {
                return Ok(opened.node(slot));
            }
            if other.is_none() && self.up_case.fold(&entry.name).as_ref() == Some(&folded) {
                other = Some(opened.node(slot));
            }
        }
        other.ok_or(Error::NotFound)
    }

    fn readdir(
        &self,
        dir: NodeId,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let opened = self.folder(dir)?;
        let mut folder = Folder::new(&self.clusters, opened.extent.clone(), from);
        // One entry that is damaged does not hide those behind it.
        let mut damaged = Ok(());
        while let Some(item) = folder.next()? {
            let Item { entry, slot, next } = match item {
                Ok(item) => item,
                Err(error) => {
                    damaged = damaged.and(Err(error));
                    continue;
                }
            };
            let node = opened.node(slot);
            if visit(DirEntry { name: &entry.name, node, kind: Some(kind(&entry)), next }).is_break() {
                return Ok(());
            }
        }
        damaged
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let cluster = self.clusters.size();
        // As Linux counts: its name, its `.`, and the `..` of every folder in it.
        let links = || 2 + self.index(node).map_or(0, |index| u64::from(index.folders));
        let folder = Stat {
            kind: FileKind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            links: 2,
            size: 0,
            allocated: 0,
            device: None,
            accessed: Timestamp::default(),
            modified: Timestamp::default(),
            changed: Timestamp::default(),
            created: None,
        };
        if node == ROOT {
            let size = self.clusters.chain(self.boot.root_cluster)?.clusters * cluster;
            return Ok(Stat { links: links(), size, allocated: size, ..folder });
        }
        let entry = self.entry(node)?;
        Ok(Stat {
            kind: kind(&entry),
            mode: if entry.is_read_only && !entry.is_folder { 0o555 } else { 0o755 },
            links: if entry.is_folder { links() } else { 1 },
            size: entry.size,
            // A size that no volume can have is the error of whoever reads it.
            allocated: entry.size.div_ceil(cluster).saturating_mul(cluster),
            accessed: entry.accessed,
            modified: entry.modified,
            changed: entry.modified,
            created: Some(entry.created),
            ..folder
        })
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        if node != ROOT {
            self.entry(node)?;
        }
        Err(Error::NotASymlink)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let entry = self.file(node)?;
        if offset >= entry.size {
            return Ok(0);
        }
        let length = (entry.size - offset).min(buf.len() as u64) as usize;
        let chain = self.chain(&entry)?;
        let written = entry.valid.saturating_sub(offset).min(length as u64) as usize;
        let (written, zeros) = buf[..length].split_at_mut(written);
        self.clusters.read(&chain, offset, written)?;
        zeros.fill(0);
        Ok(length)
    }

    fn map(&self, node: NodeId, offset: u64) -> Result<Option<Run>> {
        let entry = self.file(node)?;
        if offset >= entry.size {
            return Ok(None);
        }
        let chain = self.chain(&entry)?;
        if offset >= entry.valid {
            return Ok(Some(Run { length: entry.size - offset, place: Place::Hole }));
        }
        self.clusters.map(&chain, offset, entry.valid).map(Some)
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        if node != ROOT {
            self.entry(node)?;
        }
        Ok(Vec::new())
    }
}
