//! Layers in each other, put together from images that the real programs made.

use super::lvm::Loops;
use super::*;
use crate::fixture::sh;

/// A disk with one partition that begins in its second MiB and holds `inside`.
fn partitioned(inside: &[u8]) -> Vec<u8> {
    let length = inside.len().next_multiple_of(1 << 20) + (2 << 20);
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(length as u64).unwrap();
    let sectors = inside.len().div_ceil(512);
    sh(&format!("sgdisk -n 1:2048:+{} '{}'", sectors - 1, image.path().display()));
    image.as_file().write_all_at(inside, 1 << 20).unwrap();
    std::fs::read(image.path()).unwrap()
}

/// A container of LUKS2 around `inside`, which has room at its end.
fn encrypted(inside: &[u8], key: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("luks"), inside).unwrap();
    std::fs::write(folder.path().join("key"), key).unwrap();
    sh(&format!(
        "cd '{}'; truncate -s +16M luks
         cryptsetup reencrypt --encrypt -q --type luks2 --reduce-device-size 16M --key-file key \
         --pbkdf pbkdf2 --pbkdf-force-iterations 1000 luks",
        folder.path().display()
    ));
    std::fs::read(folder.path().join("luks")).unwrap()
}

#[test]
fn a_group_over_a_mirror_in_a_container_in_a_partition_in_a_volume_over_two_disks() {
    let Some(loops) = Loops::new(&[24, 24]) else { return };
    if !["sgdisk", "cryptsetup"].iter().all(|program| testkit::require(program)) {
        return;
    }
    let mirror = fixture(include_bytes!("md-raid1-lvm.zst"), &[8192]).remove(0);
    let disk = partitioned(&encrypted(&mirror, "inner"));
    loops.lvm(&format!(
        "pvcreate $0 $1\nvgcreate -s 64k host $0 $1\nlvcreate -an -Zn -Wn -y -n disk -i2 -I64k -L {}k host",
        disk.len() / 1024
    ));
    loops.write("host", "disk", |number| disk.chunks(4096).nth(number as usize).unwrap().to_vec());
    let found = discover_with(loops.disks(), &[b"inner"]);
    assert_pattern(&found, "lvm/over-md/deep", "deep", 1 << 20);
    let (lines, array) = (listed(&found), found.volumes[5].id.clone());
    assert!(array.starts_with("md/"), "{lines:#?}");
    assert_eq!(
        lines,
        [
            "disk0: member: a physical volume of the LVM group host".to_owned(),
            "disk1: member: a physical volume of the LVM group host".to_owned(),
            "lvm/host/disk: member: divided by a partition table (GPT)".to_owned(),
            "lvm/host/disk/part1: member: an opened LUKS2 container".to_owned(),
            format!("lvm/host/disk/part1/luks: member: member 0 of {array} (RAID 1, superblock 1.1)"),
            format!("{array}: member: a physical volume of the LVM group over-md"),
            "lvm/over-md/deep: unknown".to_owned(),
        ]
    );
    // Without the key, it ends there.
    let found = discover(loops.disks());
    assert_eq!(content(&found, "lvm/host/disk/part1"), "locked LUKS2: no key was given");
    assert_eq!(found.volumes.len(), 4);
}

#[test]
fn containers_in_containers_end_at_a_bound() {
    if !testkit::require("sgdisk") {
        return;
    }
    let mut image = b"deep".to_vec();
    image.resize(1 << 20, 0);
    for _ in 0..layers::MAX_DEPTH + 2 {
        image = partitioned(&image);
    }
    let found = discover(vec![memory(image)]);
    let deepest = found.volumes.iter().max_by_key(|volume| volume.id.len()).unwrap();
    assert_eq!(deepest.id.matches("/part1").count(), layers::MAX_DEPTH + 1);
    assert_eq!(words(&deepest.content), format!("refused: more than {} layers", layers::MAX_DEPTH));
}
