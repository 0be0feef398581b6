//! The boundary: what every guest file system looks like.

use crate::Result;
use std::ops::ControlFlow;

/// A file system of a guest, opened read-only.
///
/// Life cycle: opened by its reader's `open` from one or more [`Device`](crate::Device)s; used by any number of threads
/// through `&self`; holds nothing but bounded caches, so dropping it is all there is to its end.
///
/// Names are bytes: nothing is decoded that the file system does not define, and what it defines as UTF-16 is given as
/// UTF-8 (unpaired surrogates as WTF-8, so that two names never become one). No call copies a whole file, and none
/// allocates what an image merely claims. Everything that is not certain is an error: never a wrong byte.
pub trait GuestFs: Send + Sync {
    /// What this file system is, and what a reader of every listing must be told.
    fn info(&self) -> &FsInfo;

    /// The root folder.
    fn root(&self) -> NodeId;

    /// The entry `name` (one component, never `.` or `..`) of the folder `dir`. Where the file system ignores case
    /// (NTFS, FAT, a case-folded ext4 folder), so does this, an exact match first.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::NotADirectory`](crate::Error::NotADirectory), or why the
    /// folder can't be read.
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId>;

    /// Calls `visit` with every entry of the folder `dir` but `.` and `..`, in the file system's order, from the
    /// position `from`: 0 for the beginning, or an entry's [`next`](DirEntry::next). Ends where `visit` breaks.
    ///
    /// An entry that names itself with `/` or NUL, or is empty, is an error and never visited.
    ///
    /// # Errors
    /// [`Error::NotADirectory`](crate::Error::NotADirectory), or why the folder can't be read.
    fn readdir(
        &self,
        dir: NodeId,
        from: u64,
        visit: &mut dyn FnMut(DirEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()>;

    /// What is known of a node.
    ///
    /// # Errors
    /// Why the node can't be read.
    fn stat(&self, node: NodeId) -> Result<Stat>;

    /// The target of a symbolic link, as the guest wrote it. For NTFS junctions and links, a path in the guest's terms
    /// with `/` between its components (`/C/Users` for `\??\C:\Users`).
    ///
    /// # Errors
    /// [`Error::NotASymlink`](crate::Error::NotASymlink), or why the node can't be read.
    fn readlink(&self, node: NodeId) -> Result<Vec<u8>>;

    /// Fills `buf` from byte `offset` of a file, and tells how many bytes that were: fewer than `buf` holds only at the
    /// end of the file, 0 at and after it. Holes read as zeros.
    ///
    /// # Errors
    /// [`Error::IsADirectory`](crate::Error::IsADirectory); [`Error::Unsupported`](crate::Error::Unsupported) or
    /// [`Error::Encrypted`](crate::Error::Encrypted) for content that nothing here decodes; or why it can't be read.
    fn read_at(&self, node: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize>;

    /// Where the bytes of a file from `offset` on lie: one run, beginning at `offset`, at least one byte long and
    /// ending at the end of the file at the latest. `None` at and after the end.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn map(&self, node: NodeId, offset: u64) -> Result<Option<Run>>;

    /// The extended attributes of a node, by their whole names (`user.comment`, `system.posix_acl_access`,
    /// `security.selinux`), as the kernel shows them. Values of more than [`MAX_XATTR`] bytes are left out.
    ///
    /// # Errors
    /// Why they can't be read.
    fn xattrs(&self, node: NodeId) -> Result<Vec<Xattr>>;
}

/// The largest value of an extended attribute, in bytes: the kernel's `XATTR_SIZE_MAX`.
pub const MAX_XATTR: usize = 65536;

/// A file, folder or other object of one file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// Which tree of the file system: a btrfs subvolume's id, an NTFS attribute's id for an alternate stream; 0 for all
    /// others.
    pub tree: u64,
    /// The number inside of it: an inode, an MFT record, a position in the folder for those without inodes.
    pub inode: u64,
}

/// What a file system is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsInfo {
    /// The type as `blkid` names it: `ext4`, `xfs`, `ntfs`, `vfat`, `exfat`, `btrfs`, `iso9660`.
    pub kind: &'static str,
    /// The label, where it has one, in UTF-8 as far as it is.
    pub label: Option<String>,
    /// The identity as `blkid` writes it.
    pub uuid: Option<String>,
    /// Bytes that the file system spans.
    pub size: u64,
    /// Its unit of allocation in bytes.
    pub block_size: u32,
    /// Whether owners and permissions are stored in it. Where not, `stat` tells what a kernel's mount would by itself:
    /// root, 0755 for folders and files.
    pub has_owners: bool,
    /// What a person must know who looks at any listing of it: `the journal was not replayed`.
    pub warnings: Vec<String>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// An entry of a folder.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// One component: not empty, without `/` and NUL.
    pub name: &'a [u8],
    /// What it names.
    pub node: NodeId,
    /// What that is, where the folder tells.
    pub kind: Option<FileKind>,
    /// The position after this entry, for [`GuestFs::readdir`]. Never 0.
    pub next: u64,
}

/// What is known of a node: the fields of `stat(2)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// The twelve permission bits: setuid, setgid, sticky and rwx.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names it has.
    pub links: u64,
    /// Bytes; of a link, the length of its target; of a folder, as the file system counts.
    pub size: u64,
    /// Bytes that are allocated for it.
    pub allocated: u64,
    /// Major and minor number of a device node.
    pub device: Option<(u32, u32)>,
    /// Last access.
    pub accessed: Timestamp,
    /// Last change of the content.
    pub modified: Timestamp,
    /// Last change of the inode.
    pub changed: Timestamp,
    /// Creation, where it is stored.
    pub created: Option<Timestamp>,
}

/// A moment: seconds since 1970-01-01 UTC (negative before), and nanoseconds after that second, below 10⁹.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

/// A run of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// How many bytes, at least 1.
    pub length: u64,
    /// Where they are.
    pub place: Place,
}

/// Where a run of a file's bytes lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: it reads as zeros. Allocated but never written counts as this too.
    Hole,
    /// As they are, from this byte on of the file system's first device.
    Device(u64),
    /// Stored in another form: inside of an inode, compressed, on another device, in a journal that was replayed.
    Inside,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Xattr {
    /// The whole name, with its prefix.
    pub name: Vec<u8>,
    /// The value, at most [`MAX_XATTR`] bytes.
    pub value: Vec<u8>,
}

/// How a file system is to be opened, and what it may cost.
///
/// What an opened file system holds is `cache_bytes`, `journal_bytes` where its journal was dirty, and what a call under
/// way needs: usually a few MiB, and at most about 128, which constants beside each structure bound (the names of one
/// folder, the runs of one file, the blocks that a journal revokes). None of it grows with what the image claims; what
/// would need more is [`Error::Limit`](crate::Error::Limit) or damage. How deep and how many folders are followed is
/// [`WalkOptions`](crate::tree::WalkOptions).
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// Serve a volume whose journal is dirty and can't be replayed as it lies on the disk, with a warning.
    pub ignore_journal: bool,
    /// Bytes that one file system may hold in caches.
    pub cache_bytes: usize,
    /// Bytes of a journal that are held in memory.
    pub journal_bytes: usize,
}

impl Default for OpenOptions {
    fn default() -> Self {
        OpenOptions { ignore_journal: false, cache_bytes: 16 << 20, journal_bytes: 256 << 20 }
    }
}

/// What a volume was recognised as from its first sectors, without opening it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// The type as `blkid` names it.
    pub kind: &'static str,
    /// The label, where it has one.
    pub label: Option<String>,
    /// The identity as `blkid` writes it. For a btrfs of several devices, that of the file system.
    pub uuid: Option<String>,
    /// Bytes that the file system spans on this device.
    pub size: u64,
}
