//! What partition tables, volume managers, RAID and encryption make of the disks of a restore point.

use crate::device::Device;
use crate::fs::Recognised;
use std::fmt;

/// A disk of the point, as it is given to [`layers::discover`](crate::layers::discover).
#[derive(Clone)]
pub struct Disk {
    /// Its number in the restore point; volumes on it are called `disk{index}/…`.
    pub index: u32,
    /// Its bytes.
    pub device: Device,
}

/// A range of bytes that may hold a file system: a whole disk, a partition, a logical volume, an array, the inside of
/// an opened LUKS container.
#[derive(Clone)]
pub struct Volume {
    /// Unique in its [`Inventory`](crate::layers::Inventory), and the same each time the same disks are looked at:
    /// `disk0` (no partition table), `disk0/part1`, `lvm/{vg}/{lv}` (`lvm/{vg}@{first 8 of the VG's UUID}/{lv}` where two
    /// groups share a name), `md/{first 8 of the array's UUID}`, and `{id of what is below}/luks` for an opened container.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// The partition table's entry, where it is a partition of a disk; a partition inside of something else (a logical
    /// volume, an array, a container) has none, because a guest knows it by no `sda1`.
    pub partition: Option<Partition>,
    /// Names of the group and the volume, where it is a logical volume.
    pub logical: Option<(String, String)>,
    /// What was recognised in it.
    pub content: Content,
    /// Its bytes; for a btrfs of several devices, all of them in the order of their device ids, and the file system is
    /// listed once, under the volume of the first. Empty where it can't be read at all (a RAID level that is refused).
    pub devices: Vec<Device>,
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Volume")
            .field("id", &self.id)
            .field("size", &self.size)
            .field("partition", &self.partition)
            .field("logical", &self.logical)
            .field("content", &self.content)
            .field("devices", &self.devices.len())
            .finish()
    }
}

/// An entry of a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The disk of the point.
    pub disk: u32,
    /// Its number as Linux counts: `1` is `/dev/sda1`; logical partitions of an MBR begin at 5.
    pub number: u32,
    /// The first byte on the disk.
    pub offset: u64,
    /// The type: a GPT type GUID in capitals, or an MBR type as `0x83`.
    pub kind: String,
    /// The GPT partition's name.
    pub name: Option<String>,
    /// PARTUUID as `blkid` writes it: a GUID in small letters, or `{disk signature}-{number}` for an MBR.
    pub uuid: Option<String>,
}

/// What a volume holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file system that [`open`](crate::layers::Inventory::open) takes.
    FileSystem(Recognised),
    /// Swap space, with its label and UUID.
    Swap {
        /// The label.
        label: Option<String>,
        /// The UUID.
        uuid: Option<String>,
    },
    /// A part of something else, which is listed by its own: a physical volume, a member of an array, an opened LUKS
    /// container, a further device of a btrfs. Says what of, in a few words.
    Member(String),
    /// Encrypted, and no key given opens it: LUKS1, LUKS2 or BitLocker, with the UUID where there is one.
    Locked {
        /// `LUKS1`, `LUKS2`, `BitLocker`.
        kind: &'static str,
        /// The container's UUID.
        uuid: Option<String>,
        /// Why no key opened it: none was given, none of those given fits, or the cipher is not supported.
        reason: String,
    },
    /// Recognised and refused: its name and why (a thin or RAID logical volume, RAID 5, ZFS, ReFS, APFS, HFS+, UFS).
    Refused(String),
    /// Damaged in a way that hides what it is, with what was found.
    Damaged(String),
    /// Nothing known. An unformatted volume, or one that reads as zeros.
    Unknown,
}
