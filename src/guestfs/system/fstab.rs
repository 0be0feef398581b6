//! `/etc/fstab`: which devices a Linux mounts where (fstab(5)).

use super::Subvolume;

/// How large an fstab is that is read, in bytes.
pub(super) const MAX_SIZE: usize = 1 << 20;
/// How many of its lines are looked at.
const MAX_ENTRIES: usize = 256;
/// The longest mount point, in bytes: the kernel's `PATH_MAX`.
const MAX_POINT: usize = 4096;
/// How many folders deep a mount point is at most.
const MAX_DEPTH: usize = 128;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// What is mounted: `UUID=…`, `/dev/…`, a folder for a bind mount.
    pub(super) spec: Vec<u8>,
    /// Where: an absolute path without `.`, `..` and doubled slashes.
    pub(super) point: Vec<u8>,
    /// What becomes of it.
    pub(super) mount: Mount,
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mount {
    /// A file system of a device.
    Device {
        /// The subvolume, for a btrfs.
        subvolume: Option<Subvolume>,
    },
    /// A folder of the tree at a second place.
    Bind,
    /// Something of another machine.
    Network,
    /// Something that is in no volume: why.
    Refused(String),
}

/// The lines that mount something, in their order. Comments, swap, and what the kernel makes up are left out.
pub(super) fn parse(text: &[u8]) -> Vec<Line> {
    text.split(|&byte| byte == b'\n').filter_map(line).take(MAX_ENTRIES).collect()
}

fn line(line: &[u8]) -> Option<Line> {
    let mut fields = line.split(|byte| b" \t\r".contains(byte)).filter(|field| !field.is_empty());
    let spec = fields.next().filter(|field| field[0] != b'#')?;
    let spec = unescape(spec);
    let point = unescape(fields.next()?);
    let kinds = fields.next().map(unescape).unwrap_or_default();
    let options = fields.next().map(unescape).unwrap_or_default();
    if point == b"none" || point == b"swap" {
        return None;
    }
    let mut bind = false;
    let mut path = None;
    let mut id = None;
    for option in options.split(|&byte| byte == b',') {
        let (name, value) = match option.iter().position(|&byte| byte == b'=') {
            Some(equals) => (&option[..equals], &option[equals + 1..]),
            None => (option, &[][..]),
        };
        match name {
            b"bind" | b"rbind" => bind = true,
            b"subvol" if !value.is_empty() => path = Some(Subvolume::Path(value.to_vec())),
            b"subvolid" => {
                id = std::str::from_utf8(value).ok().and_then(|id| id.parse().ok()).map(Subvolume::Id)
            }
            _ => {}
        }
    }
    // `ext3,ext2` tries one after another.
    let kind = kinds.split(|&byte| byte == b',').next().unwrap_or_default();
    let network: [&[u8]; 14] = [
        b"nfs",
        b"nfs4",
        b"cifs",
        b"smb3",
        b"smbfs",
        b"ncpfs",
        b"sshfs",
        b"fuse.sshfs",
        b"glusterfs",
        b"ceph",
        b"9p",
        b"virtiofs",
        b"davfs",
        b"afs",
    ];
    let made_up: [&[u8]; 20] = [
        b"swap",
        b"proc",
        b"sysfs",
        b"tmpfs",
        b"ramfs",
        b"devpts",
        b"devtmpfs",
        b"cgroup",
        b"cgroup2",
        b"debugfs",
        b"tracefs",
        b"securityfs",
        b"configfs",
        b"efivarfs",
        b"hugetlbfs",
        b"mqueue",
        b"usbfs",
        b"usbdevfs",
        b"binfmt_misc",
        b"ignore",
    ];
    let mount = if made_up.contains(&kind) {
        return None;
    } else if bind {
        Mount::Bind
    } else if network.contains(&kind) || spec.starts_with(b"//") || spec.windows(2).any(|two| two == b":/") {
        Mount::Network
    } else if matches!(kind, b"overlay" | b"aufs" | b"zfs" | b"mergerfs" | b"fuse.mergerfs") {
        Mount::Refused(format!("{} is not supported", String::from_utf8_lossy(kind)))
    } else if matches!(&spec[..], b"none" | b"tmpfs" | b"proc" | b"sysfs" | b"/dev/cdrom" | b"/dev/fd0")
        || spec.starts_with(b"/dev/sr")
    {
        return None;
    } else {
        Mount::Device { subvolume: path.or(id) }
    };
    Some(match normal(&point) {
        Some(point) => Line { spec, point, mount },
        None => {
            let reason = "its mount point is no absolute path that can be shown".into();
            Line { spec, point: point[..point.len().min(256)].to_vec(), mount: Mount::Refused(reason) }
        }
    })
}

/// `\040` and its like, three octal digits each.
pub(super) fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while let Some(&byte) = field.get(at) {
        let digits =
            field.get(at + 1..at + 4).filter(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        let value = digits.filter(|_| byte == b'\\').and_then(|digits| {
            u8::try_from(digits.iter().fold(0u32, |sum, d| sum * 8 + u32::from(d - b'0'))).ok()
        });
        match value {
            Some(value) => {
                out.push(value);
                at += 4;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// An absolute path without doubled and trailing slashes; `None` for what is no such path, or beyond the bounds.
pub(super) fn normal(path: &[u8]) -> Option<Vec<u8>> {
    if path.first() != Some(&b'/') || path.len() > MAX_POINT || path.contains(&0) {
        return None;
    }
    let mut out = Vec::new();
    let mut depth = 0;
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        if name == b"." || name == b".." {
            return None;
        }
        depth += 1;
        out.push(b'/');
        out.extend_from_slice(name);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    (depth <= MAX_DEPTH).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Line {
        let lines = parse(text.as_bytes());
        assert_eq!(lines.len(), 1, "{text}");
        lines[0].clone()
    }

    #[test]
    fn fields_are_split_and_unescaped() {
        let line = one("  UUID=ab\t/srv/my\\040files\\134x//y/   ext4  defaults,noatime 0 2 # said by hand");
        assert_eq!(line.spec, b"UUID=ab");
        assert_eq!(line.point, b"/srv/my files\\x/y");
        assert_eq!(line.mount, Mount::Device { subvolume: None });
        assert_eq!(unescape(b"\\04\\400\\"), b"\\04\\400\\");
    }

    #[test]
    fn what_is_in_no_volume_is_left_out() {
        let text = "# /dev/sda1 / ext4\n\n/dev/sda2 none swap sw 0 0\nproc /proc proc defaults 0 0\r\n\
            tmpfs /tmp tmpfs size=1G 0 0\n/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0\n/dev/sda3 swap swap\nshort";
        assert_eq!(parse(text.as_bytes()), []);
    }

    #[test]
    fn subvolumes_binds_and_networks_are_told_apart() {
        let subvolume = |text| match one(text).mount {
            Mount::Device { subvolume } => subvolume,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            subvolume("LABEL=x /home btrfs compress=zstd:1,subvolid=258,subvol=/@home 0 0"),
            Some(Subvolume::Path(b"/@home".to_vec()))
        );
        assert_eq!(subvolume("LABEL=x /home btrfs subvolid=258 0 0"), Some(Subvolume::Id(258)));
        assert_eq!(subvolume("LABEL=x /home btrfs subvol= 0 0"), None);
        assert_eq!(one("/srv/a /var/a none rw,bind 0 0").mount, Mount::Bind);
        assert_eq!(one("host:/export /mnt nfs4 ro 0 0").mount, Mount::Network);
        assert_eq!(one("//host/share /mnt cifs ro 0 0").mount, Mount::Network);
        assert!(matches!(one("overlay /mnt overlay lowerdir=/a 0 0").mount, Mount::Refused(_)));
    }

    #[test]
    fn a_mount_point_can_not_leave_the_tree() {
        for point in
            ["relative", "/a/../../etc", "/./a", &format!("/{}", "a/".repeat(200)), &"/a".repeat(3000)]
        {
            assert!(matches!(one(&format!("/dev/sda1 {point} ext4")).mount, Mount::Refused(_)), "{point}");
        }
        assert_eq!(one("/dev/sda1 // ext4").point, b"/");
        assert_eq!(parse(&b"/dev/sda1 /a ext4\n".repeat(5000)).len(), MAX_ENTRIES);
    }
}
