//! NTFS against ntfs-3g, which fills the images and shows the truth; this kernel has no driver of its own.

use crate::compare::{self, Compared, Count};
use crate::fixture::{can_mount, sh};
use guestfs::{Device, Error, FileDevice, FileKind, GuestFs, MemoryDevice, NodeId, OpenOptions, Place, ntfs};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

mod content;
mod hostile;
mod links;
mod log;
mod logfile;
mod names;
mod wof;

const PROGRAMS: [&str; 2] = ["mkntfs", "ntfs-3g"];

/// An image under construction, in a folder of its own.
struct Image {
    folder: TempDir,
    path: PathBuf,
}

impl Image {
    /// An empty volume of `size` (as `truncate` takes it), as `mkntfs` makes it with `options`.
    #[track_caller]
    fn new(size: &str, options: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("volume.img");
        let shown = path.display();
        sh(&format!("truncate -s {size} {shown}; mkntfs -q -F -Q -p 0 -H 0 -S 0 {options} {shown} 2>&1"));
        Image { folder, path }
    }

    /// Runs a script in the root of the volume, mounted with `options`.
    #[track_caller]
    fn fill(&self, options: &str, script: &str) -> &Self {
        let mounted = Served::new(self, options);
        sh(&format!("cd {}\n{script}", mounted.at.display()));
        self
    }

    fn device(&self) -> Device {
        Arc::new(FileDevice::open(&self.path).unwrap())
    }

    #[track_caller]
    fn open(&self) -> Arc<dyn GuestFs> {
        ntfs::open(self.device(), &OpenOptions::default()).unwrap()
    }

    /// Everything of it must be as ntfs-3g shows it.
    #[track_caller]
    fn assert_same(&self) -> Count {
        self.assert_same_but(Compared { accessed: true, ..Compared::default() })
    }

    #[track_caller]
    fn assert_same_but(&self, what: Compared) -> Count {
        let mounted = Served::new(self, "ro");
        compare::assert_same(&*self.open(), &*self.device(), &mounted.at, what)
    }
}

/// A volume that ntfs-3g serves, until it is dropped.
struct Served {
    at: PathBuf,
    process: Child,
}

impl Served {
    #[track_caller]
    fn new(image: &Image, options: &str) -> Self {
        let at = image.folder.path().join("mounted");
        fs::create_dir_all(&at).unwrap();
        let options = format!("no_detach,noatime,umask=022,{options}");
        let process = Command::new("ntfs-3g")
            .args(["-o", options.trim_end_matches(',')])
            .args([&image.path, &at])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut served = Served { at, process };
        let since = Instant::now();
        while !is_mounted(&served.at) {
            assert!(since.elapsed() < Duration::from_secs(20), "ntfs-3g does not come up");
            let ended = served.process.try_wait().unwrap();
            assert!(ended.is_none(), "ntfs-3g ended: {ended:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
        served
    }
}

fn is_mounted(at: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(1) == at.to_str())
}

impl Drop for Served {
    fn drop(&mut self) {
        // Something that a script left behind may be in it for a moment.
        for _ in 0..100 {
            if Command::new("umount").arg(&self.at).status().is_ok_and(|status| status.success()) {
                let _ = self.process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The node at a path with `/` between its names.
#[track_caller]
fn node(fs: &dyn GuestFs, path: &str) -> NodeId {
    path.split('/').fold(fs.root(), |dir, name| fs.lookup(dir, name.as_bytes()).unwrap())
}

#[track_caller]
fn content(fs: &dyn GuestFs, node: NodeId) -> Vec<u8> {
    let mut bytes = vec![0; fs.stat(node).unwrap().size as usize];
    assert_eq!(fs.read_at(node, 0, &mut bytes).unwrap(), bytes.len());
    bytes
}

/// A reparse point as `setfattr` takes it.
fn reparse(tag: u32, data: &[u8]) -> String {
    let mut bytes = tag.to_le_bytes().to_vec();
    bytes.extend((data.len() as u16).to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(data);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{hex}")
}

/// Files of all forms, a few of each.
const FILL: &str = r#"
mkdir -p folder/in/folder empty
: > none
echo hello > hello
head -c 600 /dev/urandom > "in the record or not"
head -c 5001 /dev/urandom > folder/some
head -c 1300007 /dev/urandom > folder/in/much
ln hello folder/linked
ln hello "folder/linked again"
truncate -s 3M hole
truncate -s 900000 hole-and-data; echo end >> hole-and-data; echo middle | dd of=hole-and-data bs=1 seek=400000 conv=notrunc status=none
setfattr -n user.short -v value hello
setfattr -n user.long -v $(printf 'x%.0s' $(seq 3000)) hello
setfattr -n user.on-folder -v yes folder
touch -d '1931-05-06 07:08:09' folder/some   # ntfs-3g gives parts of seconds before 1970 to the kernel as negative ones
touch -d '2140-01-02 03:04:05.5' none
touch -d '1605-01-02' empty
for n in $(seq 60); do echo $n > "empty/a rather long name of a file, so that there are blocks $n"; done
"#;

#[test]
fn every_size_of_clusters_and_sectors_reads_as_ntfs_3g_shows_it() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let mut sizes: Vec<String> = (9..=21).map(|bits| format!("-s 512 -c {}", 1 << bits)).collect();
    sizes.extend(["-s 4096 -c 4096".into(), "-s 4096 -c 65536".into(), "-s 1024 -c 2048".into()]);
    for options in sizes {
        // Large clusters need a large volume for the log to have its least size.
        let large = ["-c 1048576", "-c 2097152"].iter().any(|size| options.ends_with(size));
        let image = Image::new(if large { "6G" } else { "300M" }, &options);
        let count = image.fill("", FILL).assert_same();
        assert_eq!((count.files, count.directories, count.xattrs), (69, 5, 7), "{options}");
        assert!(count.bytes > 1_300_000 && count.holes > 3_000_000, "{options}: {count:?}");
    }
}

#[test]
fn a_copy_of_a_volume_that_is_written_holds_what_was_synced() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("100M", "");
    let copy = image.folder.path().join("copy.img");
    let mounted = Served::new(&image, "");
    let at = mounted.at.display();
    sh(&format!(
        "cd {at}; mkdir kept; for n in $(seq 300); do seq $n 400 > kept/$n; done; head -c 3000000 /dev/urandom > kept/large; sync
         cp -a kept {}
         (for n in $(seq 2000); do seq $n 900 > moving$n; [ $((n % 3)) = 0 ] && rm moving$((n / 2)); done) > /dev/null 2>&1 & load=$!
         sleep 0.3; cp --sparse=always {} {}; kill $load; wait $load || true",
        image.folder.path().join("truth").display(),
        image.path.display(),
        copy.display()
    ));
    drop(mounted);
    let fs = ntfs::open(Arc::new(FileDevice::open(&copy).unwrap()), &OpenOptions::default()).unwrap();
    crate::hostile::walk(&*fs);
    let kept = node(&*fs, "kept");
    let names = compare::entries(&*fs, kept).unwrap();
    assert_eq!(names.len(), 301);
    for (name, (node, _)) in names {
        let truth = image.folder.path().join("truth").join(String::from_utf8(name).unwrap());
        assert!(content(&*fs, node) == fs::read(&truth).unwrap(), "{}", truth.display());
    }
}
