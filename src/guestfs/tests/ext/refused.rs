//! What is refused, by its name.

use super::{make, open};
use crate::fixture::{Mounted, can_mount, sh};
use guestfs::{Device, Error, FileDevice, OpenOptions, ext};
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, symlink};
use std::sync::Arc;

#[test]
fn unknown_features_are_refused_by_name() {
    if !can_mount(&["mkfs.ext2"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (incompat, name) in [(0x1u32, "compression"), (0x1000, "dirdata"), (0x40_0000, "0x400000")] {
        let image = make(dir.path(), "a.img", "8M", "mkfs.ext2");
        let file = File::options().read(true).write(true).open(&image).unwrap();
        file.write_all_at(&(2 | incompat).to_le_bytes(), 1024 + 0x60).unwrap();
        let device: Device = Arc::new(FileDevice::open(&image).unwrap());
        assert!(ext::recognise(&*device).unwrap().is_some());
        let error = ext::open(device, &OpenOptions::default()).map(|_| ());
        assert!(matches!(&error, Err(Error::Unsupported(why)) if why.contains(name)), "{error:?}");
    }
}

#[test]
fn encrypted_folders_are_refused_and_the_rest_is_not() {
    if !can_mount(&["mkfs.ext4"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let image = make(dir.path(), "a.img", "32M", "mkfs.ext4 -O encrypt");
    let mounted = Mounted::new(&image, "noatime");
    fs::write(mounted.0.join("plain"), b"plain").unwrap();
    drop(mounted);
    let at = image.with_extension("d");
    // A kernel for testing encrypts everything new with a key of its own.
    let out = sh(&format!(
        "mkdir '{0}'; mount -o loop,test_dummy_encryption '{1}' '{0}' 2>&1 || echo refused",
        at.display(),
        image.display()
    ));
    if out.contains("refused") {
        assert!(std::env::var("SENDENSE_REQUIRE_ALL").is_err(), "{out}");
        eprintln!("SKIPPED: this kernel has no test_dummy_encryption");
        return;
    }
    let mounted = Mounted(at);
    let made = fs::create_dir(mounted.0.join("secret")).and_then(|()| {
        fs::write(mounted.0.join("secret/file"), b"secret")?;
        fs::write(mounted.0.join("file"), b"secret")?;
        symlink("target", mounted.0.join("link"))
    });
    drop(mounted);
    made.unwrap();
    let (_, fs) = open(&image);
    let mut secret = 0;
    let mut entries = Vec::new();
    fs.readdir(fs.root(), 0, &mut |entry| {
        entries.push((entry.name.to_vec(), entry.node));
        ControlFlow::Continue(())
    })
    .unwrap();
    for (name, node) in entries {
        let plain = matches!(&name[..], b"plain" | b"lost+found");
        fs.stat(node).unwrap();
        fs.xattrs(node).unwrap();
        let results = [
            fs.read_at(node, 0, &mut [0; 9]).map(|_| ()),
            fs.readlink(node).map(|_| ()),
            fs.readdir(node, 0, &mut |_| ControlFlow::Continue(())),
        ];
        let encrypted = results.iter().filter(|result| matches!(result, Err(Error::Encrypted(_)))).count();
        assert_eq!(encrypted, usize::from(!plain), "{name:?} {results:?}");
        secret += encrypted;
    }
    assert_eq!(secret, 3);
}
