//! Whole disks of guests that real programs made: a Linux over two disks with LVM, a Windows with hives of hivex, and
//! what a tree shows of them, against what the kernel shows where the same volumes are mounted at the same places.

mod hives;
mod linux;
mod subvolumes;
mod windows;

use guestfs::layers::{Inventory, LayerOptions, discover};
use guestfs::tree::{Event, Step, Tree, WalkOptions};
use guestfs::{Device, Disk, FileDevice};
use std::path::Path;
use std::sync::Arc;

/// What is found on these images.
fn inventory(images: &[&Path]) -> Inventory {
    let disk = |(index, path): (u32, &&Path)| {
        let device: Device = Arc::new(FileDevice::open(path).unwrap());
        Disk { index, device }
    };
    let disks: Vec<Disk> = (0..).zip(images).map(disk).collect();
    discover(&disks, &LayerOptions::default())
}

/// All paths of a tree in their order, without `/@volumes`.
fn paths(tree: &Tree) -> Vec<String> {
    let options = WalkOptions { sorted: true, other_volumes: false, ..WalkOptions::default() };
    let mut paths = Vec::new();
    let ended = tree.walk(b"/", tree.root(), &options, &mut |event| {
        match event {
            Event::Entry(entry) => paths.push(String::from_utf8_lossy(entry.path).into_owned()),
            Event::Failed { path, error } => panic!("{}: {error}", String::from_utf8_lossy(path)),
        }
        Step::Into
    });
    assert!(ended);
    paths
}

/// Where everything stands, as `path volume`.
fn mounts(tree: &Tree) -> Vec<String> {
    let mounts = tree.system().mounts.iter();
    mounts.map(|mount| format!("{} {}", String::from_utf8_lossy(&mount.path), mount.volume)).collect()
}
