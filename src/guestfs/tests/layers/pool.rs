//! File systems over several disks of a point.

use super::*;
use crate::fixture::{Mounted, can_mount, sh};

#[test]
fn a_btrfs_over_two_disks_is_one_volume_and_copies_of_its_disks_are_refused() {
    if !can_mount(&["mkfs.btrfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let images: Vec<_> = (0..2).map(|index| folder.path().join(format!("disk{index}"))).collect();
    for image in &images {
        File::create(image).unwrap().set_len(128 << 20).unwrap();
    }
    sh(&format!("mkfs.btrfs -q -d raid0 -m raid1 '{}' '{}'", images[0].display(), images[1].display()));
    let second =
        sh(&format!("losetup -f --show '{}'; btrfs device scan >/dev/null 2>&1 || :", images[1].display()));
    let second = second.trim().to_owned();
    {
        let mounted = Mounted::new(&images[0], &format!("device={second}"));
        sh(&format!(
            "cd '{}'; btrfs subvolume create -q inner 2>/dev/null || btrfs subvolume create inner >/dev/null
                     seq 100000 > numbers",
            mounted.0.display()
        ));
    }
    sh(&format!("sync; losetup -d '{second}'"));
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    for order in [[0, 1], [1, 0]] {
        let found = discover(order.map(|index| file(&images[index])).to_vec());
        let first = format!("disk{}", order[0]);
        assert_eq!(content(&found, &first), "btrfs", "{:?}", listed(&found));
        assert_eq!(
            content(&found, &format!("disk{}", order[1])),
            format!("member: device 2 of the btrfs on {first}")
        );
        assert_eq!(found.volume(&first).unwrap().devices.len(), 2);
        let fs = found.open(&first, &Default::default()).unwrap();
        let node = fs.lookup(fs.root(), b"numbers").unwrap();
        let mut bytes = vec![0; expected.len()];
        assert_eq!(fs.read_at(node, 0, &mut bytes).unwrap(), expected.len());
        assert!(bytes == expected.as_bytes());
        assert!(found.open_btrfs(&first, &Default::default()).is_ok());
    }
    let found = discover([0, 1, 1].map(|index| file(&images[index])).to_vec());
    for disk in ["disk0", "disk1", "disk2"] {
        assert!(
            content(&found, disk).contains("disk1 and disk2 are the same device"),
            "{:?}",
            listed(&found)
        );
    }
}

#[test]
fn swap_and_foreign_content_are_named() {
    if !testkit::require("mkswap") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("swap");
    File::create(&image).unwrap().set_len(4 << 20).unwrap();
    sh(&format!("mkswap -q -L dozing '{}'", image.display()));
    let found = discover(vec![file(&image)]);
    let Content::Swap { label, uuid } = &found.volumes[0].content else { panic!("{:?}", listed(&found)) };
    assert_eq!((label.as_deref(), uuid.as_ref().map(String::len)), (Some("dozing"), Some(36)));
    assert!(matches!(found.open("disk0", &Default::default()), Err(guestfs::Error::Unsupported(_))));
    assert!(matches!(found.open_btrfs("disk0", &Default::default()), Err(guestfs::Error::Unsupported(_))));
}
