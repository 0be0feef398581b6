//! Everything that an XFS can hold, in each of the forms that it is stored in.

use crate::fixture::sh;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, utimensat};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

/// Bytes that differ from place to place.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

pub fn fill(root: &Path, reflink: bool) {
    folders(root);
    files(root, reflink);
    attributes(root);
    nodes(root);
    times(root);
}

/// Folders of every form: in the inode, with small and large inode numbers; of one block; with one leaf; with a tree.
fn folders(root: &Path) {
    for (name, count, length) in
        [("empty", 0, 0), ("few", 3, 8), ("block", 30, 20), ("leaf", 400, 40), ("node", 3000, 180)]
    {
        let folder = root.join("folders").join(name);
        fs::create_dir_all(&folder).unwrap();
        // One inode for all, so that this costs no more than names do.
        let first = folder.join("first");
        File::create(&first).unwrap().write_all_at(name.as_bytes(), 0).unwrap();
        for index in 0..count {
            let entry = folder.join(format!("{index:0length$}"));
            if index % 10 == 0 {
                fs::write(entry, index.to_string()).unwrap();
            } else {
                fs::hard_link(&first, entry).unwrap();
            }
        }
    }
    // Places that were given up, in blocks and in leaves.
    for name in ["leaf", "node"] {
        let folder = root.join("folders").join(name);
        for (index, entry) in fs::read_dir(&folder).unwrap().enumerate() {
            let entry = entry.unwrap();
            if index % 3 == 0 && entry.file_name() != "first" {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }
    let odd = root.join("odd names");
    fs::create_dir(&odd).unwrap();
    for name in [&b"\xff\xfe not utf-8"[..], b"new\nline", b"\xc3\xa4\xc3\xb6", b" ", b"...", &[b'n'; 255]] {
        fs::write(odd.join(OsStr::from_bytes(name)), name).unwrap();
    }
    let mut deep = root.join("deep");
    for level in 0..40 {
        deep = deep.join(format!("level {level}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "here").unwrap();
}

/// Files with and without extents of all kinds.
fn files(root: &Path, reflink: bool) {
    let files = root.join("files");
    fs::create_dir(&files).unwrap();
    for size in [0usize, 1, 511, 512, 513, 4095, 4096, 4097, 65536, 200_001] {
        fs::write(files.join(format!("of {size}")), noise(size as u64, size)).unwrap();
    }
    fs::write(files.join("large"), noise(7, 3 << 20)).unwrap();
    let sparse = File::create(files.join("sparse")).unwrap();
    sparse.set_len((5 << 30) + 123).unwrap();
    for at in [0, 1 << 20, (3 << 30) + 5, (5 << 30) + 100] {
        sparse.write_all_at(b"an island", at).unwrap();
    }
    // So many extents that they need a tree, of two levels where blocks are small.
    let holes = File::create(files.join("holes")).unwrap();
    for index in 0..1200u64 {
        holes.write_all_at(&noise(index, 700), index * 131_072).unwrap();
    }
    holes.set_len(1200 * 131_072 + 7).unwrap();
    fs::hard_link(files.join("large"), root.join("another name of large")).unwrap();
    let shown = files.display();
    sh(&format!(
        "cd '{shown}'
         xfs_io -f -c 'falloc 0 3m' -c 'pwrite -q -S 7 1m 300k' -c 'pwrite -q -S 8 2000000 3' unwritten
         xfs_io -f -c 'falloc -k 0 3m' -c 'pwrite -q -S 7 0 30k' beyond
         xfs_io -f -c 'pwrite -q -S 9 0 2m' -c 'fpunch 300k 1m' punched
         xfs_io -f -c 'extsize 1m' -c 'pwrite -q -S 5 100k 10k' hinted"
    ));
    if reflink {
        sh(&format!(
            "cd '{shown}'
             cp --reflink=always large shared
             cp --reflink=always large written; xfs_io -c 'pwrite -q -S 3 500k 70k' written
             cp --reflink=always holes shared-holes"
        ));
    }
}

/// Extended attributes of every form: in the inode, in a leaf, in a tree of leaves, with values of their own.
fn attributes(root: &Path) {
    let folder = root.join("attributes");
    fs::create_dir(&folder).unwrap();
    let set = |file: &str, name: &str, value: &[u8]| {
        let path = folder.join(file);
        if !path.exists() {
            fs::write(&path, file).unwrap();
        }
        rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()).unwrap();
    };
    for name in ["user.one", "trusted.two", "security.three", "user.\u{e4}", "user.empty"] {
        set("few", name, if name == "user.empty" { b"" } else { name.as_bytes() });
    }
    for index in 0..20 {
        set("leaf", &format!("user.{index}"), &noise(index, 60));
    }
    for index in 0..300 {
        let space = ["user", "trusted", "security"][index % 3];
        set("tree", &format!("{space}.a name that is rather long {index}"), &noise(index as u64, 200));
    }
    for (index, size) in [1000, 4000, 5000, 20_000, 65_535, 65_536].into_iter().enumerate() {
        set("values", &format!("user.{size}"), &noise(index as u64, size));
    }
    for index in 0..300 {
        if index % 4 != 0 {
            let space = ["user", "trusted", "security"][index % 3];
            let name = format!("{space}.a name that is rather long {index}");
            rustix::fs::lremovexattr(folder.join("tree"), name).unwrap();
        }
    }
    set("gone", "user.gone", &noise(1, 2000));
    rustix::fs::lremovexattr(folder.join("gone"), "user.gone").unwrap();
    sh(&format!(
        "cd '{}'; touch listed; mkdir inherits
         setfacl -m u:1000:rw,g:77:r,m::rwx listed
         setfacl -m u:3000000000:x -d -m u:5:rwx,g:6:r inherits; touch inherits/inherited; mkdir inherits/folder
         setfacl -m $(for n in $(seq 100); do printf u:$n:r,; done)u:101:r inherits/inherited",
        folder.display()
    ));
}

/// Links and what is neither file nor folder.
fn nodes(root: &Path) {
    let folder = root.join("nodes");
    fs::create_dir(&folder).unwrap();
    for length in [1, 50, 336, 400, 900, 1023] {
        symlink("x".repeat(length), folder.join(format!("link {length}"))).unwrap();
    }
    symlink(OsStr::from_bytes(b"\xff/../\xfe"), folder.join("odd link")).unwrap();
    sh(&format!(
        "cd '{}'; mkfifo fifo; mknod char c 5 1; mknod block b 259 70000; mknod max c 511 262143
         touch setuid sticky; chmod 6755 setuid; chmod 1777 sticky; chown 4294967294:4000000000 sticky
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'
         setfattr -h -n trusted.of-a-link -v value 'link 900'",
        folder.display()
    ));
}

fn times(root: &Path) {
    let folder = root.join("times");
    fs::create_dir(&folder).unwrap();
    for (index, seconds) in
        [-1, 0, 1, -2_147_483_648, 2_147_483_647, 4_000_000_000, 16_000_000_000].into_iter().enumerate()
    {
        for nanos in [0, 1, 999_999_999] {
            let path = folder.join(format!("{index} {nanos}"));
            fs::write(&path, "then").unwrap();
            let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
            let times = Timestamps { last_access: time, last_modification: time };
            utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
    }
}
