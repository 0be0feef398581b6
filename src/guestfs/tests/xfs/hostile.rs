//! Images that are not what they seem: bits flipped with and without the checksums put right, structures at wrong
//! places, cut off ends. All of it may be refused, nothing may panic or go on for ever.

use super::content::noise;
use super::{log_of, make, mount};
use crate::fixture::{can_mount, sh};
use crate::hostile::walk;
use guestfs::{Device, FileDevice, OpenOptions, Overlay, ReadAt, Window};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A little of everything.
fn fill(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    for (folder, count) in [("block", 12), ("leaf", 150), ("node", 700)] {
        let folder = root.join(folder);
        fs::create_dir(&folder).unwrap();
        let first = folder.join("first");
        fs::write(&first, "first").unwrap();
        for index in 0..count {
            fs::hard_link(&first, folder.join(format!("{index:0150}"))).unwrap();
        }
    }
    let holes = File::create(root.join("holes")).unwrap();
    for index in 0..300u64 {
        holes.write_all_at(b"x", index * 131_072).unwrap();
    }
    let shown = root.display();
    sh(&format!(
        "cd {shown}; seq 1000 > a/file; ln -s target link; ln -s $(printf x%.0s $(seq 900)) long; mkfifo fifo
         setfacl -m u:5:r a/file; setfattr -n user.x -v $(printf x%.0s $(seq 3000)) a/file
         for n in $(seq 60); do setfattr -n user.$n -v $(printf x%.0s $(seq 200)) a/b; done"
    ));
}

/// Where the checksum of a block of metadata stands, and how many bytes it covers.
fn sealed(bytes: &[u8]) -> Option<(usize, usize)> {
    match &bytes[..4] {
        b"XFSB" => return Some((224, 512)),
        b"XDB3" | b"XDD3" => return Some((4, 4096)),
        b"BMA3" => return Some((64, 4096)),
        b"XSLM" | b"XARM" => return Some((12, 4096)),
        _ => {}
    }
    if bytes.starts_with(b"IN\x81") || bytes.starts_with(b"IN\x41") || bytes.starts_with(b"IN\xa1") {
        return Some((100, 512));
    }
    matches!(bytes[8..10], [0x3d, 0xf1 | 0xff] | [0x3e | 0x3b, 0xbe | 0xee]).then_some((12, 4096))
}

fn seal(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let crc = crc32c::crc32c(bytes);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// The places of all metadata of an image of blocks of 4 KiB.
fn metadata(image: &Path) -> Vec<(u64, usize, usize)> {
    let device = FileDevice::open(image).unwrap();
    let mut places = Vec::new();
    let mut block = vec![0; 4096];
    // What the log has of metadata is no metadata.
    let log = log_of(&device);
    for offset in (0..device.size()).step_by(4096).filter(|offset| !log.contains(offset)) {
        device.read_at(&mut block, offset).unwrap();
        if block.iter().all(|&byte| byte == 0) {
            continue;
        }
        for at in (0..4096).step_by(512) {
            if let Some((crc, length)) = sealed(&block[at..])
                && (at == 0 || length == 512)
            {
                places.push((offset + at as u64, crc, length));
            }
        }
    }
    places
}

/// Opens and walks; tells how many nodes there were.
fn look(device: Device) -> usize {
    let options = OpenOptions { cache_bytes: 1 << 20, journal_bytes: 8 << 20, ignore_journal: false };
    guestfs::xfs::open(device, &options).map_or(0, |fs| walk(&*fs).nodes)
}

struct Random(std::vec::IntoIter<u8>, u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(noise(seed, 1 << 16).into_iter(), seed)
    }

    fn below(&mut self, limit: usize) -> usize {
        if self.0.len() < 4 {
            *self = Random::new(self.1 + 1);
        }
        let mut next = || self.0.next().unwrap_or(0);
        u32::from_le_bytes([next(), next(), next(), next()]) as usize % limit
    }
}

#[test]
fn walks_over_thousands_of_damaged_images() {
    if !can_mount(&["mkfs.xfs", "setfattr"]) {
        return;
    }
    let folder = super::folder();
    let image = super::make_of(folder.path(), "damaged", "-l size=10m", 64);
    let mounted = mount(&image);
    fill(&mounted.0);
    drop(mounted);
    let base: Device = Arc::new(FileDevice::open(&image).unwrap());
    let whole = look(base.clone());
    assert!(whole > 10, "{whole}");
    let places = metadata(&image);
    assert!(places.len() > 60, "{}", places.len());
    let mut random = Random::new(1);
    let mut different = 0;
    for round in 0..2000 {
        let (offset, crc, length) = places[random.below(places.len())];
        let mut bytes = vec![0; length];
        base.read_at(&mut bytes, offset).unwrap();
        for _ in 0..1 + random.below(4) {
            // Most of what matters is in the first bytes.
            let at = if random.below(3) == 0 { random.below(length) } else { random.below(200) };
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = 0xff,
                2 => bytes[at] = random.below(256) as u8,
                _ => {
                    let other = random.below(length);
                    bytes[at] = bytes[other];
                }
            }
        }
        if round % 5 != 0 {
            seal(&mut bytes, crc);
        }
        let mut damaged = Overlay::new(base.clone(), 1 << 20);
        damaged.write(offset, &bytes).unwrap();
        different += usize::from(look(Arc::new(damaged)) != whole);
    }
    assert!(different > 20, "{different}");
    // Structures of one inode where another's belong, with the checksums right.
    for _ in 0..300 {
        let (from, crc, length) = places[random.below(places.len())];
        let (to, _, room) = places[random.below(places.len())];
        if length != room {
            continue;
        }
        let mut bytes = vec![0; length];
        base.read_at(&mut bytes, from).unwrap();
        seal(&mut bytes, crc);
        let mut damaged = Overlay::new(base.clone(), 1 << 20);
        damaged.write(to, &bytes).unwrap();
        look(Arc::new(damaged));
    }
    for size in [0, 1, 511, 512, 4096, 65536, 50 << 20, (64 << 20) - 1] {
        assert_eq!(look(Arc::new(Window::new(base.clone(), 0, size))), 0, "cut off at {size}");
    }
}

#[test]
fn walks_over_damaged_images_without_checksums() {
    if !can_mount(&["mkfs.xfs"]) {
        return;
    }
    let folder = super::folder();
    let mut description = String::from("/dev/null\n0 0\nd--755 0 0\n");
    let file = folder.path().join("content");
    fs::write(&file, "content").unwrap();
    for (name, count) in [("few", 4), ("block", 30), ("leaf", 200), ("node", 900)] {
        description += &format!("{name} d--755 0 0\n");
        for index in 0..count {
            description += &format!("{index:0100} ---644 0 0 {}\n", file.display());
        }
        description += "$\n";
    }
    description += &format!("link l--777 0 0 {}\n$\n", "x".repeat(900));
    let path = folder.path().join("description");
    fs::write(&path, description).unwrap();
    let image = make(folder.path(), "old", &format!("-m crc=0 -i size=512 -p {}", path.display()));
    let base: Device = Arc::new(FileDevice::open(&image).unwrap());
    let mut places = Vec::new();
    let mut block = vec![0; 4096];
    for offset in (0..8u64 << 20).step_by(4096) {
        base.read_at(&mut block, offset).unwrap();
        if matches!(&block[..4], b"XD2B" | b"XD2D" | b"XFSB") || matches!(block[8], 0xd2 | 0xfe) {
            places.push(offset);
        } else if block.starts_with(b"IN") {
            places.extend((0..4096).step_by(512).map(|at| offset + at));
        }
    }
    assert!(places.len() > 100, "{}", places.len());
    let mut random = Random::new(2);
    for _ in 0..400 {
        let mut damaged = Overlay::new(base.clone(), 1 << 20);
        for _ in 0..1 + random.below(3) {
            let offset = places[random.below(places.len())] + random.below(256) as u64;
            damaged.write(offset, &[random.below(256) as u8]).unwrap();
        }
        look(Arc::new(damaged));
    }
}

#[test]
fn replays_thousands_of_damaged_logs() {
    if !can_mount(&["mkfs.xfs", "xfs_io", "setfattr"]) {
        return;
    }
    let folder = super::folder();
    let image = super::make_of(folder.path(), "log", "-l size=10m", 64);
    let mounted = mount(&image);
    sh(&format!(
        "cd {0}; mkdir a; for n in $(seq 50); do echo $n > a/$n; done; setfattr -n user.x -v y a/7; ln -s x a/x
         rm a/9; cp --reflink=always a/7 a/8; mkdir b; truncate -s 10 a/10; sync -f .
         xfs_io -x -c 'shutdown -f' .",
        mounted.0.display()
    ));
    drop(mounted);
    let base: Device = Arc::new(FileDevice::open(&image).unwrap());
    let log = log_of(&*base);
    let mut head = vec![0; 1 << 20];
    base.read_at(&mut head, log.start).unwrap();
    let magic = [0xfe, 0xed, 0xba, 0xbe];
    let records: Vec<usize> = (0..head.len()).step_by(512).filter(|&at| head[at..at + 4] == magic).collect();
    let length = |at: usize| u32::from_be_bytes(head[at + 12..at + 16].try_into().unwrap()) as usize;
    let records: Vec<usize> = records.into_iter().filter(|&at| length(at) > 512).collect();
    assert!(!records.is_empty());
    let whole = look(base.clone());
    assert!(whole > 50, "{whole}");
    let mut random = Random::new(3);
    let mut different = 0;
    for round in 0..1500 {
        let at = records[random.below(records.len())];
        let end = at + 512 + length(at);
        let mut record = head[at..end].to_vec();
        for _ in 0..1 + random.below(3) {
            let place = if random.below(6) == 0 { random.below(512) } else { random.below(record.len()) };
            match random.below(3) {
                0 => record[place] ^= 1 << random.below(8),
                1 => record[place] = 0xff,
                _ => record[place] = random.below(256) as u8,
            }
        }
        if round % 5 != 0 {
            record[32..36].fill(0);
            let crc = crc32c::crc32c_append(crc32c::crc32c(&record[..328]), &record[512..]);
            record[32..36].copy_from_slice(&crc.to_le_bytes());
        }
        let mut damaged = Overlay::new(base.clone(), 1 << 20);
        damaged.write(log.start + at as u64, &record).unwrap();
        different += usize::from(look(Arc::new(damaged)) != whole);
    }
    assert!(different > 20, "{different}");
}
