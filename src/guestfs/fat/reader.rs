//! An opened volume.

use super::boot::{self, Boot};
use super::chain::Chain;
use super::clusters::{Clusters, Extent};
use super::entry::{self, Short, Slot};
use super::folder::{Folder, Item};
use super::table::{Table, Width};
use crate::names::{self, NameIndex};
use crate::{
    Cache, Device, DirEntry, Error, FileKind, FsInfo, GuestFs, NodeId, OpenOptions, Result, Run, Stat,
    Timestamp, Xattr,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The node of the root folder, which has no entry. Every other is the place of a short entry on the device, in units
/// of 32 bytes; the first sector is the boot sector, so none of them is this.
const ROOT: NodeId = NodeId { tree: 0, inode: 1 };

/// How many slots of the root folder are looked through for the label.
const LABEL_SLOTS: u64 = 4096;

/// A FAT volume.
pub(super) struct Fat {
    boot: Boot,
    info: FsInfo,
    clusters: Clusters,
    indexes: Cache<NodeId, Arc<NameIndex>>,
}

/// What a node is.
enum Node {
    Root,
    Entry(Short),
}

impl Fat {
    /// Opens the volume that `boot` describes, about which there are `warnings` already.
    pub(super) fn open(
        device: Device,
        boot: Boot,
        mut warnings: Vec<String>,
        options: &OpenOptions,
    ) -> Result<Fat> {
        let budget = options.cache_bytes;
        let (table, second) = choose_table(&device, &boot, budget, &mut warnings)?;
        warnings.extend(boot::state_warnings(&boot, second));
        if boot.size > device.size() {
            warnings.push(format!(
                "the volume has {} bytes, of which only {} are there",
                boot.size,
                device.size()
            ));
        }
        let clusters = Clusters::new(device, boot.data_start, u64::from(boot.cluster), table, budget / 2);
        let info = FsInfo {
            kind: "vfat",
            label: boot.label.and_then(|label| entry::label(&label)),
            uuid: boot.uuid(),
            size: boot.size,
            block_size: boot.cluster,
            has_owners: false,
            warnings,
        };
        let mut fat = Fat { boot, info, clusters, indexes: Cache::new(budget / 4) };
        // A root folder that can't be read is the error of whoever reads it.
        let label = fat.extent(ROOT).and_then(|root| Folder::new(&fat.clusters, root, 0).label(LABEL_SLOTS));
        if let Ok(Some(label)) = label {
            fat.info.label = Some(label);
        }
        Ok(fat)
    }

    fn is_32(&self) -> bool {
        self.boot.width == Width::ThirtyTwo
    }

    fn node(&self, node: NodeId) -> Result<Node> {
        if node == ROOT {
            return Ok(Node::Root);
        }
        let nowhere = || Error::corrupt("a FAT entry", format!("there is none of number {}", node.inode));
        let at = node.inode.checked_mul(32).ok_or_else(nowhere)?;
        let (root, length) = self.boot.root;
        let in_root = at >= root && at < root + length;
        if node.tree != 0 || !(in_root || at >= self.boot.data_start) {
            return Err(nowhere());
        }
        match Slot::parse(&self.clusters.slot_at(at)?) {
            Slot::Short(short) => Ok(Node::Entry(short)),
            _ => Err(nowhere()),
        }
    }

    /// Where the entries of a folder lie.
    fn extent(&self, dir: NodeId) -> Result<Extent> {
        let first = match self.node(dir)? {
            Node::Root if self.is_32() => self.boot.root_cluster,
            Node::Root => return Ok(Extent::Fixed(self.boot.root.0, self.boot.root.1)),
            Node::Entry(short) if short.is_folder() => short.first_cluster(self.is_32()),
            Node::Entry(_) => return Err(Error::NotADirectory),
        };
        let chain = self.clusters.chain(first)?;
        let size = chain.clusters * self.clusters.size();
        Ok(Extent::Chain(chain, size))
    }

    /// The size of a file, and the chain that holds it: `None` where it is empty.
    fn file(&self, node: NodeId) -> Result<(u64, Option<Arc<Chain>>)> {
        let short = match self.node(node)? {
            Node::Entry(short) if !short.is_folder() => short,
            _ => return Err(Error::IsADirectory),
        };
        let size = u64::from(short.size());
        if size == 0 {
            return Ok((0, None));
        }
        let chain = self.clusters.chain(short.first_cluster(self.is_32()))?;
        let held = chain.clusters.saturating_mul(self.clusters.size());
        if held < size {
            return Err(Error::corrupt(
                "a cluster chain",
                format!("it holds {held} bytes of a file of {size} bytes"),
            ));
        }
        Ok((size, Some(chain)))
    }

    /// Hashes of both names of all entries of a folder. What is damaged in it can't be found.
    fn index(&self, dir: NodeId) -> Result<Arc<NameIndex>> {
        self.indexes.get_or(dir, || {
            let mut folder = Folder::new(&self.clusters, self.extent(dir)?, 0);
            let mut all = Vec::new();
            let mut folders = 0u32;
            while let Some(item) = folder.next()? {
                let Ok(item) = item else { continue };
                folders += u32::from(item.short.is_folder());
                let first = item.first as u32;
                all.push((names::hash(&names::fold(&item.name)), first));
                if let Some(alias) = &item.alias {
                    all.push((names::hash(&names::fold(alias)), first));
                }
            }
            let index = Arc::new(NameIndex::new(all, folders));
            let cost = index.cost();
            Ok((index, cost))
        })
    }
}

fn node_of(item: &Item) -> NodeId {
    NodeId { tree: 0, inode: item.at / 32 }
}

/// The FAT to read, with its second entry.
fn choose_table(
    device: &Device,
    boot: &Boot,
    budget: usize,
    warnings: &mut Vec<String>,
) -> Result<(Table, u32)> {
    let numbers = match boot.active {
        Some(active) => active..active + 1,
        None => 0..boot.fats,
    };
    let mut failed = None;
    for number in numbers {
        let start = boot::fat_start(boot, number)?;
        let table = Table::new(device.clone(), start, boot.fat_bytes, boot.width, boot.clusters, budget / 4);
        let mut cursor = table.cursor();
        match cursor.entry(0).and_then(|head| Ok((head, cursor.entry(1)?))) {
            Ok((head, second)) if boot::head_is_plausible(boot.width, head) => {
                if let Some(failed) = failed {
                    warnings.push(format!("FAT {} is used: {failed}", number + 1));
                }
                return Ok((table, second));
            }
            Ok((head, _)) => {
                failed.get_or_insert(format!("FAT {} is damaged, it begins with {head:#x}", number + 1));
            }
            Err(error) => {
                failed.get_or_insert(format!("FAT {}: {error}", number + 1));
            }
        }
    }
    Err(Error::corrupt("the FAT", failed.unwrap_or_else(|| "there is none".to_owned())))
}

impl GuestFs for Fat {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let extent = self.extent(dir)?;
        let folded = names::fold(name);
        // The names as they are shown come before the short names that stand beside long ones.
        let mut best: Option<(u8, NodeId)> = None;
        for position in self.index(dir)?.positions(names::hash(&folded)) {
            let mut folder = Folder::new(&self.clusters, extent.clone(), u64::from(position));
            let Some(Ok(item)) = folder.next()? else { continue };
            let alias = item.alias.as_deref().unwrap_or_default();
            let rank = match () {
                () if item.name == name => 0,
                () if names::fold(&item.name) == folded => 1,
                () if alias == name => 2,
                () if names::fold(alias) == folded => 3,
                () => continue,
            };
            if best.is_none_or(|(other, _)| rank < other) {
                best = Some((rank, node_of(&item)));
            }
        }
        best.map(|(_, node)| node).ok_or(Error::NotFound)
    }

    fn readdir(
        &self,
        dir: NodeId,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut folder = Folder::new(&self.clusters, self.extent(dir)?, from);
        // One entry that is damaged does not hide those behind it.
        let mut damaged = Ok(());
        while let Some(item) = folder.next()? {
            let item = match item {
                Ok(item) => item,
                Err(error) => {
                    damaged = damaged.and(Err(error));
                    continue;
                }
            };
            let kind = if item.short.is_folder() { FileKind::Directory } else { FileKind::File };
            let entry =
                DirEntry { name: &item.name, node: node_of(&item), kind: Some(kind), next: item.next };
            if visit(entry).is_break() {
                return Ok(());
            }
        }
        damaged
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let short = match self.node(node)? {
            Node::Root => None,
            Node::Entry(short) => Some(short),
        };
        let cluster = self.clusters.size();
        let is_folder = short.is_none_or(|short| short.is_folder());
        let (size, links, allocated) = if is_folder {
            let size = match self.extent(node)? {
                Extent::Fixed(_, size) | Extent::Chain(_, size) => size,
            };
            // As Linux counts: its name, its `.`, and the `..` of every folder in it.
            (size, 2 + self.index(node).map_or(0, |index| u64::from(index.folders)), size)
        } else {
            let size = short.map_or(0, |short| u64::from(short.size()));
            (size, 1, size.div_ceil(cluster) * cluster)
        };
        let modified = short.map_or(Timestamp::default(), |short| short.modified());
        let read_only = short.is_some_and(|short| short.is_read_only() && !short.is_folder());
        Ok(Stat {
            kind: if is_folder { FileKind::Directory } else { FileKind::File },
            mode: if read_only { 0o555 } else { 0o755 },
            uid: 0,
            gid: 0,
            links,
            size,
            allocated,
            device: None,
            accessed: short.map_or(Timestamp::default(), |short| short.accessed()),
            modified,
            changed: modified,
            created: short.and_then(|short| short.created()),
        })
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        self.node(node)?;
        Err(Error::NotASymlink)
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (size, chain) = self.file(node)?;
        let Some(chain) = chain.filter(|_| offset < size) else { return Ok(0) };
        let length = (size - offset).min(buf.len() as u64) as usize;
        self.clusters.read(&chain, offset, &mut buf[..length])?;
        Ok(length)
    }

    fn map(&self, node: NodeId, offset: u64) -> Result<Option<Run>> {
        let (size, chain) = self.file(node)?;
        match chain.filter(|_| offset < size) {
            Some(chain) => self.clusters.map(&chain, offset, size).map(Some),
            None => Ok(None),
        }
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        self.node(node)?;
        Ok(Vec::new())
    }
}
