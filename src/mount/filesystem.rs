//! The kernel's requests, answered from trees.
//!
//! Every request is one call here, on one of the mount's threads, and holds nothing afterwards but what is in the tables
//! of numbers and of open files. A panic below is the error of its request.

use crate::attributes;
use crate::errors::errno;
use crate::folder::{self, Listed};
use crate::inodes::{Full, Inodes, Item, TOP};
use crate::shown::{Grove, Plant, Shown};
use crate::table::Table;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};
use guestfs::tree::{Node, Tree};
use guestfs::{Error, FileKind, Place, Timestamp};
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// How long the kernel may keep what the top folder of a forest holds.
const TOP_TTL: Duration = Duration::from_secs(1);
/// The largest read that is answered; the kernel asks for at most 1 MiB.
const MAX_READ: usize = 16 << 20;
/// There is one generation of everything: numbers are never used again.
const GENERATION: Generation = Generation(0);

thread_local! {
    /// Fresh pages cost more than what is read into them.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A mount's side of the conversation.
pub(crate) struct Served {
    shown: Shown,
    inodes: Inodes,
    open: Table,
    ttl: Duration,
    /// Whether files need no opening, because nothing has to be known of who has them open.
    no_open: bool,
}

type Answer<T> = Result<T, Errno>;

impl From<Full> for Errno {
    fn from(_: Full) -> Errno {
        tracing::warn!("the kernel holds more files of this mount than there may be");
        Errno::ENFILE
    }
}

impl Served {
    /// `ttl` is how long the kernel may keep names and attributes.
    pub(crate) fn new(shown: Shown, ttl: Duration) -> Self {
        Served { shown, inodes: Inodes::default(), open: Table::default(), ttl, no_open: false }
    }

    /// Runs what a request asks for; a panic in it is an error of this request alone.
    fn answer<T>(&self, what: &str, work: impl FnOnce() -> Answer<T>) -> Answer<T> {
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
            tracing::error!("{what} failed by a fault of this program");
            Err(Errno::EIO)
        })
    }

    fn item(&self, number: INodeNo) -> Answer<Item> {
        match &self.shown {
            Shown::One(plant) if number.0 == TOP => Ok(Item::Node(0, plant.tree().root())),
            Shown::Many(_) if number.0 == TOP => Ok(Item::Top),
            _ => self.inodes.item(number.0).ok_or(Errno::ESTALE),
        }
    }

    /// The tree of that number, opened where it is not.
    fn plant(&self, tree: u32) -> Answer<Arc<dyn Plant>> {
        let plant = match &self.shown {
            Shown::One(plant) => Arc::clone(plant),
            Shown::Many(forest) => {
                let name = self.inodes.name(tree).ok_or(Errno::ESTALE)?;
                forest.open(&name).map_err(|error| errno(&error, &format!("opening {name}")))?
            }
        };
        plant.used();
        Ok(plant)
    }

    /// The tree and node of what is inside of a tree, or is the root of one.
    fn inside(&self, item: Item) -> Answer<(u32, Arc<dyn Plant>, Node)> {
        match item {
            Item::Top => Err(Errno::EISDIR),
            Item::Grove(tree) => {
                let plant = self.plant(tree)?;
                let root = plant.tree().root();
                Ok((tree, plant, root))
            }
            Item::Node(tree, node) => Ok((tree, self.plant(tree)?, node)),
        }
    }

    /// The entries of the top folder of a forest, with the numbers of their names.
    fn groves(&self) -> Answer<Vec<(u32, Grove)>> {
        let Shown::Many(forest) = &self.shown else { return Err(Errno::ENOTDIR) };
        let groves = forest.groves().map_err(|error| errno(&error, "listing the points"))?;
        let mut numbered = Vec::with_capacity(groves.len());
        for grove in groves {
            // A link that leads elsewhere is another file: the kernel may keep what is in one.
            let number = match &grove.link {
                None => self.inodes.name_number(&grove.name)?,
                Some(target) => self.inodes.name_number(&format!("{}/{target}", grove.name))?,
            };
            numbered.push((number, grove));
        }
        numbered.sort_by_key(|(number, _)| *number);
        Ok(numbered)
    }

    fn grove(&self, number: u32) -> Answer<Grove> {
        let found = self.groves()?.into_iter().find(|(known, _)| *known == number);
        found.map(|(_, grove)| grove).ok_or(Errno::ENOENT)
    }

    fn attributes(&self, number: u64, item: Item) -> Answer<(FileAttr, Duration)> {
        match item {
            Item::Top => {
                let newest = self.groves()?.iter().map(|(_, grove)| grove.time).max();
                let at = newest.unwrap_or_default();
                Ok((attributes::synthetic(number, FileType::Directory, 0, at), TOP_TTL))
            }
            Item::Grove(name) => Ok((of_grove(number, &self.grove(name)?), TOP_TTL)),
            Item::Node(tree, node) => {
                let plant = self.plant(tree)?;
                let stat = plant.tree().stat(node).map_err(|error| errno(&error, "reading an inode"))?;
                Ok((attributes::of(number, &stat), self.ttl))
            }
        }
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Answer<Option<(FileAttr, Duration)>> {
        let parent = self.item(parent)?;
        if parent == Item::Top {
            let found =
                self.groves()?.into_iter().find(|(_, grove)| grove.name.as_bytes() == name.as_bytes());
            let (number, grove) = found.ok_or(Errno::ENOENT)?;
            let number = self.inodes.looked_up(Item::Grove(number))?;
            return Ok(Some((of_grove(number, &grove), TOP_TTL)));
        }
        let (tree, plant, dir) = self.inside(parent)?;
        let node = match plant.tree().lookup(dir, name.as_bytes()) {
            Ok(node) => node,
            // What is not there never will be.
            Err(Error::NotFound) => return Ok(None),
            Err(error) => return Err(errno(&error, &format!("looking for {}", name.display()))),
        };
        let stat = plant.tree().stat(node);
        let stat =
            stat.map_err(|error| errno(&error, &format!("reading the inode of {}", name.display())))?;
        let number = self.inodes.looked_up(Item::Node(tree, node))?;
        Ok(Some((attributes::of(number, &stat), self.ttl)))
    }

    /// Visits the entries of a folder, with what of its tree is open.
    fn list(
        &self,
        number: INodeNo,
        from: u64,
        visit: &mut dyn FnMut(Option<&Tree>, Listed<'_>) -> ControlFlow<()>,
    ) -> Answer<()> {
        let item = self.item(number)?;
        if item == Item::Top {
            let groves = self.groves()?;
            if folder::dots(from, &mut |listed| visit(None, listed)) {
                return Ok(());
            }
            for (number, grove) in &groves {
                let next = folder::after_name(*number);
                let kind = if grove.link.is_some() { FileKind::Symlink } else { FileKind::Directory };
                let item = Some(Item::Grove(*number));
                let listed = Listed { name: grove.name.as_bytes(), item, kind: Some(kind), next };
                if next > from && visit(None, listed).is_break() {
                    break;
                }
            }
            return Ok(());
        }
        let (tree, plant, dir) = self.inside(item)?;
        if folder::dots(from, &mut |listed| visit(Some(plant.tree()), listed)) {
            return Ok(());
        }
        folder::of_tree(tree, plant.tree(), dir, from, &mut |listed| visit(Some(plant.tree()), listed))
            .map_err(|error| errno(&error, "reading a folder"))
    }

    /// Opens a file or folder of a forest, so that its tree stays open; of a single tree nothing has to be known.
    fn opened(&self, number: INodeNo) -> Answer<FileHandle> {
        let item = self.item(number)?;
        if matches!(self.shown, Shown::One(_)) || item == Item::Top {
            return Ok(FileHandle(0));
        }
        let (_, plant, _) = self.inside(item)?;
        self.open.hold(plant).map(FileHandle).ok_or(Errno::EMFILE)
    }

    /// The tree of an open file, and its node.
    fn of_handle(&self, number: INodeNo, handle: FileHandle) -> Answer<(Arc<dyn Plant>, Node)> {
        let item = self.item(number)?;
        if let (Some(plant), Item::Node(_, node)) = (self.open.get(handle.0), item) {
            plant.used();
            return Ok((plant, node));
        }
        let (_, plant, node) = self.inside(item)?;
        Ok((plant, node))
    }

    fn xattr(&self, number: INodeNo, wanted: &mut dyn FnMut(&guestfs::Xattr)) -> Answer<()> {
        let item = self.item(number)?;
        if let Item::Top | Item::Grove(_) = item {
            return Ok(());
        }
        let (_, plant, node) = self.inside(item)?;
        let xattrs = plant.tree().xattrs(node).map_err(|error| errno(&error, "reading attributes"))?;
        xattrs.iter().for_each(wanted);
        Ok(())
    }

    /// `lseek(2)` with `SEEK_DATA` and `SEEK_HOLE`: the end of the file counts as the beginning of a hole.
    fn seek(&self, number: INodeNo, handle: FileHandle, offset: i64, data: bool) -> Answer<i64> {
        let (plant, node) = self.of_handle(number, handle)?;
        let mut at = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
        let failed = |error: Error| errno(&error, "finding the data of a file");
        let mut first = true;
        while let Some(run) = plant.tree().map(node, at).map_err(failed)? {
            if (run.place != Place::Hole) == data {
                return i64::try_from(at).map_err(|_| Errno::EOVERFLOW);
            }
            first = false;
            // A run is never empty, so this ends.
            at = at.saturating_add(run.length.max(1));
        }
        if data || first { Err(Errno::ENXIO) } else { i64::try_from(at).map_err(|_| Errno::EOVERFLOW) }
    }

    fn room(&self) -> (u64, u32) {
        let Shown::One(plant) = &self.shown else { return (0, 4096) };
        let tree = plant.tree();
        let root = tree.root();
        // Opens the root volume, where nobody has.
        drop(tree.stat(root));
        let of_root = tree.volume_of(root).map(|volume| volume.id.clone());
        let states = tree.volumes();
        let state = states.iter().find(|state| Some(&state.volume.id) == of_root.as_ref());
        match state.and_then(|state| state.opened.as_ref()) {
            Some(Ok(info)) => (info.size / u64::from(info.block_size.max(1)), info.block_size),
            _ => (0, 4096),
        }
    }
}

fn of_grove(number: u64, grove: &Grove) -> FileAttr {
    match &grove.link {
        Some(target) => attributes::synthetic(number, FileType::Symlink, target.len() as u64, grove.time),
        None => attributes::synthetic(number, FileType::Directory, 0, grove.time),
    }
}

impl Filesystem for Served {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let known = config.capabilities();
        let wanted = InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_READDIRPLUS_AUTO
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_ASYNC_DIO;
        // Only what the kernel offers is asked for, so this can't fail.
        let _ = config.add_capabilities(wanted & known);
        if let Err(nearest) = config.set_max_readahead(1 << 20) {
            let _ = config.set_max_readahead(nearest);
        }
        let _ = config.set_max_background(64);
        self.no_open = matches!(self.shown, Shown::One(_)) && known.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.answer("a lookup", || self.find(parent, name)) {
            Ok(Some((attr, ttl))) => reply.entry(&ttl, &attr, GENERATION),
            Ok(None) => {
                let nothing = attributes::synthetic(0, FileType::RegularFile, 0, Timestamp::default());
                reply.entry(&self.ttl, &nothing, GENERATION);
            }
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        self.inodes.forget(number.0, lookups);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.answer("a stat", || self.attributes(number.0, self.item(number)?)) {
            Ok((attr, ttl)) => reply.attr(&ttl, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, number: INodeNo, reply: ReplyData) {
        let target = self.answer("reading a link", || match self.item(number)? {
            Item::Grove(name) => self.grove(name)?.link.map(String::into_bytes).ok_or(Errno::EINVAL),
            item => {
                let (_, plant, node) = self.inside(item)?;
                plant.tree().readlink(node).map_err(|error| errno(&error, "reading a link"))
            }
        });
        match target {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.no_open {
            // From now on the kernel opens files by itself, and keeps their pages.
            return reply.error(Errno::ENOSYS);
        }
        match self.answer("opening a file", || self.opened(number)) {
            Ok(handle) => reply.opened(handle, FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = (size as usize).min(MAX_READ);
        // Answered from inside, so that the buffer need not be copied.
        BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let read = self.answer("a read", || {
                let (plant, node) = self.of_handle(number, handle)?;
                let read = plant.tree().read_at(node, offset, &mut buffer[..size]);
                read.map_err(|error| errno(&error, "reading a file"))
            });
            match read {
                Ok(read) => reply.data(&buffer[..read.min(size)]),
                Err(error) => reply.error(error),
            }
        });
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Nothing is ever written: the kernel need not ask again.
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.open.release(handle.0);
        reply.ok();
    }

    fn opendir(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.answer("opening a folder", || Ok((self.opened(number)?, self.item(number)?))) {
            // Points come and go.
            Ok((handle, Item::Top)) => reply.opened(handle, FopenFlags::empty()),
            Ok((handle, _)) => {
                reply.opened(handle, FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE)
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, number: INodeNo, _: FileHandle, from: u64, mut reply: ReplyDirectory) {
        let mut some = false;
        let listed = self.answer("reading a folder", || {
            self.list(number, from, &mut |tree, entry| {
                let own = entry.item.map_or(number.0, |item| self.inodes.listed(item));
                let kind = entry.kind.or_else(|| match (tree, entry.item) {
                    (Some(tree), Some(Item::Node(_, node))) => tree.kind(node).ok(),
                    _ => None,
                });
                let kind = kind.map_or(FileType::RegularFile, attributes::kind);
                let full = reply.add(INodeNo(own), entry.next, kind, OsStr::from_bytes(entry.name));
                some |= !full;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        });
        match listed {
            // What was listed before the error is shown first; the next call meets it again.
            Err(error) if !some => reply.error(error),
            _ => reply.ok(),
        }
    }

    fn readdirplus(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        from: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let mut some = false;
        let listed = self.answer("reading a folder", || {
            let mut full_table = None;
            self.list(number, from, &mut |tree, entry| {
                let own = match entry.item {
                    None => number.0,
                    Some(item) => match self.inodes.looked_up(item) {
                        Ok(own) => own,
                        Err(full) => {
                            full_table = Some(full);
                            return ControlFlow::Break(());
                        }
                    },
                };
                let (attr, ttl) = self.listed_attributes(own, tree, &entry);
                let name = OsStr::from_bytes(entry.name);
                let full = reply.add(INodeNo(own), entry.next, name, &ttl, &attr, GENERATION);
                some |= !full;
                if full {
                    if entry.item.is_some() {
                        self.inodes.forget(own, 1);
                    }
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            full_table.map_or(Ok(()), |full| Err(full.into()))
        });
        match listed {
            Err(error) if !some => reply.error(error),
            _ => reply.ok(),
        }
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.open.release(handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.answer("asking for the size", || Ok(self.room())) {
            // Full: nothing can be written.
            Ok((blocks, size)) => reply.statfs(blocks, 0, 0, 0, 0, size, 255, size),
            Err(error) => reply.error(error),
        }
    }

    fn getxattr(&self, _: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.answer("reading an attribute", || {
            let mut value = None;
            self.xattr(number, &mut |xattr| {
                if xattr.name == name.as_bytes() {
                    value = Some(xattr.value.clone());
                }
            })?;
            value.ok_or(Errno::ENODATA)
        });
        give(value, size, reply);
    }

    fn listxattr(&self, _: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.answer("listing attributes", || {
            let mut names = Vec::new();
            self.xattr(number, &mut |xattr| {
                if !xattr.name.is_empty() && !xattr.name.contains(&0) {
                    names.extend_from_slice(&xattr.name);
                    names.push(0);
                }
            })?;
            Ok(names)
        });
        give(names, size, reply);
    }

    fn lseek(
        &self,
        _: &Request,
        number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        // From linux/fs.h; all others are the kernel's own.
        const SEEK_DATA: i32 = 3;
        const SEEK_HOLE: i32 = 4;
        let found = match whence {
            SEEK_DATA | SEEK_HOLE => {
                self.answer("a seek", || self.seek(number, handle, offset, whence == SEEK_DATA))
            }
            _ => Err(Errno::EINVAL),
        };
        match found {
            Ok(at) => reply.offset(at),
            Err(error) => reply.error(error),
        }
    }
}

impl Served {
    /// The attributes of an entry that is listed. One that can't be read is listed all the same: who asks for it alone,
    /// which must be at once, gets the error.
    fn listed_attributes(
        &self,
        number: u64,
        tree: Option<&Tree>,
        entry: &Listed<'_>,
    ) -> (FileAttr, Duration) {
        let known = match (entry.item, tree) {
            (Some(Item::Node(_, node)), Some(tree)) => {
                tree.stat(node).ok().map(|stat| (attributes::of(number, &stat), self.ttl))
            }
            (Some(item), _) => self.attributes(number, item).ok(),
            (None, _) => None,
        };
        known.unwrap_or_else(|| {
            let kind = entry.kind.map_or(FileType::RegularFile, attributes::kind);
            let attr = attributes::synthetic(number, kind, 0, Timestamp::default());
            (FileAttr { perm: 0, ..attr }, Duration::ZERO)
        })
    }
}

/// Answers with a value or, where no room was given for it, with its size.
fn give(value: Answer<Vec<u8>>, size: u32, reply: ReplyXattr) {
    match value {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() > size as usize => reply.error(Errno::ERANGE),
        Ok(value) => reply.data(&value),
        Err(error) => reply.error(error),
    }
}
