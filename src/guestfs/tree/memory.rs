//! A file system in memory, for tests: any shape, damaged ones too.

use super::volumes::Volumes;
use crate::{
    Content, DirEntry, Error, FileKind, FsInfo, GuestFs, NodeId, Place, Recognised, Result, Run, Stat,
    Timestamp, Volume, Xattr,
};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Folder(Vec<(Vec<u8>, NodeId)>),
    /// Size, and the runs that are not holes.
    File(u64, BTreeMap<u64, (Vec<u8>, Place)>),
    Link(Vec<u8>),
    Other(FileKind),
    /// Every call fails.
    Broken,
    /// A folder that fails after these entries.
    Cut(Vec<(Vec<u8>, NodeId)>),
}

/// The file system.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) info: FsInfo,
    pub(crate) root: NodeId,
    pub(crate) nodes: HashMap<NodeId, Body>,
    pub(crate) modified: HashMap<NodeId, i64>,
    pub(crate) ignores_case: bool,
    /// Names of which their folder says that they are plain files.
    pub(crate) lies: HashSet<Vec<u8>>,
    /// How many entries of folders were given out.
    pub(crate) listed: Arc<AtomicUsize>,
    next: u64,
}

impl Memory {
    /// An empty root folder.
    pub(crate) fn new(kind: &'static str) -> Self {
        let root =
            if kind == "btrfs" { NodeId { tree: 5, inode: 256 } } else { NodeId { tree: 0, inode: 2 } };
        Memory {
            info: FsInfo {
                kind,
                label: None,
                uuid: None,
                size: 1 << 20,
                block_size: 4096,
                has_owners: true,
                warnings: Vec::new(),
            },
            root,
            nodes: HashMap::from([(root, Body::Folder(Vec::new()))]),
            modified: HashMap::new(),
            ignores_case: false,
            lies: HashSet::new(),
            listed: Arc::default(),
            next: 1000,
        }
    }

    /// The node at a path of plain names.
    pub(crate) fn node(&self, path: &str) -> NodeId {
        path.split('/')
            .filter(|name| !name.is_empty())
            .fold(self.root, |dir, name| self.lookup(dir, name.as_bytes()).unwrap())
    }

    /// Puts `body` at `path`, with the folders above it.
    pub(crate) fn put(&mut self, path: &str, body: Body) -> NodeId {
        let node = NodeId { tree: self.root.tree, inode: self.next };
        self.next += 1;
        self.nodes.insert(node, body);
        self.link(path, node);
        node
    }

    /// Gives `node` another name.
    pub(crate) fn link(&mut self, path: &str, node: NodeId) {
        let (above, name) = path.trim_matches('/').rsplit_once('/').unwrap_or(("", path.trim_matches('/')));
        let mut dir = self.root;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            dir = match self.lookup(dir, part.as_bytes()) {
                Ok(found) => found,
                Err(_) => {
                    let made = NodeId { tree: dir.tree, inode: self.next };
                    self.next += 1;
                    self.nodes.insert(made, Body::Folder(Vec::new()));
                    self.enter(dir, part, made);
                    made
                }
            };
        }
        self.enter(dir, name, node);
    }

    fn enter(&mut self, dir: NodeId, name: &str, node: NodeId) {
        match self.nodes.get_mut(&dir).unwrap() {
            Body::Folder(entries) | Body::Cut(entries) => entries.push((name.as_bytes().to_vec(), node)),
            other => panic!("{name} in {other:?}"),
        }
    }

    /// A folder.
    pub(crate) fn dir(&mut self, path: &str) -> NodeId {
        self.put(path, Body::Folder(Vec::new()))
    }

    /// A file of these bytes.
    pub(crate) fn file(&mut self, path: &str, bytes: &[u8]) -> NodeId {
        let runs = if bytes.is_empty() {
            BTreeMap::new()
        } else {
            BTreeMap::from([(0, (bytes.to_vec(), Place::Inside))])
        };
        self.put(path, Body::File(bytes.len() as u64, runs))
    }

    /// A symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) -> NodeId {
        self.put(path, Body::Link(target.as_bytes().to_vec()))
    }

    /// A btrfs subvolume with this id.
    pub(crate) fn subvolume(&mut self, path: &str, id: u64) -> NodeId {
        let node = NodeId { tree: id, inode: 256 };
        self.nodes.insert(node, Body::Folder(Vec::new()));
        self.link(path, node);
        node
    }

    fn body(&self, node: NodeId) -> Result<&Body> {
        match self.nodes.get(&node) {
            Some(Body::Broken) => Err(Error::corrupt("the node", "broken on purpose")),
            Some(body) => Ok(body),
            None => Err(Error::NotFound),
        }
    }
}

impl GuestFs for Memory {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn root(&self) -> NodeId {
        self.root
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        assert!(!name.contains(&b'/') && !name.is_empty() && name != b"." && name != b"..", "{name:?}");
        let (Body::Folder(entries) | Body::Cut(entries)) = self.body(dir)? else {
            return Err(Error::NotADirectory);
        };
        let same = |entry: &&(Vec<u8>, NodeId)| entry.0 == name;
        let alike = |entry: &&(Vec<u8>, NodeId)| self.ignores_case && entry.0.eq_ignore_ascii_case(name);
        let found = entries.iter().find(same).or_else(|| entries.iter().find(alike));
        found.map(|(_, node)| *node).ok_or(Error::NotFound)
    }

    fn readdir(
        &self,
        dir: NodeId,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let body = self.body(dir)?;
        let (Body::Folder(entries) | Body::Cut(entries)) = body else { return Err(Error::NotADirectory) };
        for (position, (name, node)) in (1..).zip(entries).skip(from as usize) {
            self.listed.fetch_add(1, Ordering::SeqCst);
            let kind = self.stat(*node).ok().map(|stat| stat.kind).filter(|_| position % 3 != 0);
            let kind = if self.lies.contains(name) { Some(FileKind::File) } else { kind };
            if visit(DirEntry { name, node: *node, kind, next: position }).is_break() {
                return Ok(());
            }
        }
        if matches!(body, Body::Cut(_)) {
            Err(Error::corrupt("the folder", "cut on purpose"))
        } else {
            Ok(())
        }
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let (kind, size) = match self.body(node)? {
            Body::Folder(_) | Body::Cut(_) => (FileKind::Directory, 4096),
            Body::File(size, _) => (FileKind::File, *size),
            Body::Link(target) => (FileKind::Symlink, target.len() as u64),
            Body::Other(kind) => (*kind, 0),
            Body::Broken => return Err(Error::NotFound),
        };
        let modified = Timestamp { seconds: self.modified.get(&node).copied().unwrap_or(0), nanos: 0 };
        Ok(Stat {
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            links: 1,
            size,
            allocated: size,
            device: None,
            accessed: modified,
            modified,
            changed: modified,
            created: None,
        })
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        match self.body(node)? {
            Body::Link(target) => Ok(target.clone()),
            _ => Err(Error::NotASymlink),
        }
    }

    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let Body::File(size, runs) = self.body(node)? else { return Err(Error::IsADirectory) };
        let length = size.saturating_sub(offset).min(buf.len() as u64) as usize;
        buf[..length].fill(0);
        for (&start, (bytes, _)) in runs {
            for (at, byte) in (start..).zip(bytes).filter(|(at, _)| *at >= offset) {
                if let Some(place) = buf[..length].get_mut((at - offset) as usize) {
                    *place = *byte;
                }
            }
        }
        Ok(length)
    }

    fn map(&self, node: NodeId, offset: u64) -> Result<Option<Run>> {
        let Body::File(size, runs) = self.body(node)? else { return Err(Error::IsADirectory) };
        if offset >= *size {
            return Ok(None);
        }
        if let Some((&start, (bytes, place))) = runs.range(..=offset).next_back()
            && offset < start + bytes.len() as u64
        {
            let skipped = offset - start;
            let place = if let Place::Device(at) = place { Place::Device(at + skipped) } else { *place };
            return Ok(Some(Run { length: bytes.len() as u64 - skipped, place }));
        }
        let end = runs.range(offset..).next().map_or(*size, |(&start, _)| start);
        Ok(Some(Run { length: end - offset, place: Place::Hole }))
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>> {
        self.body(node).map(|_| Vec::new())
    }
}

/// A volume with a file system of this kind, label and UUID.
pub(crate) fn volume(id: &str, kind: &'static str, label: Option<&str>, uuid: Option<&str>) -> Volume {
    let size = 1 << 20;
    let recognised =
        Recognised { kind, label: label.map(str::to_owned), uuid: uuid.map(str::to_owned), size };
    Volume {
        id: id.to_owned(),
        size,
        partition: None,
        logical: None,
        content: Content::FileSystem(recognised),
        devices: Vec::new(),
    }
}

/// Volumes, each with its file system or the reason why it does not open. Counts how often one was opened.
pub(crate) fn volumes(all: Vec<(Volume, Result<Memory>)>) -> (Volumes, Arc<AtomicUsize>) {
    let (list, contents): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let contents: HashMap<String, Result<Arc<Memory>>> = list
        .iter()
        .map(|volume| volume.id.clone())
        .zip(contents.into_iter().map(|fs| fs.map(Arc::new)))
        .collect();
    let opened = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&opened);
    let opener = move |volume: &Volume| {
        count.fetch_add(1, Ordering::SeqCst);
        match &contents[&volume.id] {
            Ok(fs) => Ok(Arc::clone(fs) as Arc<dyn GuestFs>),
            Err(error) => Err(error.again()),
        }
    };
    (Volumes::with(list, Box::new(opener)), opened)
}
