//! XFS against the kernel's mount of the same image; version 4, which this kernel does not mount, against what was put
//! into it.

mod content;
mod dirty;
mod hostile;
mod version4;

use crate::compare::{Compared, Count, assert_same};
use crate::fixture::{Mounted, can_mount, sh};
use guestfs::{FileDevice, GuestFs, OpenOptions, ReadAt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder for images: in memory where the machine has such a place, because a disk makes each sync slow.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

/// An empty file system of 320 MiB.
fn make(folder: &Path, name: &str, options: &str) -> PathBuf {
    make_of(folder, name, options, 320)
}

fn make_of(folder: &Path, name: &str, options: &str, mebibytes: u64) -> PathBuf {
    let image = folder.join(format!("{name}.img"));
    // Without that option mkfs makes no small ones and no small logs.
    sh(&format!(
        "truncate -s {mebibytes}M '{0}'; mkfs.xfs -q --unsupported -L 'a label' {options} '{0}' 2>&1",
        image.display()
    ));
    image
}

fn mount(image: &Path) -> Mounted {
    Mounted::new(image, "nouuid")
}

fn open(image: &Path) -> Arc<dyn GuestFs> {
    let device = Arc::new(FileDevice::open(image).unwrap());
    guestfs::xfs::open(device, &OpenOptions::default()).unwrap()
}

/// Compares an image that was unmounted with the kernel's mount of it, which does not write.
#[track_caller]
fn same(image: &Path) -> Count {
    let fs = open(image);
    assert_eq!(fs.info().warnings, Vec::<String>::new());
    let mounted = Mounted::new(image, "ro,norecovery,nouuid");
    let device = FileDevice::open(image).unwrap();
    assert_same(&*fs, &device, &mounted.0, Compared::default())
}

/// Compares an image as it lies there with the kernel's mount of a copy of it, in which the kernel replays the log.
#[track_caller]
fn same_after_replay(image: &Path) -> Count {
    sh(&format!("xfs_logprint -t '{}' 2>/dev/null | grep -q 'state: <DIRTY>'", image.display()));
    let fs = open(image);
    assert_eq!(fs.info().warnings, Vec::<String>::new());
    let copy = image.with_extension("copy.img");
    sh(&format!("cp --sparse=always '{}' '{}'", image.display(), copy.display()));
    let mounted = mount(&copy);
    let device = FileDevice::open(image).unwrap();
    let count = assert_same(&*fs, &device, &mounted.0, Compared::default());
    drop(mounted);
    std::fs::remove_file(copy).unwrap();
    count
}

/// Where the log lies, in bytes.
fn log_of(device: &dyn ReadAt) -> std::ops::Range<u64> {
    let mut head = vec![0; 512];
    device.read_at(&mut head, 0).unwrap();
    let number = |at: usize, length: usize| {
        head[at..at + length].iter().fold(0u64, |number, &byte| (number << 8) | u64::from(byte))
    };
    let (start, log) = (number(48, 8), number(124, 1));
    let block = (start >> log) * number(84, 4) + (start & ((1 << log) - 1));
    block * number(4, 4)..(block + number(96, 4)) * number(4, 4)
}

/// How often the log was begun from its beginning.
fn log_round(image: &Path) -> u32 {
    let device = FileDevice::open(image).unwrap();
    let mut block = [0; 8];
    device.read_at(&mut block, log_of(&device).start).unwrap();
    let word = if block[..4] == [0xfe, 0xed, 0xba, 0xbe] { &block[4..] } else { &block[..4] };
    u32::from_be_bytes(word.try_into().unwrap())
}

/// Fills a new file system with everything, and compares it.
#[track_caller]
fn filled(name: &str, options: &str) -> Option<Count> {
    if !can_mount(&["mkfs.xfs", "setfacl", "xfs_io"]) {
        return None;
    }
    let folder = folder();
    let image = make(folder.path(), name, options);
    let mounted = mount(&image);
    content::fill(&mounted.0, !options.contains("reflink=0"));
    drop(mounted);
    let count = same(&image);
    assert!(count.files > 250 && count.directories > 15 && count.links >= 4, "{count:?}");
    assert!(count.others >= 4 && count.xattrs > 100 && count.bytes > 4 << 20, "{count:?}");
    assert!(count.holes > 5 << 30, "{count:?}");
    Some(count)
}

#[test]
fn shows_what_the_kernel_shows_with_the_defaults() {
    filled("default", "");
}

#[test]
fn times_of_32_bits_and_counters_of_64_and_reverse_maps() {
    filled("old-times", "-m bigtime=0,rmapbt=1 -i nrext64=1");
}

#[test]
fn small_blocks_in_folders_of_large_ones_without_reflink() {
    filled("small-blocks", "-b size=1024 -n size=16384 -m reflink=0,finobt=0,inobtcount=0 -i sparse=0");
}

#[test]
fn large_blocks_and_inodes() {
    filled("large-blocks", "-b size=65536 -i size=2048");
}

#[test]
fn large_sectors_many_groups_and_a_striped_log() {
    filled("sectors", "-s size=4096 -d agcount=4 -l su=65536,version=2 -i size=1024 -n size=65536");
}

#[test]
fn another_uuid_than_that_of_the_metadata() {
    if !can_mount(&["mkfs.xfs", "xfs_admin"]) {
        return;
    }
    let folder = folder();
    let image = make(folder.path(), "uuid", "");
    let mounted = mount(&image);
    sh(&format!("cd {}; mkdir a; seq 100 > a/b; ln -s $(printf x%.0s $(seq 900)) c", mounted.0.display()));
    drop(mounted);
    let uuid = "12345678-9abc-4def-8123-456789abcdef";
    sh(&format!("xfs_admin -U {uuid} '{0}'; xfs_admin -L other '{0}'", image.display()));
    let device = FileDevice::open(&image).unwrap();
    let recognised = guestfs::xfs::recognise(&device).unwrap().unwrap();
    assert_eq!((recognised.uuid.as_deref(), recognised.label.as_deref()), (Some(uuid), Some("other")));
    assert_eq!((recognised.kind, recognised.size), ("xfs", 320 << 20));
    let count = same(&image);
    assert_eq!((count.directories, count.files, count.links), (2, 1, 1));
}

#[test]
fn what_is_no_xfs_is_not_recognised() {
    let device = guestfs::MemoryDevice(vec![0; 1 << 16]);
    assert_eq!(guestfs::xfs::recognise(&device).unwrap(), None);
    assert_eq!(guestfs::xfs::recognise(&guestfs::MemoryDevice(b"XFSB".to_vec())).unwrap(), None);
}
