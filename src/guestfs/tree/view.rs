//! One volume at one place of the tree: where in the volume it begins, and which of its names other volumes cover.

use super::points::{Points, VOLUMES};
use super::resolve::{Follow, Namespace, resolve};
use super::volumes::Volumes;
use crate::system::Subvolume;
use crate::{Error, FileKind, GuestFs, NodeId, Result};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// The tree of a btrfs that holds all others, and the inode of the root folder of every one of them
/// (`BTRFS_FS_TREE_OBJECTID`, `BTRFS_FIRST_FREE_OBJECTID`).
pub(crate) const BTRFS_TOP: NodeId = NodeId { tree: 5, inode: 256 };

/// A volume, or a folder of it, that stands at a point of the tree.
pub(crate) struct View {
    /// Which volume.
    pub(crate) volume: usize,
    /// Where it stands.
    pub(crate) point: usize,
    /// Which subvolume of a btrfs; without one, its default.
    pub(crate) subvolume: Option<Subvolume>,
    /// The folder of it that is shown, from the root of the subvolume: what a bind mount shows.
    pub(crate) folder: Vec<u8>,
    /// Whether this volume is no part of the guest's system. Absolute links in it then begin at its own root: they were
    /// made by another system.
    pub(crate) foreign: bool,
    entered: OnceLock<Result<Entered>>,
}

/// What is known of a view once somebody entered it.
pub(crate) struct Entered {
    /// The file system.
    pub(crate) fs: Arc<dyn GuestFs>,
    /// The folder that is shown.
    pub(crate) root: NodeId,
    /// The names that are covered, by the folder they are in.
    covers: HashMap<NodeId, Vec<Cover>>,
}

/// A name at which something else of the tree stands.
pub(crate) struct Cover {
    /// The name, as the skeleton spells it.
    pub(crate) name: Vec<u8>,
    /// What stands there.
    pub(crate) point: usize,
    /// The name in the folder that is covered, as the folder spells it; `None` where there is none.
    pub(crate) hides: Option<NodeId>,
}

impl View {
    /// Not entered yet.
    pub(crate) fn new(
        volume: usize,
        point: usize,
        subvolume: Option<Subvolume>,
        folder: Vec<u8>,
        foreign: bool,
    ) -> Self {
        View { volume, point, subvolume, folder, foreign, entered: OnceLock::new() }
    }

    /// Opens the volume, where nobody did before.
    ///
    /// # Errors
    /// Why it can't be opened, or that the subvolume or folder is not there: the same each time.
    pub(crate) fn enter(&self, volumes: &Volumes, points: &Points) -> Result<&Entered> {
        let entered = self.entered.get_or_init(|| {
            let fs = volumes.open(self.volume)?;
            let root = folder_of(&*fs, self.subvolume.as_ref(), &self.folder)?;
            let mut covers = HashMap::new();
            cover(&*fs, root, points, self.point, &mut covers);
            Ok(Entered { fs, root, covers })
        });
        entered.as_ref().map_err(Error::again)
    }
}

impl Entered {
    /// What is covered in a folder.
    pub(crate) fn covers(&self, dir: NodeId) -> &[Cover] {
        self.covers.get(&dir).map_or(&[], Vec::as_slice)
    }
}

/// The folder `folder` of a subvolume, with links inside of it followed.
pub(crate) fn folder_of(fs: &dyn GuestFs, subvolume: Option<&Subvolume>, folder: &[u8]) -> Result<NodeId> {
    let start = match subvolume {
        None => fs.root(),
        Some(Subvolume::Id(0 | 5)) => BTRFS_TOP,
        Some(Subvolume::Id(id)) => NodeId { tree: *id, inode: BTRFS_TOP.inode },
        Some(Subvolume::Path(path)) => resolve(&Inside { fs, root: BTRFS_TOP }, path, Follow::All)?.node,
    };
    let node = resolve(&Inside { fs, root: start }, folder, Follow::All)?.node;
    if fs.stat(node)?.kind == FileKind::Directory { Ok(node) } else { Err(Error::NotADirectory) }
}

/// Notes for the folder `dir`, which stands at `point`, what the points below cover in it and in its folders. A folder
/// that can't be read is taken for one that holds nothing: what stands in it is then reached all the same.
fn cover(
    fs: &dyn GuestFs,
    dir: NodeId,
    points: &Points,
    point: usize,
    covers: &mut HashMap<NodeId, Vec<Cover>>,
) {
    let Some(parent) = points.get(point) else { return };
    for &child in &parent.children {
        let Some(below) = points.get(child) else { continue };
        let found = fs.lookup(dir, &below.name).ok();
        // A guest's own `/@volumes` would mix its files with ours.
        let ours = point == 0 && below.name == VOLUMES;
        if below.view.is_none()
            && !ours
            && let Some(node) = found
            && fs.stat(node).is_ok_and(|stat| stat.kind == FileKind::Directory)
        {
            cover(fs, node, points, child, covers);
        } else {
            let name = below.name.clone();
            covers.entry(dir).or_default().push(Cover { name, point: child, hides: found });
        }
    }
}

/// A file system, or a folder of it, as a closed space.
pub(crate) struct Inside<'a> {
    /// The file system.
    pub(crate) fs: &'a dyn GuestFs,
    /// Its root, or a folder that nothing leaves.
    pub(crate) root: NodeId,
}

impl Namespace for Inside<'_> {
    type Node = NodeId;

    fn root(&self) -> NodeId {
        self.root
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        self.fs.lookup(dir, name)
    }

    fn kind(&self, node: NodeId) -> Result<FileKind> {
        Ok(self.fs.stat(node)?.kind)
    }

    fn readlink(&self, node: NodeId) -> Result<Vec<u8>> {
        self.fs.readlink(node)
    }

    fn spelled<'a>(&'a self, _: NodeId, name: &'a [u8]) -> &'a [u8] {
        name
    }

    fn absolute(&self, _: NodeId) -> NodeId {
        self.root
    }
}
