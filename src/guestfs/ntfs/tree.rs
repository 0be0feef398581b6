//! The tree: a volume as every guest file system looks.

use super::file::{Attribute, FOLDER, File, REPARSE, SYSTEM};
use super::index::{Index, Order};
use super::name::UpCase;
use super::node::Nature;
use super::record::{kind, split};
use super::time::timestamp;
use super::volume::{Volume, number};
use super::wof::{self, Method};
use crate::{
    Cache, DirEntry, Error, FileKind, FsInfo, GuestFs, MAX_XATTR, NodeId, Place, Result, Run, Stat,
    Timestamp, Xattr, wtf8,
};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The first record that belongs to a user; what is below is not listed.
const FIRST_LISTED: u64 = 24;

/// The most bytes of all extended attributes of a file together.
const MAX_XATTRS: usize = 16 << 20;

/// An opened NTFS.
pub struct Tree {
    info: FsInfo,
    volume: Volume,
    upcase: UpCase,
    orders: Cache<u64, Arc<Order>>,
}

impl Tree {
    /// Of an opened volume; `cache_bytes` are for the order of folders.
    pub fn new(info: FsInfo, volume: Volume, upcase: UpCase, cache_bytes: usize) -> Self {
        Tree { info, volume, upcase, orders: Cache::new(cache_bytes) }
    }

    /// Adds what a person must know of a Windows that sleeps: as ntfs-3g, which mounts such a volume to be read.
    pub fn look_for_hibernation(&mut self) -> Result<()> {
        let name: Vec<u16> = "hiberfil.sys".encode_utf16().collect();
        let root = self.volume.file(number::ROOT)?;
        let Some(reference) = self.entry(&root, &name)? else { return Ok(()) };
        let file = self.volume.referenced(reference)?;
        let mut mark = [0; 4];
        if let Some((index, data)) = file.find(kind::DATA, &[])
            && self.volume.read((file.number, index), &data.content, 0, &mut mark)? == mark.len()
            && mark.eq_ignore_ascii_case(b"hibr")
        {
            let line = "Windows is hibernated (or was shut down for a fast start): what it keeps in memory is not seen";
            self.info.warnings.push(line.into());
        }
        Ok(())
    }

    /// The file behind a node.
    fn file(&self, node: NodeId) -> Result<Arc<File>> {
        self.volume.file(node.inode)
    }

    /// A folder that can be listed.
    fn folder(&self, node: NodeId) -> Result<Arc<File>> {
        if node.tree != 0 {
            return Err(Error::NotADirectory);
        }
        let file = self.file(node)?;
        match self.volume.nature(&file)? {
            Nature::Directory => Ok(file),
            Nature::Refused(FileKind::Directory, by) => Err(Error::Unsupported(by)),
            _ => Err(Error::NotADirectory),
        }
    }

    /// The record that the name leads to, as a reference.
    fn entry(&self, folder: &File, name: &[u16]) -> Result<Option<u64>> {
        let mut best = None;
        Index::new(&self.volume, folder)?.search(&self.upcase, name, &mut |key, reference| {
            let exact = key.name == name;
            if exact || best.is_none() {
                best = Some(reference);
            }
            exact
        })?;
        Ok(best)
    }

    /// A node's stream: the unnamed one, or the alternate one that its id means.
    fn stream<'a>(&self, node: NodeId, file: &'a File) -> Result<Option<(usize, &'a Attribute)>> {
        if node.tree == 0 {
            return Ok(file.find(kind::DATA, &[]));
        }
        let index = usize::try_from(node.tree - 1).map_err(|_| Error::NotFound)?;
        match file.attributes.get(index) {
            Some(attribute) if attribute.kind == kind::DATA && !attribute.name.is_empty() => {
                Ok(Some((index, attribute)))
            }
            _ => Err(Error::NotFound),
        }
    }

    /// The alternate stream `name` of a file, its type allowed after it as Windows writes it.
    fn alternate(&self, file: &File, name: &[u16]) -> Result<NodeId> {
        const SUFFIX: &str = ":$DATA";
        let suffix: Vec<u16> = SUFFIX.encode_utf16().collect();
        let name = name.len().checked_sub(suffix.len()).map_or(name, |at| {
            if self.upcase.compare(&name[at..], &suffix).is_eq() { &name[..at] } else { name }
        });
        let streams = || {
            streams(file).filter(|(_, one)| self.upcase.compare(&one.name, name).is_eq() && !name.is_empty())
        };
        let found = streams().find(|(_, one)| one.name == name).or_else(|| streams().next());
        match found {
            Some((index, _)) => Ok(NodeId { tree: index as u64 + 1, inode: file.number }),
            None => Err(Error::NotFound),
        }
    }

    /// Whether a node has content; how it is compressed, where that is by the Windows Overlay Filter.
    fn readable(&self, node: NodeId, file: &File) -> Result<Option<Method>> {
        if node.tree != 0 {
            return Ok(None);
        }
        match self.volume.nature(file)? {
            Nature::File => Ok(None),
            Nature::Compressed(method) => Ok(Some(method)),
            Nature::Directory | Nature::Refused(FileKind::Directory, _) => Err(Error::IsADirectory),
            Nature::Refused(_, by) => Err(Error::Unsupported(by)),
            Nature::Link(_) | Nature::Special(..) => {
                Err(Error::unsupported("reading of a link or a special file"))
            }
        }
    }
}

/// The alternate streams of a file.
fn streams(file: &File) -> impl Iterator<Item = (usize, &Attribute)> {
    let all = file.attributes.iter().enumerate();
    all.filter(|(_, one)| one.kind == kind::DATA && !one.name.is_empty())
}

/// A name that can be shown.
fn listed(name: &[u16]) -> Result<Vec<u8>> {
    let bytes = wtf8::from_utf16(name.iter().copied());
    if bytes.is_empty() || bytes.contains(&b'/') || bytes.contains(&0) || bytes == b"." || bytes == b".." {
        let reason = format!("{:?} is no name", String::from_utf8_lossy(&bytes));
        return Err(Error::corrupt("an entry of a folder", reason));
    }
    Ok(bytes)
}

impl GuestFs for Tree {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn root(&self) -> NodeId {
        NodeId { tree: 0, inode: number::ROOT }
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let folder = self.folder(dir)?;
        let Some(name) = wtf8::to_utf16(name).filter(|name| !name.is_empty()) else {
            return Err(Error::NotFound);
        };
        if let Some(reference) = self.entry(&folder, &name)? {
            let file = self.volume.referenced(reference)?;
            return Ok(NodeId { tree: 0, inode: file.number });
        }
        let Some(colon) = name.iter().position(|&unit| unit == u16::from(b':')) else {
            return Err(Error::NotFound);
        };
        let (before, stream) = (&name[..colon], &name[colon + 1..]);
        if before.is_empty() {
            return self.alternate(&folder, stream);
        }
        match self.entry(&folder, before)? {
            Some(reference) => self.alternate(&*self.volume.referenced(reference)?, stream),
            None => Err(Error::NotFound),
        }
    }

    fn readdir(
        &self,
        dir: NodeId,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let folder = self.folder(dir)?;
        let index = Index::new(&self.volume, &folder)?;
        let order = self.orders.get_or(dir.inode, || {
            let order = index.order()?;
            let cost = order.cost();
            Ok::<_, Error>((Arc::new(order), cost))
        })?;
        index.visit(&order, from, &mut |entry, next| {
            let (node, _) = split(entry.reference);
            let key = entry.name()?;
            if key.dos || node < FIRST_LISTED {
                return Ok(true);
            }
            let name = listed(&key.name)?;
            let kind = match key.flags {
                flags if flags & (REPARSE | SYSTEM) != 0 => None,
                flags if flags & FOLDER != 0 => Some(FileKind::Directory),
                _ => Some(FileKind::File),
            };
            let entry = DirEntry { name: &name, node: NodeId { tree: 0, inode: node }, kind, next };
            Ok(visit(entry).is_continue())
        })
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let file = self.file(node)?;
        let nature = if node.tree == 0 { self.volume.nature(&file)? } else { Nature::File };
        let content = self.stream(node, &file)?.map(|(_, attribute)| &attribute.content);
        let (size, allocated) = match &nature {
            Nature::Link(target) => (target.len() as u64, 0),
            Nature::Directory => {
                Index::new(&self.volume, &file).map(|index| index.size()).unwrap_or_default()
            }
            Nature::File | Nature::Compressed(_) | Nature::Special(..) | Nature::Refused(..) => {
                content.map_or((0, 0), |content| (content.size(), content.allocated()))
            }
        };
        let [created, modified, changed, accessed] = file.standard.times.map(timestamp);
        let kind = nature.kind();
        let links =
            if kind == FileKind::Directory { 1 } else { file.names.iter().filter(|one| !one.dos).count() };
        Ok(Stat {
            kind,
            mode: if kind == FileKind::Symlink { 0o777 } else { 0o755 },
            uid: 0,
            gid: 0,
            links: links as u64,
            size,
            allocated,
            device: match nature {
                Nature::Special(_, numbers) => numbers,
                _ => None,
            },
            accessed,
            modified,
            changed,
            created: Some(created).filter(|time| *time != Timestamp::default()),
        })
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        if node.tree != 0 {
            return Err(Error::NotASymlink);
        }
        match self.volume.nature(&*self.file(node)?)? {
            Nature::Link(target) => Ok(target),
            _ => Err(Error::NotASymlink),
        }
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let file = self.file(node)?;
        if let Some(method) = self.readable(node, &file)? {
            return self.volume.read_wof(&file, method, offset, buf);
        }
        match self.stream(node, &file)? {
            Some((index, one)) => self.volume.read((file.number, index), &one.content, offset, buf),
            None => Ok(0),
        }
    }

    fn map(&self, node: NodeId, offset: u64) -> Result<Option<Run>> {
        let file = self.file(node)?;
        if self.readable(node, &file)?.is_some() {
            let size = self.stream(node, &file)?.map_or(0, |(_, one)| one.content.size());
            let left = size.checked_sub(offset).filter(|&left| left > 0);
            return Ok(left.map(|length| Run { length, place: Place::Inside }));
        }
        self.stream(node, &file)?.map_or(Ok(None), |(_, one)| self.volume.map(&one.content, offset))
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        let file = self.file(node)?;
        let nature = self.volume.nature(&file)?;
        if node.tree != 0 || !matches!(nature.kind(), FileKind::File | FileKind::Directory) {
            return Ok(Vec::new());
        }
        let (mut all, mut held) = (Vec::new(), 0);
        // What a filter keeps in a stream of its own is the content that it would show.
        let own = |one: &Attribute| {
            matches!(nature, Nature::Compressed(_) | Nature::Refused(..)) && one.name == wof::name()
        };
        for (index, one) in streams(&file).filter(|(_, one)| !own(one)) {
            if one.content.size() > MAX_XATTR as u64 {
                continue;
            }
            let mut name = b"user.".to_vec();
            name.extend(wtf8::from_utf16(one.name.iter().copied()));
            if name.contains(&0) {
                return Err(Error::corrupt(
                    format!("a stream of MFT record {}", file.number),
                    "it has a NUL",
                ));
            }
            let value = self.volume.read_all((file.number, index), &one.content, MAX_XATTR)?;
            held += value.len();
            if held > MAX_XATTRS {
                return Err(Error::Limit(format!("extended attributes of more than {MAX_XATTRS} bytes")));
            }
            all.push(Xattr { name, value });
        }
        Ok(all)
    }
}
