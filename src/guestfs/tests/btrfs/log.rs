//! What fsync wrote since the last commit: copies of images under load, against the kernel's replay of a copy of the same
//! copy.

use super::image::{Image, PROGRAMS, content, node};
use crate::compare::{self, Compared, Count};
use crate::fixture::{can_mount, sh};
use guestfs::btrfs::Btrfs;
use guestfs::{Error, GuestFs, OpenOptions};
use std::os::unix::fs::FileExt;
use testkit::image::Rng;

/// Times of folders from which replay itself removes a name are those of the mount; all else is compared.
fn but_times() -> Compared {
    Compared { time_grain: i128::MAX, ..Compared::default() }
}

/// Whether the superblock points to log trees.
fn has_log(image: &Image) -> bool {
    let mut pointer = [0; 8];
    std::fs::File::open(&image.paths()[0]).unwrap().read_exact_at(&mut pointer, 65536 + 96).unwrap();
    pointer != [0; 8]
}

/// Runs `before`, commits, runs `after` (which fsyncs), and compares a copy made right then. `None` where nothing was
/// logged; the copy otherwise.
#[track_caller]
fn dirty(options: &str, before: &str, after: &str, what: Compared) -> Option<(Image, Count)> {
    let image = Image::new(1, "300M", options);
    // Commits only where the scripts make them.
    let mounted = image.mount("noatime,commit=900");
    sh(&format!("cd {}\n{before}\nsync -f .\n{after}", mounted.at().display()));
    let copy = image.copy();
    drop(mounted);
    if !has_log(&copy) {
        return None;
    }
    let truth = copy.copy();
    let mounted = truth.mount("noatime");
    let (fs, device) = copy.open();
    assert_eq!(fs.info().warnings, Vec::<String>::new());
    let count = compare::assert_same(&*fs, &*device, mounted.at(), what);
    drop(mounted);
    Some((copy, count))
}

#[track_caller]
fn replayed(before: &str, after: &str) -> (Image, Count) {
    dirty("", before, after, but_times()).expect("something was logged")
}

#[test]
fn what_was_written_before_fsync_is_there_with_its_times_and_checksums() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let (copy, count) = dirty(
        "",
        "mkdir dir; head -c 300000 /dev/urandom > dir/old; echo small > inline",
        "head -c 500000 /dev/urandom > dir/new; sync dir/new
        head -c 50000 /dev/urandom | dd of=dir/old bs=1000 seek=123 conv=notrunc status=none; sync dir/old
        echo 'longer than before' > inline; setfattr -n user.x -v y inline; sync inline",
        Compared::default(),
    )
    .expect("something was logged");
    assert_eq!((count.files, count.xattrs), (3, 1));
    // Without the log the last commit would show, and nobody is to take that for the truth.
    let (fs, _) = copy.open();
    assert_eq!(content(&*fs, node(&*fs, "inline")), b"longer than before\n");
}

#[test]
fn renames_and_links_are_replayed() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let before =
        "mkdir a b; for n in 1 2 3 4 5; do echo $n > a/$n; done; ln a/1 b/one; mkdir a/sub; echo x > a/sub/x";
    for (after, files) in [
        ("mv a/2 b/two; sync b/two", 7),
        ("ln a/3 b/three; ln a/3 a/again; sync a/3", 9),
        ("rm b/one; sync a/1", 6),
        ("mv a/4 a/5; sync a/5", 6),
        ("mv a/1 a/1.old; echo new > a/1; sync a/1", 8),
        ("rm a/3; sync a", 6),
        ("mv a/2 a/tmp; mv a/3 a/2; mv a/tmp a/3; sync a/2 a/3", 7),
        ("mv a/sub b/moved; echo y > b/moved/y; sync b/moved/y", 8),
        ("mkdir c; mv a/1 c/1; echo z > c/z; sync c/z; sync c", 8),
        ("rm a/1; ln b/one a/1; sync b/one", 7),
    ] {
        if let Some((_, count)) = dirty("", before, after, but_times()) {
            // What of a folder that nobody synced is gone may be there still.
            assert!(count.files >= files, "{after}: {count:?}");
        }
    }
}

#[test]
fn truncations_holes_and_clones_are_replayed() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let before = "head -c 1000000 /dev/urandom > file; head -c 3000 /dev/urandom > inline; cp file other";
    for after in [
        "truncate -s 500001 file; sync file",
        "truncate -s 100000 file; truncate -s 2000000 file; sync file",
        "fallocate -p -o 100000 -l 300000 file; sync file",
        "fallocate -n -o 900000 -l 500000 file; sync file",
        "truncate -s 100 inline; sync inline",
        "truncate -s 0 file; sync file",
        "xfs_io -c 'reflink other 0 409600 131072' -c fsync file",
        "fallocate -o 2000000 -l 100000 file; head -c 5000 other | dd of=file bs=1 seek=2050000 conv=notrunc status=none; sync file",
        "fallocate -p -o 0 -l 4096 inline; sync inline",
    ] {
        let (_, count) = replayed(before, after);
        assert_eq!(count.files, 3, "{after}");
    }
    // The same where holes have items.
    let (_, count) =
        dirty("-O ^no-holes", before, "fallocate -p -o 100000 -l 300000 file; sync file", but_times())
            .unwrap();
    assert_eq!(count.files, 3);
}

#[test]
fn attributes_and_deleted_names_are_replayed() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let before = "mkdir d; for n in $(seq 300); do echo $n > d/$n; done
        for n in 1 2 3; do setfattr -n user.$n -v $n d/7; done; setfattr -n user.d -v d d";
    let (_, count) = replayed(
        before,
        "setfattr -x user.2 d/7; setfattr -n user.4 -v 4 d/7; setfattr -n user.1 -v changed d/7; sync d/7
        rm d/1* d/25; : > d/new; setfattr -x user.d d; sync d",
    );
    assert_eq!((count.files, count.xattrs), (189, 3));
}

/// One step of a load: something with a few of a few names, and an fsync now and then.
fn step(rng: &mut Rng) -> String {
    let mut pick = |count: u64| rng.below(count);
    let dir = ["a", "b", "a/c", "."][pick(4) as usize];
    let other = ["a", "b", "a/c", "."][pick(4) as usize];
    let (one, two) = (format!("{dir}/f{}", pick(12)), format!("{other}/f{}", pick(12)));
    let (at, length) = (pick(400_000), pick(90_000) + 1);
    let seed = pick(1 << 30);
    let command = match pick(16) {
        0..=2 => format!(
            "seq {seed} {} | head -c {length} | dd of={one} bs=64k oflag=seek_bytes seek={at} conv=notrunc status=none",
            seed + 40_000
        ),
        3 => format!("echo {seed} > {one}"),
        4 => format!("truncate -s {at} {one}"),
        5 | 6 => format!("mv -T {one} {two}"),
        7 | 8 => format!("ln {one} {two}"),
        9 | 10 => format!("rm -f {one}"),
        11 => format!("fallocate -p -o {at} -l {length} {one}"),
        12 => format!("setfattr -n user.{} -v {seed} {one}", seed % 4),
        13 => format!("setfattr -x user.{} {one}", seed % 4),
        14 => format!("cp --reflink=always -T {one} {two}"),
        _ => format!("chmod {:o} {one}", 0o600 + seed % 64),
    };
    let fsync = match pick(5) {
        0 | 1 => format!("sync {one}"),
        2 => format!("sync {two}"),
        3 => format!("sync -d {one}"),
        _ => "true".into(),
    };
    // What does not exist can't be renamed, and so on: that is no matter.
    format!("({command}; {fsync}) 2> /dev/null || true\n")
}

#[test]
fn copies_under_load_show_what_the_kernel_recovers() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut logged = 0;
    let mut files = 0;
    for round in 0..8 {
        let mut rng = Rng::new(round);
        let before: String = (0..40).map(|_| step(&mut rng)).collect();
        let after: String = (0..40).map(|_| step(&mut rng)).collect();
        let before = format!("mkdir a b a/c\n{before}");
        // The last step leaves something in the log, whatever committed before.
        let after = format!("{after}\necho end > b/end; sync b/end");
        let options = ["", "--csum xxhash", "-n 4096", "-O ^no-holes"][round as usize % 4];
        if let Some((_, count)) = dirty(options, &before, &after, but_times()) {
            logged += 1;
            files += count.files;
        }
    }
    assert!(logged >= 4 && files > 40, "{logged} logs, {files} files");
}

#[test]
fn a_log_that_is_damaged_is_not_trusted_unless_asked_for() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let (copy, _) = replayed("echo committed > file", "echo logged > file; sync file");
    // Point the superblock's log somewhere else.
    let path = &copy.paths()[0];
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut superblock = vec![0; 4096];
    file.read_exact_at(&mut superblock, 65536).unwrap();
    superblock[97] ^= 0x80;
    let sum = crc32c::crc32c(&superblock[32..]);
    superblock[..4].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&superblock, 65536).unwrap();
    assert!(matches!(Btrfs::open(copy.devices(), &OpenOptions::default()), Err(Error::Untrusted(_))));
    let options = OpenOptions { ignore_journal: true, ..OpenOptions::default() };
    let fs = Btrfs::open(copy.devices(), &options).unwrap();
    assert_eq!(fs.info().warnings.len(), 1, "{:?}", fs.info().warnings);
    assert_eq!(content(&*fs, node(&*fs, "file")), b"committed\n");
    // And one that is larger than may be held.
    let (copy, _) = replayed("echo committed > file", "seq 100000 > file; sync file");
    let options = OpenOptions { journal_bytes: 100, ..OpenOptions::default() };
    assert!(matches!(Btrfs::open(copy.devices(), &options), Err(Error::Untrusted(_))));
}
