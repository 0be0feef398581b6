//! Everything in a mount is what the kernel's own mount of the same disk shows.

use super::{PATIENCE, Unmounts, can_mount, guest, is_mounted, sh};
use crate::harness::{Run, Site, eventually};
use std::fs;
use std::path::Path;

fn is_root() -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("SENDENSE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "this needs root, and nothing may be skipped"
    );
    eprintln!("SKIPPED: this needs root");
    false
}

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
fn an_ordinary_user_mounts_and_reads_what_is_roots_and_nobody_else_gets_in() {
    if !can_mount(&["setpriv", "mkfs.ext4"]) || !is_root() {
        return;
    }
    if sh("stat -c %a /dev/fuse").trim() != "666" {
        // As every distribution has it; here it is only for root.
        sh("chmod 0666 /dev/fuse");
    }
    let site = Site::new();
    let disk = guest(&site, "mine", &[("etc/shadow", "root:secret\n"), ("etc/hostname", "mine\n")]);
    sh(&format!(
        "debugfs -w -R 'set_inode_field etc/shadow mode 0100600' '{}' 2>/dev/null; chown -R 65534:65534 '{}'",
        disk.display(),
        site.path("").display()
    ));
    // Where it was built, nobody else may get to.
    let program = site.path("sendense-ctl");
    fs::copy(env!("CARGO_BIN_EXE_sendense-ctl"), &program).unwrap();
    let as_nobody = |line: &str| {
        let line = line.replace("{}", site.path("").to_str().unwrap().trim_end_matches('/'));
        let ours = site.command(line.split(' '));
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command.args(ours.get_args()).env("SENDENSE_HOME", site.state()).env("HOME", site.path(""));
        let output = command.current_dir(site.path("")).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let ok = |line: &str| {
        let (code, said) = as_nobody(line);
        assert_eq!(code, Some(0), "{line}: {said}");
        said
    };
    ok(&format!("backup start --vm mine --source {}", disk.display()));
    ok("backup mount mine@latest {}/mnt --idle 5m");
    let mnt = site.path("mnt");
    assert!(is_mounted(&mnt));
    let read = |path: &str| {
        sh(&format!("setpriv --reuid=65534 --regid=65534 --clear-groups cat '{}'", mnt.join(path).display()))
    };
    assert_eq!(read("etc/shadow"), "root:secret\n");
    // Not even root, which the kernel keeps out of what an ordinary user serves.
    assert!(fs::read(mnt.join("etc/hostname")).is_err());
    assert!(ok("restore mounts").contains("fuse"));
    ok("restore unmount {}/mnt");
    eventually("it is unmounted", PATIENCE, || !is_mounted(&mnt));
    // What is killed leaves a dead mount; the next command of the same user removes it.
    let pid =
        serde_json::from_str::<serde_json::Value>(&ok("backup mount mine@latest {}/mnt --json")).unwrap();
    sh(&format!("kill -9 {}", pid["pid"]));
    ok("backup list");
    eventually("it is cleaned up", PATIENCE, || !is_mounted(&mnt));
    let (code, said) = as_nobody("backup mount mine@latest {}/kernel --kernel");
    assert_eq!(code, Some(12), "{said}");
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
