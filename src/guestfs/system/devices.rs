//! From a device as a guest's configuration names it to the volume that it is.
//!
//! A name is taken only where it can mean one volume. What identifies its content or place (UUID, label, names of LVM)
//! is sure; `/dev/sda1` counts disks, which is what a guest sees whose disks are on one controller; a name of the
//! hardware (`/dev/disk/by-path/…-part1`) says something only where there is one disk.

use super::crypttab::{Array, Container};
use crate::{Content, Volume, read_exact};
use std::collections::BTreeSet;

/// The volumes, and the names that a guest's configuration has for some of them.
pub(super) struct Devices<'a> {
    volumes: &'a [Volume],
    /// Of its crypttab.
    pub(super) containers: Vec<Container>,
    /// Of its mdadm.conf.
    pub(super) arrays: Vec<Array>,
    /// Where the guest's root is: of several volumes with one name, that beside it is meant.
    pub(super) root: Option<usize>,
}

/// The volume that a name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// This one, by its position.
    Volume(usize),
    /// None: why.
    Nothing(String),
}

impl<'a> Devices<'a> {
    /// Without any names of a guest's own.
    pub(super) fn new(volumes: &'a [Volume]) -> Self {
        Devices { volumes, containers: Vec::new(), arrays: Vec::new(), root: None }
    }

    /// The volume that holds the file system which `spec` names, as fstab(5) has it.
    pub(super) fn find(&self, spec: &[u8]) -> Found {
        self.find_within(spec, 0)
    }

    /// A container's device is named by the same rules, so crypttab lines may refer to each other.
    fn find_within(&self, spec: &[u8], depth: usize) -> Found {
        if let Some(equals) = spec.iter().position(|&byte| byte == b'=')
            && !spec.starts_with(b"/")
        {
            let value = spec[equals + 1..].trim_ascii();
            let value = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value);
            return self.by_tag(&spec[..equals], value);
        }
        let Some(name) = spec.strip_prefix(b"/dev/") else {
            return Found::Nothing("it is no device".into());
        };
        if let Some(by) = name.strip_prefix(b"disk/by-") {
            let Some(slash) = by.iter().position(|&byte| byte == b'/') else {
                return Found::Nothing("it is no device".into());
            };
            let value = unescape(&by[slash + 1..]);
            return match &by[..slash] {
                b"id" => self.by_id(&value, depth),
                b"path" => self.by_hardware(&value),
                tag => self.by_tag(tag, &value),
            };
        }
        if let Some(name) = name.strip_prefix(b"mapper/") {
            return self.mapped(name, depth);
        }
        if name.starts_with(b"md") {
            return self.array(spec);
        }
        if name.starts_with(b"dm-") {
            return Found::Nothing("its number is another one after each start".into());
        }
        if let Some((group, volume)) = text(name).split_once('/') {
            let named = |v: &Volume| v.logical.as_ref().is_some_and(|(g, l)| g == group && l == volume);
            return self.one(named, "no logical volume has this name");
        }
        match disk_name(&text(name)) {
            Some((disk, number)) => self.partition(disk, number),
            None => Found::Nothing("no volume is known under this name".into()),
        }
    }

    fn by_tag(&self, tag: &[u8], value: &[u8]) -> Found {
        let value = text(value);
        match &tag.to_ascii_lowercase()[..] {
            b"uuid" => {
                let has = |v: &Volume| {
                    matches!(&v.content, Content::FileSystem(recognised)
                        if recognised.uuid.as_ref().is_some_and(|uuid| uuid.eq_ignore_ascii_case(&value)))
                };
                match self.one(has, "no volume of this point has this UUID") {
                    Found::Nothing(reason) => {
                        self.container_of(&value).map_or(Found::Nothing(reason), |below| {
                            Found::Nothing(format!(
                                "this is the UUID of the container {}",
                                self.volumes[below].id
                            ))
                        })
                    }
                    found => found,
                }
            }
            b"label" => {
                let has = |v: &Volume| matches!(&v.content, Content::FileSystem(recognised) if recognised.label.as_ref() == Some(&value));
                self.one(has, "no volume of this point has this label")
            }
            b"partuuid" => {
                let has = |v: &Volume| {
                    let uuid = v.partition.as_ref().and_then(|partition| partition.uuid.as_ref());
                    uuid.is_some_and(|uuid| uuid.eq_ignore_ascii_case(&value))
                };
                self.one(has, "no partition of this point has this UUID")
            }
            b"partlabel" => {
                let has = |v: &Volume| v.partition.as_ref().and_then(|p| p.name.as_ref()) == Some(&value);
                self.one(has, "no partition of this point has this name")
            }
            _ => Found::Nothing("it is no name that is known".into()),
        }
    }

    /// The one volume for which `has` holds; of several, the one that belongs to what the root is on.
    fn one(&self, has: impl Fn(&Volume) -> bool, none: &str) -> Found {
        let all: Vec<usize> = (0..self.volumes.len()).filter(|&at| has(&self.volumes[at])).collect();
        match all[..] {
            [] => Found::Nothing(none.into()),
            [only] => Found::Volume(only),
            _ => {
                let root = self.root.map(|root| &self.volumes[root]);
                let near: Vec<usize> = all
                    .iter()
                    .copied()
                    .filter(|&at| root.is_some_and(|root| kin(root, &self.volumes[at])))
                    .collect();
                match near[..] {
                    [only] => Found::Volume(only),
                    _ => {
                        let ids: Vec<&str> = all.iter().take(4).map(|&at| &self.volumes[at].id[..]).collect();
                        Found::Nothing(format!("{} volumes have this name: {}", all.len(), ids.join(", ")))
                    }
                }
            }
        }
    }

    fn by_id(&self, name: &[u8], depth: usize) -> Found {
        if let Some(mapped) = name.strip_prefix(b"dm-name-") {
            return self.mapped(mapped, depth);
        }
        if let Some(uuid) = name.strip_prefix(b"md-uuid-") {
            let digits: String =
                uuid.iter().filter(|byte| byte.is_ascii_hexdigit()).map(|&byte| char::from(byte)).collect();
            let short = digits.get(..8).unwrap_or_default().to_ascii_lowercase();
            return self.one(|v| array_id(v) == Some(&short), "no array of this point has this UUID");
        }
        if let Some(luks) = name.strip_prefix(b"dm-uuid-CRYPT-LUKS") {
            // `1-0123456789abcdef0123456789abcdef-name`
            let digits = text(luks.split(|&byte| byte == b'-').nth(1).unwrap_or_default());
            let below = (0..self.volumes.len()).find(|&at| {
                container_uuid(&self.volumes[at])
                    .is_some_and(|uuid| uuid.replace('-', "").eq_ignore_ascii_case(&digits))
            });
            return match below {
                Some(below) => self.inside(below),
                None => Found::Nothing("no container of this point has this UUID".into()),
            };
        }
        self.by_hardware(name)
    }

    /// A name that says where a disk is plugged in, or who made it: `…-part2`.
    fn by_hardware(&self, name: &[u8]) -> Found {
        let disks: BTreeSet<u32> = self.volumes.iter().filter_map(disk_of).collect();
        let name = text(name);
        let number = name.rsplit_once("-part").map(|(_, number)| number.parse::<u32>());
        match (disks.len(), number) {
            (1, None) => self.partition(disks.first().copied().unwrap_or(0), None),
            (1, Some(Ok(number))) => self.partition(disks.first().copied().unwrap_or(0), Some(number)),
            _ => Found::Nothing("the hardware's names are not known, and there are several disks".into()),
        }
    }

    fn partition(&self, disk: u32, number: Option<u32>) -> Found {
        let is = |v: &Volume| match (&v.partition, number) {
            (Some(partition), Some(number)) => partition.disk == disk && partition.number == number,
            (None, None) => v.id == format!("disk{disk}"),
            _ => false,
        };
        self.one(is, "no disk of this point has it, where disks are counted from /dev/sda on")
    }

    /// `/dev/mapper/NAME`: a container's name, or group and volume with a dash between them.
    fn mapped(&self, name: &[u8], depth: usize) -> Found {
        if let Some(container) = self.containers.iter().find(|container| container.name == name) {
            return match self.container(&container.spec, depth) {
                Found::Volume(below) => self.inside(below),
                nothing => nothing,
            };
        }
        let name = text(name);
        let mapped =
            |v: &Volume| v.logical.as_ref().is_some_and(|(group, volume)| mapper(group, volume) == name);
        match self.one(mapped, "no logical volume and no line of the crypttab has this name") {
            Found::Nothing(reason) => {
                let below = name.strip_prefix("luks-").and_then(|uuid| self.container_of(uuid));
                below.map_or(Found::Nothing(reason), |below| self.inside(below))
            }
            found => found,
        }
    }

    /// The volume that holds the container which a line of a crypttab names.
    fn container(&self, spec: &[u8], depth: usize) -> Found {
        if depth > 8 {
            return Found::Nothing("the crypttab refers to itself".into());
        }
        let lower = spec.to_ascii_lowercase();
        let uuid =
            [&b"uuid="[..], b"/dev/disk/by-uuid/"].iter().find_map(|prefix| lower.strip_prefix(*prefix));
        match uuid {
            Some(uuid) => {
                let uuid = text(uuid);
                self.container_of(uuid.trim_matches('"')).map_or_else(
                    || Found::Nothing("no container of this point has this UUID".into()),
                    Found::Volume,
                )
            }
            None => self.find_within(spec, depth + 1),
        }
    }

    /// The volume that holds the container with this UUID.
    fn container_of(&self, uuid: &str) -> Option<usize> {
        self.volumes.iter().position(|v| container_uuid(v).is_some_and(|own| own.eq_ignore_ascii_case(uuid)))
    }

    /// What is inside of the container on the volume `below`.
    fn inside(&self, below: usize) -> Found {
        let below = &self.volumes[below];
        let id = format!("{}/luks", below.id);
        match self.volumes.iter().position(|volume| volume.id == id) {
            Some(inside) => Found::Volume(inside),
            None => Found::Nothing(match &below.content {
                Content::Locked { kind, reason, .. } => {
                    format!("it is in {}, which is {kind}: {reason}", below.id)
                }
                _ => format!("{} is no open container", below.id),
            }),
        }
    }

    /// `/dev/md0`: as the mdadm.conf has it, or the only array there is.
    fn array(&self, device: &[u8]) -> Found {
        let same = |array: &&Array| array.device == device || mdadm_name(&array.device) == mdadm_name(device);
        match self.arrays.iter().find(same) {
            Some(array) => {
                self.one(|v| array_id(v) == Some(&array.uuid), "the array of this name is not in this point")
            }
            None => match self.one(|v| array_id(v).is_some(), "there is no array") {
                Found::Nothing(reason) if reason.contains("volumes have") => Found::Nothing(
                    "there are several arrays, and the mdadm.conf does not name this one".into(),
                ),
                found => found,
            },
        }
    }
}

/// Whether two volumes come from the same group or disk.
fn kin(a: &Volume, b: &Volume) -> bool {
    match (&a.logical, &b.logical) {
        (Some(_), Some(_)) => a.id.rsplit_once('/').map(|id| id.0) == b.id.rsplit_once('/').map(|id| id.0),
        _ => disk_of(a).is_some() && disk_of(a) == disk_of(b),
    }
}

/// The disk that a volume is on, where it is one.
fn disk_of(volume: &Volume) -> Option<u32> {
    let named = || volume.id.strip_prefix("disk")?.split('/').next()?.parse().ok();
    volume.partition.as_ref().map(|partition| partition.disk).or_else(named)
}

/// The first eight digits of the UUID of the array that a volume is.
fn array_id(volume: &Volume) -> Option<&str> {
    let name = volume.id.strip_prefix("md/")?;
    if name.contains('/') { None } else { name.get(..8) }
}

/// `md0` for `/dev/md0` and `/dev/md/0`.
fn mdadm_name(device: &[u8]) -> Vec<u8> {
    let name = device.strip_prefix(b"/dev/").unwrap_or(device);
    match name.strip_prefix(b"md/") {
        Some(number) if number.iter().all(u8::is_ascii_digit) => [b"md", number].concat(),
        _ => name.to_vec(),
    }
}

/// The UUID of the LUKS container that a volume holds, opened or not. Both versions have it at byte 168 of their header
/// (LUKS1 and LUKS2 On-Disk Format Specification).
fn container_uuid(volume: &Volume) -> Option<String> {
    match &volume.content {
        Content::Locked { uuid, .. } => uuid.clone(),
        Content::Member(_) => {
            let mut header = [0; 208];
            read_exact(&**volume.devices.first()?, &mut header, 0).ok()?;
            if !header.starts_with(b"LUKS\xba\xbe") {
                return None;
            }
            Some(text(header[168..].split(|&byte| byte == 0).next()?))
        }
        _ => None,
    }
}

/// The name of a logical volume for the device mapper: dashes in both names are doubled.
fn mapper(group: &str, volume: &str) -> String {
    format!("{}-{}", group.replace('-', "--"), volume.replace('-', "--"))
}

/// `sda1`, `vdb`, `nvme0n1p2`, `mmcblk0p1`: which disk, and which partition of it.
fn disk_name(name: &str) -> Option<(u32, Option<u32>)> {
    let number =
        |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    for prefix in ["sd", "vd", "xvd", "hd"] {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        let letters = rest.bytes().take_while(u8::is_ascii_lowercase).count();
        let (letters, rest) = rest.split_at(letters);
        if letters.is_empty() || letters.len() > 3 {
            return None;
        }
        // `a` to `z`, `aa`, `ab`…
        let disk = letters.bytes().fold(0u32, |disk, letter| disk * 26 + u32::from(letter - b'a') + 1) - 1;
        return Some((disk, if rest.is_empty() { None } else { Some(number(rest)?) }));
    }
    let split = |rest: &str| -> Option<(u32, Option<u32>)> {
        match rest.split_once('p') {
            Some((disk, partition)) => Some((number(disk)?, Some(number(partition)?))),
            None => Some((number(rest)?, None)),
        }
    };
    if let Some(rest) = name.strip_prefix("nvme") {
        let (controller, rest) = rest.split_once('n')?;
        let (controller, (space, partition)) = (number(controller)?, split(rest)?);
        // Several name spaces of one controller, or one of each of several: both ways of counting must agree.
        let disk = match (controller, space) {
            (controller, 1) => controller,
            (0, space) => space.checked_sub(1)?,
            _ => return None,
        };
        return Some((disk, partition));
    }
    split(name.strip_prefix("mmcblk")?)
}

/// `\x20` as udev writes what is not plain in a name.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut at = 0;
    while let Some(&byte) = name.get(at) {
        let digits =
            name.get(at..at + 4).filter(|four| four.starts_with(b"\\x")).map(|four| text(&four[2..]));
        match digits.and_then(|digits| u8::from_str_radix(&digits, 16).ok()) {
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

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::volume;
    use crate::{MemoryDevice, Partition};
    use std::sync::Arc;

    fn partition(disk: u32, number: u32, uuid: &str, label: &str) -> Volume {
        let mut volume = volume(&format!("disk{disk}/part{number}"), "ext4", Some(label), Some(uuid));
        volume.partition = Some(Partition {
            disk,
            number,
            offset: u64::from(number) << 20,
            kind: "0x83".into(),
            name: Some(format!("name {disk}-{number}")),
            uuid: Some(format!("11223344-{disk}{number}")),
        });
        volume
    }

    fn logical(id: &str, group: &str, name: &str) -> Volume {
        let mut volume = volume(id, "xfs", None, Some("aa"));
        volume.logical = Some((group.into(), name.into()));
        volume
    }

    fn luks(uuid: &str) -> Vec<crate::Device> {
        let mut header = vec![0; 512];
        header[..6].copy_from_slice(b"LUKS\xba\xbe");
        header[168..168 + uuid.len()].copy_from_slice(uuid.as_bytes());
        vec![Arc::new(MemoryDevice(header))]
    }

    fn volumes() -> Vec<Volume> {
        let mut open = volume("disk1/part2", "ext4", None, None);
        open.content = Content::Member("an opened LUKS2 container".into());
        open.devices = luks("0000-OPEN");
        let mut locked = volume("disk1/part3", "ext4", None, None);
        locked.content = Content::Locked {
            kind: "LUKS2",
            uuid: Some("0000-shut".into()),
            reason: "no key was given".into(),
        };
        vec![
            partition(0, 1, "ABCD-0001", "boot"),
            partition(0, 2, "abcd-0002", "a b"),
            partition(1, 1, "abcd-0002", "twice"),
            open,
            volume("disk1/part2/luks", "ext4", Some("inside"), Some("abcd-0005")),
            locked,
            logical("lvm/my-vg/the-lv", "my-vg", "the-lv"),
            logical("lvm/twin@11111111/lv", "twin", "lv"),
            logical("lvm/twin@22222222/lv", "twin", "lv"),
            logical("lvm/twin@22222222/root", "twin", "root"),
            volume("md/01234567", "ext4", None, Some("abcd-0009")),
        ]
    }

    #[test]
    fn names_lead_to_volumes() {
        let volumes = volumes();
        let mut devices = Devices::new(&volumes);
        devices.containers = super::super::crypttab::containers(
            b"data UUID=0000-open none luks\nshut UUID=0000-shut\nvdb2_crypt /dev/vdb2\nloop /dev/mapper/loop\nlost UUID=1",
        );
        let found = |spec: &str| match devices.find(spec.as_bytes()) {
            Found::Volume(at) => volumes[at].id.clone(),
            Found::Nothing(reason) => reason,
        };
        for (spec, expected) in [
            ("UUID=abcd-0001", "disk0/part1"),
            ("UUID=\"ABCD-0001\"", "disk0/part1"),
            ("uuid=abcd-0001", "disk0/part1"),
            ("LABEL=a b", "disk0/part2"),
            ("LABEL=A B", "no volume of this point has this label"),
            ("PARTUUID=11223344-02", "disk0/part2"),
            ("PARTLABEL=name 1-1", "disk1/part1"),
            ("/dev/disk/by-label/a\\x20b", "disk0/part2"),
            ("/dev/disk/by-uuid/ABCD-0001", "disk0/part1"),
            ("/dev/disk/by-partuuid/11223344-11", "disk1/part1"),
            ("/dev/disk/by-partlabel/name\\x201-1", "disk1/part1"),
            ("/dev/sda1", "disk0/part1"),
            ("/dev/vdb1", "disk1/part1"),
            ("/dev/nvme0n1p2", "disk0/part2"),
            ("/dev/nvme1n1p1", "disk1/part1"),
            ("/dev/nvme0n2p1", "disk1/part1"),
            ("/dev/mmcblk0p1", "disk0/part1"),
            ("/dev/sdc1", "no disk of this point has it, where disks are counted from /dev/sda on"),
            ("/dev/my-vg/the-lv", "lvm/my-vg/the-lv"),
            ("/dev/mapper/my--vg-the--lv", "lvm/my-vg/the-lv"),
            ("/dev/disk/by-id/dm-name-my--vg-the--lv", "lvm/my-vg/the-lv"),
            ("/dev/mapper/my-vg-the-lv", "no logical volume and no line of the crypttab has this name"),
            ("/dev/mapper/data", "disk1/part2/luks"),
            ("/dev/mapper/luks-0000-open", "disk1/part2/luks"),
            ("/dev/disk/by-id/dm-uuid-CRYPT-LUKS2-0000open-data", "disk1/part2/luks"),
            ("/dev/mapper/shut", "it is in disk1/part3, which is LUKS2: no key was given"),
            ("/dev/mapper/lost", "no container of this point has this UUID"),
            ("/dev/mapper/loop", "the crypttab refers to itself"),
            ("UUID=0000-shut", "this is the UUID of the container disk1/part3"),
            ("/dev/md127", "md/01234567"),
            ("/dev/disk/by-id/md-uuid-01234567:89", "md/01234567"),
            ("/dev/dm-3", "its number is another one after each start"),
            (
                "/dev/disk/by-path/pci-0-part1",
                "the hardware's names are not known, and there are several disks",
            ),
            ("UUID=abcd-0002", "2 volumes have this name: disk0/part2, disk1/part1"),
            ("/dev/root", "no volume is known under this name"),
            ("/srv/data", "it is no device"),
        ] {
            assert_eq!(found(spec), expected, "{spec}");
        }
    }

    #[test]
    fn of_two_volumes_with_one_name_the_one_beside_the_root_is_meant() {
        let volumes = volumes();
        let mut devices = Devices::new(&volumes);
        devices.root = Some(0);
        assert_eq!(devices.find(b"UUID=abcd-0002"), Found::Volume(1));
        assert!(matches!(devices.find(b"/dev/twin/lv"), Found::Nothing(_)));
        devices.root = Some(9);
        assert_eq!(devices.find(b"/dev/mapper/twin-lv"), Found::Volume(8));
        assert!(matches!(devices.find(b"UUID=abcd-0002"), Found::Nothing(_)));
    }

    #[test]
    fn several_arrays_need_an_mdadm_conf() {
        let volumes =
            vec![volume("md/01234567", "ext4", None, None), volume("md/89abcdef", "ext4", None, None)];
        let mut devices = Devices::new(&volumes);
        assert!(matches!(devices.find(b"/dev/md0"), Found::Nothing(_)));
        devices.arrays = super::super::crypttab::arrays(b"ARRAY /dev/md/0 UUID=89abcdef:0:0:0");
        assert_eq!(devices.find(b"/dev/md0"), Found::Volume(1));
        assert_eq!(devices.find(b"/dev/md/0"), Found::Volume(1));
    }

    #[test]
    fn one_disk_needs_no_name_of_its_hardware() {
        let volumes = vec![partition(3, 1, "1", "x"), partition(3, 2, "2", "y")];
        let devices = Devices::new(&volumes);
        assert_eq!(devices.find(b"/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part2"), Found::Volume(1));
        assert_eq!(devices.find(b"/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001-part1"), Found::Volume(0));
        assert_eq!(devices.find(b"/dev/sdd2"), Found::Volume(1));
        assert_eq!(disk_name("sdaa3"), Some((26, Some(3))));
        assert_eq!(disk_name("sdzzzz"), None);
        assert_eq!(disk_name("nvme1n2"), None);
        assert_eq!(disk_name("sda-1"), None);
    }
}
