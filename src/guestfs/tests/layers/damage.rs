//! Images with damage of every kind: whatever is said of them, it is said soon, and never a panic.

use super::*;
use std::time::{Duration, Instant};
use testkit::image::Rng;

/// Looks at disks, reads the beginning and the end of all that is found, and tells how many volumes there were.
fn look(disks: Vec<Vec<u8>>) -> usize {
    let begun = Instant::now();
    let found = discover(disks.into_iter().map(memory).collect());
    for volume in &found.volumes {
        for device in &volume.devices {
            assert_eq!(device.size(), volume.size, "{}", volume.id);
            let mut buf = vec![0; device.size().min(65536) as usize];
            let _ = device.read_at(&mut buf, 0);
            let last = device.size() - buf.len() as u64;
            let _ = device.read_at(&mut buf, last);
            assert!(device.read_at(&mut [0; 1], device.size()).is_err());
        }
        let _ = found.open(&volume.id, &Default::default());
    }
    let ids: std::collections::HashSet<_> = found.volumes.iter().map(|volume| &volume.id).collect();
    assert_eq!(ids.len(), found.volumes.len(), "ids are unique: {:?}", listed(&found));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", listed(&found));
    found.volumes.len()
}

/// Bytes that matter: all that are not zero, up to a bound a disk.
fn metadata(disk: &[u8]) -> Vec<usize> {
    // The pattern's own text is no metadata.
    disk.iter()
        .enumerate()
        .filter(|(at, byte)| **byte != 0 && at % 4096 > 20)
        .map(|(at, _)| at)
        .take(20_000)
        .collect()
}

fn mutate(original: &[Vec<u8>], rounds: u64) {
    let places: Vec<Vec<usize>> = original.iter().map(|disk| metadata(disk)).collect();
    let mut rng = Rng::new(rounds);
    let mut volumes = 0;
    for _ in 0..rounds {
        let mut disks = original.to_vec();
        let which = rng.below(disks.len() as u64) as usize;
        for _ in 0..=rng.below(4) {
            let disk = &mut disks[which];
            let at = match places[which].is_empty() || rng.below(5) == 0 {
                true => rng.below(disk.len() as u64) as usize,
                false => places[which][rng.below(places[which].len() as u64) as usize],
            };
            match rng.below(4) {
                0 => disk[at] ^= 1 << rng.below(8),
                1 => disk[at] = [0, 0xff, 0x7f, 0x80][rng.below(4) as usize],
                2 => {
                    let end = (at + 8).min(disk.len());
                    disk[at..end].fill([0, 0xff][rng.below(2) as usize]);
                }
                _ => {
                    let length = rng.below(disk.len() as u64) as usize;
                    disk.truncate(length);
                    break;
                }
            }
        }
        volumes += look(disks);
    }
    assert!(volumes > 0);
}

#[test]
fn arrays_and_groups_with_changed_bytes() {
    for (bytes, sizes) in [
        (&include_bytes!("md-raid0-original.zst")[..], &[2048, 3072, 4096][..]),
        (include_bytes!("md-raid1-stale.zst"), &[2048, 2048]),
        (include_bytes!("md-raid1-0.90.zst"), &[2048, 2048]),
        (include_bytes!("md-raid1-parts.zst"), &[4096, 4096]),
    ] {
        mutate(&fixture(bytes, sizes), 150);
    }
    mutate(&fixture(include_bytes!("lvm.zst"), &[24576, 24576]), 60);
}

/// A superblock of version 1.2 with numbers that are all wrong, and a checksum that is right.
#[test]
fn superblocks_with_impossible_numbers_and_right_checksums() {
    let original = fixture(include_bytes!("md-raid0-original.zst"), &[2048, 3072, 4096]);
    let mut rng = Rng::new(7);
    for _ in 0..400 {
        let mut disks = original.clone();
        let at = [8, 72, 76, 80, 88, 92, 128, 136, 152, 160, 184, 188, 200, 220, 256][rng.below(15) as usize];
        let value = [0, 1, 2, u64::MAX, u64::MAX / 512, 1 << 63, 1 << 31, 0xffff, rng.next_u64()]
            [rng.below(9) as usize];
        for disk in &mut disks {
            md::change(disk, 4096, |superblock| {
                superblock[at..at + 8].copy_from_slice(&value.to_le_bytes());
            });
        }
        look(disks);
    }
}
