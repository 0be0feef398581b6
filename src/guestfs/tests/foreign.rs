//! What is only recognised, made by the programs that make it, against what `blkid` says.

use crate::fixture::{can_mount, sh};
use guestfs::{FileDevice, ReadAt, foreign};
use std::process::Command;
use tempfile::TempDir;

/// Whether the program is there. Those that make rare formats are not asked for.
fn is_there(program: &str) -> bool {
    Command::new("bash")
        .args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}")])
        .output()
        .unwrap()
        .status
        .success()
}

#[test]
fn says_what_blkid_says() {
    if !can_mount(&["mkswap", "blkid"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut compared = 0;
    for (program, command) in [
        ("mkswap", "mkswap -L Etikett image"),
        ("mkswap", "mkswap -p 65536 image"),
        ("mkfs.minix", "mkfs.minix -1 image"),
        ("mkfs.minix", "mkfs.minix -2 image"),
        ("mkfs.minix", "mkfs.minix -3 image"),
        ("mkfs.cramfs", "mkdir -p t && echo x > t/x && mkfs.cramfs -n Etikett t image"),
        ("mkfs.f2fs", "mkfs.f2fs -l Etikett image"),
        ("mkfs.jfs", "mkfs.jfs -q -L Etikett image"),
        ("mkfs.reiserfs", "mkfs.reiserfs -q -f -f -l Etikett image"),
        ("mkfs.nilfs2", "mkfs.nilfs2 -L Etikett image"),
        ("mksquashfs", "mkdir -p t && echo x > t/x && rm image && mksquashfs t image"),
        ("mkfs.erofs", "mkdir -p t && echo x > t/x && mkfs.erofs image t"),
        ("mkudffs", "mkudffs --label=Etikett image"),
    ] {
        if !is_there(program) {
            continue;
        }
        let at = dir.path().display();
        sh(&format!("cd '{at}'; rm -f image; truncate -s 140M image; {{ {command}; }} > /dev/null 2>&1"));
        let path = dir.path().join("image");
        let blkid = sh(&format!("blkid -p -o export '{}'", path.display()));
        let said = |key: &str| blkid.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
        let device = FileDevice::open(&path).unwrap();
        let found = foreign::recognise(&device).unwrap().unwrap_or_else(|| panic!("{command}: {blkid}"));
        assert_eq!(Some(found.kind.to_owned()), said("TYPE="), "{command}");
        assert_eq!(found.label, said("LABEL="), "{command}");
        if found.kind != "udf" {
            assert_eq!(found.uuid, said("UUID="), "{command}");
        }
        assert_eq!(found.is_swap, program == "mkswap");
        compared += 1;
        // What is read by a reader is nothing that is only recognised.
        assert!(guestfs::fat::recognise(&device).unwrap().is_none(), "{command}");
        assert!(guestfs::exfat::recognise(&device).unwrap().is_none(), "{command}");
        assert!(guestfs::iso9660::recognise(&device).unwrap().is_none(), "{command}");
        assert!(device.size() > 0);
    }
    assert!(compared >= 2);
}

#[test]
fn what_is_read_is_not_foreign() {
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    for (program, command) in [
        ("mkfs.ext4", "mkfs.ext4 -q image"),
        ("mkfs.ext2", "mkfs.ext2 -q -b 1024 image"),
        ("mkfs.xfs", "mkfs.xfs -q image"),
        ("mkfs.btrfs", "mkfs.btrfs -q image"),
        ("mkfs.fat", "mkfs.fat -F 32 image"),
        ("mkfs.exfat", "mkfs.exfat image"),
        ("mkfs.ntfs", "mkfs.ntfs -q -F image"),
        ("genisoimage", "mkdir t && genisoimage -quiet -o image t"),
    ] {
        if !is_there(program) {
            continue;
        }
        sh(&format!("cd '{at}'; rm -rf image t; truncate -s 340M image; {{ {command}; }} > /dev/null 2>&1"));
        let device = FileDevice::open(&dir.path().join("image")).unwrap();
        assert_eq!(foreign::recognise(&device).unwrap(), None, "{command}");
        let ours = [
            guestfs::fat::recognise(&device).unwrap().map(|found| found.kind),
            guestfs::exfat::recognise(&device).unwrap().map(|found| found.kind),
            guestfs::iso9660::recognise(&device).unwrap().map(|found| found.kind),
        ];
        let expected = match program {
            "mkfs.fat" => [Some("vfat"), None, None],
            "mkfs.exfat" => [None, Some("exfat"), None],
            "genisoimage" => [None, None, Some("iso9660")],
            _ => [None; 3],
        };
        assert_eq!(ours, expected, "{command}");
    }
}
