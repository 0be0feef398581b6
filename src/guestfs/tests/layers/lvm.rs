//! Groups that LVM's own programs made, on loop devices and in the machine of `fixtures.sh`.

use super::*;
use crate::fixture::{can_mount, sh};
use std::path::PathBuf;

/// Image files behind loop devices, with LVM told to see only them.
pub struct Loops {
    folder: tempfile::TempDir,
    devices: Vec<String>,
}

impl Loops {
    /// Images of these sizes in MiB; None where this machine can't.
    pub fn new(sizes: &[u64]) -> Option<Self> {
        if !can_mount(&["pvcreate"]) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut loops = Loops { folder, devices: Vec::new() };
        for (index, size) in sizes.iter().enumerate() {
            let path = loops.image(index);
            File::create(&path).unwrap().set_len(size << 20).unwrap();
            let device = sh(&format!("losetup -f --show '{}'", path.display()));
            loops.devices.push(device.trim().to_owned());
        }
        Some(loops)
    }

    pub fn image(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("disk{index}"))
    }

    /// Runs LVM commands, one a line; `$0`, `$1`… are the devices.
    pub fn lvm(&self, commands: &str) -> String {
        let filter: Vec<String> = self.devices.iter().map(|device| format!("\"a|^{device}$|\"")).collect();
        let config = format!(
            "devices{{use_devicesfile=0 filter=[{},\"r|.*|\"]}} activation{{udev_sync=0 udev_rules=0 monitoring=0}} \
             backup{{backup=0 archive=0}} global{{event_activation=0}}",
            filter.join(",")
        );
        let mut script = format!("export LVM_SUPPRESS_FD_WARNINGS=1\nconfig='{config}'\n");
        for line in commands.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut line = line.to_owned();
            for (index, device) in self.devices.iter().enumerate() {
                line = line.replace(&format!("${index}"), device);
            }
            let (command, rest) = line.split_once(' ').unwrap();
            let quiet = if matches!(command, "lvs" | "pvs") { "" } else { ">/dev/null" };
            let said = self.folder.path().join("said");
            script += &format!(
                "{command} --driverloaded n --config \"$config\" {rest} 2>'{0}' {quiet} || {{ cat '{0}' >&2; exit 1; }}\n",
                said.display()
            );
        }
        sh(&script)
    }

    /// Writes the pattern into a logical volume, and tells its size.
    fn fill(&self, group: &str, volume: &str, name: &str) -> u64 {
        self.write(group, volume, |number| part(name, number))
    }

    /// Writes what `bytes` gives for each 4096 bytes into a logical volume, by the extents that LVM tells.
    pub fn write(&self, group: &str, volume: &str, bytes: impl Fn(u64) -> Vec<u8>) -> u64 {
        let told = self.lvm(&format!(
            "lvs --noheadings --segments --units b --nosuffix --separator ';' -o seg_start,seg_size,stripesize,seg_pe_ranges,vg_extent_size {group}/{volume}"
        ));
        let starts = self.starts();
        let mut size = 0;
        for line in told.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let fields: Vec<&str> = line.split(';').collect();
            let [start, length, stripe, ranges, extent] = fields[..] else { panic!("{line}") };
            let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
            let (start, length, stripe, extent) =
                (number(start), number(length), number(stripe), number(extent));
            let legs: Vec<(usize, u64)> = ranges
                .split(' ')
                .map(|range| {
                    let (device, extents) = range.rsplit_once(':').unwrap();
                    let disk = self.devices.iter().position(|known| known == device).unwrap();
                    (disk, starts[disk] + number(extents.split('-').next().unwrap()) * extent)
                })
                .collect();
            let stripe = if legs.len() == 1 { length } else { stripe };
            for offset in (0..length).step_by(4096) {
                let (chunk, inside) = (offset / stripe, offset % stripe);
                let (disk, base) = legs[(chunk % legs.len() as u64) as usize];
                let file = File::options().write(true).open(self.image(disk)).unwrap();
                let at = base + chunk / legs.len() as u64 * stripe + inside;
                file.write_all_at(&bytes((start + offset) / 4096), at).unwrap();
            }
            size += length;
        }
        size
    }

    /// Where the first extent of each disk begins.
    fn starts(&self) -> Vec<u64> {
        (0..self.devices.len())
            .map(|index| {
                let told = self.lvm(&format!("pvs --noheadings --units b --nosuffix -o pe_start ${index}"));
                told.trim().parse().unwrap()
            })
            .collect()
    }

    pub fn disks(&self) -> Vec<Device> {
        (0..self.devices.len()).map(|index| file(&self.image(index))).collect()
    }
}

impl Drop for Loops {
    fn drop(&mut self) {
        for device in &self.devices {
            let _ = std::process::Command::new("losetup").args(["-d", device]).status();
        }
    }
}

const MIB: u64 = 1 << 20;

#[test]
fn linear_and_striped_volumes_over_two_disks() {
    let Some(loops) = Loops::new(&[32, 24]) else { return };
    loops.lvm(
        "pvcreate $0
         pvcreate --dataalignment 192k --metadatacopies 0 $1
         vgcreate -s 64k guest $0 $1
         lvcreate -an -Zn -Wn -y -n first-1.x+ -L 3M guest $0
         lvcreate -an -Zn -Wn -y -n across -L 2M guest $1
         lvextend -L +2M guest/across $0
         lvextend -L +1M guest/across $1
         lvcreate -an -Zn -Wn -y -n striped -i2 -I16k -L 4M guest
         lvextend -L +2M guest/striped",
    );
    let mut sizes = Vec::new();
    for name in ["first-1.x+", "across", "striped"] {
        sizes.push(loops.fill("guest", name, name));
    }
    assert_eq!(sizes, [3 * MIB, 5 * MIB, 6 * MIB]);
    for mut disks in [loops.disks(), loops.disks()] {
        disks.rotate_left(1);
        let found = discover(disks);
        for (name, size) in ["first-1.x+", "across", "striped"].iter().zip(&sizes) {
            assert_pattern(&found, &format!("lvm/guest/{name}"), name, *size);
        }
        let volume = found.volume("lvm/guest/across").unwrap();
        assert_eq!(volume.logical, Some(("guest".into(), "across".into())));
        assert_eq!(content(&found, "disk0"), "member: a physical volume of the LVM group guest");
        assert_eq!(found.volumes.len(), 5);
    }
    // Without the second disk, what lies on the first one alone is there, and the rest says what is missing.
    let found = discover(loops.disks()[..1].to_vec());
    assert_pattern(&found, "lvm/guest/first-1.x+", "first-1.x+", 3 * MIB);
    for name in ["across", "striped"] {
        let content = content(&found, &format!("lvm/guest/{name}"));
        assert!(
            content.starts_with("refused: an LVM volume on the missing physical volume pv1 ("),
            "{content}"
        );
    }
    // The disk that has no metadata says nothing by itself.
    let found = discover(loops.disks()[1..].to_vec());
    assert_eq!(listed(&found), ["disk0: member: a physical volume of LVM"]);
}

#[test]
fn metadata_that_goes_round_its_circle_many_times_and_the_newest_of_two_disks() {
    let Some(loops) = Loops::new(&[16, 16]) else { return };
    loops.lvm(
        "pvcreate --metadatasize 64k $0
         pvcreate --metadatasize 64k $1
         vgcreate -s 64k turning $0 $1
         lvcreate -an -Zn -Wn -y -n kept -L 1M turning",
    );
    // Fifty changes of more than a kilobyte each go round 60 KiB.
    let change = |from: u32, to: u32| {
        for number in from..to {
            loops.lvm(&format!("lvchange --addtag change{number}-{} turning/kept", "x".repeat(100)));
            let found = discover(loops.disks());
            assert_eq!(found.volume("lvm/turning/kept").unwrap().size, MIB, "{number}: {:?}", listed(&found));
        }
    };
    change(0, 45);
    let old = std::fs::read(loops.image(1)).unwrap();
    loops.lvm("lvextend -L +1M turning/kept");
    assert_eq!(loops.fill("turning", "kept", "kept"), 2 * MIB);
    for disks in [[0, 1], [1, 0]] {
        // One disk with the metadata of before: that of the other one is newer.
        let disks = disks.map(|index| if index == 1 { memory(old.clone()) } else { file(&loops.image(0)) });
        assert_eq!(discover(disks.to_vec()).volume("lvm/turning/kept").unwrap().size, 2 * MIB);
    }
}

#[test]
fn groups_of_one_name_are_told_apart_and_copied_disks_are_not_mixed() {
    let Some(loops) = Loops::new(&[8, 8]) else { return };
    for index in 0..2 {
        loops.lvm(&format!("pvcreate ${index}"));
    }
    loops.lvm("vgcreate -s 64k same $0\nlvcreate -an -Zn -Wn -y -n root -L 1M same");
    loops.fill("same", "root", "one");
    loops.lvm("vgrename same other\nvgcreate -s 64k same $1\nlvcreate -an -Zn -Wn -y -n root -L 2M same");
    loops.fill("same", "root", "two");
    // Two groups of one name: another name in the text of the same length, with its checksums.
    let first = renamed(std::fs::read(loops.image(0)).unwrap());
    let found = discover(vec![memory(first.clone()), file(&loops.image(1))]);
    let ids: Vec<_> = found.volumes.iter().filter(|v| v.logical.is_some()).map(|v| v.id.clone()).collect();
    assert_eq!(ids.len(), 2);
    for (id, (name, size)) in ids.iter().zip([("one", MIB), ("two", 2 * MIB)]) {
        let middle = id.strip_prefix("lvm/same@").unwrap().strip_suffix("/root").unwrap();
        assert_eq!(middle.len(), 8, "{id}");
        assert_pattern(&found, id, name, size);
    }
    // The same disk twice.
    let found = discover(vec![memory(first.clone()), memory(first)]);
    let content = content(&found, "lvm/same/root");
    assert!(content.contains("disk0 and disk1 are the same physical volume"), "{content}");
    assert!(matches!(found.open("lvm/same/root", &Default::default()), Err(guestfs::Error::Unsupported(_))));
}

/// The disk with its group `other` called `same `, in the newest text of its metadata area.
fn renamed(mut disk: Vec<u8>) -> Vec<u8> {
    let area = 4096;
    let crc = |bytes: &[u8]| {
        bytes.iter().fold(0xf597_a6cf_u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
        })
    };
    let number = |at: usize| u64::from_le_bytes(disk[at..at + 8].try_into().unwrap()) as usize;
    let (start, length) = (area + number(area + 40), number(area + 48));
    assert_eq!(&disk[start..start + 5], b"other");
    disk[start..start + 5].copy_from_slice(b"same ");
    let sum = crc(&disk[start..start + length]);
    disk[area + 56..area + 60].copy_from_slice(&sum.to_le_bytes());
    let sum = crc(&disk[area + 4..area + 512]);
    disk[area..area + 4].copy_from_slice(&sum.to_le_bytes());
    disk
}

#[test]
fn what_device_mapper_wrote_is_read_and_its_other_types_are_refused_by_name() {
    let disks = fixture_disks(include_bytes!("lvm.zst"), &[24576, 24576]);
    let found = discover(disks);
    for (name, pattern) in
        [("first", "first"), ("across", "across"), ("striped", "striped"), ("origin", "origin")]
    {
        let id = format!("lvm/guest/{name}");
        assert_pattern(
            &found,
            &id,
            pattern,
            found.volume(&id).unwrap_or_else(|_| panic!("{:#?}", listed(&found))).size,
        );
    }
    for (name, why) in [
        ("snap", "an LVM snapshot (of origin)"),
        ("raided", "an LVM volume of the type raid1"),
        ("mirrored", "an LVM volume of the type mirror"),
        ("pool", "an LVM volume of the type thin-pool"),
        ("thin", "an LVM volume of the type thin"),
    ] {
        assert_eq!(content(&found, &format!("lvm/guest/{name}")), format!("refused: {why}"));
    }
    let hidden = found.volumes.iter().filter(|v| v.id.contains("rimage") || v.id.contains("tdata")).count();
    assert_eq!(hidden, 0, "{:#?}", listed(&found));
}

#[test]
fn damaged_labels_and_areas_are_told() {
    let Some(loops) = Loops::new(&[8]) else { return };
    loops.lvm(
        "pvcreate --metadatacopies 2 $0\nvgcreate -s 64k safe $0\nlvcreate -an -Zn -Wn -y -n root -L 1M safe",
    );
    loops.fill("safe", "root", "root");
    let whole = std::fs::read(loops.image(0)).unwrap();
    // The first area damaged: the second one has the same.
    let mut damaged = whole.clone();
    damaged[4096 + 30] ^= 1;
    let found = discover(vec![memory(damaged.clone())]);
    assert_pattern(&found, "lvm/safe/root", "root", MIB);
    // Both: the volume says what it is and why nothing comes of it.
    let second = whole.windows(16).rposition(|bytes| bytes == b" LVM2 x[5A%r0N*>").unwrap();
    assert!(second > 1 << 20);
    damaged[second] ^= 1;
    let found = discover(vec![memory(damaged)]);
    let content_of = content(&found, "disk0");
    assert!(content_of.contains("the LVM metadata area is damaged"), "{content_of}");
    assert_eq!(found.volumes.len(), 1);
    let mut damaged = whole;
    damaged[512 + 100] ^= 1;
    let found = discover(vec![memory(damaged)]);
    assert_eq!(content(&found, "disk0"), "damaged: the checksum of the LVM label does not match");
}
