//! A Linux on XFS or ext4: a GPT with an EFI partition, `/boot` and a volume group, and a second disk without a table.

use super::{inventory, mounts, paths};
use crate::fixture::{Mounted, can_mount, sh};
use guestfs::content;
use guestfs::layers::{LayerOptions, discover};
use guestfs::tree::{Event, Follow, Step, Tree, WalkOptions};
use guestfs::{Device, Disk, FileDevice, FileKind, OpenOptions, ReadAt};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MAKE: &str = r#"
cd "$1"
truncate -s 820M disk0; truncate -s 300M disk1
truncate -s 32M efi; truncate -s 300M boot; truncate -s 400M pv; truncate -s 340M root
printf 'label: gpt\nstart=2048,size=32M,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\nsize=300M,name="boot part"\nsize=400M\n' |
    sfdisk -q disk0
mkfs.vfat -i ABCD1234 efi >/dev/null
mmd -i efi ::/EFI ::/EFI/debian; echo grub > grub; mcopy -i efi grub ::/EFI/debian/grubx64.efi
mkfs.xfs -q -m uuid=11111111-1111-1111-1111-111111111111 -L BOOT boot
case $2 in
    xfs) mkfs.xfs -q -m uuid=22222222-2222-2222-2222-222222222222 root; root=loop,nouuid ;;
    ext4) mkfs.ext4 -q -U 22222222-2222-2222-2222-222222222222 root; root=loop ;;
esac
mkfs.xfs -q -m uuid=33333333-3333-3333-3333-333333333333 disk1
mkdir -p t; mount -o $root root t
mkdir -p t/etc t/usr/lib t/usr/bin t/home/me t/boot/under t/srv t/var/lib t/proc
ln -s ../usr/lib/os-release t/etc/os-release
echo 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"' > t/usr/lib/os-release
ln -s usr/bin t/bin; ln -s /srv/www t/home/www; ln -s ../../../../etc/hostname t/home/me/host; ln -s self t/home/self
ln -s /proc/1/root t/home/proc
echo guest > t/etc/hostname; echo bashrc > "t/home/me/.bash rc"
seq 100000 > t/usr/bin/many; truncate -s 3M t/usr/bin/hole; echo end >> t/usr/bin/hole
for n in $(seq 200); do echo $n > t/usr/bin/tool$n; done
cat > t/etc/fstab <<'FSTAB'
# <file system> <mount point> <type> <options> <dump> <pass>
/dev/mapper/sys--vg-root /  auto  errors=remount-ro 0 1
UUID=11111111-1111-1111-1111-111111111111 /boot xfs defaults 0 2
UUID=ABCD-1234 /boot/efi vfat umask=0077 0 1
UUID=33333333-3333-3333-3333-333333333333 /srv xfs defaults 0 2
/srv/www /var/lib/my\040www none bind 0 0
UUID=44444444-4444-4444-4444-444444444444 /gone xfs defaults 0 2
/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto 0 0
FSTAB
umount t
mount -o loop,nouuid boot t; mkdir t/efi; echo kernel > t/vmlinuz; ln -s vmlinuz t/link; umount t
mount -o loop,nouuid disk1 t; mkdir -p t/www/deep; echo index > t/www/index.php; ln -s /etc/hostname t/www/deep/abs; umount t
part=$(losetup -f --show pv)
trap 'losetup -d $part' EXIT
lvm="--driverloaded n --devices $part --nolocking"
{ pvcreate -y $lvm $part; vgcreate -A n $lvm sys-vg $part; lvcreate -A n $lvm -an -Zn -Wn -y -L 340M -n root sys-vg; } >/dev/null 2>&1
put() { dd if="$1" of=disk0 bs=1M seek="$2" conv=notrunc,sparse status=none; }
put efi 1; put boot 33; put pv 333; put root 334
"#;

/// The same volumes, mounted where the fstab has them; the EFI partition stays out, where the kernel has no vfat.
/// The kernel mounts no two XFS of one UUID, which tests beside this one have, unless it is told to.
fn mounted(folder: &Path, root: &str) -> Vec<Mounted> {
    let at = folder.join("truth");
    fs::create_dir_all(&at).unwrap();
    let mut mounted = Vec::new();
    for (image, point, kind) in [("root", "", root), ("boot", "boot", "xfs"), ("disk1", "srv", "xfs")] {
        let point = at.join(point);
        let options = if kind == "xfs" { "loop,ro,nouuid" } else { "loop,ro" };
        sh(&format!("mount -o {options} '{}' '{}'", folder.join(image).display(), point.display()));
        mounted.insert(0, Mounted(point));
    }
    mounted
}

/// Compares every node with what is mounted, and follows every link by `openat2` in that root.
pub fn compare(tree: &Tree, truth: &Path) -> (usize, usize) {
    use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
    use std::os::fd::AsRawFd;
    let root = fs::File::open(truth).unwrap();
    let (mut files, mut links) = (0, 0);
    for path in paths(tree) {
        if path.starts_with("/boot/efi/") || path.starts_with("/var/lib/my www") {
            continue;
        }
        let real = truth.join(&path[1..]);
        let found = tree.resolve(path.as_bytes(), Follow::AllButLast).unwrap();
        assert_eq!(found.path, path.as_bytes());
        let stat = tree.stat(found.node).unwrap();
        let theirs = fs::symlink_metadata(&real).unwrap_or_else(|error| panic!("{path}: {error}"));
        if path != "/boot/efi" {
            assert_eq!((stat.mode, stat.size), (theirs.mode() & 0o7777, theirs.size()), "{path}");
            assert_eq!(stat.modified.seconds, theirs.mtime(), "{path}");
        }
        match stat.kind {
            FileKind::File => {
                let (fs, node) = tree.file(found.node).unwrap();
                let expected = blake3::hash(&fs::read(&real).unwrap());
                assert_eq!(content::hash(&*fs, node).unwrap(), expected, "{path}");
                files += 1;
            }
            FileKind::Symlink => {
                let ours = tree.resolve(path.as_bytes(), Follow::All).map(|found| found.path).ok();
                let theirs = openat2(&root, &path, OFlags::PATH, Mode::empty(), ResolveFlags::IN_ROOT).ok();
                let theirs = theirs.map(|file| {
                    let at = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
                    format!("/{}", at.strip_prefix(truth).unwrap().display()).into_bytes()
                });
                assert_eq!(ours, theirs, "{path}");
                links += 1;
            }
            _ => {}
        }
    }
    (files, links)
}

/// The images in a folder of their own, with this file system as the root; `None` where they can't be made here.
fn made(root: &str) -> Option<tempfile::TempDir> {
    if !can_mount(&["sfdisk", "mkfs.vfat", "mcopy", "mkfs.xfs", "mkfs.ext4", "lvcreate"]) {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("make.sh");
    fs::write(&script, format!("set -eu\n{MAKE}")).unwrap();
    sh(&format!("bash '{}' '{}' {root}", script.display(), folder.path().display()));
    Some(folder)
}

#[test]
fn a_linux_over_two_disks_stands_as_its_fstab_has_it() {
    stands_as_its_fstab_has_it("xfs");
}

#[test]
fn a_linux_on_ext4_in_a_volume_group_stands_as_its_fstab_has_it() {
    stands_as_its_fstab_has_it("ext4");
}

fn stands_as_its_fstab_has_it(root: &str) {
    let Some(folder) = made(root) else { return };
    let images = [folder.path().join("disk0"), folder.path().join("disk1")];
    let inventory = inventory(&[&images[0], &images[1]]);
    let tree = Tree::open(inventory.clone(), OpenOptions::default());
    assert_eq!(tree.system().name.as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
    assert_eq!(
        mounts(&tree),
        [
            "/ lvm/sys-vg/root",
            "/boot disk0/part2",
            "/srv disk1",
            "/boot/efi disk0/part1",
            "/var/lib/my www disk1",
        ]
    );
    assert_eq!(
        tree.system().notes,
        [
            "/gone (UUID=44444444-4444-4444-4444-444444444444) is not placed: no volume of this point has this UUID"
        ]
    );
    let all = paths(&tree);
    for path in ["/boot/efi/EFI/debian/grubx64.efi", "/var/lib/my www/index.php", "/srv/www/index.php"] {
        assert!(all.contains(&path.to_owned()), "{path}");
    }
    assert!(!all.contains(&"/boot/under".to_owned()), "it is covered");
    let truth = folder.path().join("truth");
    let mounted = mounted(folder.path(), root);
    let listed = sh(&format!("cd '{}' && find . | wc -l", truth.display()));
    let ours =
        all.iter().filter(|path| !path.starts_with("/boot/efi/") && !path.starts_with("/var/lib/my www"));
    assert_eq!(ours.count(), listed.trim().parse::<usize>().unwrap());
    assert_eq!(compare(&tree, &truth), (208, 8));
    drop(mounted);
    let names: Vec<_> = tree.glob(b"/home/*/.b*").map(|found| found.unwrap().path).collect();
    assert_eq!(names, [b"/home/me/.bash rc"]);
    // One volume alone: its own root, and its links end there.
    let boot = Tree::of_volume(inventory.clone(), "disk0/part2", OpenOptions::default()).unwrap();
    assert_eq!(paths(&boot), ["/", "/efi", "/link", "/vmlinuz"]);
    let srv = Tree::of_volume(inventory, "disk1", OpenOptions::default()).unwrap();
    let error = srv.resolve(b"/www/deep/abs", Follow::All).unwrap_err();
    assert_eq!(error.to_string(), "/etc: no such file or folder");
}

/// A disk with some bytes that are not as they should be.
struct Damaged {
    disk: FileDevice,
    bytes: Vec<(u64, u8)>,
}

impl ReadAt for Damaged {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        self.disk.read_at(buf, offset)?;
        let end = offset + buf.len() as u64;
        for (at, byte) in self.bytes.iter().filter(|(at, _)| (offset..end).contains(at)) {
            buf[(at - offset) as usize] ^= byte;
        }
        Ok(())
    }
}

/// The places of all 512 bytes that are not zeros.
fn used(disk: &Path) -> Vec<u64> {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(disk).unwrap();
    let mut used = Vec::new();
    let mut at = 0;
    let mut sector = [0; 512];
    while let Ok(data) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(data)).unwrap();
        for place in (data..at).step_by(512) {
            if file.read_exact_at(&mut sector, place).is_ok() && sector.iter().any(|&byte| byte != 0) {
                used.push(place);
            }
        }
    }
    used
}

#[test]
fn a_damaged_disk_of_a_system_is_errors_at_worst() {
    let Some(folder) = made("xfs") else { return };
    let path = folder.path().join("disk0");
    let used = used(&path);
    // Tables, names of volumes, superblocks, the first inodes; and then anything.
    let (mut systems, mut entries, mut errors) = (0, 0, 0);
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    for round in 0..200 {
        let mut bytes = Vec::new();
        for _ in 0..1 + next(12) {
            let at = used[next(used.len())] + next(512) as u64;
            bytes.push((at, 1 << next(8)));
        }
        let device: Device = Arc::new(Damaged { disk: FileDevice::open(&path).unwrap(), bytes });
        let found = discover(&[Disk { index: 0, device }], &LayerOptions::default());
        let options = OpenOptions { ignore_journal: round % 2 == 0, ..OpenOptions::default() };
        let tree = Tree::open(found, options);
        systems += usize::from(tree.system().name.is_some());
        let start = Instant::now();
        let mut steps = 0;
        tree.walk(b"/", tree.root(), &WalkOptions::default(), &mut |event| {
            match event {
                Event::Entry(entry) => {
                    entries += 1;
                    if let Ok(stat) = entry.stat()
                        && stat.kind == FileKind::File
                        && stat.size < 1 << 20
                        && let Ok((fs, node)) = tree.file(entry.node)
                    {
                        let _ = content::hash(&*fs, node);
                    }
                    let _ = tree.resolve(entry.path, Follow::All);
                }
                Event::Failed { .. } => errors += 1,
            }
            steps += 1;
            if steps < 20_000 { Step::Into } else { Step::Stop }
        });
        let _ = tree.glob(b"/**/tool1*").take(1000).count();
        assert!(start.elapsed() < Duration::from_secs(60), "round {round} takes too long");
    }
    assert!(systems > 50 && entries > 10_000 && errors > 25, "{systems} {entries} {errors}");
}
