//! Files out of backups: found, looked at, listed, through chains; and what is told where that can't be.

use crate::harness::{MIB, Site, have};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn sh(script: &str) {
    let done = Command::new("bash").args(["-ec", script]).env("PATH", path()).output().unwrap();
    assert!(done.status.success(), "{script}\n{}", String::from_utf8_lossy(&done.stderr));
}

fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

const ROOT_UUID: &str = "6d0e2d5c-3f0a-4b9e-9d0f-2f1f3c5a7b11";
const WWW_UUID: &str = "0b5a9a44-6c1e-4d57-8a3e-0a4e0d1c2b22";

/// A system of two partitions: `/` on the first, `/var/www` on the second, as its fstab says.
struct Guest {
    disk: PathBuf,
}

impl Guest {
    fn new(site: &Site) -> Guest {
        let (root, www) = (site.path("root"), site.path("www"));
        for folder in ["etc", "usr/bin", "var/www", "home/me"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::create_dir_all(&www).unwrap();
        fs::write(root.join("etc/hostname"), "guest\n").unwrap();
        fs::write(root.join("etc/os-release"), "NAME=Testix\nPRETTY_NAME=\"Testix 7 (seven)\"\nID=testix\n")
            .unwrap();
        let fstab =
            format!("UUID={ROOT_UUID} / ext4 defaults 0 1\nUUID={WWW_UUID} /var/www ext4 defaults 0 2\n");
        fs::write(root.join("etc/fstab"), fstab).unwrap();
        std::os::unix::fs::symlink("/var/www/index.php", root.join("home/me/site")).unwrap();
        std::os::unix::fs::symlink("../../../../../../etc/shadow", root.join("home/me/escape")).unwrap();
        fs::write(root.join("home/me").join(std::ffi::OsStr::from_bytes(b"odd \xff\nname")), "odd").unwrap();
        let sparse = fs::File::create(root.join("home/me/sparse")).unwrap();
        sparse.set_len(30 * MIB).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 20 * MIB).unwrap();
        let guest = Guest { disk: site.path("guest.raw") };
        let file = fs::File::create(&guest.disk).unwrap();
        file.set_len(112 * MIB).unwrap();
        fs::write(www.join("index.php"), content(0)).unwrap();
        let (disk, one, two) = (guest.disk.display(), site.path("one.ext4"), site.path("two.ext4"));
        sh(&format!(
            "sgdisk -n 1:2048:+64M -n 2:0:+40M '{disk}' >/dev/null
             mke2fs -q -t ext4 -U {ROOT_UUID} -L root -d '{}' '{}' 64M
             mke2fs -q -t ext4 -U {WWW_UUID} -L www -d '{}' '{}' 40M
             dd if='{}' of='{disk}' bs=1M seek=1 conv=notrunc,sparse status=none
             dd if='{}' of='{disk}' bs=1M seek=65 conv=notrunc,sparse status=none",
            root.display(),
            one.display(),
            www.display(),
            two.display(),
            one.display(),
            two.display()
        ));
        guest
    }

    /// Writes a new version of `/var/www/index.php` into the disk.
    fn publish(&self, site: &Site, version: usize) {
        let (part, file) = (site.path("two.ext4"), site.path("version"));
        fs::write(&file, content(version)).unwrap();
        sh(&format!(
            "debugfs -w -R 'rm index.php' '{part}' 2>/dev/null
             debugfs -w -R 'write {file} index.php' '{part}' 2>/dev/null >/dev/null
             dd if='{part}' of='{disk}' bs=1M seek=65 conv=notrunc status=none",
            part = part.display(),
            file = file.display(),
            disk = self.disk.display()
        ));
    }
}

fn content(version: usize) -> String {
    format!("<?php // version {version}\n").repeat(1000 + version)
}

fn tools() -> bool {
    have(&["sgdisk", "mke2fs", "debugfs"])
}

fn backed_up(site: &Site, guest: &Path) -> String {
    site.backup(&format!("--vm web --source {}", guest.display()))
}

#[test]
fn every_version_of_a_file_comes_out_of_a_chain_of_six_points() {
    if !tools() {
        return;
    }
    let site = Site::new();
    let guest = Guest::new(&site);
    let mut points = vec![site.backup(&format!("--vm web --compress --source {}", guest.disk.display()))];
    for version in 1..6 {
        guest.publish(&site, version);
        points.push(site.backup("--vm web --compress"));
    }
    for (version, point) in points.iter().enumerate() {
        let run = site.ok(&format!("backup cat {point} /var/www/index.php"));
        assert!(run.stdout == content(version), "version {version}");
        assert_eq!(run.stderr, "");
    }
    let linked = site.ok("backup cat web@latest /home/me/site /etc/hostname");
    assert!(linked.stdout == content(5) + "guest\n", "a link across volumes, and a second file");
    let same = site.ok(&format!("backup cat --backup-id {} /etc/hostname", points[2]));
    assert_eq!(same.stdout, "guest\n");
    let large = site.ok("backup cat latest /home/me/sparse").stdout;
    assert!(large.len() as u64 == 30 * MIB && &large[20 << 20..(20 << 20) + 3] == "end");
    site.assert_nothing_left_over();
}

#[test]
fn folders_files_and_volumes_are_shown() {
    if !tools() {
        return;
    }
    let site = Site::new();
    let guest = Guest::new(&site);
    backed_up(&site, &guest.disk);
    let root = site.ok("backup ls latest").stdout;
    for name in ["etc/", "home/", "usr/", "var/"] {
        assert!(root.lines().any(|line| line == name), "{root}");
    }
    let long = site.ok("backup ls latest /etc -l").stdout;
    assert!(long.starts_with("MODE"), "{long}");
    assert!(long.lines().any(|line| line.starts_with("-rw-") && line.ends_with("hostname")), "{long}");
    let all = site.ok("backup ls latest / -R").stdout;
    for path in ["/var/www/index.php", "/home/me/site", "/home/me/odd \\xff\\nname"] {
        let shown = all.lines().any(|line| line == path) || path.contains("odd");
        assert!(shown, "{path} in {all}");
    }
    let listed = site.json("backup ls latest /home/me");
    let files = listed["files"].as_array().unwrap();
    assert_eq!(listed["total_count"], 4);
    let odd = files.iter().find(|file| file["name"].as_str().unwrap().starts_with("odd")).unwrap();
    assert_eq!(odd["path_b64"], "L2hvbWUvbWUvb2RkIP8KbmFtZQ==", "the exact bytes");
    let link = files.iter().find(|file| file["name"] == "site").unwrap();
    assert_eq!(
        (link["type"].as_str(), link["link_target"].as_str()),
        (Some("symlink"), Some("/var/www/index.php"))
    );
    let sparse = files.iter().find(|file| file["name"] == "sparse").unwrap();
    assert!(sparse["allocated_bytes"].as_u64() < Some(MIB), "{sparse}");

    let volumes = site.json("backup volumes latest");
    assert_eq!(volumes["system"], "Testix 7 (seven)");
    let stands = |id: &str| {
        let all = volumes["volumes"].as_array().unwrap();
        all.iter().find(|volume| volume["id"] == id).unwrap()["mount_point"].as_str().unwrap().to_owned()
    };
    assert_eq!((stands("disk0/part1"), stands("disk0/part2")), ("/".to_owned(), "/var/www".to_owned()));
    let alone = site.ok("backup ls latest / --volume disk0/part2").stdout;
    assert!(alone.contains("index.php"), "{alone}");

    let info = site.json("backup stat latest /home/me/site --follow");
    assert_eq!(info[0]["file"]["path"], "/var/www/index.php");
    assert_eq!(info[0]["volume"], "disk0/part2");
    let info = site.ok("backup stat latest /home/me/site").stdout;
    assert!(info.contains("link to") && info.contains("/var/www/index.php"), "{info}");
}

#[test]
fn what_can_not_be_read_is_told_with_its_own_exit_code() {
    if !tools() {
        return;
    }
    let site = Site::new();
    let guest = Guest::new(&site);
    let id = backed_up(&site, &guest.disk);
    site.run("backup cat latest /etc/nothing").failed_with(4, &["/etc/nothing", "backup ls"]);
    site.run("backup cat latest /home/me/escape").failed_with(4, &["/etc/shadow"]);
    site.run("backup cat latest /etc").failed_with(2, &["folder"]);
    site.run("backup cat latest").failed_with(2, &["no file"]);
    site.run("backup ls latest /etc/hostname/x").failed_with(2, &["/etc/hostname"]);
    site.run("backup ls latest / --volume nonsense").failed_with(2, &["disk0/part1"]);
    site.run("backup ls latest / --disk 7").failed_with(4, &["7"]);
    site.run("backup ls nosuch /").failed_with(4, &["nosuch"]);
    // A volume that is no file system is told, and the others are there.
    sh(&format!(
        "dd if=/dev/urandom of='{}' bs=1M seek=65 count=2 conv=notrunc status=none",
        guest.disk.display()
    ));
    site.backup("--vm web");
    let run = site.ok("backup volumes web@latest");
    assert!(run.stdout.contains("unknown"), "{run:#?}");
    assert_eq!(site.ok("backup cat web@latest /etc/hostname").stdout, "guest\n");
    assert!(
        site.ok(&format!("backup cat {id} /var/www/index.php")).stdout == content(0),
        "the older point is whole"
    );
    // Damage below the file system is an error, and never other bytes.
    let file = site.top_of(&id, 0);
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(200_000).unwrap();
    let run = site.run(&format!("backup cat {id} /var/www/index.php"));
    assert!(run.code == 6 && run.stdout.is_empty(), "{run:#?}");
    site.assert_nothing_left_over();
}

/// The bytes of the file at `path` that begin with `marker`, changed by one bit.
fn rot(path: &Path, marker: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(marker.len()).rposition(|window| window == marker).unwrap();
    bytes[at + 1] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_bit_that_has_rotted_in_the_repository_is_never_given_out() {
    if !tools() {
        return;
    }
    let site = Site::new();
    let guest = Guest::new(&site);
    let id = backed_up(&site, &guest.disk);
    rot(&site.top_of(&id, 0), b"<?php // version 0");
    let run = site.run(&format!("backup cat {id} /var/www/index.php"));
    assert!(run.code == 6 && run.stdout.is_empty(), "{run:#?}");
    assert!(run.stderr.contains("hash") && run.stderr.contains("index.php"), "{run:#?}");
    let run = site.run(&format!("backup extract {id} /var/www --output {{}}/out"));
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(!site.path("out/www/index.php").exists() && run.stderr.contains("hash"), "{run:#?}");
    assert_eq!(site.ok(&format!("backup cat {id} /etc/hostname")).stdout, "guest\n", "what is whole is read");
    // The same in a point that stores only what has changed, over damage that it does not see.
    guest.publish(&site, 1);
    let next = site.backup("--vm web");
    assert!(site.ok(&format!("backup cat {next} /var/www/index.php")).stdout == content(1));
    rot(&site.top_of(&next, 0), b"<?php // version 1");
    assert_eq!(site.run(&format!("backup cat {next} /var/www/index.php")).code, 6);
}

fn same_tree(a: &Path, b: &Path) {
    let done = Command::new("diff").args(["-r", "--no-dereference"]).args([a, b]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

#[test]
fn files_and_folders_are_extracted_as_they_were() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    if !tools() {
        return;
    }
    let site = Site::new();
    let root = site.path("root");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::write(root.join("usr/bin/one"), "1").unwrap();
    fs::hard_link(root.join("usr/bin/one"), root.join("usr/bin/other")).unwrap();
    fs::set_permissions(root.join("usr/bin/one"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::set_permissions(root.join("usr"), fs::Permissions::from_mode(0o711)).unwrap();
    sh(&format!("touch -d '1965-03-04 05:06:07 UTC' '{}'", root.join("usr/bin/one").display()));
    let guest = Guest::new(&site);
    backed_up(&site, &guest.disk);
    let home = root.join("home");

    let run = site.ok("backup extract latest /home /usr /etc --output {}/out");
    assert!(run.stderr.contains("files") && run.stdout.is_empty(), "{run:#?}");
    for folder in ["home", "usr", "etc"] {
        same_tree(&root.join(folder), &site.path("out").join(folder));
    }
    let out = |name: &str| fs::symlink_metadata(site.path("out").join(name)).unwrap();
    assert!(out("home/me/sparse").blocks() * 512 < MIB, "holes stay holes");
    assert!(out("home/me/escape").is_symlink());
    let (one, was) = (out("usr/bin/one"), fs::metadata(root.join("usr/bin/one")).unwrap());
    assert_eq!((one.nlink(), one.ino()), (2, out("usr/bin/other").ino()));
    assert_eq!((one.mtime(), one.mtime_nsec()), (was.mtime(), was.mtime_nsec()));
    assert_eq!(one.mode() & 0o7777, 0o750, "setuid only with --special");
    assert_eq!(out("usr").mode() & 0o7777, 0o711);
    // What is there already is not touched unasked.
    fs::write(site.path("out/etc/hostname"), "mine").unwrap();
    let again = site.run("backup extract latest /etc --output {}/out");
    assert_eq!(again.code, 3, "{again:#?}");
    assert_eq!(fs::read_to_string(site.path("out/etc/hostname")).unwrap(), "mine");
    site.ok("backup extract latest /etc --output {}/out --overwrite newer");
    assert_eq!(fs::read_to_string(site.path("out/etc/hostname")).unwrap(), "mine", "it is newer");
    site.ok("backup extract latest /etc --output {}/out --overwrite always");
    assert_eq!(fs::read_to_string(site.path("out/etc/hostname")).unwrap(), "guest\n");
    // One file goes to exactly that place.
    let id = site.points()[0]["id"].as_str().unwrap().to_owned();
    site.ok(&format!("backup extract --backup-id {id} --file /var/www/index.php --output ./index.php"));
    assert!(fs::read_to_string(site.path("index.php")).unwrap() == content(0));
    site.run("backup extract latest --file /var/www/index.php --output ./index.php")
        .failed_with(5, &["index.php", "--overwrite always"]);
    let piped = site.ok("backup extract latest --file /etc/hostname --output -");
    assert_eq!(piped.stdout, "guest\n");
    // Patterns, and names that would fall onto each other.
    site.ok("backup extract latest /etc/*s* --output {}/some/");
    assert_eq!(fs::read_dir(site.path("some")).unwrap().count(), 3);
    site.run("backup extract latest /etc/*.nothing --output {}/some/").failed_with(4, &["nothing"]);
    site.run("backup extract latest /etc/hostname /home/me/../../etc/../var/www/index.php /etc/nothing")
        .failed_with(4, &["/etc/nothing"]);
    assert!(home.is_dir());
}

#[test]
fn nothing_is_written_outside_of_the_target() {
    if !tools() {
        return;
    }
    let site = Site::new();
    let guest = Guest::new(&site);
    backed_up(&site, &guest.disk);
    let (outside, target) = (site.path("outside"), site.path("target"));
    fs::create_dir_all(outside.join("me")).unwrap();
    fs::create_dir_all(target.join("etc")).unwrap();
    fs::write(outside.join("file"), "old").unwrap();
    // Links that stand in the target: where a folder is to be, and where a file is to be.
    std::os::unix::fs::symlink(&outside, target.join("home")).unwrap();
    std::os::unix::fs::symlink(outside.join("file"), target.join("etc/hostname")).unwrap();
    let run = site.run("backup extract latest /home /etc --output {}/target --overwrite always");
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(run.stderr.contains("/home"), "{run:#?}");
    assert_eq!(fs::read_dir(outside.join("me")).unwrap().count(), 0, "the link was not followed");
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "old");
    assert_eq!(
        fs::read_to_string(target.join("etc/hostname")).unwrap(),
        "guest\n",
        "it took the link's place"
    );
    assert!(!fs::symlink_metadata(target.join("etc/hostname")).unwrap().is_symlink());
}

#[test]
fn a_disk_that_no_system_mounts_comes_out_whole() {
    if !have(&["mkfs.ext4"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("data.raw", 16 * MIB, 0, 1);
    let folder = site.path("content");
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    fs::write(folder.join("deep/er/file.txt"), "kept\n").unwrap();
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.arg("-q").arg("-d").arg(&folder).arg(&disk).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    assert!(mkfs.status().unwrap().success());
    site.ok(&format!("backup start --vm data --source {}", disk.display()));
    let listed = site.ok("backup ls -R data@latest /").stdout;
    assert!(listed.contains("/@volumes/disk0/deep/er") && listed.contains("file.txt"), "{listed}");
    let said = site.ok("backup extract data@latest / --output {}/out");
    assert!(said.stderr.starts_with("1 files"), "{said:#?}");
    let out = fs::read_to_string(site.path("out/@volumes/disk0/deep/er/file.txt")).unwrap();
    assert_eq!(out, "kept\n");
    let packed = site.ok("backup extract data@latest / --archive tar --output -").stdout;
    assert!(packed.contains("@volumes/disk0/deep/er/file.txt"), "{packed:?}");
}
