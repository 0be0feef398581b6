//! How restore points, their files and their exports are named (requirement B8).
//!
//! A name is made of the VM, the type and the second at which the point was begun, in UTC. Where two
//! points of one VM fall in one second the later one gets `-2`, `-3` … behind its stamp, in its id and
//! in its file names alike.

use crate::{BackupId, BackupType, ContextId, DiskIndex, IdError, VmName};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::fmt;

/// The second in which something was begun, and its rank within that second for the same VM (from 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// When, UTC; only whole seconds count.
    pub time: Timestamp,
    /// 1 for the first within its second.
    pub rank: u32,
}

impl Stamp {
    /// The first stamp of the given second.
    pub fn new(time: Timestamp) -> Self {
        Stamp { time, rank: 1 }
    }

    /// The stamp to try when this one is taken.
    pub fn next(self) -> Self {
        Stamp { rank: self.rank + 1, ..self }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time.to_zoned(TimeZone::UTC).strftime("%Y%m%d-%H%M%S");
        match self.rank {
            1 => write!(f, "{time}"),
            rank => write!(f, "{time}-{rank}"),
        }
    }
}

/// Everything that is derived from (VM, stamp).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointName {
    /// Whose point it is.
    pub vm: VmName,
    /// When it was begun.
    pub stamp: Stamp,
}

impl PointName {
    /// `backup-{vm}-{stamp}`.
    ///
    /// # Errors
    /// Never for a valid VM name; the id's own rules are checked all the same.
    pub fn backup_id(&self) -> Result<BackupId, IdError> {
        BackupId::new(format!("backup-{}-{}", self.vm, self.stamp))
    }

    /// The file's path relative to the repository's root: `{vm}/disk-{n}/{prefix}-{stamp}.qcow2`.
    pub fn relative_path(&self, disk: DiskIndex, kind: BackupType) -> String {
        format!("{}/{}/{}", self.vm, disk.folder(), self.file_name(kind))
    }

    /// `{full|incr|diff}-{stamp}.qcow2`.
    pub fn file_name(&self, kind: BackupType) -> String {
        format!("{}-{}.qcow2", kind.file_prefix(), self.stamp)
    }
}

/// The longest export name, exclusive (an old limit of clients).
const EXPORT_NAME_LIMIT: usize = 64;

/// The NBD export name of one disk of a point:
/// `backup-{vm_context_id}-disk{n}-{full|incr|diff}-{YYYYMMDDTHHMMSS}`, under 64 bytes and plain ASCII.
/// A context that does not fit or is not plain is shortened, and an 8-digit FNV-1a of the whole context
/// keeps it unique.
pub fn export_name(context: &ContextId, disk: DiskIndex, kind: BackupType, stamp: Stamp) -> String {
    let time = stamp.time.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%S").to_string();
    let rank = if stamp.rank > 1 { format!("-{}", stamp.rank) } else { String::new() };
    let tail = format!("-disk{disk}-{}-{time}{rank}", kind.file_prefix());
    let room = EXPORT_NAME_LIMIT - 1 - "backup-".len() - tail.len();
    let plain: String = context
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' })
        .collect();
    let middle = if plain == context.as_str() && plain.len() <= room {
        plain
    } else {
        let digest = format!("{:08x}", fnv1a(context.as_str().as_bytes()));
        let keep = plain.len().min(room.saturating_sub(digest.len() + 1));
        format!("{}-{digest}", &plain[..keep])
    };
    format!("backup-{middle}{tail}")
}

/// FNV-1a, 32 bits (draft-eastlake-fnv): only to tell names apart, never for integrity.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp::new("2025-10-06T12:00:00Z".parse().unwrap())
    }

    #[test]
    fn ids_and_paths_are_those_of_the_contract() {
        let name = PointName { vm: VmName::new("pgtest1").unwrap(), stamp: stamp() };
        assert_eq!(name.backup_id().unwrap().as_str(), "backup-pgtest1-20251006-120000");
        assert_eq!(
            name.relative_path(DiskIndex(1), BackupType::Incremental),
            "pgtest1/disk-1/incr-20251006-120000.qcow2"
        );
        let second = PointName { stamp: stamp().next(), ..name };
        assert_eq!(second.backup_id().unwrap().as_str(), "backup-pgtest1-20251006-120000-2");
    }

    #[test]
    fn export_names_stay_under_64_bytes_and_unique() {
        let short = ContextId::new("ctx-pg-20251006-120000").unwrap();
        assert_eq!(
            export_name(&short, DiskIndex(0), BackupType::Full, stamp()),
            "backup-ctx-pg-20251006-120000-disk0-full-20251006T120000"
        );
        let a = ContextId::new(format!("ctx-{}a", "é".repeat(50))).unwrap();
        let b = ContextId::new(format!("ctx-{}b", "é".repeat(50))).unwrap();
        let names = [a, b].map(|c| export_name(&c, DiskIndex(63), BackupType::Differential, stamp()));
        assert!(names.iter().all(|n| n.len() < 64 && n.is_ascii()), "{names:?}");
        assert_ne!(names[0], names[1]);
    }
}
