//! Layers that the real programs made: partition tables of sgdisk and sfdisk, groups of LVM, arrays of the kernel's md,
//! containers of cryptsetup and qemu. Their bytes are told apart by a pattern: every 4096 of them begin with a name and
//! their number.

mod damage;
mod luks;
mod lvm;
mod md;
mod nested;
mod partitions;
mod pool;

use guestfs::layers::{self, Inventory, LayerOptions};
use guestfs::{Content, Device, Disk, FileDevice, MemoryDevice, Volume};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// What the disks hold, without keys.
fn discover(disks: Vec<Device>) -> Inventory {
    discover_with(disks, &[])
}

/// What the disks hold.
fn discover_with(disks: Vec<Device>, keys: &[&[u8]]) -> Inventory {
    let disks: Vec<Disk> =
        disks.into_iter().enumerate().map(|(index, device)| Disk { index: index as u32, device }).collect();
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    layers::discover(&disks, &LayerOptions { keys })
}

/// The image file as a disk.
fn file(path: &Path) -> Device {
    Arc::new(FileDevice::open(path).unwrap())
}

/// The image file as a disk in memory that may be changed before it is looked at.
fn memory(bytes: Vec<u8>) -> Device {
    Arc::new(MemoryDevice(bytes))
}

/// Ids with what is in them, in a few words.
fn listed(inventory: &Inventory) -> Vec<String> {
    inventory.volumes.iter().map(|volume| format!("{}: {}", volume.id, words(&volume.content))).collect()
}

fn words(content: &Content) -> String {
    match content {
        Content::FileSystem(found) => found.kind.to_owned(),
        Content::Swap { .. } => "swap".to_owned(),
        Content::Member(of) => format!("member: {of}"),
        Content::Locked { kind, reason, .. } => format!("locked {kind}: {reason}"),
        Content::Refused(why) => format!("refused: {why}"),
        Content::Damaged(why) => format!("damaged: {why}"),
        Content::Unknown => "unknown".to_owned(),
    }
}

/// What is in the volume, in a few words.
#[track_caller]
fn content(inventory: &Inventory, id: &str) -> String {
    match inventory.volume(id) {
        Ok(volume) => words(&volume.content),
        Err(_) => panic!("no {id} in {:#?}", listed(inventory)),
    }
}

/// The start of the pattern's part `number`.
fn part(name: &str, number: u64) -> Vec<u8> {
    format!("{name} {number:08}").into_bytes()
}

/// Writes the pattern over `length` bytes of a file from `offset` on, with numbers from `first`.
fn fill(file: &File, name: &str, offset: u64, length: u64, first: u64) {
    for number in 0..length / 4096 {
        file.write_all_at(&part(name, first + number), offset + number * 4096).unwrap();
    }
}

/// Checks that a volume has `size` bytes, and the pattern from its beginning to its end, read in pieces of many sizes.
#[track_caller]
fn assert_pattern(inventory: &Inventory, id: &str, name: &str, size: u64) {
    let Ok(volume) = inventory.volume(id) else { panic!("no {id} in {:#?}", listed(inventory)) };
    assert_eq!(volume.size, size, "{id} in {:#?}", listed(inventory));
    assert_pattern_of(volume, name);
}

#[track_caller]
fn assert_pattern_of(volume: &Volume, name: &str) {
    let device = &volume.devices[0];
    assert_eq!(device.size(), volume.size);
    let mut whole = vec![0; usize::try_from(volume.size).unwrap()];
    device.read_at(&mut whole, 0).unwrap();
    for (number, bytes) in whole.chunks_exact(4096).enumerate() {
        let expected = part(name, number as u64);
        assert_eq!(
            String::from_utf8_lossy(&bytes[..expected.len()]),
            String::from_utf8_lossy(&expected),
            "at {} of {}",
            number * 4096,
            volume.id
        );
    }
    // The same bytes come in pieces that begin and end anywhere.
    let mut rng = testkit::image::Rng::new(volume.size);
    for _ in 0..200 {
        let offset = rng.below(volume.size);
        let length = rng.below((volume.size - offset).min(70_000) + 1);
        let mut piece = vec![0xaa; length as usize];
        device.read_at(&mut piece, offset).unwrap();
        assert!(piece == whole[offset as usize..(offset + length) as usize], "{length} bytes at {offset}");
    }
    assert!(device.read_at(&mut [0; 2], volume.size - 1).is_err());
}

/// The disks of a fixture that `fixtures.sh` made, of these sizes in KiB.
fn fixture(compressed: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
    let total = sizes.iter().sum::<usize>() * 1024;
    let mut bytes = zstd::bulk::decompress(compressed, total).unwrap();
    assert_eq!(bytes.len(), total);
    let mut disks = Vec::new();
    for size in sizes {
        let rest = bytes.split_off(size * 1024);
        disks.push(std::mem::replace(&mut bytes, rest));
    }
    disks
}

/// The disks of a fixture, in memory.
fn fixture_disks(compressed: &[u8], sizes: &[usize]) -> Vec<Device> {
    fixture(compressed, sizes).into_iter().map(memory).collect()
}
