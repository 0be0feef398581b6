//! Damaged superblocks and descriptors, wrong checksums, and images that want to do harm.

use super::tree::fill;
use super::{copy, make, open};
use crate::compare::{Compared, assert_same};
use crate::fixture::{Mounted, can_mount, sh};
use crate::hostile;
use guestfs::{Device, Error, FileDevice, FileKind, MemoryDevice, OpenOptions, ext};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Flips a bit of an image.
fn flip(image: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

fn zero(image: &Path, at: u64, length: usize) {
    File::options().write(true).open(image).unwrap().write_all_at(&vec![0; length], at).unwrap();
}

#[test]
fn folders_that_may_be_out_of_step_do_not_tell_kinds() {
    if !can_mount(&["mkfs.ext4"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // `s_state`: clean, in use, with errors.
    for (mkfs, state, told) in [
        ("mkfs.ext2", 1, true),
        ("mkfs.ext2", 0, false),
        ("mkfs.ext2", 3, false),
        ("mkfs.ext3", 1, true),
        ("mkfs.ext3", 3, false),
    ] {
        let image = make(dir.path(), "a.img", "20M", mkfs);
        File::options().write(true).open(&image).unwrap().write_all_at(&[state], 1024 + 0x3a).unwrap();
        let (_, fs) = open(&image);
        let mut kinds = Vec::new();
        fs.readdir(fs.root(), 0, &mut |entry| {
            kinds.push((entry.name.to_vec(), entry.kind));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(kinds, [(b"lost+found".to_vec(), told.then_some(FileKind::Directory))], "{mkfs} {state}");
    }
}

#[test]
fn a_copy_of_the_superblock_and_of_descriptors_is_used() {
    if !can_mount(&["mkfs.ext4", "setfacl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for mkfs in [
        "mkfs.ext4 -b 1024",
        "mkfs.ext4 -b 1024 -O meta_bg,^resize_inode",
        "mkfs.ext2 -b 1024",
        "mkfs.ext4 -b 4096",
    ] {
        let image = make(dir.path(), "a.img", "200M", mkfs);
        let mounted = Mounted::new(&image, "noatime");
        fill(&mounted.0, 50, false);
        drop(mounted);
        let damaged = copy(&image, "damaged.img");
        if mkfs.contains("ext2") {
            zero(&damaged, 1024, 1024);
        } else {
            // The first superblock and the first descriptors after it.
            let block = if mkfs.contains("4096") { 4096 } else { 1024 };
            zero(&damaged, 1024, 1024);
            zero(&damaged, block.max(2048), 64);
        }
        let mounted = Mounted::new(&image, "ro");
        let (device, fs) = open(&damaged);
        let count = assert_same(&*fs, &*device, &mounted.0, Compared::default());
        assert!(count.files > 80, "{count:?}");
        assert!(
            fs.info().warnings.len() == 1 && fs.info().warnings[0].contains("copy"),
            "{:?}",
            fs.info().warnings
        );
        assert!(ext::recognise(&*device).unwrap().is_none(), "a copy may be older than what is here now");
    }
}

/// Where block `number` of a file lies.
fn block_of(image: &Path, file: &str, number: u64) -> u64 {
    let place = sh(&format!("debugfs -R 'bmap {file} {number}' '{}' 2>/dev/null", image.display()));
    place.trim().parse().unwrap()
}

#[test]
fn a_wrong_checksum_is_damage() {
    if !can_mount(&["mkfs.ext4", "setfacl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "64M", "mkfs.ext4 -b 1024 -I 256");
    let mounted = Mounted::new(&image, "noatime");
    fill(&mounted.0, 0, false);
    let many = mounted.0.join("many");
    fs::create_dir(&many).unwrap();
    for number in 0..200 {
        fs::write(many.join(format!("a longer name {number}")), b"").unwrap();
    }
    super::tree::set_xattr(&mounted.0.join("some of all/whole"), "user.block", &[7; 700]);
    drop(mounted);
    let stat = |path: &str, field: &str| -> u64 {
        let out = sh(&format!("debugfs -R 'stat \"{path}\"' '{}' 2>/dev/null", image.display()));
        let after = out.split(field).nth(1).unwrap_or_else(|| panic!("{field} in {out}"));
        after.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let imap = sh(&format!("debugfs -R 'imap /many' '{}' 2>/dev/null", image.display()));
    let table: u64 = imap.split("at block ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    let offset = imap.split("offset 0x").nth(1).unwrap().split_whitespace().next().unwrap();
    let inode_at = table * 1024 + u64::from_str_radix(offset, 16).unwrap();
    let extents = stat("/some of all/fragments", "(ETB0):");
    let attributes = stat("/some of all/whole", "File ACL:");
    let cases: [(&str, u64, &str); 5] = [
        ("an inode", inode_at + 0x10, "many"),
        ("a leaf of a folder", block_of(&image, "/many", 1) * 1024 + 9, "many/"),
        ("a folder's index", block_of(&image, "/many", 0) * 1024 + 40, "many/"),
        ("extents", extents * 1024 + 20, "some of all/fragments"),
        ("attributes", attributes * 1024 + 300, "some of all/whole"),
    ];
    for (what, at, path) in cases {
        let damaged = copy(&image, "damaged.img");
        flip(&damaged, at);
        let (_, fs) = open(&damaged);
        let mut node = Ok(fs.root());
        for name in path.split('/').filter(|name| !name.is_empty()) {
            node = node.and_then(|node| fs.lookup(node, name.as_bytes()));
        }
        let result = node.and_then(|node| {
            fs.stat(node)?;
            if path.ends_with('/') {
                fs.readdir(node, 0, &mut |_| ControlFlow::Continue(()))?;
            } else if path.contains('/') {
                fs.read_at(node, 0, &mut [0; 100_000])?;
            }
            fs.xattrs(node).map(|_| ())
        });
        assert!(
            matches!(&result, Err(Error::Corrupt { reason, .. }) if reason.contains("checksum")),
            "{what}: {result:?}"
        );
    }
}

/// Small images with everything, one with a dirty journal, one without checksums, one with old block maps.
fn seeds(dir: &Path) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (mkfs, options) in [
        ("mkfs.ext4 -b 1024 -I 256 -O ^metadata_csum,inline_data,fast_commit -J size=1 -N 256", "commit=900"),
        (
            "mkfs.ext4 -b 1024 -O ea_inode,^metadata_csum,meta_bg,^resize_inode,^has_journal -g 512 -N 256",
            "noatime",
        ),
        ("mkfs.ext2 -b 1024 -N 256", "noatime"),
        ("mkfs.ext4 -b 1024 -N 256 -J size=1", "data=journal,commit=900"),
    ] {
        let image = make(dir, "seed.img", "3M", mkfs);
        let mounted = Mounted::new(&image, options);
        fill(&mounted.0, 0, false);
        let many = mounted.0.join("many");
        fs::create_dir(&many).unwrap();
        fs::write(many.join("first"), [1; 3000]).unwrap();
        for number in 0..120 {
            fs::hard_link(many.join("first"), many.join(format!("name {number}"))).unwrap();
        }
        rustix::fs::syncfs(File::open(&mounted.0).unwrap()).unwrap();
        for number in 0..10 {
            let path = many.join(format!("new {number}"));
            fs::write(&path, vec![number; 2000]).unwrap();
            File::open(&path).unwrap().sync_all().unwrap();
        }
        seeds.push(fs::read(&image).unwrap());
        drop(mounted);
    }
    seeds
}

fn walk(bytes: Vec<u8>, ignore_journal: bool) -> (usize, usize) {
    let device: Device = Arc::new(MemoryDevice(bytes));
    let _ = ext::recognise(&*device);
    let options = OpenOptions { ignore_journal, journal_bytes: 4 << 20, cache_bytes: 1 << 20 };
    match ext::open(device, &options) {
        Ok(fs) => {
            let walked = hostile::walk(&*fs);
            (walked.nodes, walked.errors)
        }
        Err(_) => (0, 1),
    }
}

#[test]
fn hostile_images_are_errors_at_worst() {
    if !can_mount(&["mkfs.ext4", "setfacl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut nodes, mut errors) = (0, 0);
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for seed in seeds(dir.path()) {
        assert!(walk(seed.clone(), false).0 > 60, "the seed itself is whole");
        for length in [0, 1, 1024, 1500, 2048, 5000, 100_000, seed.len() / 2, seed.len() - 1] {
            walk(seed[..length].to_vec(), true);
        }
        // Blocks that say something: zeros and plain data are left alone.
        let blocks: Vec<usize> = (0..seed.len() / 1024)
            .filter(|block| {
                let bytes = &seed[block * 1024..(block + 1) * 1024];
                let zeros = bytes.iter().filter(|&&byte| byte == 0).count();
                (200..1020).contains(&zeros)
            })
            .collect();
        for round in 0..700 {
            let mut bytes = seed.clone();
            for _ in 0..1 + random(8) {
                let block = if random(6) == 0 { 1 } else { blocks[random(blocks.len() as u64) as usize] };
                let at = block * 1024 + random(1020) as usize;
                match random(5) {
                    0 => bytes[at] ^= 1 << random(8),
                    1 => bytes[at..at + 4].fill(0xff),
                    2 => bytes[at..at + 4].fill(0),
                    3 => bytes[at & !3..(at & !3) + 4].copy_from_slice(&(random(3200) as u32).to_le_bytes()),
                    _ => {
                        let other = blocks[random(blocks.len() as u64) as usize] * 1024;
                        let from = seed[other..other + 1024].to_vec();
                        bytes[block * 1024..(block + 1) * 1024].copy_from_slice(&from);
                    }
                }
            }
            let (some, wrong) = walk(bytes, round % 2 == 0);
            nodes += some;
            errors += wrong;
        }
    }
    assert!(nodes > 50_000 && errors > 500, "{nodes} nodes, {errors} errors");
}

#[test]
fn a_volume_that_ends_early_is_damage_where_it_ends() {
    if !can_mount(&["mkfs.ext4"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "64M", "mkfs.ext4");
    let mounted = Mounted::new(&image, "noatime");
    fill(&mounted.0, 200, false);
    drop(mounted);
    File::options().write(true).open(&image).unwrap().set_len(5 << 20).unwrap();
    let device: Device = Arc::new(FileDevice::open(&image).unwrap());
    let fs = ext::open(device, &OpenOptions::default()).unwrap();
    let walked = hostile::walk(&*fs);
    assert!(walked.errors > 0, "{walked:?}");
}
