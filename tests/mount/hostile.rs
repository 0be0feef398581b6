//! Damaged disks through a mount: errors for who asks, and a mount that goes on.

use super::{PATIENCE, Unmounts, can_mount, guest, is_mounted, sh};
use crate::harness::{Random, Site};
use std::fs;
use std::os::unix::fs::FileExt;
use std::process::Command;

#[test]
fn damaged_disks_give_errors_and_the_mount_goes_on() {
    if !can_mount(&["timeout"]) {
        return;
    }
    let site = Site::new();
    let names: Vec<String> = (0..60).map(|n| format!("folder{}/file{n}", n % 7)).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "some text\n")).collect();
    let sound = guest(&site, "sound", &files);
    let _unmounts = Unmounts(&site);
    for seed in 0..6u64 {
        let disk = site.path(&format!("damaged{seed}.raw"));
        fs::copy(&sound, &disk).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
        let mut random = Random(seed);
        // Among inodes and folders, not the superblock: a volume that can't be opened is another test's.
        for _ in 0..300 {
            let at = 4096 + random.below(2 << 20);
            file.write_all_at(&random.bytes(2), at).unwrap();
        }
        drop(file);
        site.backup(&format!("--vm damaged{seed} --source {}", disk.display()));
        let mnt = site.path(&format!("mnt{seed}"));
        let run = site.run(&format!(
            "backup mount damaged{seed}@latest {} --volume disk0 --ignore-journal",
            mnt.display()
        ));
        if run.code != 0 {
            // Damaged so that nothing can be shown: said, and nothing is left.
            assert!([5, 6, 2].contains(&run.code), "{run:#?}");
            assert!(!mnt.exists() && !is_mounted(&mnt));
            continue;
        }
        let walked = Command::new("timeout")
            .args([&PATIENCE.as_secs().to_string(), "sh", "-c"])
            .arg("find . -xdev -maxdepth 12 -ls; find . -xdev -maxdepth 12 -type f -size -2000k -exec cat {} +; getfattr -R -d -m - . ")
            .current_dir(&mnt)
            .output()
            .unwrap();
        assert_ne!(walked.status.code(), Some(124), "seed {seed}: it hangs");
        assert!(is_mounted(&mnt), "seed {seed}");
        // The root is still answered: whoever serves it lives.
        sh(&format!("stat '{}'", mnt.display()));
        site.ok(&format!("restore unmount {}", mnt.display()));
    }
    site.assert_nothing_left_over();
}
