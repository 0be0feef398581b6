//! Clean file systems with each feature of `mkfs`.

use super::tree::{bytes, fill, set_xattr};
use super::{make, open, same_as_kernel};
use crate::compare::{Compared, assert_same};
use crate::fixture::{Mounted, can_mount, sh};
use std::path::Path;

/// The usual comparison; access times too, because nothing here moves them.
fn all() -> Compared {
    Compared { accessed: true, ..Compared::default() }
}

#[test]
fn a_large_tree_of_ext4_is_the_kernels() {
    if !can_mount(&["mkfs.ext4", "setfacl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image =
        make(dir.path(), "a.img", "600M", "mkfs.ext4 -L 'a label' -U 12345678-9abc-def0-1234-56789abcdef0");
    let mounted = Mounted::new(&image, "noatime");
    fill(&mounted.0, 2000, true);
    drop(mounted);
    let count = same_as_kernel(&image, all());
    assert!(
        count.files > 2200 && count.directories > 20 && count.links >= 8 && count.others >= 5,
        "{count:?}"
    );
    assert!(count.bytes > 15 << 20 && count.holes > 5 << 30 && count.xattrs > 200, "{count:?}");

    let (device, fs) = open(&image);
    let info = fs.info();
    assert_eq!((info.kind, info.label.as_deref()), ("ext4", Some("a label")));
    assert_eq!(info.uuid.as_deref(), Some("12345678-9abc-def0-1234-56789abcdef0"));
    assert_eq!((info.size, info.block_size, info.warnings.len()), (600 << 20, 4096, 0));
    let recognised = guestfs::ext::recognise(&*device).unwrap().unwrap();
    assert_eq!((recognised.kind, recognised.size), ("ext4", 600 << 20));
    assert_eq!((&recognised.label, &recognised.uuid), (&info.label, &info.uuid));
}

/// A small tree in a file system of `mkfs`, whole and sound.
#[track_caller]
fn small(mkfs: &str, size: &str, kind: &str) {
    if !can_mount(&["mkfs.ext4", "setfacl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", size, mkfs);
    let mounted = Mounted::new(&image, "noatime");
    fill(&mounted.0, 120, false);
    drop(mounted);
    let count = same_as_kernel(&image, all());
    assert!(
        count.files > 150 && count.directories >= 5 && count.links >= 8 && count.others >= 5,
        "{count:?}"
    );
    assert!(count.bytes > 1 << 20 && count.holes > 12 << 20 && count.xattrs > 15, "{count:?}");
    assert_eq!(open(&image).1.info().kind, kind, "{mkfs}");
}

#[test]
fn ext2_with_small_inodes_and_blocks() {
    small("mkfs.ext2 -b 1024 -I 128", "64M", "ext2");
    small("mkfs.ext2 -b 4096 -r 0", "64M", "ext2");
}

#[test]
fn ext2_with_three_levels_of_pointers() {
    if !can_mount(&["mkfs.ext2"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "300M", "mkfs.ext2 -b 1024");
    let mounted = Mounted::new(&image, "noatime");
    fill(&mounted.0, 0, true);
    std::fs::write(mounted.0.join("into the third level"), bytes(77, 80 << 20)).unwrap();
    drop(mounted);
    let count = same_as_kernel(&image, all());
    assert!(count.bytes > 85 << 20 && count.holes > 4 << 30, "{count:?}");
}

#[test]
fn ext3_with_blocks_of_2_kib() {
    small("mkfs.ext3 -b 2048", "64M", "ext3");
}

#[test]
fn ext4_without_64bit_and_checksums() {
    small("mkfs.ext4 -O ^64bit,^metadata_csum", "64M", "ext4");
    small("mkfs.ext4 -O ^64bit,^metadata_csum,uninit_bg,^flex_bg,^huge_file -b 1024", "64M", "ext4");
}

#[test]
fn ext4_with_other_groups() {
    small("mkfs.ext4 -O meta_bg,^resize_inode -b 1024 -g 1024 -N 4096", "64M", "ext4");
    small("mkfs.ext4 -O meta_bg,^resize_inode,^64bit,^metadata_csum -b 1024 -g 2048", "160M", "ext4");
    small("mkfs.ext4 -O sparse_super2 -b 1024 -g 4096", "64M", "ext4");
    small("mkfs.ext4 -O ^sparse_super,^flex_bg,^resize_inode -b 2048 -g 4096", "64M", "ext4");
}

#[test]
fn ext4_with_bigalloc() {
    small("mkfs.ext4 -O bigalloc -C 65536", "256M", "ext4");
    small("mkfs.ext4 -O bigalloc -b 1024 -C 4096", "256M", "ext4");
}

#[test]
fn ext4_with_inline_data() {
    small("mkfs.ext4 -O inline_data", "64M", "ext4");
    small("mkfs.ext4 -O inline_data -I 1024 -b 1024", "64M", "ext4");
}

#[test]
fn ext4_with_further_features() {
    small("mkfs.ext4 -O metadata_csum_seed,orphan_file,large_dir,mmp", "64M", "ext4");
    small("mkfs.ext4 -O encrypt,stable_inodes -I 512", "64M", "ext4");
    small("mkfs.ext4 -O ^extents,^dir_index,^64bit", "64M", "ext4");
    small("mkfs.ext4 -O ^has_journal,^filetype,^dir_nlink,^extra_isize", "64M", "ext4");
}

#[test]
fn a_checksum_seed_stays_when_the_uuid_changes() {
    if !can_mount(&["mkfs.ext4", "tune2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "32M", "mkfs.ext4 -O metadata_csum_seed");
    let mounted = Mounted::new(&image, "noatime");
    fill(&mounted.0, 20, false);
    drop(mounted);
    sh(&format!("tune2fs -U random '{}'", image.display()));
    assert!(same_as_kernel(&image, all()).files > 40);
}

#[test]
fn features_that_only_writers_care_about_change_nothing() {
    if !can_mount(&["mkfs.ext4", "tune2fs"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "32M", "mkfs.ext4 -I 512");
    let mounted = Mounted::new(&image, "noatime");
    fill(&mounted.0, 20, false);
    drop(mounted);
    sh(&format!("tune2fs -O quota,project,verity '{}'", image.display()));
    // A kernel without quota mounts it read-only.
    let mounted = Mounted::new(&image, "ro");
    let (device, fs) = open(&image);
    assert!(assert_same(&*fs, &*device, &mounted.0, all()).files > 40);
}

#[test]
fn attributes_in_inodes_of_their_own() {
    if !can_mount(&["mkfs.ext4"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for options in ["ea_inode", "ea_inode,^metadata_csum"] {
        let image = make(dir.path(), "a.img", "64M", &format!("mkfs.ext4 -O {options}"));
        let mounted = Mounted::new(&image, "noatime");
        fill(&mounted.0, 10, false);
        for (index, length) in [5000, 60_000, 65_536].into_iter().enumerate() {
            let path = mounted.0.join(format!("large {index}"));
            std::fs::write(&path, b"").unwrap();
            set_xattr(&path, "user.large", &bytes(length as u64, length));
            set_xattr(&path, "user.shared", &bytes(1, 20_000));
        }
        drop(mounted);
        assert!(same_as_kernel(&image, all()).xattrs > 15);
    }
}

#[test]
fn unwritten_extents_are_holes_and_trees_are_deep() {
    if !can_mount(&["mkfs.ext4"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "64M", "mkfs.ext4 -b 1024");
    let mounted = Mounted::new(&image, "noatime");
    // Every other block: 84 records in a leaf, 84 leaves in an index.
    let file = std::fs::File::create(mounted.0.join("comb")).unwrap();
    for index in 0..9000u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes(index, 1024), index * 2048).unwrap();
    }
    drop(file);
    sh(&format!(
        "fallocate -l 3M '{0}/f'; printf x | dd of='{0}/f' bs=1 seek=1000000 conv=notrunc",
        mounted.0.display()
    ));
    drop(mounted);
    let depth = sh(&format!("debugfs -R 'ex /comb' '{}' 2>/dev/null | head -3", image.display()));
    assert!(depth.contains("/ 2"), "{depth}");
    let count = same_as_kernel(&image, all());
    assert!(count.bytes > 9000 << 10 && count.holes > 11_000 << 10, "{count:?}");
}

#[test]
fn blocks_of_64_kib_are_read() {
    if !can_mount(&["mkfs.ext4"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    for index in 0..300 {
        std::fs::write(tree.join(format!("{index} {}", "l".repeat(240))), bytes(index, index as usize * 900))
            .unwrap();
    }
    let mkfs = format!("mkfs.ext4 -b 65536 -O ^has_journal -d '{}'", tree.display());
    let image = make(dir.path(), "a.img", "256M", &mkfs);
    std::fs::create_dir(tree.join("lost+found")).unwrap();
    let (device, fs) = open(&image);
    let what = Compared {
        links: false,
        changed: false,
        directory_sizes: false,
        owners: false,
        time_grain: i128::from(u64::MAX),
        ..Compared::default()
    };
    let count = assert_same(&*fs, &*device, Path::new(&tree), what);
    assert!(count.files == 300 && count.bytes > 40_000_000, "{count:?}");
}
