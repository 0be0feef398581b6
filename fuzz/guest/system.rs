//! A guest's own records of itself: fstab, crypttab, mdadm.conf and os-release in a Linux, hives in a Windows.

use super::{OPTIONS, Seed, Target, image::View, layers, sums};
use crate::seed;
use guestfs::system::registry::{Hive, Key};
use guestfs::tree::{Event, Follow, Step, Tree, WalkOptions};
use guestfs::{Device, OpenOptions, Place};
use std::sync::{Arc, OnceLock};

/// Files that the input becomes, in parts with a NUL between them.
const FILES: [&str; 4] = ["etc/fstab", "etc/crypttab", "etc/os-release", "etc/mdadm/mdadm.conf"];
/// Bytes that each of them has.
const ROOM: usize = 4096;

/// Changes of a disk with a Windows, and of a hive alone.
pub static WINDOWS: Target = Target {
    name: "system",
    seeds: &[seed!("system-windows"), seed!("system-hive")],
    sums: sums::hive,
    run: windows,
    loaded: OnceLock::new(),
};
/// A Linux of one block a file.
static LINUX: Seed = seed!("system-linux");

/// Runs one input: of a Linux, whose files it is, where it begins with an `L`; of a Windows otherwise.
pub fn run(bytes: &[u8]) {
    match bytes.split_first() {
        Some((b'L', texts)) => linux(texts),
        _ => WINDOWS.run(bytes),
    }
}

/// Mutates an input.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    // The first byte decides, and both kinds go on from both kinds.
    if size > 0 && (data[0] == b'L') != (seed % 64 == 0) {
        let size = libfuzzer_sys::fuzzer_mutate(data, size, max_size);
        if size > 0 && seed % 16 != 0 {
            data[0] = b'L';
        }
        return size;
    }
    WINDOWS.mutate(data, size, max_size, seed)
}

fn linux(texts: &[u8]) {
    static LOADED: OnceLock<(View, Vec<u64>)> = OnceLock::new();
    let (view, places) = LOADED.get_or_init(|| {
        let view = View::new(Arc::new(super::image::Image::compressed(LINUX.bytes)));
        let fs = guestfs::ext::open(Arc::new(super::Counted::new(view.clone())), &OPTIONS).expect("the seed");
        let place = |path: &str| {
            let node =
                path.split('/').fold(fs.root(), |dir, name| fs.lookup(dir, name.as_bytes()).expect("a file"));
            match fs.map(node, 0).expect("a file").expect("a block").place {
                Place::Device(at) => at,
                other => panic!("{other:?}"),
            }
        };
        let places = FILES.map(place).to_vec();
        (view, places)
    });
    let mut view = view.clone();
    for (text, place) in texts.split(|&byte| byte == 0).zip(places) {
        let mut text = text[..text.len().min(ROOM - 1)].to_vec();
        text.push(b'\n');
        view.edits.push((*place, text));
    }
    let device: Device = Arc::new(super::Counted::new(view));
    super::memory::bounded(super::MEMORY, || tree(&[device.clone(), device.clone()], &OPTIONS));
}

fn windows(disks: &[Device], options: &OpenOptions, _: bool) {
    if let Ok(hive) = Hive::open(disks[0].clone()) {
        if let Ok(root) = hive.root() {
            keys(&hive, &root, &mut 500, 0);
        }
        let _ = hive.key("Microsoft\\Windows NT\\CurrentVersion");
    } else {
        tree(disks, options);
    }
}

/// All keys and values below one, as far as there is `left` of the bound.
fn keys(hive: &Hive, key: &Key, left: &mut usize, depth: usize) {
    for value in hive.values(key).into_iter().flatten().flatten() {
        let _ = value.text();
    }
    if let Ok(below) = hive.subkeys(key) {
        for name in below {
            if *left == 0 || depth > 20 {
                return;
            }
            *left -= 1;
            if let Ok(key) = hive.subkey(key, &name) {
                keys(hive, &key, left, depth + 1);
            }
        }
    }
}

/// The tree of a point's disks, walked within bounds.
fn tree(disks: &[Device], options: &OpenOptions) {
    let tree = Tree::open(layers::inventory(disks), options.clone());
    let system = tree.system();
    assert!(system.mounts.iter().all(|mount| mount.path.starts_with(b"/")));
    for mount in &system.mounts {
        let parts = mount.path.split(|&byte| byte == b'/');
        assert!(parts.clone().all(|part| part != b"." && part != b".." && !part.contains(&0)), "{mount:?}");
    }
    let mut left = 400;
    for sorted in [false, true] {
        let bounds = WalkOptions { sorted, max_folders: 200, ..WalkOptions::default() };
        tree.walk(b"/", tree.root(), &bounds, &mut |event| {
            left -= 1;
            if left == 0 {
                return Step::Stop;
            }
            if let Event::Entry(entry) = event {
                assert!(entry.path.starts_with(b"/"));
                let _ = entry.stat();
            }
            Step::Into
        });
        left = 400;
    }
    for path in [
        &b"/etc/fstab"[..],
        b"/../../C/Windows/../Users",
        b"/c/windows",
        b"/@volumes/../../x",
        b"//a//b/./c/..",
    ] {
        let _ = tree.resolve(path, Follow::All);
    }
    let _ = (tree.warnings(), tree.volumes());
}
