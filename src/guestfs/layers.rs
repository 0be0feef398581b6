//! From disks to volumes: partition tables, LVM, md RAID, encryption.
//!
//! [`discover`] looks at every disk of a restore point and follows what it finds to any depth up to [`MAX_DEPTH`]: a
//! partition that holds a physical volume, a logical volume that holds a LUKS container, a container that holds a
//! partition table. What it can't read is a [`Volume`] that says why; it never fails as a whole.
//!
//! The model: a *candidate* is a range of bytes with a name. It is asked in a fixed order whether it is a member of
//! an array, a LUKS container, a partitioned disk, a physical volume or a file system (`probe`). Members and physical
//! volumes are collected, and put together when all candidates were looked at; what that makes are candidates again
//! (`search`).
//!
//! Not here: what is inside of a file system, and which of the volumes is a guest's root.

mod bitlocker;
mod disklabel;
mod gpt;
mod guid;
mod luks;
mod lvm;
mod mapped;
mod mbr;
mod md;
mod partitioned;
mod pool;
mod probe;
mod search;

use crate::btrfs::Btrfs;
use crate::device::NumberedDisk;
use crate::volume::{Content, Disk, Volume};
use crate::{Error, GuestFs, OpenOptions, Result};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroize;

/// How many layers may lie on each other: partition, array, volume group, container… Six are more than any machine
/// that boots has.
pub const MAX_DEPTH: usize = 12;

/// How many volumes are listed at most.
pub const MAX_VOLUMES: usize = 4096;

/// How disks are looked at.
#[derive(Clone, Default)]
pub struct LayerOptions {
    /// Passphrases and contents of key files, each tried on every container that is met. Overwritten when dropped.
    ///
    /// Trying one costs what the container's header asks for, bounded as cryptsetup bounds it: 4 GiB of memory and about a
    /// minute a key slot. Without keys no container costs anything.
    pub keys: Vec<Vec<u8>>,
}

impl fmt::Debug for LayerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key never reaches a log.
        f.debug_struct("LayerOptions").field("keys", &self.keys.len()).finish()
    }
}

impl Drop for LayerOptions {
    fn drop(&mut self) {
        self.keys.zeroize();
    }
}

/// All volumes of the disks of a restore point.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// In the order of disks and partitions, logical volumes and arrays after them.
    pub volumes: Vec<Volume>,
}

/// What the disks of a restore point hold. Never fails as a whole: what can't be read is a volume whose content says
/// why.
pub fn discover(disks: &[Disk], options: &LayerOptions) -> Inventory {
    let numbered = |disk: &Disk| {
        let device = Arc::new(NumberedDisk { index: disk.index, device: Arc::clone(&disk.device) });
        Disk { index: disk.index, device }
    };
    let disks: Vec<Disk> = disks.iter().map(numbered).collect();
    Inventory { volumes: search::Search::new(options).run(&disks) }
}

impl Inventory {
    /// The volume of this id.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none.
    pub fn volume(&self, id: &str) -> Result<&Volume> {
        self.volumes.iter().find(|volume| volume.id == id).ok_or(Error::NotFound)
    }

    /// Opens the file system of the volume `id`.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such volume; [`Error::Encrypted`] where no key opened it;
    /// [`Error::Corrupt`] where it is damaged; [`Error::Unsupported`] where it holds no file system, or none that can
    /// be read; whatever the file system's reader says otherwise.
    pub fn open(&self, id: &str, options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
        let volume = self.file_system(id)?;
        probe::open(&volume.devices, options)
    }

    /// Opens the btrfs of the volume `id` with what only a btrfs has: its subvolumes.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`Error::Unsupported`] where it holds another file system.
    pub fn open_btrfs(&self, id: &str, options: &OpenOptions) -> Result<Arc<Btrfs>> {
        let volume = self.file_system(id)?;
        match &volume.content {
            Content::FileSystem(found) if found.kind == "btrfs" => {
                Btrfs::open(volume.devices.clone(), options)
            }
            _ => Err(Error::unsupported(format!("{id} holds no btrfs: a subvolume of it"))),
        }
    }

    /// The volume `id`, if it holds a file system.
    fn file_system(&self, id: &str) -> Result<&Volume> {
        let volume = self.volume(id)?;
        match &volume.content {
            Content::FileSystem(_) => Ok(volume),
            Content::Swap { .. } => {
                Err(Error::unsupported(format!("{id} is swap space: a file system of it")))
            }
            Content::Member(of) => Err(Error::unsupported(format!("{id} is {of}: a file system of its own"))),
            Content::Locked { kind, reason, .. } => Err(Error::Encrypted(format!("{id} ({kind}: {reason})"))),
            Content::Refused(what) => Err(Error::unsupported(format!("{id}: {what}"))),
            Content::Damaged(what) => Err(Error::corrupt(id, what.clone())),
            Content::Unknown => Err(Error::unsupported(format!("what {id} holds"))),
        }
    }
}
