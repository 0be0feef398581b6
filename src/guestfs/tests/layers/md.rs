//! Arrays that the kernel's md driver wrote (see `fixtures.sh`).

use super::*;

fn id(found: &Inventory) -> String {
    let ids: Vec<_> =
        found.volumes.iter().filter(|v| v.id.starts_with("md/")).map(|v| v.id.clone()).collect();
    assert_eq!(ids.iter().filter(|id| !id[3..].contains('/')).count(), 1, "{:#?}", listed(found));
    ids[0].clone()
}

#[test]
fn raid_0_over_disks_of_different_sizes_in_both_layouts() {
    let sizes = [2048, 3072, 4096];
    for (name, bytes) in [
        ("original", &include_bytes!("md-raid0-original.zst")[..]),
        ("alternate", include_bytes!("md-raid0-alternate.zst")),
    ] {
        let mut disks = fixture_disks(bytes, &sizes);
        disks.rotate_left(1);
        let found = discover(disks);
        assert_pattern(&found, &id(&found), name, 9_240_576);
        assert!(content(&found, "disk0").starts_with("member: member 1 of md/"), "{:?}", listed(&found));
        // Without one of them, nothing is left of it; and the one is named.
        let mut disks = fixture_disks(bytes, &sizes);
        disks.remove(1);
        let found = discover(disks);
        assert!(content(&found, &id(&found)).contains("without member 1 of 3"), "{:?}", listed(&found));
        // A layout that the superblocks don't tell.
        let mut disks = fixture(bytes, &sizes);
        for disk in &mut disks {
            change(disk, 4096, |superblock| {
                superblock[9] &= !0x10;
                superblock[76..80].fill(0);
            });
        }
        let found = discover(disks.into_iter().map(memory).collect());
        assert!(content(&found, &id(&found)).contains("do not tell the layout"), "{:?}", listed(&found));
    }
}

/// Changes a superblock of version 1, and makes its checksum fit.
pub fn change(disk: &mut [u8], at: usize, change: impl FnOnce(&mut [u8])) {
    let superblock = &mut disk[at..at + 4096];
    change(superblock);
    let members = u32::from_le_bytes(superblock[220..224].try_into().unwrap()).min(1920) as usize;
    superblock[216..220].fill(0);
    let sum: u64 = superblock[..256 + 2 * members]
        .chunks(4)
        .map(|word| word.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
        .sum();
    superblock[216..220].copy_from_slice(&((sum & 0xffff_ffff) as u32 + (sum >> 32) as u32).to_le_bytes());
}

#[test]
fn linear_arrays_are_their_members_one_after_another() {
    for (name, bytes, sizes) in [
        ("linear", &include_bytes!("md-linear.zst")[..], [2048, 3072]),
        ("oldlinear", include_bytes!("md-linear-0.90.zst"), [2048, 2048]),
    ] {
        let mut disks = fixture_disks(bytes, &sizes);
        disks.reverse();
        let found = discover(disks);
        let size = found.volume(&id(&found)).unwrap().size;
        assert!(size > 3 << 20, "{size}");
        assert_pattern(&found, &id(&found), name, size);
    }
}

#[test]
fn a_mirror_is_read_from_a_member_that_is_up_to_date() {
    let disks = fixture_disks(include_bytes!("md-raid1-stale.zst"), &[2048, 2048]);
    for order in [[0, 1], [1, 0]] {
        let found = discover(order.map(|index| disks[index].clone()).to_vec());
        assert_pattern(&found, &id(&found), "newer", 2_031_616);
        let outdated = format!("disk{}", order[0]);
        assert!(content(&found, &outdated).contains("outdated"), "{:?}", listed(&found));
    }
    // One leg is enough; the one that was failed believes itself to be whole, and there is nothing that says otherwise.
    let found = discover(vec![disks[1].clone()]);
    assert_pattern(&found, &id(&found), "newer", 2_031_616);
    let found = discover(vec![disks[0].clone()]);
    assert_pattern(&found, &id(&found), "stale", 2_031_616);
}

#[test]
fn a_mirror_of_version_0_90() {
    let disks = fixture_disks(include_bytes!("md-raid1-0.90.zst"), &[2048, 2048]);
    for disks in [disks.clone(), vec![disks[1].clone()]] {
        let found = discover(disks);
        assert_pattern(&found, &id(&found), "old", 2_031_616);
    }
}

#[test]
fn members_that_contradict_or_copy_each_other_are_refused() {
    let whole = fixture(include_bytes!("md-raid1-parts.zst"), &[4096, 4096]);
    let place = (4096 * 2 - 16) / 8 * 8 * 512;
    let refused = |disks: Vec<Vec<u8>>| {
        let found = discover(disks.into_iter().map(memory).collect());
        content(&found, &id(&found))
    };
    // The same member twice.
    assert!(refused(vec![whole[0].clone(), whole[0].clone()]).contains("disk0 and disk1 both are member 0"));
    // Each was used without the other.
    let mut split = whole.clone();
    for (index, disk) in split.iter_mut().enumerate() {
        change(disk, place, |superblock| {
            let other = 256 + 2 * (1 - index);
            superblock[other..other + 2].copy_from_slice(&0xfffe_u16.to_le_bytes());
        });
    }
    assert!(refused(split).contains("contradict each other"));
    // Being filled: the other one is read.
    let mut filling = whole.clone();
    change(&mut filling[0], place, |superblock| superblock[8] |= 2);
    let found = discover(filling.into_iter().map(memory).collect());
    assert_parts(&found);
    // Being reshaped; a checksum that does not fit.
    let mut reshaped = whole.clone();
    change(&mut reshaped[0], place, |superblock| superblock[8] |= 4);
    assert!(refused(reshaped).contains("being reshaped"));
    let mut damaged = whole;
    damaged[0][place + 100] ^= 1;
    let found = discover(damaged.into_iter().map(memory).collect());
    assert!(content(&found, "disk0").starts_with("damaged: the checksum of the md superblock"));
    assert_parts(&found);
}

/// The second partition of the partitioned mirror, which begins in its second MiB.
#[track_caller]
fn assert_parts(found: &Inventory) {
    let id = format!("{}/part2", id(found));
    let size = found.volume(&id).unwrap().size;
    assert!(size > 1 << 20, "{size}");
    assert_pattern(found, &id, "parts", size);
}

#[test]
fn a_partitioned_mirror_is_no_partitioned_disk() {
    let disks = fixture_disks(include_bytes!("md-raid1-parts.zst"), &[4096, 4096]);
    let found = discover(disks);
    let id = id(&found);
    assert_eq!(content(&found, &id), "member: divided by a partition table (GPT)");
    assert_parts(&found);
    assert!(!found.volumes.iter().any(|volume| volume.id.starts_with("disk0/")), "{:?}", listed(&found));
}

#[test]
fn a_group_over_a_degraded_mirror() {
    let disks = fixture_disks(include_bytes!("md-raid1-lvm.zst"), &[8192]);
    let found = discover(disks);
    assert_pattern(&found, "lvm/over-md/deep", "deep", 1 << 20);
    assert_eq!(content(&found, &id(&found)), "member: a physical volume of the LVM group over-md");
}

#[test]
fn other_levels_are_refused_by_name() {
    for (bytes, count, level) in
        [(&include_bytes!("md-raid5.zst")[..], 3, "RAID 5"), (include_bytes!("md-raid10.zst"), 2, "RAID 10")]
    {
        let found = discover(fixture_disks(bytes, &vec![2048; count]));
        let id = id(&found);
        assert_eq!(content(&found, &id), format!("refused: md {level}"));
        assert!(matches!(found.open(&id, &Default::default()), Err(guestfs::Error::Unsupported(_))));
        assert!(found.volume(&id).unwrap().devices.is_empty());
    }
}
