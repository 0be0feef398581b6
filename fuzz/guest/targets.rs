//! The targets: which seeds each changes, and what it does with them.

use super::{Seed, Target, layers, sums, walk};
use crate::seed;
use std::sync::OnceLock;

/// A reader's target: its module of `guestfs`, its seeds, its checksums.
macro_rules! reader {
    ($reader:ident, $sums:ident, [$($seed:literal),*]) => {
        Target {
            name: stringify!($reader),
            seeds: &[$(seed!($seed)),*],
            sums: sums::$sums,
            run: |disks, options, whole| {
                let _ = guestfs::$reader::recognise(&*disks[0]);
                if let Ok(fs) = guestfs::$reader::open(disks[0].clone(), options) {
                    walk::walk(&*fs, whole);
                }
            },
            loaded: OnceLock::new(),
        }
    };
}

/// ext2, ext3 and ext4, clean and with journals and fast commits to replay.
pub static EXT: Target = reader!(
    ext,
    ext,
    ["ext-4k", "ext-1k", "ext-2", "ext-bigalloc", "ext-casefold", "ext-dirty4", "ext-dirty1k", "ext-dirty3"]
);

/// XFS of versions 4 and 5, clean and with a log to replay.
pub static XFS: Target = reader!(xfs, xfs, ["xfs-5", "xfs-1k", "xfs-4", "xfs-dirty"]);

/// NTFS with compressed files, streams and WOF, and with a log to replay. Its structures have no checksums.
pub static NTFS: Target = reader!(ntfs, none, ["ntfs-small", "ntfs-4k", "ntfs-log"]);

/// FAT of 12, 16 and 32 bits.
pub static FAT: Target = reader!(fat, none, ["fat-12", "fat-16", "fat-32"]);

/// exFAT.
pub static EXFAT: Target = reader!(exfat, exfat, ["exfat"]);

/// ISO 9660 with Rock Ridge, Joliet and zisofs.
pub static ISO9660: Target = reader!(iso9660, none, ["iso-both", "iso-plain", "iso-udf", "iso-zisofs"]);

/// btrfs on one and two devices, with a log tree to replay.
pub static BTRFS: Target = Target {
    name: "btrfs",
    seeds: &[seed!("btrfs-one"), seed!("btrfs-lzo"), seed!("btrfs-two", [131_072, 131_072])],
    sums: sums::btrfs,
    run: |disks, options, whole| {
        let _ = guestfs::btrfs::recognise(&*disks[0]);
        if let Ok(fs) = guestfs::btrfs::open(disks.to_vec(), options) {
            walk::walk(&*fs, whole);
        }
    },
    loaded: OnceLock::new(),
};

/// A fixture of the tests in `src/guestfs/tests/layers`, with the sizes of its disks in KiB.
macro_rules! fixture {
    ($name:literal, $disks:expr) => {
        Seed {
            bytes: include_bytes!(concat!("../../src/guestfs/tests/layers/", $name, ".zst")),
            disks: &$disks,
        }
    };
}

/// Disks: partition tables, LVM2, md, LUKS, and the signatures of all that is recognised.
pub static LAYERS: Target = Target {
    name: "layers",
    seeds: &[
        seed!("layers-gpt"),
        seed!("layers-mbr"),
        seed!("layers-luks1"),
        seed!("layers-luks2"),
        seed!("layers-luks2-argon"),
        fixture!("lvm", [24576, 24576]),
        fixture!("md-raid0-original", [2048, 3072, 4096]),
        fixture!("md-linear", [2048, 3072]),
        fixture!("md-raid1-stale", [2048, 2048]),
        fixture!("md-raid1-0.90", [2048, 2048]),
        fixture!("md-raid1-parts", [4096, 4096]),
        fixture!("md-raid1-lvm", [8192]),
    ],
    sums: sums::layers,
    run: layers::look,
    loaded: OnceLock::new(),
};

/// All of them, with that of hives and of a Windows' tree.
pub static ALL: [&Target; 9] =
    [&EXT, &XFS, &NTFS, &FAT, &EXFAT, &ISO9660, &BTRFS, &LAYERS, &super::system::WINDOWS];
