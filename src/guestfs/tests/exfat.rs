//! exFAT against exfat-fuse, which fills and shows the images.

use crate::compare::{self, Compared, assert_same};
use crate::fixture::{Mounted, can_mount, sh};
use crate::hostile;
use guestfs::layers::{self, LayerOptions};
use guestfs::{Device, Disk, Error, GuestFs, MemoryDevice, NodeId, OpenOptions, Place, exfat};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

const PROGRAMS: [&str; 3] = ["mkfs.exfat", "mount.exfat-fuse", "blkid"];

/// A mount by exfat-fuse, which wants a block device.
fn mounted(image: &Path, options: &str) -> Mounted {
    Mounted::new(image, &format!("{options} -t exfat-fuse"))
}

fn made(dir: &Path, size: &str, mkfs: &str) -> PathBuf {
    let image = dir.join("image");
    sh(&format!(
        "rm -f '{0}'; truncate -s {size} '{0}'; mkfs.exfat {mkfs} -L 'Größe 漢' '{0}' > /dev/null",
        image.display()
    ));
    image
}

/// Fills a mount; and once more, so that what comes lies in the gaps of what went.
fn fill(at: &Path) {
    sh(&format!(
        r#"cd '{}'; mkdir -p Deep/er/still many; : > nothing; echo small > small.txt
        for i in $(seq 1 400); do echo "number $i" > "many/file number $i of them.text"; done
        for n in 1 14 15 16 29 30 31 100 255; do name=$(head -c $n /dev/zero | tr '\0' x); echo $n > "Deep/$name"; done
        echo unicode > 'Größe 漢字 😀.txt'; echo dots > '...many.dots.'; head -c 300000 /dev/urandom > Deep/er/random
        for i in $(seq 1 30); do head -c 5000 /dev/urandom > "gap$i"; done
        for i in $(seq 1 2 30); do rm "gap$i"; done
        head -c 90000 /dev/urandom > spread; truncate -s 70001 spread; mv spread Deep/er/still/
        for i in $(seq 1 60); do rm "many/file number $((i * 3)) of them.text"; mkdir "many/folder $i"; done
        truncate -s 200000 Deep/er/random; truncate -s 250000 Deep/er/random
        touch -d '1980-01-01 00:00:00Z' small.txt; touch -d '2099-12-31 23:59:58Z' nothing
        touch -d '2000-02-29 12:34:57Z' Deep/er/random"#,
        at.display()
    ));
}

fn open(image: Vec<u8>) -> guestfs::Result<(Arc<dyn GuestFs>, Device)> {
    let device: Device = Arc::new(MemoryDevice(image));
    Ok((exfat::open(device.clone(), &OpenOptions::default())?, device))
}

fn comparable() -> Compared {
    Compared {
        owners: false,
        links: false,
        xattrs: false,
        root_times: false,
        time_grain: 1_000_000_000,
        ..Compared::default()
    }
}

fn node(fs: &dyn GuestFs, path: &str) -> NodeId {
    path.split('/').fold(fs.root(), |dir, name| fs.lookup(dir, name.as_bytes()).unwrap())
}

fn content(fs: &dyn GuestFs, node: NodeId) -> guestfs::Result<Vec<u8>> {
    let mut bytes = vec![0; fs.stat(node)?.size as usize + 100];
    let length = fs.read_at(node, 0, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

#[test]
fn shows_what_exfat_fuse_shows_clean_and_in_use() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    for (size, mkfs) in [("16M", "-c 4K"), ("16M", "-c 512"), ("64M", "-c 128K")] {
        let image = made(dir.path(), size, mkfs);
        let copy = dir.path().join("copy");
        {
            let mount = mounted(&image, "rw");
            fill(&mount.0);
            sh(&format!("sync; cp --sparse=always '{}' '{}'", image.display(), copy.display()));
        }
        for (path, warnings) in [(&image, 0), (&copy, 1)] {
            let (fs, device) = open(fs::read(path).unwrap()).unwrap();
            assert_eq!(fs.info().warnings.len(), warnings, "{mkfs}: {:?}", fs.info().warnings);
            let mount = mounted(path, "ro");
            let count = assert_same(&*fs, &*device, &mount.0, comparable());
            assert!(
                count.files > 360 && count.directories == 65 && count.bytes > 300_000,
                "{mkfs}: {count:?}"
            );
            let recognised = exfat::recognise(&*device).unwrap().unwrap();
            let blkid = sh(&format!("blkid -p -o export '{}'", image.display()));
            assert!(blkid.contains(&format!("UUID={}\n", recognised.uuid.as_ref().unwrap())), "{blkid}");
            assert!(blkid.contains("TYPE=exfat"));
            assert_eq!(recognised.label.as_deref(), Some("Größe 漢"));
            assert_eq!((&fs.info().uuid, &fs.info().label), (&recognised.uuid, &recognised.label));
            assert_eq!(fs.info().size, device.size());
        }
    }
}

/// A small image with a few files, and where things are in it.
struct Image(Vec<u8>);

impl Image {
    fn new() -> Option<Image> {
        if !can_mount(&PROGRAMS) {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let image = made(dir.path(), "5M", "-c 4K");
        {
            let mount = mounted(&image, "rw");
            sh(&format!(
                r#"cd '{}'; echo a > 'Größe 漢字 Ω.txt'; head -c 20000 /dev/urandom > Plain.bin; mkdir Folder
                for i in $(seq 1 30); do echo $i > "Folder/number $i"; done; sync"#,
                mount.0.display()
            ));
        }
        Some(Image(fs::read(&image).unwrap()))
    }

    fn le32(&self, at: usize) -> usize {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap()) as usize
    }

    fn sector(&self) -> usize {
        1 << self.0[108]
    }

    fn cluster(&self, number: usize) -> usize {
        let per_cluster = 1 << self.0[109];
        (self.le32(88) + (number - 2) * per_cluster) * self.sector()
    }

    /// Where the set of the file with the size `size` is in the root folder.
    fn set(&self, size: u64) -> usize {
        let root = self.cluster(self.le32(96));
        (root..)
            .step_by(32)
            .find(|at| self.0[*at] == 0xC0 && self.0[at + 24..at + 32] == size.to_le_bytes())
            .unwrap()
            - 32
    }

    /// Computes the checksum of a set again.
    fn seal(&mut self, at: usize) {
        let length = (usize::from(self.0[at + 1]) + 1) * 32;
        let sum = (0..length)
            .filter(|byte| !matches!(byte, 2 | 3))
            .fold(0u16, |sum, byte| sum.rotate_right(1).wrapping_add(u16::from(self.0[at + byte])));
        self.0[at + 2..at + 4].copy_from_slice(&sum.to_le_bytes());
    }

    /// Computes the checksum of the boot region again.
    fn seal_boot(&mut self) {
        let sector = self.sector();
        let sum = (0..11 * sector)
            .filter(|byte| !matches!(byte, 106 | 107 | 112))
            .fold(0u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(self.0[byte])));
        for at in (11 * sector..12 * sector).step_by(4) {
            self.0[at..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

#[test]
fn names_are_compared_by_the_volumes_own_table() {
    let Some(image) = Image::new() else { return };
    let (fs, _) = open(image.0.clone()).unwrap();
    let find = |fs: &dyn GuestFs, name: &str| fs.lookup(fs.root(), name.as_bytes()).is_ok();
    for (name, found) in [
        ("GRÖSSE 漢字 ω.TXT", false),
        ("größe 漢字 ω.TXT", true),
        ("GRÖßE 漢字 Ω.txt", true),
        ("pLAIN.BIN", true),
        ("plain.bi", false),
        ("", false),
    ] {
        assert_eq!(find(&*fs, name), found, "{name}");
    }
    // Without the table names are only found as they are.
    let root = image.cluster(image.le32(96));
    let slot = (root..).step_by(32).find(|at| image.0[*at] == 0x82).unwrap();
    let mut damaged = image.0.clone();
    damaged[slot + 4] ^= 1;
    let (fs, _) = open(damaged).unwrap();
    assert!(find(&*fs, "Plain.bin") && !find(&*fs, "plain.bin"));
    assert!(fs.info().warnings[0].contains("up-case table"), "{:?}", fs.info().warnings);
    assert_eq!(content(&*fs, node(&*fs, "Plain.bin")).unwrap().len(), 20000);
}

#[test]
fn the_copy_of_the_boot_region_helps_where_the_first_is_damaged() {
    let Some(mut image) = Image::new() else { return };
    image.0[200] ^= 1;
    let (fs, _) = open(image.0.clone()).unwrap();
    assert!(fs.info().warnings[0].contains("copy"), "{:?}", fs.info().warnings);
    assert_eq!(content(&*fs, node(&*fs, "Plain.bin")).unwrap().len(), 20000);
    image.0[108] = 77;
    assert!(open(image.0.clone()).is_ok(), "another size of sectors");
    image.0[108] = 9;
    image.0[105] ^= 4;
    assert!(open(image.0.clone()).is_ok(), "another version");
    // Without a name too, where nothing else is known.
    image.0[..512].fill(0);
    let disk = Disk { index: 0, device: Arc::new(MemoryDevice(image.0.clone())) };
    let found = layers::discover(&[disk], &LayerOptions::default());
    let fs = found.open("disk0", &OpenOptions::default()).unwrap();
    assert_eq!(content(&*fs, node(&*fs, "Plain.bin")).unwrap().len(), 20000);
    image.0[3..11].copy_from_slice(b"EXFAT   ");
    image.0[510..512].copy_from_slice(&[0x55, 0xAA]);
    let copy = 12 * 512 + 300;
    image.0[copy] ^= 1;
    assert!(matches!(open(image.0.clone()), Err(Error::Corrupt { .. })));
    assert!(exfat::recognise(&MemoryDevice(image.0)).unwrap().is_some());
}

#[test]
fn what_was_never_written_reads_as_zeros() {
    let Some(mut image) = Image::new() else { return };
    let (fs, _) = open(image.0.clone()).unwrap();
    let whole = content(&*fs, node(&*fs, "Plain.bin")).unwrap();
    let set = image.set(20000);
    image.0[set + 32 + 8..set + 32 + 16].copy_from_slice(&7001u64.to_le_bytes());
    assert!(fs.read_at(node(&*fs, "Plain.bin"), 0, &mut [0; 9]).is_ok());
    let (fs, _) = open(image.0.clone()).unwrap();
    let error = |fs: &dyn GuestFs| fs.lookup(fs.root(), b"Plain.bin").unwrap_err();
    assert!(matches!(error(&*fs), Error::NotFound), "a set whose checksum does not fit");
    let listed = fs.readdir(fs.root(), 0, &mut |_| std::ops::ControlFlow::Continue(()));
    assert!(listed.unwrap_err().to_string().contains("checksum"));
    image.seal(set);
    let (fs, _) = open(image.0).unwrap();
    let plain = node(&*fs, "Plain.bin");
    assert_eq!(content(&*fs, plain).unwrap(), [&whole[..7001], &[0; 12999]].concat());
    let mut runs = Vec::new();
    let mut offset = 0;
    while let Some(run) = fs.map(plain, offset).unwrap() {
        runs.push((run.length, run.place == Place::Hole));
        offset += run.length;
    }
    assert_eq!(runs, [(7001, false), (12999, true)]);
}

#[test]
fn the_second_fat_counts_where_it_is_the_active_one() {
    let Some(mut image) = Image::new() else { return };
    let sector = image.sector();
    let (start, length) = (image.le32(80) * sector, image.le32(84) * sector);
    assert!(start + 2 * length <= image.le32(88) * sector, "there is room for it");
    image.0.copy_within(start..start + length, start + length);
    image.0[start..start + length].fill(0);
    image.0[110] = 2;
    image.0[106] |= 1;
    image.seal_boot();
    let (fs, _) = open(image.0.clone()).unwrap();
    assert_eq!(compare::entries(&*fs, node(&*fs, "Folder")).unwrap().len(), 30);
    assert_eq!(fs.info().warnings, Vec::<String>::new());
    image.0[106] &= !1;
    assert!(open(image.0).is_err(), "the first one is empty");
}

#[test]
fn what_vendors_add_is_passed_over_and_what_must_be_known_is_refused() {
    let Some(mut image) = Image::new() else { return };
    // The set of the folder is followed by nothing: there is room for one more entry.
    let root = image.cluster(image.le32(96));
    let end = (root..).step_by(32).find(|at| image.0[*at] == 0).unwrap();
    let last = (root..end).step_by(32).rfind(|at| image.0[*at] == 0x85).unwrap();
    image.0[end] = 0xE0;
    image.0[last + 1] += 1;
    image.seal(last);
    let names = |image: &Image| {
        let (fs, _) = open(image.0.clone()).unwrap();
        let mut count = 0;
        let result = fs.readdir(fs.root(), 0, &mut |_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        });
        (count, result.err().map(|error| error.to_string()))
    };
    assert_eq!(names(&image), (3, None));
    image.0[end] = 0xC7;
    image.seal(last);
    assert_eq!(names(&image), (2, Some("an exFAT entry of type 0xc7 is not supported".to_owned())));
}

#[test]
fn hostile_images_cost_errors_only() {
    let Some(image) = Image::new() else { return };
    let (fs, _) = open(image.0.clone()).unwrap();
    let whole = hostile::walk(&*fs);
    assert_eq!((whole.nodes, whole.errors), (34, 0));
    let root = image.cluster(image.le32(96));
    let fat = image.le32(80) * image.sector();
    let open = |device: Device| {
        exfat::recognise(&*device)?;
        exfat::open(device, &OpenOptions::default())
    };
    let hot = [root..root + 600, fat..fat + 100];
    let opened = hostile::mutate(image.0.clone(), &hot, 600, open);
    assert!(opened > 150, "{opened}");
    // Behind the checksums: what is wrong, and sealed all the same.
    let sets = [image.set(20000), image.set(4096)];
    let mut rng = testkit::image::Rng::new(9);
    let mut opened = 0;
    for round in 0..60 {
        let mut copy = Image(image.0.clone());
        for set in sets {
            for _ in 0..2 {
                let at = set + [4, 33, 35, 40, 44, 52, 53, 54, 56, 58, 61][rng.below(11) as usize];
                copy.0[at] = rng.next_u64() as u8;
            }
            copy.seal(set);
        }
        if round % 2 == 0 {
            let at = [96, 97, 92, 93, 88, 80, 84, 109, 110][rng.below(9) as usize];
            copy.0[at] = rng.next_u64() as u8;
            copy.seal_boot();
        }
        opened += hostile::mutate(copy.0, &hot, 4, open);
    }
    assert!(opened > 40, "{opened}");
}
