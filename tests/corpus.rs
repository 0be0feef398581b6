//! The differential corpus: disks that the kernel (or another program) wrote, through compressed chains of six points, and
//! at each point every name, byte, owner, mode, time, link and attribute against the kernel's own mount of that state.
//!
//! `tests/corpus/build.sh` makes the disks and lists the mounts; see README.md beside it. Each test is one disk: a full
//! backup and five incrementals, of which every other one was copied while the file system was written to. Then each point
//! is listed and extracted by the program as a user would, and both are held against the mount.

mod compare;
mod list;

use crate::harness::{Site, have};
use compare::{Kept, assert_same};
use list::{Entries, listed, recorded};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many states each disk has.
const STATES: usize = 6;

/// A disk of the corpus, and how it is looked at.
struct Case {
    name: &'static str,
    /// The volume with the files.
    volume: &'static str,
    /// What of a file the programs that wrote and showed it can keep.
    kept: Kept,
    /// What has to be refused by name, because it is encrypted.
    refused: &'static [&'static str],
    /// What must at least have been compared at the last point, so that a case is never empty.
    least: Least,
}

/// Files (with their further names), and how much of what else.
struct Least {
    files: usize,
    xattrs: usize,
    others: usize,
}

const FULL: Least = Least { files: 440, xattrs: 60, others: 5 };

/// Runs the script of the corpus in a folder.
fn build(folder: &Path, name: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/build.sh");
    // Linux 6.18 can't always replay the fast commits that it has written itself ("JBD2: journal recovery failed"), and then there
    // is nothing to compare with: another copy is taken.
    let tries = if name == "ext4-fast-commit" { 5 } else { 1 };
    for left in (0..tries).rev() {
        let done = Command::new(script).args(["make", name]).arg(folder).output().unwrap();
        if done.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(
            left > 0 && said.contains("cannot mount"),
            "{name}: {}{said}",
            String::from_utf8_lossy(&done.stdout)
        );
        eprintln!("{name}: the kernel does not mount its own copy: once more");
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::create_dir(folder).unwrap();
    }
}

/// What our program shows of a point: its listing, and what it extracted, both as entries.
struct Shown {
    listed: Entries,
    extracted: Entries,
    /// Paths that it said it can't list or extract.
    refused: Vec<String>,
    /// Those that it must refuse.
    expected: &'static [&'static str],
}

fn shown(site: &Site, point: &str, case: &Case, key: Option<&Path>) -> Shown {
    let mut view = format!("--volume {}", case.volume);
    if let Some(key) = key {
        view += &format!(" --passphrase-file {}", key.display());
    }
    let json = |line: &str| -> Value {
        let run = site.run(&format!("{line} {view} --json"));
        assert!(matches!(run.code, 0 | 3), "{run:#?}");
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:#?}"))
    };
    let mut document = json(&format!("backup ls {point} / -R"));
    let root = json(&format!("backup stat {point} /"));
    document["files"].as_array_mut().unwrap().push(root[0]["file"].clone());
    let errors = document["errors"].as_array().unwrap().iter();
    let mut refused: Vec<String> = errors.map(|error| error["path"].as_str().unwrap().to_owned()).collect();
    let out = site.path("out");
    let run = site.run(&format!("backup extract {point} / {view} --special --output {}", out.display()));
    assert!(run.code == 0 || (run.code == 3 && run.stderr.contains("warning")), "{run:#?}");
    let warned = run.stderr.lines().filter_map(|line| line.strip_prefix("warning: /")?.split(": ").next());
    refused.extend(warned.map(|path| format!("/{path}")));
    for path in case.refused {
        let named = |line: &str| line.contains(path) && line.contains("encrypted");
        assert!(run.code == 3 && run.stderr.lines().any(named), "{path} is not refused: {run:#?}");
    }
    let extracted = recorded(&list::of_folder(&out));
    std::fs::remove_dir_all(&out).unwrap();
    Shown { listed: listed(&document), extracted, refused, expected: case.refused }
}

/// Backs up all states of a disk, and compares every point of the chain with its state.
fn through_a_chain(case: &Case) {
    if !have(&["mkfs.xfs", "python3", "unshare"]) {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var("SENDENSE_REQUIRE_ALL").is_err(),
            "mounting needs root, and nothing may be skipped"
        );
        eprintln!("SKIPPED: mounting needs root");
        return;
    }
    let site = Site::in_memory();
    let folder = site.path("corpus");
    std::fs::create_dir(&folder).unwrap();
    build(&folder, case.name);
    let disks: Vec<PathBuf> = (0..)
        .map(|number| PathBuf::from(format!("disk{number}.raw")))
        .take_while(|disk| folder.join("0").join(disk).exists())
        .collect();
    let places: Vec<PathBuf> = disks.iter().map(|disk| site.path(disk.to_str().unwrap())).collect();
    let named: String = places.iter().map(|place| format!(" --disk {}", place.display())).collect();
    let mut points = Vec::new();
    for state in 0..STATES {
        for (disk, place) in disks.iter().zip(&places) {
            std::fs::rename(folder.join(state.to_string()).join(disk), place).unwrap();
        }
        if state == 0 {
            site.ok(&format!("vm add {}{named}", case.name));
        }
        points.push(site.backup(&format!("--vm {} --compress", case.name)));
    }
    let chain = site.json(&format!("backup chain --vm {}", case.name));
    assert_eq!(chain["chain_length"], STATES as u64, "one chain: {chain}");
    let key = folder.join("key");
    let key = key.exists().then_some(&*key);
    for (state, point) in points.iter().enumerate() {
        let shown = shown(&site, point, case, key);
        let truth = std::fs::read_to_string(folder.join(state.to_string()).join("truth.jsonl")).unwrap();
        let truth = recorded(&truth);
        let count =
            assert_same(&format!("{} state {state}", case.name), &shown, &truth, &case.kept, state % 2 == 1);
        assert!(
            count.files >= case.least.files
                && count.xattrs >= case.least.xattrs
                && count.others >= case.least.others,
            "{} state {state}: {count:?}",
            case.name
        );
    }
    site.assert_nothing_left_over();
}

/// One test a disk, so that they run beside each other.
macro_rules! cases {
    ($($test:ident: $name:literal in $volume:literal, $kept:expr, $least:expr;)*) => {
        $(#[test]
        fn $test() {
            let refused: &[&str] = if $name == "ext4-encrypt" { &["/secret", "/secret file"] } else { &[] };
            through_a_chain(&Case { name: $name, volume: $volume, kept: $kept, refused, least: $least });
        })*

        #[test]
        fn every_disk_of_the_script_has_its_test() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/build.sh");
            let told = Command::new(script).arg("list").output().unwrap();
            let told = String::from_utf8(told.stdout).unwrap();
            assert_eq!(told.lines().collect::<Vec<_>>(), [$($name),*]);
        }
    };
}

cases! {
    ext4: "ext4" in "disk0", Kept::ALL, Least { files: 3500, xattrs: 300, others: 5 };
    ext4_with_inline_data: "ext4-inline-data" in "disk0", Kept::ALL, FULL;
    ext4_with_bigalloc: "ext4-bigalloc" in "disk0", Kept::ALL, FULL;
    ext4_with_meta_block_groups: "ext4-meta-bg" in "disk0", Kept::ALL, FULL;
    ext4_with_large_folders: "ext4-large-dir" in "disk0", Kept::ALL, FULL;
    ext4_with_attributes_in_inodes: "ext4-ea-inode" in "disk0", Kept::ALL, FULL;
    ext4_without_checksums_in_blocks_of_1_kib: "ext4-no-checksums" in "disk0", Kept::ALL, FULL;
    ext4_with_casefold: "ext4-casefold" in "disk0", Kept::ALL, FULL;
    ext4_with_encrypted_files: "ext4-encrypt" in "disk0", Kept::ALL, FULL;
    // The kernel replays these with times of the moment, and enlarges folders.
    ext4_with_fast_commits: "ext4-fast-commit" in "disk0", Kept { times_after_replay: false, ..Kept::ALL }, FULL;
    ext4_with_data_in_the_journal: "ext4-data-journal" in "disk0", Kept::ALL, FULL;
    ext3: "ext3" in "disk0", Kept::ALL, FULL;
    // It has no journal.
    ext2: "ext2" in "disk0", Kept { whole: false, ..Kept::ALL }, FULL;
    xfs: "xfs" in "disk0", Kept::ALL, Least { files: 3500, xattrs: 300, others: 5 };
    xfs_with_old_times_and_counters: "xfs-old" in "disk0", Kept::ALL, FULL;
    xfs_of_version_4: "xfs-v4" in "disk0", Kept { links: false, xattrs: false, times: false, folder_sizes: false, allocation: false, holes: false, ..Kept::ALL },
        Least { xattrs: 0, others: 4, ..FULL };
    btrfs_with_snapshots: "btrfs" in "disk0", Kept::BTRFS, Least { files: 3500, xattrs: 300, others: 5 };
    btrfs_with_zstd: "btrfs-zstd" in "disk0", Kept::BTRFS, FULL;
    btrfs_with_lzo: "btrfs-lzo" in "disk0", Kept::BTRFS, FULL;
    btrfs_with_zlib: "btrfs-zlib" in "disk0", Kept::BTRFS, FULL;
    btrfs_striped_over_two_disks: "btrfs-raid0" in "disk0", Kept::BTRFS, FULL;
    btrfs_mirrored_on_two_disks: "btrfs-raid1" in "disk0", Kept::BTRFS, FULL;
    ntfs: "ntfs" in "disk0", Kept::NTFS, Least { files: 3500, xattrs: 200, others: 0 };
    ntfs_with_lznt1: "ntfs-compressed" in "disk0", Kept { holes: false, ..Kept::NTFS }, Least { xattrs: 50, others: 0, ..FULL };
    ntfs_with_a_fragmented_table: "ntfs-fragmented" in "disk0", Kept::NTFS, Least { xattrs: 0, others: 0, ..FULL };
    fat16: "fat16" in "disk0", Kept::FAT, Least { files: 400, xattrs: 0, others: 0 };
    fat32: "fat32" in "disk0", Kept::FAT, Least { files: 3000, xattrs: 0, others: 0 };
    exfat: "exfat" in "disk0", Kept::EXFAT, Least { files: 3000, xattrs: 0, others: 0 };
    lvm_over_two_disks: "lvm-linear" in "lvm/guest/data", Kept::ALL, FULL;
    lvm_striped_over_two_disks: "lvm-striped" in "lvm/guest/data", Kept::ALL, FULL;
    a_partition_in_lvm: "lvm-gpt" in "lvm/guest/data/part1", Kept::ALL, FULL;
    luks2_over_lvm: "lvm-luks2" in "lvm/guest/data/luks", Kept::BTRFS, FULL;
}
