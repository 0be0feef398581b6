//! A Windows on file systems in memory.

use super::{found, root, shown};
use crate::system::SystemKind;
use crate::system::registry::tests::{Lists, Made};
use crate::tree::memory::{Memory, volume, volumes};
use crate::tree::{Follow, Tree};
use crate::{Content, Error, Partition, Result, Volume};

fn part(number: u32, kind: &str, uuid: &str, fs: &'static str) -> Volume {
    let mut volume = volume(&format!("disk0/part{number}"), fs, None, None);
    volume.partition = Some(Partition {
        disk: 0,
        number,
        offset: u64::from(number) << 20,
        kind: kind.into(),
        name: None,
        uuid: Some(uuid.into()),
    });
    volume
}

const DATA: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";
const EFI: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

fn gpt(first: u8) -> Vec<u8> {
    [&b"DMIO:ID:"[..], &[first; 16]].concat()
}

fn gpt_uuid(first: u8) -> String {
    let h = format!("{first:02x}");
    format!("{}-{}-{}-{}-{}", h.repeat(4), h.repeat(2), h.repeat(2), h.repeat(2), h.repeat(6))
}

fn windows(devices: Made) -> Memory {
    let mut fs = Memory::new("ntfs");
    fs.ignores_case = true;
    fs.file("/Windows/System32/config/SYSTEM", &Made::new("ROOT").key(devices).hive(Lists::Lh));
    let version =
        Made::new("CurrentVersion").text("ProductName", "Windows 10 Pro").text("CurrentBuildNumber", "22631");
    let software = Made::new("ROOT")
        .key(Made::new("Microsoft").key(Made::new("Windows NT").key(version)))
        .hive(Lists::Ri);
    fs.file("/Windows/System32/config/SOFTWARE", &software);
    fs.dir("/Program Files");
    fs.file("/Users/me/file", b"");
    fs.symlink("/Documents and Settings", "/C/Users");
    fs
}

fn gpt_disk(system: Memory) -> Vec<(Volume, Result<Memory>)> {
    let mut bitlocker = part(5, DATA, &gpt_uuid(5), "ntfs");
    bitlocker.content = Content::Locked { kind: "BitLocker", uuid: None, reason: "it is not opened".into() };
    let mut data = Memory::new("ntfs");
    data.symlink("/away", "/c/users/ME");
    data.symlink("/mounted", "/Volume{0a0b}");
    let mut folder = Memory::new("ntfs");
    folder.file("/inside", b"");
    vec![
        (part(1, EFI, &gpt_uuid(1), "vfat"), Ok(Memory::new("vfat"))),
        (part(2, DATA, &gpt_uuid(2), "ntfs"), Ok(system)),
        (part(3, DATA, &gpt_uuid(3), "ntfs"), Ok(data)),
        (part(4, DATA, &gpt_uuid(4), "ntfs"), Ok(folder)),
        (bitlocker, Err(Error::NotFound)),
    ]
}

fn devices() -> Made {
    Made::new("MountedDevices")
        .value(r"\DosDevices\C:", 3, &gpt(2))
        .value(r"\DosDevices\E:", 3, &gpt(3))
        .value(r"\DosDevices\F:", 3, &gpt(5))
        .value(r"\DosDevices\G:", 3, &gpt(9))
        .value(r"\DosDevices\D:", 3, b"\\\0?\0?\0\\\0I\0D\0E\0#\0C\0d\0")
        .value(r"\DosDevices\CC:", 3, &gpt(4))
        .value(r"\??\Volume{0a0b}", 3, &gpt(4))
}

#[test]
fn volumes_stand_at_their_letters() {
    let system = found(gpt_disk(windows(devices())));
    assert_eq!(root(&system), "disk0/part2");
    assert_eq!((system.kind, system.name.as_deref()), (SystemKind::Windows, Some("Windows 11 Pro")));
    assert_eq!(
        shown(&system.mounts),
        [
            "/C disk0/part2",
            "/E disk0/part3",
            "/@volumes/disk0/part1 disk0/part1",
            "/@volumes/disk0/part4 disk0/part4",
        ]
    );
    assert_eq!(system.notes.len(), 2, "{:?}", system.notes);
    assert!(system.notes[1].starts_with("F: is disk0/part5: BitLocker"), "{:?}", system.notes);
    let tree = Tree::from_volumes(volumes(gpt_disk(windows(devices()))).0);
    for (path, expected) in [
        ("/c/USERS/me", "/C/USERS/me"),
        ("/C/Documents and Settings/me/file", "/C/Users/me/file"),
        ("/E/away", "/C/users/ME"),
        ("/E/mounted/inside", "/Volume{0a0b}/inside"),
        ("/C/../e", "/E"),
        ("/@VOLUMES/disk0/part4/inside", "/@volumes/disk0/part4/inside"),
        ("/D", "/D: no such file or folder"),
    ] {
        let found = tree.resolve(path.as_bytes(), Follow::All);
        let found =
            found.map_or_else(|error| error.to_string(), |found| String::from_utf8(found.path).unwrap());
        assert_eq!(found, expected, "{path}");
    }
}

#[test]
fn an_mbr_is_known_by_its_signature_and_the_first_byte() {
    let mbr = |signature: u32, offset: u64| [&signature.to_le_bytes()[..], &offset.to_le_bytes()].concat();
    let devices = Made::new("MountedDevices")
        .value(r"\DosDevices\C:", 3, &mbr(0x00ab_cdef, 2 << 20))
        .value(r"\DosDevices\D:", 3, &mbr(0x00ab_cdef, 5 << 20))
        .value(r"\DosDevices\X:", 3, &mbr(0x00ab_cdee, 1 << 20));
    let system = found(vec![
        (part(1, "0x07", "00abcdef-01", "ntfs"), Ok(Memory::new("ntfs"))),
        (part(2, "0x07", "00abcdef-02", "ntfs"), Ok(windows(devices))),
        (part(5, "0x07", "00abcdef-05", "exfat"), Ok(Memory::new("exfat"))),
    ]);
    assert_eq!(
        shown(&system.mounts),
        ["/C disk0/part2", "/D disk0/part5", "/@volumes/disk0/part1 disk0/part1"]
    );
    assert_eq!(system.notes, [] as [&str; 0]);
}

#[test]
fn without_a_registry_letters_are_guessed_and_said_to_be() {
    let mut fs = Memory::new("ntfs");
    fs.dir("/Windows/System32");
    fs.dir("/Program Files");
    let system = found(gpt_disk(fs));
    assert_eq!((system.kind, system.name), (SystemKind::Windows, None));
    assert_eq!(
        shown(&system.mounts),
        ["/C disk0/part2", "/D disk0/part3", "/E disk0/part4", "/@volumes/disk0/part1 disk0/part1",]
    );
    assert!(system.notes[1].contains("drive letters are guessed"), "{:?}", system.notes);
    // A registry of another disk: its own volume is C all the same.
    let strange = Made::new("MountedDevices").value(r"\DosDevices\C:", 3, &gpt(77));
    let system = found(gpt_disk(windows(strange)));
    assert_eq!(shown(&system.mounts)[0], "/C disk0/part2");
    assert!(system.notes[1].contains("no letter for disk0/part2"), "{:?}", system.notes);
    assert_eq!(system.mounts.len(), 4);
}

#[test]
fn beside_a_linux_the_one_used_last_is_taken() {
    let both = |used| {
        let mut all = gpt_disk(windows(devices()));
        let linux = super::linux("ext4", "UUID=l / ext4\n", "Linux", used);
        all.push((super::ext4("disk1", "l"), Ok(linux)));
        all
    };
    let mut all = both(100);
    assert_eq!(found(both(100)).kind, SystemKind::Linux);
    if let Ok(fs) = &mut all[1].1 {
        let hive = fs.node("/Windows/System32/config/SYSTEM");
        fs.modified.insert(hive, 200);
    }
    let system = found(all);
    assert_eq!((system.kind, system.others[0].kind), (SystemKind::Windows, SystemKind::Linux));
    assert_eq!(shown(&system.mounts)[2], "/@volumes/disk0/part1 disk0/part1");
}
