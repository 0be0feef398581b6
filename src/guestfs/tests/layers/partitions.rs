//! Partition tables, as sgdisk, sfdisk and mkfs make them, whole and damaged.

use super::*;
use crate::fixture::{can_mount, sh};
use std::collections::BTreeMap;

/// Number, offset, size, type, name and identity of each partition.
type Parts = BTreeMap<u32, (u64, u64, String, Option<String>, Option<String>)>;

/// What sfdisk reads of an image or a loop device; without extended partitions, which hold no data.
fn as_sfdisk(image: &Path) -> Parts {
    let json = sh(&format!("sfdisk -J '{}'", image.display()));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let table = &json["partitiontable"];
    let sector = table["sectorsize"].as_u64().unwrap();
    let mut parts = Parts::new();
    for part in table["partitions"].as_array().unwrap() {
        let node = part["node"].as_str().unwrap();
        let number = node.strip_prefix(&image.display().to_string()).unwrap();
        let number: u32 = number.trim_start_matches('p').parse().unwrap();
        let kind = part["type"].as_str().unwrap();
        let (kind, uuid) = match table["label"].as_str().unwrap() {
            "dos" if matches!(kind, "5" | "f" | "85") => continue,
            "dos" => {
                let disk = table["id"].as_str().unwrap().trim_start_matches("0x");
                (format!("{:#04x}", u8::from_str_radix(kind, 16).unwrap()), format!("{disk}-{number:02x}"))
            }
            _ => (kind.to_owned(), part["uuid"].as_str().unwrap().to_lowercase()),
        };
        let name = part["name"].as_str().map(str::to_owned);
        let (start, size) = (part["start"].as_u64().unwrap(), part["size"].as_u64().unwrap());
        parts.insert(number, (start * sector, size * sector, kind, name, Some(uuid)));
    }
    parts
}

fn as_found(inventory: &Inventory) -> Parts {
    let parts = inventory.volumes.iter().filter_map(|volume| Some((volume, volume.partition.clone()?)));
    parts
        .map(|(volume, part)| {
            assert_eq!(volume.id, format!("disk{}/part{}", part.disk, part.number));
            (part.number, (part.offset, volume.size, part.kind, part.name, part.uuid))
        })
        .collect()
}

fn image(megabytes: u64) -> tempfile::NamedTempFile {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(megabytes << 20).unwrap();
    image
}

fn bytes(image: &tempfile::NamedTempFile) -> Vec<u8> {
    std::fs::read(image.path()).unwrap()
}

/// A GPT with names, gaps in its numbers, and a pattern in each partition.
fn gpt() -> Option<tempfile::NamedTempFile> {
    if !["sgdisk", "sfdisk"].iter().all(|program| testkit::require(program)) {
        return None;
    }
    let image = image(16);
    sh(&format!(
        "sgdisk -n 1:2048:+2M -c 1:'Größe 😀' -t 1:8300 -n 3:0:+3M -c 3:swap -t 3:8200 -n 128:0:+1M -n 2:40:100 '{}'",
        image.path().display()
    ));
    for (number, (offset, size, ..)) in as_sfdisk(image.path()) {
        fill(image.as_file(), &format!("part{number}"), offset, size, 0);
    }
    Some(image)
}

#[track_caller]
fn assert_gpt(inventory: &Inventory) {
    let names: Vec<_> = inventory.volumes.iter().map(|volume| volume.id.clone()).collect();
    assert_eq!(names, ["disk0/part1", "disk0/part2", "disk0/part3", "disk0/part128"]);
    for (number, size) in [(1, 2 << 20), (3, 3 << 20), (128, 1 << 20)] {
        assert_pattern(inventory, &format!("disk0/part{number}"), &format!("part{number}"), size);
    }
}

#[test]
fn a_gpt_is_read_as_sfdisk_reads_it() {
    let Some(image) = gpt() else { return };
    let found = discover(vec![file(image.path())]);
    assert_gpt(&found);
    let parts = as_found(&found);
    assert_eq!(parts, as_sfdisk(image.path()));
    assert_eq!(parts[&1].3.as_deref(), Some("Größe 😀"));
    assert_eq!(parts[&1].2, "0FC63DAF-8483-4772-8E79-3D69D8477DE4");
}

#[test]
fn a_gpt_and_an_mbr_in_sectors_of_4096_bytes() {
    if !can_mount(&["sfdisk", "mkfs.fat"]) {
        return;
    }
    for label in ["gpt", "dos"] {
        let image = image(64);
        let path = image.path().display().to_string();
        let script = match label {
            "gpt" => "label: gpt\\nstart=256,size=2048,name=first\\nsize=1024,name=second\\n",
            _ => {
                "label: dos\\nlabel-id: 0x1234abcd\\nstart=256,size=2048,type=c\\nsize=4096,type=5\\nsize=1024\\nsize=512\\n"
            }
        };
        let device = sh(&format!("losetup -f --show --sector-size 4096 '{path}'"));
        let device = Path::new(device.trim());
        let told = std::panic::catch_unwind(|| {
            sh(&format!(
                "printf '{script}' | sfdisk -q --no-reread --no-tell-kernel '{0}'
                 truncate -s 8M '{path}.fat'; mkfs.fat -S 4096 '{path}.fat'
                 dd if='{path}.fat' of='{0}' bs=1M seek=1 conv=notrunc status=none; rm '{path}.fat'; sync '{0}'",
                device.display()
            ));
            as_sfdisk(device)
        });
        sh(&format!("losetup -d '{}'", device.display()));
        let told = told.unwrap();
        let found = discover(vec![file(image.path())]);
        let parts = as_found(&found);
        assert!(parts.len() >= 2, "{parts:?}");
        assert_eq!(parts, told, "{label}");
        assert_eq!(content(&found, "disk0/part1"), "vfat", "{label}");
    }
}

#[test]
fn the_backup_of_a_gpt_is_used_where_the_primary_is_damaged() {
    let Some(image) = gpt() else { return };
    let whole = bytes(&image);
    // The header gone; a bit of the header; a bit of the entries; everything before the first partition gone.
    for (from, to) in [(512, 1024), (512 + 40, 512 + 41), (1024 + 3, 1024 + 4), (0, 18432)] {
        let mut damaged = whole.clone();
        for byte in &mut damaged[from..to] {
            *byte = if to - from == 1 { *byte ^ 1 } else { 0 };
        }
        let found = discover(vec![memory(damaged.clone())]);
        assert_gpt(&found);
        // Without the backup too, nothing is guessed.
        let end = damaged.len();
        damaged[end - 512..].fill(0);
        let found = discover(vec![memory(damaged)]);
        let expected = if from == 0 { "disk0: unknown" } else { "disk0: damaged: the GPT: " };
        assert_eq!(found.volumes.len(), 1);
        assert!(listed(&found)[0].starts_with(expected), "{:?}", listed(&found));
    }
    // A backup of an older disk layout says nothing where the disk has an MBR now.
    let mut reused = whole;
    reused[0..17 << 10].fill(0);
    reused[450] = 0x83;
    reused[454..458].copy_from_slice(&2048u32.to_le_bytes());
    reused[458..462].copy_from_slice(&4096u32.to_le_bytes());
    reused[510..512].copy_from_slice(&[0x55, 0xaa]);
    let found = discover(vec![memory(reused)]);
    assert_eq!(
        as_found(&found).into_iter().map(|(number, part)| (number, part.2)).collect::<Vec<_>>(),
        [(1, "0x83".into())]
    );
}

#[test]
fn a_hybrid_mbr_is_read_as_a_gpt() {
    let Some(image) = gpt() else { return };
    sh(&format!("sgdisk -h 1:3 '{}'", image.path().display()));
    assert_gpt(&discover(vec![file(image.path())]));
}

#[test]
fn partitions_that_overlap_or_leave_the_disk_are_damaged() {
    let Some(image) = gpt() else { return };
    let whole = bytes(&image);
    // Cut off in the third partition, with the backup: the others are as they were.
    let (offset, size, ..) = as_sfdisk(image.path())[&128].clone();
    let found = discover(vec![memory(whole[..(offset + size / 2) as usize].to_vec())]);
    assert_eq!(content(&found, "disk0/part128"), "damaged: partition 128 ends outside of the disk");
    assert!(found.volume("disk0/part128").unwrap().devices.is_empty());
    assert_pattern(&found, "disk0/part3", "part3", 3 << 20);
    // An MBR with a partition over another one.
    let mut mbr = vec![0; 8 << 20];
    for (index, (start, sectors)) in
        [(2048u32, 4096u32), (4096, 2048), (8192, 1024), (12000, 10000)].into_iter().enumerate()
    {
        let at = 446 + 16 * index;
        mbr[at + 4] = 0x83;
        mbr[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
        mbr[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
    }
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    let found = discover(vec![memory(mbr)]);
    assert_eq!(
        listed(&found),
        [
            "disk0/part1: damaged: partition 1 overlaps partition 2",
            "disk0/part2: damaged: partition 2 overlaps partition 1",
            "disk0/part3: unknown",
            "disk0/part4: damaged: partition 4 ends outside of the disk",
        ]
    );
}

/// An MBR with three primary and three logical partitions.
fn mbr() -> Option<tempfile::NamedTempFile> {
    if !testkit::require("sfdisk") {
        return None;
    }
    let image = image(32);
    sh(&format!(
        "printf 'label: dos\\nlabel-id: 0x0badcafe\\nsize=2M,type=7\\nsize=16M,type=f\\nsize=1M,type=83\\n\
         start=8192,size=1M\\nsize=2M,type=82\\nsize=3M\\nsize=1M\\n' | sfdisk -q '{}'",
        image.path().display()
    ));
    for (number, (offset, size, ..)) in as_sfdisk(image.path()) {
        fill(image.as_file(), &format!("part{number}"), offset, size, 0);
    }
    Some(image)
}

#[test]
fn an_mbr_with_logical_partitions_is_numbered_as_linux_does() {
    let Some(image) = mbr() else { return };
    let found = discover(vec![file(image.path())]);
    let parts = as_found(&found);
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), [1, 3, 4, 5, 6, 7]);
    assert_eq!(parts, as_sfdisk(image.path()));
    assert_eq!(parts[&6].4.as_deref(), Some("0badcafe-06"));
    for (number, (_, size, ..)) in parts {
        assert_pattern(&found, &format!("disk0/part{number}"), &format!("part{number}"), size);
    }
}

#[test]
fn a_chain_of_logical_partitions_ends_where_it_is_broken() {
    let Some(image) = mbr() else { return };
    let whole = bytes(&image);
    let outer = 512 * u32::from_le_bytes(whole[446 + 16 + 8..446 + 16 + 12].try_into().unwrap()) as usize;
    // The link of the first record: to itself, outside, to a sector of data.
    for (link, reason) in [
        (0u32, "the chain of logical partitions runs in a circle"),
        (u32::MAX, "the chain of logical partitions leaves the disk"),
        (100, "the chain of logical partitions is broken"),
    ] {
        let mut damaged = whole.clone();
        let at = outer + 446 + 16 + 8;
        damaged[at..at + 4].copy_from_slice(&link.to_le_bytes());
        let found = discover(vec![memory(damaged)]);
        assert_pattern(&found, "disk0/part1", "part1", 2 << 20);
        assert_pattern(&found, "disk0/part5", "part5", 1 << 20);
        assert_eq!(content(&found, "disk0/part6"), format!("damaged: {reason}"));
        assert_eq!(found.volumes.len(), 5);
    }
}

#[test]
fn a_disk_without_a_table_is_a_volume_and_a_left_over_table_does_not_hide_it() {
    if !testkit::require("mkfs.fat") {
        return;
    }
    let image = image(16);
    sh(&format!("mkfs.fat -n WHOLE '{}'", image.path().display()));
    let found = discover(vec![
        file(image.path()),
        memory(vec![0; 1 << 20]),
        memory(Vec::new()),
        memory(vec![1; 100]),
    ]);
    assert_eq!(listed(&found), ["disk0: vfat", "disk1: unknown", "disk2: unknown", "disk3: unknown"]);
    assert!(found.volume("disk0").unwrap().partition.is_none());
    assert!(found.open("disk0", &Default::default()).is_ok());
    assert!(matches!(found.open("disk1", &Default::default()), Err(guestfs::Error::Unsupported(_))));
    assert!(matches!(found.open("disk9", &Default::default()), Err(guestfs::Error::NotFound)));
    // Its boot sector's code, looking like a table.
    let mut odd = bytes(&image);
    odd[446..510].fill(0);
    odd[450] = 0x83;
    odd[454..458].copy_from_slice(&64u32.to_le_bytes());
    odd[458..462].copy_from_slice(&1000u32.to_le_bytes());
    assert_eq!(listed(&discover(vec![memory(odd)])), ["disk0: vfat"]);
}
