//! A file of a guest as the wire shows it.

use api::{FileEntry, FileType, XattrView, to_base64};
use guestfs::tree::{Node, Tree};
use guestfs::{FileKind, NodeId, Result, Stat, Timestamp};

/// What is known of `node`, whose path is `path`.
pub(super) fn entry(tree: &Tree, path: &[u8], node: Node, xattrs: bool) -> Result<FileEntry> {
    let stat = tree.stat(node)?;
    let link = if stat.kind == FileKind::Symlink { Some(tree.readlink(node)?) } else { None };
    let xattrs = if xattrs {
        let shown = |xattr: guestfs::Xattr| XattrView {
            name: String::from_utf8_lossy(&xattr.name).into_owned(),
            value_b64: to_base64(&xattr.value),
        };
        tree.xattrs(node)?.into_iter().map(shown).collect()
    } else {
        Vec::new()
    };
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let name = if name.is_empty() { b"/" } else { name };
    Ok(FileEntry {
        name: text(name),
        path: text(path),
        path_b64: to_base64(path),
        size: stat.size,
        allocated_bytes: stat.allocated,
        is_directory: stat.kind == FileKind::Directory,
        kind: kind(stat.kind),
        modified_time: time(stat.modified),
        accessed_time: time(stat.accessed),
        changed_time: time(stat.changed),
        created_time: stat.created.map(time),
        permissions: permissions(&stat),
        mode: format!("{:04o}", stat.mode),
        uid: stat.uid,
        gid: stat.gid,
        links: stat.links,
        node: number(node),
        link_target: link.as_deref().map(text),
        link_target_b64: link.as_deref().map(to_base64),
        device: stat.device,
        xattrs,
    })
}

/// The same for two names of one file, and for no others of the session.
pub(super) fn number(node: Node) -> String {
    format!("{}:{}:{}", node.fs, node.id.tree, node.id.inode)
}

/// The node that [`number`] wrote.
pub(super) fn node_of(text: &str) -> Option<Node> {
    let mut numbers = text.split(':');
    let fs = numbers.next()?.parse().ok()?;
    let tree = numbers.next()?.parse().ok()?;
    let inode = numbers.next()?.parse().ok()?;
    numbers.next().is_none().then_some(Node { fs, id: NodeId { tree, inode } })
}

/// Text as far as it is UTF-8.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a file is, on the wire.
pub(crate) fn kind(kind: FileKind) -> FileType {
    match kind {
        FileKind::File => FileType::File,
        FileKind::Directory => FileType::Directory,
        FileKind::Symlink => FileType::Symlink,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::Fifo => FileType::Fifo,
        FileKind::Socket => FileType::Socket,
    }
}

/// RFC 3339 in UTC; what lies outside of the years -9999 to 9999 is shown as their end.
pub(crate) fn time(at: Timestamp) -> String {
    let end = if at.seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    let nanos = i32::try_from(at.nanos).unwrap_or_default();
    jiff::Timestamp::new(at.seconds, nanos).unwrap_or(end).to_string()
}

/// As `ls -l` shows them.
pub(crate) fn permissions(stat: &Stat) -> String {
    let kind = match stat.kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
    };
    let mut shown = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = stat.mode >> shift;
        shown.push(if bits & 4 != 0 { 'r' } else { '-' });
        shown.push(if bits & 2 != 0 { 'w' } else { '-' });
        shown.push(match (bits & 1 != 0, stat.mode & special != 0) {
            (true, false) => 'x',
            (false, false) => '-',
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_as_it_was_written() {
        let node = Node { fs: 3, id: NodeId { tree: u64::MAX, inode: 12 } };
        assert_eq!(node_of(&number(node)), Some(node));
        for odd in ["", "1:2", "1:2:3:4", "a:b:c", "-1:0:0", "1:2:99999999999999999999"] {
            assert_eq!(node_of(odd), None, "{odd}");
        }
    }

    #[test]
    fn permissions_look_as_in_ls() {
        let stat = |kind, mode| Stat {
            kind,
            mode,
            uid: 0,
            gid: 0,
            links: 1,
            size: 0,
            allocated: 0,
            device: None,
            accessed: Timestamp::default(),
            modified: Timestamp::default(),
            changed: Timestamp::default(),
            created: None,
        };
        let cases = [
            (FileKind::File, 0o644, "-rw-r--r--"),
            (FileKind::Directory, 0o1777, "drwxrwxrwt"),
            (FileKind::File, 0o4755, "-rwsr-xr-x"),
            (FileKind::File, 0o6600, "-rwS--S---"),
            (FileKind::Symlink, 0o777, "lrwxrwxrwx"),
            (FileKind::Directory, 0o1770, "drwxrwx--T"),
        ];
        for (kind, mode, shown) in cases {
            assert_eq!(permissions(&stat(kind, mode)), shown);
        }
    }

    #[test]
    fn times_before_1970_and_beyond_all_calendars_can_be_shown() {
        assert_eq!(time(Timestamp { seconds: -1, nanos: 500_000_000 }), "1969-12-31T23:59:59.5Z");
        assert_eq!(time(Timestamp { seconds: 4_102_444_800, nanos: 0 }), "2100-01-01T00:00:00Z");
        assert_eq!(time(Timestamp { seconds: i64::MAX, nanos: 0 }), jiff::Timestamp::MAX.to_string());
        assert_eq!(time(Timestamp { seconds: i64::MIN, nanos: 0 }), jiff::Timestamp::MIN.to_string());
    }
}
