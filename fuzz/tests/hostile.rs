//! What every reader must survive, one after another and the same each time: seeds that are cut off, with single bits
//! flipped, with folders in themselves, with names that would lead elsewhere, with numbers that are far too large.
//!
//! Each look is bounded in memory and in reads, and keeps the promises of `GuestFs`: see `exercise::guest`.

use exercise::guest::image::{Counted, Image, View};
use exercise::guest::input::Input;
use exercise::guest::targets::{self, ALL};
use exercise::guest::{OPTIONS, Target, layers, sums};
use guestfs::tree::{Event, Step, Tree, WalkOptions};
use guestfs::{Device, Error, FileKind};
use std::ops::ControlFlow;
use std::sync::Arc;

fn input(seed: usize) -> Input {
    Input { seed: seed as u8, reseal: true, ..Input::default() }
}

/// Numbers that look random, and are the same each time.
fn numbers() -> impl FnMut(usize) -> usize {
    let mut state = 0x1234_5678_9abc_def1_u64;
    move |limit| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as usize % limit.max(1)
    }
}

/// Every seed of every target.
fn seeds() -> impl Iterator<Item = (&'static Target, usize)> {
    ALL.into_iter().flat_map(|target| (0..target.seeds.len()).map(move |seed| (target, seed)))
}

/// Without them a seed would only prove that damage is seen, and not what lies behind it.
#[test]
fn the_checksums_of_seeds_are_known() {
    for (target, seed) in seeds() {
        let without = match target.name {
            // ext2, bigalloc without `metadata_csum`, ext3.
            "ext" => [2, 3, 7].contains(&seed),
            // Version 4.
            "xfs" => seed == 2,
            // An MBR.
            "layers" => seed == 1,
            name => ["ntfs", "fat", "iso9660"].contains(&name),
        };
        assert_eq!(target.seed(seed as u8).sums.is_empty(), without, "{} {seed}", target.name);
    }
}

#[test]
fn cut_off_at_every_power_of_two_and_anywhere() {
    let mut below = numbers();
    for (target, seed) in seeds() {
        let sectors = target.seed(seed as u8).image.size().div_ceil(512) as usize;
        let powers = (0..24).map(|power| 1 << power).take_while(|length| *length < sectors);
        let cuts: Vec<usize> = powers.chain((0..24).map(|_| below(sectors))).chain([0]).collect();
        for cut in cuts {
            target.run(&Input { cut: Some(cut as u32), ..input(seed) }.encode());
        }
    }
}

/// A bit in every block that a reader reads, and more of them in those that hold much.
#[test]
fn single_bits_flipped_with_checksums_wrong_and_right() {
    let mut below = numbers();
    for (target, seed) in seeds() {
        let loaded = target.seed(seed as u8);
        let groups = target.hot(loaded);
        assert!(!groups.is_empty(), "{} reads nothing of seed {seed}", target.name);
        // Those that derive keys take long.
        let rounds = if target.name == "layers" { 40 } else { 160 };
        for round in 0..rounds {
            let lines = &groups[if round < groups.len() { round } else { below(groups.len()) }];
            let at = lines[below(lines.len())] + below(16) as u64;
            let byte = loaded.image.bytes(at, 1)[0] ^ 1 << below(8);
            for reseal in [false, true] {
                let edits = vec![(at, vec![byte])];
                target.run(&Input { reseal, edits, ignore_journal: round % 2 == 0, ..input(seed) }.encode());
            }
        }
    }
}

/// Numbers of four bytes become the largest there are, in both orders of bytes: sizes, counts, offsets.
#[test]
fn absurd_numbers_everywhere() {
    let mut below = numbers();
    for (target, seed) in seeds() {
        let groups = target.hot(target.seed(seed as u8));
        let rounds = if target.name == "layers" { 24 } else { 100 };
        for round in 0..rounds {
            let lines = &groups[below(groups.len().min(if round % 2 == 0 { 3 } else { usize::MAX }))];
            let at = lines[below(lines.len())] + 4 * below(4) as u64;
            let value = [[0xff; 4], [0xff, 0xff, 0xff, 0x7f], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0xff, 0xff]]
                [round % 4];
            target.run(&Input { edits: vec![(at, value.to_vec())], ..input(seed) }.encode());
        }
    }
}

/// Where bytes stand in an image, none of them over the end of a block of 4 KiB.
fn places(image: &Image, needle: &[u8]) -> Vec<u64> {
    let found = |block: u64| {
        let bytes = image.bytes(block, 4096);
        let all = bytes.windows(needle.len()).enumerate().filter(|(_, part)| *part == needle);
        all.map(|(at, _)| block + at as u64).collect::<Vec<_>>()
    };
    image.used().flat_map(found).collect()
}

fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A folder in a seed.
struct Folder {
    target: &'static Target,
    seed: usize,
    /// Changes after which the folder is one above it.
    into_itself: Vec<(u64, Vec<u8>)>,
    /// Where a character of its name stands, which is not the first of more.
    names: Vec<u64>,
}

/// A folder in an image of each reader.
fn folders() -> Vec<Folder> {
    let image = |target: &'static Target, seed: u8| target.seed(seed).image.clone();
    let mut all = Vec::new();
    let mut add = |target, seed, into_itself: Vec<(u64, Vec<u8>)>, names: Vec<u64>| {
        assert!(!into_itself.is_empty() && !names.is_empty());
        all.push(Folder { target, seed, into_itself, names });
    };

    // Inode, length of the entry, length of the name, type; the root is inode 2.
    for seed in [1, 2] {
        let found = places(&image(&targets::EXT, seed as u8), b"\x05\x02empty");
        let edits = found.iter().map(|at| (at - 6, vec![2, 0, 0, 0])).collect();
        add(&targets::EXT, seed, edits, found.iter().map(|at| at + 3).collect());
    }
    // A short form: name, type, number of four bytes.
    let xfs = image(&targets::XFS, 0);
    let root = xfs.bytes(56 + 4, 4);
    let found = places(&xfs, b"empty\x02");
    add(
        &targets::XFS,
        0,
        found.iter().map(|at| (at + 6, root.clone())).collect(),
        found.iter().map(|at| at + 1).collect(),
    );
    // An entry of an index: the file's reference, 16 bytes before the key, which begins with that of the folder and has
    // the name at 0x42. `e` stands in `d`.
    let ntfs = image(&targets::NTFS, 0);
    let is_entry = |at: &u64| ntfs.bytes(at - 0x40 - 6, 2) == [0x44, 0];
    let found: Vec<u64> = places(&ntfs, b"\x01\0e\0").into_iter().filter(is_entry).collect();
    let edits = found.iter().map(|at| (at - 0x50, ntfs.bytes(at - 0x40, 8))).collect();
    add(&targets::NTFS, 0, edits, found.iter().map(|at| at + 2).collect());
    // Items of folders: the key of the inode, 30 bytes before the name; the root is 256.
    let found = places(&image(&targets::BTRFS, 0), b"\0\0\x05\0\x02empty");
    let edits = found.iter().map(|at| (at + 5 - 30, vec![0, 1, 0, 0, 0, 0, 0, 0])).collect();
    add(&targets::BTRFS, 0, edits, found.iter().map(|at| at + 6).collect());
    // The first cluster of `Deep/er` becomes that of `Deep`.
    for seed in 0..3 {
        let fat = image(&targets::FAT, seed as u8);
        let entry = |name: &[u8; 12]| places(&fat, name)[0];
        let (deep, er) = (entry(b"DEEP       \x10"), entry(b"ER         \x10"));
        let edits = [20, 26].map(|field| (er + field, fat.bytes(deep + field, 2))).to_vec();
        add(&targets::FAT, seed, edits, vec![er + 1]);
    }
    // The place of the stream before the name, which is as long as the root now; the root's cluster is in the boot sector.
    let exfat = image(&targets::EXFAT, 0);
    let found = places(&exfat, &[&b"\xc1\0"[..], &wide("many"), &[0, 0]].concat());
    let root = exfat.bytes(96, 4);
    let size = 4096u64.to_le_bytes();
    let edits = |at: &u64| [(at - 24, size.to_vec()), (at - 12, root.clone()), (at - 8, size.to_vec())];
    let edits = found.iter().flat_map(edits).collect();
    add(&targets::EXFAT, 0, edits, found.iter().map(|at| at + 4).collect());
    // The extent of a record, 33 bytes before its name; that of the root is in the descriptor.
    let iso = image(&targets::ISO9660, 1);
    let found = places(&iso, b"\x04DEEP");
    let root = iso.bytes(32768 + 156 + 2, 8);
    let edits = found.iter().map(|at| (at + 1 - 33 + 2, root.clone())).collect();
    add(&targets::ISO9660, 1, edits, found.iter().map(|at| at + 2).collect());
    all
}

/// Everything below the root of a changed seed: how many events, and the errors among them.
fn walk(folder: &Folder, edits: Vec<(u64, Vec<u8>)>) -> (Vec<Vec<u8>>, Vec<String>) {
    let loaded = folder.target.seed(folder.seed as u8);
    let mut view = View::new(loaded.image.clone());
    view.edits = edits;
    sums::reseal(&mut view, &loaded.sums);
    let device: Device = Arc::new(Counted::new(view));
    let tree = Tree::of_volume(layers::inventory(&[device]), "disk0", OPTIONS).expect("a tree");
    let (mut paths, mut errors) = (Vec::new(), Vec::new());
    let ended = tree.walk(b"/", tree.root(), &WalkOptions::default(), &mut |event| {
        match event {
            Event::Entry(entry) => paths.push(entry.path.to_vec()),
            Event::Failed { error, .. } => errors.push(error.to_string()),
        }
        assert!(paths.len() + errors.len() < 5000, "{}: this does not end", folder.target.name);
        Step::Into
    });
    assert!(ended);
    (paths, errors)
}

#[test]
fn a_folder_that_stands_in_itself_is_entered_once_by_every_reader() {
    for folder in folders() {
        let name = folder.target.name;
        let (_, errors) = walk(&folder, Vec::new());
        assert_eq!(errors, [] as [&str; 0], "{name}, as it is");
        let (_, errors) = walk(&folder, folder.into_itself.clone());
        assert!(
            errors.iter().any(|error| error.contains("visited before")),
            "{name} {}: {errors:?}",
            folder.seed
        );
        // The same with all that can be asked.
        folder.target.run(&Input { edits: folder.into_itself.clone(), ..input(folder.seed) }.encode());
    }
}

#[test]
fn names_with_slashes_and_zeros_are_shown_by_no_reader() {
    for folder in folders() {
        let (before, _) = walk(&folder, Vec::new());
        for byte in [b'/', 0] {
            let edits: Vec<_> = folder.names.iter().map(|at| (*at, vec![byte])).collect();
            let (paths, _) = walk(&folder, edits.clone());
            let name = folder.target.name;
            assert!(paths.iter().all(|path| !path.contains(&0) && path != b"/e" && path != b"/m"), "{name}");
            // In FAT the short name is one of two, and the other stays.
            assert!(paths != before || name == "fat", "{name} {}: nothing changed", folder.seed);
            // That no name has a slash is asked there.
            folder.target.run(&Input { edits, ..input(folder.seed) }.encode());
        }
    }
}

/// Reads the last byte of what `path` names in a changed seed, or lists it.
fn read(target: &Target, seed: usize, edits: Vec<(u64, Vec<u8>)>, path: &str) -> guestfs::Result<()> {
    let loaded = target.seed(seed as u8);
    let mut view = View::new(loaded.image.clone());
    view.edits = edits;
    sums::reseal(&mut view, &loaded.sums);
    let fs = layers::inventory(&[Arc::new(Counted::new(view)) as Device]).open("disk0", &OPTIONS)?;
    let node = path.split('/').try_fold(fs.root(), |dir, name| fs.lookup(dir, name.as_bytes()))?;
    let stat = fs.stat(node)?;
    if stat.kind == FileKind::Directory {
        return fs.readdir(node, 0, &mut |_| ControlFlow::Continue(()));
    }
    let mut last = [0];
    fs.read_at(node, stat.size.saturating_sub(1), &mut last).map(|_| ())
}

/// A tree in a seed that leads into itself after `edits`, and what can't be read then.
#[track_caller]
fn assert_circle(target: &'static Target, seed: usize, edits: Vec<(u64, Vec<u8>)>, path: &str) {
    read(target, seed, Vec::new(), path).expect("the seed as it is");
    let read = read(target, seed, edits.clone(), path);
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{}: {read:?}", target.name);
    target.run(&Input { edits, ..input(seed) }.encode());
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[test]
fn trees_that_lead_into_themselves_are_damage() {
    // An extent tree of depth 1 in an inode: its only child becomes a node of depth 1 that is its own child.
    let ext = targets::EXT.seed(1).image.clone();
    let root = places(&ext, b"\x0a\xf3\x01\0\x04\0\x01\0")[0];
    let child = number(&ext.bytes(root + 12 + 4, 4));
    let node =
        [&b"\x0a\xf3\x01\0\x54\0\x01\0\0\0\0\0\0\0\0\0"[..], &(child as u32).to_le_bytes(), &[0; 4]].concat();
    let deeper = (root + 6, vec![2]);
    assert_circle(&targets::EXT, 1, vec![deeper, (child * 1024, node)], "fragments");
    // The index of a folder, all of whose entries lead back to it.
    let index = places(&ext, b"..\0\0\0\0\0\0\x01\x08\0\0")[0] - 20;
    let count = number(&ext.bytes(index + 0x22, 2)).max(2);
    let up = (0..count).map(|entry| (index + 0x24 + 8 * entry, vec![0; 4])).collect();
    assert_circle(&targets::EXT, 1, up, "names/first");

    // Inner nodes of btrfs, each of whose children is itself.
    let btrfs = targets::BTRFS.seed(0).image.clone();
    let inner = |at: &u64| {
        let head = btrfs.bytes(*at, 0x65);
        head[0x64] == 1 && head[0x20..0x30] == btrfs.bytes(65536 + 32, 16) && number(&head[0x60..0x64]) > 0
    };
    let inner: Vec<u64> = btrfs.used().filter(inner).collect();
    assert!(!inner.is_empty());
    let mut edits = Vec::new();
    for at in inner.into_iter().take(30) {
        edits.push((at + 0x65 + 17, btrfs.bytes(at + 0x30, 8)));
    }
    targets::BTRFS.run(&Input { edits, ..input(0) }.encode());

    // An attribute list, all of whose places are the record that it stands in.
    let ntfs = targets::NTFS.seed(0).image.clone();
    let records = ntfs.used().flat_map(|at| (at..at + 4096).step_by(512));
    let records: Vec<u64> = records.filter(|at| ntfs.bytes(*at, 4) == *b"FILE").collect();
    let mut lists = 0;
    for record in records {
        let bytes = ntfs.bytes(record, 1024);
        // The list is the second attribute, after the standard information. It has outgrown the record, so that its first
        // run of clusters of 512 bytes is what is changed.
        let first = number(&bytes[0x14..0x16]) as usize;
        let attribute = first + number(&bytes[first + 4..first + 8]) as usize;
        let Some(head) = bytes.get(attribute..attribute + 0x48).filter(|head| head[..4] == [0x20, 0, 0, 0])
        else {
            continue;
        };
        assert_eq!(head[8], 1, "in clusters");
        let pairs = &bytes[attribute + usize::from(head[0x20])..];
        let (counts, places) = (usize::from(pairs[0] & 15), usize::from(pairs[0] >> 4));
        let start = number(&pairs[1 + counts..1 + counts + places]) * 512;
        let end = (number(&pairs[1..1 + counts]) * 512).min(number(&head[0x30..0x38]));
        lists += 1;
        let itself = [&bytes[0x2c..0x30], &[0, 0], &bytes[0x10..0x12]].concat();
        let mut edits = Vec::new();
        let mut at = 0;
        while at + 0x1a <= end {
            edits.push((start + at + 0x10, itself.clone()));
            at += number(&ntfs.bytes(start + at + 4, 2)).max(0x1a);
        }
        targets::NTFS.run(&Input { edits, ..input(0) }.encode());
    }
    assert!(lists > 0);
}

#[test]
fn dots_are_names_of_no_entry() {
    let ext = targets::EXT.seed(1).image.clone();
    for dots in [&b"\x01\x02."[..], b"\x02\x02.."] {
        let edits = places(&ext, b"\x05\x02empty").iter().map(|at| (*at, dots.to_vec())).collect();
        targets::EXT.run(&Input { edits, ..input(1) }.encode());
    }
    let fat = targets::FAT.seed(1).image.clone();
    for dots in [b".          \x10", b"..         \x10"] {
        let edits = places(&fat, b"DEEP       \x10").iter().map(|at| (*at, dots.to_vec())).collect();
        targets::FAT.run(&Input { edits, ..input(1) }.encode());
    }
}
