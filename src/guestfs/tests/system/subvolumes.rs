//! A Linux on btrfs, with its root and `/home` in subvolumes, and a snapshot of the root.

use super::linux::compare;
use super::{inventory, mounts, paths};
use crate::fixture::{Mounted, can_mount, sh};
use guestfs::OpenOptions;
use guestfs::system::Subvolume;
use guestfs::tree::{Follow, Tree};

const MAKE: &str = r#"
truncate -s 200M disk; mkfs.btrfs -q -U 55555555-5555-5555-5555-555555555555 disk
mkdir t; mount -o loop disk t
for name in @ @home; do btrfs -q subvolume create t/$name; done
mkdir -p t/@/etc t/@/usr/lib t/@/usr/bin t/@/home/under t/@home/me
ln -s usr/bin t/@/bin; ln -s ../usr/lib/os-release t/@/etc/os-release; ln -s /etc/hostname t/@home/me/link
echo 'PRETTY_NAME="Arch Linux"' > t/@/usr/lib/os-release; echo new > t/@/etc/hostname; echo mine > t/@home/me/file
printf 'UUID=55555555-5555-5555-5555-555555555555 %s btrfs rw,compress=zstd:3,subvol=%s 0 0\n' / /@ /home /@home > t/@/etc/fstab
btrfs -q subvolume snapshot t/@ t/@before; echo newer > t/@/etc/hostname
umount t
"#;

#[test]
fn subvolumes_stand_where_the_fstab_has_them() {
    if !can_mount(&["mkfs.btrfs", "btrfs"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    sh(&format!("cd '{}'\n{MAKE}", folder.path().display()));
    let disk = folder.path().join("disk");
    let tree = Tree::open(inventory(&[&disk]), OpenOptions::default());
    let system = tree.system();
    assert_eq!(system.name.as_deref(), Some("Arch Linux"), "{system:?}");
    assert_eq!(mounts(&tree), ["/ disk0", "/home disk0", "/@volumes/disk0 disk0"]);
    assert_eq!(system.root.as_ref().unwrap().subvolume, Some(Subvolume::Path(b"@".to_vec())));
    assert_eq!(system.others.len(), 1, "the snapshot");
    assert_eq!(system.notes, [] as [&str; 0]);
    let truth = folder.path().join("t");
    sh(&format!(
        "cd '{}'; loop=$(losetup -f --show disk); mount -o ro,subvol=@ $loop t; mount -o ro,subvol=@home $loop t/home; \
         losetup -d $loop",
        folder.path().display()
    ));
    let mounted = [Mounted(truth.join("home")), Mounted(truth.clone())];
    let listed = sh(&format!("cd '{}' && find . | wc -l", truth.display()));
    assert_eq!(paths(&tree).len(), listed.trim().parse::<usize>().unwrap());
    assert_eq!(compare(&tree, &truth), (4, 3));
    drop(mounted);
    let old = tree.resolve(b"/@volumes/disk0/@before/etc/hostname", Follow::All).unwrap().node;
    let mut content = [0; 10];
    let length = tree.read_at(old, 0, &mut content).unwrap();
    assert_eq!(&content[..length], b"new\n");
}
