//! ext2, ext3 and ext4 against the kernel's own mount.

mod damage;
mod fast_commit;
mod features;
mod folders;
mod journal;
mod refused;
mod tree;

use crate::compare::{Compared, Count, assert_same};
use crate::fixture::{Mounted, sh};
use guestfs::{Device, FileDevice, GuestFs, OpenOptions, ext};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A new file system in a sparse file of `size` (as `truncate` takes it).
#[track_caller]
fn make(dir: &Path, name: &str, size: &str, mkfs: &str) -> PathBuf {
    let image = dir.join(name);
    sh(&format!("truncate -s {size} '{0}'; {mkfs} -q -F '{0}'", image.display()));
    image
}

/// The bytes of an image, and its file system.
#[track_caller]
fn open(image: &Path) -> (Device, Arc<dyn GuestFs>) {
    let device: Device = Arc::new(FileDevice::open(image).unwrap());
    let fs = ext::open(device.clone(), &OpenOptions::default()).unwrap();
    (device, fs)
}

/// A sparse copy of an image as it is at this moment.
#[track_caller]
fn copy(image: &Path, name: &str) -> PathBuf {
    let copy = image.with_file_name(name);
    sh(&format!("cp --sparse=always '{}' '{}'", image.display(), copy.display()));
    copy
}

/// Compares an image with what the kernel shows of a copy of it.
#[track_caller]
fn same_as_kernel(image: &Path, what: Compared) -> Count {
    let truth = copy(image, "truth.img");
    same_as(Mounted::new(&truth, "noatime"), &truth, image, what)
}

/// The same; `None` where the kernel can't replay the image's journal itself.
#[track_caller]
fn same_as_kernel_if_it_can(image: &Path, what: Compared) -> Option<Count> {
    let truth = copy(image, "truth.img");
    let mounted = Mounted::if_possible(&truth, "noatime");
    mounted.map(|mounted| same_as(mounted, &truth, image, what))
}

#[track_caller]
fn same_as(mounted: Mounted, truth: &Path, image: &Path, what: Compared) -> Count {
    let (device, fs) = open(image);
    let count = assert_same(&*fs, &*device, &mounted.0, what);
    drop(mounted);
    std::fs::remove_file(truth).unwrap();
    count
}
