//! The superblock, in up to three copies on every device.
//!
//! Layout: `struct btrfs_super_block` of the kernel's `include/uapi/linux/btrfs_tree.h`.

use super::checksum::Checksum;
use crate::device::read_vec;
use crate::{Error, Fields, ReadAt, Result};

/// Where the copies lie, in bytes.
const COPIES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];

/// The size of a superblock.
const LENGTH: usize = 4096;

const MAGIC: &[u8; 8] = b"_BHRfS_M";

/// The largest array of system chunks.
const MAX_SYSTEM_CHUNKS: usize = 2048;

const NO_HOLES: u64 = 0x200;
const METADATA_UUID: u64 = 0x400;

/// The bits that change what a reader must know, with their names where they are refused.
const INCOMPATIBLE: &[(u64, Option<&str>)] = &[
    (0x1, None),   // mixed backrefs
    (0x2, None),   // another default subvolume
    (0x4, None),   // mixed groups
    (0x8, None),   // LZO
    (0x10, None),  // zstd
    (0x20, None),  // big metadata
    (0x40, None),  // extended inode references
    (0x80, None),  // RAID 5 and 6
    (0x100, None), // skinny metadata
    (NO_HOLES, None),
    (METADATA_UUID, None),
    (0x800, None), // RAID1C3 and RAID1C4
    (0x1000, Some("zoned")),
    (0x2000, Some("extent-tree-v2")),
    (0x4000, Some("raid-stripe-tree")),
    (0x10000, None), // simple quotas
    (0x20000, Some("remap-tree")),
];

/// States in which the metadata is not whole, or belongs to nobody.
const STATES: &[(u64, &str)] = &[
    (1 << 33, "a metadata dump (btrfs-image) without data"),
    (1 << 34, "a metadata dump (btrfs-image) without data"),
    (1 << 35, "a change of the UUID that was interrupted"),
    (1 << 36, "a change of the UUID that was interrupted"),
    (1 << 38, "a conversion of the block group tree that was interrupted"),
    (1 << 39, "a change of the data checksums that was interrupted"),
    (1 << 40, "a change of the metadata checksums that was interrupted"),
];

/// What a superblock says.
#[derive(Debug, Clone)]
pub struct Superblock {
    /// The identity that is shown.
    pub fsid: [u8; 16],
    /// The identity that metadata blocks bear.
    pub metadata_uuid: [u8; 16],
    pub generation: u64,
    pub root: Pointer,
    pub chunk_root: Pointer,
    /// The tree of log trees, where something was written by fsync since the last commit.
    pub log_root: Option<Pointer>,
    pub total_bytes: u64,
    pub root_dir: u64,
    pub devices: u64,
    /// Bytes of a sector: the unit of data and its checksums.
    pub sector: u32,
    /// Bytes of a metadata block.
    pub node: u32,
    pub checksum: Checksum,
    pub label: Vec<u8>,
    /// This device.
    pub device_id: u64,
    pub device_uuid: [u8; 16],
    /// Bytes of this device that belong to the file system.
    pub device_bytes: u64,
    /// Chunks that the chunk tree lies in: pairs of keys and items.
    pub system_chunks: Vec<u8>,
    /// Which copy this is: 0 for the one that counts.
    pub copy: usize,
    incompatible: u64,
    flags: u64,
}

/// Where a tree's root lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pointer {
    pub logical: u64,
    pub level: u8,
    pub generation: u64,
}

impl Superblock {
    /// The newest whole superblock of a device; `None` where there is none.
    ///
    /// Copies of another identity than the first one, where that is whole, are left over from an older file system. Of
    /// two of the same generation the first one counts: fsync writes no other.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Corrupt`] where there are superblocks, but none of them is whole.
    pub fn read(device: &dyn ReadAt) -> Result<Option<Self>> {
        let mut best: Option<Superblock> = None;
        let mut damage = None;
        for (copy, &offset) in COPIES.iter().enumerate() {
            if offset.checked_add(LENGTH as u64).is_none_or(|end| end > device.size()) {
                break;
            }
            let bytes = read_vec(device, offset, LENGTH)?;
            if &bytes[64..72] != MAGIC {
                // A device without the first copy was wiped; the others are what the wiping left.
                if copy == 0 {
                    return Ok(None);
                }
                continue;
            }
            match Superblock::parse(&bytes, offset, copy) {
                Ok(found) => {
                    let better = best.as_ref().is_none_or(|best| {
                        found.generation > best.generation && (best.fsid == found.fsid || best.copy > 0)
                    });
                    if better {
                        best = Some(found);
                    }
                }
                Err(error) => damage = damage.or(Some(error)),
            }
        }
        match (best, damage) {
            (Some(best), _) => Ok(Some(best)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    fn parse(bytes: &[u8], offset: u64, copy: usize) -> Result<Self> {
        let fields = Fields::new("the superblock", bytes);
        let checksum = Checksum::from_number(fields.le16(196)?)?;
        let length = checksum.length();
        if checksum.of(&bytes[32..])[..length] != bytes[..length] {
            return Err(fields.corrupt("its checksum does not fit"));
        }
        if fields.le64(48)? != offset {
            return Err(fields.corrupt("it says that it lies elsewhere"));
        }
        let (sector, node) = (fields.le32(144)?, fields.le32(148)?);
        if !sector.is_power_of_two() || !(4096..=65536).contains(&sector) {
            return Err(fields.corrupt(format!("its sectors have {sector} bytes")));
        }
        if !node.is_power_of_two() || !(sector..=65536).contains(&node) {
            return Err(fields.corrupt(format!("its nodes have {node} bytes")));
        }
        let system = fields.le32(160)? as usize;
        if system > MAX_SYSTEM_CHUNKS {
            return Err(fields.corrupt(format!("it has {system} bytes of system chunks")));
        }
        let generation = fields.le64(72)?;
        let incompatible = fields.le64(188)?;
        let fsid = fields.array(32)?;
        let log_root = fields.le64(96)?;
        let label = fields.bytes(299, 256)?;
        Ok(Superblock {
            fsid,
            metadata_uuid: if incompatible & METADATA_UUID != 0 { fields.array(571)? } else { fsid },
            generation,
            root: Pointer { logical: fields.le64(80)?, level: fields.u8(198)?, generation },
            chunk_root: Pointer {
                logical: fields.le64(88)?,
                level: fields.u8(199)?,
                generation: fields.le64(164)?,
            },
            log_root: (log_root != 0)
                .then(|| {
                    Ok::<_, Error>(Pointer {
                        logical: log_root,
                        level: fields.u8(200)?,
                        generation: generation
                            .checked_add(1)
                            .ok_or_else(|| fields.corrupt("its generation is impossible"))?,
                    })
                })
                .transpose()?,
            total_bytes: fields.le64(112)?,
            root_dir: fields.le64(128)?,
            devices: fields.le64(136)?,
            sector,
            node,
            checksum,
            label: label.split(|&byte| byte == 0).next().unwrap_or_default().to_vec(),
            device_id: fields.le64(201)?,
            device_uuid: fields.array(201 + 66)?,
            device_bytes: fields.le64(201 + 8)?,
            system_chunks: fields.bytes(811, system)?.to_vec(),
            copy,
            incompatible,
            flags: fields.le64(56)?,
        })
    }

    /// Whether everything that this file system uses is known here.
    ///
    /// # Errors
    /// [`Error::Unsupported`], by name.
    pub fn check_features(&self) -> Result<()> {
        if let Some((_, name)) = STATES.iter().find(|(bit, _)| self.flags & bit != 0) {
            return Err(Error::unsupported(format!("btrfs: {name}")));
        }
        for bit in (0..64).map(|shift| 1u64 << shift).filter(|bit| self.incompatible & bit != 0) {
            match INCOMPATIBLE.iter().find(|(known, _)| *known == bit) {
                Some((_, None)) => {}
                Some((_, Some(name))) => {
                    return Err(Error::unsupported(format!("the btrfs feature {name}")));
                }
                None => {
                    return Err(Error::unsupported(format!("the btrfs feature of bit {bit:#x}")));
                }
            }
        }
        Ok(())
    }

    /// Whether holes of files have no items.
    pub fn no_holes(&self) -> bool {
        self.incompatible & NO_HOLES != 0
    }

    /// The identity as `blkid` writes it.
    pub fn uuid(&self) -> String {
        hyphenated(&self.fsid)
    }

    /// The label, where there is one.
    pub fn label(&self) -> Option<String> {
        (!self.label.is_empty()).then(|| String::from_utf8_lossy(&self.label).into_owned())
    }
}

/// Sixteen bytes as a UUID is written.
pub fn hyphenated(id: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in id.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
