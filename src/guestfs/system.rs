//! Which system a guest runs, and where its volumes stand in it.
//!
//! A volume holds a *Linux* root file system where `/etc` is a folder, `/bin`, `/sbin` or `/usr` is there, and `etc/os-release` (or
//! `usr/lib/os-release`) or `etc/fstab` can be read; of a btrfs, its default subvolume and those right below its top
//! are looked at. It holds a *Windows* where its `SYSTEM` registry hive is there, or at least its folders are.
//!
//! Of several, the one whose records say best that it is the system wins, by this rule, each line before the next:
//! 1. whose own records name it as their root: the fstab's `/` is this volume, the registry has a letter for it; then
//!    those that say nothing; then those whose fstab names another volume that is there (a copy, a snapshot);
//! 2. which has a name in its os-release or registry;
//! 3. which was used last, by the times of files that a running system writes;
//! 4. which is the larger; and then, which comes first.
//!
//! Everything else that was found is in [`System::others`]. What the winner's fstab or registry names stands where
//! they say; all other file systems stand at `/@volumes/{id}`, as does the top of a btrfs of which only subvolumes
//! are named.
//!
//! Not here: the tree itself ([`tree`](crate::tree)), partitions, logical volumes and encryption
//! ([`layers`](crate::layers)).

mod candidates;
mod crypttab;
mod devices;
mod files;
mod fstab;
mod linux;
pub mod registry;
mod windows;

#[cfg(test)]
mod tests;

pub(crate) use candidates::find;

use crate::{Content, Volume};

/// A guest's system, as far as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// What it calls itself: `Debian GNU/Linux 12 (bookworm)`, `Windows Server 2022 Standard`.
    pub name: Option<String>,
    /// Which kind of system.
    pub kind: SystemKind,
    /// Where it lives; `None` where there is none.
    pub root: Option<Root>,
    /// What stands where: what is above before what is below.
    pub mounts: Vec<MountPoint>,
    /// The systems that were found and not taken, the best first.
    pub others: Vec<Root>,
    /// Names at the root that lead to a volume and are not listed, for links of the guest: `Volume{GUID}` of a Windows,
    /// with the volume's id.
    pub links: Vec<(Vec<u8>, String)>,
    /// Why something could not be opened, or does not stand where the guest has it; what was guessed.
    pub notes: Vec<String>,
}

impl System {
    /// No system at all.
    pub(crate) fn unknown() -> Self {
        System {
            name: None,
            kind: SystemKind::Unknown,
            root: None,
            mounts: Vec::new(),
            others: Vec::new(),
            links: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// A kind of system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemKind {
    /// With an fstab: all in one tree from `/`.
    Linux,
    /// With drive letters: `/C`, `/D`.
    Windows,
    /// None was found.
    Unknown,
}

/// A root file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The volume's id.
    pub volume: String,
    /// Where in a btrfs.
    pub subvolume: Option<Subvolume>,
    /// Which kind of system.
    pub kind: SystemKind,
    /// What it calls itself.
    pub name: Option<String>,
}

/// A volume at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Where: an absolute path without links, `.` and `..`.
    pub path: Vec<u8>,
    /// The volume's id.
    pub volume: String,
    /// Which subvolume of a btrfs; without one, its default.
    pub subvolume: Option<Subvolume>,
    /// The folder of it that stands here, where it is not the whole: a bind mount.
    pub folder: Vec<u8>,
    /// Whether the guest's system does not know of it: what is below `/@volumes`.
    pub foreign: bool,
}

/// A subvolume of a btrfs, as mount options name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subvolume {
    /// `subvol=`: its path from the top of all subvolumes.
    Path(Vec<u8>),
    /// `subvolid=`: its number; 5 is the top.
    Id(u64),
}

/// The top of all subvolumes, where the volume is a btrfs.
pub(crate) fn top_subvolume(volume: &Volume) -> Option<Subvolume> {
    is_btrfs(volume).then_some(Subvolume::Id(5))
}

fn is_btrfs(volume: &Volume) -> bool {
    matches!(&volume.content, Content::FileSystem(recognised) if recognised.kind == "btrfs")
}
