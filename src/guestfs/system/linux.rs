//! A Linux: what tells its root file system, and where its fstab puts the others.

use super::candidates::{Candidate, Claim, Rank};
use super::devices::{Devices, Found};
use super::files::Files;
use super::fstab::{self, Mount};
use super::{MountPoint, Subvolume, System, crypttab, is_btrfs};
use crate::tree::volumes::Volumes;
use crate::tree::{Follow, Tree};
use crate::{Content, Volume};
use std::sync::Arc;

/// How large an os-release is that is read, in bytes.
const MAX_RELEASE: usize = 64 << 10;

/// What a running system writes to: the newest of their times tells when this one was used last.
const USED: [&str; 10] = [
    "etc",
    "etc/machine-id",
    "etc/resolv.conf",
    "var/lib/systemd/random-seed",
    "var/lib/dhcp",
    "var/log",
    "var/log/lastlog",
    "var/log/wtmp",
    "root",
    "tmp",
];

/// The name and the rank of the Linux whose root `files` are; `None` where there is none.
pub(super) fn judge(
    volumes: &[Volume],
    position: usize,
    subvolume: Option<&Subvolume>,
    default: bool,
    files: Files<'_>,
) -> Option<(Option<String>, Rank)> {
    if !files.is_folder("etc") || !["bin", "sbin", "usr"].iter().any(|name| files.has(name)) {
        return None;
    }
    let fstab = files.read("etc/fstab", fstab::MAX_SIZE).ok();
    let name = name(files);
    if fstab.is_none() && name.is_none() {
        return None;
    }
    let claim =
        fstab.map_or(Claim::Silent, |fstab| claim(volumes, position, subvolume, default, files, &fstab));
    let used = USED.iter().filter_map(|path| files.modified(path)).max().unwrap_or_default();
    Some((name.clone(), Rank { claim, named: name.is_some(), used, size: volumes[position].size }))
}

/// What the fstab says of the root.
fn claim(
    volumes: &[Volume],
    position: usize,
    subvolume: Option<&Subvolume>,
    default: bool,
    files: Files<'_>,
    fstab: &[u8],
) -> Claim {
    let lines = fstab::parse(fstab);
    let Some(root) = lines.iter().rev().find(|line| line.point == b"/") else { return Claim::Silent };
    let Mount::Device { subvolume: wanted } = &root.mount else { return Claim::Silent };
    let mut devices = named(volumes, files);
    devices.root = Some(position);
    match devices.find(&root.spec) {
        Found::Nothing(_) => Claim::Silent,
        Found::Volume(other) if other != position => Claim::Another,
        Found::Volume(_) if !is_btrfs(&volumes[position]) => Claim::Itself,
        Found::Volume(_) => match (wanted, subvolume) {
            (None, _) if default => Claim::Itself,
            (None, _) => Claim::Another,
            (Some(Subvolume::Path(wanted)), Some(Subvolume::Path(own)))
                if trimmed(wanted) == trimmed(own) =>
            {
                Claim::Itself
            }
            (Some(Subvolume::Path(wanted)), Some(Subvolume::Id(5))) if trimmed(wanted).is_empty() => {
                Claim::Itself
            }
            (Some(Subvolume::Id(wanted)), _) if *wanted == files.root.tree => Claim::Itself,
            // The default, whose path nobody knows here.
            (Some(Subvolume::Path(_)), None) => Claim::Silent,
            _ => Claim::Another,
        },
    }
}

fn trimmed(path: &[u8]) -> &[u8] {
    let path = path.strip_prefix(b"/").unwrap_or(path);
    path.strip_suffix(b"/").unwrap_or(path)
}

/// The volumes, with the names that this guest has for them.
fn named<'a>(volumes: &'a [Volume], files: Files<'_>) -> Devices<'a> {
    let read = |path| files.read(path, fstab::MAX_SIZE).unwrap_or_default();
    let mut devices = Devices::new(volumes);
    devices.containers = crypttab::containers(&read("etc/crypttab"));
    devices.arrays = crypttab::arrays(&read("etc/mdadm/mdadm.conf"));
    devices.arrays.extend(crypttab::arrays(&read("etc/mdadm.conf")));
    devices
}

/// What the system calls itself: os-release(5), and what older ones have.
fn name(files: Files<'_>) -> Option<String> {
    for path in ["etc/os-release", "usr/lib/os-release"] {
        if let Ok(text) = files.read(path, MAX_RELEASE) {
            return Some(release_name(&text).unwrap_or_else(|| "Linux".into()));
        }
    }
    for path in ["etc/redhat-release", "etc/SuSE-release", "etc/system-release"] {
        if let Ok(text) = files.read(path, MAX_RELEASE) {
            let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            return Some(shown(line)).filter(|name| !name.is_empty());
        }
    }
    let version = files.read("etc/debian_version", MAX_RELEASE).ok()?;
    Some(format!("Debian {}", shown(version.split(|&byte| byte == b'\n').next().unwrap_or_default())))
}

/// `PRETTY_NAME` of an os-release, or `NAME` and `VERSION`.
fn release_name(text: &[u8]) -> Option<String> {
    let value = |wanted: &[u8]| {
        text.split(|&byte| byte == b'\n').find_map(|line| {
            let line = line.trim_ascii();
            let value = line.strip_prefix(wanted)?.strip_prefix(b"=")?;
            Some(unquoted(value)).filter(|value| !value.is_empty())
        })
    };
    value(b"PRETTY_NAME").or_else(|| {
        let name = value(b"NAME")?;
        Some(value(b"VERSION").map_or_else(|| name.clone(), |version| format!("{name} {version}")))
    })
}

/// A value as a shell would take it: quotes of one kind around it, `\` before single bytes.
fn unquoted(value: &[u8]) -> String {
    let inner = [b'"', b'\''].iter().find_map(|quote| {
        let rest = value.strip_prefix(&[*quote])?;
        Some(&rest[..rest.iter().rposition(|byte| byte == quote)?])
    });
    let mut out = Vec::new();
    let mut bytes = inner.unwrap_or(value).iter();
    while let Some(&byte) = bytes.next() {
        out.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    shown(&out)
}

/// A name for a person: no control characters, at most 200 characters.
fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).trim().chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Puts the root and what its fstab names in their places.
pub(super) fn place(volumes: &Arc<Volumes>, root: &Candidate, system: &mut System) {
    system.mounts.push(MountPoint {
        path: b"/".to_vec(),
        volume: root.root.volume.clone(),
        subvolume: root.root.subvolume.clone(),
        folder: Vec::new(),
        foreign: false,
    });
    let text = match root.files().read("etc/fstab", fstab::MAX_SIZE) {
        Ok(text) => text,
        Err(error) => {
            system.notes.push(format!("/etc/fstab: {error}"));
            return;
        }
    };
    let mut devices = named(volumes.list(), root.files());
    devices.root = Some(root.volume);
    let mut lines = fstab::parse(&text);
    // What is above is mounted before what is below, whatever their order in the file; binds come when all devices are
    // there. Of equals, the first stays the first.
    lines.sort_by_key(|line| {
        (line.mount == Mount::Bind, line.point.iter().filter(|&&byte| byte == b'/').count())
    });
    for line in lines.iter().filter(|line| line.point != b"/") {
        if let Err(reason) = mount(volumes, &devices, line, system) {
            let (point, spec) = (shown(&line.point), shown(&line.spec));
            system.notes.push(format!("{point} ({spec}) is not placed: {reason}"));
        }
    }
    if system.name.is_none() {
        system.name = name_of_usr(volumes, system);
    }
}

/// Puts one line of the fstab in its place.
fn mount(
    volumes: &Arc<Volumes>,
    devices: &Devices<'_>,
    line: &fstab::Line,
    system: &mut System,
) -> Result<(), String> {
    let (volume, subvolume, folder) = match &line.mount {
        Mount::Refused(reason) => return Err(reason.clone()),
        Mount::Network => return Err("it is on the network".into()),
        Mount::Device { subvolume } => match devices.find(&line.spec) {
            Found::Nothing(reason) => return Err(reason),
            Found::Volume(found) => {
                let volume = &volumes.list()[found];
                match &volume.content {
                    Content::FileSystem(_) => {}
                    Content::Swap { .. } => return Err(format!("{} is swap space", volume.id)),
                    other => return Err(format!("{}: {}", volume.id, crate::tree::volumes::refusal(other))),
                }
                let subvolume = subvolume.clone().filter(|_| is_btrfs(volume));
                (volume.id.clone(), subvolume, Vec::new())
            }
        },
        Mount::Bind => {
            let source = fstab::normal(&line.spec).ok_or("its source is no absolute path")?;
            let source = canonical(volumes, system, &source);
            // The longest mount point that the source is at or below; the root is at or above all.
            let mounts = system.mounts.iter().filter_map(|mount| Some((mount, below(&mount.path, &source)?)));
            let (mount, rest) =
                mounts.max_by_key(|(mount, _)| mount.path.len()).ok_or("its source is nowhere")?;
            let mut folder = mount.folder.clone();
            folder.extend_from_slice(rest);
            (mount.volume.clone(), mount.subvolume.clone(), folder)
        }
    };
    let path = canonical(volumes, system, &line.point);
    if path == b"/" || path.starts_with(b"/@volumes/") || path == b"/@volumes" {
        return Err("this is the place of something else".into());
    }
    if let Some(old) = system.mounts.iter().position(|mount| mount.path == path) {
        // The kernel would stack them, and show the later one.
        let old = system.mounts.remove(old);
        system.notes.push(format!("{} at {} is covered by {volume}", old.volume, shown(&path)));
    }
    system.mounts.push(MountPoint { path, volume, subvolume, folder, foreign: false });
    Ok(())
}

/// What of `path` is below `point`: empty, or with a `/` at its beginning.
fn below<'a>(point: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    if point == b"/" {
        return Some(if path == b"/" { b"" } else { path });
    }
    path.strip_prefix(point).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// `path` with the links in it followed, as far as it leads through the root's own volume: others are not opened for
/// this, and folders that are missing have no links.
fn canonical(volumes: &Arc<Volumes>, system: &System, path: &[u8]) -> Vec<u8> {
    let tree = Tree::assemble(Arc::clone(volumes), &system.mounts, false);
    let root = tree.root();
    let mut known = Vec::new();
    let mut names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
    for name in names.by_ref() {
        let next = [&known[..], b"/", name].concat();
        match tree.resolve(&next, Follow::All) {
            Ok(found) => {
                known = if found.path == b"/" { Vec::new() } else { found.path };
                if found.node.fs != root.fs {
                    break;
                }
            }
            Err(_) => {
                known = next;
                break;
            }
        }
    }
    for name in names {
        known.push(b'/');
        known.extend_from_slice(name);
    }
    if known.is_empty() { b"/".to_vec() } else { known }
}

/// The name of a system whose `/usr`, and with it the os-release, is a volume of its own.
fn name_of_usr(volumes: &Arc<Volumes>, system: &System) -> Option<String> {
    let usr = system.mounts.iter().find(|mount| mount.path == b"/usr")?;
    let fs = volumes.open(volumes.position(&usr.volume)?).ok()?;
    let root = crate::tree::view::folder_of(&*fs, usr.subvolume.as_ref(), &usr.folder).ok()?;
    release_name(&Files { fs: &fs, root }.read("lib/os-release", MAX_RELEASE).ok()?)
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn os_releases_are_read_as_a_shell_would() {
        for (text, name) in [
            (
                "NAME=\"x\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
                Some("Debian GNU/Linux 12 (bookworm)"),
            ),
            ("PRETTY_NAME='a \"b\" c'", Some("a \"b\" c")),
            ("PRETTY_NAME=Alpine\\ Linux\r\n", Some("Alpine Linux")),
            ("PRETTY_NAME=\"\"\nNAME=Arch\n", Some("Arch")),
            ("NAME=Fedora\nVERSION='40 (Cloud)'", Some("Fedora 40 (Cloud)")),
            ("PRETTY_NAME=\"a \\\"b\\\" \\$c\"", Some("a \"b\" $c")),
            ("ID=x", None),
        ] {
            assert_eq!(release_name(text.as_bytes()).as_deref(), name, "{text}");
        }
        assert_eq!(shown("\u{1b}[31mred\n".as_bytes()), "[31mred");
        assert_eq!(shown(&[b'x'; 1000]).len(), 200);
    }

    #[test]
    fn a_path_is_below_a_point_or_not() {
        assert_eq!(below(b"/", b"/"), Some(&b""[..]));
        assert_eq!(below(b"/", b"/a"), Some(&b"/a"[..]));
        assert_eq!(below(b"/a", b"/a/b"), Some(&b"/b"[..]));
        assert_eq!(below(b"/a", b"/ab"), None);
    }
}
