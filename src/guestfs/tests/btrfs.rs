//! btrfs against the kernel's own mount of the same images.

mod hostile;
mod image;
mod log;
mod subvolumes;

use crate::compare::{self, Compared};
use crate::fixture::{can_mount, sh};
use guestfs::btrfs::{self, Btrfs};
use guestfs::{Device, Error, FileDevice, GuestFs, MemoryDevice, NodeId, OpenOptions, Place, ReadAt};
use image::{FILL, FILLED, Image, PROGRAMS, content, node};
use std::sync::Arc;

#[test]
fn every_checksum_and_size_of_nodes_reads_as_the_kernel_shows_it() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    for options in [
        "--csum crc32c",
        "--csum xxhash -n 4096",
        "--csum sha256 -n 65536",
        "--csum blake2 -n 32768",
        "-O ^no-holes,^extref,^skinny-metadata -R ^free-space-tree",
        "-M --csum crc32c",
        "-R quota",
    ] {
        let mut image = Image::new(1, "300M", options);
        image.fill("", FILL);
        let count = image.assert_same();
        assert_eq!((count.files, count.directories), FILLED, "{options}");
        assert!(
            count.bytes > 3_000_000 && count.holes > 5 << 30 && count.xattrs >= 6,
            "{options}: {count:?}"
        );
        assert_eq!((count.links, count.others), (2, 4), "{options}");
    }
}

#[test]
fn every_profile_reads_from_its_devices_and_from_those_that_are_left() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    // Devices, profile, and how many of them may be missing.
    for (devices, profile, spare) in [
        (1, "single", 0),
        (1, "dup", 0),
        (3, "raid0", 0),
        (2, "raid1", 1),
        (3, "raid1c3", 2),
        (4, "raid1c4", 3),
        (4, "raid10", 1),
        (3, "raid5", 1),
        (4, "raid6", 1),
    ] {
        let mut image = Image::new(devices, "300M", &format!("-d {profile} -m {profile}"));
        image.fill("", FILL);
        let mounted = image.mount("ro");
        for first in 0..devices.min(2) {
            for missing in 0..=spare {
                // All orders of devices begin with another one; the last ones are missing.
                let mut all: Vec<Device> = image.devices();
                all.rotate_left(first);
                all.truncate(devices - missing);
                if missing > 0 && first > 0 {
                    continue;
                }
                let device = all[0].clone();
                let fs = Btrfs::open(all, &OpenOptions::default()).unwrap();
                assert_eq!(fs.info().warnings.len(), missing, "{profile}: {:?}", fs.info().warnings);
                let count = compare::assert_same(&*fs, &*device, mounted.at(), Compared::default());
                assert_eq!((count.files, count.directories), FILLED, "{profile}");
            }
        }
        drop(mounted);
        // One missing more than can be.
        if devices > 1 && !matches!(profile, "raid1" | "raid1c3" | "raid1c4") {
            let mut few = image.devices();
            // Two of a RAID10 may be copies of each other, or not.
            few.truncate(if profile == "raid10" { 1 } else { devices - spare - 1 });
            match Btrfs::open(few, &OpenOptions::default()).map(|fs| hidden(&fs)) {
                Ok(Err(error)) | Err(error) => {
                    assert!(error.to_string().contains("is not among the disks"), "{profile}: {error}")
                }
                Ok(Ok(())) => panic!("{profile}: nothing is missing"),
            }
        }
        let member = btrfs::member(&*image.devices()[devices - 1]).unwrap().unwrap();
        assert_eq!((member.device_id, member.devices), (devices as u64, devices as u64));
    }
}

/// The first error of reading all of the largest file.
fn hidden(fs: &Arc<Btrfs>) -> guestfs::Result<()> {
    let mut at = fs.root();
    for name in ["folder", "in", "much"] {
        at = fs.lookup(at, name.as_bytes())?;
    }
    let mut bytes = vec![0; fs.stat(at)?.size as usize];
    fs.read_at(at, 0, &mut bytes).map(|_| ())
}

#[test]
fn every_compression_reads_as_the_kernel_shows_it() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    for compression in ["zlib:9", "lzo", "zstd:3"] {
        let mut image = Image::new(1, "300M", "");
        image.fill(
            &format!("compress-force={compression}"),
            &format!(
                "{FILL}
                for n in $(seq 200); do seq $n 97 20000; done > text
                for n in 1 5 100 1000 2000 4095 4096 4097 131072 131073 400000; do head -c $n text > text.$n; done
                sync
                # Parts of extents: written over, cloned, cut off, and holes.
                for n in $(seq 0 7 300); do printf 'new %s' $n | dd of=text bs=1 seek=$((n * 5003)) conv=notrunc status=none; done
                cp --reflink=always text cloned
                xfs_io -f -c 'reflink text 131072 4096 65536' -c 'reflink text 8192 200704 40960' part > /dev/null
                truncate -s 77777 cloned
                fallocate -p -o 100000 -l 30000 text
                truncate -s 3000 text.131072; truncate -s 9000 text.131072
                truncate -s 9000 text.1000
                "
            ),
        );
        let count = image.assert_same();
        assert!(count.files > FILLED.0 + 12 && count.bytes > 4_000_000, "{compression}: {count:?}");
        let (fs, _) = image.open();
        let run = fs.map(node(&*fs, "text.400000"), 0).unwrap().unwrap();
        assert_eq!(run.place, Place::Inside, "{compression}");
    }
}

#[test]
fn extents_of_all_forms_read_as_the_kernel_shows_them() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut image = Image::new(1, "500M", "");
    image.fill(
        "",
        "
        head -c 5000000 /dev/urandom > base
        sync
        cp --reflink=always base whole
        for n in 1 3 9 40 111; do xfs_io -f -c \"reflink base $((n * 4096)) $((n * 12288)) 20480\" parts > /dev/null; done
        xfs_io -f -c 'falloc 0 1m' -c 'pwrite 100k 50k' -c 'falloc 3m 1m' -c 'pwrite 3500k 4k' allocated > /dev/null
        echo some > beyond; fallocate -n -o 8192 -l 100000 beyond
        for n in $(seq 0 2 600); do echo $n | dd of=fragmented bs=1 seek=$((n * 4096)) conv=notrunc status=none; sync fragmented; done
        touch nocow; chattr +C nocow; head -c 700000 /dev/urandom > nocow
        mkdir collapse; head -c 100000 base > collapse/a; fallocate -p -o 20000 -l 30000 collapse/a; truncate -s 60001 collapse/a
        for n in 100 2047 2048 2049 3000 4095 4096; do head -c $n base > inline.$n; done
        truncate -s 100000 inline.100
        ",
    );
    let count = image.assert_same();
    assert!(count.files == 15 && count.bytes > 12_000_000 && count.holes > 1_500_000, "{count:?}");
    let (fs, _) = image.open();
    assert!(matches!(fs.map(node(&*fs, "base"), 5).unwrap().unwrap().place, Place::Device(_)));
    assert_eq!(fs.map(node(&*fs, "inline.2047"), 0).unwrap().unwrap().place, Place::Inside);
}

#[test]
fn folders_with_many_names_and_links_read_as_the_kernel_shows_them() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut image = Image::new(1, "300M", "-n 4096");
    image.fill(
        "",
        r#"
        mkdir many a b; echo one > many/first
        for n in $(seq 1500); do ln many/first "many/a link with a name that is somewhat longer than others $n"; done
        for n in $(seq 500); do ln many/first "a/$n"; ln many/first "b/$n"; done
        printf 'x' > "$(printf 'a/\xff\xfe\x80 not UTF-8')"
        printf 'x' > "$(printf 'a/%0255d' 7)"
        mkdir 'b/sub dir'; for n in $(seq 300); do : > "b/sub dir/$n"; done; rm -f b/sub\ dir/*7*
        for n in $(seq 40); do setfattr -n user.name$n -v "value $n" a; done
        setfattr -n user.large -v "$(printf 'v%.0s' $(seq 3000))" b
        "#,
    );
    let count = image.assert_same();
    assert!(count.files > 2700 && count.xattrs == 41, "{count:?}");
    let (fs, _) = image.open();
    assert_eq!(fs.stat(node(&*fs, "many/first")).unwrap().links, 2501);
}

#[test]
fn data_that_does_not_fit_its_checksum_comes_from_another_copy_or_not_at_all() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    for (profile, copies) in [("single", 1), ("dup", 2)] {
        let mut image = Image::new(1, "300M", &format!("-d {profile} -m dup"));
        image.fill("", "head -c 3000000 /dev/urandom > file; echo inline > small");
        let (fs, device) = image.open();
        let file = node(&*fs, "file");
        let whole = content(&*fs, file);
        let Place::Device(first) = fs.map(file, 40960).unwrap().unwrap().place else {
            panic!("not on the device")
        };
        drop(fs);
        let mut bytes = vec![0; device.size() as usize];
        device.read_at(&mut bytes, 0).unwrap();
        bytes[first as usize + 100] ^= 1;
        // A block of metadata, in one of two copies: the superblock's tree of trees.
        let broken: Device = Arc::new(MemoryDevice(bytes));
        let fs = btrfs::open(vec![broken], &OpenOptions::default()).unwrap();
        let mut buf = vec![0; whole.len()];
        match fs.read_at(file, 0, &mut buf) {
            Ok(_) => assert!(copies == 2 && buf == whole),
            Err(error) => assert!(copies == 1 && matches!(error, Error::Corrupt { .. }), "{error}"),
        }
        // What is whole is served all the same.
        assert_eq!(fs.read_at(file, 0, &mut buf[..40960]).unwrap(), 40960);
        assert_eq!(buf[..40960], whole[..40960]);
    }
}

#[test]
fn metadata_and_superblocks_come_from_a_copy_that_is_whole() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut image = Image::new(1, "300M", "-m dup");
    image.fill("", "echo hello > file");
    let (_, device) = image.open();
    let mut bytes = vec![0; device.size() as usize];
    device.read_at(&mut bytes, 0).unwrap();
    // The first of every two copies of each block: they bear the same address.
    let id: [u8; 16] = bytes[65536 + 32..65536 + 48].try_into().unwrap();
    let mut seen = std::collections::HashSet::new();
    let mut broken = 0;
    for at in (1 << 20..bytes.len() - 16384).step_by(4096) {
        if bytes[at + 32..at + 48] == id && bytes[at + 64..at + 72] != *b"_BHRfS_M" {
            let address: [u8; 8] = bytes[at + 48..at + 56].try_into().unwrap();
            if seen.insert(address) {
                bytes[at + 2000] ^= 0x55;
                broken += 1;
            }
        }
    }
    assert!(broken > 5, "{broken}");
    bytes[65536 + 300] ^= 1;
    let fs = btrfs::open(vec![Arc::new(MemoryDevice(bytes.clone()))], &OpenOptions::default()).unwrap();
    assert_eq!(content(&*fs, node(&*fs, "file")), b"hello\n");
    assert_eq!(fs.info().warnings.len(), 1, "{:?}", fs.info().warnings);
    // And nothing is left where both superblocks are broken.
    bytes[(64 << 20) + 300] ^= 1;
    let device = MemoryDevice(bytes);
    assert!(btrfs::recognise(&device).unwrap().is_none() && btrfs::member(&device).unwrap().is_none());
    assert!(matches!(
        btrfs::open(vec![Arc::new(device)], &OpenOptions::default()),
        Err(Error::Corrupt { .. })
    ));
}

#[test]
fn features_that_are_not_known_are_refused_by_name() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new(1, "300M", "-L 'a label'");
    let device = FileDevice::open(&image.paths()[0]).unwrap();
    let recognised = btrfs::recognise(&device).unwrap().unwrap();
    assert_eq!((recognised.kind, recognised.label.as_deref()), ("btrfs", Some("a label")));
    let blkid = sh(&format!("blkid -p -o value -s UUID {}", image.paths()[0].display()));
    assert_eq!(recognised.uuid.as_deref(), Some(blkid.trim()));
    let mut bytes = vec![0; 5 << 20];
    device.read_at(&mut bytes, 0).unwrap();
    for (at, bit, name) in [
        (188, 0x1000u64, "zoned"),
        (188, 0x2000, "extent-tree-v2"),
        (188, 0x4000, "raid-stripe-tree"),
        (188, 1 << 40, "0x10000000000"),
        (56, 1 << 33, "metadata dump"),
        (56, 1 << 36, "change of the UUID"),
    ] {
        let mut bytes = bytes.clone();
        let superblock = &mut bytes[65536..65536 + 4096];
        let old = u64::from_le_bytes(superblock[at..at + 8].try_into().unwrap());
        superblock[at..at + 8].copy_from_slice(&(old | bit).to_le_bytes());
        let sum = crc32c::crc32c(&superblock[32..]);
        superblock[..4].copy_from_slice(&sum.to_le_bytes());
        match btrfs::open(vec![Arc::new(MemoryDevice(bytes))], &OpenOptions::default()) {
            Err(Error::Unsupported(what)) => assert!(what.contains(name), "{what}"),
            other => panic!("{name}: {:?}", other.map(|fs| fs.info().clone())),
        }
    }
}

#[test]
fn what_is_no_file_system_of_one_piece_is_refused() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let (one, two) = (Image::new(1, "300M", ""), Image::new(1, "300M", ""));
    let both: Vec<Device> = one.devices().into_iter().chain(two.devices()).collect();
    assert!(matches!(Btrfs::open(both, &OpenOptions::default()), Err(Error::Corrupt { .. })));
    // The same device twice is one.
    let twice: Vec<Device> = one.devices().into_iter().chain(one.devices()).collect();
    assert!(Btrfs::open(twice, &OpenOptions::default()).is_ok());
    let pair = Image::new(2, "300M", "-d raid1 -m raid1");
    let mixed = vec![one.devices().remove(0), pair.devices().remove(1)];
    assert!(matches!(Btrfs::open(mixed, &OpenOptions::default()), Err(Error::Corrupt { .. })));
    assert!(Btrfs::open(Vec::new(), &OpenOptions::default()).is_err());
    assert!(btrfs::recognise(&MemoryDevice(vec![7; 200_000])).unwrap().is_none());
    assert!(btrfs::recognise(&MemoryDevice(vec![7; 1000])).unwrap().is_none());
    let fs = Btrfs::open(one.devices(), &OpenOptions::default()).unwrap();
    let nowhere = NodeId { tree: 5, inode: 9999 };
    assert!(fs.stat(nowhere).is_err() && fs.stat(NodeId { tree: 7, inode: 256 }).is_err());
    assert!(matches!(fs.read_at(fs.root(), 0, &mut [0; 9]), Err(Error::IsADirectory)));
    assert!(matches!(fs.readlink(fs.root()), Err(Error::NotASymlink)));
}
