//! Inode items.
//!
//! Layout: `struct btrfs_inode_item` of the kernel's `btrfs_tree.h`.

use crate::{Error, Fields, FileKind, Result, Stat, Timestamp};

/// Its data has no checksums.
const NO_DATA_SUM: u64 = 1;

pub const GENERATION_AT: usize = 0;
pub const SIZE_AT: usize = 16;
pub const BYTES_AT: usize = 24;
pub const LINKS_AT: usize = 40;
const MODE_AT: usize = 52;

/// An inode.
#[derive(Debug, Clone)]
pub struct Inode {
    pub stat: Stat,
    /// Whether the sectors of its data have checksums.
    pub checked: bool,
}

impl Inode {
    /// The inode `number` of an item; `sector` is the unit of allocation.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn read(number: u64, item: &[u8], sector: u32) -> Result<Self> {
        let fields = Fields::new("an inode item", item);
        let mode = fields.le32(MODE_AT)?;
        let kind = kind(mode)
            .ok_or_else(|| Error::corrupt(format!("inode {number}"), format!("its mode is {mode:o}")))?;
        let bytes = fields.le64(BYTES_AT)?;
        let device = fields.le64(56)?;
        Ok(Inode {
            stat: Stat {
                kind,
                mode: mode & 0o7777,
                uid: fields.le32(44)?,
                gid: fields.le32(48)?,
                links: u64::from(fields.le32(LINKS_AT)?),
                size: fields.le64(SIZE_AT)?,
                allocated: bytes.checked_next_multiple_of(u64::from(sector)).unwrap_or(bytes),
                // The kernel's own form of a device number: twelve bits, and twenty.
                device: matches!(kind, FileKind::CharDevice | FileKind::BlockDevice)
                    .then_some((((device >> 20) & 0xfff) as u32, (device & 0xf_ffff) as u32)),
                accessed: timestamp(&fields, 112)?,
                changed: timestamp(&fields, 124)?,
                modified: timestamp(&fields, 136)?,
                created: Some(timestamp(&fields, 148)?).filter(|time| *time != Timestamp::default()),
            },
            checked: fields.le64(64)? & NO_DATA_SUM == 0,
        })
    }
}

/// What the upper bits of a mode say.
pub fn kind(mode: u32) -> Option<FileKind> {
    Some(match mode >> 12 {
        1 => FileKind::Fifo,
        2 => FileKind::CharDevice,
        4 => FileKind::Directory,
        6 => FileKind::BlockDevice,
        8 => FileKind::File,
        10 => FileKind::Symlink,
        12 => FileKind::Socket,
        _ => return None,
    })
}

/// What an inode item's mode says, where it is one.
pub fn kind_of_item(item: &[u8]) -> Result<Option<FileKind>> {
    Ok(kind(Fields::new("an inode item", item).le32(MODE_AT)?))
}

/// The time at byte `at`.
pub fn timestamp(fields: &Fields<'_>, at: usize) -> Result<Timestamp> {
    // What is more than a second in nanoseconds can only be damage; nobody can tell the right one.
    Ok(Timestamp { seconds: fields.le64(at)? as i64, nanos: fields.le32(at + 8)?.min(999_999_999) })
}
