//! Reparse points, and what other drivers make of content.

use super::*;

/// The data of a junction, or of a symbolic link where there are flags.
fn target(path: &str, flags: Option<u32>) -> Vec<u8> {
    let name: Vec<u8> = path.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let length = (name.len() as u16).to_le_bytes();
    let mut data = [[0, 0], length, length, [0, 0]].concat();
    // The print name follows with its terminator.
    data[4..6].copy_from_slice(&(name.len() as u16 + 2).to_le_bytes());
    data[6..8].copy_from_slice(&[0, 0]);
    data.extend(flags.map(u32::to_le_bytes).into_iter().flatten());
    data.extend(name);
    data.extend([0, 0, 0, 0]);
    data
}

#[test]
fn links_and_special_files_are_what_they_mean() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "");
    // Interix' links and devices, which ntfs-3g writes by itself, and those of Linux under Windows.
    image.fill(
        "",
        "mkdir d; echo x > d/file; ln -s d/file interix; ln -s /absolute/ä/😀 d/far; ln -s nowhere broken; mknod null c 1 3; mknod disk b 8 17",
    );
    image.fill(
        "special_files=wsl",
        "ln -s d/file linux; ln -s ../interix d/linux-up; mknod tty c 5 300; mknod vda b 252 16; mkfifo pipe; python3 -c \"
import socket; socket.socket(socket.AF_UNIX).bind('socket')\"",
    );
    let (relative, up, folder) = (
        reparse(0xa000_000c, &target(r"d\file", Some(1))),
        reparse(0xa000_000c, &target(r"..\d\file", Some(1))),
        reparse(0xa000_000c, &target(r"d", Some(1))),
    );
    image.fill(
        "",
        &format!(
            "touch windows d/windows-up; mkdir windows-folder
             setfattr -h -n system.ntfs_reparse_data -v {relative} windows
             setfattr -h -n system.ntfs_reparse_data -v {up} d/windows-up
             setfattr -h -n system.ntfs_reparse_data -v {folder} windows-folder"
        ),
    );
    // ntfs-3g gives what is special for Linux the mode 0.
    let count = image.assert_same_but(Compared { owners: false, ..Compared::default() });
    assert_eq!((count.files, count.links, count.others), (1, 8, 6));

    // Absolute ones are in the guest's terms here; ntfs-3g has the mount's.
    let (junction, absolute, root) = (
        reparse(0xa000_0003, &target(r"\??\C:\Users\All Users", None)),
        reparse(0xa000_000c, &target(r"\??\D:\x", Some(0))),
        reparse(0xa000_000c, &target(r"\d\file", Some(1))),
    );
    image.fill(
        "",
        &format!(
            "mkdir junction d/e d/e/f; touch absolute d/e/f/root root
             setfattr -h -n system.ntfs_reparse_data -v {junction} junction
             setfattr -h -n system.ntfs_reparse_data -v {absolute} absolute
             setfattr -h -n system.ntfs_reparse_data -v {root} root
             setfattr -h -n system.ntfs_reparse_data -v {root} d/e/f/root"
        ),
    );
    let fs = image.open();
    for (path, expected) in [
        ("junction", "/C/Users/All Users"),
        ("absolute", "/D/x"),
        ("root", "d/file"),
        ("d/e/f/root", "../../../d/file"),
    ] {
        let node = node(&*fs, path);
        assert_eq!(fs.readlink(node).unwrap(), expected.as_bytes(), "{path}");
        let stat = fs.stat(node).unwrap();
        assert_eq!((stat.kind, stat.size), (FileKind::Symlink, expected.len() as u64), "{path}");
        assert!(matches!(fs.lookup(node, b"x"), Err(Error::NotADirectory)));
        assert!(fs.read_at(node, 0, &mut [0; 10]).is_err());
    }
    assert!(matches!(fs.readlink(node(&*fs, "d/file")), Err(Error::NotASymlink)));
}

#[test]
fn content_that_a_driver_makes_is_refused_by_its_name() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "");
    let cases = [
        ("wof", 0x8000_0017, &[1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0][..], "inside of a WIM archive"),
        ("dedup", 0x8000_0013, &[0; 8], "deduplication"),
        ("cloud", 0x9000_601a, &[0; 8], "cloud placeholder"),
        ("hsm", 0xc000_0004, &[0; 8], "hierarchical storage"),
        ("unknown", 0x8000_4321, &[0; 8], "0x80004321"),
    ];
    let mut script = String::from("mkdir folder other; echo in > folder/in; touch other/hidden\n");
    for (name, tag, data, _) in cases {
        let value = reparse(tag, data);
        script += &format!(
            "echo content > {name}; setfattr -n user.stream -v value {name}
             setfattr -h -n system.ntfs_reparse_data -v {value} {name}\n"
        );
    }
    let (cloud, projected) = (reparse(0x9000_001a, &[0; 8]), reparse(0x9000_001c, &[0; 8]));
    script += &format!("setfattr -h -n system.ntfs_reparse_data -v {cloud} folder\n");
    script += &format!("setfattr -h -n system.ntfs_reparse_data -v {projected} other\n");
    image.fill("", &script);
    let fs = image.open();
    assert_eq!(compare::entries(&*fs, fs.root()).unwrap().len(), 7);
    for (name, _, _, said) in cases {
        let node = node(&*fs, name);
        let stat = fs.stat(node).unwrap();
        assert_eq!((stat.kind, stat.size), (FileKind::File, 8), "{name}");
        for error in [fs.read_at(node, 0, &mut [0; 10]).unwrap_err(), fs.map(node, 0).unwrap_err()] {
            assert!(matches!(error, Error::Unsupported(_)), "{name}: {error}");
            assert!(error.to_string().contains(said), "{name}: {error}");
        }
        assert_eq!(fs.xattrs(node).unwrap().len(), 1, "{name}");
    }
    assert_eq!(content(&*fs, node(&*fs, "folder/in")), b"in\n", "what is there of a cloud folder");
    let other = node(&*fs, "other");
    assert_eq!(fs.stat(other).unwrap().kind, FileKind::Directory);
    assert!(matches!(fs.readdir(other, 0, &mut |_| panic!()), Err(Error::Unsupported(_))));
    assert!(matches!(fs.lookup(other, b"hidden"), Err(Error::Unsupported(_))));
}

#[test]
fn encrypted_files_are_named_as_such() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "");
    // What a backup of an encrypted file restores, as it is stored.
    image.fill(
        "efs_raw",
            "(head -c 5120 /dev/urandom; printf '\\0\\0') > secret; setfattr -n user.ntfs.efsinfo -v 0x20030000$(head -c 796 /dev/zero | od -An -v -tx1 | tr -d ' \\n') secret",
    );
    let fs = image.open();
    let secret = node(&*fs, "secret");
    assert!(fs.stat(secret).unwrap().size > 4000);
    assert!(matches!(fs.read_at(secret, 0, &mut [0; 16]), Err(Error::Encrypted(_))));
    assert!(matches!(fs.map(secret, 0), Err(Error::Encrypted(_))));
}
