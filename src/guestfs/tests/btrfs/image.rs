//! Images of one or more devices that `mkfs.btrfs` makes and the kernel fills.

use crate::compare::{self, Compared, Count};
use crate::fixture::sh;
use guestfs::btrfs::Btrfs;
use guestfs::{Device, FileDevice, GuestFs, NodeId, OpenOptions};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub const PROGRAMS: [&str; 6] = ["mkfs.btrfs", "btrfs", "setfattr", "setfacl", "xfs_io", "python3"];

/// Files of all forms, a few of each.
pub const FILL: &str = r#"
mkdir -p folder/in/folder empty
: > none
echo hello > hello
head -c 600 /dev/urandom > inline
head -c 5001 /dev/urandom > folder/some
head -c 3300007 /dev/urandom > folder/in/much
ln hello folder/linked
ln hello "folder/in/linked again"
truncate -s 5G hole; echo middle | dd of=hole bs=1 seek=3000000000 conv=notrunc status=none
truncate -s 900000 hole-and-data; echo end >> hole-and-data
fallocate -l 200000 allocated
printf 'x' > "$(printf 'folder/\xff\xfe\x80')"
ln -s hello link
ln -s "$(printf '/%0999d' 1)" folder/long-link
mknod pipe p; mknod tty c 5 1; mknod disk b 259 70000; python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("socket")'
setfattr -n user.short -v value hello
setfattr -n user.long -v $(printf 'x%.0s' $(seq 3000)) hello
setfattr -n user.on-folder -v yes folder
setfattr -n trusted.secret -v 0x00ff00 folder/some
setfacl -m u:1234:rw,g:77:r folder/some
setfacl -d -m u:1234:rwx folder
chown 1000:2000 hello; chmod 4711 hello; chmod 1777 empty; chown 99999:70000 empty
touch -d '1931-05-06 07:08:09.123456789' folder/some
touch -d '2140-01-02 03:04:05.5' none
"#;

/// The files and folders of [`FILL`].
pub const FILLED: (usize, usize) = (11, 5);

/// A file system under construction, in a folder of its own.
pub struct Image {
    folder: TempDir,
    paths: Vec<PathBuf>,
}

/// The kernel's mount of an image, through loop devices that are its own.
pub struct Mount {
    at: PathBuf,
    loops: Vec<String>,
}

impl Image {
    /// An empty file system over `devices` files of `size` each.
    #[track_caller]
    pub fn new(devices: usize, size: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths: Vec<PathBuf> =
            (1..=devices).map(|n| folder.path().join(format!("device{n}.img"))).collect();
        let all = shown(&paths);
        sh(&format!("truncate -s {size} {all}; mkfs.btrfs -q -K {options} {all} 2>&1"));
        Image { folder, paths }
    }

    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    pub fn devices(&self) -> Vec<Device> {
        self.paths.iter().map(|path| Arc::new(FileDevice::open(path).unwrap()) as Device).collect()
    }

    #[track_caller]
    pub fn open(&self) -> (Arc<Btrfs>, Device) {
        let devices = self.devices();
        let first = devices[0].clone();
        (Btrfs::open(devices, &OpenOptions::default()).unwrap(), first)
    }

    #[track_caller]
    pub fn mount(&self, options: &str) -> Mount {
        Mount::new(&self.paths, self.folder.path(), options)
    }

    /// Runs a script in the root, mounted with `options`.
    #[track_caller]
    pub fn fill(&mut self, options: &str, script: &str) -> &mut Self {
        let mounted = self.mount(&format!("noatime,{options}"));
        sh(&format!("cd {}\n{script}", mounted.at.display()));
        self
    }

    /// Everything of it must be as the kernel shows it.
    #[track_caller]
    pub fn assert_same(&self) -> Count {
        self.assert_same_but(Compared { accessed: true, ..Compared::default() })
    }

    #[track_caller]
    pub fn assert_same_but(&self, what: Compared) -> Count {
        let (fs, device) = self.open();
        let mounted = self.mount("ro,noatime");
        compare::assert_same(&*fs, &*device, &mounted.at, what)
    }

    /// A copy of it as it is now, mounted or not.
    #[track_caller]
    pub fn copy(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        sh(&format!("cp --sparse=always {} {}", shown(&self.paths), folder.path().display()));
        let paths = self.paths.iter().map(|path| folder.path().join(path.file_name().unwrap())).collect();
        Image { folder, paths }
    }
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
}

impl Mount {
    #[track_caller]
    fn new(paths: &[PathBuf], folder: &Path, options: &str) -> Self {
        let at = folder.join("mounted");
        fs::create_dir_all(&at).unwrap();
        let read_only = options.split(',').any(|option| option == "ro");
        let mut mount = Mount { at, loops: Vec::new() };
        for path in paths {
            let flag = if read_only { "-r" } else { "" };
            mount.loops.push(sh(&format!("losetup {flag} -f --show {}", path.display())).trim().to_owned());
        }
        let mut options: Vec<String> =
            options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        if mount.loops.len() > 1 {
            options.extend(mount.loops.iter().map(|device| format!("device={device}")));
        }
        let options = if options.is_empty() { "defaults".into() } else { options.join(",") };
        sh(&format!("mount -t btrfs -o {options} {} {}", mount.loops[0], mount.at.display()));
        mount
    }

    pub fn at(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A program that another test starts at this moment holds our open files for an instant.
        for _ in 0..100 {
            match Command::new("umount").arg(&self.at).stderr(std::process::Stdio::null()).status() {
                Ok(status) if !status.success() => std::thread::sleep(Duration::from_millis(20)),
                _ => break,
            }
        }
        for device in &self.loops {
            // The kernel remembers devices by the file system's identity, which copies share.
            let _ = Command::new("btrfs").args(["device", "scan", "--forget", device]).output();
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
    }
}

/// The node at a path with `/` between its names.
#[track_caller]
pub fn node(fs: &dyn GuestFs, path: &str) -> NodeId {
    path.split('/').fold(fs.root(), |dir, name| fs.lookup(dir, name.as_bytes()).unwrap())
}

#[track_caller]
pub fn content(fs: &dyn GuestFs, node: NodeId) -> Vec<u8> {
    let mut bytes = vec![0; fs.stat(node).unwrap().size as usize];
    assert_eq!(fs.read_at(node, 0, &mut bytes).unwrap(), bytes.len());
    bytes
}
