//! What `stat` shows of a file.

use fuser::{FileAttr, FileType, INodeNo};
use guestfs::{FileKind, Stat, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The unit of `stat`'s count of blocks, in bytes.
const BLOCK: u64 = 512;

/// The attributes of a file of a guest.
pub(crate) fn of(number: u64, stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(number),
        // More than that is no size for a system call.
        size: stat.size.min(i64::MAX as u64),
        blocks: stat.allocated.div_ceil(BLOCK),
        atime: time(stat.accessed),
        mtime: time(stat.modified),
        ctime: time(stat.changed),
        crtime: time(stat.created.unwrap_or(stat.changed)),
        kind: kind(stat.kind),
        perm: (stat.mode & 0o7777) as u16,
        nlink: u32::try_from(stat.links).unwrap_or(u32::MAX),
        uid: stat.uid,
        gid: stat.gid,
        rdev: stat.device.map_or(0, |(major, minor)| device(major, minor)),
        blksize: 4096,
        flags: 0,
    }
}

/// Those of something that no guest has made: root's, for everybody to read.
pub(crate) fn synthetic(number: u64, kind: FileType, size: u64, at: Timestamp) -> FileAttr {
    let time = time(at);
    let (perm, nlink) = if kind == FileType::Symlink { (0o777, 1) } else { (0o555, 2) };
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks: 0,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind,
        perm,
        nlink,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

pub(crate) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::RegularFile,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::Socket => FileType::Socket,
    }
}

/// Linux' `new_encode_dev`: twelve bits of major and twenty of minor number.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & 0xf_ff00) << 12)
}

fn time(at: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(at.seconds.unsigned_abs());
    let whole =
        if at.seconds < 0 { UNIX_EPOCH.checked_sub(seconds) } else { UNIX_EPOCH.checked_add(seconds) };
    let nanos = Duration::from_nanos(at.nanos.min(999_999_999).into());
    whole.and_then(|whole| whole.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_at_the_ends_of_all_clocks_do_no_harm() {
        let before = time(Timestamp { seconds: -1, nanos: 500_000_000 });
        assert_eq!(UNIX_EPOCH.duration_since(before).unwrap(), Duration::from_millis(500));
        assert_eq!(time(Timestamp { seconds: 1, nanos: 1 }), UNIX_EPOCH + Duration::new(1, 1));
        for seconds in [i64::MIN, i64::MAX] {
            time(Timestamp { seconds, nanos: u32::MAX });
        }
    }

    #[test]
    fn devices_are_encoded_as_linux_does() {
        // stat -c %r of a node made with mknod c 1 3; and of one whose numbers need all bits.
        assert_eq!(device(1, 3), 0x103);
        assert_eq!(device(0xfff, 0xf_ffff), 0xffff_ffff);
        assert_eq!(device(8, 0x1_23), 0x0010_0823);
    }
}
