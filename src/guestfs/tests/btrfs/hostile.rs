//! Images that lie: bytes changed anywhere, with the checksums made to fit again, so that what is behind them is met.

use super::image::{Image, PROGRAMS};
use crate::fixture::{can_mount, sh};
use crate::hostile::mutate;
use guestfs::{Device, OpenOptions, ReadAt, btrfs};
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

const NODE: usize = 4096;
const SUPERBLOCK: usize = 65536;

/// A device whose metadata blocks always fit their checksums, whatever was changed in them.
struct Resealed {
    below: Device,
    blocks: Arc<HashSet<u64>>,
}

impl ReadAt for Resealed {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.below.read_at(buf, offset)?;
        if buf.len() == NODE && self.blocks.contains(&offset) {
            let sum = crc32c::crc32c(&buf[32..]);
            buf[..4].copy_from_slice(&sum.to_le_bytes());
        }
        Ok(())
    }
}

/// Where metadata lies: blocks that fit their checksum and bear the file system's identity.
fn metadata(image: &[u8]) -> HashSet<u64> {
    let id = &image[SUPERBLOCK + 32..SUPERBLOCK + 48];
    (0..image.len() / NODE * NODE)
        .step_by(NODE)
        .filter(|&at| {
            let block = &image[at..at + NODE];
            block[32..48] == *id && block[..4] == crc32c::crc32c(&block[32..]).to_le_bytes()
        })
        .map(|at| at as u64)
        .collect()
}

/// A small image with everything in it, copied while something was in its log.
fn image() -> Vec<u8> {
    let image = Image::new(1, "40M", "-M -n 4096");
    let mounted = image.mount("noatime,compress=zstd,commit=900");
    sh(&format!(
        "cd {}
        mkdir a; seq 3000 > a/text; head -c 20000 /dev/urandom > a/random; ln a/text linked; ln -s a/text link
        setfattr -n user.x -v y a/text; truncate -s 3M hole; echo end >> hole; fallocate -l 100000 allocated
        for n in $(seq 40); do echo $n > a/$n; done
        btrfs subvolume create sub > /dev/null; echo in > sub/in; btrfs subvolume snapshot sub snap > /dev/null
        sync -f .
        rm a/1*; mv a/2 a/renamed; seq 500 > a/text; ln a/3 three; sync a a/text a/3; echo n > sub/n; sync sub/n",
        mounted.at().display()
    ));
    let copy = image.copy();
    drop(mounted);
    std::fs::read(&copy.paths()[0]).unwrap()
}

#[test]
fn damaged_images_give_errors_and_never_a_panic() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = image();
    assert_ne!(image[SUPERBLOCK + 96..SUPERBLOCK + 104], [0; 8], "a log");
    let mut blocks = metadata(&image);
    // Without copies: the last of every two would be read where the first is damaged.
    assert!(blocks.len() > 20, "{}", blocks.len());
    let mut hot: Vec<Range<usize>> = blocks.iter().map(|&at| at as usize + 48..at as usize + 600).collect();
    hot.extend(blocks.iter().map(|&at| at as usize + NODE - 1500..at as usize + NODE));
    hot.sort_by_key(|range| range.start);
    hot.push(SUPERBLOCK + 32..SUPERBLOCK + 1000);
    blocks.insert(SUPERBLOCK as u64);
    let blocks = Arc::new(blocks);
    for (rounds, ignore_journal) in [(400, false), (400, true)] {
        let options = OpenOptions { ignore_journal, ..OpenOptions::default() };
        let opened = mutate(image.clone(), &hot, rounds, |device| {
            btrfs::open(vec![Arc::new(Resealed { below: device, blocks: blocks.clone() })], &options)
        });
        assert!(opened > rounds as usize / 10, "{opened} of {rounds} opened");
    }
}
