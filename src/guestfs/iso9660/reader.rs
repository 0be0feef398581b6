//! An opened disc.

use super::descriptor::{Descriptor, SECTOR, Volume};
use super::folder::{Folder, Item};
use super::name;
use super::record::Record;
use super::rock_ridge::{Posix, RockRidge, Zisofs};
use super::susp;
use super::zisofs;
use crate::device::{Device, read_exact};
use crate::names::{self, NameIndex};
use crate::pages::Pages;
use crate::{
    Cache, DirEntry, Error, FileKind, FsInfo, GuestFs, NodeId, OpenOptions, Place, Result, Run, Stat,
    Timestamp, Xattr,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Which names are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Rock Ridge, and how many bytes of system use are to be passed over.
    RockRidge(usize),
    Joliet,
    Plain,
}

/// A disc.
pub(super) struct Iso {
    device: Device,
    info: FsInfo,
    block: u32,
    volume: Option<u16>,
    names: Names,
    /// Where the root folder begins.
    root: u64,
    disc: Pages,
    nodes: Cache<u64, Arc<Node>>,
    indexes: Cache<u64, Arc<NameIndex>>,
    /// Decoded blocks of zisofs files, by node and number.
    decoded: Cache<(u64, u64), Arc<[u8]>>,
}

/// A file or folder, from its records.
#[derive(Debug)]
struct Node {
    kind: FileKind,
    posix: Option<Posix>,
    device: Option<(u32, u32)>,
    target: Option<Vec<u8>>,
    date: Timestamp,
    times: [Option<Timestamp>; 4],
    zisofs: Option<Zisofs>,
    /// Why its content is not read.
    refused: Option<String>,
    /// Bytes as they are stored.
    stored: u64,
    /// First byte on the device and length of each piece.
    pieces: Vec<(u64, u64)>,
}

/// An entry of a folder, as it is shown.
struct Shown {
    name: Vec<u8>,
    node: u64,
    kind: FileKind,
    offset: u64,
    next: u64,
}

impl Iso {
    pub(super) fn open(device: Device, volume: &Volume, options: &OpenOptions) -> Result<Iso> {
        let budget = options.cache_bytes;
        let disc = Pages::new(device.clone(), 0, u64::MAX, 16384, budget / 4);
        let own = |descriptor: &Descriptor| -> Result<(u64, Record)> {
            let start = Record::parse(&descriptor.root)?.start(descriptor.block);
            Ok((start, self_record(&disc, start)?))
        };
        let primary = own(&volume.primary);
        let rock_ridge = match &primary {
            Ok((_, record)) => announced(&disc, volume.primary.block, record)?,
            Err(_) => None,
        };
        let (names, descriptor, root) = match (&volume.joliet, rock_ridge) {
            (_, Some(skipped)) => (Names::RockRidge(skipped), &volume.primary, primary?.0),
            (Some(joliet), None) => (Names::Joliet, joliet, own(joliet)?.0),
            (None, None) => (Names::Plain, &volume.primary, primary?.0),
        };
        let mut warnings = Vec::new();
        if super::udf::is_there(&*device)? {
            warnings
                .push("this disc also has a UDF file system, which is not read and may hold more".to_owned());
        }
        if volume.size() > device.size() {
            warnings.push(format!(
                "the volume has {} bytes, of which only {} are there",
                volume.size(),
                device.size()
            ));
        }
        let info = FsInfo {
            kind: "iso9660",
            label: volume.label(),
            uuid: volume.uuid(),
            size: volume.size(),
            block_size: descriptor.block,
            has_owners: matches!(names, Names::RockRidge(_)),
            warnings,
        };
        Ok(Iso {
            device,
            info,
            block: descriptor.block,
            volume: descriptor.volume,
            names,
            root,
            disc,
            nodes: Cache::new(budget / 4),
            indexes: Cache::new(budget / 4),
            decoded: Cache::new(budget / 4),
        })
    }

    /// The Rock Ridge entries of a record, where it has any.
    fn rock_ridge(&self, record: &Record) -> Result<RockRidge> {
        let Names::RockRidge(skipped) = self.names else { return Ok(RockRidge::default()) };
        // The record that announces the protocol is not one to pass over bytes in.
        let skipped = susp::announced(&record.system_use).map_or(skipped, |(start, _)| start);
        RockRidge::read(&self.disc, self.block, record.system_use.get(skipped..).unwrap_or_default())
    }

    /// Whether a name is compared as it is.
    fn ignores_case(&self) -> bool {
        !matches!(self.names, Names::RockRidge(_))
    }

    fn fold(&self, name: &[u8]) -> Vec<u8> {
        if self.ignores_case() { names::fold(name) } else { name.to_vec() }
    }

    /// How an entry is shown; `None` where it is not.
    fn shown(&self, start: u64, item: &Item) -> Result<Option<Shown>> {
        let Item { record, offset, next, .. } = item;
        let rock_ridge = self.rock_ridge(record)?;
        if rock_ridge.relocated {
            return Ok(None);
        }
        let name = match (self.names, rock_ridge.name) {
            (Names::RockRidge(_), Some(name)) => name,
            (Names::Joliet, _) => name::joliet(&record.identifier),
            _ => name::plain(&record.identifier),
        };
        if !name::is_shown(&name) {
            let shown = String::from_utf8_lossy(&name).into_owned();
            return Err(Error::corrupt("a folder of ISO 9660", format!("an entry calls itself {shown:?}")));
        }
        let (node, kind) = match rock_ridge.child {
            Some(block) => (u64::from(block) * u64::from(self.block), FileKind::Directory),
            None if record.is_folder => (record.start(self.block), FileKind::Directory),
            None => (start + offset, kind_of_file(rock_ridge.posix)?),
        };
        Ok(Some(Shown { name, node, kind, offset: *offset, next: *next }))
    }

    fn node(&self, id: NodeId) -> Result<Arc<Node>> {
        if id.tree != 0 {
            return Err(Error::corrupt("a directory record", format!("there is none in tree {}", id.tree)));
        }
        self.nodes.get_or(id.inode, || {
            let node = Arc::new(self.read_node(id.inode)?);
            let cost = 256 + node.pieces.len() * 16 + node.target.as_ref().map_or(0, Vec::len);
            Ok((node, cost))
        })
    }

    fn read_node(&self, at: u64) -> Result<Node> {
        // Further pieces of a file lie behind its record, in sectors that the record does not know the number of.
        let item = match record_at(&self.disc, at)? {
            record if record.is_self() => {
                let size = u64::from(record.size);
                let node = self.rock_ridge(&record)?;
                return Ok(self.assemble(FileKind::Directory, &record, node, vec![(at, size)]));
            }
            record if record.more => Folder::new(&self.disc, at, SECTOR * 256, 0)?.next()?,
            record => Some(Item { record, more: Vec::new(), offset: 0, next: 0 }),
        };
        let item = item.filter(|item| item.offset == 0 && !item.record.is_dot() && !item.record.is_folder);
        let Some(Item { record, more, .. }) = item else {
            return Err(Error::corrupt("a directory record", format!("there is no file's at byte {at}")));
        };
        let rock_ridge = self.rock_ridge(&record)?;
        if let Some(reason) = &rock_ridge.target_damage {
            return Err(Error::corrupt("a link of Rock Ridge", reason.clone()));
        }
        let kind = kind_of_file(rock_ridge.posix)?;
        let mut pieces: Vec<(u64, u64)> = Vec::new();
        let mut refused = None;
        for piece in [&record].into_iter().chain(&more) {
            let (start, size) = (piece.start(self.block), u64::from(piece.size));
            if piece.more && !size.is_multiple_of(u64::from(self.block)) {
                return Err(Error::corrupt("a directory record", "a piece of a file ends within a block"));
            }
            if let Err(error) = piece.readable(self.volume)
                && size != 0
            {
                refused = Some(match error {
                    Error::Unsupported(feature) => feature,
                    other => other.to_string(),
                });
            }
            match pieces.last_mut() {
                Some((before, length)) if *before + *length == start => *length += size,
                _ => pieces.push((start, size)),
            }
        }
        let mut node = self.assemble(kind, &record, rock_ridge, pieces);
        node.refused = node.refused.or(refused);
        Ok(node)
    }

    fn assemble(&self, kind: FileKind, record: &Record, found: RockRidge, pieces: Vec<(u64, u64)>) -> Node {
        Node {
            kind,
            posix: found.posix,
            device: found.device.filter(|_| matches!(kind, FileKind::CharDevice | FileKind::BlockDevice)),
            target: found.target,
            date: record.date,
            times: found.times,
            zisofs: found.zisofs.filter(|_| kind == FileKind::File),
            refused: found.undecoded.map(str::to_owned),
            stored: pieces.iter().map(|(_, size)| size).sum(),
            pieces,
        }
    }

    /// A folder's place and size.
    fn folder(&self, dir: NodeId) -> Result<(u64, u64)> {
        let node = self.node(dir)?;
        match (node.kind, &node.pieces[..]) {
            (FileKind::Directory, [piece]) => Ok(*piece),
            _ => Err(Error::NotADirectory),
        }
    }

    /// A file whose content is read.
    fn file(&self, id: NodeId) -> Result<Arc<Node>> {
        let node = self.node(id)?;
        match (node.kind, &node.refused) {
            (FileKind::Directory, _) => Err(Error::IsADirectory),
            (_, Some(why)) => Err(Error::unsupported(why.clone())),
            _ => Ok(node),
        }
    }

    /// Fills `buf` from byte `offset` of a file as it is stored.
    fn read_stored(&self, node: &Node, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let Run { length, place } = map_stored(node, offset + done as u64, node.stored)
                .ok_or_else(|| Error::corrupt("a file of ISO 9660", "something points past its end"))?;
            let length = length.min((buf.len() - done) as u64) as usize;
            if let Place::Device(at) = place {
                read_exact(&*self.device, &mut buf[done..done + length], at)?;
            }
            done += length;
        }
        Ok(())
    }

    /// Block `number` of a compressed file.
    fn block(&self, id: NodeId, node: &Node, zisofs: &Zisofs, number: u64) -> Result<Arc<[u8]>> {
        self.decoded.get_or((id.inode, number), || {
            let read = |offset: u64, buf: &mut [u8]| self.read_stored(node, offset, buf);
            zisofs::check_header(zisofs, &read)?;
            let block: Arc<[u8]> = zisofs::block(zisofs, number, node.stored, &read)?.into();
            let cost = block.len() + 64;
            Ok((block, cost))
        })
    }

    fn index(&self, dir: NodeId) -> Result<Arc<NameIndex>> {
        self.indexes.get_or(dir.inode, || {
            let (start, size) = self.folder(dir)?;
            let mut folder = Folder::new(&self.disc, start, size, 0)?;
            let mut all = Vec::new();
            // What lies behind a damaged record can't be found.
            while let Ok(Some(item)) = folder.next() {
                if let Ok(Some(shown)) = self.shown(start, &item) {
                    all.push((names::hash(&self.fold(&shown.name)), shown.offset as u32));
                }
            }
            let index = Arc::new(NameIndex::new(all, 0));
            let cost = index.cost();
            Ok((index, cost))
        })
    }
}

/// Where the entries begin in every record but this one, the root folder's, where it says that Rock Ridge is used.
fn announced(disc: &Pages, block_size: u32, record: &Record) -> Result<Option<usize>> {
    let Some((start, skipped)) = susp::announced(&record.system_use) else { return Ok(None) };
    let found = RockRidge::read(disc, block_size, record.system_use.get(start..).unwrap_or_default())?;
    Ok((found.extended || found.posix.is_some()).then_some(skipped))
}

/// The record at byte `at` of the disc.
fn record_at(disc: &Pages, at: u64) -> Result<Record> {
    let mut length = [0];
    disc.read(at, &mut length)?;
    let mut bytes = vec![0; usize::from(length[0])];
    disc.read(at, &mut bytes)?;
    Record::parse(&bytes)
}

/// A folder's record of itself, which is the first thing in it.
fn self_record(disc: &Pages, start: u64) -> Result<Record> {
    let record = record_at(disc, start)?;
    if record.is_self() {
        return Ok(record);
    }
    Err(Error::corrupt("a folder of ISO 9660", format!("the one at byte {start} does not begin with itself")))
}

/// What a record is that is not a folder's.
fn kind_of_file(posix: Option<Posix>) -> Result<FileKind> {
    match posix.map_or(Some(FileKind::File), |posix| posix.kind()) {
        Some(FileKind::Directory) | None => {
            Err(Error::corrupt("a Rock Ridge entry", "a file's mode is a folder's, or that of nothing"))
        }
        Some(kind) => Ok(kind),
    }
}

/// The run at byte `offset` of a file as it is stored, up to byte `end`.
fn map_stored(node: &Node, offset: u64, end: u64) -> Option<Run> {
    if offset >= end {
        return None;
    }
    let mut first = 0;
    for (start, length) in &node.pieces {
        if offset - first < *length {
            let within = offset - first;
            return Some(Run {
                length: (length - within).min(end - offset),
                place: Place::Device(start + within),
            });
        }
        first += length;
    }
    None
}

impl GuestFs for Iso {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn root(&self) -> NodeId {
        NodeId { tree: 0, inode: self.root }
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let (start, size) = self.folder(dir)?;
        let folded = self.fold(name);
        let mut other = None;
        for position in self.index(dir)?.positions(names::hash(&folded)) {
            let item = Folder::new(&self.disc, start, size, u64::from(position))?.next()?;
            let Some(shown) = item.map_or(Ok(None), |item| self.shown(start, &item))? else { continue };
            let node = NodeId { tree: 0, inode: shown.node };
            if shown.name == name {
                return Ok(node);
            }
            if other.is_none() && self.fold(&shown.name) == folded {
                other = Some(node);
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
        let (start, size) = self.folder(dir)?;
        let mut folder = Folder::new(&self.disc, start, size, from)?;
        // An entry that is damaged does not hide those behind it; a record that is, does.
        let mut damaged = Ok(());
        while let Some(item) = folder.next()? {
            let shown = match self.shown(start, &item) {
                Ok(Some(shown)) => shown,
                Ok(None) => continue,
                Err(error) => {
                    damaged = damaged.and(Err(error));
                    continue;
                }
            };
            let node = NodeId { tree: 0, inode: shown.node };
            let entry = DirEntry { name: &shown.name, node, kind: Some(shown.kind), next: shown.next };
            if visit(entry).is_break() {
                return Ok(());
            }
        }
        damaged
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let node = self.node(node)?;
        let [created, modified, accessed, changed] = node.times;
        let modified = modified.unwrap_or(node.date);
        let size = match node.kind {
            FileKind::File => node.zisofs.map_or(node.stored, |zisofs| u64::from(zisofs.size)),
            FileKind::Directory => node.stored,
            FileKind::Symlink => node.target.as_ref().map_or(0, |target| target.len() as u64),
            _ => 0,
        };
        let block = u64::from(self.block);
        Ok(Stat {
            kind: node.kind,
            mode: node.posix.map_or(0o555, |posix| posix.mode & 0o7777),
            uid: node.posix.map_or(0, |posix| posix.uid),
            gid: node.posix.map_or(0, |posix| posix.gid),
            links: node.posix.map_or(1, |posix| u64::from(posix.links)),
            size,
            allocated: node.stored.div_ceil(block) * block,
            device: node.device,
            accessed: accessed.unwrap_or(node.date),
            modified,
            changed: changed.or(created).unwrap_or(modified),
            created,
        })
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        let node = self.node(node)?;
        match (&node.target, node.kind) {
            (Some(target), FileKind::Symlink) => Ok(target.clone()),
            (None, FileKind::Symlink) => {
                Err(Error::corrupt("a Rock Ridge entry", "a link that leads nowhere"))
            }
            _ => Err(Error::NotASymlink),
        }
    }

    fn read_at(&self, id: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let node = self.file(id)?;
        let Some(zisofs) = &node.zisofs else {
            let length = node.stored.saturating_sub(offset).min(buf.len() as u64) as usize;
            self.read_stored(&node, offset, &mut buf[..length])?;
            return Ok(length);
        };
        let size = zisofs::block_size(zisofs)?;
        let length = u64::from(zisofs.size).saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < length {
            let position = offset + done as u64;
            let block = self.block(id, &node, zisofs, position / size)?;
            let part = block.get((position % size) as usize..).unwrap_or_default();
            let part = &part[..part.len().min(length - done)];
            if part.is_empty() {
                return Err(Error::corrupt("a zisofs file", "a block is too short"));
            }
            buf[done..done + part.len()].copy_from_slice(part);
            done += part.len();
        }
        Ok(length)
    }

    fn map(&self, id: NodeId, offset: u64) -> Result<Option<Run>> {
        let node = self.file(id)?;
        let Some(zisofs) = &node.zisofs else { return Ok(map_stored(&node, offset, node.stored)) };
        let left = u64::from(zisofs.size).saturating_sub(offset);
        Ok((left > 0).then_some(Run { length: left, place: Place::Inside }))
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        self.node(node)?;
        Ok(Vec::new())
    }
}
