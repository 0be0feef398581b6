//! The files of a restore point as one tree: its guest's paths, with every volume where the guest has it.
//!
//! [`Tree::open`] finds the guest's [`System`], puts the root file system at `/`, what its fstab (or, for Windows, its
//! registry) names where that says, and everything else below `/@volumes`. [`Tree::of_volume`] shows a single volume.
//!
//! - A [`Node`] is a file or folder of a view (a volume at a place), or a synthetic folder: `/@volumes`, or one on the
//!   way to a volume where the guest has none. Nodes are plain numbers, valid as long as their tree is.
//! - Volumes are opened when somebody enters them, each at most once. One that can't be opened is an empty-handed
//!   folder: it can be seen, what stands below it can be reached, and entering it is the error.
//! - Nothing leaves the tree: [`resolve`](Tree::resolve) follows links inside of it, and `..` above its root is its root.
//!
//! Not here: which of a guest's volumes is which ([`system`]), contents as streams and hashes
//! ([`content`](crate::content)), inode numbers for a mount.

mod glob;
#[cfg(test)]
pub(crate) mod memory;
mod pattern;
mod points;
pub(crate) mod resolve;
pub(crate) mod view;
pub(crate) mod volumes;
mod walk;

#[cfg(test)]
mod tests;

pub use glob::{Glob, Match, Matching};
pub use pattern::{escape, is_pattern};
pub use resolve::{Follow, MAX_LINKS, MAX_NAME, MAX_PATH, MAX_TARGET, PathError, Resolved};
pub use walk::{Entry, Event, Step, Walk, WalkOptions};

use crate::layers::Inventory;
use crate::system::{self, MountPoint, System, SystemKind};
use crate::{
    DirEntry, Error, FileKind, FsInfo, GuestFs, NodeId, OpenOptions, Result, Run, Stat, Timestamp, Volume,
    Xattr,
};
use points::Points;
use resolve::Namespace;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use view::{Entered, View};
use volumes::Volumes;

/// All files of a point, by the paths of the guest.
pub struct Tree {
    volumes: Arc<Volumes>,
    points: Points,
    views: Vec<View>,
    system: System,
    /// Whether names at the root ignore case: the drive letters of a Windows system.
    letters: bool,
    /// Names at the root that are found and not listed, and the points they stand for.
    links: Vec<(Vec<u8>, usize)>,
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("system", &self.system).finish_non_exhaustive()
    }
}

/// A file or folder of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// The view it is in; [`u32::MAX`] for a synthetic folder.
    pub fs: u32,
    /// Its number inside of that.
    pub id: NodeId,
}

/// The view of synthetic folders.
const SYNTHETIC: u32 = u32::MAX;
/// The root folder of a view, whose number nobody knows before the volume is opened.
const VIEW_ROOT: NodeId = NodeId { tree: u64::MAX, inode: u64::MAX };
/// The first position of the entries that come after those of a folder itself. Below 2⁶³, because a mount's positions
/// are signed numbers.
const APPENDED: u64 = (i64::MAX as u64) - (1 << 20);

/// What became of a volume.
#[derive(Debug)]
pub struct VolumeState<'a> {
    /// The volume, with what was recognised in it.
    pub volume: &'a Volume,
    /// The paths at which it stands.
    pub mounts: Vec<&'a [u8]>,
    /// Its file system: `None` where nobody has entered it.
    pub opened: Option<std::result::Result<&'a FsInfo, &'a Error>>,
}

/// A volume, or a folder of it, with nothing else standing in it.
#[derive(Debug)]
pub struct Standing<'a> {
    /// The volume.
    pub volume: &'a Volume,
    /// The subvolume of a btrfs that is shown; without one, its default.
    pub subvolume: Option<&'a system::Subvolume>,
    /// The folder that is shown.
    pub folder: &'a [u8],
}

impl Tree {
    /// Finds the guest's system on the volumes of `inventory`, and puts everything in its place. Opens the volumes that
    /// may hold a root file system with `options`; what can't be opened is noted in [`System::notes`].
    pub fn open(inventory: Inventory, options: OpenOptions) -> Tree {
        Tree::from_volumes(Volumes::new(inventory, options))
    }

    pub(crate) fn from_volumes(volumes: Volumes) -> Tree {
        let volumes = Arc::new(volumes);
        let system = system::find(&volumes);
        let mut tree = Tree::assemble(volumes, &system.mounts, system.kind == SystemKind::Windows);
        for (name, id) in &system.links {
            let standing =
                |view: &&View| tree.volumes.list().get(view.volume).is_some_and(|volume| volume.id == *id);
            if let Some(view) = tree.views.iter().find(standing) {
                tree.links.push((name.clone(), view.point));
            }
        }
        tree.system = system;
        tree
    }

    /// Volumes at their places, and nothing else.
    pub(crate) fn assemble(volumes: Arc<Volumes>, mounts: &[MountPoint], letters: bool) -> Tree {
        let mut points = Points::new();
        let mut views = Vec::new();
        for mount in mounts {
            let Some(volume) = volumes.position(&mount.volume) else { continue };
            let point = points.at(&mount.path);
            points.stand(point, views.len());
            let (subvolume, folder) = (mount.subvolume.clone(), mount.folder.clone());
            views.push(View::new(volume, point, subvolume, folder, mount.foreign));
        }
        Tree { volumes, points, views, system: System::unknown(), letters, links: Vec::new() }
    }

    /// Only the volume `id` of `inventory`, with its root folder as the root; of a btrfs, the top of all subvolumes.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such volume; why it can't be opened.
    pub fn of_volume(inventory: Inventory, id: &str, options: OpenOptions) -> Result<Tree> {
        Tree::of_one(Volumes::new(inventory, options), id)
    }

    pub(crate) fn of_one(volumes: Volumes, id: &str) -> Result<Tree> {
        let volume = volumes.position(id).ok_or(Error::NotFound)?;
        let mount = MountPoint {
            path: b"/".to_vec(),
            volume: id.to_owned(),
            subvolume: system::top_subvolume(&volumes.list()[volume]),
            folder: Vec::new(),
            foreign: false,
        };
        let tree = Tree::assemble(Arc::new(volumes), &[mount], false);
        tree.inside(tree.root())?;
        Ok(tree)
    }

    /// The guest's system: its name, what stands where, and why something does not.
    pub fn system(&self) -> &System {
        &self.system
    }

    /// Every volume, with where it stands and what became of it.
    pub fn volumes(&self) -> Vec<VolumeState<'_>> {
        let state = |(position, volume)| {
            let mounts = self.views.iter().filter(|view| view.volume == position);
            VolumeState {
                volume,
                mounts: mounts.filter_map(|view| Some(&self.points.get(view.point)?.path[..])).collect(),
                opened: self.volumes.opened(position).map(|opened| opened.as_ref().map(|fs| fs.info())),
            }
        };
        self.volumes.list().iter().enumerate().map(state).collect()
    }

    /// What every listing has to be shown with: the warnings of the volumes that were entered so far, each with the id
    /// of its volume.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for (position, volume) in self.volumes.list().iter().enumerate() {
            if let Some(Ok(fs)) = self.volumes.opened(position) {
                warnings.extend(fs.info().warnings.iter().map(|warning| format!("{}: {warning}", volume.id)));
            }
        }
        warnings
    }

    /// The volume that a node is on; `None` for a synthetic folder.
    pub fn volume_of(&self, node: Node) -> Option<&Volume> {
        self.volumes.list().get(self.views.get(node.fs as usize)?.volume)
    }

    /// What stands at a node that is the root of a view, where nothing else stands below it; `None` for all other nodes.
    pub fn standing(&self, node: Node) -> Option<Standing<'_>> {
        if node.id != VIEW_ROOT {
            return None;
        }
        let view = self.views.get(node.fs as usize)?;
        let alone = self.points.get(view.point)?.children.is_empty();
        let volume = self.volumes.list().get(view.volume)?;
        alone.then_some(Standing { volume, subvolume: view.subvolume.as_ref(), folder: &view.folder })
    }

    /// The file system of a node and its number there: for what is asked many times of one file. Opens the volume.
    ///
    /// # Errors
    /// [`Error::IsADirectory`] for a synthetic folder; why the volume can't be opened.
    pub fn file(&self, node: Node) -> Result<(Arc<dyn GuestFs>, NodeId)> {
        let (entered, id) = self.inside(node)?.ok_or(Error::IsADirectory)?;
        Ok((Arc::clone(&entered.fs), id))
    }

    /// The root folder.
    pub fn root(&self) -> Node {
        self.at_point(0)
    }

    /// True where nothing is mounted anywhere: `/@volumes` is all that there is.
    fn is_all_other_volumes(&self) -> bool {
        self.points.get(0).is_some_and(|root| {
            let other = |&child: &usize| self.points.get(child).is_some_and(|at| at.name == points::VOLUMES);
            root.view.is_none() && root.children.iter().all(other)
        })
    }

    /// What stands at a point.
    fn at_point(&self, point: usize) -> Node {
        match self.points.get(point).and_then(|point| point.view) {
            Some(view) => Node { fs: view as u32, id: VIEW_ROOT },
            None => Node { fs: SYNTHETIC, id: NodeId { tree: 0, inode: point as u64 } },
        }
    }

    /// The point that a node is: a synthetic folder, or the root of a view.
    fn point_of(&self, node: Node) -> Option<usize> {
        if node.fs == SYNTHETIC {
            usize::try_from(node.id.inode).ok()
        } else if node.id == VIEW_ROOT {
            Some(self.views.get(node.fs as usize)?.point)
        } else {
            None
        }
    }

    /// The opened view of a node and its number there; `None` for a synthetic folder.
    fn inside(&self, node: Node) -> Result<Option<(&Entered, NodeId)>> {
        if node.fs == SYNTHETIC {
            return if self.point_of(node).is_some_and(|point| self.points.get(point).is_some()) {
                Ok(None)
            } else {
                Err(Error::NotFound)
            };
        }
        let view = self.views.get(node.fs as usize).ok_or(Error::NotFound)?;
        let entered = view.enter(&self.volumes, &self.points)?;
        let id = if node.id == VIEW_ROOT { entered.root } else { node.id };
        Ok(Some((entered, id)))
    }

    /// A node of the view that `near` is in.
    fn node(near: Node, entered: &Entered, id: NodeId) -> Node {
        Node { fs: near.fs, id: if id == entered.root { VIEW_ROOT } else { id } }
    }

    /// The entry `name` of the folder `dir`: one component. Case counts as it does in the folder's file system, and not
    /// for the drive letters at the root of a Windows system.
    ///
    /// # Errors
    /// [`Error::NotFound`], also for `.`, `..` and what can't be a name; [`Error::NotADirectory`]; why the volume or the
    /// folder can't be read.
    pub fn lookup(&self, dir: Node, name: &[u8]) -> Result<Node> {
        if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || name.contains(&0) {
            return Err(Error::NotFound);
        }
        let inside = match self.inside(dir) {
            Ok(inside) => inside,
            // What stands below a volume that can't be opened is there all the same.
            Err(error) => {
                let below = self.point_of(dir).and_then(|point| self.points.child(point, name));
                return below.map(|child| self.at_point(child)).ok_or(error);
            }
        };
        let Some((entered, id)) = inside else {
            let point = self.point_of(dir).ok_or(Error::NotFound)?;
            let child = if self.letters && point == 0 {
                let link =
                    || self.links.iter().find(|link| link.0.eq_ignore_ascii_case(name)).map(|link| link.1);
                self.points.child_ignoring_case(point, name).or_else(link)
            } else {
                self.points.child(point, name)
            };
            return child.map(|child| self.at_point(child)).ok_or(Error::NotFound);
        };
        let covers = entered.covers(id);
        if let Some(cover) = covers.iter().find(|cover| cover.name == name) {
            return Ok(self.at_point(cover.point));
        }
        let found = entered.fs.lookup(id, name)?;
        match covers.iter().find(|cover| cover.hides == Some(found) && cover.name.eq_ignore_ascii_case(name))
        {
            Some(cover) => Ok(self.at_point(cover.point)),
            None => Ok(Tree::node(dir, entered, found)),
        }
    }

    /// Calls `visit` with every entry of the folder `dir` but `.` and `..`, from the position `from`: 0 for the
    /// beginning, or an entry's [`next`](TreeEntry::next). Volumes stand in place of the folders they cover; those
    /// without a folder come after all others, by name, `@volumes` last. Ends where `visit` breaks. Opens no volume but
    /// the folder's own; where that fails, what stands below it is visited before the error.
    ///
    /// # Errors
    /// [`Error::NotADirectory`], or why the volume or the folder can't be read.
    pub fn readdir(
        &self,
        dir: Node,
        from: u64,
        visit: &mut dyn FnMut(TreeEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        let inside = self.inside(dir);
        let (entered, id) = match inside {
            Ok(Some(inside)) => inside,
            // A synthetic folder, or a volume that can't be opened: what stands below it is there all the same.
            other => {
                let below = self.point_of(dir).and_then(|point| self.points.get(point));
                if let Some(point) = below {
                    self.append(point.children.iter().copied(), from, visit);
                }
                return other.map(|_| ());
            }
        };
        let covers = entered.covers(id);
        if from < APPENDED {
            let mut ended = false;
            let mut beyond = false;
            entered.fs.readdir(id, from, &mut |entry: DirEntry<'_>| {
                if entry.next >= APPENDED {
                    beyond = true;
                    return ControlFlow::Break(());
                }
                let covered = |cover: &&view::Cover| {
                    cover.name == entry.name
                        || (cover.hides == Some(entry.node) && cover.name.eq_ignore_ascii_case(entry.name))
                };
                let (node, kind) = match covers.iter().find(covered) {
                    // It comes at the end.
                    Some(cover) if cover.hides.is_none() => return ControlFlow::Continue(()),
                    Some(cover) => (self.at_point(cover.point), Some(FileKind::Directory)),
                    None => (Tree::node(dir, entered, entry.node), entry.kind),
                };
                let flow = visit(TreeEntry { name: entry.name, node, kind, next: entry.next });
                ended = flow.is_break();
                flow
            })?;
            if beyond {
                return Err(Error::Limit("the folder has entries at positions beyond 2⁶³".into()));
            }
            if ended {
                return Ok(());
            }
        }
        // Covers are in the order of the skeleton's children.
        self.append(
            covers.iter().filter(|cover| cover.hides.is_none()).map(|cover| cover.point),
            from,
            visit,
        );
        Ok(())
    }

    /// Visits points as entries after all others.
    fn append(
        &self,
        points: impl Iterator<Item = usize>,
        from: u64,
        visit: &mut dyn FnMut(TreeEntry<'_>) -> ControlFlow<()>,
    ) {
        let seen = from.saturating_sub(APPENDED);
        for (position, point) in (1u64..).zip(points).filter(|(position, _)| *position > seen) {
            let Some(name) = self.points.get(point).map(|point| &point.name[..]) else { continue };
            let node = self.at_point(point);
            let entry = TreeEntry { name, node, kind: Some(FileKind::Directory), next: APPENDED + position };
            if visit(entry).is_break() {
                return;
            }
        }
    }

    /// What is known of a node. Opens its volume; the root of one that can't be opened is shown as an empty folder
    /// (the error is had by entering it).
    ///
    /// # Errors
    /// Why the node can't be read.
    pub fn stat(&self, node: Node) -> Result<Stat> {
        match self.inside(node) {
            Ok(Some((entered, id))) => entered.fs.stat(id),
            Ok(None) => Ok(synthetic()),
            Err(_) if self.at_view_root(node) => Ok(synthetic()),
            Err(error) => Err(error),
        }
    }

    fn at_view_root(&self, node: Node) -> bool {
        node.id == VIEW_ROOT && (node.fs as usize) < self.views.len()
    }

    /// What a node is, without opening a volume whose root it is.
    ///
    /// # Errors
    /// Why the node can't be read.
    pub fn kind(&self, node: Node) -> Result<FileKind> {
        if self.at_view_root(node) { Ok(FileKind::Directory) } else { Ok(self.stat(node)?.kind) }
    }

    /// The target of a symbolic link, as the guest wrote it.
    ///
    /// # Errors
    /// [`Error::NotASymlink`], or why the node can't be read.
    pub fn readlink(&self, node: Node) -> Result<Vec<u8>> {
        let (entered, id) = self.inside(node)?.ok_or(Error::NotASymlink)?;
        entered.fs.readlink(id)
    }

    /// Fills `buf` from byte `offset` of a file, as [`GuestFs::read_at`].
    ///
    /// # Errors
    /// As there.
    pub fn read_at(&self, node: Node, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let (entered, id) = self.inside(node)?.ok_or(Error::IsADirectory)?;
        entered.fs.read_at(id, offset, buf)
    }

    /// Where the bytes of a file from `offset` on lie, as [`GuestFs::map`].
    ///
    /// # Errors
    /// As there.
    pub fn map(&self, node: Node, offset: u64) -> Result<Option<Run>> {
        let (entered, id) = self.inside(node)?.ok_or(Error::IsADirectory)?;
        entered.fs.map(id, offset)
    }

    /// The extended attributes of a node.
    ///
    /// # Errors
    /// Why they can't be read.
    pub fn xattrs(&self, node: Node) -> Result<Vec<Xattr>> {
        match self.inside(node) {
            Ok(Some((entered, id))) => entered.fs.xattrs(id),
            Ok(None) => Ok(Vec::new()),
            Err(_) if self.at_view_root(node) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What `path` names, with links followed inside of the tree: absolute ones begin at the tree's root (in a volume
    /// below `/@volumes`, which another system wrote, at that volume's root), and `..` never leads above the root.
    ///
    /// # Errors
    /// [`PathError`], with the component and why: it is not there, not a folder, can't be read, or a bound is exceeded.
    pub fn resolve(&self, path: &[u8], follow: Follow) -> Result<Resolved, PathError> {
        resolve::resolve(self, path, follow)
    }

    /// The folder above what `path` names (which itself is not followed, where it is a link); the root's is the root.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn parent(&self, path: &[u8]) -> Result<Resolved, PathError> {
        let canonical = self.resolve(path, Follow::AllButLast)?.path;
        let end = canonical.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        self.resolve(&canonical[..end], Follow::All)
    }
}

/// An entry of a folder of a tree.
#[derive(Debug, Clone, Copy)]
pub struct TreeEntry<'a> {
    /// One component: not empty, without `/` and NUL.
    pub name: &'a [u8],
    /// What it names.
    pub node: Node,
    /// What that is, where the folder tells.
    pub kind: Option<FileKind>,
    /// The position after this entry, for [`Tree::readdir`]. Never 0.
    pub next: u64,
}

/// What is known of a synthetic folder: root's, for everybody to read, from 1970.
fn synthetic() -> Stat {
    Stat {
        kind: FileKind::Directory,
        mode: 0o555,
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
    }
}

impl Namespace for Tree {
    type Node = Node;

    fn root(&self) -> Node {
        Tree::root(self)
    }

    fn lookup(&self, dir: Node, name: &[u8]) -> Result<Node> {
        Tree::lookup(self, dir, name)
    }

    fn kind(&self, node: Node) -> Result<FileKind> {
        Tree::kind(self, node)
    }

    fn readlink(&self, node: Node) -> Result<Vec<u8>> {
        Tree::readlink(self, node)
    }

    fn spelled<'a>(&'a self, node: Node, name: &'a [u8]) -> &'a [u8] {
        match self.point_of(node).and_then(|point| self.points.get(point)) {
            Some(point) if point.name.eq_ignore_ascii_case(name) => &point.name,
            _ => name,
        }
    }

    fn absolute(&self, link: Node) -> Node {
        match self.views.get(link.fs as usize) {
            Some(view) if view.foreign => Node { fs: link.fs, id: VIEW_ROOT },
            _ => Tree::root(self),
        }
    }
}
