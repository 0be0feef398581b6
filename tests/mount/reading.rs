//! Everything in a mount is what the kernel's own mount of the same disk shows.

use super::{Unmounts, can_mount, is_root, sh};
use crate::harness::{Run, Site};
use std::fs;
use std::path::Path;

/// A disk with an ext4 that the kernel has filled with everything that a file system can hold.
fn everything(site: &Site) -> String {
    let (disk, at) = (site.path("all.raw"), site.path("all.mnt"));
    fs::create_dir(&at).unwrap();
    sh(&format!(
        "truncate -s 96M '{disk}'; mkfs.ext4 -q -F '{disk}'; mount -o loop '{disk}' '{at}'
         trap \"umount '{at}'\" EXIT; cd '{at}'
         mkdir -p etc usr/bin many 'a b/c'; printf 'all\\n' > etc/hostname
         cp /bin/ls usr/bin/ls; chmod 4755 usr/bin/ls; chown 1234:5678 etc/hostname; chmod 0600 etc/hostname
         for n in $(seq 1500); do echo $n > many/file-$n; done
         ln etc/hostname etc/linked; ln -s ../etc/hostname usr/link; ln -s /etc/hostname usr/absolute; ln -s nowhere usr/broken
         mknod null c 1 3; mknod disk b 259 70000; mkfifo fifo
         printf odd > $'odd \\xff\\nname'; mkdir 'empty dir'; chmod 1777 'empty dir'
         truncate -s 40M sparse; printf end | dd of=sparse bs=1 seek=30000000 conv=notrunc status=none
         head -c 9000000 /dev/urandom > random
         setfattr -n user.comment -v 'some text' random; setfacl -m u:1234:r random; setcap cap_net_raw+ep usr/bin/ls 2>/dev/null || true
         touch -d 1965-04-03T02:01:00Z old; touch -d 2100-01-01T00:00:00.123456789Z future; touch -d @0 'a b/c'; cd /",
        disk = disk.display(),
        at = at.display()
    ));
    disk.display().to_string()
}

#[test]
fn a_mount_shows_what_the_kernels_mount_of_the_same_disk_shows() {
    if !can_mount(&["mkfs.ext4", "getfattr", "setfacl", "tar"]) || !is_root() {
        return;
    }
    let site = Site::new();
    let disk = everything(&site);
    site.backup(&format!("--vm all --compress --source {disk}"));
    let _unmounts = Unmounts(&site);
    let (ours, kernels) = (site.path("ours"), site.path("kernels"));
    let mounted = site.json("backup mount all@latest {}/ours --volume disk0");
    assert_eq!(mounted["kind"], "fuse");
    assert_eq!(mounted["mount_path"], ours.to_str().unwrap());
    assert_eq!(mounted["filesystem_type"], "ext4");
    fs::create_dir(&kernels).unwrap();
    sh(&format!("mount -o loop,ro,noload '{disk}' '{}'", kernels.display()));
    // Both twice: the second time out of the kernel's caches.
    let views = [
        "find . -mindepth 1 -printf '%P %y %i %M %n %U %G %s %b %T@ %C@ %l\\n' | LC_ALL=C sort",
        "find . -type f -exec sha256sum {} + | LC_ALL=C sort",
        "ls -lRn --time-style=full-iso | grep -v ^total",
        "find . -print0 | LC_ALL=C sort -z | xargs -0 getfattr -h -d -m - -e hex 2>&1",
        "tar --sort=name --xattrs --acls -cf - . 2>/dev/null | sha256sum",
        "stat -c '%n %t %T %F' null disk fifo",
        "for f in sparse random; do dd if=$f bs=100003 skip=3 count=7 status=none | sha256sum; done",
        "cat many/file-700 usr/link; readlink usr/absolute usr/broken; cat nothing 2>&1 || true; cat etc 2>&1 || true",
    ];
    for round in 0..2 {
        for view in views {
            let shown = |at: &Path| sh(&format!("cd '{}'; {view}", at.display()));
            let (expected, found) = (shown(&kernels), shown(&ours));
            if expected != found {
                let differ = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
                panic!("round {round}: {view}\nthe kernel's, then ours: {differ:#?}");
            }
        }
    }
    sh(&format!(
        "cp -a '{ours}/.' '{copy}'; cd '{copy}'; diff -r --no-dereference --exclude=fifo --exclude=null --exclude=disk . '{kernels}'
         [ $(stat -c %b sparse) -lt 2000 ]; cd '{ours}'
         for no in 'touch new' 'rm etc/hostname' 'head -c1 null' 'chmod 777 usr'; do if $no 2>/dev/null; then exit 1; fi; done
         df . >/dev/null
         grep ' {ours} ' /proc/self/mounts | grep -q nosuid,nodev",
        ours = ours.display(),
        copy = site.path("copy").display(),
        kernels = kernels.display()
    ));
    sh(&format!("umount '{}'", kernels.display()));
    site.ok("restore unmount {}/ours");
    assert!(!ours.exists(), "the folder was made for the mount, and goes with it");
    site.assert_nothing_left_over();
}

#[test]
fn what_can_not_be_mounted_at_is_refused_with_what_to_do() {
    if !can_mount(&[]) {
        return;
    }
    let site = Site::new();
    super::one_point(&site);
    fs::create_dir_all(site.path("full/of")).unwrap();
    let refused = |line: &str, code: i32, parts: &[&str]| {
        let run: Run = site.run(line);
        run.failed_with(code, parts);
    };
    refused("backup mount latest {}/full", 5, &["is not empty", "choose an empty folder"]);
    refused("backup mount latest {}/none/below", 1, &["above it does not exist"]);
    refused("backup mount latest {}/web.raw", 2, &["is no folder"]);
    refused("backup mount nothing {}/new", 4, &["nothing"]);
    refused("backup mount latest", 2, &["no folder is named", "backup mount BACKUP DIR"]);
    refused("backup mount", 2, &["no backup is named"]);
    refused("backup mount --all {}/new", 2, &["--vm"]);
    refused("backup mount latest {}/new --volume disk7", 2, &["there is no volume disk7", "disk0"]);
    refused("backup mount latest {}/new --disk 3", 4, &["disk 3"]);
    refused("restore unmount {}/new", 4, &["there is no restore session"]);
    assert!(!site.path("new").exists(), "what came to nothing leaves no folder");
    if !Path::new("/sys/class/block/nbd0").exists() && rustix::process::geteuid().is_root() {
        refused("backup mount latest {}/new --kernel", 2, &["no network block devices", "modprobe nbd"]);
    }
    assert!(super::mounts(&site).is_empty());
    site.assert_nothing_left_over();
}
