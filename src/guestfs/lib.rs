//! The files inside of virtual disks, read in user space: no root, no kernel module, no helper VM.
//!
//! From one or more positioned readers (the disks of a restore point) to volumes, and from volumes to trees:
//! - [`ReadAt`] is a disk, a partition or a logical volume; layers stack on it.
//! - [`GuestFs`] is a file system: folders, nodes and positioned reads.
//!
//! One folder a file system, one file a structure of its format. Everything that comes from a disk is hostile: it is
//! checked before it is used, sizes no allocation beyond a fixed bound, and costs an error, never a panic or an endless
//! loop. And nothing here ever returns bytes that are not certain: a journal that was dirty when the disk was captured is
//! replayed in memory, and what can't be replayed or decoded is refused by name.
//!
//! Not here: points, chains and catalogs (the hub opens the disks), FUSE, archives, writing of any kind.

pub mod btrfs;
mod cache;
pub mod compare;
pub mod content;
mod device;
mod error;
pub mod exfat;
pub mod ext;
pub mod fat;
mod field;
pub mod foreign;
mod fs;
pub mod iso9660;
pub mod layers;
mod names;
pub mod ntfs;
mod overlay;
mod pages;
pub mod system;
pub mod tree;
mod volume;
mod wtf8;
pub mod xfs;

pub use cache::Cache;
pub use device::{Device, FileDevice, MemoryDevice, Origin, ReadAt, Window, read_exact, read_vec};
pub use error::{Error, Result};
pub use field::Fields;
pub use fs::{
    DirEntry, FileKind, FsInfo, GuestFs, MAX_XATTR, NodeId, OpenOptions, Place, Recognised, Run, Stat,
    Timestamp, Xattr,
};
pub use overlay::Overlay;
pub use volume::{Content, Disk, Partition, Volume};
